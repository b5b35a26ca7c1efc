import Formats
import Inference

// What files of detectors leave open, for `ModelFile`.
extension NetworkGraph {
  /// Whether this is RetinaFace of the reference, by the names of its heads.
  public var isReferenceRetinaFace: Bool {
    !outputNames.isEmpty && outputNames.allSatisfy { $0.hasPrefix("face_rpn_") }
  }

  /// Whether this is RetinaFace of the PyTorch port, by the names of its weights.
  public var isPyTorchRetinaFace: Bool {
    guard outputs.count == 3, let parameters = try? parameters() else { return false }
    let names = Set(parameters.map(\.name))
    return PyTorchRetinaFace.headNames.allSatisfy(names.contains)
  }
}

extension RetinaFaceNetwork {
  /// The preprocessing of the reference's released networks, which its files do not tell: RGB, 0…255, as they are.
  ///
  /// - Returns: nil where the outputs do not bear the names of its heads.
  public static func preprocessing(of graph: NetworkGraph) -> Preprocessing? {
    guard graph.isReferenceRetinaFace else { return nil }
    return Preprocessing(colourOrder: .rgb, height: 640, width: 640, mean: [0], scale: [1], isInsideGraph: false)
  }
}

extension PyTorchRetinaFace {
  static let headNames = ["BboxHead", "ClassHead", "LandmarkHead"].map { "\($0).0.conv1x1.weight" }

  /// Whether a file of PyTorch holds weights of the port.
  ///
  /// - Throws: `FormatError` where it cannot be read.
  public static func recognizes(path: String) throws(FormatError) -> Bool {
    let names = Set(
      try PyTorchFile(path: path).tensors.map { $0.name.hasPrefix("module.") ? String($0.name.dropFirst(7)) : $0.name })
    return headNames.allSatisfy(names.contains)
  }

  /// The port's network with the weights of another that has the same ones, for its `.pth`.
  ///
  /// - Parameter graph: a network whose parameters bear the port's names, from whatever format it was read.
  /// - Throws: `GraphError`: `.unsupported` where pixels are put in otherwise than the port does, and as
  ///   `loading(stateDictionary:)`.
  public static func pyTorchNetwork(of graph: NetworkGraph) throws(GraphError) -> NetworkGraph {
    let names = Set(try graph.parameters().map(\.name))
    let network = try PyTorchRetinaFace(backbone: names.contains("body.conv1.weight") ? .resNet50 : .mobileNet025)
      .graph(height: graph.imageSize?.height ?? 640, width: graph.imageSize?.width ?? 640)
    if let given = graph.preprocessing, let own = network.preprocessing, given != own {
      throw GraphError(
        .unsupported, message: "the network is fed \(given.encoded), and the port feeds \(own.encoded)",
        advice: "choose mxnet, onnx or safetensors")
    }
    return try network.loading(stateDictionary: try graph.stateDictionary())
  }
}
