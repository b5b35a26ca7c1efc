import Arguments
import Charts
import FaceRecognition
import FaceRecognitionTraining
import Formats
import Foundation
import Imaging
import Jobs
import SyntheticFaces
import Torch
import Training

/// `insightface quickstart`: the main job on built-in data.
struct QuickstartCommand: Command {
  static let name = "quickstart"
  static let summary = "Make faces, train MobileFaceNet + ArcFace on them, verify on people held out"
  static let discussion = """
    Draws faces of people who do not exist, packs them as train.rec, trains MobileFaceNet (y1) with ArcFace from scratch,
    and verifies on pairs of other people, beside the comparison of raw pixels. Takes minutes on two cores.

      insightface quickstart --output quickstart
    """

  private var output = "quickstart"
  private var seed: UInt64 = 1
  private var device: String?
  private var identities = Recipe.standard.identities
  private var images = Recipe.standard.images
  private var steps = Recipe.standard.steps

  /// What is trained, and how.
  struct Recipe {
    var identities: Int
    var images: Int
    var batchSize: Int
    var steps: Int
    var rate: Double
    var scale: Double
    /// Chosen on the built-in data: ArcFace from scratch on few identities stalls when the whole margin is there at once.
    static let standard = Recipe(identities: 200, images: 60, batchSize: 32, steps: 375, rate: 0.1, scale: 16)
  }

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&output, "--output", value: "FOLDER", help: "where data, checkpoints and plots are written")
    try b.option(&seed, "--seed", value: "N", help: "determines faces, weights and order")
    try b.option(&device, "--device", value: "DEVICE", help: "cpu, cuda or cuda:N (default: by CUDA_VISIBLE_DEVICES)")
    try b.option(
      &identities, "--identities", value: "N", help: "people to train on", expected: "2 or more", where: { $0 >= 2 })
    try b.option(&images, "--images", value: "N", help: "images of each", expected: "1 or more", where: { $0 >= 1 })
    try b.option(&steps, "--steps", value: "N", help: "training steps", expected: "1 or more", where: { $0 >= 1 })
  }

  mutating func run() throws {
    let began = seconds()
    let recipe = Recipe.standard
    let device = try DeviceChoice.resolve(device)
    let data = "\(output)/data"
    try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
    try draw(into: data)
    let drawn = seconds()

    var configuration = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "synth")
    for (key, value) in [
      ("dataset_path", data), ("models_root", "\(output)/models"), ("val_targets", "synth"), ("ckpt", "2"),
      ("per_batch_size", "\(recipe.batchSize)"), ("lr", "\(recipe.rate)"), ("loss_s", "\(recipe.scale)"),
      ("lr_steps", "\(max(1, steps * 2 / 3)),\(max(1, steps * 7 / 8))"), ("max_steps", "\(steps)"),
      ("verbose", "\(steps)"), ("frequent", "20"),
    ] {
      try configuration.set(key, value, from: "quickstart")
    }
    var options = TrainingOptions()
    options.seed = seed
    options.device = device
    options.marginWarmup = 3 * steps
    options.learningRateWarmup = min(20, steps)
    StopSignal.install()
    var losses: [LineChart.Point] = []
    let trainer = try RecognitionTrainer(configuration, options) { step in
      losses.append(LineChart.Point(x: Double(step.step), y: step.loss))
    }
    if case .interrupted(let signal) = try trainer.run() { throw ExitCode(128 + signal) }
    let trained = seconds()

    let folder = RecognitionTrainer.folder(configuration)
    let checkpoint = try Checkpoint(CheckpointLocation(folder, epoch: 1))
    let network = try checkpoint.network()
    network.move(to: device)
    let set = try VerificationImages(path: "\(data)/synth.bin", imageSize: 112)
    var embedder = NetworkEmbedder(network, device: device, imageSize: 112)
    let evaluator = VerificationEvaluator()
    guard let embedded = try set.embeddings(batchSize: 32, embed: { try embedder($0, $1) }),
      let pixels = try set.embeddings(batchSize: 32, embed: rawPixels)
    else { return }
    let report = try evaluator.evaluate(
      original: embedded.original, flipped: embedded.flipped, isSame: set.isSame)
    let baseline = try evaluator.evaluate(embeddings: pixels.original, isSame: set.isSame)
    try plot(losses, report, baseline)

    print("")
    print("people             \(identities) to train on, with \(images) images each; pairs are of other people")
    print("drawing            \(fixed(drawn - began, 1)) s")
    print("training           \(fixed(trained - drawn, 1)) s, \(steps) steps of \(recipe.batchSize)")
    print("checkpoint         \(checkpoint.location.parametersPath)")
    print("plots              \(output)/loss.svg, \(output)/roc.svg")
    print("raw pixels         \(fixed(baseline.accuracy, 5))+-\(fixed(baseline.accuracyDeviation, 5))")
    print(VerificationLog.xNorm(set.name, report.xNorm))
    print(VerificationLog.accuracy(set.name, report.original))
    print(VerificationLog.accuracyFlip(set.name, report.flip))
  }

  private func draw(into folder: String) throws {
    let generator = FaceGenerator(seed: seed)
    let progress = ProgressLine()
    try GeneratedDataset(identities: identities, imagesPerIdentity: images, seed: seed, threads: 2).write(
      to: folder,
      draw: { try generator.jpeg(identity: $0.identity, index: $0.index) },
      progress: { done, total in progress.show("drawing faces: \(done) of \(total)") })
    progress.finish()
    print("drew \(identities * images) faces of \(identities) people into \(folder)")
  }

  /// The images themselves as embeddings: what comparing without learning gets.
  private func rawPixels(
    _ pixels: UnsafeBufferPointer<UInt8>, _ count: Int
  ) throws -> (original: [Float], flipped: [Float]) {
    let values = pixels.map { Float($0) }
    return (values, values)
  }

  private func plot(
    _ losses: [LineChart.Point], _ report: FlipVerificationReport, _ baseline: VerificationReport
  ) throws {
    let curve = LineChart(
      title: "MobileFaceNet + ArcFace", xLabel: "step", yLabel: "loss", series: [.init(name: "loss", points: losses)])
    try AtomicFile.write(curve.svg().utf8, to: "\(output)/loss.svg")
    let roc = VerificationReport.rocChart(
      title: "People held out", [(name: "trained", report: report.flip), (name: "raw pixels", report: baseline)])
    try AtomicFile.write(roc.svg().utf8, to: "\(output)/roc.svg")
  }
}
