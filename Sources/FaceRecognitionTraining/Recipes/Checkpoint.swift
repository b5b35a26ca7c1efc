import FaceRecognition
import Formats
import Inference
import Torch
import Training

extension Checkpoint {
  /// Rows and columns of the images that the network takes.
  ///
  /// - Throws: `ConfigurationError` where the symbol does not say, or wants no square images of three channels.
  public func imageSize() throws(ConfigurationError) -> Int {
    let shape = graph.inputs.first?.shape.dimensions.map(\.fixed) ?? []
    guard shape.count == 4, shape[1] == 3, let rows = shape[2], shape[3] == rows else {
      throw ConfigurationError(
        "\(location.symbolPath): the network takes \(graph.inputs.first?.shape.description ?? "nothing"), not square RGB images"
      )
    }
    return rows
  }

  /// The network of the checkpoint, whatever it is, filled with its weights.
  public func network() throws -> TrainableNetwork {
    let network = try TrainableNetwork(graph)
    guard network.outputLength != nil else {
      throw ConfigurationError("\(location.symbolPath): the network does not end in one embedding a face")
    }
    try network.load(self)
    return network
  }

  /// Writes a network (and, if wanted, its head) as MXNet does: the symbol first, then the parameters, each atomically.
  public static func save(
    _ graph: NetworkGraph, weights: [NamedTensor], buffers: [NamedTensor], head: [NamedTensor] = [],
    to location: CheckpointLocation
  ) throws {
    try save(graph, weights: weights, buffers: buffers, head: head, training: nil, to: location)
  }

  /// The same, with a symbol that goes on behind the embedding.
  static func save(
    _ graph: NetworkGraph, weights: [NamedTensor], buffers: [NamedTensor], head: [NamedTensor],
    training: TrainingSymbol?, to location: CheckpointLocation
  ) throws {
    let embedding = try graph.mxnetSymbol()
    let symbol = try (training?.symbol(embedding) ?? embedding).json()
    try AtomicFile.write(symbol.utf8, to: location.symbolPath)
    let named =
      (weights + head).map { ("arg:\($0.name)", $0.tensor) } + buffers.map { ("aux:\($0.name)", $0.tensor) }
    let descriptions = named.map { TensorDescription(name: $0.0, dtype: .f32, shape: $0.1.shape) }
    try MXNetParameters.write(descriptions, to: location.parametersPath) { (index, sink) throws(FormatError) in
      let problem = named[index].1.to(.float32).withBytes { bytes -> FormatError? in
        do throws(FormatError) { try sink(bytes) } catch { return error }
        return nil
      }
      if let problem { throw problem }
    }
  }
}

/// What came from where when a checkpoint was loaded into a network.
public struct LoadReport: Sendable, CustomStringConvertible {
  /// Tensors taken.
  public var loaded = 0
  /// Tensors taken under another name: (in the file, here).
  public var renamed: [(String, String)] = []
  /// Tensors of the network that the file does not have.
  public var missing: [String] = []
  /// Tensors whose shapes differ.
  public var mismatched: [(name: String, expected: [Int], found: [Int])] = []
  /// Tensors of the file that the network does not have.
  public var leftover: [String] = []

  /// Whether everything fitted.
  public var isComplete: Bool { missing.isEmpty && mismatched.isEmpty && leftover.isEmpty }

  /// What does not fit, name by name.
  public var description: String {
    func list(_ names: [String]) -> String {
      names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
    }
    var parts = ["\(loaded) tensors fit"]
    if !missing.isEmpty { parts.append("missing in the file: \(list(missing))") }
    if !mismatched.isEmpty {
      parts.append("other shapes: \(list(mismatched.map { "\($0.name) \($0.found), wanted \($0.expected)" }))")
    }
    if !leftover.isEmpty { parts.append("unknown to the network: \(list(leftover))") }
    return parts.joined(separator: "; ")
  }
}

extension TrainableNetwork {
  /// Fills the network from a checkpoint, under today's names or those of old checkpoints.
  ///
  /// - Parameters: allowMissing: go on with the part that fits; otherwise an error lists what does not.
  @discardableResult
  public func load(_ checkpoint: Checkpoint, allowMissing: Bool = false) throws -> LoadReport {
    var match = try checkpoint.graph.matchWeights(to: graph)
    // A weight that training alone uses stands in the parameters, but not in the symbol.
    for parameter in try graph.parameters() where match.missing.contains(parameter.name) {
      guard let tensor = checkpoint.others[parameter.name], tensor.shape == parameter.shape else { continue }
      match.weights[parameter.name] = tensor
      match.missing.removeAll { $0 == parameter.name }
    }
    var report = LoadReport()
    report.renamed = match.renamed.map { ($0.source, $0.target) }
    report.missing = match.missing
    report.mismatched = match.mismatched
    report.leftover = match.leftover
    report.loaded = match.weights.count
    guard report.isComplete || allowMissing else {
      throw ConfigurationError(
        "\(checkpoint.location.parametersPath) does not fit the network: \(report). Choose the --network that the "
          + "checkpoint was made with, or go on with what fits: --allow-missing")
    }
    for named in parameters + buffers {
      guard let stored = match.weights[named.name] else { continue }
      named.tensor.copy(from: Tensor(stored.floats(), shape: stored.shape))
    }
    return report
  }
}
