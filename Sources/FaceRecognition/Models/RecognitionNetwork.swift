import Inference

/// The networks that turn a face into an embedding, by the reference's names.
public enum RecognitionNetwork: String, CaseIterable, Codable, Sendable {
  // ResNet for faces, 512 numbers a face, by the number of layers.
  case r18, r34, r49, r50, r74, r90, r98, r99, r100, r101, r124, r134, r136, r140, r152, r160, r200, r269
  /// ResNet of 50 layers with the units of the original paper (`net_unit` 1).
  case r50v1
  /// ResNet of 100 layers with the output FC.
  case r100fc
  // DenseNet, 512 numbers a face.
  case d169, d201
  /// MobileFaceNet, 128 numbers a face.
  case y1
  /// The deeper MobileFaceNet, 256 numbers a face.
  case y2
  // MobileNet at full and at half width, 256 numbers a face.
  case m1, m05
  // MNASNet at full, half and quarter width, 256 numbers a face.
  case mnas, mnas05, mnas025
  /// VarGFaceNet, 512 numbers a face.
  case vargfacenet

  // arcface_torch's, 512 numbers a face. Its r18 … r200 are named after its classes here: r50 is MXNet's.
  case iresnet18, iresnet34, iresnet50, iresnet100, iresnet200, iresnet2060
  case mbf
  case mbfLarge = "mbf_large"
  case vitTiny = "vit_t"
  case vitSmall = "vit_s"
  case vitBase = "vit_b"
  case vitLarge = "vit_l"
  case vitHuge = "vit_h"
  // The same networks, trained with less or no masking and stochastic depth.
  case vitTinyUnmasked = "vit_t_dp005_mask0"
  case vitSmallUnmasked = "vit_s_dp005_mask_0"
  case vitBaseMasked = "vit_b_dp005_mask_005"
  case vitLargeMasked = "vit_l_dp005_mask_005"

  /// The switches that the reference sets for this network.
  public var defaultSettings: NetworkSettings {
    switch self {
    case .r18, .r34, .r49, .r50, .r74, .r90, .r98, .r99, .r100, .r101, .r124, .r134, .r136, .r140, .r152, .r160, .r200,
      .r269, .d169, .d201:
      NetworkSettings()
    case .r50v1: NetworkSettings(unit: 1)
    case .r100fc: NetworkSettings(output: .fc)
    case .y1: NetworkSettings(embeddingSize: 128, output: .gdc)
    case .y2: NetworkSettings(embeddingSize: 256, output: .gdc, blocks: [2, 8, 16, 4])
    case .m1, .mnas: NetworkSettings(embeddingSize: 256, output: .gdc)
    case .m05, .mnas05: NetworkSettings(embeddingSize: 256, output: .gdc, multiplier: 0.5)
    case .mnas025: NetworkSettings(embeddingSize: 256, output: .gdc, multiplier: 0.25)
    case .vargfacenet: NetworkSettings(output: .j, multiplier: 1.25)
    case .mbf: NetworkSettings(output: .gdc)
    case .mbfLarge: NetworkSettings(output: .gdc, blocks: [2, 8, 12, 4])
    case .iresnet18, .iresnet34, .iresnet50, .iresnet100, .iresnet200, .iresnet2060, .vitTiny, .vitSmall, .vitBase,
      .vitLarge, .vitHuge, .vitTinyUnmasked, .vitSmallUnmasked, .vitBaseMasked, .vitLargeMasked:
      NetworkSettings()
    }
  }

  /// The file that builds it in the reference (`net_name`).
  public var family: String {
    switch self {
    case .r18, .r34, .r49, .r50, .r74, .r90, .r98, .r99, .r100, .r101, .r124, .r134, .r136, .r140, .r152, .r160, .r200,
      .r269, .r50v1, .r100fc:
      "fresnet"
    case .d169, .d201: "fdensenet"
    case .y1, .y2: "fmobilefacenet"
    case .m1, .m05: "fmobilenet"
    case .mnas, .mnas05, .mnas025: "fmnasnet"
    case .vargfacenet: "vargfacenet"
    case .iresnet18, .iresnet34, .iresnet50, .iresnet100, .iresnet200: "iresnet"
    case .iresnet2060: "iresnet2060"
    case .mbf, .mbfLarge: "mobilefacenet"
    case .vitTiny, .vitSmall, .vitBase, .vitLarge, .vitHuge, .vitTinyUnmasked, .vitSmallUnmasked, .vitBaseMasked,
      .vitLargeMasked:
      "vit"
    }
  }

  /// The depth by which the reference chooses the units (`num_layers`); nil for networks that have one.
  public var layerCount: Int? {
    switch family {
    // The number in the name.
    case "fresnet", "fdensenet": Int(rawValue.dropFirst().prefix(while: \.isNumber))
    default: nil
    }
  }

  /// Images of a batch where nobody says (`per_batch_size`).
  public var batchSize: Int { family == "fdensenet" ? 64 : 128 }

  /// The switches (`net_…`) that this network does not read, with the reason; all are inert in the reference too.
  ///
  /// arcface_torch has no such switches: of its networks MobileFaceNet alone reads one, `net_blocks`.
  public var unreadSettings: [String: String] {
    switch family {
    case "fresnet": ["net_multiplier": "ResNet has one width", "net_blocks": "the depth in its name says the units"]
    case "fdensenet":
      [
        "net_multiplier": "DenseNet has one width", "net_blocks": "the depth in its name says the layers",
        "net_unit": "DenseNet has one kind of layer", "net_se": "DenseNet has no SE blocks",
        "net_input": "DenseNet has one kind of input",
      ]
    case "fmobilefacenet":
      [
        "net_se": "MobileFaceNet has no SE blocks", "net_unit": "MobileFaceNet has one kind of unit",
        "net_input": "MobileFaceNet has one kind of input",
        "net_multiplier": "the reference's MobileFaceNet does not read it",
      ]
    case "fmobilenet":
      [
        "net_se": "MobileNet has no SE blocks", "net_unit": "MobileNet has one kind of unit",
        "net_blocks": "MobileNet's depth is fixed",
      ]
    case "fmnasnet":
      [
        "net_se": "MNASNet has no SE blocks here", "net_unit": "MNASNet has one kind of unit",
        "net_input": "MNASNet has one kind of input", "net_blocks": "MNASNet's depth is fixed",
      ]
    case "vargfacenet":
      [
        "net_unit": "VarGFaceNet has one kind of unit", "net_input": "VarGFaceNet has one kind of input",
        "net_blocks": "VarGFaceNet's depth is fixed",
      ]
    case "mobilefacenet": Self.unreadOfArcFaceTorch
    case "iresnet", "iresnet2060", "vit":
      Self.unreadOfArcFaceTorch.merging(["net_blocks": "the name says the depth"], uniquingKeysWith: { $1 })
    default: [:]
    }
  }

  /// The switches that no network of arcface_torch reads.
  private static let unreadOfArcFaceTorch = [
    "net_output": "arcface_torch's networks have one output each", "net_act": "arcface_torch's activations are fixed",
    "net_unit": "arcface_torch's networks have one kind of unit",
    "net_se": "arcface_torch's networks have no SE blocks",
    "net_input": "arcface_torch's networks have one kind of input",
    "net_multiplier": "arcface_torch's networks have one width each",
  ]

  /// The network with its preprocessing, without weights.
  ///
  /// - Throws: `GraphError` where the settings do not make a network, such as an image too small for it.
  public func graph(_ settings: NetworkSettings) throws(GraphError) -> NetworkGraph {
    switch self {
    case .r18, .r34, .r49, .r50, .r74, .r90, .r98, .r99, .r100, .r101, .r124, .r134, .r136, .r140, .r152, .r160, .r200,
      .r269, .r50v1, .r100fc:
      try FaceResNet(settings: settings, units: FaceResNet.units[layerCount ?? 0] ?? []).graph()
    case .d169, .d201: try FaceDenseNet(settings: settings, blocks: FaceDenseNet.blocks[layerCount ?? 0] ?? []).graph()
    case .y1, .y2: try MobileFaceNet(settings).graph()
    case .m1, .m05: try FaceMobileNet(settings: settings).graph()
    case .mnas, .mnas05, .mnas025: try FaceMNASNet(settings: settings).graph()
    case .vargfacenet: try VarGFaceNet(settings: settings).graph()
    case .iresnet18: try IResNet(units: [2, 2, 2, 2], settings: settings).graph()
    case .iresnet34: try IResNet(units: [3, 4, 6, 3], settings: settings).graph()
    case .iresnet50: try IResNet(units: [3, 4, 14, 3], settings: settings).graph()
    case .iresnet100: try IResNet(units: [3, 13, 30, 3], settings: settings).graph()
    case .iresnet200: try IResNet(units: [6, 26, 60, 6], settings: settings).graph()
    case .iresnet2060: try IResNet(units: [3, 128, 896, 3], settings: settings).graph()
    case .mbf: try TorchMobileFaceNet(scale: 2, settings: settings).graph()
    case .mbfLarge: try TorchMobileFaceNet(scale: 4, settings: settings).graph()
    case .vitTiny: try transformer(settings, width: 256, depth: 12, dropPath: 0.1, mask: 0.1)
    case .vitTinyUnmasked: try transformer(settings, width: 256, depth: 12, dropPath: 0.05, mask: 0)
    case .vitSmall: try transformer(settings, width: 512, depth: 12, dropPath: 0.1, mask: 0.1)
    case .vitSmallUnmasked: try transformer(settings, width: 512, depth: 12, dropPath: 0.05, mask: 0)
    case .vitBase: try transformer(settings, width: 512, depth: 24, dropPath: 0.1, mask: 0.1)
    case .vitBaseMasked: try transformer(settings, width: 512, depth: 24, dropPath: 0.05, mask: 0.05)
    case .vitLarge, .vitLargeMasked: try transformer(settings, width: 768, depth: 24, dropPath: 0.05, mask: 0.05)
    case .vitHuge: try transformer(settings, width: 1024, depth: 48, dropPath: 0.1, mask: 0)
    }
  }

  private func transformer(
    _ settings: NetworkSettings, width: Int, depth: Int, dropPath: Double, mask: Double
  ) throws(GraphError) -> NetworkGraph {
    let design = VisionTransformer.Design(width: width, depth: depth, dropPath: dropPath, mask: mask)
    return try VisionTransformer(design: design, settings: settings).graph()
  }

  /// The network with its default settings.
  public func graph() throws(GraphError) -> NetworkGraph { try graph(defaultSettings) }
}
