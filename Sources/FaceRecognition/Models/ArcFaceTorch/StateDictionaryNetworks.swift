import Formats
import Inference

extension RecognitionNetwork {
  /// Whether the network is one of arcface_torch, whose files are state dictionaries.
  public var isArcFaceTorch: Bool { ["iresnet", "iresnet2060", "mobilefacenet", "vit"].contains(family) }

  /// The parameter whose length is that of the embedding.
  private var embeddingBias: String {
    switch family {
    case "mobilefacenet": "features.layers.3.bias"
    case "vit": "feature.3.bias"
    default: "features.bias"
    }
  }

  /// The settings of this network with the embedding length of a state dictionary, `nil` where it cannot be its.
  func settings(for tensors: [String: [Int]]) -> NetworkSettings? {
    guard let shape = tensors[embeddingBias], shape.count == 1, shape[0] > 0 else { return nil }
    var settings = defaultSettings
    settings.embeddingSize = shape[0]
    return settings
  }

  /// The networks whose parameters have the names and shapes of a state dictionary's tensors; several where they differ
  /// in training only.
  ///
  /// - Parameter tensors: names and shapes; counters of batch normalisations do not matter.
  public static func recognised(by tensors: [TensorDescription]) -> [RecognitionNetwork] {
    var shapes: [String: [Int]] = [:]
    for tensor in tensors where !tensor.name.hasSuffix(".num_batches_tracked") { shapes[tensor.name] = tensor.shape }
    return allCases.filter { network in
      guard network.isArcFaceTorch, let settings = network.settings(for: shapes),
        let parameters = try? network.graph(settings).parameters(), parameters.count == shapes.count
      else { return false }
      return parameters.allSatisfy { shapes[$0.name] == $0.shape }
    }
  }

  /// A network of arcface_torch with the weights of a `.pt` file.
  ///
  /// - Parameters:
  ///   - file: a state dictionary.
  ///   - network: which network it belongs to; nil recognises it by the names and shapes of its parameters.
  ///   - allowsMissing: whether the named network may get the part that fits, and go without the other weights.
  /// - Throws: `FormatError`: `.mismatch` where no network of arcface_torch has these parameters, or as the file reads;
  ///   `GraphError` where the parameters do not fit the network named. The error proposes the network that they fit.
  public static func graph(
    of file: PyTorchFile, as network: RecognitionNetwork? = nil, allowsMissing: Bool = false
  ) throws -> NetworkGraph {
    guard let network = network ?? recognised(by: file.tensors).first else {
      let names = file.tensors.prefix(3).map(\.name).joined(separator: ", ")
      throw FormatError(
        .mismatch, "\(file.tensors.count) tensors (\(names) …) that are those of no network of arcface_torch",
        path: file.path, advice: "name the network with --network")
    }
    guard network.isArcFaceTorch else {
      let names = allCases.filter(\.isArcFaceTorch).map(\.rawValue).joined(separator: ", ")
      throw FormatError(
        .mismatch, "\(network.rawValue) has no PyTorch checkpoints", path: file.path, advice: "choose one of \(names)")
    }
    let shapes = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0.shape) })
    var graph = try network.graph(network.settings(for: shapes) ?? network.defaultSettings)
    if allowsMissing {
      var tensors: [(name: String, tensor: StoredTensor)] = []
      for description in file.tensors { tensors.append((description.name, try file.tensor(named: description.name))) }
      graph.weights = try graph.matchStateDictionary(tensors).weights
      return graph
    }
    do {
      return try graph.loading(file)
    } catch let error as GraphError {
      let fitting = recognised(by: file.tensors)
      guard let first = fitting.first, !fitting.contains(network) else { throw error }
      throw FormatError(
        .mismatch, "does not fit \(network.rawValue): \(error.message)", path: file.path,
        advice: "its parameters are those of --network \(first.rawValue)")
    }
  }
}
