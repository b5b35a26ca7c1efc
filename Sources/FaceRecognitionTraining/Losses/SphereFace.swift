import Torch

/// SphereFace (A-Softmax): a multiplicative angular margin (Liu et al., arXiv 1704.08063).
///
/// In the form of its authors' OpenSphere, where "SphereFace Revived" (Liu et al., arXiv 2109.05565) did away with the
/// annealing λ: logits = s · cos θ, the own class's cosine is replaced by
///
///     φ(θ) = (−1)ᵏ cos(m θ) − 2k,  k = ⌊m θ / π⌋,
///
/// which falls monotonically over [0, π]; s = 30, m = 1.5. The margin is left out of the gradient ("characteristic
/// gradient detachment": straight-through), unless `exact` asks for (−1)ᵏ m sin(m θ) / sin θ. Cosines are held within
/// ±(1 − 1e-5) where they count. OpenSphere puts the weight's rows back to length 1 before every step; here they start
/// there and are normalised on the way through, which has the same direction of every gradient.
final class SphereFaceHead: CosineSoftmaxHead {
  private let margin: Double
  private let marginGradient: MarginGradient

  init(
    _ settings: HeadSettings, scale: Double = 30, margin: Double = 1.5,
    marginGradient: MarginGradient = .straightThrough
  ) {
    self.margin = margin
    self.marginGradient = marginGradient
    super.init(settings, scale: scale, start: .unitNormal)
  }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    let limit = 1 - 1e-5
    let m = 1 + (margin - 1) * progress.marginShare
    let theta = cosines.own.clamped(-limit, limit).acos()
    let moved = theta * m
    // k counts the multiples of π that m θ has passed; each turns the sign.
    var (k, sign) = (cosines.ones - 1, cosines.ones)
    for j in 1..<max(2, Int(m.rounded(.up)) + 1) {
      let passed = (moved .>= Double(j) * .pi).to(moved.dtype)
      k = k + passed
      sign = sign * (1 - 2 * passed)
    }
    return MarginLogits(
      all: cosines.all.clamped(-limit, limit), own: sign * moved.cos() - k * 2,
      ownSlope: marginGradient == .exact ? sign * moved.sin() * m / theta.sin() : cosines.ones)
  }
}
