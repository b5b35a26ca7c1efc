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
/// logits = s · cos θ, and the own class's cosine is replaced by cos(m1 · θ + m2) − m3. No bias. As in the reference there
/// is no fallback for m1 · θ + m2 > π. With sub-centres the cosine of a class is that of its nearest centre
/// (`SubCenters`).
public final class MarginSoftmaxHead: CosineSoftmaxHead {
  /// The margin in force; a warm-up changes it from step to step.
  public var margin: Margin { didSet { scale = margin.scale } }
  /// How the margin is differentiated.
  public let marginGradient: MarginGradient
  private let fullMargin: Margin

  /// W ~ N(0, 0.01²) [K, D].
  public convenience init(
    classCount: Int, embeddingSize: Int, margin: Margin, marginGradient: MarginGradient = .exact, momentum: Double,
    weightDecay: Double, device: Device, generator: Generator
  ) {
    self.init(
      HeadSettings(
        classCount: classCount, embeddingSize: embeddingSize, momentum: momentum, weightDecay: weightDecay,
        device: device, generator: generator), margin: margin, marginGradient: marginGradient)
  }

  init(_ settings: HeadSettings, margin: Margin, marginGradient: MarginGradient = .exact, subCenters: Int = 1) {
    self.margin = margin
    fullMargin = margin
    self.marginGradient = marginGradient
    super.init(settings, scale: margin.scale, subCenters: subCenters)
  }

  /// Takes up the margin and the scale of a step.
  public override func prepare(_ progress: HeadProgress) {
    super.prepare(progress)
    var grown = fullMargin.grown(progress.marginShare)
    grown.scale *= progress.scaleShare
    margin = grown
  }

  override var movesOwnOnly: Bool { true }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    if margin.m1 == 1 && margin.m2 == 0 {
      return MarginLogits(all: cosines.all, own: cosines.own - margin.m3, ownSlope: cosines.ones)
    }
    // As in the reference, m2 and m3 count only where they are positive beside an angular margin.
    let (moved, slope) = angularMargin(cosines.own, factor: margin.m1, shift: max(margin.m2, 0))
    return MarginLogits(
      all: cosines.all, own: moved - max(margin.m3, 0), ownSlope: marginGradient == .exact ? slope : cosines.ones)
  }
}
