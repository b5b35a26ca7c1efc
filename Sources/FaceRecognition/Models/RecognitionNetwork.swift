import Inference

/// The networks that turn a face into an embedding, by the reference's names.
public enum RecognitionNetwork: String, CaseIterable, Codable, Sendable {
  /// MobileFaceNet, 128 numbers a face.
  case y1
  /// The deeper MobileFaceNet, 256 numbers a face.
  case y2

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
    case .y1: NetworkSettings(embeddingSize: 128, output: .gdc)
    case .y2: NetworkSettings(embeddingSize: 256, output: .gdc, blocks: [2, 8, 16, 4])
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
    case .y1, .y2: "fmobilefacenet"
    case .iresnet18, .iresnet34, .iresnet50, .iresnet100, .iresnet200: "iresnet"
    case .iresnet2060: "iresnet2060"
    case .mbf, .mbfLarge: "mobilefacenet"
    case .vitTiny, .vitSmall, .vitBase, .vitLarge, .vitHuge, .vitTinyUnmasked, .vitSmallUnmasked, .vitBaseMasked,
      .vitLargeMasked:
      "vit"
    }
  }

  /// The network with its preprocessing, without weights.
  ///
  /// - Throws: `GraphError` where the settings do not make a network, such as an image too small for it.
  public func graph(_ settings: NetworkSettings) throws(GraphError) -> NetworkGraph {
    switch self {
    case .y1, .y2: try MobileFaceNet(settings).graph()
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
