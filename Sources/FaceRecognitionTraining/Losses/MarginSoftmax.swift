import Torch

/// The angular margins of one loss: cos θ of the own class becomes cos(m1 · θ + m2) − m3, all cosines times s.
///
/// SphereFace is m1 (arXiv 1704.08063), ArcFace m2 (arXiv 1801.07698), CosFace m3 (arXiv 1801.09414); `combined` has more
/// than one, `nsoftmax` none.
public struct Margin: Sendable, Equatable {
  /// The scale s.
  public var scale: Double
  /// Factor of the angle.
  public var m1: Double
  /// Added to the angle, radians.
  public var m2: Double
  /// Taken from the cosine.
  public var m3: Double

  /// A margin; the default is none.
  public init(scale: Double = 64, m1: Double = 1, m2: Double = 0, m3: Double = 0) {
    self.scale = scale
    self.m1 = m1
    self.m2 = m2
    self.m3 = m3
  }

  /// The margin on its way from none (`share` 0) to whole (`share` 1).
  public func grown(_ share: Double) -> Margin {
    Margin(scale: scale, m1: 1 + (m1 - 1) * share, m2: m2 * share, m3: m3 * share)
  }
}

/// How the margin is differentiated.
public enum MarginGradient: String, CaseIterable, Codable, Sendable {
  /// The derivative of cos(m1 · θ + m2) by cos θ: m1 · sin(m1 · θ + m2) / sin θ. The MXNet reference.
  case exact
  /// 1, as in arcface_torch, which computes the angle outside of the recorded computation.
  case straightThrough = "straight-through"
}

/// Softmax over scaled cosines with an angular margin: `margin_softmax` of the reference.
///
/// With x̂ and ŵ the rows of embeddings and weight divided by their norms: logits = s · x̂ ŵᵀ, and the own class's cosine
/// is replaced by cos(m1 · θ + m2) − m3. No bias. As in the reference there is no fallback for m1 · θ + m2 > π.
///
/// The cosine is held within ±(1 − 1e-7) where the angle is taken, and the derivative is taken there too, so that a face
/// that coincides with its class centre has a finite gradient (the reference yields NaN).
public final class MarginSoftmaxHead: Head {
  /// K.
  public let classCount: Int
  /// The margin in force; a warm-up changes it from step to step.
  public var margin: Margin
  /// How the margin is differentiated.
  public let marginGradient: MarginGradient
  let weight: Tensor
  let weightMomentum: Tensor
  let optimizer: HeadOptimizer
  var weightGradient: Tensor?

  /// W ~ N(0, 0.01²) [K, D].
  public init(
    classCount: Int, embeddingSize: Int, margin: Margin, marginGradient: MarginGradient = .exact, momentum: Double,
    weightDecay: Double, device: Device, generator: Generator
  ) {
    self.classCount = classCount
    self.margin = margin
    self.marginGradient = marginGradient
    weight = Tensor.empty([classCount, embeddingSize]).fillNormal(deviation: 0.01, generator).to(nil, device)
    weightMomentum = .zeros([classCount, embeddingSize], device: device)
    optimizer = HeadOptimizer(momentum: momentum, weightDecay: weightDecay)
  }

  /// `fc7_weight`.
  public var parameters: [NamedTensor] { [NamedTensor("fc7_weight", weight)] }
  /// The momentum buffer.
  public var momenta: [Tensor] { [weightMomentum] }
  /// ∂loss/∂W.
  public var gradients: [Tensor?] { [weightGradient] }

  /// With g = ∂loss/∂cos [N, K]: ∂loss/∂x̂ = g ŵ and ∂loss/∂ŵ = gᵀ x̂, each taken through its normalisation.
  ///
  /// On the CPU in blocks of classes, see `blocked`.
  public func backward(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    guard runsInBlocks(embeddings) else { return composed(embeddings, labels) }
    let gradient = Tensor.empty(weight.shape)
    weightGradient = gradient
    return blocked(embeddings, labels, to: .gradient(gradient))
  }

  /// The same with whole matrices: the definition, and the path on other devices.
  func composed(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    withoutGrad {
      let x = NormalizedRows(embeddings)
      let w = NormalizedRows(weight)
      let column = labels.unsqueezed(1)
      let cosine = x.rows.linear(w.rows)
      let own = cosine.gathered(1, column)
      let (moved, slope) = applyMargin(own)
      let logits = cosine.scattered(1, column, moved) * margin.scale
      let (loss, correct, gradient) = crossEntropy(logits, labels)
      // Only the own class's cosine went through the margin.
      let ownGradient = gradient.gathered(1, column) * slope
      let g = gradient.scattered(1, column, ownGradient) * margin.scale
      weightGradient = w.gradient(g.transposed().matmul(x.rows))
      return HeadResult(loss: loss, correct: correct, embeddingGradient: x.gradient(g.matmul(w.rows)))
    }
  }

  /// The cosine of the own class [N, 1] with the margin on, and its derivative by the cosine without.
  func applyMargin(_ cosine: Tensor) -> (cosine: Tensor, slope: Tensor) {
    let one = Tensor.ones(cosine.shape, device: cosine.device)
    if margin.m1 == 1 && margin.m2 == 0 { return (cosine - margin.m3, one) }
    let limit = 1 - 1e-7
    let theta = cosine.clamped(-limit, limit).acos()
    // As in the reference, m2 and m3 count only where they are positive beside an angular margin.
    let moved = theta * margin.m1 + Swift.max(margin.m2, 0)
    let slope = marginGradient == .exact ? moved.sin() * margin.m1 / theta.sin() : one
    return (moved.cos() - Swift.max(margin.m3, 0), slope)
  }

  /// One step of SGD.
  public func update(learningRate: Double) {
    optimizer.step(weight, weightGradient, weightMomentum, learningRate)
    weightGradient = nil
  }
}

/// Rows divided by their norms, x̂ = x · r with r = (Σ x² + 1e-10)^(−1/2) (MXNet's `L2Normalization`), and the way back.
struct NormalizedRows {
  /// x̂.
  let rows: Tensor
  /// r [N, 1].
  let reciprocal: Tensor

  init(_ x: Tensor) {
    reciprocal = ((x * x).sum(1, keepDim: true) + 1e-10).rsqrt()
    rows = x * reciprocal
  }

  /// ∂/∂x from ∂/∂x̂: r · (g − x̂ (x̂ · g)).
  func gradient(_ g: Tensor) -> Tensor { (g - rows * (rows * g).sum(1, keepDim: true)) * reciprocal }
}
