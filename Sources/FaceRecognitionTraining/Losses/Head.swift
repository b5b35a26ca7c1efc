import Torch

/// What a head makes of one batch.
public struct HeadResult {
  /// The mean cross entropy over the batch: a scalar on the head's device.
  public let loss: Tensor
  /// How many of the batch have their own class as the best (with the margin on, as the reference counts): a scalar; NaN
  /// where the loss knows no classes.
  public let correct: Tensor
  /// ∂loss / ∂embeddings [N, D].
  public let embeddingGradient: Tensor
}

/// The classification layer over identities: it owns its weight, gradient and optimizer state.
///
/// The trainer hands over embeddings and labels and gets the loss and the embeddings' gradient back; it never
/// differentiates through logits, so that fused, sharded and sampled heads can take this one's place.
public protocol Head: AnyObject {
  /// K, the number of identities.
  var classCount: Int { get }
  /// The head's weights, named as in the reference's checkpoints (`fc7_weight`, `fc7_bias`).
  var parameters: [NamedTensor] { get }
  /// The head's momentum buffers, in the order of the parameters.
  var momenta: [Tensor] { get }
  /// What the head remembers beside its weights (moving means, a curriculum's t): part of a saved state.
  var buffers: [NamedTensor] { get }

  /// Tells where training stands; comes before the `backward` of every step.
  func prepare(_ progress: HeadProgress)

  /// Loss and gradients of a batch: embeddings [N, D] without history, labels int64 [N] in 0 ..< K. The gradient of the
  /// head's own weights is kept for `update`.
  func backward(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult

  /// Updates the head's weights with the gradients of the last `backward`.
  func update(learningRate: Double)

  /// Gradients of the last `backward`, in the order of the parameters.
  var gradients: [Tensor?] { get }

  /// `backward` and `update` in one, for a training step that needs no look at the whole gradient in between: a head that
  /// can fuses them.
  func step(_ embeddings: Tensor, _ labels: Tensor, learningRate: Double) -> HeadResult
}

extension Head {
  /// One after the other.
  public func step(_ embeddings: Tensor, _ labels: Tensor, learningRate: Double) -> HeadResult {
    let result = backward(embeddings, labels)
    update(learningRate: learningRate)
    return result
  }
}

extension Head {
  /// Nothing but weights.
  public var buffers: [NamedTensor] { [] }
  /// Does not depend on the step.
  public func prepare(_ progress: HeadProgress) {}
}

/// Where training stands when a head computes a batch.
public struct HeadProgress: Sendable, Equatable {
  /// The step, from 1: the key of a head's random draws.
  public var step: Int
  /// How much of the margin is in force, 0 … 1.
  public var marginShare: Double
  /// How much of the scale is in force, 0 … 1.
  public var scaleShare: Double

  /// A step with the whole margin and the whole scale.
  public init(step: Int, marginShare: Double = 1, scaleShare: Double = 1) {
    self.step = step
    self.marginShare = marginShare
    self.scaleShare = scaleShare
  }
}

/// What every head with a weight starts from.
struct HeadSettings {
  /// K.
  var classCount: Int
  /// D.
  var embeddingSize: Int
  var momentum: Double
  var weightDecay: Double
  var device: Device
  var generator: Generator
  /// The type of weights and arithmetic; float64 is for checks of gradients.
  var dtype = DType.float32
}

/// SGD state for the weights of a head.
struct HeadOptimizer {
  let momentum: Double
  let weightDecay: Double

  func step(_ weight: Tensor, _ gradient: Tensor?, _ buffer: Tensor, _ learningRate: Double) {
    guard let gradient else { return }
    SGD.step(
      weight: weight, gradient: gradient, momentum: buffer, learningRate: learningRate, momentum: momentum,
      weightDecay: weightDecay)
  }
}

/// Cross entropy of logits [N, K] with labels [N]: the loss, the correct ones, and ∂loss/∂logits [N, K].
///
/// The loss is taken from the log-softmax, so that it never becomes infinite by its own logarithm (the reference reports
/// −log(softmax), which does). The gradient is (p − onehot) / N: `SoftmaxOutput` with normalization 'valid'.
func crossEntropy(_ logits: Tensor, _ labels: Tensor) -> (loss: Tensor, correct: Tensor, gradient: Tensor) {
  let column = labels.unsqueezed(1)
  let logProbabilities = logits.logSoftmax(1)
  let count = Double(logits.shape[0])
  let loss = -logProbabilities.gathered(1, column).mean()
  let correct = logits.argmax(1).equals(labels).to(.float32).sum()
  let minusOne = Tensor.full(column.shape, -1, dtype: logits.dtype, device: logits.device)
  let gradient = logProbabilities.exp().scatterAdded(1, column, minusOne) / count
  return (loss, correct, gradient)
}
