import Formats

extension NetworkGraph {
  /// Key of the hint on the first input that carries `preprocessing` in a symbol; MXNet keeps and ignores it.
  static let preprocessingKey = "__preprocessing__"

  /// The network as an MXNet 1.9.1 symbol.
  ///
  /// Nodes stand in MXNet's own order and carry the attributes that MXNet's Python interface would write for the same
  /// network, so the JSON of a reference network is reproduced byte for byte (without `preprocessing`, which becomes
  /// the attribute `__preprocessing__` of the first input).
  ///
  /// - Throws: `GraphError.unsupported` naming the node that MXNet has no operator for.
  public func mxnetSymbol() throws(GraphError) -> MXNetSymbol {
    var export = MXNetExport(graph: self)
    return try export.symbol()
  }

  /// The weights under the names of a `.params` file, `arg:…` and `aux:…`, in the order of `parameters()`.
  ///
  /// - Throws: `GraphError` as `checkWeights()`.
  public func mxnetWeights() throws(GraphError) -> [(name: String, tensor: StoredTensor)] {
    try checkWeights()
    return try parameters().compactMap { parameter in
      weights[parameter.name].map { ((parameter.isAuxiliary ? "aux:" : "arg:") + parameter.name, $0) }
    }
  }
}

/// The MXNet operator for an operation.
struct MXNetOperator {
  var op: String
  /// Attributes in the order in which they are easiest to read; the file sorts them.
  var attributes: [(String, String)] = []
}

private struct MXNetExport {
  let graph: NetworkGraph
  var nodes: [MXNetSymbol.Node] = []
  /// Symbol index of each graph node.
  var indices: [Int: Int] = [:]
  /// Symbol index of each variable.
  var variables: [String: Int] = [:]

  init(graph: NetworkGraph) { self.graph = graph }

  mutating func symbol() throws(GraphError) -> MXNetSymbol {
    for index in graph.depthFirstOrder() { try append(index) }
    do {
      return try MXNetSymbol(
        nodes: nodes, heads: graph.outputs.compactMap { indices[$0.node] }.map { MXNetSymbol.Entry(node: $0) })
    } catch {
      throw GraphError(.invalid, message: "the exported symbol is unsound: \(error.message)")
    }
  }

  private mutating func append(_ index: Int) throws(GraphError) {
    let node = graph.nodes[index]
    switch node.operation {
    case .input:
      var attributes: [MXNetSymbol.Attribute] = []
      if let preprocessing = graph.preprocessing, variables.isEmpty {
        attributes = [.init(NetworkGraph.preprocessingKey, preprocessing.encoded)]
      }
      indices[index] = try variable(node.name, attributes, of: node)
      return
    case .parameter(let shape):
      indices[index] = try variable(node.parameters[0], [.init("__shape__", Self.tuple(shape))], of: node)
      return
    default: break
    }
    let op = try node.operation.mxnetOperator(inputCount: node.inputs.count, node: node.name)
    let attributes = op.attributes.map { MXNetSymbol.Attribute($0.0, $0.1) }
    var inputs = node.inputs.compactMap { indices[$0.node] }.map { MXNetSymbol.Entry(node: $0) }
    // The learned token is for training alone: it stays among the parameters of a checkpoint.
    let isRestoring = node.operation == .tokenRestore
    if isRestoring { inputs = Array(inputs.prefix(1)) }
    for (role, name) in zip(isRestoring ? [] : node.operation.parameterRoles, node.parameters) {
      // A variable that MXNet names itself inherits the operator's attributes; one that was passed in does not.
      var hints = name == node.name + role.suffix ? attributes : []
      switch role {
      case .movingMean: hints.append(.init("__init__", "[\"zero\", {}]"))
      case .movingVariance: hints.append(.init("__init__", "[\"one\", {}]"))
      case .slope:
        hints.append(.init("__init__", "[\"Constant\", {\"value\": 0.25}]"))
        if node.operation == .prelu(shared: true) { hints.append(.init("__shape__", "(1,)")) }
      default: break
      }
      inputs.append(
        MXNetSymbol.Entry(node: try variable(name, hints, of: node), version: role.isAuxiliary ? 1 : 0))
    }
    indices[index] = nodes.count
    nodes.append(MXNetSymbol.Node(op: op.op, name: node.name, attributes: attributes, inputs: inputs))
  }

  /// The index of a variable, which is added unless it is there.
  private mutating func variable(
    _ name: String, _ attributes: [MXNetSymbol.Attribute], of node: NetworkGraph.Node
  ) throws(GraphError) -> Int {
    if let index = variables[name] {
      if case .input = node.operation {
        throw GraphError(.invalid, node: name, message: "the name is that of an input and of a parameter")
      }
      return index
    }
    variables[name] = nodes.count
    nodes.append(MXNetSymbol.Node(op: "null", name: name, attributes: attributes))
    return nodes.count - 1
  }

  static func tuple(_ numbers: [Int]) -> String {
    numbers.count == 1 ? "(\(numbers[0]),)" : "(" + numbers.map(String.init).joined(separator: ", ") + ")"
  }
}

extension NetworkGraph.Operation {
  /// What MXNet's name manager puts before the counter when a node has no name.
  var automaticName: String {
    switch self {
    case .input: "input"
    case .parameter: "parameter"
    case .scalar(let scalar):
      switch scalar.kind {
      case .add: "_plusscalar"
      case .subtract: "_minusscalar"
      case .subtractFrom: "_rminusscalar"
      case .multiply: "_mulscalar"
      case .divide: "_divscalar"
      case .divideInto: "_rdivscalar"
      case .maximum: "_maximumscalar"
      case .minimum: "_minimumscalar"
      }
    case .elementwise(let elementwise):
      switch (elementwise.kind, elementwise.broadcasts) {
      case (.add, false): "_plus"
      case (.subtract, false): "_minus"
      case (.multiply, false): "_mul"
      case (.divide, false): "_div"
      case (.maximum, false): "_maximum"
      case (.minimum, false): "_minimum"
      case (.add, true): "broadcast_add"
      case (.subtract, true): "broadcast_sub"
      case (.multiply, true): "broadcast_mul"
      case (.divide, true): "broadcast_div"
      case (.maximum, true): "broadcast_maximum"
      case (.minimum, true): "broadcast_minimum"
      }
    case .convolution: "convolution"
    case .deconvolution: "deconvolution"
    case .fullyConnected: "fullyconnected"
    case .batchNorm: "batchnorm"
    case .activation(let activation):
      switch activation {
      case .leakyRelu, .elu, .gelu: "leakyrelu"
      case .clip: "clip"
      case .squareRoot: "sqrt"
      default: "activation"
      }
    case .layerNorm: "layernorm"
    case .matmul: "_linalg_gemm2"
    case .prelu: "leakyrelu"
    case .pooling: "pooling"
    case .softmax: "softmax"
    case .l2Normalize: "l2normalization"
    case .dropout, .dropPath: "dropout"
    case .tokenMask, .tokenRestore: "identity"
    case .identity(let stopsGradient): stopsGradient ? "blockgrad" : "identity"
    case .flatten: "flatten"
    case .reshape: "reshape"
    case .transpose: "transpose"
    case .concat: "concat"
    case .slice: "slice_axis"
    case .crop: "crop"
    case .upsampleNearest: "upsampling"
    case .reduction(let reduction): reduction.kind == .sum ? "sum" : "mean"
    case .tile: "tile"
    }
  }

  /// The operator that computes this, with its attributes; MXNet's defaults are left out where its users leave them out.
  func mxnetOperator(inputCount: Int, node: String) throws(GraphError) -> MXNetOperator {
    func unsupported(_ message: String) -> GraphError {
      GraphError(.unsupported, node: node, operation: name, message: message)
    }
    func pad(_ padding: NetworkGraph.Padding) throws(GraphError) -> NetworkGraph.Extent {
      guard let symmetric = padding.symmetric else {
        throw unsupported("MXNet pads opposite sides alike, not \(padding)")
      }
      return symmetric
    }
    func flag(_ value: Bool) -> String { value ? "True" : "False" }
    switch self {
    case .input, .parameter: return MXNetOperator(op: "null")
    case .scalar(let scalar):
      let op =
        switch scalar.kind {
        case .add: "_plus_scalar"
        case .subtract: "_minus_scalar"
        case .subtractFrom: "_rminus_scalar"
        case .multiply: "_mul_scalar"
        case .divide: "_div_scalar"
        case .divideInto: "_rdiv_scalar"
        case .maximum: "_maximum_scalar"
        case .minimum: "_minimum_scalar"
        }
      return MXNetOperator(op: op, attributes: [("scalar", "\(scalar.value)")])
    case .elementwise(let elementwise):
      let op =
        switch (elementwise.kind, elementwise.broadcasts) {
        case (.add, false): "elemwise_add"
        case (.subtract, false): "elemwise_sub"
        case (.multiply, false): "elemwise_mul"
        case (.divide, false): "elemwise_div"
        case (.maximum, false): "_maximum"
        case (.minimum, false): "_minimum"
        case (.add, true): "broadcast_add"
        case (.subtract, true): "broadcast_sub"
        case (.multiply, true): "broadcast_mul"
        case (.divide, true): "broadcast_div"
        case (.maximum, true): "broadcast_maximum"
        case (.minimum, true): "broadcast_minimum"
        }
      return MXNetOperator(op: op)
    case .convolution(let c):
      var attributes = [("kernel", "\(c.kernel)"), ("num_filter", "\(c.filters)"), ("num_group", "\(c.groups)")]
      attributes += [("pad", "\(try pad(c.pad))"), ("stride", "\(c.stride)")]
      if !c.bias { attributes.append(("no_bias", "True")) }
      if c.dilation != 1 { attributes.append(("dilate", "\(c.dilation)")) }
      return MXNetOperator(op: "Convolution", attributes: attributes)
    case .deconvolution(let d):
      var attributes = [("kernel", "\(d.kernel)"), ("num_filter", "\(d.filters)"), ("num_group", "\(d.groups)")]
      attributes += [("pad", "\(try pad(d.pad))"), ("stride", "\(d.stride)")]
      // Unlike a convolution's, MXNet's default is no bias.
      attributes.append(("no_bias", flag(!d.bias)))
      if d.dilation != 1 { attributes.append(("dilate", "\(d.dilation)")) }
      if d.outputPadding != 0 { attributes.append(("adj", "\(d.outputPadding)")) }
      return MXNetOperator(op: "Deconvolution", attributes: attributes)
    case .fullyConnected(let f):
      var attributes = [("num_hidden", "\(f.units)")]
      if !f.bias { attributes.append(("no_bias", "True")) }
      if !f.flatten { attributes.append(("flatten", "False")) }
      return MXNetOperator(op: "FullyConnected", attributes: attributes)
    case .batchNorm(let b):
      var attributes = [("fix_gamma", flag(b.fixGamma)), ("momentum", "\(b.momentum)")]
      if b.epsilon != 1e-3 { attributes.append(("eps", "\(b.epsilon)")) }
      if b.axis != 1 { attributes.append(("axis", "\(b.axis)")) }
      if b.usesGlobalStatistics { attributes.append(("use_global_stats", "True")) }
      return MXNetOperator(op: "BatchNorm", attributes: attributes)
    case .layerNorm(let l):
      return MXNetOperator(op: "LayerNorm", attributes: [("axis", "\(l.axis)"), ("eps", "\(l.epsilon)")])
    case .matmul(let transposesSecond):
      return MXNetOperator(op: "_linalg_gemm2", attributes: [("transpose_b", flag(transposesSecond))])
    case .prelu: return MXNetOperator(op: "LeakyReLU", attributes: [("act_type", "prelu")])
    case .activation(let activation):
      switch activation {
      case .relu: return MXNetOperator(op: "Activation", attributes: [("act_type", "relu")])
      case .sigmoid: return MXNetOperator(op: "Activation", attributes: [("act_type", "sigmoid")])
      case .tanh: return MXNetOperator(op: "Activation", attributes: [("act_type", "tanh")])
      case .softplus: return MXNetOperator(op: "Activation", attributes: [("act_type", "softrelu")])
      case .softsign: return MXNetOperator(op: "Activation", attributes: [("act_type", "softsign")])
      case .leakyRelu(let slope):
        return MXNetOperator(op: "LeakyReLU", attributes: [("act_type", "leaky"), ("slope", "\(slope)")])
      case .elu(let slope):
        return MXNetOperator(op: "LeakyReLU", attributes: [("act_type", "elu"), ("slope", "\(slope)")])
      case .gelu: return MXNetOperator(op: "LeakyReLU", attributes: [("act_type", "gelu")])
      case .clip(let minimum, let maximum):
        return MXNetOperator(op: "clip", attributes: [("a_min", "\(minimum)"), ("a_max", "\(maximum)")])
      case .squareRoot: return MXNetOperator(op: "sqrt")
      }
    case .pooling(let p):
      let kind =
        switch p.kind {
        case .max: "max"
        case .average: "avg"
        case .sum: "sum"
        }
      var attributes = [("pool_type", kind)]
      // MXNet ignores the kernel of a global pooling, but its older versions insist on one.
      if let kernel = p.kernel ?? (p.isGlobal ? 1 : nil) { attributes.append(("kernel", "\(kernel)")) }
      if p.isGlobal { attributes.append(("global_pool", "True")) }
      if !p.isGlobal || p.stride != 1 { attributes.append(("stride", "\(p.stride)")) }
      let padding = try pad(p.pad)
      if padding != 0 { attributes.append(("pad", "\(padding)")) }
      if p.convention == .full { attributes.append(("pooling_convention", "full")) }
      if !p.countsPadding { attributes.append(("count_include_pad", "False")) }
      return MXNetOperator(op: "Pooling", attributes: attributes)
    case .softmax(let axis): return MXNetOperator(op: "softmax", attributes: [("axis", "\(axis)")])
    case .l2Normalize(let l):
      let mode =
        switch l.mode {
        case .instance: "instance"
        case .channel: "channel"
        case .spatial: "spatial"
        }
      return MXNetOperator(op: "L2Normalization", attributes: [("eps", "\(l.epsilon)"), ("mode", mode)])
    case .dropout(let rate): return MXNetOperator(op: "Dropout", attributes: [("p", "\(rate)")])
    // One draw for all of a sample: MXNet shares the mask along these axes.
    case .dropPath(let rate): return MXNetOperator(op: "Dropout", attributes: [("p", "\(rate)"), ("axes", "(1, 2)")])
    // What MXNet has no operator for and an evaluation does not need.
    case .tokenMask, .tokenRestore: return MXNetOperator(op: "_copy")
    case .identity(let stopsGradient): return MXNetOperator(op: stopsGradient ? "BlockGrad" : "_copy")
    case .flatten: return MXNetOperator(op: "Flatten")
    case .reshape(let targets):
      var codes: [Int] = []
      for target in targets {
        switch target {
        case .size(let size): codes.append(size)
        case .keep: codes.append(0)
        case .infer: codes.append(-1)
        case .keepRest: codes.append(-2)
        case .merge: codes.append(-3)
        case .split(let first, let second): codes += [-4, first, second]
        }
      }
      return MXNetOperator(op: "Reshape", attributes: [("shape", MXNetExport.tuple(codes))])
    case .transpose(let permutation):
      let attributes = permutation.isEmpty ? [] : [("axes", MXNetExport.tuple(permutation))]
      return MXNetOperator(op: "transpose", attributes: attributes)
    case .concat(let axis):
      return MXNetOperator(op: "Concat", attributes: [("dim", "\(axis)"), ("num_args", "\(inputCount)")])
    case .slice(let s):
      return MXNetOperator(
        op: "slice_axis",
        attributes: [("axis", "\(s.axis)"), ("begin", "\(s.begin)"), ("end", s.end.map(String.init) ?? "None")])
    case .crop(let c):
      var attributes = [("num_args", "\(inputCount)")]
      if let size = c.size { attributes.append(("h_w", "\(size)")) }
      if c.offset != 0 { attributes.append(("offset", "\(c.offset)")) }
      if c.isCentered { attributes.append(("center_crop", "True")) }
      return MXNetOperator(op: "Crop", attributes: attributes)
    case .upsampleNearest(let scale):
      return MXNetOperator(
        op: "UpSampling", attributes: [("num_args", "1"), ("sample_type", "nearest"), ("scale", "\(scale)")])
    case .reduction(let r):
      var attributes: [(String, String)] = []
      if r.axes.count == 1 { attributes.append(("axis", "\(r.axes[0])")) }
      if r.axes.count > 1 { attributes.append(("axis", MXNetExport.tuple(r.axes))) }
      if r.keepsDimensions { attributes.append(("keepdims", "True")) }
      return MXNetOperator(op: r.kind == .sum ? "sum" : "mean", attributes: attributes)
    case .tile(let repetitions):
      return MXNetOperator(op: "tile", attributes: [("reps", MXNetExport.tuple(repetitions))])
    }
  }
}
