import Formats

// The network as JSON, one object:
//
//   {"version":1,
//    "nodes":[{"name":"data","op":"input","shape":["N",3,112,112]},
//             {"name":"conv0","op":"convolution","in":[0],"w":["conv0_weight"],"filters":64,"kernel":[3,3],…},…],
//    "outputs":[41]}
//
// Inputs and outputs are positions in `nodes`. Every key that an operation has is written, none may be left out, and none
// that is not known is read: a file means one network, whatever program reads it.

/// A JSON value as it is written.
enum GraphJSONValue {
  case int(Int)
  case number(Double)
  case bool(Bool)
  case text(String)
  case list([GraphJSONValue])

  static func ints(_ values: [Int]) -> GraphJSONValue { .list(values.map(GraphJSONValue.int)) }
  static func extent(_ extent: NetworkGraph.Extent) -> GraphJSONValue { .ints([extent.height, extent.width]) }
  static func padding(_ pad: NetworkGraph.Padding) -> GraphJSONValue {
    .ints([pad.top, pad.left, pad.bottom, pad.right])
  }

  func append(to output: inout String) {
    switch self {
    case .int(let value): output += "\(value)"
    // Infinite limits have no JSON number; as text they are read back by the same rule.
    case .number(let value): output += value.isFinite ? "\(value)" : "\"\(value)\""
    case .bool(let value): output += value ? "true" : "false"
    case .text(let text): Self.quote(text, into: &output)
    case .list(let values):
      output += "["
      for (index, value) in values.enumerated() {
        if index > 0 { output += "," }
        value.append(to: &output)
      }
      output += "]"
    }
  }

  static func quote(_ text: String, into output: inout String) {
    output += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "\u{0}"..<" ":
        let digits = String(scalar.value, radix: 16)
        output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: output.unicodeScalars.append(scalar)
      }
    }
    output += "\""
  }
}

extension NetworkGraph {
  /// The version of the description that is written and read.
  static let jsonVersion = 1

  /// Operations, wiring and names as compact JSON; weights and preprocessing are not part of it.
  public func json() -> String {
    var output = "{\"version\":\(Self.jsonVersion),\"nodes\":["
    for (index, node) in nodes.enumerated() {
      output += index == 0 ? "{\"name\":" : ",{\"name\":"
      GraphJSONValue.quote(node.name, into: &output)
      let (op, attributes) = node.operation.described
      output += ",\"op\":\"\(op)\""
      if !node.inputs.isEmpty {
        output += ",\"in\":"
        GraphJSONValue.ints(node.inputs.map(\.node)).append(to: &output)
      }
      if !node.parameters.isEmpty {
        output += ",\"w\":"
        GraphJSONValue.list(node.parameters.map(GraphJSONValue.text)).append(to: &output)
      }
      for (key, value) in attributes {
        output += ",\"\(key)\":"
        value.append(to: &output)
      }
      output += "}"
    }
    output += "],\"outputs\":"
    GraphJSONValue.ints(outputs.map(\.node)).append(to: &output)
    return output + "}"
  }
}

extension NetworkGraph.Operation {
  /// The operation's word and its settings in the order in which they are written.
  var described: (op: String, attributes: [(String, GraphJSONValue)]) {
    switch self {
    case .input(let shape):
      let sizes = shape.dimensions.map { dimension -> GraphJSONValue in
        switch dimension {
        case .fixed(let size): .int(size)
        case .batch: .text(dimension.description)
        }
      }
      return ("input", [("shape", .list(sizes))])
    case .parameter(let shape): return ("parameter", [("shape", .ints(shape))])
    case .scalar(let s): return ("scalar", [("kind", .text("\(s.kind)")), ("value", .number(s.value))])
    case .elementwise(let e):
      return ("elementwise", [("kind", .text("\(e.kind)")), ("broadcasts", .bool(e.broadcasts))])
    case .convolution(let c):
      return (
        "convolution",
        [
          ("filters", .int(c.filters)), ("kernel", .extent(c.kernel)), ("stride", .extent(c.stride)),
          ("pad", .padding(c.pad)), ("dilation", .extent(c.dilation)), ("groups", .int(c.groups)),
          ("bias", .bool(c.bias)),
        ]
      )
    case .deconvolution(let d):
      return (
        "deconvolution",
        [
          ("filters", .int(d.filters)), ("kernel", .extent(d.kernel)), ("stride", .extent(d.stride)),
          ("pad", .padding(d.pad)), ("dilation", .extent(d.dilation)), ("output_padding", .extent(d.outputPadding)),
          ("groups", .int(d.groups)), ("bias", .bool(d.bias)),
        ]
      )
    case .fullyConnected(let f):
      return ("fully_connected", [("units", .int(f.units)), ("bias", .bool(f.bias)), ("flatten", .bool(f.flatten))])
    case .batchNorm(let b):
      return (
        "batch_norm",
        [
          ("epsilon", .number(b.epsilon)), ("momentum", .number(b.momentum)), ("fix_gamma", .bool(b.fixGamma)),
          ("axis", .int(b.axis)), ("global_statistics", .bool(b.usesGlobalStatistics)),
        ]
      )
    case .activation(let activation): return activation.described
    case .prelu(let isShared): return ("prelu", [("shared", .bool(isShared))])
    case .pooling(let p):
      var attributes: [(String, GraphJSONValue)] = [("kind", .text("\(p.kind)"))]
      if let kernel = p.kernel { attributes.append(("kernel", .extent(kernel))) }
      attributes += [
        ("stride", .extent(p.stride)), ("pad", .padding(p.pad)), ("global", .bool(p.isGlobal)),
        ("rounds_up", .bool(p.convention == .full)), ("counts_padding", .bool(p.countsPadding)),
      ]
      return ("pooling", attributes)
    case .softmax(let axis): return ("softmax", [("axis", .int(axis))])
    case .l2Normalize(let l):
      return ("l2_normalize", [("mode", .text("\(l.mode)")), ("epsilon", .number(l.epsilon))])
    case .dropout(let rate): return ("dropout", [("rate", .number(rate))])
    case .identity(let stops): return ("identity", [("stops_gradient", .bool(stops))])
    case .flatten: return ("flatten", [])
    case .reshape(let targets): return ("reshape", [("targets", .list(targets.map(\.described)))])
    case .transpose(let permutation): return ("transpose", [("permutation", .ints(permutation))])
    case .concat(let axis): return ("concat", [("axis", .int(axis))])
    case .slice(let s):
      var attributes: [(String, GraphJSONValue)] = [("axis", .int(s.axis)), ("begin", .int(s.begin))]
      if let end = s.end { attributes.append(("end", .int(end))) }
      return ("slice", attributes)
    case .crop(let c):
      var attributes: [(String, GraphJSONValue)] = []
      if let size = c.size { attributes.append(("size", .extent(size))) }
      return ("crop", attributes + [("offset", .extent(c.offset)), ("centered", .bool(c.isCentered))])
    case .reduction(let r):
      return (
        "reduction",
        [("kind", .text("\(r.kind)")), ("axes", .ints(r.axes)), ("keeps_dimensions", .bool(r.keepsDimensions))]
      )
    case .tile(let repetitions): return ("tile", [("repetitions", .ints(repetitions))])
    case .layerNorm(let norm): return ("layer_norm", [("epsilon", .number(norm.epsilon)), ("axis", .int(norm.axis))])
    case .matmul(let transposesSecond): return ("matmul", [("transposes_second", .bool(transposesSecond))])
    case .dropPath(let rate): return ("drop_path", [("rate", .number(rate))])
    case .tokenMask(let ratio): return ("token_mask", [("ratio", .number(ratio))])
    case .tokenRestore: return ("token_restore", [])
    case .upsampleNearest(let scale): return ("upsample_nearest", [("scale", .int(scale))])
    }
  }
}

extension NetworkGraph.Operation.Activation {
  fileprivate var described: (op: String, attributes: [(String, GraphJSONValue)]) {
    switch self {
    case .relu: ("relu", [])
    case .sigmoid: ("sigmoid", [])
    case .tanh: ("tanh", [])
    case .softplus: ("softplus", [])
    case .softsign: ("softsign", [])
    case .squareRoot: ("square_root", [])
    case .gelu: ("gelu", [])
    case .leakyRelu(let slope): ("leaky_relu", [("slope", .number(slope))])
    case .elu(let slope): ("elu", [("slope", .number(slope))])
    case .clip(let low, let high): ("clip", [("min", .number(low)), ("max", .number(high))])
    }
  }
}

extension NetworkGraph.Operation.ReshapeTarget {
  /// A number is a size; words stand for the rest, a list for a split.
  fileprivate var described: GraphJSONValue {
    switch self {
    case .size(let size): .int(size)
    case .keep: .text("keep")
    case .infer: .text("infer")
    case .keepRest: .text("keep_rest")
    case .merge: .text("merge")
    case .split(let first, let second): .ints([first, second])
    }
  }
}
