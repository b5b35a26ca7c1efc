/// A factor for the loss that keeps gradients in half precision away from underflow, as `torch.amp.GradScaler` chooses it.
///
/// It is halved when a gradient overflows (that update is left out) and doubled after `growthInterval` updates without.
public struct GradientScaler: Sendable, Equatable {
  /// The factor in force.
  public private(set) var scale: Double
  /// Updates since it last changed.
  public private(set) var steady: Int
  /// Updates without overflow after which the factor doubles.
  public let growthInterval: Int

  /// PyTorch's defaults: 2¹⁶, doubled after 2000 updates.
  public init(scale: Double = 65536, steady: Int = 0, growthInterval: Int = 2000) {
    self.scale = scale
    self.steady = steady
    self.growthInterval = growthInterval
  }

  /// Takes up whether the gradients of an update were finite.
  public mutating func update(finite: Bool) {
    guard finite else {
      scale /= 2
      steady = 0
      return
    }
    steady += 1
    if steady == growthInterval {
      scale *= 2
      steady = 0
    }
  }
}
