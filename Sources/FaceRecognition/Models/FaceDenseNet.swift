import Inference

/// DenseNet-BC (arXiv 1608.06993) with a stem for small images: `fdensenet.py`, networks `d169` and `d201`.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Every layer sees the maps of all layers before it in its block. Names are those of the reference's Gluon blocks.
struct FaceDenseNet {
  /// Reads `activation`, `dropout`, `output`, `momentum` (in the head), sizes.
  let settings: NetworkSettings
  /// Layers of the four blocks.
  let blocks: [Int]
  /// Channels that a layer adds.
  var growth = 32

  /// The layers of the four blocks by the depth in the name.
  static let blocks: [Int: [Int]] = [169: [6, 12, 32, 32], 201: [6, 12, 48, 32]]

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    let size = settings.imageSize
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var features = GluonScope("densenet0_")
    var x = features.convolution(&g, g.scaledPixels(g.input), 64, kernel: 3)
    x = features.batchNorm(&g, x)
    x = features.activation(&g, x, .relu)
    x = features.maxPool(&g, x, kernel: 3, stride: 2, pad: 1)
    for (index, layers) in blocks.enumerated() {
      var scope = GluonScope("densenet0_stage\(index + 1)_")
      for _ in 0..<layers { x = layer(&g, &scope, x) }
      if index < blocks.count - 1 { x = transition(&g, &features, x) }
    }
    x = features.batchNorm(&g, x)
    x = features.activation(&g, x, .relu)
    return try g.finish(
      [g.embedding(x, settings)],
      preprocessing: .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize))
  }

  /// A 1×1 convolution to four times the growth, a 3×3 to the growth, joined to what came in.
  private func layer(_ g: inout GraphBuilder, _ scope: inout GluonScope, _ x: Value) -> Value {
    var y = scope.activation(&g, scope.batchNorm(&g, x), settings.activation)
    y = scope.convolution(&g, y, 4 * growth, kernel: 1)
    y = scope.activation(&g, scope.batchNorm(&g, y), settings.activation)
    y = scope.convolution(&g, y, growth, kernel: 3)
    if settings.dropout > 0 { y = scope.dropout(&g, y, rate: settings.dropout) }
    return scope.concat(&g, [x, y])
  }

  /// Half the channels, half the map.
  private func transition(_ g: inout GraphBuilder, _ scope: inout GluonScope, _ x: Value) -> Value {
    var y = scope.activation(&g, scope.batchNorm(&g, x), settings.activation)
    y = scope.convolution(&g, y, g.channels(of: x) / 2, kernel: 1)
    return scope.averagePool(&g, y, kernel: 2, stride: 2)
  }
}
