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

  static func describe(
    _ options: TrainingOptions, _ c: RecognitionConfiguration, _ settings: UpdateSettings, _ log: RunLog
  ) {
    log.note("note: seed \(options.seed), \(options.device), \(Torch.threadCount) threads, LibTorch \(Torch.version)")
    if !c.givenRecipe.isEmpty { log.note("note: beyond the reference \(c.givenRecipe)") }
    if settings.parts > 1 {
      log.note(
        "note: an update takes \(settings.parts) parts of \(c.int("per_batch_size")) images and the mean of their "
          + "gradients, as one batch of \(c.imagesPerUpdate); steps, schedule and speed count updates")
    }
    if let reason = settings.reasonForHeadOptimizer {
      log.note("note: \(reason): the head leaves its fused update for one that has its whole gradient")
    }
    if let limit = settings.clipNorm {
      log.note(
        "note: the gradient of \(settings.clipsHead ? "backbone and head" : "the backbone") is clipped to the norm "
          + PythonValue.float(limit))
    }
    if settings.frozenSteps > 0 {
      log.note("note: the backbone is frozen for \(settings.frozenSteps) steps (running statistics, no dropout)")
    }
    if settings.precision != .float32 {
      log.note(
        "note: convolutions and linear maps in \(settings.precision); weights, optimizer, batch statistics, embeddings and "
          + "loss in float32" + (settings.precision == .float16 ? ", gradients scaled" : ""))
    }
    if options.marginWarmup > 0 { log.note("note: the margin grows over the first \(options.marginWarmup) steps") }
    if options.scaleWarmup > 0 {
      let scale = c.margin.scale
      log.note(
        "note: the scale grows from \(PythonValue.float(scale / 4)) to \(PythonValue.float(scale)) over the "
          + "first \(options.scaleWarmup) steps")
    }
    if options.learningRateWarmup > 0 {
      log.note("note: the learning rate grows over the first \(options.learningRateWarmup) steps")
    }
    if let gradient = options.marginGradient { log.note("note: the margin's gradient is \(gradient.rawValue)") }
  }

  /// Says what the run needs and what is free; an error where it will not fit.
  static func checkMemory(
    _ graph: NetworkGraph, _ c: RecognitionConfiguration, _ settings: UpdateSettings, _ log: RunLog
  ) throws {
    let estimate = try MemoryEstimate(graph, c, settings)
    let free = MemoryEstimate.free(on: settings.device)
    log.note(estimate.line(free: free))
    if let warning = try estimate.check(free: free, allowsOversize: c.bool("allow_oversize")) { log.note(warning) }
  }

  /// What the reference's symbol of this loss has behind the embedding; nil for losses that it does not have.
  static func trainingSymbol(_ c: RecognitionConfiguration) -> TrainingSymbol? {
    let loss: TrainingSymbol.Loss
    switch c.string("loss_name") {
    case "softmax": loss = .softmax(hasBias: !c.bool("fc7_no_bias"))
    case "margin_softmax": loss = .margin(c.margin)
    default: return nil
    }
    return TrainingSymbol(
      loss: loss, classCount: c.int("num_classes"), embeddingSize: c.int("emb_size"),
      batchSize: c.int("per_batch_size"), reportsLoss: c.bool("ce_loss"),
      multipliers: (c.double("fc7_lr_mult"), c.double("fc7_wd_mult")))
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

  /// Fills network and, where the checkpoint has one that fits, head.
  static func loadPretrained(
    _ c: RecognitionConfiguration, _ options: TrainingOptions, _ network: TrainableNetwork,
    _ head: any Head, _ log: RunLog
  ) throws {
    let location = CheckpointLocation(c.string("pretrained"), epoch: c.int("pretrained_epoch"))
    log.out("loading \(location.prefix) \(location.epoch)")
    let checkpoint = try Checkpoint(location)
    let report = try network.load(checkpoint, allowMissing: true)
    guard report.isComplete || options.allowMissing else {
      throw ConfigurationError(
        "\(location.parametersPath) does not fit --network \(c.string("network")): \(report). "
          + (NetworkProposal(checkpoint.graph).map { "\($0), or go" } ?? "Choose the --network it was made with, or go")
          + " on with what fits: --allow-missing")
    }
    log.note("note: backbone: \(location.parametersPath): \(report)")
    for (source, target) in report.renamed.prefix(20) { log.note("note: \(source) is \(target) here") }
    try loadHead(c, options, head, checkpoint, log)
  }

  /// The head's part of a checkpoint, as `--head` wants it.
  private static func loadHead(
    _ c: RecognitionConfiguration, _ options: TrainingOptions, _ head: any Head, _ checkpoint: Checkpoint,
    _ log: RunLog
  ) throws {
    guard c.headStart == .keep else {
      if !checkpoint.others.isEmpty && !head.parameters.isEmpty {
        log.note("note: head: that of the checkpoint is left aside (--head \(c.headStart.rawValue))")
      }
      return
    }
    let path = checkpoint.location.parametersPath
    for parameter in head.parameters + head.buffers {
      guard let stored = checkpoint.others[parameter.name] else {
        let isWeight = head.parameters.contains { $0.name == parameter.name }
        log.note(
          "note: head: the checkpoint has no \(parameter.name) (ckpt_embedding leaves it out): "
            + (isWeight
              ? "it starts from random weights; --head class-mean starts it from the identities' mean embeddings"
              : "it starts anew"))
        continue
      }
      guard stored.shape == parameter.tensor.shape else {
        let problem = "\(parameter.name) is \(stored.shape) in the checkpoint, \(parameter.tensor.shape) here"
        guard options.allowMissing else {
          throw ConfigurationError(
            "\(path): \(problem). Start the head anew: --head random or --head class-mean (--allow-missing: random)")
        }
        log.note("note: head: \(problem): it starts from random weights")
        continue
      }
      parameter.tensor.copy(from: Tensor(stored.floats(), shape: stored.shape))
      log.note("note: head: \(parameter.name) \(stored.shape) from the checkpoint")
    }
  }

  /// Starts the head from the identities' mean embeddings.
  static func fillHead(
    _ c: RecognitionConfiguration, _ options: TrainingOptions, _ network: TrainableNetwork, _ head: any Head,
    _ file: FaceRecordFile, _ progress: ProgressLine, _ log: RunLog
  ) throws {
    guard let weight = head.parameters.first(where: { $0.name == "fc7_weight" })?.tensor else {
      log.note(
        "note: head: --loss \(c.string("loss")) has no weights for identities: --head class-mean has nothing to do")
      return
    }
    if c.string("pretrained").isEmpty {
      log.note("warning: --head class-mean with a network of random weights: the means say little; give --pretrained")
    }
    let source = try FaceRecordSource(
      file, imageSize: c.ints("image_shape")[0], classCount: c.int("num_classes"),
      augmentation: .init(mirrors: false), minimumImages: c.int("data_images_filter"))
    let means = ClassMeans(
      network: network, device: options.device, batchSize: min(c.int("per_batch_size"), 256)
    ) { done, total in
      progress.show("mean embeddings: \(done) of \(total) images")
      if let signal = StopSignal.pending {
        throw ConfigurationError("signal \(signal) while the head's first weights were computed: nothing is saved yet")
      }
    }
    let report = try means.fill(weight, classCount: c.int("num_classes"), from: source)
    progress.clear()
    log.note(
      "note: head: \(report.filledClasses) of \(c.int("num_classes")) identities start from the mean of their embeddings "
        + "(\(report.images) images\(report.unreadable > 0 ? ", \(report.unreadable) could not be read" : "")), "
        + "the others from random weights")
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

  /// The batches of a run: all faces in a drawn order, or mined triplets.
  static func feed(
    _ c: RecognitionConfiguration, _ options: TrainingOptions, _ source: FaceRecordSource,
    _ network: TrainableNetwork, batchSize: Int, start: BatchPosition, state: TrainingState.Reader?, log: RunLog
  ) throws -> any BatchFeed {
    let statePath = "\(folder(c))/state.safetensors"
    guard start.epoch >= 0, start.batch >= 0 else {
      throw FormatError(.corrupt, "the state's place (\(start.epoch), \(start.batch)) is negative", path: statePath)
    }
    let threads = options.decodeThreads ?? decodeThreads()
    guard c.recognitionLoss.isTriplet else {
      return try BatchLoader(
        source, .init(batchSize: batchSize, seed: options.seed, threads: threads, isStrict: options.isStrict),
        start: start)
    }
    let size = source.imageSize
    let plain = try FaceRecordSource(
      source.file, imageSize: size, classCount: c.int("num_classes"), augmentation: .init(mirrors: false),
      minimumImages: c.int("data_images_filter"))
    let settings = TripletFeed.Settings(
      batchSize: batchSize, bagSize: c.int("triplet_bag_size"), imagesPerIdentity: c.int("images_per_identity"),
      miner: TripletMiner(
        alpha: c.double("triplet_alpha"), largestPositive: c.double("triplet_max_ap"), seed: options.seed),
      decodeThreads: threads, isStrict: options.isStrict)
    return try TripletFeed(
      source, plain: plain, settings: settings, start: start, state: state.map { ($0, statePath) },
      embed: { batch in
        let wasTraining = network.isTraining
        network.setTraining(false)
        defer { network.setTraining(wasTraining) }
        return try withoutGrad {
          try Torch.catching {
            let images = Tensor(
              bytes: UnsafeRawBufferPointer(batch.pixels.bytes), shape: [batch.labels.count, size, size, 3],
              dtype: .uint8
            ).to(nil, options.device).permuted([0, 3, 1, 2])
            return network(images)
          }
        }
      }, log: { log.out($0) })
  }

  /// `MXNET_CPU_WORKER_NTHREADS`, else one thread a core, two at most.
  static func decodeThreads() -> Int {
    if let text = ProcessInfo.processInfo.environment["MXNET_CPU_WORKER_NTHREADS"], let count = Int(text), count > 0 {
      return min(count, 256)
    }
    return max(1, min(2, ProcessInfo.processInfo.activeProcessorCount))
  }
}
