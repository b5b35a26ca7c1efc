import Torch

/// MagFace: the longer an embedding, the larger its margin (Meng et al., arXiv 2103.06627).
///
/// With a = ‖x‖ held within [lₐ, uₐ]:
///
///     m(a) = (uₘ − lₘ) / (uₐ − lₐ) · (a − lₐ) + lₘ
///     own cosine → cos(θ + m(a)) where cos θ > 0, else cos θ      (the authors' easy margin)
///     loss = cross entropy on s · cosines + λ · mean(g(a)),   g(a) = a / uₐ² + 1 / a
///
/// so that the length of an embedding comes to measure the quality of the face. The gradient passes through the length as
/// well, inside the bounds. Values of the authors' code: lₐ 10, uₐ 110, lₘ 0.45, uₘ 0.8, s 64, λ 35 (convergence asks
/// for λ ≥ s (uₘ − lₘ)/(uₐ − lₐ) · uₐ² lₐ² / (uₐ² − lₐ²), 22.6 here).
final class MagFaceHead: CosineSoftmaxHead {
  /// Bounds of length and margin, and the weight of g.
  struct Bounds: Equatable {
    var (lowerNorm, upperNorm) = (10.0, 110.0)
    var (lowerMargin, upperMargin) = (0.45, 0.8)
    var lambda = 35.0
  }
  private let bounds: Bounds

  init(_ settings: HeadSettings, scale: Double = 64, bounds: Bounds = Bounds()) {
    self.bounds = bounds
    super.init(settings, scale: scale, start: .unitUniform)
  }

  override var movesOwnOnly: Bool { true }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    let norms = cosines.norms
    let (low, high) = (bounds.lowerNorm, bounds.upperNorm)
    let a = norms.clamped(low, high)
    // 1 inside the bounds, 0 outside: the derivative of the clamp.
    let inside = a.equals(norms).to(a.dtype)
    let perLength = (bounds.upperMargin - bounds.lowerMargin) / (high - low) * progress.marginShare
    let margin = (a - low) * perLength + bounds.lowerMargin * progress.marginShare
    let (moved, slope) = angularMargin(cosines.own, shift: margin)
    let isNear = cosines.own .> 0
    let theta = cosines.own.clamped(-1 + 1e-7, 1 - 1e-7).acos()
    let byNorm = -(theta + margin).sin() * perLength * inside
    let reciprocal = 1 / (high * high)
    let g = (a * reciprocal + a.pow(-1)).mean() * bounds.lambda
    let slopeOfG = (1 - a.pow(-2) * (high * high)) * inside * (bounds.lambda * reciprocal / Double(a.shape[0]))
    return MarginLogits(
      all: cosines.all, own: .select(isNear, moved, cosines.own), ownSlope: .select(isNear, slope, cosines.ones),
      ownNormSlope: .select(isNear, byNorm, byNorm * 0), penalty: (g, slopeOfG))
  }
}
