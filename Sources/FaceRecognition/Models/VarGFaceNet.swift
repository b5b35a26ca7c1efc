import Inference

/// VarGFaceNet (arXiv 1910.04985): `vargfacenet.py`, network `vargfacenet`.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Its depthwise convolutions have groups of eight channels, however many there are. All batch normalisations have
/// ε = 2e-5. Node names are those of the reference's symbol.
struct VarGFaceNet {
  /// Reads `multiplier`, `hasSqueezeExcitation`, `activation`, `output`, `momentum`, sizes.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  /// Channels of a group.
  private static let groupSize = 8

  func graph() throws(GraphError) -> NetworkGraph {
    let size = settings.imageSize
    let channels = [32, 64, 128, 256].map(settings.scaled)
    guard channels.allSatisfy({ $0 > 0 && $0 % Self.groupSize == 0 }) else {
      throw GraphError(
        .invalid,
        message:
          "net_multiplier \(settings.multiplier) gives VarGFaceNet \(channels) channels, which are not multiples "
          + "of \(Self.groupSize)", advice: "take a multiple of 0.25")
    }
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.scaledPixels(g.identity(g.input, named: "id"))
    x = g.convolution("vargface_head_conv1", x, filters: channels[0], kernel: 3, pad: 1, bias: false)
    x = g.activation("vargface_head_conv1_act", norm(&g, "vargface_head_conv1_bn", x), settings.activation)
    x = block(&g, "vargface_head_head_pooling", x, channels[0], factor: 1, stride: 2, isFirst: true)
    for (index, count) in [3, 7, 4].enumerated() {
      let name = "vargface_stage_\(index + 2)_unit_"
      x = merging(&g, "\(name)1", x, channels[index + 1])
      for unit in 2...count { x = block(&g, "\(name)\(unit)", x, channels[index + 1], factor: 2) }
    }
    x = embedded(&g, x)
    return try g.finish(
      [g.embedding(x, settings)],
      preprocessing: .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize))
  }

  /// Two separable convolutions with a shortcut around them, which is one itself where the map's size changes.
  private func block(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, factor: Int, stride: Int = 1,
    isFirst: Bool = false
  ) -> Value {
    let shortcut =
      isFirst ? separable(&g, "\(name)_shortcut", x, channels, factor: factor, stride: stride, isLinear: true) : x
    var y = separable(&g, "\(name)_sep1_data", x, channels, factor: factor, stride: stride)
    y = separable(&g, "\(name)_sep2_data", y, channels, factor: factor, isLinear: true)
    y = squeezeExcitation(&g, name, y, channels)
    return g.activation("\(name)_out_data_act", g.add(y, shortcut), settings.activation)
  }

  /// The unit that halves the map: two branches are summed before the second convolution.
  private func merging(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int) -> Value {
    let shortcut = separable(&g, "\(name)_shortcut", x, channels, factor: 2, stride: 2, isLinear: true)
    let first = separable(&g, "\(name)_sep1_data_branch", x, channels, factor: 2, stride: 2, isLinear: true)
    let second = separable(&g, "\(name)_sep2_data_branch", x, channels, factor: 2, stride: 2, isLinear: true)
    var y = g.activation("\(name)_sep1_data_act", g.add(first, second), settings.activation)
    y = separable(&g, "\(name)_sep2_data", y, channels, factor: 2, isLinear: true)
    return g.activation("\(name)_out_data_act", g.add(y, shortcut), settings.activation)
  }

  /// A 3×3 in groups, which widens by `factor`, and a 1×1.
  private func separable(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, factor: Int, stride: Int = 1,
    isLinear: Bool = false
  ) -> Value {
    let inside = g.channels(of: x)
    var y = g.convolution(
      "\(name)_conv2d_depthwise", x, filters: inside * factor, kernel: 3, stride: .init(stride), pad: 1,
      groups: max(1, inside / Self.groupSize), bias: false)
    y = norm(&g, "\(name)_conv2d_depthwise_bn", y)
    y = g.activation("\(name)_conv2d_depthwise_act", y, settings.activation)
    y = g.convolution("\(name)_conv2d_pointwise", y, filters: channels, kernel: 1, bias: false)
    y = norm(&g, "\(name)_conv2d_pointwise_bn", y)
    return isLinear ? y : g.activation("\(name)_conv2d_pointwise_act", y, settings.activation)
  }

  /// The map to one pixel of 512 channels.
  private func embedded(_ g: inout GraphBuilder, _ x: Value) -> Value {
    let wide = 1024
    var y = g.convolution("embed_convx", x, filters: wide, kernel: 1, bias: false)
    y = g.activation("embed_convx_act", norm(&g, "embed_convx_bn", y), settings.activation)
    y = g.convolution(
      "embed_convx_depthwise", y, filters: wide, kernel: 7, groups: wide / Self.groupSize, bias: false)
    y = norm(&g, "embed_convx_depthwise_bn", y)
    y = g.convolution("embed_convx_pointwise", y, filters: wide / 2, kernel: 1, bias: false)
    return g.activation("embed_convx_pointwise_act", norm(&g, "embed_convx_pointwise_bn", y), settings.activation)
  }

  /// Channels weighted by what the whole map says (arXiv 1709.01507).
  private func squeezeExcitation(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int) -> Value {
    guard settings.hasSqueezeExcitation else { return x }
    var y = g.globalAveragePool(x, named: "\(name)_se_pool1")
    y = g.convolution("\(name)_se_conv1", y, filters: channels / 4, kernel: 1)
    y = g.activation("\(name)_se_act1", y, settings.activation)
    y = g.convolution("\(name)_se_conv2", y, filters: channels, kernel: 1)
    return g.multiply(x, g.sigmoid(y, named: "\(name)_se_sigmoid"), broadcasting: true)
  }

  private func norm(_ g: inout GraphBuilder, _ name: String, _ x: Value) -> Value {
    g.batchNorm(name, x, epsilon: 2e-5, momentum: settings.momentum)
  }
}
