/// x · scale + shift, for each channel or the same for all (one element).
struct ChannelAffine: Sendable, Hashable {
  var scale: [Double]
  var shift: [Double]

  static func uniform(_ scale: Double, _ shift: Double) -> ChannelAffine {
    ChannelAffine(scale: [scale], shift: [shift])
  }

  func scale(_ channel: Int) -> Double { scale.count == 1 ? scale[0] : scale[channel] }
  func shift(_ channel: Int) -> Double { shift.count == 1 ? shift[0] : shift[channel] }

  /// This and then `next`.
  func then(_ next: ChannelAffine) -> ChannelAffine {
    let count = max(scale.count, next.scale.count)
    return ChannelAffine(
      scale: (0..<count).map { scale($0) * next.scale($0) },
      shift: (0..<count).map { shift($0) * next.scale($0) + next.shift($0) })
  }

  func expanded(to count: Int) -> ChannelAffine {
    ChannelAffine(scale: (0..<count).map(scale), shift: (0..<count).map(shift))
  }

  /// The values outside an image for which x · scale + shift is zero there; nil where there is none.
  func padding(_ count: Int) -> [Float]? {
    var values: [Float] = []
    for channel in 0..<count {
      let value = Float(-shift(channel) / scale(channel))
      // Scaled weights must not vanish either, or their product with a large value would lose what it stands for.
      guard value.isFinite, abs(scale(channel)) > 1e-20 else { return nil }
      values.append(value)
    }
    return values
  }
}

/// What happens to the elements of a layer's result before they are stored.
struct LayerEpilogue: Sendable {
  enum Activation: Sendable, Hashable {
    case relu
    /// z where positive, slope · z elsewhere: one slope for each channel, or one element for all.
    case slope([Float])
    case clip(Float, Float)
  }
  var activation: Activation?
  /// The layer whose output is added.
  var residual: Int?
  /// Whether the activation follows the addition.
  var addsFirst = false
}

/// An operation of the plan: one or several nodes of the graph.
struct Layer: Sendable {
  /// A convolution, transposed convolution or fully connected layer with what is folded into it.
  struct Product: Sendable {
    /// The node whose weights it has.
    var node: NetworkGraph.Node
    /// Multiplied to the sums and added, per output channel.
    var after: ChannelAffine?
    /// Applied to the input, per input channel.
    var before: ChannelAffine?
    /// Channels of the (N, C, H, W) input that is merged to one line, for the order of its weights; nil elsewhere.
    var mergedChannels: Int?
    /// Names the packed weights: all nodes whose numbers are in them.
    var key: String
  }

  enum Kind: Sendable {
    case input(ChannelAffine?)
    case constant(String)
    case product(Product)
    /// x · scale + shift along an axis; nil scales nothing and is there for its epilogue.
    case affine(ChannelAffine?, axis: Int)
    /// Attention over tokens (N, L, W), which are its three inputs.
    case attention(AttentionPattern)
    /// What no kernel takes in, as the graph has it.
    case operation(NetworkGraph.Node)
  }

  var kind: Kind
  var inputs: [Int]
  var epilogue = LayerEpilogue()
  /// The output's shape.
  var shape: NetworkGraph.Shape
  /// The last graph node whose result this is.
  var name: String

  /// Everything that the layer reads.
  var reads: [Int] { inputs + (epilogue.residual.map { [$0] } ?? []) }
}
