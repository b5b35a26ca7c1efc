import Arguments
import FaceDetection
import FaceDetectionTraining
import Torch
import Training

extension DetectionNetwork: ArgumentValue {}
extension RetinaFaceNetwork.Pyramid: ArgumentValue {}
extension ReferenceNetwork: ArgumentValue {}
extension OptimizerKind: ArgumentValue {}

/// What a network is trained with where nobody says otherwise: sample_config.py of the reference, data/config.py of the
/// port.
private struct Defaults {
  let batchSize: Int
  let imageSize: Int
  let learningRate: Double
  let epochs: [Int]

  init(_ network: DetectionNetwork) {
    (batchSize, imageSize, learningRate, epochs) =
      switch network {
      case .mnet: (16, 640, 0.01, [55, 68, 80])
      case .resnet, .resnet152: (8, 640, 0.001, [1, 2, 3, 4, 5, 55, 68, 80])
      case .portMobile: (32, 640, 0.001, [190, 220, 250])
      case .portResNet50: (24, 840, 0.001, [70, 90, 100])
      }
  }
}

/// What reaches an average precision of 0.95 on scenes within minutes of a CPU: in place of what nobody says otherwise where
/// one of the reference's networks is trained on scenes.
private enum SceneRecipe {
  static let batchSize = 8
  static let imageSize = 160
  static let learningRate = 0.003
  static let maxSteps = 3000
  static let warmup = 100
  static let clipNorm = 5.0
  static let landmarkWeight = 0.5
  static let evaluateEvery = 1000
}

/// `insightface detect train`: the reference's detection/retinaface/train.py under its flags.
struct DetectTrainCommand: Command {
  static let name = "train"
  static let summary = "Train RetinaFace on labelled photos or on synthetic scenes"
  static let discussion = """
    The data set is a folder with label.txt and images/ (RetinaFace's labels with five landmarks), a folder with
    wider_face_train_bbx_gt.txt and WIDER_train/images/ (boxes alone), or `synth`: scenes with faces of people who do not
    exist, drawn as they are needed. Written are PREFIX-symbol.json, PREFIX-0000.params, and beside them the log, a row a
    step, TensorBoard's events and the state for --resume.

    mobile0.25 and port-resnet50 are those of the widespread PyTorch port, with its priors, loss, augmentation and
    schedule: its weights do not fit the others. Written are PREFIX.pth, which the port loads, and PREFIX.safetensors.

      insightface detect train --network mnet --prefix model/mnet --dataset data/retinaface
      insightface detect train --dataset synth --prefix model/synth

    On scenes the networks of the reference have a recipe of their own: 3000 steps of 8 images of 160 pixels, AdamW at
    0.003 with a cosine schedule after 100 steps of warm-up, gradients clipped at 5. Every option overrides its part.
    """

  private var c = DetectionConfiguration(data: .folder("data/retinaface"))
  private var dataset = "retinaface"
  private var datasetPath: String?
  private var pretrainedEpoch: Int?
  private var epochSteps: [Int] = []
  private var updateSteps: [Int] = []
  private var schedule: String?
  private var warmup: Int?
  private var maxSteps: Int?
  private var clipNorm: Double?
  private var evaluateEvery: Int?
  private var colourMode: Int?
  private var noFlip = false
  private var learningRate: Double?
  private var batchSize: Int?
  private var optimizer: OptimizerKind?
  private var scenes = 4000
  private var sceneSize: Int?
  private var sceneFaces = 8
  private var cropScales: [Double] = []
  private var device: String?
  private var imageSize: Int?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    b.section("As in the reference")
    try b.option(
      &c.network, "--network", value: "NAME",
      help: "mnet, resnet, resnet152, or of the PyTorch port mobile0.25, port-resnet50")
    try b.option(&c.prefix, "--prefix", value: "PREFIX", help: "path and begin of the names of what is written")
    try b.option(&dataset, "--dataset", value: "FOLDER|synth", help: "a folder, retinaface, widerface, or synth")
    try b.option(&datasetPath, "--dataset_path", "--dataset-path", value: "FOLDER", help: "the folder of the data set")
    try b.option(
      &c.pretrained, "--pretrained", value: "PREFIX[,EPOCH]",
      help: "start from this checkpoint, of RetinaFace or of a backbone trained on ImageNet; of the port a .pth "
        + "(default: from scratch)")
    try b.option(
      &pretrainedEpoch, "--pretrained_epoch", "--pretrained-epoch", value: "N", help: "its number (default: 0)",
      expected: "0 or more", where: { $0 >= 0 })
    try b.option(
      &learningRate, "--lr", value: "RATE", help: "at the start (default: 0.01, of resnet and the port 0.001)")
    try b.option(
      &epochSteps, "--lr_step", "--lr-step", value: "EPOCHS", separator: ",",
      help:
        "when the rate falls, in epochs (default: 55,68,80; of resnet 1,2,3,4,5,55,68,80; of the port 190,220,250 and "
        + "70,90,100); the run ends at the last",
      expected: "numbers from 1 on", where: { $0 >= 1 && $0 <= 1_000_000 })
    try b.option(
      &c.endEpoch, "--end_epoch", "--end-epoch", value: "N", help: "end after so many epochs; 0: by the schedule",
      expected: "0 or more", where: { $0 >= 0 && $0 <= 1_000_000 })
    try b.option(&c.weightDecay, "--wd", value: "DECAY", help: "weight decay, on every parameter")
    try b.option(
      &c.frequent, "--frequent", value: "STEPS", help: "log every so many steps", expected: "a number from 1 on",
      where: { $0 >= 1 })
    try b.flag(&noFlip, "--no_flip", "--no-flip", help: "do not mirror photos")
    b.section("Recipe, beyond the reference's flags")
    try b.option(
      &batchSize, "--per-batch-size", value: "N",
      help: "images of a batch (default: 8, of mnet 16, of the port 32 and 24)")
    try b.option(
      &imageSize, "--image-size", value: "S",
      help: "side of the training images, a multiple of 32, of the port of 8 (default: 640, of port-resnet50 840)")
    try b.option(
      &c.pyramid, "--pyramid", value: "NAME", help: "current as the reference's source, released as mnet.25")
    try b.option(&c.anchors, "--anchors", value: "NAME", help: "strides and anchors: net3, net3a, net4, net5 …")
    try b.option(
      &maxSteps, "--max-steps", value: "STEPS",
      help: "end after so many steps; 0: by the schedule (default: 0, of synth 3000)")
    try b.option(
      &updateSteps, "--lr-steps", value: "STEPS", separator: ",", help: "when the rate falls to a tenth, in updates",
      expected: "numbers from 1 on", where: { $0 >= 1 })
    try b.option(
      &schedule, "--schedule", value: "NAME", help: "cosine instead of steps; needs --max-steps or --end_epoch",
      expected: "cosine or steps", where: { ["cosine", "steps"].contains($0) })
    try b.option(
      &warmup, "--warmup-steps", value: "STEPS", help: "grow the rate over so many steps (cosine and --lr-steps)",
      expected: "0 or more", where: { $0 >= 0 })
    try b.option(
      &optimizer, "--optimizer", value: "NAME",
      help: "mxnet-sgd, sgd (as PyTorch's) or adamw (default: mxnet-sgd, of the port sgd)")
    try b.option(&c.momentum, "--mom", value: "FACTOR", help: "momentum")
    try b.option(
      &clipNorm, "--clip-norm", value: "X",
      help: "largest norm of the gradient; 0: any (default: 0, of synth 5)")
    try b.option(
      &c.landmarkWeight, "--landmark-weight", value: "X",
      help: "LANDMARK_LR_MULT (default: 2, of mnet 2.5, of synth 0.5)",
      expected: "0 or more", where: { $0 >= 0 && $0.isFinite })
    try b.option(
      &c.anchorsPerImage, "--anchors-per-image", value: "N",
      help: "anchors of a stride that give a loss: RPN_BATCH_SIZE")
    try b.option(
      &cropScales, "--crop-scales", value: "LIST", separator: ",",
      help: "sides of the cut in shares of the shorter side (default: 0.3,0.45,0.6,0.8,1; of synth 1)")
    try b.option(&c.augmentation.colourStrength, "--jitter", value: "X", help: "how far colours vary; 0: not at all")
    try b.option(
      &colourMode, "--color-mode", value: "1|2",
      help: "brightness alone, or contrast and saturation too (default: 2, of mnet 1)",
      expected: "1 or 2", where: { $0 == 1 || $0 == 2 })
    b.section("Evaluation")
    try b.option(&c.validation, "--val", value: "FOLDER", help: "labelled photos to judge the network on")
    try b.option(
      &evaluateEvery, "--eval-every", value: "STEPS",
      help: "judge every so many steps; 0: after each epoch (default: 0, of synth 1000)",
      expected: "0 or more", where: { $0 >= 0 })
    try b.option(
      &c.probeBatches, "--loss-batches", value: "N",
      help: "take the loss of so many batches of training crops, always the same ones, at the start and with each "
        + "judgement", expected: "0 to 10000", where: { (0...10_000).contains($0) })
    b.section("Synthetic scenes (--dataset synth)")
    try b.option(&scenes, "--scenes", value: "N", help: "scenes of an epoch; all are new in each")
    try b.option(&sceneSize, "--scene-size", value: "S", help: "side of a scene (default: --image-size)")
    try b.option(
      &sceneFaces, "--scene-faces", value: "N", help: "faces of a scene, at most", expected: "1 to 100",
      where: { (1...100).contains($0) })
    try b.option(
      &c.heldOutScenes, "--held-out", value: "N", help: "other scenes to judge the network on", expected: "0 to 10000",
      where: { (0...10_000).contains($0) })
    b.section("Run")
    try b.option(&c.seed, "--seed", value: "N", help: "determines weights, order and augmentation")
    try b.option(&device, "--device", value: "DEVICE", help: "cpu, cuda or cuda:N (default: by CUDA_VISIBLE_DEVICES)")
    try b.option(
      &c.threads, "--threads", value: "N", help: "threads of a tensor operation (default: one a core)",
      expected: "a number from 1 on", where: { $0 >= 1 })
    try b.option(
      &c.decodeThreads, "--decode-threads", value: "N", help: "threads that read or draw images",
      expected: "1 to 256", where: { (1...256).contains($0) })
    try b.flag(&c.resumes, "--resume", help: "go on from the last saved state, bit for bit")
    try b.option(
      &c.stateEvery, "--state-every", value: "STEPS",
      help: "save the state every so many steps; 0: about every 5 minutes",
      expected: "0 or more", where: { $0 >= 0 })
    try b.flag(
      &c.isStrict, "--strict", help: "a photo that cannot be read ends the run (otherwise: counted and skipped)")
  }

  mutating func run() throws {
    c.device = try DeviceChoice.resolve(device)
    c.mirrors = !noFlip
    let defaults = Defaults(c.network)
    c.augmentation.isColourWide = colourMode.map { $0 == 2 } ?? (c.network != .mnet)
    let isSynthetic = dataset == "synth" && datasetPath == nil
    // The port keeps its own recipe.
    let followsScenes = isSynthetic && c.network.port == nil
    c.batchSize = batchSize ?? (followsScenes ? SceneRecipe.batchSize : defaults.batchSize)
    c.imageSize = imageSize ?? (followsScenes ? SceneRecipe.imageSize : defaults.imageSize)
    c.optimizer = optimizer ?? (followsScenes ? .adamw : c.network.port == nil ? .mxnetSGD : .sgd)
    c.clipNorm = clipNorm ?? (followsScenes ? SceneRecipe.clipNorm : 0)
    c.landmarkWeight = c.landmarkWeight ?? (followsScenes ? SceneRecipe.landmarkWeight : nil)
    c.evaluateEvery = evaluateEvery ?? (followsScenes ? SceneRecipe.evaluateEvery : 0)
    let hasSchedule = schedule != nil || !updateSteps.isEmpty || !epochSteps.isEmpty || c.endEpoch > 0
    c.maxSteps = maxSteps ?? (followsScenes && !hasSchedule ? SceneRecipe.maxSteps : 0)
    if isSynthetic {
      let settings = SceneSettings(size: sceneSize ?? c.imageSize, faces: 1...sceneFaces, seed: c.seed)
      c.data = .scenes(settings, perEpoch: scenes)
    } else {
      let named = ["retinaface", "widerface"].contains(dataset) ? "data/\(dataset)" : dataset
      c.data = .folder(datasetPath ?? named)
    }
    c.augmentation.cropScales =
      !cropScales.isEmpty ? cropScales : isSynthetic ? [1] : DetectionAugmentation().cropScales
    c.schedule = try makeSchedule(followsScenes: followsScenes, hasSchedule: hasSchedule)
    if let text = c.pretrained, let epoch = pretrainedEpoch {
      guard !text.contains(",") else {
        throw DetectionTrainingError("--pretrained \(text) names a number, and so does --pretrained_epoch \(epoch)")
      }
      c.pretrained = "\(text),\(epoch)"
    }
    StopSignal.install()
    if case .interrupted(let signal) = try DetectionTrainer(c).run() { throw ExitCode(128 + signal) }
  }

  private func makeSchedule(followsScenes: Bool, hasSchedule: Bool) throws -> DetectionSchedule {
    var made = DetectionSchedule()
    let defaults = Defaults(c.network)
    made.base = learningRate ?? (followsScenes ? SceneRecipe.learningRate : defaults.learningRate)
    if followsScenes, !hasSchedule {
      made.shape = .updates(.cosine, warmup: min(warmup ?? SceneRecipe.warmup, max(0, c.maxSteps - 1)))
      return made
    }
    let warmup = warmup ?? 0
    if schedule == "cosine" {
      guard updateSteps.isEmpty, epochSteps.isEmpty else {
        throw DetectionTrainingError("--schedule cosine has no steps: leave out --lr-steps and --lr_step")
      }
      made.shape = .updates(.cosine, warmup: warmup)
    } else if !updateSteps.isEmpty {
      guard epochSteps.isEmpty else {
        throw DetectionTrainingError("--lr-steps counts updates, --lr_step epochs: give one of them")
      }
      made.shape = .updates(.steps(updateSteps), warmup: warmup)
    } else {
      guard warmup == 0 else {
        throw DetectionTrainingError("--warmup-steps goes with --schedule cosine or --lr-steps")
      }
      made.shape = .epochs(epochSteps.isEmpty ? defaults.epochs : epochSteps)
    }
    return made
  }
}
