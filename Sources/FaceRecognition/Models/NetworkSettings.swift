import Inference

/// What stands behind a normalised convolution (`net_act`).
public enum ActivationKind: String, CaseIterable, Codable, Sendable {
  case prelu, relu, sigmoid, tanh
}

/// How a network turns its last map into the embedding (`net_output`), by the reference's letters.
public enum NetworkOutput: String, CaseIterable, Codable, Sendable {
  /// Batch norm, dropout 0.4, fully connected, batch norm.
  case e = "E"
  /// Batch norm, dropout 0.4, fully connected.
  case f = "F"
  /// Batch norm, fully connected.
  case g = "G"
  /// Fully connected.
  case h = "H"
  /// Batch norm, fully connected, batch norm.
  case i = "I"
  /// Fully connected, batch norm.
  case j = "J"
  /// As E without dropout.
  case fc = "FC"
  /// Global depthwise convolution, fully connected, batch norm (MobileFaceNet).
  case gdc = "GDC"
  /// Norm-aware pooling (MobileFaceNet++).
  case gnap = "GNAP"
  /// Global average pooling, fully connected, batch norm.
  case gap = "GAP"
  /// Batch norm, a separable convolution of stride 2, fully connected, batch norm.
  case sfc = "SFC"
}

/// The switches that the reference applies to its networks, under its names.
///
/// A network reads those that it has; its defaults come from `RecognitionNetwork.defaultSettings`.
public struct NetworkSettings: Sendable, Equatable {
  /// Rows and columns of the input.
  public var imageSize: Int
  /// D, the embedding's length (`emb_size`).
  public var embeddingSize: Int
  /// How the last map becomes the embedding (`net_output`).
  public var output: NetworkOutput
  /// Which residual unit (`net_unit`), 1 … 3.
  public var unit: Int
  /// Whether units carry squeeze-and-excitation (`net_se`).
  public var hasSqueezeExcitation: Bool
  /// The activation (`net_act`).
  public var activation: ActivationKind
  /// Which stem (`net_input`): 0 is the 7×7 with stride 2 of ImageNet, 1 the 3×3 with stride 1.
  public var input: Int
  /// Factor of the channels (`net_multiplier`).
  public var multiplier: Double
  /// Repetitions of the units of each stage (`net_blocks`), where the network takes them from there.
  public var blocks: [Int]
  /// Rate of the dropout behind each layer of a DenseNet (`densenet_dropout`).
  public var dropout: Double
  /// The share of the running statistics that stays at each step (`bn_mom`).
  public var momentum: Double

  /// Settings; the defaults are those of the reference's `sample_config.py`.
  public init(
    imageSize: Int = 112, embeddingSize: Int = 512, output: NetworkOutput = .e, unit: Int = 3,
    hasSqueezeExcitation: Bool = false, activation: ActivationKind = .prelu, input: Int = 1, multiplier: Double = 1,
    blocks: [Int] = [1, 4, 6, 2], dropout: Double = 0, momentum: Double = 0.9
  ) {
    self.imageSize = imageSize
    self.embeddingSize = embeddingSize
    self.output = output
    self.unit = unit
    self.hasSqueezeExcitation = hasSqueezeExcitation
    self.activation = activation
    self.input = input
    self.multiplier = multiplier
    self.blocks = blocks
    self.dropout = dropout
    self.momentum = momentum
  }

  /// Channels times the multiplier, rounded down; 0, which no layer accepts, where that is no sound number.
  func scaled(_ channels: Int) -> Int {
    let scaled = Double(channels) * multiplier
    return scaled >= 0 && scaled < 65536 ? Int(scaled) : 0
  }
}

extension GraphBuilder {
  /// The activation of a map, named in any case as the reference does; PReLU learns a slope a channel.
  mutating func activation(_ name: String, _ x: Value, _ kind: ActivationKind) -> Value {
    switch kind {
    case .prelu: prelu(name, x)
    case .relu: activation(x, .relu, named: name)
    case .sigmoid: activation(x, .sigmoid, named: name)
    case .tanh: activation(x, .tanh, named: name)
    }
  }
}
