import Formats

/// Typed access to the attributes of a symbol's node, which keeps book of what was asked: an attribute that nobody
/// understood is an error, because ignoring it would compute something else.
struct MXNetAttributes {
  let node: MXNetSymbol.Node
  private var known: Set<String> = []

  var op: String { node.op }

  init(node: MXNetSymbol.Node) { self.node = node }

  func error(_ code: GraphError.Code, _ message: String, advice: String? = nil) -> GraphError {
    GraphError(code, node: node.name, operation: node.op, message: message, advice: advice)
  }

  /// Marks attributes that do not change what is computed.
  mutating func ignore(_ keys: String...) { known.formUnion(keys) }

  /// Fails on attributes that were neither read nor ignored; hints in double underscores are free.
  func finish() throws(GraphError) {
    for attribute in node.attributes where !known.contains(attribute.key) && !attribute.key.hasPrefix("__") {
      throw error(.unsupported, "the attribute \(attribute.key) = \"\(attribute.value)\" is not understood")
    }
  }

  /// The text of an attribute.
  mutating func text(_ key: String) -> String? {
    known.insert(key)
    return node[key]
  }

  /// Fails unless the attribute is absent or has one of these values.
  mutating func require(_ key: String, _ values: String...) throws(GraphError) {
    guard let text = text(key) else { return }
    let isFalse = values.contains("False") && ["0", "false"].contains(text)
    guard values.contains(text) || isFalse else {
      throw error(.unsupported, "\(key) = \"\(text)\" is not supported, only \(values.joined(separator: " or "))")
    }
  }

  mutating func integer(_ key: String) throws(GraphError) -> Int? {
    guard let text = text(key) else { return nil }
    guard let number = Self.integer(text) else { throw error(.invalid, "\(key) is \"\(text)\", not an integer") }
    return number
  }

  mutating func required(_ key: String) throws(GraphError) -> Int {
    guard let number = try integer(key) else { throw error(.invalid, "has no \(key)") }
    return number
  }

  mutating func number(_ key: String) throws(GraphError) -> Double? {
    guard let text = text(key) else { return nil }
    guard let number = Double(Self.trimmed(text)), number.isFinite else {
      throw error(.invalid, "\(key) is \"\(text)\", not a number")
    }
    return number
  }

  mutating func scalar() throws(GraphError) -> Double {
    // is_int only tells how an integer tensor would be promoted.
    ignore("is_int")
    guard let number = try number("scalar") else { throw error(.invalid, "has no scalar") }
    return number
  }

  mutating func flag(_ key: String) throws(GraphError) -> Bool? {
    guard let text = text(key) else { return nil }
    switch text {
    case "True", "true", "1": return true
    case "False", "false", "0": return false
    default: throw error(.invalid, "\(key) is \"\(text)\", neither True nor False")
    }
  }

  mutating func integers(_ key: String) throws(GraphError) -> [Int]? {
    guard let text = text(key), text != "None" else { return nil }
    guard let numbers = Self.integers(text) else { throw error(.invalid, "\(key) is \"\(text)\", not a tuple") }
    return numbers
  }

  /// Height and width; nil where absent or empty, an error for images of other than two dimensions.
  mutating func extent(_ key: String) throws(GraphError) -> NetworkGraph.Extent? {
    guard let numbers = try integers(key), !numbers.isEmpty else { return nil }
    guard numbers.count == 2 else {
      throw error(.unsupported, "\(key) has \(numbers.count) numbers; only images of two dimensions are supported")
    }
    return NetworkGraph.Extent(height: numbers[0], width: numbers[1])
  }

  /// A Python integer; Python 2 wrote long ones with an L.
  private static func integer(_ text: some StringProtocol) -> Int? {
    let text = trimmed(text)
    return Int(text.hasSuffix("L") ? text.dropLast() : text)
  }

  /// A Python tuple or list of integers: `(3, 3)`, `[3,3]`, `(3,)`, `(3L, 3L)`, `()`; a bare number is a tuple of one.
  static func integers(_ text: String) -> [Int]? {
    var body = trimmed(text)
    if let first = body.first, first == "(" || first == "[" {
      guard body.last == (first == "(" ? ")" : "]") else { return nil }
      body = trimmed(body.dropFirst().dropLast())
      if body.last == "," { body = trimmed(body.dropLast()) }
      if body.isEmpty { return [] }
    }
    var numbers: [Int] = []
    for part in body.split(separator: ",", omittingEmptySubsequences: false) {
      guard let number = integer(part) else { return nil }
      numbers.append(number)
    }
    return numbers
  }

  private static func trimmed(_ text: some StringProtocol) -> Substring {
    var text = Substring(text)
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return text
  }
}
