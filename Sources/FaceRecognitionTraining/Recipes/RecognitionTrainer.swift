import EventLog
import FaceRecognition
import Formats
import Foundation
import Inference
import Jobs
import Torch
import Training

/// Trains a recognition network: the reference's `train.py`, with a resume that loses nothing.
///
/// All of a run happens on the calling thread (LibTorch keeps its modes and its thread team by thread); the loader has
/// threads of its own.
public final class RecognitionTrainer {
  private let configuration: RecognitionConfiguration
  private let options: TrainingOptions
  private let log: RunLog
  private let progress = ProgressLine()
  private let folder: String
  private let observer: (TrainingStep) throws -> Void

  let network: TrainableNetwork
  private let graph: NetworkGraph
  let head: any Head
  private let update: Update
  private let schedule: LearningRateSchedule
  private let source: FaceRecordSource
  private let sets: [VerificationImages]
  private let loader: any BatchFeed
  private let events: EventWriter
  private let history: RunHistory

  private var step = 0
  private var speedometer: Speedometer
  private var highest = HighestAccuracy()
  private var savedCount = 0
  private var epochBegan = seconds()
  private var lastSpeed = 0.0
  private var stateSavedAt = seconds()
  private var badSamplesTold = 0

  /// The folder of a run's files: `<models_root>/<network>-<loss>-<dataset>`.
  public static func folder(_ c: RecognitionConfiguration) -> String {
    "\(c.string("models_root"))/\(c.string("network"))-\(c.string("loss"))-\(c.string("dataset"))"
  }

  /// Prepares a run: checks the data against the configuration, builds network and head, loads a checkpoint or a state.
  ///
  /// - Parameters:
  ///   - observer: is told every step; what it throws ends the run.
  public init(
    _ configuration: RecognitionConfiguration, _ options: TrainingOptions,
    observer: @escaping (TrainingStep) throws -> Void = { _ in }
  ) throws {
    var configuration = configuration
    self.options = options
    self.observer = observer
    if let threads = options.threads { Torch.threadCount = threads }
    Torch.useDeterministicAlgorithms(true)
    // Who computes activations twice to save memory wants it back.
    if configuration.bool("memonger") { Torch.returnFreedMemory() } else { Torch.keepFreedMemory() }

    let dataset = configuration.string("dataset_path")
    try Self.completeClassCount(&configuration, dataset)
    try configuration.validate()
    try configuration.validateLoss(options)
    self.configuration = configuration

    folder = Self.folder(configuration)
    let statePath = "\(folder)/state.safetensors"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var state: TrainingState.Reader?
    if options.resumes {
      if FileManager.default.fileExists(atPath: statePath) { state = try TrainingState.Reader(path: statePath) }
    }
    log = RunLog(
      path: "\(folder)/train.log", length: try state?.integer("log_length") ?? (options.resumes ? nil : 0))
    log.progress = progress
    let imageSize = configuration.ints("image_shape")[0]
    log.out(options.device.isCPU ? "use cpu" : "gpu num: 1")
    log.out("prefix \(folder)/model")
    log.out("image_size (\(imageSize), \(imageSize))")
    log.out("num_classes \(configuration.int("num_classes"))")
    log.out("Called with argument: \(configuration.namespace(contextCount: 1)) \(configuration.dictionary)")
    log.out("in_network \(configuration.dictionary)")
    for line in configuration.withoutEffect { log.note("note: \(line)") }
    let settings = UpdateSettings(configuration, options)
    Self.describe(options, configuration, settings, log)

    // The network and its head.
    let generator = Generator(seed: options.seed)
    let registered = try Self.network(configuration)
    graph = try registered.graph(configuration.networkSettings)
    try Self.checkMemory(graph, configuration, settings, log)
    network = try TrainableNetwork(graph, isFused: options.isFused)
    registered.initializer.initialize(network, generator)
    if configuration.bool("count_flops") {
      log.out("Network FLOPs: \(NetworkGraph.formatted(operationCount: try graph.operationCount()))")
    }
    head = configuration.recognitionLoss.head(configuration, options, generator)
    (head as? CosineSoftmaxHead)?.allowsBlocks = options.isFused
    if state == nil, !configuration.string("pretrained").isEmpty {
      try Self.loadPretrained(configuration, options, network, head, log)
    }
    network.move(to: options.device)
    update = Update(network, head, settings)

    // The data.
    let recordPath = "\(dataset)/train.rec"
    let isShuffled = configuration.bool("is_shuffled_rec")
    log.out("loading: \(recordPath) \(isShuffled ? "True" : "False")")
    let file = try FaceRecordFile(path: recordPath)
    source = try FaceRecordSource(
      file, imageSize: imageSize, classCount: configuration.int("num_classes"),
      augmentation: .init(
        mirrors: configuration.bool("data_rand_mirror"), cutoff: configuration.int("data_cutoff"),
        color: configuration.int("data_color")),
      minimumImages: configuration.int("data_images_filter"),
      chunkBytes: isShuffled ? configuration.int("shuffle_chunk") << 20 : nil)
    if let count = source.identityCount { log.out("id2range \(count)") }
    log.out("\(source.count)")
    log.out("rand_mirror \(configuration.bool("data_rand_mirror") ? "True" : "False")")
    try source.checkLabels()
    sets = try Self.verificationSets(configuration, dataset, imageSize)
    for set in sets { log.out("ver \(set.name)") }
    if sets.isEmpty && [1, 3].contains(configuration.int("ckpt")) {
      log.note(
        "warning: none of the verification sets \(configuration.strings("val_targets")) is in \(dataset): with --ckpt "
          + "\(configuration.int("ckpt")) no checkpoint will be saved (as in the reference); use --ckpt 2")
    }
    let steps = try configuration.learningRateSteps()
    log.out("lr_steps [\(steps.map(String.init).joined(separator: ", "))]")

    // Schedule, logs.
    let images = configuration.imagesPerUpdate
    schedule = try configuration.learningRates(
      batchesPerEpoch: max(1, source.count / images), warmup: options.learningRateWarmup)
    if configuration.headStart == .classMean, state == nil {
      try Self.fillHead(configuration, options, network, head, file, progress, log)
    }
    speedometer = Speedometer(batchSize: images, frequent: configuration.int("frequent"))

    // A state, if there is one.
    var start = BatchPosition()
    if let state {
      try Self.check(state, configuration, options, source.count, statePath)
      step = try state.integer("step")
      start = BatchPosition(epoch: try state.integer("epoch"), batch: try state.integer("batch"))
      savedCount = try state.integer("saved_count")
      highest = try HighestAccuracy(state)
      speedometer.restore(try state.note("speedometer"), now: seconds())
    }
    loader = try Self.feed(
      configuration, options, source, network, batchSize: images, start: start, state: state, log: log)
    if let state { try update.restore(state) }
    history = try RunHistory(path: "\(folder)/history.csv", keptSteps: step)

    // Everything is sound: only from here on are files of an earlier run touched.
    try log.begin()
    if state != nil {
      if try EventLogTruncation.truncate(folder: folder, afterStep: Int64(step)).removedEventCount > 0 {
        log.note("note: events after step \(step) were taken out of the event files")
      }
      log.note("note: resumed after step \(step) (epoch \(start.epoch), batch \(start.batch)) from \(statePath)")
    } else if options.resumes {
      log.note("note: there is no state in \(folder) yet; the run starts at its first step")
    } else {
      try removeFile(statePath)
      _ = try EventLogTruncation.truncate(folder: folder, afterStep: -1)
    }
    try history.begin()
    events = try EventWriter(folder: folder)
  }

  // MARK: The run

  /// Trains until `max_steps`, the end of `num_epoch`, or a signal.
  public func run() throws -> TrainingOutcome {
    defer { finish() }
    if loader.position.batch == 0 { log.out("call reset()") }
    epochBegan = seconds()
    let limit = configuration.stepLimit(batchesPerEpoch: loader.batchesPerEpoch)
    if limit > 0, step >= limit {
      log.note("note: \(step) steps are done and max_steps is \(limit): nothing to do; a larger --max-steps goes on")
    }
    let began = seconds()
    let firstStep = step
    while limit == 0 || step < limit {
      try loader.prepare()
      if let signal = StopSignal.pending {
        try saveState()
        log.note("note: signal \(signal): the state is saved after step \(step); --resume goes on from there")
        return .interrupted(signal: signal)
      }
      let batch = try loader.next()
      let rate = schedule.rate(step: step + 1)
      let result = try trainingStep(batch, rate)
      loader.recycle(batch)
      step += 1
      let (loss, correct) = (result.loss, result.correct)
      try history.append(step: step, position: batch.position, rate: rate, loss: loss, correct: correct)
      speedometer.add(loss: loss, correct: correct)
      try observer(TrainingStep(step: step, loss: loss, learningRate: rate))
      try afterStep(batch.position)
      let done = step - firstStep
      progress.show(self.status(loss, rate, limit, perStep: (seconds() - began) / Double(done), began: began))
    }
    try saveState()
    return .finished
  }

  /// Forward, head, backward, update.
  private func trainingStep(_ batch: LoadedBatch, _ rate: Double) throws -> Update.Result {
    head.prepare(headProgress(step + 1))
    let result = try Torch.catching {
      do {
        return try update(batch, imageSize: source.imageSize, step: step + 1, learningRate: rate)
      } catch let problem as NotFinite {
        throw notFinite(problem)
      }
    }
    if !result.moved {
      log.note(
        "note: step \(step + 1): a gradient overflowed in half precision; the weights stay, the gradient scale is now "
          + PythonValue.float(update.scaler?.scale ?? 1))
    }
    return result
  }

  private func headProgress(_ step: Int) -> HeadProgress {
    func share(_ warmup: Int) -> Double { step < warmup ? Double(step) / Double(warmup) : 1 }
    return HeadProgress(
      step: step, marginShare: share(options.marginWarmup), scaleShare: 0.25 + 0.75 * share(options.scaleWarmup))
  }

  /// The reference's batch-end callback: learning rate, speed, verification, checkpoint, end of an epoch.
  private func afterStep(_ position: BatchPosition) throws {
    if case .steps(let drops) = schedule.shape, drops.contains(step) {
      log.out("lr change to \(PythonValue.float(schedule.rate(step: step + 1)))")
    }
    let means = speedometer.means
    if let (text, speed) = speedometer.line(epoch: position.epoch, batch: position.batch, now: seconds()) {
      log.info(text)
      lastSpeed = speed
      try writeScalars(means, speed)
    }
    try tellBadSamples()
    if step % 1000 == 0 {
      let rate = PythonValue.float(schedule.rate(step: step + 1))
      log.out("lr-batch-epoch: \(rate) \(position.batch) \(position.epoch)")
    }
    if step % configuration.int("verbose") == 0 { try verifyAndSave() }
    if position.batch == loader.batchesPerEpoch - 1 { endEpoch(position.epoch) }
    try saveStateIfDue()
  }

  private func writeScalars(_ means: (accuracy: Double, loss: Double), _ speed: Double) throws {
    let s = Int64(step)
    try events.addScalar("train/lossvalue", Float(means.loss), step: s)
    if !means.accuracy.isNaN { try events.addScalar("train/acc", Float(means.accuracy), step: s) }
    try events.addScalar("train/lr", Float(schedule.rate(step: step)), step: s)
    try events.addScalar("train/samples_per_second", Float(speed), step: s)
  }

  private func endEpoch(_ epoch: Int) {
    let means = speedometer.lastMeans
    if !means.accuracy.isNaN { log.info("Epoch[\(epoch)] Train-acc=\(fixed(means.accuracy, 6))") }
    log.info("Epoch[\(epoch)] Train-lossvalue=\(fixed(means.loss, 6))")
    log.info("Epoch[\(epoch)] Time cost=\(fixed(seconds() - epochBegan, 3))")
    log.out("call reset()")
    speedometer.reset()
    epochBegan = seconds()
  }

  private func tellBadSamples() throws {
    let (recent, total) = loader.takeBadSamples()
    for sample in recent { log.note("warning: skipped sample \(sample.index): \(sample.reason)") }
    guard total > badSamplesTold else { return }
    badSamplesTold = total
    log.note("warning: \(total) samples could not be read so far; `insightface dataset check` lists them all")
    try events.addScalar("train/skipped_samples", Float(total), step: Int64(step))
  }

  private func status(_ loss: Double, _ rate: Double, _ limit: Int, perStep: Double, began: Double) -> String {
    let wait = loader.secondsWaited / max(1e-9, seconds() - began)
    let eta = limit > 0 ? "  ETA \(clockText(Double(limit - step) * perStep))" : ""
    let speed = Double(configuration.imagesPerUpdate) / perStep
    return "step \(step)\(limit > 0 ? "/\(limit)" : "")  loss \(fixed(loss, 4))  lr \(PythonValue.float(rate))  "
      + "\(fixed(speed, 1)) images/s  data wait \(fixed(100 * wait, 1)) %\(eta)"
  }

  private func notFinite(_ problem: NotFinite) -> ConfigurationError {
    ConfigurationError(
      "\(problem.what) at step \(step + 1)"
        + (problem.tensor.map { "; the first tensor that is not finite is \($0)" } ?? "; every weight is finite")
        + ". The last saved state is whole: resume with a lower --lr, a --clip-norm, or "
        + "grow the margin with --margin-warmup")
  }

  // MARK: Verification and checkpoints

  private func verifyAndSave() throws {
    progress.clear()
    let begin = seconds()
    var accuracies: [Double] = []
    for set in sets {
      log.out("testing verification..")
      var embedder = NetworkEmbedder(network, device: options.device, imageSize: source.imageSize)
      let embedded = try set.embeddings(
        batchSize: configuration.int("batch_size"), embed: { try embedder($0, $1) },
        progress: { done in
          progress.show("verifying \(set.name): \(done) of \(set.count)")
          return true
        })
      guard let embedded else { continue }
      log.out("(\(embedded.original.rows), \(embedded.original.columns))")
      log.out("infer time \(PythonValue.float(embedder.secondsInNetwork))")
      let report = try VerificationEvaluator().evaluate(
        original: embedded.original, flipped: embedded.flipped, isSame: set.isSame)
      log.out(VerificationLog.xNorm(set.name, step: step, report.xNorm))
      log.out(VerificationLog.accuracyFlip(set.name, step: step, report.flip))
      for warning in report.flip.warnings { log.note("warning: \(set.name): \(warning)") }
      accuracies.append(report.flip.accuracy)
      try events.addScalar("verification/\(set.name)", Float(report.flip.accuracy), step: Int64(step))
    }
    savedCount += 1
    let isHighest = highest.update(accuracies)
    let policy = configuration.int("ckpt")
    if policy == 2 || (policy != 0 && isHighest) { try saveCheckpoint(policy == 3 ? 1 : savedCount) }
    log.out(VerificationLog.accuracyHighest(step: step, highest.last))
    speedometer.skip(seconds: seconds() - begin)
  }

  private func saveCheckpoint(_ number: Int) throws {
    log.out("saving \(number)")
    let location = CheckpointLocation(prefix: "\(folder)/model", epoch: number)
    let whole = !configuration.bool("ckpt_embedding")
    try Checkpoint.save(
      graph, weights: network.parameters, buffers: network.buffers,
      head: whole ? head.parameters + head.buffers : [],
      training: whole ? Self.trainingSymbol(configuration) : nil, to: location)
    log.info("Saved checkpoint to \"\(location.parametersPath)\"")
  }

  // MARK: State

  private func saveStateIfDue() throws {
    let due = options.stateEvery > 0 ? step % options.stateEvery == 0 : seconds() - stateSavedAt >= 300
    if due { try saveState() }
  }

  /// Saves everything; logs and events are synced first, so that they reach at least as far as the state.
  private func saveState() throws {
    let tensors = update.stateTensors
    if let bad = firstNotFinite(tensors.map(\.tensor)) {
      throw ConfigurationError(
        "\(tensors[bad].name) is not finite after step \(step): the state is not saved, the last one is whole. Resume "
          + "with a lower --lr")
    }
    log.sync()
    try history.sync()
    try events.sync()
    let position = loader.position
    var notes = Self.identity(configuration, options, source.count)
    notes["step"] = "\(step)"
    notes["epoch"] = "\(position.epoch)"
    notes["batch"] = "\(position.batch)"
    notes["saved_count"] = "\(savedCount)"
    notes["log_length"] = "\(log.byteCount)"
    notes["speedometer"] = speedometer.saved
    highest.note(in: &notes)
    loader.note(in: &notes)
    update.note(in: &notes)
    try TrainingState(tensors: tensors + loader.stateTensors, notes: notes).save(to: "\(folder)/state.safetensors")
    stateSavedAt = seconds()
  }

  private func finish() {
    progress.finish()
    loader.stop()
    log.sync()
    try? history.sync()
    try? events.close()
  }
}
