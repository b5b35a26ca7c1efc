import Inference

/// The networks that turn a face into an embedding, by the reference's names.
public enum RecognitionNetwork: String, CaseIterable, Codable, Sendable {
  /// MobileFaceNet, 128 numbers a face.
  case y1
  /// The deeper MobileFaceNet, 256 numbers a face.
  case y2

  /// The switches that the reference sets for this network.
  public var defaultSettings: NetworkSettings {
    switch self {
    case .y1: NetworkSettings(embeddingSize: 128, output: .gdc)
    case .y2: NetworkSettings(embeddingSize: 256, output: .gdc, blocks: [2, 8, 16, 4])
    }
  }

  /// The file that builds it in the reference (`net_name`).
  public var family: String {
    switch self {
    case .y1, .y2: "fmobilefacenet"
    }
  }

  /// The network with its preprocessing, without weights.
  ///
  /// - Throws: `GraphError` where the settings do not make a network, such as an image too small for it.
  public func graph(_ settings: NetworkSettings) throws(GraphError) -> NetworkGraph {
    switch self {
    case .y1, .y2: try MobileFaceNet(settings).graph()
    }
  }

  /// The network with its default settings.
  public func graph() throws(GraphError) -> NetworkGraph { try graph(defaultSettings) }
}
