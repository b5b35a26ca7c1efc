import Torch

/// What a head makes of one batch.
public struct HeadResult {
  /// The mean cross entropy over the batch: a scalar on the head's device.
  public let loss: Tensor
  /// How many of the batch have their own class as the best (with the margin on, as the reference counts): a scalar.
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
  let minusOne = Tensor.full(column.shape, -1, device: logits.device)
  let gradient = logProbabilities.exp().scatterAdded(1, column, minusOne) / count
  return (loss, correct, gradient)
}
