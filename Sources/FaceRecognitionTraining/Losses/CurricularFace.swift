import Glibc
import Torch

/// CurricularFace: easy negatives early, hard ones late (Huang et al., arXiv 2004.00288).
///
/// The own class's cosine becomes cos(θ + m) where cos θ > cos(π − m), else cos θ − m sin(π − m). A negative that is
/// harder, cos θⱼ > cos(θ + m), becomes cos θⱼ (t + cos θⱼ); the others stay. Then all are multiplied by s. t starts at 0 and
/// follows the mean own cosine r of each batch before it is used: t ← 0.01 r + 0.99 t. It is not differentiated.
/// s = 64, m = 0.5, as in the authors' code.
final class CurricularFaceHead: CosineSoftmaxHead {
  private let margin: Double
  private let rate: Double
  private let t: Tensor

  init(_ settings: HeadSettings, scale: Double = 64, margin: Double = 0.5, rate: Double = 0.01) {
    (self.margin, self.rate) = (margin, rate)
    t = .zeros([1], dtype: settings.dtype, device: settings.device)
    super.init(settings, scale: scale)
  }

  /// `fc7_t` [1].
  override var buffers: [NamedTensor] { [NamedTensor("fc7_t", t)] }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    let m = margin * progress.marginShare
    let (moved, slope) = angularMargin(cosines.own, shift: m)
    t.copy(from: t * (1 - rate) + cosines.own.clamped(-1, 1).mean() * rate)
    let cosine = cosines.all
    let isHard = cosine .> moved
    let isNear = cosines.own .> cos(.pi - m)
    return MarginLogits(
      all: .select(isHard, cosine * (cosine + t), cosine),
      slope: .select(isHard, cosine * 2 + t, .ones(cosine.shape, dtype: cosine.dtype, device: cosine.device)),
      own: .select(isNear, moved, cosines.own - sin(.pi - m) * m), ownSlope: .select(isNear, slope, cosines.ones))
  }
}
