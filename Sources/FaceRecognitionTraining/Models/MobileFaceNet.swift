import Torch

/// MobileFaceNet (arXiv 1804.07573) as InsightFace builds it: `fmobilefacenet.py`, networks `y1` and `y2`.
///
/// - Input: RGB [N, 3, H, W], any numeric type, values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// All batch normalisations have ε = 1e-3 (MXNet's default: the reference passes none) and a learned γ; only the last,
/// `fc1`, has ε = 2e-5 and γ held at 1. Parameter names are those of the reference's checkpoints.
public final class MobileFaceNet: Module, EmbeddingNetwork {
  /// What distinguishes y1 from y2, and the switches that the reference applies to both.
  public struct Configuration: Sendable, Equatable {
    /// Repetitions of the units at 56, 28, 14 and 7 pixels: [1, 4, 6, 2] for y1, [2, 8, 16, 4] for y2.
    public var blocks: [Int]
    /// The embedding's length D.
    public var embeddingSize: Int
    /// The activation after a normalised convolution.
    public var activation: ActivationKind
    /// The share of the running statistics that stays at each step.
    public var momentum: Double
    /// H and W of the input.
    public var imageSize: Int

    /// A configuration; the defaults are those of y1.
    public init(
      blocks: [Int] = [1, 4, 6, 2], embeddingSize: Int = 128, activation: ActivationKind = .prelu,
      momentum: Double = 0.9, imageSize: Int = 112
    ) {
      self.blocks = blocks
      self.embeddingSize = embeddingSize
      self.activation = activation
      self.momentum = momentum
      self.imageSize = imageSize
    }

    /// MobileFaceNet with 128 numbers a face: 439.8 MFLOPs.
    public static let y1 = Configuration()
    /// The deeper one, 256 numbers a face.
    public static let y2 = Configuration(blocks: [2, 8, 16, 4], embeddingSize: 256)
  }

  /// How this network was made.
  public let configuration: Configuration
  /// D.
  public var embeddingSize: Int { configuration.embeddingSize }

  /// A step of the network between input and `pre_fc1`.
  enum Layer {
    case block(ConvBlock)
    case unit(Bottleneck)
  }
  /// The steps, in order.
  let layers: [Layer]
  let preFC1: Linear
  let fc1: BatchNorm

  /// A network with zero weights: an `Initializer` or a checkpoint fills them.
  public init(_ configuration: Configuration) {
    self.configuration = configuration
    let make = ConvBlock.Maker(activation: configuration.activation, momentum: configuration.momentum)
    let blocks = configuration.blocks
    precondition(blocks.count == 4, "MobileFaceNet: four block counts, not \(blocks)")

    func units(_ name: String, _ count: Int, _ channels: Int, expanded: Int) -> [Layer] {
      Bottleneck.residual(name, count: count, channels: channels, expanded: expanded, make).map { .unit($0) }
    }
    var layers: [Layer] = [.block(make("conv_1", 3, 64, kernel: 3, stride: 2))]
    layers +=
      blocks[0] == 1
      ? [.block(make("conv_2_dw", 64, 64, kernel: 3, groups: 64))] : units("res_2", blocks[0], 64, expanded: 64)
    layers.append(.unit(Bottleneck("dconv_23", 64, 64, expanded: 128, stride: 2, make)))
    layers += units("res_3", blocks[1], 64, expanded: 128)
    layers.append(.unit(Bottleneck("dconv_34", 64, 128, expanded: 256, stride: 2, make)))
    layers += units("res_4", blocks[2], 128, expanded: 256)
    layers.append(.unit(Bottleneck("dconv_45", 128, 128, expanded: 512, stride: 2, make)))
    layers += units("res_5", blocks[3], 128, expanded: 256)
    layers.append(.block(make("conv_6sep", 128, 512, kernel: 1)))
    // GDC: a depthwise convolution that sees the whole map takes the place of the global average.
    layers.append(.block(make("conv_6dw7_7", 512, 512, kernel: 7, padding: 0, groups: 512, linear: true)))
    self.layers = layers
    let side = Self.outputSide(configuration.imageSize)
    precondition(side >= 1, "MobileFaceNet: images of \(configuration.imageSize) pixels are too small for a 7×7 window")
    preFC1 = Linear("pre_fc1", 512 * side * side, configuration.embeddingSize)
    fc1 = BatchNorm(
      "fc1", configuration.embeddingSize, eps: 2e-5, momentum: configuration.momentum, fixGamma: true)
  }

  /// The embedding of a batch.
  public func callAsFunction(_ images: Tensor) -> Tensor {
    var x = (images.to(.float32) - 127.5) * 0.0078125
    for layer in layers {
      switch layer {
      case .block(let block): x = block(x)
      case .unit(let unit): x = unit(x)
      }
    }
    return fc1(preFC1(x))
  }

  /// The steps, then `pre_fc1` and `fc1`.
  public override var parts: [Module] {
    layers.map { layer -> Module in
      switch layer {
      case .block(let block): block
      case .unit(let unit): unit
      }
    } + [preFC1, fc1]
  }

  /// Rows that the 7×7 window leaves of an image of `size` rows: 1 for 112.
  static func outputSide(_ size: Int) -> Int {
    (0..<4).reduce(size) { side, _ in (side - 1) / 2 + 1 } - 6
  }
}

/// The depthwise unit of MobileFaceNet: 1×1 expansion, 3×3 depthwise, linear 1×1 projection; with a shortcut where the
/// shape stays.
final class Bottleneck: Module {
  let separate: ConvBlock
  let depthwise: ConvBlock
  let project: ConvBlock
  let hasShortcut: Bool

  init(
    _ name: String, _ inChannels: Int, _ outChannels: Int, expanded: Int, stride: Int, shortcut: Bool = false,
    _ make: ConvBlock.Maker
  ) {
    separate = make("\(name)_conv_sep", inChannels, expanded, kernel: 1)
    depthwise = make("\(name)_conv_dw", expanded, expanded, kernel: 3, stride: stride, groups: expanded)
    project = make("\(name)_conv_proj", expanded, outChannels, kernel: 1, linear: true)
    hasShortcut = shortcut
  }

  static func residual(
    _ name: String, count: Int, channels: Int, expanded: Int, _ make: ConvBlock.Maker
  ) -> [Bottleneck] {
    (0..<count).map {
      Bottleneck("\(name)_block\($0)", channels, channels, expanded: expanded, stride: 1, shortcut: true, make)
    }
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let y = project(depthwise(separate(x)))
    return hasShortcut ? y + x : y
  }
}
