import FaceRecognition
import Formats
import Foundation
import Inference
import Torch
import Training

/// Where a checkpoint lies: `prefix-symbol.json` and `prefix-0001.params`, or a file of PyTorch.
public struct CheckpointLocation: Sendable, Equatable, CustomStringConvertible {
  /// The path without `-symbol.json`.
  public let prefix: String
  /// The number in the `.params` file's name.
  public let epoch: Int
  /// Whether the prefix is the path of a file that `torch.save` wrote, known by its first bytes.
  public private(set) var isPyTorch = false

  /// A place by prefix and number.
  public init(prefix: String, epoch: Int) {
    self.prefix = prefix
    self.epoch = epoch
  }

  /// Reads `prefix`, `prefix,epoch`, a directory that holds one model, `directory,epoch`, or the path of a `.params`
  /// or `.pt` file.
  ///
  /// - Parameters: epoch: the number where the text names none.
  public init(_ text: String, epoch: Int) {
    if PyTorchFile.isOne(path: text) {
      self.init(prefix: text, epoch: epoch)
      isPyTorch = true
      return
    }
    var prefix = text
    var number = epoch
    if let comma = text.lastIndex(of: ","), let given = Int(text[text.index(after: comma)...]) {
      prefix = String(text[..<comma])
      number = given
    }
    if prefix.hasSuffix(".params"), let dash = prefix.lastIndex(of: "-"),
      let given = Int(prefix[prefix.index(after: dash)...].dropLast(7))
    {
      prefix = String(prefix[..<dash])
      number = given
    }
    while prefix.count > 1 && prefix.hasSuffix("/") { prefix.removeLast() }
    var isDirectory: ObjCBool = false
    if FileManager.default.fileExists(atPath: prefix, isDirectory: &isDirectory), isDirectory.boolValue {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: prefix)) ?? []
      let symbols = names.filter { $0.hasSuffix("-symbol.json") }
      let name = symbols.count == 1 ? String(symbols[0].dropLast(12)) : "model"
      prefix += "/\(name)"
    }
    self.init(prefix: prefix, epoch: number)
  }

  /// `prefix-symbol.json`.
  public var symbolPath: String { "\(prefix)-symbol.json" }
  /// `prefix-0001.params`.
  public var parametersPath: String {
    if isPyTorch { return prefix }
    let digits = "\(epoch)"
    return "\(prefix)-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).params"
  }
  /// `prefix,epoch`.
  public var description: String { isPyTorch ? prefix : "\(prefix),\(epoch)" }
}

/// A checkpoint as read from its two files, or from a file of PyTorch.
public struct Checkpoint {
  /// Where it lies.
  public let location: CheckpointLocation
  /// The network with its weights.
  public let graph: NetworkGraph
  /// Weights that the network's symbol does not name, such as `fc7_weight`.
  public let others: [String: StoredTensor]

  /// Reads symbol and parameters, or the state dictionary of a network of arcface_torch.
  ///
  /// - Parameters:
  ///   - network: whose state dictionary it is; nil recognises it by the names and shapes of its parameters.
  ///   - allowsMissing: whether a state dictionary may fit the network named in part only.
  public init(
    _ location: CheckpointLocation, network: RecognitionNetwork? = nil, allowsMissing: Bool = false
  ) throws {
    self.location = location
    if location.isPyTorch {
      graph = try RecognitionNetwork.graph(
        of: try PyTorchFile(path: location.prefix), as: network, allowsMissing: allowsMissing)
      others = [:]
      return
    }
    let symbol = try MXNetSymbol.read(path: location.symbolPath)
    let parameters = try MXNetParameters(path: location.parametersPath)
    let unused: Set<String>
    do {
      // A training symbol is cut where the embedding is.
      let hasEmbedding = symbol.nodes.contains { $0.name == "fc1" }
      let read = try NetworkGraph.importing(
        symbol, weights: parameters.entries, options: .init(outputs: hasEmbedding ? ["fc1"] : nil))
      graph = read.graph
      unused = Set(read.unusedWeights)
    } catch {
      throw FormatError(.mismatch, "\(error)", path: location.symbolPath)
    }
    var others: [String: StoredTensor] = [:]
    for (name, tensor) in parameters.entries {
      let plain = String(name.drop(while: { $0 != ":" }).dropFirst())
      if name.contains("fc7") || unused.contains(plain) { others[plain] = tensor }
    }
    self.others = others
  }

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
    let symbol = try graph.mxnetSymbol().json()
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
