/// A 2-D convolution: input [N, inChannels, H, W], output [N, outChannels, H′, W′].
public final class Conv2d: Module {
  /// The layer's name.
  public let name: LayerName
  /// [outChannels, inChannels / groups, kH, kW], channels-last in memory.
  public let weight: Tensor
  /// [outChannels], or nil.
  public let bias: Tensor?
  /// Step of the window: rows, columns.
  public let stride: (Int, Int)
  /// Zeros added on each side: rows, columns.
  public let padding: (Int, Int)
  /// Groups of channels that see only each other.
  public let groups: Int

  /// A layer with zero weights: an `Initializer` fills them.
  public init(
    _ name: LayerName, _ inChannels: Int, _ outChannels: Int, kernel: Int, stride: Int = 1, padding: Int = 0,
    groups: Int = 1, bias: Bool = false
  ) {
    precondition(
      inChannels % groups == 0 && outChannels % groups == 0,
      "\(name.text): \(inChannels) and \(outChannels) channels do not divide into \(groups) groups")
    self.name = name
    weight = .parameter([outChannels, inChannels / groups, kernel, kernel], 0)
    self.bias = bias ? .parameter([outChannels], 0) : nil
    self.stride = (stride, stride)
    self.padding = (padding, padding)
    self.groups = groups
  }

  /// The convolution of x.
  public func callAsFunction(_ x: Tensor) -> Tensor {
    x.conv2d(weight, bias: bias, stride: stride, padding: padding, groups: groups)
  }

  /// weight, bias.
  public override var ownParameters: [NamedTensor] {
    [NamedTensor(name.parameter(mxnet: "weight", torch: "weight"), weight)]
      + (bias.map { [NamedTensor(name.parameter(mxnet: "bias", torch: "bias"), $0)] } ?? [])
  }
}

/// A fully connected layer: input [N, inFeatures] (more dimensions are flattened in the order C, H, W), output
/// [N, outFeatures].
public final class Linear: Module {
  /// The layer's name.
  public let name: LayerName
  /// [outFeatures, inFeatures].
  public let weight: Tensor
  /// [outFeatures], or nil.
  public let bias: Tensor?

  /// A layer with zero weights: an `Initializer` fills them.
  public init(_ name: LayerName, _ inFeatures: Int, _ outFeatures: Int, bias: Bool = true) {
    self.name = name
    weight = .parameter([outFeatures, inFeatures], 0)
    self.bias = bias ? .parameter([outFeatures], 0) : nil
  }

  /// x Wᵀ + b.
  public func callAsFunction(_ x: Tensor) -> Tensor { (x.rank > 2 ? x.flattened() : x).linear(weight, bias: bias) }

  /// weight, bias.
  public override var ownParameters: [NamedTensor] {
    [NamedTensor(name.parameter(mxnet: "weight", torch: "weight"), weight)]
      + (bias.map { [NamedTensor(name.parameter(mxnet: "bias", torch: "bias"), $0)] } ?? [])
  }
}

/// Batch normalisation over the channels of [N, C] or [N, C, H, W] (arXiv 1502.03167), with MXNet's running
/// statistics: momentum 0.9 keeps nine tenths, and the variance is the biased one.
public final class BatchNorm: Module {
  /// The layer's name.
  public let name: LayerName
  /// Scale [C]; constant 1 when `fixGamma`.
  public let gamma: Tensor
  /// Shift [C].
  public let beta: Tensor
  /// Running mean [C].
  public let runningMean: Tensor
  /// Running biased variance [C].
  public let runningVariance: Tensor
  /// Added to the variance under the root.
  public let eps: Double
  /// The share of the running statistics that stays at each step.
  public let momentum: Double
  /// Whether the scale is held at 1 (MXNet's `fix_gamma`).
  public let fixGamma: Bool
  /// Recomputation sets this to false so that the statistics do not move twice.
  public var updatesStatistics = true

  /// γ = 1, β = 0, running mean 0, running variance 1.
  public init(_ name: LayerName, _ channels: Int, eps: Double, momentum: Double = 0.9, fixGamma: Bool = false) {
    self.name = name
    gamma = .parameter([channels], 1)
    beta = .parameter([channels], 0)
    runningMean = .zeros([channels])
    runningVariance = .ones([channels])
    self.eps = eps
    self.momentum = momentum
    self.fixGamma = fixGamma
    if fixGamma { gamma.requiresGrad = false }
  }

  /// The normalised x, through the activation when one is given.
  public func callAsFunction(_ x: Tensor, then activation: PReLU? = nil) -> Tensor {
    x.batchNorm(
      gamma: gamma, beta: beta, mean: runningMean, variance: runningVariance, slope: activation?.slope,
      training: isTraining, updatesStatistics: updatesStatistics, momentum: momentum, eps: eps)
  }

  /// gamma, beta.
  public override var ownParameters: [NamedTensor] {
    [
      NamedTensor(name.parameter(mxnet: "gamma", torch: "weight"), gamma),
      NamedTensor(name.parameter(mxnet: "beta", torch: "bias"), beta),
    ]
  }

  /// moving mean, moving variance.
  public override var ownBuffers: [NamedTensor] {
    [
      NamedTensor(name.parameter(mxnet: "moving_mean", torch: "running_mean"), runningMean),
      NamedTensor(name.parameter(mxnet: "moving_var", torch: "running_var"), runningVariance),
    ]
  }
}

/// x > 0 ? x : slope · x with one learned slope a channel (arXiv 1502.01852), 0.25 at first.
public final class PReLU: Module {
  /// The layer's name.
  public let name: LayerName
  /// [C].
  public let slope: Tensor

  /// Slopes of 0.25.
  public init(_ name: LayerName, _ channels: Int) {
    self.name = name
    slope = .parameter([channels], 0.25)
  }

  /// The activation of x [N, C, …].
  public func callAsFunction(_ x: Tensor) -> Tensor { x.prelu(slope) }

  /// The slope, which MXNet calls gamma.
  public override var ownParameters: [NamedTensor] {
    [NamedTensor(name.parameter(mxnet: "gamma", torch: "weight"), slope)]
  }
}

extension Tensor {
  /// A leaf that requires a gradient, filled with a value; 4-D ones are channels-last in memory.
  static func parameter(_ shape: [Int], _ value: Double) -> Tensor {
    let tensor = Tensor.empty(shape, format: shape.count == 4 ? .channelsLast : .contiguous)
    tensor.fill(value)
    tensor.requiresGrad = true
    return tensor
  }
}
