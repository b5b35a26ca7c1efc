import Inference

/// MobileFaceNet (arXiv 1804.07573) as arcface_torch builds it (`backbones/mobilefacenet.py`): `mbf`, `mbf_large`.
///
/// - Input: RGB [N, 3, S, S], values 0 … 255; scaled to (x − 127.5) / 127.5 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Every ε is 1e-5, every γ is learned. Node and parameter names are those of the reference's `state_dict`.
struct TorchMobileFaceNet {
  /// Channels are 64 (128 in the later stages) times this.
  let scale: Int
  /// Reads `blocks`, sizes and `momentum`.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    let (size, blocks) = (settings.imageSize, settings.blocks)
    guard blocks.count == 4 else {
      throw GraphError(.invalid, message: "MobileFaceNet takes four block counts (net_blocks), not \(blocks)")
    }
    let (narrow, wide) = (64 * scale, 128 * scale)
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = block(&g, "layers.0", g.torchScaledInput(), narrow, kernel: 3, stride: 2)
    // The reference writes 64 groups whatever the scale: with more channels this layer is not depthwise.
    x =
      blocks[0] == 1
      ? block(&g, "layers.1", x, narrow, kernel: 3, groups: 64)
      : residual(&g, "layers.1", x, blocks[0], narrow, expanded: 128)
    x = bottleneck(&g, "layers.2", x, narrow, expanded: 128, stride: 2)
    x = residual(&g, "layers.3", x, blocks[1], narrow, expanded: 128)
    x = bottleneck(&g, "layers.4", x, wide, expanded: 256, stride: 2)
    x = residual(&g, "layers.5", x, blocks[2], wide, expanded: 256)
    x = bottleneck(&g, "layers.6", x, wide, expanded: 512, stride: 2)
    x = residual(&g, "layers.7", x, blocks[3], wide, expanded: 256)
    x = block(&g, "conv_sep", x, 512, kernel: 1)
    x = linear(&g, "features.layers.0", x, 512, kernel: 7, pad: 0, groups: 512)
    x = g.torchLinear("features.layers.2", g.flatten(x), units: settings.embeddingSize, bias: false)
    x = g.torchBatchNorm("features.layers.3", x, momentum: settings.momentum)
    return try g.finish([x], preprocessing: .arcFaceTorch(settings))
  }

  /// `LinearBlock`: convolution, batch normalisation.
  private func linear(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1,
    pad: Int? = nil, groups: Int = 1
  ) -> Value {
    let y = g.torchConvolution(
      "\(name).layers.0", x, filters: channels, kernel: .init(kernel), stride: .init(stride),
      pad: .init(.init(pad ?? kernel / 2)), groups: groups)
    return g.torchBatchNorm("\(name).layers.1", y, momentum: settings.momentum)
  }

  /// `ConvBlock`: the same with PReLU.
  private func block(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let y = linear(&g, name, x, channels, kernel: kernel, stride: stride, groups: groups)
    return g.torchPReLU("\(name).layers.2", y)
  }

  /// `DepthWise`: 1×1 expansion, 3×3 depthwise, linear 1×1 projection.
  private func bottleneck(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, expanded: Int, stride: Int = 1
  ) -> Value {
    var y = block(&g, "\(name).layers.0", x, expanded, kernel: 1)
    y = block(&g, "\(name).layers.1", y, expanded, kernel: 3, stride: stride, groups: expanded)
    return linear(&g, "\(name).layers.2", y, channels, kernel: 1)
  }

  /// `Residual`: units with a shortcut around each.
  private func residual(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ count: Int, _ channels: Int, expanded: Int
  ) -> Value {
    (0..<count).reduce(x) { x, index in
      g.add(bottleneck(&g, "\(name).layers.\(index)", x, channels, expanded: expanded), x)
    }
  }
}
