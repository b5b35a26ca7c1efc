import Inference

/// MobileNet (arXiv 1704.04861) for faces: `fmobilenet.py`, networks `m1` and `m05`.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Depthwise and pointwise convolutions in turn, each normalised with γ held at 1, ε = 1e-3 and momentum 0.9. Node names
/// are those of the reference's symbol.
struct FaceMobileNet {
  /// Reads `multiplier`, `input` (0: the first convolution has stride 2), `activation`, `output`, `momentum` (in the
  /// head), sizes.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  /// Channels, as multiples of the base, and stride of each pair of convolutions.
  private static let pairs: [(factor: Int, stride: Int)] = [
    (2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (16, 1), (16, 1), (16, 1), (16, 1), (32, 2), (32, 1),
  ]

  func graph() throws(GraphError) -> NetworkGraph {
    let size = settings.imageSize
    let base = settings.scaled(32)
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.scaledPixels(g.input)
    x = block(&g, "conv_1", x, base, kernel: 3, stride: settings.input == 0 ? 2 : 1)
    for (index, pair) in Self.pairs.enumerated() {
      let channels = g.channels(of: x)
      x = block(&g, "conv_\(index + 2)_dw", x, channels, kernel: 3, stride: pair.stride, groups: channels)
      x = block(&g, "conv_\(index + 2)", x, pair.factor * base, kernel: 1)
    }
    return try g.finish(
      [g.embedding(x, settings)],
      preprocessing: .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize))
  }

  private func block(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let y = g.convolution(
      "\(name)_conv2d", x, filters: channels, kernel: .init(kernel), stride: .init(stride),
      pad: .init(.init(kernel / 2)), groups: groups, bias: false)
    return g.activation("\(name)_relu", g.batchNorm("\(name)_batchnorm", y, fixGamma: true), settings.activation)
  }
}
