extension NetworkGraph {
  /// What a node computes, always one output.
  ///
  /// Parameters that are learned are not part of the operation: `parameterRoles` tells which it has, the node names
  /// them, and the graph holds their values.
  public enum Operation: Sendable, Hashable {
    /// An input of the network with its shape.
    case input(Shape)
    /// A learned or constant tensor used as an operand; the node's one parameter holds it.
    case parameter(shape: [Int])
    /// Arithmetic with one constant.
    case scalar(ScalarArithmetic)
    /// Arithmetic of two tensors.
    case elementwise(Elementwise)
    /// Two-dimensional cross-correlation.
    case convolution(Convolution)
    /// The transpose of a convolution, which enlarges.
    case deconvolution(Deconvolution)
    /// A matrix product.
    case fullyConnected(FullyConnected)
    /// Batch normalisation with running statistics.
    case batchNorm(BatchNorm)
    /// A function of each element alone.
    case activation(Activation)
    /// Normalisation of each vector along one axis by its own mean and variance, then gamma and beta.
    case layerNorm(LayerNorm)
    /// The matrix product of the last two axes of two tensors, for each index of the axes before.
    case matmul(transposesSecond: Bool)
    /// Leaky rectifier with a learned slope, one for each channel (axis 1) or one for all.
    case prelu(shared: Bool)
    /// Maximum or average over windows or over the whole image.
    case pooling(Pooling)
    /// Exponentials divided by their sum along an axis; negative axes count from the end.
    case softmax(axis: Int)
    /// Division by the Euclidean norm.
    case l2Normalize(L2Normalize)
    /// Random zeroing while training; the identity when the network runs.
    case dropout(rate: Double)
    /// Random zeroing of whole samples (N, L, D) while training (stochastic depth, arXiv 1603.09382); the rest is
    /// divided by 1 − rate.
    case dropPath(rate: Double)
    /// While training, a random ⌊L (1 − ratio)⌋ of the L tokens of each sample (N, L, D), in random order; else all.
    case tokenMask(ratio: Double)
    /// Puts tokens back where `tokenMask`, whose output is the second input, took them from, and the learned token
    /// (1, 1, D) in the gaps; else the first input.
    case tokenRestore
    /// The input itself; `stopsGradient` blocks the backward pass.
    case identity(stopsGradient: Bool)
    /// All dimensions but the first merged into one.
    case flatten
    /// The same elements in C order under another shape.
    case reshape([ReshapeTarget])
    /// Dimensions reordered: output dimension i is input dimension `permutation[i]`; empty reverses them.
    case transpose(permutation: [Int])
    /// Tensors joined along an axis; negative axes count from the end.
    case concat(axis: Int)
    /// A range of one axis.
    case slice(Slice)
    /// A window of the image.
    case crop(Crop)
    /// Every pixel repeated `scale` times in both directions.
    case upsampleNearest(scale: Int)
    /// Sum or mean over some axes or all.
    case reduction(Reduction)
    /// The whole tensor repeated so many times along each axis.
    case tile(repetitions: [Int])

    /// Arithmetic of x and one constant c.
    public struct ScalarArithmetic: Sendable, Hashable {
      /// Which arithmetic.
      public enum Kind: Sendable, Hashable, CaseIterable {
        /// x + c
        case add
        /// x − c
        case subtract
        /// c − x
        case subtractFrom
        /// x · c
        case multiply
        /// x / c
        case divide
        /// c / x
        case divideInto
        /// The larger of x and c.
        case maximum
        /// The smaller of x and c.
        case minimum
      }
      /// Which arithmetic.
      public var kind: Kind
      /// The constant c.
      public var value: Double

      /// Arithmetic with a constant.
      public init(_ kind: Kind, _ value: Double) {
        self.kind = kind
        self.value = value
      }

      /// (a, b) where the arithmetic is a · x + b, so that a plan can fold it; nil for c / x, maximum and minimum.
      public var affine: (scale: Double, offset: Double)? {
        switch kind {
        case .add: (1, value)
        case .subtract: (1, -value)
        case .subtractFrom: (-1, value)
        case .multiply: (value, 0)
        case .divide: (1 / value, 0)
        case .divideInto, .maximum, .minimum: nil
        }
      }
    }

    /// Arithmetic of two tensors, element by element.
    public struct Elementwise: Sendable, Hashable {
      /// Which arithmetic.
      public enum Kind: Sendable, Hashable, CaseIterable {
        case add, subtract, multiply, divide, maximum, minimum
      }
      /// Which arithmetic.
      public var kind: Kind
      /// Whether a dimension of 1 is repeated to fit the other side; without it both shapes must be equal.
      public var broadcasts: Bool

      /// Arithmetic of two tensors.
      public init(_ kind: Kind, broadcasts: Bool = false) {
        self.kind = kind
        self.broadcasts = broadcasts
      }
    }

    /// Weight (filters, C / groups, kH, kW), bias (filters).
    public struct Convolution: Sendable, Hashable {
      /// Output channels.
      public var filters: Int
      /// Window.
      public var kernel: Extent
      /// Step of the window.
      public var stride: Extent
      /// Zeros added around the image.
      public var pad: Padding
      /// Distance between neighbouring taps.
      public var dilation: Extent
      /// Groups of channels that do not see each other; C for a depthwise convolution.
      public var groups: Int
      /// Whether a bias is added.
      public var bias: Bool

      /// A convolution.
      public init(
        filters: Int, kernel: Extent, stride: Extent = 1, pad: Padding = 0, dilation: Extent = 1, groups: Int = 1,
        bias: Bool = true
      ) {
        self.filters = filters
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.dilation = dilation
        self.groups = groups
        self.bias = bias
      }
    }

    /// Weight (C, filters / groups, kH, kW), bias (filters); H′ = (H − 1) · stride + dilation · (kH − 1) + 1 − pad + adj.
    public struct Deconvolution: Sendable, Hashable {
      /// Output channels.
      public var filters: Int
      /// Window.
      public var kernel: Extent
      /// Enlargement.
      public var stride: Extent
      /// Rows and columns cut off the full result on each side.
      public var pad: Padding
      /// Distance between neighbouring taps.
      public var dilation: Extent
      /// Rows and columns added at the bottom and right.
      public var outputPadding: Extent
      /// Groups of channels that do not see each other.
      public var groups: Int
      /// Whether a bias is added.
      public var bias: Bool

      /// A deconvolution.
      public init(
        filters: Int, kernel: Extent, stride: Extent = 1, pad: Padding = 0, dilation: Extent = 1,
        outputPadding: Extent = 0, groups: Int = 1, bias: Bool = false
      ) {
        self.filters = filters
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.dilation = dilation
        self.outputPadding = outputPadding
        self.groups = groups
        self.bias = bias
      }
    }

    /// Weight (units, D), bias (units).
    public struct FullyConnected: Sendable, Hashable {
      /// Output length.
      public var units: Int
      /// Whether a bias is added.
      public var bias: Bool
      /// Whether all dimensions but the first are merged before; else only the last is transformed.
      public var flatten: Bool

      /// A fully connected layer.
      public init(units: Int, bias: Bool = true, flatten: Bool = true) {
        self.units = units
        self.bias = bias
        self.flatten = flatten
      }
    }

    /// (x − mean) / √(variance + epsilon) · gamma + beta along one axis, with the running statistics.
    public struct BatchNorm: Sendable, Hashable {
      /// Added to the variance.
      public var epsilon: Double
      /// Weight of the old running statistics in a training step (MXNet's convention; PyTorch's is one minus this).
      public var momentum: Double
      /// Whether gamma is 1 whatever is stored.
      public var fixGamma: Bool
      /// The channel axis; negative counts from the end.
      public var axis: Int
      /// Whether training too uses the running statistics.
      public var usesGlobalStatistics: Bool

      /// A batch normalisation; the defaults are MXNet's but for `fixGamma`, which is true there.
      public init(
        epsilon: Double = 1e-3, momentum: Double = 0.9, fixGamma: Bool = false, axis: Int = 1,
        usesGlobalStatistics: Bool = false
      ) {
        self.epsilon = epsilon
        self.momentum = momentum
        self.fixGamma = fixGamma
        self.axis = axis
        self.usesGlobalStatistics = usesGlobalStatistics
      }
    }

    /// (x − mean) / √(variance + epsilon) · gamma + beta, mean and biased variance along one axis (arXiv 1607.06450).
    public struct LayerNorm: Sendable, Hashable {
      /// Added to the variance.
      public var epsilon: Double
      /// The axis; negative counts from the end.
      public var axis: Int

      /// A layer normalisation; the defaults are PyTorch's.
      public init(epsilon: Double = 1e-5, axis: Int = -1) {
        self.epsilon = epsilon
        self.axis = axis
      }
    }

    /// Functions of one element without learned parameters.
    public enum Activation: Sendable, Hashable {
      /// max(x, 0)
      case relu
      /// 1 / (1 + e^−x)
      case sigmoid
      /// Hyperbolic tangent.
      case tanh
      /// log(1 + e^x)
      case softplus
      /// x / (1 + |x|)
      case softsign
      /// x where positive, slope · x elsewhere.
      case leakyRelu(slope: Double)
      /// x where positive, slope · (e^x − 1) elsewhere.
      case elu(slope: Double)
      /// x · Φ(x) with the normal distribution's Φ, exact (erf).
      case gelu
      /// x limited to a range; (0, 6) is ReLU6.
      case clip(minimum: Double, maximum: Double)
      /// √x
      case squareRoot
    }

    /// Pooling over windows or over the whole image.
    public struct Pooling: Sendable, Hashable {
      /// Which reduction.
      public enum Kind: Sendable, Hashable, CaseIterable {
        case max, average, sum
      }
      /// How the output size is rounded when windows do not fit.
      public enum Convention: Sendable, Hashable, CaseIterable {
        /// Down: the last rows may go unused.
        case valid
        /// Up: the last window may hang over.
        case full
      }
      /// Which reduction.
      public var kind: Kind
      /// Window; without meaning for global pooling, but kept for a round trip, nil where none was given.
      public var kernel: Extent?
      /// Step of the window.
      public var stride: Extent
      /// Rows and columns added around the image.
      public var pad: Padding
      /// Whether the window is the whole image.
      public var isGlobal: Bool
      /// Rounding of the output size.
      public var convention: Convention
      /// Whether an average counts the padding as zeros.
      public var countsPadding: Bool

      /// A pooling.
      public init(
        _ kind: Kind, kernel: Extent?, stride: Extent = 1, pad: Padding = 0, isGlobal: Bool = false,
        convention: Convention = .valid, countsPadding: Bool = true
      ) {
        self.kind = kind
        self.kernel = kernel
        self.stride = stride
        self.pad = pad
        self.isGlobal = isGlobal
        self.convention = convention
        self.countsPadding = countsPadding
      }
    }

    /// x / √(Σ x² + epsilon).
    public struct L2Normalize: Sendable, Hashable {
      /// Over what the sum runs.
      public enum Mode: Sendable, Hashable, CaseIterable {
        /// All elements of a sample.
        case instance
        /// The channels of a pixel (axis 1).
        case channel
        /// The pixels of a channel (axes 2 and up).
        case spatial
      }
      /// Over what the sum runs.
      public var mode: Mode
      /// Added to the sum of squares.
      public var epsilon: Double

      /// A normalisation.
      public init(mode: Mode = .instance, epsilon: Double = 1e-10) {
        self.mode = mode
        self.epsilon = epsilon
      }
    }

    /// How one or more dimensions of a reshaped tensor come about.
    public enum ReshapeTarget: Sendable, Hashable, ExpressibleByIntegerLiteral {
      /// This size.
      case size(Int)
      /// The next input dimension as it is (MXNet 0).
      case keep
      /// Whatever is left (MXNet −1); at most once.
      case infer
      /// All remaining input dimensions (MXNet −2).
      case keepRest
      /// The product of the next two input dimensions (MXNet −3).
      case merge
      /// The next input dimension in two, one of which may be −1 (MXNet −4).
      case split(Int, Int)

      /// A size, or 0 for keep and −1 for infer.
      public init(integerLiteral value: Int) {
        switch value {
        case 0: self = .keep
        case -1: self = .infer
        default: self = .size(value)
        }
      }
    }

    /// Elements `begin ..< end` of one axis; negative numbers count from the end, nil is the end.
    public struct Slice: Sendable, Hashable {
      /// Which axis.
      public var axis: Int
      /// First element.
      public var begin: Int
      /// One past the last element.
      public var end: Int?

      /// A slice.
      public init(axis: Int, begin: Int, end: Int?) {
        self.axis = axis
        self.begin = begin
        self.end = end
      }
    }

    /// A window of an image (N, C, H, W).
    public struct Crop: Sendable, Hashable {
      /// Its size; nil takes that of the second input.
      public var size: Extent?
      /// Its first row and column.
      public var offset: Extent
      /// Whether the window is centred and the offset ignored.
      public var isCentered: Bool

      /// A crop.
      public init(size: Extent?, offset: Extent = 0, isCentered: Bool = false) {
        self.size = size
        self.offset = offset
        self.isCentered = isCentered
      }
    }

    /// A sum or a mean over axes, the batch's too if it is among them.
    public struct Reduction: Sendable, Hashable {
      /// Which reduction.
      public enum Kind: Sendable, Hashable, CaseIterable {
        case sum, mean
      }
      /// Which reduction.
      public var kind: Kind
      /// The axes that vanish, negative ones counted from the end; empty means all.
      public var axes: [Int]
      /// Whether they stay as axes of 1; without it, reducing all gives a tensor of shape (1).
      public var keepsDimensions: Bool

      /// A reduction.
      public init(_ kind: Kind, axes: [Int] = [], keepsDimensions: Bool = false) {
        self.kind = kind
        self.axes = axes
        self.keepsDimensions = keepsDimensions
      }
    }

    /// The operation's name in messages.
    public var name: String {
      switch self {
      case .input: "input"
      case .parameter: "parameter"
      case .scalar(let scalar): "scalar \(scalar.kind)"
      case .elementwise(let elementwise): "elementwise \(elementwise.kind)"
      case .convolution: "convolution"
      case .deconvolution: "deconvolution"
      case .fullyConnected: "fullyConnected"
      case .batchNorm: "batchNorm"
      case .activation(let activation): "activation \(activation)"
      case .layerNorm: "layerNorm"
      case .matmul: "matmul"
      case .prelu: "prelu"
      case .pooling: "pooling"
      case .softmax: "softmax"
      case .l2Normalize: "l2Normalize"
      case .dropout: "dropout"
      case .dropPath: "dropPath"
      case .tokenMask: "tokenMask"
      case .tokenRestore: "tokenRestore"
      case .identity: "identity"
      case .flatten: "flatten"
      case .reshape: "reshape"
      case .transpose: "transpose"
      case .concat: "concat"
      case .slice: "slice"
      case .crop: "crop"
      case .upsampleNearest: "upsampleNearest"
      case .reduction(let reduction): "reduction \(reduction.kind)"
      case .tile: "tile"
      }
    }

    /// How many tensors the operation takes.
    public var inputCounts: ClosedRange<Int> {
      switch self {
      case .input, .parameter: 0...0
      case .elementwise, .matmul: 2...2
      case .tokenRestore: 1...2
      case .concat: 1...1024
      case .crop(let crop): crop.size == nil ? 2...2 : 1...1
      default: 1...1
      }
    }

    /// The learned parameters in the order in which MXNet takes them.
    public var parameterRoles: [ParameterRole] {
      switch self {
      case .parameter: [.value]
      case .convolution(let convolution): convolution.bias ? [.weight, .bias] : [.weight]
      case .deconvolution(let deconvolution): deconvolution.bias ? [.weight, .bias] : [.weight]
      case .fullyConnected(let fullyConnected): fullyConnected.bias ? [.weight, .bias] : [.weight]
      case .batchNorm: [.gamma, .beta, .movingMean, .movingVariance]
      case .layerNorm: [.gamma, .beta]
      case .prelu: [.slope]
      case .tokenRestore: [.value]
      default: []
      }
    }
  }

  /// What a learned tensor is to the operation that uses it.
  public enum ParameterRole: Sendable, Hashable, CaseIterable {
    case weight, bias, gamma, beta, movingMean, movingVariance, slope
    /// The tensor of a `parameter` node.
    case value

    /// What MXNet appends to the operator's name, empty for a tensor with a name of its own.
    public var suffix: String {
      switch self {
      case .weight: "_weight"
      case .bias: "_bias"
      case .gamma, .slope: "_gamma"
      case .beta: "_beta"
      case .movingMean: "_moving_mean"
      case .movingVariance: "_moving_var"
      case .value: ""
      }
    }

    /// Whether MXNet files the tensor under `aux:`: state that training updates without a gradient.
    public var isAuxiliary: Bool { self == .movingMean || self == .movingVariance }
  }
}
