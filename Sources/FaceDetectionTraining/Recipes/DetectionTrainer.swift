import EventLog
import FaceDetection
import Formats
import Foundation
import Inference
import Jobs
import Torch
import Training

/// What a detector's trainer tells whoever runs it.
public struct DetectionStep: Sendable {
  /// The step, from 1.
  public let step: Int
  /// The parts of the batch's loss.
  public let loss: MultiTaskLoss.Parts
  /// The rate of the update.
  public let learningRate: Double
}

/// How a run ended.
public enum DetectionOutcome: Sendable, Equatable {
  /// The last step is done.
  case finished
  /// A signal ended it; its state is saved.
  case interrupted(signal: Int32)
}

/// Trains RetinaFace: the reference's detection/retinaface/train.py, with a resume that loses nothing.
///
/// Everything but the loader's threads happens on the calling thread. Beside `PREFIX-symbol.json` and `PREFIX-0000.params`,
/// or of the PyTorch port's networks `PREFIX.pth` and `PREFIX.safetensors`, which are written at the end of each epoch and of the run, there are `PREFIX-train.log`, `PREFIX-history.csv`,
/// `PREFIX-state.safetensors` and the TensorBoard events in `PREFIX-events/`.
public final class DetectionTrainer {
  private let configuration: DetectionConfiguration
  private let observer: (DetectionStep) throws -> Void
  private let log: RunLog
  private let progress = ProgressLine()
  private let model: DetectorNetwork
  private let update: DetectionUpdate
  private let loader: BatchLoader
  private let judge: DetectionJudge?
  private let probe: DetectionProbe?
  private let events: EventWriter
  private let history: RunHistory
  private let rate: @Sendable (Int) -> Double
  private let limit: Int
  private let identity: [String: String]

  private var step = 0
  private var speedometer: Speedometer
  private var metrics = DetectionMetrics()
  private var stateSavedAt = seconds()
  private var badSamplesTold = 0
  private var evaluatedStep = -1
  /// The average precision of the last judgement.
  public private(set) var averagePrecision: Double?

  /// Prepares a run: reads labels, builds the network, loads a checkpoint or a state.
  ///
  /// - Parameter observer: is told every step; what it throws ends the run.
  /// - Throws: `DetectionTrainingError`, `FormatError`, `GraphError`, `LoaderError`.
  public init(
    _ configuration: DetectionConfiguration, observer: @escaping (DetectionStep) throws -> Void = { _ in }
  ) throws {
    try configuration.validate()
    self.configuration = configuration
    self.observer = observer
    let c = configuration
    if let threads = c.threads { Torch.threadCount = threads }
    Torch.useDeterministicAlgorithms(true)
    Torch.keepFreedMemory()

    try FileManager.default.createDirectory(
      atPath: FilePath.folder(of: c.prefix), withIntermediateDirectories: true)
    let eventFolder = "\(c.prefix)-events"
    let state = try Self.state(c)
    log = RunLog(
      path: "\(c.prefix)-train.log", length: try state?.integer("log_length") ?? (c.resumes ? nil : 0))
    log.progress = progress
    log.out(c.device.isCPU ? "use cpu" : "gpu num: 1")
    let data = try Self.data(c, log)
    judge = try Self.judge(c, log)

    model = try Self.model(c, startsFresh: state == nil, log)
    model.network.move(to: c.device)
    update = DetectionUpdate(model, c.objective, data.layout, c)
    probe = DetectionProbe(data.source, c)

    let perEpoch = data.source.count / c.batchSize
    let ends = [c.maxSteps, c.endEpoch.multipliedReportingOverflow(by: perEpoch).partialValue].filter { $0 > 0 }
    let (rate, last) = c.schedule.rates(
      imageCount: data.source.count, batchSize: c.batchSize, total: ends.min() ?? 0)
    if case .updates(.cosine, _) = c.schedule.shape, ends.isEmpty {
      throw DetectionTrainingError("a cosine schedule needs an end: --max-steps or --end_epoch")
    }
    if case .updates(.polynomial, _) = c.schedule.shape, ends.isEmpty {
      throw DetectionTrainingError("a polynomial schedule needs an end: --max-steps or --end_epoch")
    }
    self.rate = rate
    limit = (ends + [last].compactMap(\.self)).min() ?? 0
    let changes = c.schedule.changes(imageCount: data.source.count, batchSize: c.batchSize)
    log.info("lr \(c.schedule.base) lr_steps \(changes.map { "(\($0.step), \($0.factor))" })")
    speedometer = Speedometer(batchSize: c.batchSize, frequent: c.frequent)

    identity = Self.identity(c, data.source.count)
    var start = BatchPosition()
    if let state {
      try Self.check(state, identity, Self.statePath(c))
      step = try state.integer("step")
      start = BatchPosition(epoch: try state.integer("epoch"), batch: try state.integer("batch"))
      evaluatedStep = try state.integer("evaluated_step")
      speedometer.restore(try state.note("speedometer"), now: seconds())
      metrics.restore(try state.note("metrics"))
    }
    loader = try BatchLoader(
      data.source,
      .init(batchSize: c.batchSize, seed: c.seed, threads: c.decodeThreads, isStrict: c.isStrict), start: start)
    if let state {
      try state.restore(Self.stateTensors(model, update))
      update.optimizer.stepCount = try state.integer("optimizer_steps")
    }
    history = try RunHistory(path: "\(c.prefix)-history.csv", keptSteps: step)

    // Everything is sound: only from here on are files of an earlier run touched.
    try log.begin()
    try FileManager.default.createDirectory(atPath: eventFolder, withIntermediateDirectories: true)
    if state != nil {
      _ = try EventLogTruncation.truncate(folder: eventFolder, afterStep: Int64(step))
      log.note("note: resumed after step \(step) (epoch \(start.epoch), batch \(start.batch))")
    } else if c.resumes {
      log.note("note: there is no state at \(Self.statePath(c)) yet; the run starts at its first step")
    } else {
      try removeFile(Self.statePath(c))
      _ = try EventLogTruncation.truncate(folder: eventFolder, afterStep: -1)
    }
    try history.begin()
    events = try EventWriter(folder: eventFolder)
  }

  // MARK: The run

  /// Trains to the last step, or until a signal comes.
  public func run() throws -> DetectionOutcome {
    defer { finish() }
    if limit > 0, step >= limit {
      log.note("note: \(step) steps are done of \(limit): nothing to do; a larger --max-steps goes on")
    }
    if step == 0 { try takeProbe() }
    let (began, firstStep) = (seconds(), step)
    while limit == 0 || step < limit {
      if let signal = StopSignal.pending {
        try saveState()
        log.note("note: signal \(signal): the state is saved after step \(step); --resume goes on from there")
        return .interrupted(signal: signal)
      }
      let batch = try loader.next()
      let rate = rate(step + 1)
      let result = try oneStep(batch, rate)
      loader.recycle(batch)
      step += 1
      try history.append(
        step: step, position: batch.position, rate: rate, loss: result.parts.total, correct: .nan)
      speedometer.add(loss: result.parts.total, correct: .nan)
      metrics.add(result.parts, gradientNorm: result.gradientNorm)
      try observer(DetectionStep(step: step, loss: result.parts, learningRate: rate))
      try afterStep(batch.position)
      let perStep = (seconds() - began) / Double(step - firstStep)
      progress.show(self.status(result.parts.total, rate, perStep))
    }
    if evaluatedStep != step { try evaluate() }
    try saveCheckpoint()
    try saveState()
    return .finished
  }

  private func oneStep(_ batch: LoadedBatch, _ rate: Double) throws -> DetectionUpdate.Result {
    do {
      return try Torch.catching { try update(batch, learningRate: rate) }
    } catch let problem as DetectionTrainingError {
      throw DetectionTrainingError(
        "step \(step + 1): \(problem). The last saved state is whole: resume with a lower --lr or with --clip-norm")
    }
  }

  private func afterStep(_ position: BatchPosition) throws {
    if rate(step + 1) != rate(step), case .epochs = configuration.schedule.shape {
      log.out("lr change to \(rate(step + 1)) in batch \(step)")
    }
    let loss = speedometer.means.loss
    if let (text, speed) = speedometer.line(epoch: position.epoch, batch: position.batch, now: seconds()) {
      log.info(text + metrics.text)
      let s = Int64(step)
      try events.addScalar("train/loss", Float(loss), step: s)
      for (name, value) in metrics.means { try events.addScalar("train/\(name)", Float(value), step: s) }
      try events.addScalar("train/lr", Float(rate(step)), step: s)
      try events.addScalar("train/samples_per_second", Float(speed), step: s)
      metrics.reset()
    }
    try tellBadSamples()
    let endsEpoch = position.batch == loader.batchesPerEpoch - 1
    let every = configuration.evaluateEvery
    if every > 0 ? step % every == 0 : endsEpoch { try evaluate() }
    if endsEpoch { try saveCheckpoint() }
    let due =
      configuration.stateEvery > 0 ? step % configuration.stateEvery == 0 : seconds() - stateSavedAt >= 300
    if due { try saveState() }
  }

  private func tellBadSamples() throws {
    let (recent, total) = loader.takeBadSamples()
    for sample in recent { log.note("warning: skipped sample \(sample.index): \(sample.reason)") }
    guard total > badSamplesTold else { return }
    badSamplesTold = total
    try events.addScalar("train/skipped_samples", Float(total), step: Int64(step))
  }

  private func status(_ loss: Double, _ rate: Double, _ perStep: Double) -> String {
    let eta = limit > 0 ? "  ETA \(clockText(Double(limit - step) * perStep))" : ""
    let speed = Double(configuration.batchSize) / max(1e-9, perStep)
    return "step \(step)\(limit > 0 ? "/\(limit)" : "")  loss \(fixed(loss, 4))  lr \(rate)  "
      + "\(fixed(speed, 1)) images/s\(eta)"
  }

  // MARK: Evaluation, checkpoints, state

  private func evaluate() throws {
    evaluatedStep = step
    if step > 0 { try takeProbe() }
    guard let judge else { return }
    progress.clear()
    let begin = seconds()
    averagePrecision = try judge.averagePrecision(try model.filled()) { done in
      progress.show("evaluating: \(done) of \(judge.count)")
    } warn: { text in
      log.note("warning: not judged: \(text)")
    }
    let text = averagePrecision.map { fixed($0, 5) } ?? "none: no face counts"
    log.out("[\(step)]AP@0.5: \(text) (\(judge.count) images)")
    if let averagePrecision { try events.addScalar("evaluation/AP", Float(averagePrecision), step: Int64(step)) }
    speedometer.skip(seconds: seconds() - begin)
  }

  /// The loss of crops that are the same every time, without which steps on ever new crops can hardly be compared.
  private func takeProbe() throws {
    guard let probe else { return }
    progress.clear()
    let begin = seconds()
    let parts = try Torch.catching { try probe(update) }
    log.out(
      "[\(step)]loss: \(fixed(parts.total, 6)) class=\(fixed(parts.classes, 6)) box=\(fixed(parts.boxes, 6)) "
        + "landmark=\(fixed(parts.landmarks, 6)) (\(probe.count) fixed crops)")
    try events.addScalar("evaluation/loss", Float(parts.total), step: Int64(step))
    speedometer.skip(seconds: seconds() - begin)
  }

  private func saveCheckpoint() throws {
    if configuration.network.port != nil {
      let file = ModelFile(graph: try model.filled(), format: .pytorch)
      try file.write(to: "\(configuration.prefix).safetensors", as: .safetensors)
      try file.write(to: "\(configuration.prefix).pth", as: .pytorch)
      log.info("Saved checkpoint to \(configuration.prefix).pth")
      return
    }
    let written = try ModelFile(graph: model.filled(), format: .mxnet).write(
      to: "\(configuration.prefix),0", as: .mxnet)
    log.info("Saved checkpoint to \(written.last ?? configuration.prefix)")
  }

  private static func stateTensors(_ model: DetectorNetwork, _ update: DetectionUpdate) -> [NamedTensor] {
    model.network.parameters + model.network.buffers + update.optimizer.state
  }

  private func saveState() throws {
    let tensors = Self.stateTensors(model, update)
    if let bad = firstNotFinite(tensors.map(\.tensor)) {
      throw DetectionTrainingError(
        "\(tensors[bad].name) is not finite after step \(step): the state is not saved, the last one is whole. Resume "
          + "with a lower --lr")
    }
    log.sync()
    try history.sync()
    try events.sync()
    let position = loader.position
    var notes = identity
    notes["step"] = "\(step)"
    notes["epoch"] = "\(position.epoch)"
    notes["batch"] = "\(position.batch)"
    notes["optimizer_steps"] = "\(update.optimizer.stepCount)"
    notes["evaluated_step"] = "\(evaluatedStep)"
    notes["log_length"] = "\(log.byteCount)"
    notes["speedometer"] = speedometer.saved
    notes["metrics"] = metrics.saved
    try TrainingState(tensors: tensors, notes: notes).save(to: Self.statePath(configuration))
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
