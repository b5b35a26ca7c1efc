import Formats

/// Typed access to the attributes of a node, which keeps book of what was asked: an attribute that nobody understood is
/// an error, because ignoring it would compute something else.
struct ONNXAttributes {
  let node: ONNXNode
  /// Version of ONNX's own operators in the file.
  let opset: Int
  private var known: Set<String> = []

  init(node: ONNXNode, opset: Int) {
    self.node = node
    self.opset = opset
  }

  /// What messages call the node: its name, or that of what it makes.
  var label: String { node.name.isEmpty ? node.outputs.first ?? "" : node.name }

  func error(_ code: GraphError.Code, _ message: String, advice: String? = nil) -> GraphError {
    GraphError(code, node: label, operation: node.op, message: message, advice: advice)
  }

  /// Marks attributes that do not change what is computed.
  mutating func ignore(_ names: String...) { known.formUnion(names) }

  /// Fails on attributes that were neither read nor ignored.
  func finish() throws(GraphError) {
    for attribute in node.attributes where !known.contains(attribute.name) {
      throw error(.unsupported, "the attribute \(attribute.name) is not understood")
    }
  }

  mutating func integer(_ name: String) throws(GraphError) -> Int? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .int(let number) = value else { throw error(.invalid, "\(name) is not an integer") }
    return number
  }

  mutating func flag(_ name: String) throws(GraphError) -> Bool? { try integer(name).map { $0 != 0 } }

  /// Fails unless the attribute is absent or has this value.
  mutating func require(_ name: String, _ wanted: Int) throws(GraphError) {
    guard let number = try integer(name), number != wanted else { return }
    throw error(.unsupported, "\(name) = \(number) is not supported, only \(wanted)")
  }

  mutating func number(_ name: String) throws(GraphError) -> Double? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .float(let number) = value, number.isFinite else { throw error(.invalid, "\(name) is not a number") }
    return Self.shortest(number)
  }

  mutating func text(_ name: String) throws(GraphError) -> String? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .string(let text) = value else { throw error(.invalid, "\(name) is not a text") }
    return text
  }

  mutating func integers(_ name: String) throws(GraphError) -> [Int]? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .ints(let numbers) = value else { throw error(.invalid, "\(name) is not a list of integers") }
    return numbers
  }

  mutating func numbers(_ name: String) throws(GraphError) -> [Double]? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .floats(let numbers) = value else { throw error(.invalid, "\(name) is not a list of numbers") }
    return numbers.map(Double.init)
  }

  mutating func tensor(_ name: String) throws(GraphError) -> StoredTensor? {
    known.insert(name)
    guard let value = node[name] else { return nil }
    guard case .tensor(let tensor) = value else { throw error(.invalid, "\(name) is not a tensor") }
    return tensor
  }

  /// Height and width; nil where absent, an error for images of other than two dimensions.
  mutating func extent(_ name: String) throws(GraphError) -> NetworkGraph.Extent? {
    guard let numbers = try integers(name), !numbers.isEmpty else { return nil }
    guard numbers.count == 2 else {
      throw error(.unsupported, "\(name) has \(numbers.count) numbers; only images of two dimensions are supported")
    }
    guard numbers.allSatisfy({ $0.magnitude <= NetworkGraph.Operation.largestNumber }) else {
      throw error(.invalid, "\(name) is \(numbers)")
    }
    return NetworkGraph.Extent(height: numbers[0], width: numbers[1])
  }

  /// The number that was meant: 2e-5 for the single-precision number nearest to it, so that a network's epsilon
  /// survives the way through a file.
  static func shortest(_ number: Float) -> Double { Double("\(number)") ?? Double(number) }
}
