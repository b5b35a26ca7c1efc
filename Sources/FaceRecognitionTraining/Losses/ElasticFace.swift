import Glibc
import Jobs
import Torch

/// ElasticFace: every sample of every batch draws its margin (Boutros et al., arXiv 2109.09416).
///
///     ElasticFace-Arc: own cosine → cos(θ + E),  E ~ N(0.5, σ²)
///     ElasticFace-Cos: own cosine → cos θ − E,   E ~ N(0.35, σ²)
///
/// all times s = 64, σ = 0.05. With `plus` the drawn margins are sorted so that the sample farthest from its class centre
/// has the largest: ElasticFace-Arc+ and -Cos+. A draw is a function of (seed, step, position in the batch).
final class ElasticFaceHead: CosineSoftmaxHead {
  /// What the margin is added to.
  enum Kind { case arc, cos }
  private let kind: Kind
  private let (mean, deviation): (Double, Double)
  private let plus: Bool
  private let seed: UInt64

  init(
    _ settings: HeadSettings, kind: Kind, scale: Double = 64, mean: Double? = nil, deviation: Double = 0.05,
    plus: Bool = false, seed: UInt64
  ) {
    self.kind = kind
    self.mean = mean ?? (kind == .arc ? 0.5 : 0.35)
    self.deviation = deviation
    self.plus = plus
    self.seed = seed
    super.init(settings, scale: scale)
  }

  override var movesOwnOnly: Bool { true }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    let drawn = margins(cosines.own.array(of: Double.self)).map { $0 * progress.marginShare }
    let margin = Tensor(drawn, shape: cosines.own.shape).to(cosines.own.dtype, cosines.own.device)
    switch kind {
    case .arc:
      let (moved, slope) = angularMargin(cosines.own, shift: margin)
      return MarginLogits(all: cosines.all, own: moved, ownSlope: slope)
    case .cos:
      return MarginLogits(all: cosines.all, own: cosines.own - margin, ownSlope: cosines.ones)
    }
  }

  /// The margins of this step for the own cosines [N].
  func margins(_ own: [Double]) -> [Double] {
    let drawn = own.indices.map { position in
      var random = CounterRandom(seed, 0x656C_6173_7469_63, UInt64(progress.step), UInt64(position))
      return mean + deviation * Self.gaussian(&random)
    }
    guard plus else { return drawn }
    let nearestFirst = own.indices.sorted { (own[$1], $0) < (own[$0], $1) }
    var assigned = drawn
    for (row, margin) in zip(nearestFirst, drawn.sorted()) { assigned[row] = margin }
    return assigned
  }

  /// N(0, 1) by Box and Muller's transform.
  private static func gaussian(_ random: inout CounterRandom) -> Double {
    // In (0, 1], so that the logarithm is finite.
    let u = Double((random.next() >> 11) + 1) * 0x1p-53
    let v = Double(random.next() >> 11) * 0x1p-53
    return (-2 * log(u)).squareRoot() * Glibc.cos(2 * .pi * v)
  }
}
