import Torch

/// How a run is done, beside the reference's configuration.
public struct TrainingOptions: Sendable {
  /// Determines weights, order and draws.
  public var seed: UInt64 = 727
  /// Where the network is computed.
  public var device: Device = .cpu
  /// Threads of a tensor operation; nil leaves LibTorch's choice.
  public var threads: Int?
  /// Threads that decode images; nil: `MXNET_CPU_WORKER_NTHREADS`, else two at most.
  public var decodeThreads: Int?
  /// Go on from the last saved state.
  public var resumes = false
  /// Steps between two saved states; 0: about every five minutes.
  public var stateEvery = 0
  /// A record that cannot be read ends the run.
  public var isStrict = false
  /// A checkpoint that fits only in part is accepted.
  public var allowMissing = false
  /// How the margin is differentiated; nil: as the loss's authors do.
  public var marginGradient: MarginGradient?
  /// Steps over which the margin grows from none to whole; 0: whole from the first.
  public var marginWarmup = 0
  /// Steps over which the scale grows from a quarter of it to whole; 0: whole from the first.
  public var scaleWarmup = 0
  /// Steps over which the learning rate grows from nearly none to whole; 0: whole from the first.
  public var learningRateWarmup = 0
  /// Whether this project's fused operations run; if not, LibTorch's own run one after another, to compare with.
  package var isFused = true
  /// The defaults.
  public init() {}
}

/// What a trainer tells whoever runs it.
public struct TrainingStep: Sendable {
  /// The step, from 1.
  public let step: Int
  /// The mean loss of the batch.
  public let loss: Double
  /// The learning rate of the update.
  public let learningRate: Double
}

/// How a run ended.
public enum TrainingOutcome: Sendable, Equatable {
  /// `max_steps` is reached.
  case finished
  /// A signal ended it; its state is saved.
  case interrupted(signal: Int32)
}
