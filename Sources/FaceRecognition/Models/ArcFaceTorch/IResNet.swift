import Inference

/// The improved residual networks of arcface_torch (`backbones/iresnet.py`): units of BN, 3×3, BN, PReLU, 3×3, BN as in
/// ArcFace (arXiv 1801.07698).
///
/// - Input: RGB [N, 3, S, S], values 0 … 255; scaled to (x − 127.5) / 127.5 inside.
/// - Output: the embedding [N, D], not normalised.
///
/// Every ε is 1e-5. γ of the last normalisation, `features`, is held at 1, as the reference freezes it. Node and
/// parameter names are those of the reference's `state_dict`.
struct IResNet {
  /// Units of the four stages, with 64, 128, 256 and 512 channels.
  let units: [Int]
  /// Reads sizes and `momentum`.
  let settings: NetworkSettings

  private typealias Value = GraphBuilder.Value

  func graph() throws(GraphError) -> NetworkGraph {
    let (size, momentum) = (settings.imageSize, settings.momentum)
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.torchConvolution("conv1", g.torchScaledInput(), filters: 64, kernel: 3, pad: 1)
    x = g.torchPReLU("prelu", g.torchBatchNorm("bn1", x, momentum: momentum))
    for (stage, (count, channels)) in zip(units, [64, 128, 256, 512]).enumerated() {
      for index in 0..<count {
        x = unit(&g, "layer\(stage + 1).\(index)", x, channels, isFirst: index == 0)
      }
    }
    x = g.torchBatchNorm("bn2", x, momentum: momentum)
    x = g.torchLinear("fc", g.flatten(x), units: settings.embeddingSize)
    x = g.torchBatchNorm("features", x, momentum: momentum, isFrozen: true)
    return try g.finish([x], preprocessing: .arcFaceTorch(settings))
  }

  /// `IBasicBlock`; the first of a stage halves the map, and so does its shortcut.
  private func unit(
    _ g: inout GraphBuilder, _ name: String, _ x: Value, _ channels: Int, isFirst: Bool
  ) -> Value {
    let (momentum, stride) = (settings.momentum, isFirst ? 2 : 1)
    var y = g.torchBatchNorm("\(name).bn1", x, momentum: momentum)
    y = g.torchConvolution("\(name).conv1", y, filters: channels, kernel: 3, pad: 1)
    y = g.torchPReLU("\(name).prelu", g.torchBatchNorm("\(name).bn2", y, momentum: momentum))
    y = g.torchConvolution("\(name).conv2", y, filters: channels, kernel: 3, stride: .init(stride), pad: 1)
    y = g.torchBatchNorm("\(name).bn3", y, momentum: momentum)
    guard isFirst else { return g.add(y, x) }
    var shortcut = g.torchConvolution("\(name).downsample.0", x, filters: channels, kernel: 1, stride: .init(stride))
    shortcut = g.torchBatchNorm("\(name).downsample.1", shortcut, momentum: momentum)
    return g.add(y, shortcut)
  }
}
