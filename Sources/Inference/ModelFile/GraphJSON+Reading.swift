import Formats

extension NetworkGraph {
  /// Reads what `json()` wrote; weights and preprocessing are left empty.
  ///
  /// - Throws: `GraphError`: `.unsupported` for another version or an operation that is not known, `.invalid` naming the
  ///   node for a key that is missing, unknown or of the wrong kind.
  public init(json text: String) throws(GraphError) {
    let json: SymbolJSON
    do {
      json = try SymbolJSON.parse(Array(text.utf8), path: nil)
    } catch {
      throw GraphError(.invalid, message: "the description of the network is not sound JSON: \(error)")
    }
    var whole = try GraphJSONObject(json, node: nil)
    let version = try whole.int("version")
    guard version == Self.jsonVersion else {
      throw GraphError(
        .unsupported,
        message: "the description of the network has the version \(version), this program reads "
          + "\(Self.jsonVersion)", advice: "use a newer version of the program")
    }
    var nodes: [Node] = []
    for (index, value) in try whole.list("nodes").enumerated() {
      var object = try GraphJSONObject(value, node: "\(index)")
      object.node = try object.text("name")
      let op = try object.text("op")
      let inputs = object.has("in") ? try object.ints("in") : []
      let parameters = object.has("w") ? try object.texts("w") : []
      let operation = try Operation(op: op, &object)
      try object.finish()
      nodes.append(
        Node(name: object.node ?? "", operation: operation, inputs: inputs.map(Value.init), parameters: parameters))
    }
    let outputs = try whole.ints("outputs")
    try whole.finish()
    try self.init(nodes: nodes, outputs: outputs.map(Value.init))
  }
}

/// Typed access to an object's members, all of which must be asked for.
private struct GraphJSONObject {
  var node: String?
  private let members: [SymbolJSON.Member]
  private var known: Set<String> = []

  init(_ json: SymbolJSON, node: String?) throws(GraphError) {
    self.node = node
    guard case .object(let members) = json.value else {
      throw GraphError(.invalid, node: node, message: "an object is expected in the description, found \(json.kind)")
    }
    self.members = members
  }

  func error(_ message: String) -> GraphError { GraphError(.invalid, node: node, message: message) }

  func has(_ key: String) -> Bool { members.contains { $0.key == key } }

  func finish() throws(GraphError) {
    for member in members where !known.contains(member.key) {
      throw GraphError(.unsupported, node: node, message: "\"\(member.key.prefix(40))\" is not understood")
    }
  }

  private mutating func value(_ key: String) throws(GraphError) -> SymbolJSON {
    known.insert(key)
    guard let member = members.first(where: { $0.key == key }) else { throw error("has no \"\(key)\"") }
    return member.value
  }

  private func wrong(_ key: String, _ json: SymbolJSON, _ expected: String) -> GraphError {
    error("\"\(key)\" is \(json.kind), \(expected) is expected")
  }

  private func int(_ json: SymbolJSON, _ key: String) throws(GraphError) -> Int {
    guard case .number(let text) = json.value, let number = Int(text) else {
      throw wrong(key, json, "a whole number")
    }
    return number
  }

  mutating func int(_ key: String) throws(GraphError) -> Int { try int(try value(key), key) }

  mutating func number(_ key: String) throws(GraphError) -> Double {
    let json = try value(key)
    switch json.value {
    case .number(let text), .string(let text):
      if let number = Double(text), !number.isNaN { return number }
    default: break
    }
    throw wrong(key, json, "a number")
  }

  mutating func bool(_ key: String) throws(GraphError) -> Bool {
    let json = try value(key)
    guard case .bool(let flag) = json.value else { throw wrong(key, json, "true or false") }
    return flag
  }

  mutating func text(_ key: String) throws(GraphError) -> String {
    let json = try value(key)
    guard case .string(let text) = json.value else { throw wrong(key, json, "a text") }
    return text
  }

  mutating func list(_ key: String) throws(GraphError) -> [SymbolJSON] {
    let json = try value(key)
    guard case .array(let elements) = json.value else { throw wrong(key, json, "a list") }
    return elements
  }

  mutating func ints(_ key: String) throws(GraphError) -> [Int] {
    var numbers: [Int] = []
    for element in try list(key) { numbers.append(try int(element, key)) }
    return numbers
  }

  mutating func texts(_ key: String) throws(GraphError) -> [String] {
    var texts: [String] = []
    for element in try list(key) {
      guard case .string(let text) = element.value else { throw wrong(key, element, "a text") }
      texts.append(text)
    }
    return texts
  }

  mutating func extent(_ key: String) throws(GraphError) -> NetworkGraph.Extent {
    let numbers = try ints(key)
    guard numbers.count == 2 else { throw error("\"\(key)\" has \(numbers.count) numbers, not 2") }
    return .init(height: numbers[0], width: numbers[1])
  }

  mutating func padding(_ key: String) throws(GraphError) -> NetworkGraph.Padding {
    let numbers = try ints(key)
    guard numbers.count == 4 else { throw error("\"\(key)\" has \(numbers.count) numbers, not 4") }
    return .init(top: numbers[0], left: numbers[1], bottom: numbers[2], right: numbers[3])
  }

  /// One of a closed set of words.
  mutating func word<Word: CaseIterable>(_ key: String, _ type: Word.Type) throws(GraphError) -> Word {
    let text = try text(key)
    guard let word = Word.allCases.first(where: { "\($0)" == text }) else {
      throw GraphError(.unsupported, node: node, message: "\"\(key)\" is \"\(text.prefix(40))\", which is not known")
    }
    return word
  }

  /// A shape in which `"N"` and `"4N"` depend on the batch size.
  mutating func shape(_ key: String) throws(GraphError) -> NetworkGraph.Shape {
    var dimensions: [NetworkGraph.Dimension] = []
    for element in try list(key) {
      if case .string(let text) = element.value {
        guard text.hasSuffix("N"), let count = text == "N" ? 1 : Int(text.dropLast()) else {
          throw wrong(key, element, "a size")
        }
        dimensions.append(.batch(count))
      } else {
        dimensions.append(.fixed(try int(element, key)))
      }
    }
    return NetworkGraph.Shape(dimensions)
  }

  mutating func targets(_ key: String) throws(GraphError) -> [NetworkGraph.Operation.ReshapeTarget] {
    var targets: [NetworkGraph.Operation.ReshapeTarget] = []
    for element in try list(key) {
      switch element.value {
      case .string("keep"): targets.append(.keep)
      case .string("infer"): targets.append(.infer)
      case .string("keep_rest"): targets.append(.keepRest)
      case .string("merge"): targets.append(.merge)
      case .array(let parts) where parts.count == 2:
        targets.append(.split(try int(parts[0], key), try int(parts[1], key)))
      default: targets.append(.size(try int(element, key)))
      }
    }
    return targets
  }
}

extension NetworkGraph.Operation {
  fileprivate init(op: String, _ o: inout GraphJSONObject) throws(GraphError) {
    switch op {
    case "input": self = .input(try o.shape("shape"))
    case "parameter": self = .parameter(shape: try o.ints("shape"))
    case "scalar": self = .scalar(.init(try o.word("kind", ScalarArithmetic.Kind.self), try o.number("value")))
    case "elementwise":
      self = .elementwise(.init(try o.word("kind", Elementwise.Kind.self), broadcasts: try o.bool("broadcasts")))
    case "convolution":
      self = .convolution(
        .init(
          filters: try o.int("filters"), kernel: try o.extent("kernel"), stride: try o.extent("stride"),
          pad: try o.padding("pad"), dilation: try o.extent("dilation"), groups: try o.int("groups"),
          bias: try o.bool("bias")))
    case "deconvolution":
      self = .deconvolution(
        .init(
          filters: try o.int("filters"), kernel: try o.extent("kernel"), stride: try o.extent("stride"),
          pad: try o.padding("pad"), dilation: try o.extent("dilation"),
          outputPadding: try o.extent("output_padding"), groups: try o.int("groups"), bias: try o.bool("bias")))
    case "fully_connected":
      self = .fullyConnected(
        .init(units: try o.int("units"), bias: try o.bool("bias"), flatten: try o.bool("flatten")))
    case "batch_norm":
      self = .batchNorm(
        .init(
          epsilon: try o.number("epsilon"), momentum: try o.number("momentum"), fixGamma: try o.bool("fix_gamma"),
          axis: try o.int("axis"), usesGlobalStatistics: try o.bool("global_statistics")))
    case "relu": self = .activation(.relu)
    case "sigmoid": self = .activation(.sigmoid)
    case "tanh": self = .activation(.tanh)
    case "softplus": self = .activation(.softplus)
    case "softsign": self = .activation(.softsign)
    case "square_root": self = .activation(.squareRoot)
    case "gelu": self = .activation(.gelu)
    case "leaky_relu": self = .activation(.leakyRelu(slope: try o.number("slope")))
    case "elu": self = .activation(.elu(slope: try o.number("slope")))
    case "clip": self = .activation(.clip(minimum: try o.number("min"), maximum: try o.number("max")))
    case "prelu": self = .prelu(shared: try o.bool("shared"))
    case "pooling":
      self = .pooling(
        .init(
          try o.word("kind", Pooling.Kind.self), kernel: o.has("kernel") ? try o.extent("kernel") : nil,
          stride: try o.extent("stride"), pad: try o.padding("pad"), isGlobal: try o.bool("global"),
          convention: try o.bool("rounds_up") ? .full : .valid, countsPadding: try o.bool("counts_padding")))
    case "softmax": self = .softmax(axis: try o.int("axis"))
    case "l2_normalize":
      self = .l2Normalize(
        .init(mode: try o.word("mode", L2Normalize.Mode.self), epsilon: try o.number("epsilon")))
    case "dropout": self = .dropout(rate: try o.number("rate"))
    case "identity": self = .identity(stopsGradient: try o.bool("stops_gradient"))
    case "flatten": self = .flatten
    case "reshape": self = .reshape(try o.targets("targets"))
    case "transpose": self = .transpose(permutation: try o.ints("permutation"))
    case "concat": self = .concat(axis: try o.int("axis"))
    case "slice":
      self = .slice(
        .init(axis: try o.int("axis"), begin: try o.int("begin"), end: o.has("end") ? try o.int("end") : nil))
    case "crop":
      self = .crop(
        .init(
          size: o.has("size") ? try o.extent("size") : nil, offset: try o.extent("offset"),
          isCentered: try o.bool("centered")))
    case "reduction":
      self = .reduction(
        .init(
          try o.word("kind", Reduction.Kind.self), axes: try o.ints("axes"),
          keepsDimensions: try o.bool("keeps_dimensions")))
    case "tile": self = .tile(repetitions: try o.ints("repetitions"))
    case "layer_norm": self = .layerNorm(.init(epsilon: try o.number("epsilon"), axis: try o.int("axis")))
    case "matmul": self = .matmul(transposesSecond: try o.bool("transposes_second"))
    case "drop_path": self = .dropPath(rate: try o.number("rate"))
    case "token_mask": self = .tokenMask(ratio: try o.number("ratio"))
    case "token_restore": self = .tokenRestore
    case "upsample_nearest": self = .upsampleNearest(scale: try o.int("scale"))
    default:
      throw GraphError(
        .unsupported, node: o.node, message: "the operation \"\(op.prefix(40))\" is not known",
        advice: "use a newer version of the program")
    }
  }
}
