import Torch

/// Triplet losses on L2-normalised embeddings: `triplet` and `atriplet` of the reference's train.py.
///
/// A batch of N = 3T embeddings is [anchors | positives | negatives], T rows each. With â, p̂, n̂ the rows divided by their
/// norms:
///
///     triplet:   loss = mean over T of max(0, |â − p̂|² − |â − n̂|² + α),           α = 0.3   (Schroff et al., 1503.03832)
///     atriplet:  loss = mean over T of max(0, arccos(â · p̂) − arccos(â · n̂) + α),  α = 0.35, angles in radians
///
/// The head has no weights. The cosines of `atriplet` are held within ±(1 − 1e-7), so that equal images have a finite
/// gradient (the reference yields NaN).
final class TripletHead: Head {
  /// What a distance is.
  enum Distance { case squared, angular }
  private let distance: Distance
  private let alpha: Double
  private let dtype: DType

  init(_ distance: Distance, alpha: Double, dtype: DType = .float32) {
    self.distance = distance
    self.alpha = alpha
    self.dtype = dtype
  }

  /// No classes.
  var classCount: Int { 0 }
  /// None.
  var parameters: [NamedTensor] { [] }
  /// None.
  var momenta: [Tensor] { [] }
  /// None.
  var gradients: [Tensor?] { [] }

  /// Loss and gradient; the labels do not count, the order of the rows says who is who.
  func backward(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    withoutGrad {
      let x = NormalizedRows(embeddings.to(dtype))
      let t = embeddings.shape[0] / 3
      let (a, p, n) = (x.rows[0..<t], x.rows[t..<2 * t], x.rows[2 * t..<3 * t])
      let excess: Tensor
      var gradient: [Tensor]
      switch distance {
      case .squared:
        let (ap, an) = (a - p, a - n)
        excess = (ap * ap).sum(1, keepDim: true) - (an * an).sum(1, keepDim: true) + alpha
        gradient = [(n - p) * 2, ap * -2, an * 2]
      case .angular:
        let (toPositive, slopeP) = Self.angle(a, p)
        let (toNegative, slopeN) = Self.angle(a, n)
        excess = toPositive - toNegative + alpha
        gradient = [p * slopeP - n * slopeN, a * slopeP, -(a * slopeN)]
      }
      let active = (excess .> 0).to(dtype) / Double(max(1, t))
      gradient = gradient.map { $0 * active }
      return HeadResult(
        loss: excess.relu().mean(), correct: .full([], .nan, device: embeddings.device),
        embeddingGradient: x.gradient(.concatenated(gradient)))
    }
  }

  /// arccos(u · v) of rows [T, 1], and its derivative by the dot product: −1 / sin.
  private static func angle(_ u: Tensor, _ v: Tensor) -> (angle: Tensor, slope: Tensor) {
    let limit = 1 - 1e-7
    let angle = (u * v).sum(1, keepDim: true).clamped(-limit, limit).acos()
    return (angle, -angle.sin().pow(-1))
  }

  /// Nothing to update.
  func update(learningRate: Double) {}
}
