import Torch

/// Plain softmax over identities (`--loss softmax`): logits = x Wᵀ + b.
///
/// The bias is left out with `fc7_no_bias`.
public final class SoftmaxHead: Head {
  /// K.
  public let classCount: Int
  private let weight: Tensor
  private let bias: Tensor?
  private let weightMomentum: Tensor
  private let biasMomentum: Tensor?
  private let optimizer: HeadOptimizer
  private var weightGradient: Tensor?
  private var biasGradient: Tensor?

  /// W ~ N(0, 0.01²) [K, D], b = 0 [K].
  public init(
    classCount: Int, embeddingSize: Int, hasBias: Bool, momentum: Double, weightDecay: Double, device: Device,
    generator: Generator
  ) {
    self.classCount = classCount
    weight = Tensor.empty([classCount, embeddingSize]).fillNormal(deviation: 0.01, generator).to(nil, device)
    bias = hasBias ? .zeros([classCount], device: device) : nil
    weightMomentum = .zeros([classCount, embeddingSize], device: device)
    biasMomentum = hasBias ? .zeros([classCount], device: device) : nil
    optimizer = HeadOptimizer(momentum: momentum, weightDecay: weightDecay)
  }

  /// `fc7_weight`, `fc7_bias`.
  public var parameters: [NamedTensor] {
    [NamedTensor("fc7_weight", weight)] + (bias.map { [NamedTensor("fc7_bias", $0)] } ?? [])
  }
  /// The momentum buffers.
  public var momenta: [Tensor] { [weightMomentum] + (biasMomentum.map { [$0] } ?? []) }
  /// ∂loss/∂W, ∂loss/∂b.
  public var gradients: [Tensor?] { bias == nil ? [weightGradient] : [weightGradient, biasGradient] }

  /// With g = ∂loss/∂logits: ∂loss/∂x = g W, ∂loss/∂W = gᵀ x, ∂loss/∂b = Σ g.
  public func backward(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    withoutGrad {
      let embeddings = embeddings.to(weight.dtype)
      let (loss, correct, g) = crossEntropy(embeddings.linear(weight, bias: bias), labels)
      weightGradient = g.transposed().matmul(embeddings)
      biasGradient = bias == nil ? nil : g.sum(0)
      return HeadResult(loss: loss, correct: correct, embeddingGradient: g.matmul(weight))
    }
  }

  /// One step of SGD.
  public func update(learningRate: Double) {
    optimizer.step(weight, weightGradient, weightMomentum, learningRate)
    if let bias, let biasMomentum { optimizer.step(bias, biasGradient, biasMomentum, learningRate) }
    weightGradient = nil
    biasGradient = nil
  }
}
