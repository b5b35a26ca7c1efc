import Torch

/// `CombinedMarginLoss` of arcface_torch (losses.py), with its filter and its straight-through gradient.
///
/// Cosines are held within ±1. With a threshold above 0, every cosine of another class above it is taken for a wrong
/// label and becomes 0, with the gradient 0. Then, of the own class:
///
///     m1 = 1 and m3 = 0:  cos(θ + m2), the derivative taken as 1 (the angle is computed outside of the recorded
///                         computation), unless `exact` asks for sin(θ + m2) / sin θ
///     m3 > 0:             cos θ − m3; m1 and m2 do not count
///
/// and all is multiplied by s = 64. Another combination is an error there and here.
final class CombinedMarginHead: CosineSoftmaxHead {
  private let margin: Margin
  private let threshold: Double
  private let marginGradient: MarginGradient

  init(
    _ settings: HeadSettings, margin: Margin = Margin(m2: 0.5), threshold: Double = 0,
    marginGradient: MarginGradient = .straightThrough
  ) {
    self.margin = margin
    self.threshold = threshold
    self.marginGradient = marginGradient
    super.init(settings, scale: margin.scale)
  }

  /// What is wrong with a combination of margins; nil: nothing.
  static func problem(_ margin: Margin) -> String? {
    if (margin.m1 == 1 && margin.m3 == 0) || margin.m3 > 0 { return nil }
    return "loss_m1=\(margin.m1), loss_m3=\(margin.m3): combined-margin is ArcFace (loss_m1=1, loss_m3=0) or CosFace "
      + "(loss_m3 above 0); for both at once use --loss combined"
  }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    var (all, slope): (Tensor, Tensor?) = (cosines.all.clamped(-1, 1), nil)
    let own = cosines.own.clamped(-1, 1)
    if threshold > 0 {
      let kept = 1 - (all .> threshold).to(all.dtype)
      (all, slope) = (all * kept, kept)
    }
    let grown = margin.grown(progress.marginShare)
    guard margin.m3 == 0 else {
      return MarginLogits(all: all, slope: slope, own: own - grown.m3, ownSlope: cosines.ones)
    }
    let (moved, exact) = angularMargin(own, shift: grown.m2)
    return MarginLogits(
      all: all, slope: slope, own: moved, ownSlope: marginGradient == .exact ? exact : cosines.ones)
  }
}
