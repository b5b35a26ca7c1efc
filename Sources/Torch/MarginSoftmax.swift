internal import CTorch

/// What one step of the blocked margin softmax gives.
public struct MarginSoftmaxStep {
  /// The loss of each face [N].
  public let losses: Tensor
  /// The best class of each face, margin on: int64 [N].
  public let best: Tensor
  /// ∂loss/∂x̂ [N, D] without the part that comes through the own class's margin.
  public let otherGradient: Tensor
  /// ∂loss/∂logit of the own class [N]; the mean over the batch is taken.
  public let ownGradient: Tensor

  /// Where ∂loss/∂W goes.
  public enum Destination {
    /// The weight takes a step of SGD in MXNet's form at once.
    case step(momentum: Tensor, learningRate: Double, momentumFactor: Double, weightDecay: Double)
    /// It is written to this tensor [K, D].
    case gradient(Tensor)
  }

  /// Softmax over scale · x̂ ŵᵀ in blocks of classes; float32 tensors on the CPU.
  ///
  /// The matrix of logits [N, K] never exists: beside weight and momentum it takes about 20 MiB.
  ///
  /// - Parameters:
  ///   - x: normalised embeddings x̂ [N, D].
  ///   - labels: int64 [N].
  ///   - target: the own class's logit with the margin on [N].
  ///   - slope: its derivative by the cosine [N].
  ///   - weight: W [K, D], not normalised.
  ///   - epsilon: added to the sum of squares under the norm.
  public init(
    x: Tensor, labels: Tensor, target: Tensor, slope: Tensor, weight: Tensor, scale: Double, epsilon: Double,
    to destination: Destination
  ) {
    var results: [OpaquePointer?] = [nil, nil, nil, nil]
    var (momentum, gradient): (Tensor?, Tensor?) = (nil, nil)
    var (rate, factor, decay) = (0.0, 0.0, 0.0)
    switch destination {
    case .step(let buffer, let learningRate, let momentumFactor, let weightDecay):
      (momentum, rate, factor, decay) = (buffer, learningRate, momentumFactor, weightDecay)
    case .gradient(let tensor): gradient = tensor
    }
    call("margin_softmax", [x, labels, weight]) {
      ct_margin_softmax(
        x.handle, labels.handle, target.handle, slope.handle, weight.handle, momentum?.handle, gradient?.handle, scale,
        epsilon, rate, factor, decay, &results, $0)
    }
    // After an error inside `Torch.catching` there are no results: the scope throws, these are not looked at.
    func made(_ index: Int) -> Tensor { results[index].map(Tensor.init(owning:)) ?? Tensor.zeros([1]) }
    (losses, best, otherGradient, ownGradient) = (made(0), made(1), made(2), made(3))
  }
}
