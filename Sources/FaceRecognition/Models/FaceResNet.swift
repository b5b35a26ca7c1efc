import Inference

/// ResNet for faces: `fresnet.py`, networks `r18` … `r269`.
///
/// Residual learning is arXiv 1512.03385, the order of the layers in unit 2 arXiv 1603.05027, unit 3 with a normalisation
/// before its first convolution arXiv 1801.07698.
///
/// - Input: RGB [N, 3, H, W], values 0 … 255; scaled to (x − 127.5) / 128 inside, but normalised by `bn_data` with stem 2.
/// - Output: the embedding [N, D], not normalised.
///
/// All batch normalisations have ε = 2e-5. Node names are those of the reference's symbol.
struct FaceResNet {
  /// Reads `unit`, `input`, `hasSqueezeExcitation`, `activation`, `output`, `momentum`, sizes.
  let settings: NetworkSettings
  /// Units of the four stages.
  let units: [Int]
  /// Whether a unit has three convolutions with a quarter of the channels inside; the reference does so from 500 layers
  /// on, for which it names no units.
  var isBottleneck = false

  /// The units of the four stages by the number of layers, as the reference lists them.
  static let units: [Int: [Int]] = [
    18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 49: [3, 4, 14, 3], 50: [3, 4, 14, 3], 74: [3, 6, 24, 3], 90: [3, 8, 30, 3],
    98: [3, 4, 38, 3], 99: [3, 8, 35, 3], 100: [3, 13, 30, 3], 101: [3, 4, 23, 3], 124: [3, 13, 40, 5],
    134: [3, 10, 50, 3], 136: [3, 13, 48, 3], 140: [3, 15, 48, 3], 152: [3, 8, 36, 3], 160: [3, 24, 49, 3],
    200: [3, 24, 36, 3], 269: [3, 30, 48, 8],
  ]

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    guard (1...3).contains(settings.unit) else {
      throw GraphError(.invalid, message: "ResNet has the units (net_unit) 1, 2 and 3, not \(settings.unit)")
    }
    let size = settings.imageSize
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = stem(&g)
    let channels = isBottleneck ? [256, 512, 1024, 2048] : [64, 128, 256, 512]
    for (stage, (count, width)) in zip(units, channels).enumerated() {
      for index in 0..<count {
        x = unit(&g, "stage\(stage + 1)_unit\(index + 1)", x, width, isFirst: index == 0)
      }
    }
    if isBottleneck {
      x = norm(&g, "bnd", g.convolution("convd", x, filters: 512, kernel: 1, bias: false))
      x = g.activation("relud", x, settings.activation)
    }
    let preprocessing =
      settings.input == 2
      ? Preprocessing(
        colourOrder: .rgb, height: size, width: size, mean: [0], scale: [1], isInsideGraph: false,
        embeddingLength: settings.embeddingSize)
      : .insideGraph(height: size, width: size, embeddingLength: settings.embeddingSize)
    return try g.finish([g.embedding(x, settings)], preprocessing: preprocessing)
  }

  private func stem(_ g: inout GraphBuilder) -> Value {
    let x =
      settings.input == 2
      ? g.batchNorm("bn_data", g.input, epsilon: 2e-5, momentum: settings.momentum, fixGamma: true)
      : g.scaledPixels(g.identity(g.input, named: "id"))
    let y =
      settings.input == 0
      ? g.convolution("conv0", x, filters: 64, kernel: 7, stride: 2, pad: 3, bias: false)
      : g.convolution("conv0", x, filters: 64, kernel: 3, pad: 1, bias: false)
    return g.activation("relu0", norm(&g, "bn0", y), settings.activation)
  }

  /// The first unit of a stage halves the map.
  private func unit(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, isFirst: Bool) -> Value {
    switch settings.unit {
    case 1: unit1(&g, name, x, channels, isFirst)
    case 2: unit2(&g, name, x, channels, isFirst)
    default: unit3(&g, name, x, channels, isFirst)
    }
  }

  /// Convolution, normalisation, activation, two or three times; the last activation stands behind the sum.
  ///
  /// With the 7×7 stem the first convolution has the stride (`residual_unit_v1`), else the last (`residual_unit_v1_L`).
  private func unit1(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, _ isFirst: Bool) -> Value {
    let isStrideFirst = settings.input == 0
    var y = x
    for (index, layer) in layers(channels).enumerated() {
      let isLast = index == layers(channels).count - 1
      let hasStride = isFirst && (isStrideFirst ? index == 0 : isLast)
      y = convolution(&g, "\(name)_conv\(index + 1)", y, layer, stride: hasStride ? 2 : 1)
      y = norm(&g, "\(name)_bn\(index + 1)", y)
      if !isLast { y = g.activation("\(name)_relu\(index + 1)", y, settings.activation) }
    }
    y = squeezeExcitation(&g, name, y, channels)
    let sum = g.add(y, isFirst ? projection(&g, name, x, channels) : x)
    return g.activation("\(name)_relu3", sum, settings.activation)
  }

  /// Normalisation and activation before every convolution; the shortcut's projection sees the first of them.
  private func unit2(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, _ isFirst: Bool) -> Value {
    // The 3×3 in the middle of a bottleneck has the stride, else the first.
    let strided = isBottleneck ? 1 : 0
    var (y, first) = (x, x)
    for (index, layer) in layers(channels).enumerated() {
      y = g.activation("\(name)_relu\(index + 1)", norm(&g, "\(name)_bn\(index + 1)", y), settings.activation)
      if index == 0 { first = y }
      y = convolution(&g, "\(name)_conv\(index + 1)", y, layer, stride: isFirst && index == strided ? 2 : 1)
    }
    y = squeezeExcitation(&g, name, y, channels)
    guard isFirst else { return g.add(y, x) }
    return g.add(y, g.convolution("\(name)_sc", first, filters: channels, kernel: 1, stride: 2, bias: false))
  }

  /// Normalisation, then convolutions each with a normalisation behind it, an activation between them; none behind the sum.
  private func unit3(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, _ isFirst: Bool) -> Value {
    var y = norm(&g, "\(name)_bn1", x)
    for (index, layer) in layers(channels).enumerated() {
      let isLast = index == layers(channels).count - 1
      y = convolution(&g, "\(name)_conv\(index + 1)", y, layer, stride: isFirst && isLast ? 2 : 1)
      y = norm(&g, "\(name)_bn\(index + 2)", y)
      if !isLast { y = g.activation("\(name)_relu\(index + 1)", y, settings.activation) }
    }
    y = squeezeExcitation(&g, name, y, channels)
    return g.add(y, isFirst ? projection(&g, name, x, channels) : x)
  }

  /// Channels and kernel of a unit's convolutions.
  private func layers(_ channels: Int) -> [(channels: Int, kernel: Int)] {
    isBottleneck ? [(channels / 4, 1), (channels / 4, 3), (channels, 1)] : [(channels, 3), (channels, 3)]
  }

  private func convolution(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ layer: (channels: Int, kernel: Int), stride: Int
  ) -> Value {
    g.convolution(
      name, x, filters: layer.channels, kernel: .init(layer.kernel), stride: .init(stride),
      pad: .init(.init(layer.kernel / 2)), bias: false)
  }

  private func norm(_ g: inout GraphBuilder, _ name: String, _ x: Value) -> Value {
    g.batchNorm(name, x, epsilon: 2e-5, momentum: settings.momentum)
  }

  /// The shortcut where the map's size changes.
  private func projection(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int) -> Value {
    let y = g.convolution("\(name)_conv1sc", x, filters: channels, kernel: 1, stride: 2, bias: false)
    return norm(&g, "\(name)_sc", y)
  }

  /// Channels weighted by what the whole map says (arXiv 1709.01507).
  private func squeezeExcitation(_ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int) -> Value {
    guard settings.hasSqueezeExcitation else { return x }
    var y = g.add(.pooling(.init(.average, kernel: 7, isGlobal: true)), [x], named: "\(name)_se_pool1")
    y = g.convolution("\(name)_se_conv1", y, filters: channels / 16, kernel: 1)
    y = g.activation("\(name)_se_relu1", y, settings.activation)
    y = g.convolution("\(name)_se_conv2", y, filters: channels, kernel: 1)
    return g.multiply(x, g.sigmoid(y, named: "\(name)_se_sigmoid"), broadcasting: true)
  }
}
