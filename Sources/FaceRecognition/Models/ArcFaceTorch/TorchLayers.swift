import Inference

/// Layers whose parameters carry the names that PyTorch gives them: `name.weight`, `name.running_mean` …
extension GraphBuilder {
  /// The network's scaling, (x/255 − 0.5) / 0.5 of pixels 0 … 255, which arcface_torch does outside of its networks.
  mutating func torchScaledInput() -> Value { multiply(subtract(input, 127.5), 1 / 127.5) }

  /// `nn.Conv2d`.
  mutating func torchConvolution(
    _ name: String, _ x: Value, filters: Int, kernel: Extent, stride: Extent = 1, pad: Padding = 0, groups: Int = 1,
    bias: Bool = false
  ) -> Value {
    let convolution = Operation.Convolution(
      filters: filters, kernel: kernel, stride: stride, pad: pad, groups: groups, bias: bias)
    let names = bias ? ["\(name).weight", "\(name).bias"] : ["\(name).weight"]
    return add(.convolution(convolution), [x], named: name, parameters: names)
  }

  /// `nn.BatchNorm1d`, `nn.BatchNorm2d`; `momentum` is the share of the old statistics, one minus PyTorch's.
  mutating func torchBatchNorm(
    _ name: String, _ x: Value, epsilon: Double = 1e-5, momentum: Double, isFrozen: Bool = false
  ) -> Value {
    add(
      .batchNorm(.init(epsilon: epsilon, momentum: momentum, fixGamma: isFrozen)), [x], named: name,
      parameters: ["\(name).weight", "\(name).bias", "\(name).running_mean", "\(name).running_var"])
  }

  /// `nn.PReLU` with a slope a channel.
  mutating func torchPReLU(_ name: String, _ x: Value) -> Value {
    add(.prelu(shared: false), [x], named: name, parameters: ["\(name).weight"])
  }

  /// `nn.Linear`; over the last axis alone unless `flatten`.
  mutating func torchLinear(
    _ name: String, _ x: Value, units: Int, bias: Bool = true, flatten: Bool = false
  ) -> Value {
    let names = bias ? ["\(name).weight", "\(name).bias"] : ["\(name).weight"]
    return add(
      .fullyConnected(.init(units: units, bias: bias, flatten: flatten)), [x], named: name, parameters: names)
  }

  /// `nn.LayerNorm` over the last axis.
  mutating func torchLayerNorm(_ name: String, _ x: Value) -> Value {
    add(.layerNorm(.init()), [x], named: name, parameters: ["\(name).weight", "\(name).bias"])
  }
}

extension Preprocessing {
  /// What arcface_torch's networks expect, RGB and (x − 127.5) / 127.5, computed by the network.
  static func arcFaceTorch(_ settings: NetworkSettings) -> Preprocessing {
    Preprocessing(
      colourOrder: .rgb, height: settings.imageSize, width: settings.imageSize, mean: [127.5], scale: [1 / 127.5],
      isInsideGraph: true, embeddingLength: settings.embeddingSize)
  }
}
