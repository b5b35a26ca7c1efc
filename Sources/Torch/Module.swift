/// The name of a layer, and the convention by which its parameters are called.
public struct LayerName: Sendable, ExpressibleByStringInterpolation {
  /// Whose names a network uses for its parameters.
  public enum Convention: Sendable {
    /// MXNet: `name_weight`, `name_gamma`, `name_moving_mean`.
    case mxnet
    /// PyTorch: `name.weight`, `name.running_mean`.
    case torch
  }

  /// The layer's own name.
  public let text: String
  /// How the parameters' names are made.
  public let convention: Convention

  /// A name in MXNet's convention.
  public init(stringLiteral value: String) { self.init(value) }

  /// A name in a convention.
  public init(_ text: String, _ convention: Convention = .mxnet) {
    self.text = text
    self.convention = convention
  }

  func parameter(mxnet: String, torch: String) -> String {
    switch convention {
    case .mxnet: "\(text)_\(mxnet)"
    case .torch: "\(text).\(torch)"
    }
  }
}

/// A named tensor of a network.
public struct NamedTensor: Sendable {
  /// The name in the network's convention.
  public let name: String
  /// The tensor itself, not a copy.
  public let tensor: Tensor

  /// Names a tensor.
  public init(_ name: String, _ tensor: Tensor) {
    self.name = name
    self.tensor = tensor
  }
}

/// A part of a network: it owns parameters and buffers, or other modules, or both.
///
/// A subclass keeps its parts in stored properties; they are found in the order of their declaration.
open class Module {
  /// For subclasses.
  public init() {}

  /// Whether batch statistics and dropout are those of training.
  ///
  /// Set with `setTraining`.
  public private(set) var isTraining = true

  /// The parameters that this module itself owns (not its parts).
  open var ownParameters: [NamedTensor] { [] }
  /// The buffers (running statistics) that this module itself owns.
  open var ownBuffers: [NamedTensor] { [] }

  /// The modules that this one is made of, in the order of the network: those held in stored properties, alone or in
  /// arrays, in the order of declaration, those of superclasses first.
  ///
  /// A subclass that keeps its parts otherwise says so.
  open var parts: [Module] {
    var levels: [Mirror] = []
    var mirror: Mirror? = Mirror(reflecting: self)
    while let level = mirror {
      levels.append(level)
      mirror = level.superclassMirror
    }
    return levels.reversed().flatMap(\.children).flatMap { child -> [Module] in
      (child.value as? Module).map { [$0] } ?? child.value as? [Module] ?? []
    }
  }

  /// All parameters, in the order of the network.
  public var parameters: [NamedTensor] { ownParameters + parts.flatMap { $0.parameters } }
  /// All buffers, in the order of the network.
  public var buffers: [NamedTensor] { ownBuffers + parts.flatMap { $0.buffers } }

  /// Switches between training and evaluation.
  public func setTraining(_ on: Bool) {
    isTraining = on
    for part in parts { part.setTraining(on) }
  }

  /// Puts parameters and buffers on a device, in place: the tensors stay the same objects.
  public func move(to device: Device) {
    for named in parameters + buffers { named.tensor.move(to: device) }
  }

  /// Forgets all gradients.
  public func clearGradients() {
    for parameter in parameters { parameter.tensor.clearGrad() }
  }
}
