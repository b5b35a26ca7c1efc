import FaceRecognition
import Formats
import Foundation
import Inference
import Jobs
import Torch
import Training

extension RecognitionTrainer {
  /// `num_classes` from the property file where nobody gave it; an error where the two disagree.
  static func completeClassCount(_ c: inout RecognitionConfiguration, _ dataset: String) throws {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: dataset, isDirectory: &isDirectory), isDirectory.boolValue else {
      throw FormatError(
        .notFound, "there is no data set folder", path: dataset,
        advice: "give the folder that holds train.rec, train.idx and property with --dataset-path")
    }
    let path = "\(dataset)/property"
    guard FileManager.default.fileExists(atPath: path) else {
      if c.int("num_classes") > 0 { return }
      let identities = try FaceRecordFile(path: "\(dataset)/train.rec").identityCount
      guard let identities else {
        throw FormatError(
          .notFound, "there is no property file, and the record file does not say how many identities it holds",
          path: path, advice: "set num_classes (--set num_classes=…), or write a line 'num_classes,112,112' into it")
      }
      c.set("num_classes", .int(identities))
      return
    }
    let property = try Property(path: path)
    if c.isGiven("num_classes") {
      guard c.int("num_classes") >= property.classCount else {
        throw FormatError(
          .mismatch, "num_classes is \(c.int("num_classes")), the property file says \(property.classCount)",
          path: path,
          advice: "leave num_classes out, or set it to \(property.classCount)")
      }
    } else {
      c.set("num_classes", .int(property.classCount))
    }
    let shape = c.ints("image_shape")
    guard property.height == shape[0] && property.width == shape[1] else {
      throw FormatError(
        .mismatch,
        "the images are \(property.width)×\(property.height), image_shape is \(shape[1])×\(shape[0])", path: path,
        advice: "set image_shape=\(property.height),\(property.width),3")
    }
  }

  static func describe(_ options: TrainingOptions, _ margin: Margin, _ log: RunLog) {
    log.note("note: seed \(options.seed), \(options.device), \(Torch.threadCount) threads, LibTorch \(Torch.version)")
    if options.marginWarmup > 0 { log.note("note: the margin grows over the first \(options.marginWarmup) steps") }
    if options.scaleWarmup > 0 {
      log.note(
        "note: the scale grows from \(PythonValue.float(margin.scale / 4)) to \(PythonValue.float(margin.scale)) over the "
          + "first \(options.scaleWarmup) steps")
    }
    if options.learningRateWarmup > 0 {
      log.note("note: the learning rate grows over the first \(options.learningRateWarmup) steps")
    }
    if options.marginGradient == .straightThrough {
      log.note("note: the margin's gradient is straight-through, as in arcface_torch")
    }
  }

  /// The network by its name; the configuration was made for one of them.
  static func network(_ c: RecognitionConfiguration) throws(ConfigurationError) -> RecognitionNetwork {
    guard let network = RecognitionNetwork(rawValue: c.string("network")) else {
      throw ConfigurationError(
        "network=\(c.string("network")): expected one of "
          + RecognitionNetwork.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return network
  }

  /// The network's switches as the configuration sets them.
  static func networkSettings(_ c: RecognitionConfiguration) -> NetworkSettings {
    NetworkSettings(
      imageSize: c.ints("image_shape")[0], embeddingSize: c.int("emb_size"),
      output: NetworkOutput(rawValue: c.string("net_output")) ?? .e, unit: c.int("net_unit"),
      hasSqueezeExcitation: c.int("net_se") != 0, activation: ActivationKind(rawValue: c.string("net_act")) ?? .prelu,
      input: c.int("net_input"), multiplier: c.double("net_multiplier"), blocks: c.ints("net_blocks"),
      momentum: c.double("bn_mom"))
  }

  static func head(_ c: RecognitionConfiguration, _ options: TrainingOptions, _ generator: Generator) -> any Head {
    let (classes, size) = (c.int("num_classes"), c.int("emb_size"))
    let (momentum, decay) = (c.double("mom"), c.double("wd"))
    if c.string("loss_name") == "softmax" {
      return SoftmaxHead(
        classCount: classes, embeddingSize: size, hasBias: !c.bool("fc7_no_bias"), momentum: momentum,
        weightDecay: decay, device: options.device, generator: generator)
    }
    return MarginSoftmaxHead(
      classCount: classes, embeddingSize: size, margin: c.margin, marginGradient: options.marginGradient,
      momentum: momentum, weightDecay: decay, device: options.device, generator: generator)
  }

  /// Fills network and, where the checkpoint has one that fits, head.
  static func loadPretrained(
    _ c: RecognitionConfiguration, _ options: TrainingOptions, _ network: TrainableNetwork,
    _ head: any Head, _ log: RunLog
  ) throws {
    let location = CheckpointLocation(c.string("pretrained"), epoch: c.int("pretrained_epoch"))
    log.out("loading \(location.prefix) \(location.epoch)")
    let checkpoint = try Checkpoint(
      location, network: location.isPyTorch ? Self.network(c) : nil, allowsMissing: options.allowMissing)
    let report = try network.load(checkpoint, allowMissing: options.allowMissing)
    log.note("note: \(location.parametersPath): \(report)")
    for (source, target) in report.renamed.prefix(20) { log.note("note: \(source) is \(target) here") }
    for parameter in head.parameters {
      guard let stored = checkpoint.others[parameter.name] else {
        log.note("note: the checkpoint has no \(parameter.name): the head starts from random weights")
        continue
      }
      guard stored.shape == parameter.tensor.shape else {
        let problem = "\(parameter.name) is \(stored.shape) in the checkpoint, \(parameter.tensor.shape) here"
        guard options.allowMissing else {
          throw ConfigurationError("\(location.parametersPath): \(problem); with --allow-missing it starts from random")
        }
        log.note("note: \(problem): the head starts from random weights")
        continue
      }
      parameter.tensor.copy(from: Tensor(stored.floats(), shape: stored.shape))
    }
  }

  /// The sets of `val_targets` that are in the folder; where none is, every `.bin` there.
  static func verificationSets(
    _ c: RecognitionConfiguration, _ dataset: String, _ imageSize: Int
  ) throws -> [VerificationImages] {
    let wanted = c.strings("val_targets").map { "\(dataset)/\($0).bin" }
    var present = wanted.filter { FileManager.default.fileExists(atPath: $0) }
    if present.isEmpty && !c.isGiven("val_targets") {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: dataset)) ?? []
      present = names.filter { $0.hasSuffix(".bin") }.sorted().map { "\(dataset)/\($0)" }
    }
    return try present.map { try VerificationImages(path: $0, imageSize: imageSize) }
  }

  /// `MXNET_CPU_WORKER_NTHREADS`, else one thread a core, two at most.
  static func decodeThreads() -> Int {
    if let text = ProcessInfo.processInfo.environment["MXNET_CPU_WORKER_NTHREADS"], let count = Int(text), count > 0 {
      return min(count, 256)
    }
    return max(1, min(2, ProcessInfo.processInfo.activeProcessorCount))
  }
}
