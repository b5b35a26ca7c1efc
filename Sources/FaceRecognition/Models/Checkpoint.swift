import Formats
import Inference

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
    if isFolder(prefix) {
      let names = (try? folderEntries(prefix)) ?? []
      let symbols = names.map(\.name).filter { $0.hasSuffix("-symbol.json") }
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
public struct Checkpoint: Sendable {
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
}
