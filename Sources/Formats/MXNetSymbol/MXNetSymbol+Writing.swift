extension MXNetSymbol {
  /// The symbol as MXNet 1.9.1 writes it, byte for byte: two spaces of indentation, a space after each comma at a line
  /// end, attributes sorted by key, arrays of more than ten numbers one number a line.
  public func json() -> String {
    var output = "{\n  \"nodes\": ["
    for (index, node) in nodes.enumerated() {
      output += index == 0 ? "\n    " : ", \n    "
      write(node, into: &output)
    }
    output += "\n  ], \n  \"arg_nodes\": "
    Self.write(argumentNodes, indent: 2, into: &output)
    output += ", \n  \"node_row_ptr\": "
    var rows = [0]
    for index in nodes.indices { rows.append(rows[index] + outputCount(of: index)) }
    Self.write(rows, indent: 2, into: &output)
    output += ", \n  \"heads\": "
    Self.write(heads, indent: 2, into: &output)
    if !graphAttributes.isEmpty {
      // MXNet writes one attribute on the key's line and several on lines of their own, as with node attributes.
      let many = graphAttributes.count > 1
      output += ", \n  \"attrs\": {"
      for (index, attribute) in graphAttributes.enumerated() {
        if index > 0 { output += many ? ", " : "" }
        if many { output += "\n    " }
        SymbolJSON.quote(attribute.name, into: &output)
        output += ": "
        switch attribute.value {
        case .int(let number): output += "[\"int\", \(number)]"
        case .string(let text):
          output += "[\"str\", "
          SymbolJSON.quote(text, into: &output)
          output += "]"
        case .other(let type, let json):
          output += "["
          SymbolJSON.quote(type, into: &output)
          output += ", \(json)]"
        }
      }
      output += many ? "\n  }" : "}"
    }
    return output + "\n}"
  }

  private func write(_ node: Node, into output: inout String) {
    output += "{\n      \"op\": "
    SymbolJSON.quote(node.op, into: &output)
    output += ", \n      \"name\": "
    SymbolJSON.quote(node.name, into: &output)
    if !node.attributes.isEmpty {
      let many = node.attributes.count > 1
      output += ", \n      \"attrs\": {"
      // std::map orders keys by bytes; Swift's String order may not.
      let sorted = node.attributes.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      for (index, attribute) in sorted.enumerated() {
        if many { output += index == 0 ? "\n        " : ", \n        " }
        SymbolJSON.quote(attribute.key, into: &output)
        output += ": "
        SymbolJSON.quote(attribute.value, into: &output)
      }
      output += many ? "\n      }" : "}"
    }
    output += ", \n      \"inputs\": "
    Self.write(node.inputs, indent: 6, into: &output)
    if !node.controlDependencies.isEmpty {
      output += ", \n      \"control_deps\": "
      Self.write(node.controlDependencies, indent: 6, into: &output)
    }
    output += "\n    }"
  }

  private static func write(_ entries: [Entry], indent: Int, into output: inout String) {
    write(entries.map { "[\($0.node), \($0.output), \($0.version)]" }, indent: indent, into: &output)
  }

  private static func write(_ numbers: [Int], indent: Int, into output: inout String) {
    write(numbers.map(String.init), indent: indent, into: &output)
  }

  /// An array on one line, or with more than ten elements one a line; `indent` is that of the line it begins on.
  private static func write(_ elements: [String], indent: Int, into output: inout String) {
    guard elements.count > 10 else {
      output += "[" + elements.joined(separator: ", ") + "]"
      return
    }
    let margin = "\n" + String(repeating: " ", count: indent)
    output += "[" + margin + "  " + elements.joined(separator: ", " + margin + "  ") + margin + "]"
  }
}
