import Inference

/// MobileFaceNet (arXiv 1804.07573) as InsightFace builds it: `fmobilefacenet.py`, networks `y1` and `y2`.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// All batch normalisations have ε = 1e-3 (MXNet's default: the reference passes none) and a learned γ; only the last,
/// `fc1`, has ε = 2e-5 and γ held at 1. Node names are those of the reference's symbol.
struct MobileFaceNet {
  /// Reads `blocks` (one count for the maps of 56, 28, 14 and 7 pixels), `activation`, `output`, `momentum`, sizes.
  let settings: NetworkSettings

  init(_ settings: NetworkSettings) { self.settings = settings }

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    let (size, blocks) = (settings.imageSize, settings.blocks)
    guard blocks.count == 4 else {
      throw GraphError(.invalid, message: "MobileFaceNet takes four block counts (net_blocks), not \(blocks)")
    }
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.scaledPixels(g.input)
    x = block(&g, "conv_1", x, 64, kernel: 3, stride: 2)
    x =
      blocks[0] == 1
      ? block(&g, "conv_2_dw", x, 64, kernel: 3, groups: 64) : units(&g, "res_2", x, blocks[0], 64, expanded: 64)
    x = bottleneck(&g, "dconv_23", x, 64, expanded: 128, stride: 2)
    x = units(&g, "res_3", x, blocks[1], 64, expanded: 128)
    x = bottleneck(&g, "dconv_34", x, 128, expanded: 256, stride: 2)
    x = units(&g, "res_4", x, blocks[2], 128, expanded: 256)
    x = bottleneck(&g, "dconv_45", x, 128, expanded: 512, stride: 2)
    x = units(&g, "res_5", x, blocks[3], 128, expanded: 256)
    x = block(&g, "conv_6sep", x, 512, kernel: 1)
    return try g.finish(
      [g.embedding(x, settings)],
      preprocessing: .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize))
  }

  /// Convolution without bias, batch normalisation: `Linear` of the reference.
  private func linear(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let y = g.convolution(
      "\(name)_conv2d", x, filters: channels, kernel: .init(kernel), stride: .init(stride),
      pad: .init(.init(kernel / 2)), groups: groups, bias: false)
    return g.batchNorm("\(name)_batchnorm", y, momentum: settings.momentum)
  }

  /// Convolution, batch normalisation, activation: `Conv` of the reference.
  private func block(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let y = linear(&g, name, x, channels, kernel: kernel, stride: stride, groups: groups)
    return g.activation("\(name)_relu", y, settings.activation)
  }

  /// The depthwise unit: 1×1 expansion, 3×3 depthwise, linear 1×1 projection.
  private func bottleneck(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, expanded: Int, stride: Int = 1
  ) -> Value {
    var y = block(&g, "\(name)_conv_sep", x, expanded, kernel: 1)
    y = block(&g, "\(name)_conv_dw", y, expanded, kernel: 3, stride: stride, groups: expanded)
    return linear(&g, "\(name)_conv_proj", y, channels, kernel: 1)
  }

  /// Units with a shortcut around each.
  private func units(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ count: Int, _ channels: Int, expanded: Int
  ) -> Value {
    (0..<count).reduce(x) { x, index in
      g.add(bottleneck(&g, "\(name)_block\(index)", x, channels, expanded: expanded), x)
    }
  }
}
