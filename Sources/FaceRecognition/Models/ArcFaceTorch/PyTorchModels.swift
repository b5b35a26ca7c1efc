import Formats
import Inference

extension RecognitionNetwork {
  /// Makes the network of a `.pt` file of arcface_torch, for `ModelFile`: the names and shapes of its tensors tell which.
  public static let readPyTorch: @Sendable (_ path: String) throws(FormatError) -> NetworkGraph = {
    path throws(FormatError) in
    do {
      return try graph(of: try PyTorchFile(path: path))
    } catch let error as FormatError {
      throw error
    } catch {
      throw FormatError(.mismatch, "\(error)", path: path)
    }
  }

  /// The network of arcface_torch whose weights another one holds, for its `.pt` file.
  ///
  /// Formats for inference lack a vision transformer's mask token, which counts in training alone and which arcface_torch
  /// asks for when it loads: it is written as zeros.
  ///
  /// - Parameter graph: a network whose parameters bear PyTorch's names, from whatever format it was read.
  /// - Returns: arcface_torch's network with those weights and its own preprocessing.
  /// - Throws: `GraphError`: `.unsupported` where no network of arcface_torch has these parameters, or where pixels are
  ///   put in otherwise than (x − 127.5) / 127.5 of RGB, inside or outside of the network.
  public static func pyTorchNetwork(of graph: NetworkGraph) throws(GraphError) -> NetworkGraph {
    let parameters = try graph.parameters()
    var descriptions = parameters.map { TensorDescription(name: $0.name, dtype: .f32, shape: $0.shape) }
    var state = try graph.stateDictionary()
    let maskToken = "mask_token"
    if !descriptions.contains(where: { $0.name == maskToken }),
      let width = descriptions.first(where: { $0.name == "pos_embed" })?.shape.last,
      let token = try? StoredTensor(shape: [1, 1, width], floats: [Float](repeating: 0, count: width))
    {
      descriptions.append(TensorDescription(name: maskToken, dtype: .f32, shape: token.shape))
      state.append((maskToken, token))
    }
    guard let network = recognised(by: descriptions).first else {
      let names = parameters.prefix(3).map(\.name).joined(separator: ", ")
      throw GraphError(
        .unsupported,
        message:
          "its \(parameters.count) parameters (\(names) …) are those of no network of arcface_torch, and a PyTorch "
          + "file is of use to those alone", advice: "choose mxnet, onnx or safetensors")
    }
    let shapes = Dictionary(descriptions.map { ($0.name, $0.shape) }) { first, _ in first }
    let wanted = try network.graph(network.settings(for: shapes) ?? network.defaultSettings)
    if let given = graph.preprocessing, let own = wanted.preprocessing {
      // Whether the scaling is the network's or the caller's does not matter, but that it is this one.
      var same = given
      same.isInsideGraph = own.isInsideGraph
      same.embeddingLength = own.embeddingLength
      guard same == own else {
        throw GraphError(
          .unsupported,
          message: "the network is fed \(given.encoded), and a PyTorch file of \(network.rawValue) is always fed "
            + own.encoded, advice: "choose mxnet, onnx or safetensors")
      }
    }
    return try wanted.loading(stateDictionary: state)
  }
}
