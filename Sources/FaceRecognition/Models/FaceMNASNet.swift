import Inference

/// MNASNet (arXiv 1807.11626) for faces: `fmnasnet.py`, networks `mnas`, `mnas05` and `mnas025`.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Every PReLU has one slope for all its channels. Names are those of the reference's Gluon blocks.
struct FaceMNASNet {
  /// Reads `multiplier`, `activation`, `output`, `momentum` (in the head), sizes.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  /// Expansion, channels, repetitions, stride and kernel of the first unit of each stage; the units that repeat it have 3×3.
  private static let stages: [(name: String, expansion: Int, channels: Int, count: Int, stride: Int, kernel: Int)] = [
    ("stage2", 3, 24, 3, 2, 3), ("stage3", 3, 40, 3, 2, 5), ("stage4_1", 6, 80, 3, 2, 5), ("stage4_2", 6, 96, 2, 1, 3),
    ("stage5_1", 6, 192, 4, 2, 5), ("stage5_2", 6, 320, 1, 1, 3),
  ]

  func graph() throws(GraphError) -> NetworkGraph {
    let size = settings.imageSize
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.scaledPixels(g.input)
    let first = settings.scaled(32)
    var stem = GluonScope("mnasnet0_stage1_conv0_")
    x = block(&g, &stem, x, first, kernel: 3)
    var separable = GluonScope("mnasnet0_stage1_sepconv0_")
    x = block(&g, &separable, x, first, kernel: 3, groups: first)
    x = block(&g, &separable, x, settings.scaled(16), kernel: 1)
    for stage in Self.stages {
      let channels = settings.scaled(stage.channels)
      for index in 0..<stage.count {
        let name = "mnasnet0_\(stage.name)_expandedconv\(index)_"
        let isFirst = index == 0
        let y = unit(
          &g, name, x, channels, expansion: stage.expansion, stride: isFirst ? stage.stride : 1,
          kernel: isFirst ? stage.kernel : 3)
        var sum = GluonScope(name)
        x = isFirst ? y : sum.add(&g, y, x)
      }
    }
    let last = settings.scaled(1024)
    var end = GluonScope("mnasnet0_stage5_3_")
    x = block(&g, &end, x, last, kernel: 1)
    return try g.finish(
      [g.embedding(x, settings, depthwiseChannels: last)],
      preprocessing: .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize))
  }

  /// 1×1 expansion, depthwise convolution, linear 1×1 projection.
  private func unit(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, expansion: Int, stride: Int, kernel: Int
  ) -> Value {
    let inside = g.channels(of: x) * expansion
    var scope = GluonScope("\(name)expand_")
    var y = block(&g, &scope, x, inside, kernel: 1)
    scope = GluonScope("\(name)dwise_")
    y = block(&g, &scope, y, inside, kernel: kernel, stride: stride, groups: inside)
    scope = GluonScope("\(name)linear_")
    y = scope.convolution(&g, y, channels, kernel: 1)
    return scope.batchNorm(&g, y)
  }

  /// Convolution, batch normalisation, activation.
  private func block(
    _ g: inout GraphBuilder, _ scope: inout GluonScope, _ x: Value, _ channels: Int, kernel: Int, stride: Int = 1,
    groups: Int = 1
  ) -> Value {
    let y = scope.convolution(&g, x, channels, kernel: kernel, stride: stride, groups: groups)
    return scope.activation(&g, scope.batchNorm(&g, y), settings.activation)
  }
}
