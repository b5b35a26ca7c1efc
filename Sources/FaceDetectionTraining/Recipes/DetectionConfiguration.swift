import FaceDetection
import Foundation
import Torch

/// The networks that `detect train` builds, under the reference's names.
public enum DetectionNetwork: String, Sendable, CaseIterable {
  /// MobileNet v1 with a quarter of its channels.
  case mnet
  /// ResNet v2 of 50 layers.
  case resnet
  /// ResNet v2 of 152 layers.
  case resnet152
  /// The PyTorch port's network on MobileNet v1 with a quarter of its channels.
  case portMobile = "mobile0.25"
  /// The PyTorch port's network on ResNet-50.
  case portResNet50 = "port-resnet50"

  /// The port's network; nil for those of the reference.
  public var port: PyTorchRetinaFace? {
    switch self {
    case .portMobile: PyTorchRetinaFace(backbone: .mobileNet025)
    case .portResNet50: PyTorchRetinaFace(backbone: .resNet50)
    case .mnet, .resnet, .resnet152: nil
    }
  }

  /// The network with these heads.
  func network(_ pyramid: RetinaFaceNetwork.Pyramid, _ anchors: ReferenceNetwork) -> RetinaFaceNetwork {
    let backbone: RetinaFaceNetwork.Backbone =
      switch self {
      case .mnet, .portMobile: .mobileNet025
      case .resnet, .portResNet50: .resNet50
      case .resnet152: .resNet152
      }
    let levels = anchors.levels
    return RetinaFaceNetwork(
      backbone: backbone, pyramid: pyramid, strides: levels.map(\.stride), anchors: levels.first?.boxes.count ?? 2)
  }
}

/// Where the training images come from.
public enum DetectionData: Sendable, Equatable {
  /// Labelled photos in a folder.
  case folder(String)
  /// Synthetic scenes, drawn as they are needed.
  case scenes(SceneSettings, perEpoch: Int)
}

/// How a detector is trained: the reference's sample_config.py and the arguments of its train.py.
public struct DetectionConfiguration: Sendable {
  /// What is trained.
  public var network = DetectionNetwork.mnet
  /// How its pyramid is built.
  public var pyramid = RetinaFaceNetwork.Pyramid.current
  /// Its anchors and strides.
  public var anchors = ReferenceNetwork.net3
  /// Path and begin of the names of what is written.
  public var prefix = "./model/retinaface"
  /// Where images come from.
  public var data: DetectionData
  /// Labelled photos to judge the network on; nil: none, or held-out scenes where the data are scenes.
  public var validation: String?
  /// Held-out scenes to judge the network on.
  public var heldOutScenes = 100
  /// Batches of training crops, always the same ones, whose loss is taken at the start and with each judgement; 0: none.
  public var probeBatches = 0
  /// Steps between two judgements; 0: at the end of each epoch.
  public var evaluateEvery = 0
  /// S, a multiple of the largest stride; of the port's networks a multiple of 8.
  public var imageSize = 640
  /// Images of a batch.
  public var batchSize = 8
  /// What happens to images on their way in.
  public var augmentation = DetectionAugmentation()
  /// Whether photos are mirrored.
  public var mirrors = true
  /// `LANDMARK_LR_MULT`; nil: 2.5 for mnet, 2 for the others.
  public var landmarkWeight: Double?
  /// Anchors of an image and a stride that give a loss: `RPN_BATCH_SIZE`.
  public var anchorsPerImage = 256
  /// The learning rate's course.
  public var schedule = DetectionSchedule()
  /// What moves the weights.
  public var optimizer = OptimizerKind.mxnetSGD
  /// Weight decay, on every parameter.
  public var weightDecay = 5e-4
  /// Momentum.
  public var momentum = 0.9
  /// The largest norm of the gradient; 0: any, as in the reference.
  public var clipNorm = 0.0
  /// A checkpoint to start from, `PREFIX[,EPOCH]`: of RetinaFace, or of a backbone; nil: from scratch.
  public var pretrained: String?
  /// Steps to train; 0: as the schedule and `endEpoch` say.
  public var maxSteps = 0
  /// Passes over the data; 0: no end.
  public var endEpoch = 0
  /// Steps between two lines of the log.
  public var frequent = 20
  /// Determines weights, order and draws.
  public var seed: UInt64 = 727
  /// Where it is computed.
  public var device = Device.cpu
  /// Threads of a tensor operation; nil leaves LibTorch's choice.
  public var threads: Int?
  /// Threads that read images.
  public var decodeThreads = 2
  /// Whether to go on from the last saved state.
  public var resumes = false
  /// Steps between two saved states; 0: about every five minutes.
  public var stateEvery = 0
  /// Whether a photo that cannot be read ends the run.
  public var isStrict = false

  /// The defaults for these data.
  public init(data: DetectionData) { self.data = data }

  /// What a trained network's outputs mean.
  var detector: DetectorConfiguration { network.port == nil ? .reference(anchors) : .pyTorch }

  /// The loss.
  var objective: any DetectionObjective {
    guard network.port == nil else { return MultiBoxLoss(imageSize: imageSize) }
    return MultiTaskLoss(
      anchors: anchors.levels, imageSize: imageSize, landmarkWeight: landmarkFactor, anchorsPerImage: anchorsPerImage)
  }

  /// What happens to images on their way in, and whether photos stand in the data twice, the second time mirrored.
  var preparation: (augmentation: any SampleAugmentation, doubles: Bool) {
    guard network.port != nil else { return (augmentation, mirrors) }
    let port = PortAugmentation(
      cropScales: augmentation.cropScales, distortsColours: augmentation.colourStrength > 0, mirrors: mirrors)
    return (port, false)
  }

  /// How many parameters stay as they are: the reference holds the first layers of mnet where a checkpoint put them
  /// (`LAYER_FIX`).
  var fixedParameters: Int { network == .mnet && pretrained != nil ? 6 : 0 }

  /// What the landmark loss is weighted with.
  var landmarkFactor: Double { landmarkWeight ?? (network == .mnet ? 2.5 : 2) }

  /// Checks numbers that come from flags.
  func validate() throws(DetectionTrainingError) {
    let stride = anchors.levels.map(\.stride).max() ?? 32
    let multiple = network.port == nil ? max(32, stride) : 8
    guard imageSize >= max(32, multiple), imageSize <= 4096, imageSize % multiple == 0 else {
      throw DetectionTrainingError("--image-size \(imageSize): expected a multiple of \(multiple) up to 4096")
    }
    guard batchSize >= 1, batchSize <= 4096 else {
      throw DetectionTrainingError("--per-batch-size \(batchSize): expected 1 to 4096")
    }
    guard anchorsPerImage >= 4, anchorsPerImage <= 1_000_000 else {
      throw DetectionTrainingError("--anchors-per-image \(anchorsPerImage): expected 4 to 1000000")
    }
    guard schedule.base > 0, schedule.base.isFinite else {
      throw DetectionTrainingError("--lr \(schedule.base): expected a number above 0")
    }
    guard weightDecay >= 0, weightDecay.isFinite, (0..<1).contains(momentum), clipNorm >= 0, clipNorm.isFinite else {
      throw DetectionTrainingError("--wd and --clip-norm must be 0 or more, --mom from 0 to below 1")
    }
    guard augmentation.cropScales.allSatisfy({ $0 >= 0.05 && $0 <= 1 }), (0...1).contains(augmentation.colourStrength)
    else { throw DetectionTrainingError("--crop-scales must lie between 0.05 and 1, --jitter between 0 and 1") }
    if case .scenes(let settings, let count) = data {
      guard (64...4096).contains(settings.size), count >= batchSize, count <= 1 << 30 else {
        throw DetectionTrainingError(
          "--scenes \(count) of \(settings.size) pixels: expected at least one batch, and 64 to 4096 pixels")
      }
    }
  }
}

/// The learning rate's course.
public struct DetectionSchedule: Sendable, Equatable {
  /// How the rate changes.
  public enum Shape: Sendable, Equatable {
    /// The reference's `--lr_step`: in epochs. Of five the factors are 0.5, 0.5, 0.4, 0.1, 0.1; of eight the first five
    /// raise the rate by 1.5849 each; otherwise each is a tenth. The run ends at the last one.
    case epochs([Int])
    /// By the number of updates.
    case updates(LearningRateSchedule.Shape, warmup: Int)
  }

  /// The rate at the start.
  public var base = 0.01
  /// How it changes.
  public var shape = Shape.epochs([55, 68, 80])

  /// The reference's defaults.
  public init() {}

  /// The steps after which the rate changes, and by what factor.
  func changes(imageCount: Int, batchSize: Int) -> [(step: Int, factor: Double)] {
    guard case .epochs(let epochs) = shape else { return [] }
    let factors: [Double] =
      switch epochs.count {
      case 5: [0.5, 0.5, 0.4, 0.1, 0.1]
      case 8: [1.5849, 1.5849, 1.5849, 1.5849, 1.5849, 0.1, 0.1, 0.1]
      default: epochs.map { _ in 0.1 }
      }
    return zip(epochs, factors).map { epoch, factor in
      let (images, overflow) = epoch.multipliedReportingOverflow(by: imageCount)
      return (step: overflow ? .max : images / batchSize, factor: factor)
    }
  }

  /// The rate of the update number `step` (from 1), and the last step where the schedule has one.
  func rates(imageCount: Int, batchSize: Int, total: Int) -> (rate: @Sendable (Int) -> Double, last: Int?) {
    let base = base
    switch shape {
    case .epochs:
      let changes = changes(imageCount: imageCount, batchSize: batchSize)
      return (
        { step in changes.reduce(base) { $1.step < step ? $0 * $1.factor : $0 } }, changes.map(\.step).max()
      )
    case .updates(let shape, let warmup):
      let schedule = LearningRateSchedule(base: base, shape: shape, warmup: warmup, total: total)
      return ({ schedule.rate(step: $0) }, nil)
    }
  }
}
