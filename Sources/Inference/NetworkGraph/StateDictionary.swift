import Formats

// Networks and the state dictionaries of PyTorch: name to tensor, no graph.
extension NetworkGraph {
  /// Names of a state dictionary that hold no weights, by their ends: counters of batch normalisations.
  static let counterSuffix = ".num_batches_tracked"

  /// The weights as a state dictionary, in the order of the network.
  ///
  /// Parameters keep their names. A batch normalisation under PyTorch's names (`….running_var`) is followed by its
  /// counter `….num_batches_tracked`, int64 zero, which PyTorch asks for when it loads strictly.
  ///
  /// - Throws: `GraphError` as `checkWeights()`.
  public func stateDictionary() throws(GraphError) -> [(name: String, tensor: StoredTensor)] {
    try checkWeights()
    var items: [(name: String, tensor: StoredTensor)] = []
    for parameter in try parameters() {
      guard let tensor = weights[parameter.name] else { continue }
      items.append((parameter.name, tensor))
      if parameter.role == .movingVariance, parameter.name.hasSuffix(".running_var"),
        let counter = try? StoredTensor(shape: [], dtype: .i64, bytes: [UInt8](repeating: 0, count: 8))
      {
        items.append((String(parameter.name.dropLast(".running_var".count)) + Self.counterSuffix, counter))
      }
    }
    return items
  }

  /// How the tensors of a state dictionary fit this network, by name and shape; counters are passed over.
  ///
  /// - Throws: `GraphError` where the network's shapes do not fit.
  public func matchStateDictionary(
    _ tensors: [(name: String, tensor: StoredTensor)]
  ) throws(GraphError) -> WeightMatch {
    var source: [String: StoredTensor] = [:]
    for (name, tensor) in tensors where !name.hasSuffix(Self.counterSuffix) { source[name] = tensor }
    var match = WeightMatch(weights: [:], renamed: [], missing: [], leftover: [], mismatched: [])
    for parameter in try parameters() {
      guard let tensor = source.removeValue(forKey: parameter.name) else {
        match.missing.append(parameter.name)
        continue
      }
      guard tensor.shape == parameter.shape else {
        match.mismatched.append((parameter.name, parameter.shape, tensor.shape))
        continue
      }
      match.weights[parameter.name] = tensor
    }
    match.leftover = source.keys.sorted()
    return match
  }

  /// This network with the weights of a state dictionary.
  ///
  /// Where a normalisation's γ is held at 1 here and is not 1 there, the network returned uses that γ.
  ///
  /// - Throws: `GraphError`: `.missingWeight`, `.mismatch`, `.unknownName` with the names that do not fit.
  public func loading(
    stateDictionary tensors: [(name: String, tensor: StoredTensor)]
  ) throws(GraphError) -> NetworkGraph {
    let match = try matchStateDictionary(tensors)
    guard match.missing.isEmpty else {
      throw GraphError(
        .missingWeight, message: "the file lacks \(match.missing.count) tensors: \(Self.listing(match.missing))",
        advice: "choose the network that the file was made with")
    }
    if let first = match.mismatched.first {
      throw GraphError(
        .mismatch, message: "\"\(first.name)\" must have shape \(first.expected), found \(first.found)",
        advice: "choose the network and the embedding's length that the file was made with")
    }
    guard match.leftover.isEmpty else {
      throw GraphError(
        .unknownName, message: "the network has no \(Self.listing(match.leftover))",
        advice: "choose the network that the file was made with")
    }
    let released = nodes.map { node in
      guard case .batchNorm(var norm) = node.operation, norm.fixGamma,
        let gamma = match.weights[node.parameters[0]], !gamma.floats().allSatisfy({ $0 == 1 })
      else { return node }
      var node = node
      norm.fixGamma = false
      node.operation = .batchNorm(norm)
      return node
    }
    return try NetworkGraph(
      nodes: released, outputs: outputs, weights: match.weights, preprocessing: preprocessing)
  }

  /// Key under which `.pt` files of this project carry `Preprocessing.encoded`, beside what PyTorch reads.
  public static let preprocessingEntry = "preprocessing"

  /// Writes the weights as a `.pt` file that `torch.load(path, weights_only=True)` reads, with the preprocessing beside.
  ///
  /// - Throws: `GraphError` as `stateDictionary()`, `FormatError` where writing fails.
  public func writePyTorch(to path: String) throws {
    var metadata: [String: String] = [:]
    if let preprocessing { metadata[Self.preprocessingEntry] = preprocessing.encoded }
    try PyTorchFile.write(try stateDictionary(), metadata: metadata, to: path)
  }

  /// This network with the weights of a `.pt` file.
  ///
  /// - Throws: `FormatError` where the file is unsound, `GraphError` as `loading(stateDictionary:)`, and `.mismatch`
  ///   where the file was written with another preprocessing than this network has.
  public func loading(_ file: PyTorchFile) throws -> NetworkGraph {
    var tensors: [(name: String, tensor: StoredTensor)] = []
    for description in file.tensors { tensors.append((description.name, try file.tensor(named: description.name))) }
    let loaded = try loading(stateDictionary: tensors)
    if let text = file.metadata[Self.preprocessingEntry], let mine = preprocessing {
      let stored = try Preprocessing(encoded: text)
      guard stored == mine else {
        throw GraphError(
          .mismatch, message: "\(file.path) was written for \(stored.encoded), the network expects \(mine.encoded)")
      }
    }
    return loaded
  }
}
