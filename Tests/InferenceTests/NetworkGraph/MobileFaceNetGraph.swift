import Inference

/// MobileFaceNet (arXiv 1804.07573) as the reference's `symbol/fmobilefacenet.py` with the head `GDC` builds it.
///
/// Input (N, 3, 112, 112) RGB 0 … 255, output (N, embedding).
struct MobileFaceNetGraph {
  /// Residual blocks of the four stages; a first number of 1 is one depthwise layer instead of a residual stage.
  var blocks: [Int]
  /// Length of the embedding.
  var embeddingLength: Int

  static let y1 = MobileFaceNetGraph(blocks: [1, 4, 6, 2], embeddingLength: 128)
  static let y2 = MobileFaceNetGraph(blocks: [2, 8, 16, 4], embeddingLength: 256)

  private typealias Value = GraphBuilder.Value

  func graph(preprocessing: Preprocessing? = nil) throws(GraphError) -> NetworkGraph {
    var g = GraphBuilder(input: "data", channels: 3, height: 112, width: 112)
    var x = g.multiply(g.subtract(g.input, 127.5), 0.0078125)
    x = convolution(&g, "conv_1", x, filters: 64, kernel: 3, stride: 2, pad: 1)
    if blocks[0] == 1 {
      x = convolution(&g, "conv_2_dw", x, filters: 64, kernel: 3, pad: 1, groups: 64)
    } else {
      x = residual(&g, "res_2", x, blocks: blocks[0], filters: 64, expansion: 64)
    }
    x = bottleneck(&g, "dconv_23", x, filters: 64, expansion: 128, stride: 2)
    x = residual(&g, "res_3", x, blocks: blocks[1], filters: 64, expansion: 128)
    x = bottleneck(&g, "dconv_34", x, filters: 128, expansion: 256, stride: 2)
    x = residual(&g, "res_4", x, blocks: blocks[2], filters: 128, expansion: 256)
    x = bottleneck(&g, "dconv_45", x, filters: 128, expansion: 512, stride: 2)
    x = residual(&g, "res_5", x, blocks: blocks[3], filters: 128, expansion: 256)
    x = convolution(&g, "conv_6sep", x, filters: 512, kernel: 1)
    x = linear(&g, "conv_6dw7_7", x, filters: 512, kernel: 7, groups: 512)
    x = g.fullyConnected("pre_fc1", x, units: embeddingLength)
    x = g.batchNorm("fc1", x, epsilon: 2e-5, fixGamma: true)
    return try g.finish(x, preprocessing: preprocessing)
  }

  /// Convolution without bias and batch norm.
  private func linear(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, filters: Int, kernel: GraphBuilder.Extent,
    stride: GraphBuilder.Extent = 1, pad: GraphBuilder.Padding = 0, groups: Int = 1
  ) -> Value {
    let y = g.convolution(
      "\(name)_conv2d", x, filters: filters, kernel: kernel, stride: stride, pad: pad, groups: groups, bias: false)
    return g.batchNorm("\(name)_batchnorm", y)
  }

  private func convolution(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, filters: Int, kernel: GraphBuilder.Extent,
    stride: GraphBuilder.Extent = 1, pad: GraphBuilder.Padding = 0, groups: Int = 1
  ) -> Value {
    let y = linear(&g, name, x, filters: filters, kernel: kernel, stride: stride, pad: pad, groups: groups)
    return g.prelu("\(name)_relu", y)
  }

  /// Expand, filter each channel, project without activation.
  private func bottleneck(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, filters: Int, expansion: Int, stride: GraphBuilder.Extent
  ) -> Value {
    var y = convolution(&g, "\(name)_conv_sep", x, filters: expansion, kernel: 1)
    y = convolution(
      &g, "\(name)_conv_dw", y, filters: expansion, kernel: 3, stride: stride, pad: 1, groups: expansion)
    return linear(&g, "\(name)_conv_proj", y, filters: filters, kernel: 1)
  }

  private func residual(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, blocks: Int, filters: Int, expansion: Int
  ) -> Value {
    var x = x
    for block in 0..<blocks {
      x = g.add(bottleneck(&g, "\(name)_block\(block)", x, filters: filters, expansion: expansion, stride: 1), x)
    }
    return x
  }
}
