#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension MXNetSymbol {
  /// Larger files are refused; the deepest published recognition networks need one megabyte.
  static let maximumFileSize = 16 << 20

  /// Reads a symbol file as MXNet 0.5 to 1.9 write it.
  ///
  /// - Parameter path: the file, usually `prefix-symbol.json`.
  /// - Throws: `FormatError` with path, byte offset and line: `.notFound`, `.io`, `.tooLarge` (above 16 MiB),
  ///   `.truncated`, `.corrupt`, `.unsupported` (control-flow subgraphs).
  public static func read(path: String) throws(FormatError) -> MXNetSymbol {
    try parse(try contents(ofFile: path), path: path)
  }

  /// Parses a symbol from the bytes of its JSON.
  ///
  /// Old files are brought up to date as MXNet itself does on loading: operator parameters may stand under `param`,
  /// `attr` or `attrs`; entries may lack the version; hints such as `lr_mult` become `__lr_mult__`; batch norms of
  /// MXNet 0.8, whose running statistics were not in the graph, get the variables `…_moving_mean` and `…_moving_var`.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8 JSON.
  ///   - path: the file that errors name.
  /// - Throws: `FormatError` as `read(path:)`.
  public static func parse(_ bytes: [UInt8], path: String? = nil) throws(FormatError) -> MXNetSymbol {
    guard bytes.count <= maximumFileSize else {
      throw FormatError(
        .tooLarge, "a symbol file of \(bytes.count) bytes; at most \(maximumFileSize) are read",
        path: path)
    }
    return try SymbolReader(bytes: bytes, path: path).symbol()
  }

  private static func contents(ofFile path: String) throws(FormatError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      let code = errno
      throw FormatError(
        code == ENOENT || code == ENOTDIR ? .notFound : .io,
        "cannot open the symbol file: \(String(cString: strerror(code)))", path: path,
        advice: code == ENOENT ? "a checkpoint is a pair PREFIX-symbol.json and PREFIX-0000.params" : nil)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    let step = 1 << 16
    while bytes.count <= maximumFileSize {
      var failure: Int32 = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: step) { buffer, count in
        var result = -1
        repeat {
          result = Swift.Int(systemRead(descriptor, buffer.baseAddress, step))
        } while result < 0 && errno == EINTR
        if result < 0 { failure = errno }
        count = max(0, result)
      }
      guard failure == 0 else {
        throw FormatError(
          .io, "cannot read the symbol file: \(String(cString: strerror(failure)))", path: path,
          offset: bytes.count)
      }
      if chunk.isEmpty { return bytes }
      bytes += chunk
    }
    throw FormatError(
      .tooLarge, "the symbol file is larger than \(maximumFileSize) bytes", path: path)
  }
}

/// `read(2)`, under a name that `MXNetSymbol.read(path:)` does not hide.
private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
  read(descriptor, buffer, count)
}

/// Turns parsed JSON into a symbol.
private struct SymbolReader {
  typealias Node = MXNetSymbol.Node
  typealias Entry = MXNetSymbol.Entry

  let bytes: [UInt8]
  let path: String?

  func error(_ code: FormatError.Code = .corrupt, _ message: String, at json: SymbolJSON) -> FormatError {
    FormatError.symbol(code, message, path: path, bytes: bytes, offset: json.offset)
  }

  func symbol() throws(FormatError) -> MXNetSymbol {
    let root = try SymbolJSON.parse(bytes, path: path)
    guard case .object(let members) = root.value else {
      throw error("expected an object with \"nodes\" and \"heads\", found \(root.kind)", at: root)
    }
    for member in members
    where !["nodes", "arg_nodes", "node_row_ptr", "heads", "attrs", "attr"].contains(member.key) {
      throw error("unknown key \"\(member.key.prefix(40))\" of a symbol", at: member.value)
    }
    guard let nodesJSON = root["nodes"] else {
      throw error("the key \"nodes\" is missing; this is not an MXNet symbol", at: root)
    }
    guard let headsJSON = root["heads"] else {
      throw error("the key \"heads\" is missing; this is not an MXNet symbol", at: root)
    }
    let nodeList = try array(nodesJSON, "\"nodes\"")
    var nodes: [Node] = []
    nodes.reserveCapacity(nodeList.count)
    for (index, json) in nodeList.enumerated() { nodes.append(try node(json, index: index)) }
    let headList = try array(headsJSON, "\"heads\"")
    var heads: [Entry] = []
    for json in headList { heads.append(try entry(json, "a head")) }

    if let rows = root["node_row_ptr"] { try readOutputCounts(rows, into: &nodes) }
    if let problem = MXNetSymbol.firstProblem(nodes: nodes, heads: heads) {
      let place =
        switch problem.place {
        case .node(let index): nodeList[index]
        case .head(let index): headList.isEmpty ? headsJSON : headList[index]
        }
      throw error(problem.message, at: place)
    }
    if let arguments = root["arg_nodes"] { try checkArguments(arguments, nodes: nodes) }

    moveHints(in: &nodes)
    addRunningStatistics(to: &nodes, heads: &heads)
    return try MXNetSymbol(nodes: nodes, heads: heads, graphAttributes: try graphAttributes(root))
  }

  // MARK: Parts of the file

  private func node(_ json: SymbolJSON, index: Int) throws(FormatError) -> Node {
    guard case .object(let members) = json.value else {
      throw error("node \(index) must be an object, found \(json.kind)", at: json)
    }
    guard let opJSON = json["op"] else { throw error("node \(index) has no \"op\"", at: json) }
    guard let nameJSON = json["name"] else { throw error("node \(index) has no \"name\"", at: json) }
    var node = Node(
      op: try string(opJSON, "\"op\" of node \(index)"), name: try string(nameJSON, "\"name\" of node \(index)"))
    for member in members {
      switch member.key {
      case "op", "name", "backward_source_id":
        // The last is bookkeeping of MXNet 0.5 to 0.8 for gradient nodes; loaders have ignored it since.
        break
      case "attrs", "attr", "param":
        // Where a file has both "param" and "attr", the former holds operator parameters and the latter hints.
        guard case .object(let pairs) = member.value.value else {
          throw error("\"\(member.key)\" of node \"\(node.name)\" must be an object", at: member.value)
        }
        for pair in pairs {
          let value = try string(pair.value, "attribute \"\(pair.key)\" of node \"\(node.name)\"")
          if let known = node[pair.key], known != value {
            throw error(
              "node \"\(node.name)\" has two values of \"\(pair.key)\": \"\(known)\" and \"\(value)\"", at: pair.value)
          }
          if node[pair.key] == nil { node.attributes.append(.init(pair.key, value)) }
        }
      case "inputs":
        for input in try array(member.value, "\"inputs\" of node \"\(node.name)\"") {
          node.inputs.append(try entry(input, "an input of node \"\(node.name)\""))
        }
      case "control_deps":
        for dependency in try array(member.value, "\"control_deps\" of node \"\(node.name)\"") {
          node.controlDependencies.append(try integer(dependency, "a control dependency of node \"\(node.name)\""))
        }
      case "subgraphs":
        guard try array(member.value, "\"subgraphs\"").isEmpty else {
          throw error(
            .unsupported, "node \"\(node.name)\" (\(node.op)) carries control-flow subgraphs, which are not read",
            at: member.value)
        }
      default:
        throw error("unknown key \"\(member.key.prefix(40))\" of node \"\(node.name)\"", at: member.value)
      }
    }
    return node
  }

  private func entry(_ json: SymbolJSON, _ what: String) throws(FormatError) -> Entry {
    let parts = try array(json, what)
    guard parts.count == 2 || parts.count == 3 else {
      throw error("\(what) must be [node, output] or [node, output, version], found \(parts.count) numbers", at: json)
    }
    return Entry(
      node: try integer(parts[0], what), output: try integer(parts[1], what),
      version: parts.count == 3 ? try integer(parts[2], what) : 0)
  }

  /// `node_row_ptr[i + 1] − node_row_ptr[i]` is how many outputs node i has.
  private func readOutputCounts(_ json: SymbolJSON, into nodes: inout [Node]) throws(FormatError) {
    let rows = try array(json, "\"node_row_ptr\"")
    guard rows.count == nodes.count + 1 else {
      throw error("\"node_row_ptr\" has \(rows.count) numbers for \(nodes.count) nodes; one more is expected", at: json)
    }
    var previous = try integer(rows[0], "\"node_row_ptr\"")
    for index in nodes.indices {
      let next = try integer(rows[index + 1], "\"node_row_ptr\"")
      guard previous >= 0, next > previous, next - previous <= 1 << 16 else {
        throw error("\"node_row_ptr\" must rise: \(next) follows \(previous)", at: rows[index + 1])
      }
      nodes[index].outputCount = next - previous
      previous = next
    }
  }

  private func checkArguments(_ json: SymbolJSON, nodes: [Node]) throws(FormatError) {
    for argument in try array(json, "\"arg_nodes\"") {
      let index = try integer(argument, "\"arg_nodes\"")
      guard nodes.indices.contains(index), nodes[index].isVariable else {
        throw error("\"arg_nodes\" names \(index), which is not a variable", at: argument)
      }
    }
  }

  private func graphAttributes(_ root: SymbolJSON) throws(FormatError) -> [MXNetSymbol.NamedGraphAttribute] {
    guard let json = root["attrs"] ?? root["attr"] else { return [] }
    guard case .object(let members) = json.value else {
      throw error("\"attrs\" of the symbol must be an object, found \(json.kind)", at: json)
    }
    var attributes: [MXNetSymbol.NamedGraphAttribute] = []
    for member in members {
      let pair = try array(member.value, "graph attribute \"\(member.key)\"")
      guard pair.count == 2 else {
        throw error("graph attribute \"\(member.key)\" must be [type, value]", at: member.value)
      }
      let type = try string(pair[0], "the type of graph attribute \"\(member.key)\"")
      switch (type, pair[1].value) {
      case ("int", .number): attributes.append(.init(member.key, .int(try integer(pair[1], member.key))))
      case ("str", .string(let text)): attributes.append(.init(member.key, .string(text)))
      default: attributes.append(.init(member.key, .other(type: type, json: text(of: pair[1]))))
      }
    }
    return attributes
  }

  // MARK: Bringing old files up to date

  /// Hints that MXNet before 0.9 wrote without underscores.
  private static let hints = ["ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage"]

  /// Renames `lr_mult` to `__lr_mult__`, and moves an operator's `weight_lr_mult` to its weight.
  private func moveHints(in nodes: inout [Node]) {
    for index in nodes.indices {
      var kept: [MXNetSymbol.Attribute] = []
      for attribute in nodes[index].attributes {
        guard let hint = Self.hints.first(where: { attribute.key == $0 || attribute.key.hasSuffix("_\($0)") }) else {
          kept.append(attribute)
          continue
        }
        let moved = MXNetSymbol.Attribute("__\(hint)__", attribute.value)
        if attribute.key == hint {
          if nodes[index][moved.key] == nil { kept.append(moved) }
          continue
        }
        let role = attribute.key.dropLast(hint.count + 1)
        let target = nodes[index].inputs.first { nodes[$0.node].name == "\(nodes[index].name)_\(role)" }
        if let target, nodes[target.node].isVariable {
          if nodes[target.node][moved.key] == nil { nodes[target.node].attributes.append(moved) }
        } else {
          kept.append(attribute)
        }
      }
      nodes[index].attributes = kept
    }
  }

  /// Gives batch norms that name only data, gamma and beta their two running statistics.
  private func addRunningStatistics(to nodes: inout [Node], heads: inout [Entry]) {
    guard nodes.contains(where: { $0.op == "BatchNorm" && $0.inputs.count == 3 }) else { return }
    var result: [Node] = []
    var newIndex: [Int] = []
    func renumbered(_ entry: Entry) -> Entry {
      Entry(node: newIndex[entry.node], output: entry.output, version: entry.version)
    }
    for var node in nodes {
      node.inputs = node.inputs.map(renumbered)
      node.controlDependencies = node.controlDependencies.map { newIndex[$0] }
      if node.op == "BatchNorm", node.inputs.count == 3 {
        let inherited = node.attributes.filter { !$0.key.hasPrefix("__") }
        for (suffix, initial) in [("moving_mean", "zero"), ("moving_var", "one")] {
          node.inputs.append(Entry(node: result.count))
          result.append(
            Node(
              op: "null", name: "\(node.name)_\(suffix)",
              attributes: inherited + [.init("__init__", "[\"\(initial)\", {}]")], outputCount: 1))
        }
      }
      newIndex.append(result.count)
      result.append(node)
    }
    nodes = result
    heads = heads.map(renumbered)
  }

  // MARK: Typed access

  private func array(_ json: SymbolJSON, _ what: String) throws(FormatError) -> [SymbolJSON] {
    guard case .array(let elements) = json.value else {
      throw error("\(what) must be an array, found \(json.kind)", at: json)
    }
    return elements
  }

  private func string(_ json: SymbolJSON, _ what: String) throws(FormatError) -> String {
    guard case .string(let text) = json.value else {
      throw error("\(what) must be a string, found \(json.kind)", at: json)
    }
    return text
  }

  private func integer(_ json: SymbolJSON, _ what: String) throws(FormatError) -> Int {
    guard case .number(let text) = json.value, let number = Int(text) else {
      throw error("\(what) must be an integer, found \(json.kind)", at: json)
    }
    return number
  }

  private func text(of json: SymbolJSON) -> String {
    switch json.value {
    case .null: return "null"
    case .bool(let flag): return flag ? "true" : "false"
    case .number(let text): return text
    case .string(let text):
      var quoted = ""
      SymbolJSON.quote(text, into: &quoted)
      return quoted
    case .array(let elements): return "[" + elements.map(text(of:)).joined(separator: ", ") + "]"
    case .object(let members):
      let pairs = members.map { member in
        var pair = ""
        SymbolJSON.quote(member.key, into: &pair)
        return pair + ": " + text(of: member.value)
      }
      return "{" + pairs.joined(separator: ", ") + "}"
    }
  }
}

extension SymbolReader {
  fileprivate func error(_ message: String, at json: SymbolJSON) -> FormatError {
    error(.corrupt, message, at: json)
  }
}
