import Formats

/// A network read from an MXNet checkpoint, and what of the checkpoint it did not need.
public struct MXNetImport: Sendable {
  /// The network with its weights.
  public var graph: NetworkGraph
  /// Weights of the checkpoint that no node of the network names, `fc7_weight` for example.
  public var unusedWeights: [String]

  /// How a symbol is read.
  public struct Options: Sendable {
    /// Shapes of the inputs by name, which win over what the symbol says.
    ///
    /// An input named `data` that has no shape anywhere is taken as (N, 3, 112, 112), the aligned crop of all
    /// InsightFace recognition networks.
    public var inputShapes: [String: NetworkGraph.Shape]
    /// The outputs to cut the network at, by node name with or without `_output`; nil takes the symbol's own.
    public var outputs: [String]?
    /// Preprocessing where the symbol does not carry it; nil recognises (x − a) · b at the input.
    public var preprocessing: Preprocessing?
    /// Whether weights may be missing, as for a symbol without parameters.
    public var allowsMissingWeights: Bool

    /// Options.
    public init(
      inputShapes: [String: NetworkGraph.Shape] = [:], outputs: [String]? = nil, preprocessing: Preprocessing? = nil,
      allowsMissingWeights: Bool = false
    ) {
      self.inputShapes = inputShapes
      self.outputs = outputs
      self.preprocessing = preprocessing
      self.allowsMissingWeights = allowsMissingWeights
    }
  }
}

extension NetworkGraph {
  /// Reads a network from an MXNet symbol and its weights.
  ///
  /// Node and weight names stay those of the symbol. Gamma of every `fix_gamma` batch norm becomes 1: MXNet computes
  /// with 1 whatever the file holds. Label variables of softmax outputs vanish.
  ///
  /// - Parameters:
  ///   - symbol: the network.
  ///   - weights: tensors by name, with or without the prefixes `arg:` and `aux:` of a `.params` file.
  ///   - options: input shapes, where to cut.
  /// - Throws: `GraphError`: `.unsupported` naming operator and node of anything without a counterpart,
  ///   `.missingWeight`, `.mismatch`, `.shape`, `.invalid`.
  public static func importing(
    _ symbol: MXNetSymbol, weights: [(name: String, tensor: StoredTensor)] = [],
    options: MXNetImport.Options = MXNetImport.Options()
  ) throws(GraphError) -> MXNetImport {
    var table: [String: StoredTensor] = [:]
    for (name, tensor) in weights {
      let plain = name.hasPrefix("arg:") || name.hasPrefix("aux:") ? String(name.dropFirst(4)) : name
      guard table.updateValue(tensor, forKey: plain) == nil else {
        throw GraphError(.invalid, message: "the weight \"\(plain)\" is given twice")
      }
    }
    var reader = MXNetGraphReader(symbol: symbol, weights: table, options: options)
    return try reader.read(order: weights.map(\.name))
  }
}

private struct MXNetGraphReader {
  typealias Operation = NetworkGraph.Operation
  typealias Value = NetworkGraph.Value

  let symbol: MXNetSymbol
  let weights: [String: StoredTensor]
  let options: MXNetImport.Options

  private var nodes: [NetworkGraph.Node] = []
  private var shapes: [NetworkGraph.Shape] = []
  /// Graph value of each symbol node that has been read as a tensor.
  private var values: [Int: Value] = [:]
  private var names: Set<String> = []

  init(symbol: MXNetSymbol, weights: [String: StoredTensor], options: MXNetImport.Options) {
    self.symbol = symbol
    self.weights = weights
    self.options = options
  }

  mutating func read(order: [String]) throws(GraphError) -> MXNetImport {
    let heads = try self.heads()
    // Everything the heads need, by walking backwards once: inputs always come earlier.
    var isNeeded = [Bool](repeating: false, count: symbol.nodes.count)
    for head in heads { isNeeded[head.node] = true }
    for index in symbol.nodes.indices.reversed() where isNeeded[index] {
      for entry in symbol.nodes[index].inputs { isNeeded[entry.node] = true }
    }
    for index in symbol.nodes.indices where isNeeded[index] && !symbol.nodes[index].isVariable {
      try read(index)
    }
    var outputs: [Value] = []
    for head in heads { outputs.append(try operand(head, of: symbol.nodes[head.node])) }

    var graph = try NetworkGraph(nodes: nodes, outputs: outputs).ordered()
    graph.preprocessing = options.preprocessing
    if graph.preprocessing == nil { graph.preprocessing = try storedPreprocessing() }
    if graph.preprocessing == nil { graph.preprocessing = try recognisedPreprocessing(graph) }
    for parameter in try graph.parameters() {
      if let tensor = weights[parameter.name] { graph.weights[parameter.name] = tensor }
    }
    for node in graph.nodes {
      guard case .batchNorm(let batchNorm) = node.operation, batchNorm.fixGamma else { continue }
      // Beta has gamma's length, and unlike it is always there.
      guard let length = graph.weights[node.parameters[0]]?.shape ?? graph.weights[node.parameters[1]]?.shape
      else { continue }
      // Any other form is left for the check of the weights to name.
      guard length.count == 1, (1...Operation.largestNumber).contains(length[0]) else { continue }
      let ones = [Float](repeating: 1, count: length[0])
      guard let tensor = try? StoredTensor(shape: length, floats: ones) else { continue }
      graph.weights[node.parameters[0]] = tensor
    }
    if !options.allowsMissingWeights {
      try graph.checkWeights()
    } else {
      for parameter in try graph.parameters() {
        guard let tensor = graph.weights[parameter.name], tensor.shape != parameter.shape else { continue }
        throw GraphError(
          .mismatch, node: graph.nodes[parameter.node].name,
          message: "weight \"\(parameter.name)\" must have shape \(parameter.shape), found \(tensor.shape)")
      }
    }
    let unused = order.map { $0.hasPrefix("arg:") || $0.hasPrefix("aux:") ? String($0.dropFirst(4)) : $0 }
      .filter { graph.weights[$0] == nil }
    return MXNetImport(graph: graph, unusedWeights: unused)
  }

  private func heads() throws(GraphError) -> [MXNetSymbol.Entry] {
    guard let names = options.outputs else { return symbol.heads }
    var heads: [MXNetSymbol.Entry] = []
    for name in names {
      let plain = name.hasSuffix("_output") ? String(name.dropLast("_output".count)) : name
      guard let index = symbol.nodes.lastIndex(where: { !$0.isVariable && ($0.name == name || $0.name == plain) })
      else {
        throw GraphError(.unknownName, message: "the symbol has no output \"\(name)\"")
      }
      heads.append(MXNetSymbol.Entry(node: index))
    }
    return heads
  }

  // MARK: Nodes

  private mutating func read(_ index: Int) throws(GraphError) {
    let node = symbol.nodes[index]
    var attributes = MXNetAttributes(node: node)
    let operandCount = try Self.operandCount(&attributes, inputs: node.inputs.count)
    guard node.inputs.count >= operandCount else {
      throw attributes.error(.invalid, "takes \(operandCount) tensors, not \(node.inputs.count)")
    }
    var inputs: [Value] = []
    for entry in node.inputs.prefix(operandCount) { inputs.append(try operand(entry, of: node)) }
    let operation = try self.operation(&attributes, inputs: inputs)
    try attributes.finish()

    // A softmax output takes its label too, which running a network has no use for.
    let isLoss = node.op == "SoftmaxOutput" || node.op == "Softmax"
    let roles = operation.parameterRoles
    let slots = isLoss ? [] : Array(node.inputs.dropFirst(operandCount))
    guard slots.count == roles.count else {
      throw attributes.error(.invalid, "takes \(roles.count) weights, not \(slots.count)")
    }
    var parameters: [String] = []
    for (entry, role) in zip(slots, roles) {
      let variable = symbol.nodes[entry.node]
      guard variable.isVariable else {
        throw attributes.error(
          .unsupported, "its \(role) is computed by node \"\(variable.name)\" (\(variable.op)), not stored",
          advice: "cut the network before it, for example at fc1_output")
      }
      parameters.append(variable.name)
    }
    values[index] = try append(
      NetworkGraph.Node(name: node.name, operation: operation, inputs: inputs, parameters: parameters))
  }

  private mutating func append(_ node: NetworkGraph.Node) throws(GraphError) -> Value {
    guard names.insert(node.name).inserted else {
      throw GraphError(
        .invalid, node: node.name, operation: node.operation.name, message: "the symbol uses this name twice")
    }
    let result = try ShapeInference(node: node.name, operation: node.operation)
      .infer(node.inputs.map { shapes[$0.node] })
    nodes.append(node)
    shapes.append(result.output)
    return Value(node: nodes.count - 1)
  }

  /// The tensor that an entry refers to; a variable becomes an input or a parameter node.
  private mutating func operand(
    _ entry: MXNetSymbol.Entry, of consumer: MXNetSymbol.Node
  ) throws(GraphError) -> Value {
    let source = symbol.nodes[entry.node]
    guard entry.output == 0 else {
      throw GraphError(
        .unsupported, node: consumer.name, operation: consumer.op,
        message: "takes output \(entry.output) of node \"\(source.name)\" (\(source.op)); only the first is supported")
    }
    if let value = values[entry.node] { return value }
    guard source.isVariable else {
      throw GraphError(.invalid, node: consumer.name, operation: consumer.op, message: "takes an unread node")
    }
    let shape = try declaredShape(of: source)
    let operation: Operation
    if let tensor = weights[source.name] {
      operation = .parameter(shape: tensor.shape)
    } else if let shape = options.inputShapes[source.name] {
      operation = .input(shape)
    } else if source.name == "data" || source[NetworkGraph.preprocessingKey] != nil {
      var preset = shape ?? .images(channels: 3, height: 112, width: 112)
      if shape == nil, let preprocessing = try storedPreprocessing() {
        preset = .images(channels: 3, height: preprocessing.height, width: preprocessing.width)
      }
      operation = .input(preset)
    } else if let fixed = shape?.fixed {
      operation = .parameter(shape: fixed)
    } else {
      throw GraphError(
        .shape, node: source.name, operation: "null",
        message: "the shape of this variable, taken by node \"\(consumer.name)\" (\(consumer.op)), is not known",
        advice: "give it among the input shapes, or its weight")
    }
    let parameters: [String]? = if case .parameter = operation { [source.name] } else { nil }
    let value = try append(NetworkGraph.Node(name: source.name, operation: operation, parameters: parameters))
    values[entry.node] = value
    return value
  }

  /// The shape in a variable's `__shape__`, in which 0 and −1 are unknown; the first may be, as the batch size.
  private func declaredShape(of variable: MXNetSymbol.Node) throws(GraphError) -> NetworkGraph.Shape? {
    guard let text = variable["__shape__"] else { return nil }
    guard let sizes = MXNetAttributes.integers(text) else {
      throw GraphError(.invalid, node: variable.name, operation: "null", message: "__shape__ is \"\(text)\"")
    }
    guard !sizes.isEmpty, sizes.dropFirst().allSatisfy({ $0 > 0 }) else { return nil }
    let first: NetworkGraph.Dimension = sizes[0] > 0 ? .fixed(sizes[0]) : .n
    return NetworkGraph.Shape([first] + sizes.dropFirst().map { .fixed($0) })
  }

  // MARK: Preprocessing

  private func storedPreprocessing() throws(GraphError) -> Preprocessing? {
    for node in symbol.nodes where node.isVariable {
      if let text = node[NetworkGraph.preprocessingKey] { return try Preprocessing(encoded: text) }
    }
    return nil
  }

  /// (x − a) · b right after the only input is the preprocessing of the reference's recognition networks, which take RGB.
  private func recognisedPreprocessing(_ graph: NetworkGraph) throws(GraphError) -> Preprocessing? {
    guard graph.inputs.count == 1, let input = graph.inputs.first,
      input.shape.rank == 4, input.shape[1] == 3, let height = input.shape[2].fixed, let width = input.shape[3].fixed,
      let start = graph.nodes.firstIndex(where: { $0.name == input.name })
    else { return nil }
    func onlyConsumer(of node: Int) -> Int? {
      let consumers = graph.nodes.indices.filter { graph.nodes[$0].inputs.contains(Value(node: node)) }
      return consumers.count == 1 ? consumers[0] : nil
    }
    // A few networks give the input another name first.
    var place = start
    while let next = onlyConsumer(of: place), case .identity = graph.nodes[next].operation { place = next }
    guard let first = onlyConsumer(of: place), case .scalar(let offset) = graph.nodes[first].operation,
      offset.kind == .subtract,
      let second = onlyConsumer(of: first), case .scalar(let scale) = graph.nodes[second].operation,
      scale.kind == .multiply
    else { return nil }
    var length: Int?
    if graph.outputs.count == 1 {
      let shape = try graph.inferShapes()[graph.outputs[0]]
      if shape.rank == 2 { length = shape[1].fixed }
    }
    return Preprocessing(
      colourOrder: .rgb, height: height, width: width, mean: [offset.value], scale: [scale.value],
      isInsideGraph: true, embeddingLength: length)
  }
}

// MARK: Operators

extension MXNetGraphReader {
  private typealias Convolution = Operation.Convolution

  /// How many of an operator's inputs are tensors; the rest are weights.
  private static func operandCount(_ attributes: inout MXNetAttributes, inputs: Int) throws(GraphError) -> Int {
    switch attributes.op {
    case "elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div", "_plus", "_minus", "_mul", "_div", "_Plus",
      "_Minus", "_Mul", "_Div", "_add", "_sub", "_maximum", "_minimum", "_Maximum", "_Minimum", "broadcast_add",
      "broadcast_plus", "broadcast_sub", "broadcast_minus", "broadcast_mul", "broadcast_div", "broadcast_maximum",
      "broadcast_minimum", "_grad_add", "_linalg_gemm2", "linalg_gemm2", "batch_dot":
      return 2
    case "Concat", "concat", "Crop":
      let count = try attributes.integer("num_args") ?? inputs
      guard count == inputs else {
        throw attributes.error(.invalid, "num_args is \(count), but it has \(inputs) inputs")
      }
      return count
    case "UpSampling":
      let count = try attributes.integer("num_args") ?? 1
      guard count == 1, inputs == 1 else {
        throw attributes.error(.unsupported, "only UpSampling of one tensor is supported, not of \(inputs)")
      }
      return 1
    default: return 1
    }
  }

  private func operation(
    _ attributes: inout MXNetAttributes, inputs: [Value]
  ) throws(GraphError) -> Operation {
    switch attributes.op {
    case "_plus_scalar", "_PlusScalar": return .scalar(.init(.add, try attributes.scalar()))
    case "_minus_scalar", "_MinusScalar": return .scalar(.init(.subtract, try attributes.scalar()))
    case "_rminus_scalar", "_RMinusScalar": return .scalar(.init(.subtractFrom, try attributes.scalar()))
    case "_mul_scalar", "_MulScalar": return .scalar(.init(.multiply, try attributes.scalar()))
    case "_div_scalar", "_DivScalar": return .scalar(.init(.divide, try attributes.scalar()))
    case "_rdiv_scalar", "_RDivScalar": return .scalar(.init(.divideInto, try attributes.scalar()))
    case "_maximum_scalar", "_MaximumScalar": return .scalar(.init(.maximum, try attributes.scalar()))
    case "_minimum_scalar", "_MinimumScalar": return .scalar(.init(.minimum, try attributes.scalar()))
    case "elemwise_add", "_plus", "_Plus", "_add", "_grad_add": return .elementwise(.init(.add))
    case "elemwise_sub", "_minus", "_Minus", "_sub": return .elementwise(.init(.subtract))
    case "elemwise_mul", "_mul", "_Mul": return .elementwise(.init(.multiply))
    case "elemwise_div", "_div", "_Div": return .elementwise(.init(.divide))
    case "_maximum", "_Maximum": return .elementwise(.init(.maximum))
    case "_minimum", "_Minimum": return .elementwise(.init(.minimum))
    case "broadcast_add", "broadcast_plus": return .elementwise(.init(.add, broadcasts: true))
    case "broadcast_sub", "broadcast_minus": return .elementwise(.init(.subtract, broadcasts: true))
    case "broadcast_mul": return .elementwise(.init(.multiply, broadcasts: true))
    case "broadcast_div": return .elementwise(.init(.divide, broadcasts: true))
    case "broadcast_maximum": return .elementwise(.init(.maximum, broadcasts: true))
    case "broadcast_minimum": return .elementwise(.init(.minimum, broadcasts: true))
    case "Convolution", "Convolution_v1": return .convolution(try convolution(&attributes))
    case "Deconvolution": return .deconvolution(try deconvolution(&attributes))
    case "FullyConnected":
      return .fullyConnected(
        .init(
          units: try attributes.required("num_hidden"), bias: try !(attributes.flag("no_bias") ?? false),
          flatten: try attributes.flag("flatten") ?? true))
    case "BatchNorm", "BatchNorm_v1", "CuDNNBatchNorm":
      attributes.ignore("cudnn_off", "min_calib_range", "max_calib_range")
      try attributes.require("output_mean_var", "False")
      return .batchNorm(
        .init(
          epsilon: try attributes.number("eps") ?? 1e-3, momentum: try attributes.number("momentum") ?? 0.9,
          fixGamma: try attributes.flag("fix_gamma") ?? true, axis: try attributes.integer("axis") ?? 1,
          usesGlobalStatistics: try attributes.flag("use_global_stats") ?? false))
    case "LayerNorm":
      try attributes.require("output_mean_var", "False")
      return .layerNorm(
        .init(epsilon: try attributes.number("eps") ?? 1e-5, axis: try attributes.integer("axis") ?? -1))
    case "_linalg_gemm2", "linalg_gemm2", "batch_dot":
      try attributes.require("transpose_a", "False", "0")
      try attributes.require("alpha", "1", "1.0")
      try attributes.require("axis", "-2")
      try attributes.require("forward_stype", "None")
      return .matmul(transposesSecond: try attributes.flag("transpose_b") ?? false)
    case "LeakyReLU": return try leakyReLU(&attributes, inputs: inputs)
    case "Activation":
      switch attributes.text("act_type") {
      case "relu": return .activation(.relu)
      case "sigmoid": return .activation(.sigmoid)
      case "tanh": return .activation(.tanh)
      case "softrelu": return .activation(.softplus)
      case "softsign": return .activation(.softsign)
      case let type: throw attributes.error(.unsupported, "act_type \"\(type ?? "")\" is not supported")
      }
    case "relu": return .activation(.relu)
    case "sigmoid": return .activation(.sigmoid)
    case "tanh": return .activation(.tanh)
    case "softsign": return .activation(.softsign)
    case "clip":
      guard let minimum = try attributes.number("a_min"), let maximum = try attributes.number("a_max") else {
        throw attributes.error(.invalid, "needs a_min and a_max")
      }
      return .activation(.clip(minimum: minimum, maximum: maximum))
    case "Pooling", "Pooling_v1": return .pooling(try pooling(&attributes))
    case "Flatten", "flatten": return .flatten
    case "Concat", "concat": return .concat(axis: try attributes.integer("dim") ?? 1)
    case "Reshape", "reshape": return .reshape(try reshape(&attributes))
    case "transpose": return .transpose(permutation: try attributes.integers("axes") ?? [])
    case "Dropout":
      attributes.ignore("cudnn_off")
      // Dropout that is on while the network runs, or drops whole axes, is another operation.
      try attributes.require("mode", "training")
      if attributes.text("axes") == "(1, 2)", shapes[inputs[0].node].rank == 3 {
        return .dropPath(rate: try attributes.number("p") ?? 0.5)
      }
      try attributes.require("axes", "()", "[]")
      return .dropout(rate: try attributes.number("p") ?? 0.5)
    case "L2Normalization":
      let modes: [String: Operation.L2Normalize.Mode] = [
        "instance": .instance, "channel": .channel, "spatial": .spatial,
      ]
      let text = attributes.text("mode") ?? "instance"
      guard let mode = modes[text] else { throw attributes.error(.unsupported, "mode \"\(text)\" is not supported") }
      return .l2Normalize(.init(mode: mode, epsilon: try attributes.number("eps") ?? 1e-10))
    case "softmax":
      try attributes.require("temperature", "None", "1", "1.0")
      try attributes.require("dtype", "None", "float32")
      try attributes.require("use_length", "False")
      return .softmax(axis: try attributes.integer("axis") ?? -1)
    case "SoftmaxActivation":
      let mode = attributes.text("mode") ?? "instance"
      if mode == "channel" { return .softmax(axis: 1) }
      guard mode == "instance" else { throw attributes.error(.unsupported, "mode \"\(mode)\" is not supported") }
      return .softmax(axis: try flatAxis(attributes, inputs))
    case "SoftmaxOutput", "Softmax":
      attributes.ignore(
        "grad_scale", "ignore_label", "use_ignore", "normalization", "out_grad", "smooth_alpha")
      if try attributes.flag("multi_output") ?? false { return .softmax(axis: 1) }
      if try attributes.flag("preserve_shape") ?? false { return .softmax(axis: -1) }
      return .softmax(axis: try flatAxis(attributes, inputs))
    case "Crop":
      return .crop(
        .init(
          size: inputs.count == 1 ? try attributes.extent("h_w") : nil,
          offset: try attributes.extent("offset") ?? 0, isCentered: try attributes.flag("center_crop") ?? false))
    case "slice_axis":
      let text = attributes.text("end") ?? "None"
      let end: Int? = text == "None" ? nil : Int(text)
      guard text == "None" || end != nil else { throw attributes.error(.invalid, "end is \"\(text)\"") }
      return .slice(.init(axis: try attributes.required("axis"), begin: try attributes.integer("begin") ?? 0, end: end))
    case "UpSampling":
      attributes.ignore("workspace", "num_filter", "multi_input_mode")
      try attributes.require("sample_type", "nearest")
      return .upsampleNearest(scale: try attributes.required("scale"))
    case "sqrt": return .activation(.squareRoot)
    case "sum", "sum_axis", "mean":
      try attributes.require("exclude", "False")
      let kind: Operation.Reduction.Kind = attributes.op == "mean" ? .mean : .sum
      let axes = try attributes.integers("axis") ?? []
      return .reduction(.init(kind, axes: axes, keepsDimensions: try attributes.flag("keepdims") ?? false))
    case "tile":
      guard let repetitions = try attributes.integers("reps"), !repetitions.isEmpty else {
        throw attributes.error(.invalid, "has no reps")
      }
      return .tile(repetitions: repetitions)
    case "identity", "_copy": return .identity(stopsGradient: false)
    case "BlockGrad", "stop_gradient": return .identity(stopsGradient: true)
    default:
      throw attributes.error(
        .unsupported, "the operator has no counterpart here",
        advice: "if it belongs to the training head, cut the network before it, for example at fc1_output")
    }
  }

  private func convolution(_ attributes: inout MXNetAttributes) throws(GraphError) -> Convolution {
    attributes.ignore("workspace", "cudnn_tune", "cudnn_off")
    try attributes.require("layout", "None", "NCHW")
    guard let kernel = try attributes.extent("kernel") else { throw attributes.error(.invalid, "has no kernel") }
    return Convolution(
      filters: try attributes.required("num_filter"), kernel: kernel, stride: try attributes.extent("stride") ?? 1,
      pad: NetworkGraph.Padding(try attributes.extent("pad") ?? 0), dilation: try attributes.extent("dilate") ?? 1,
      groups: try attributes.integer("num_group") ?? 1, bias: try !(attributes.flag("no_bias") ?? false))
  }

  private func deconvolution(_ attributes: inout MXNetAttributes) throws(GraphError) -> Operation.Deconvolution {
    attributes.ignore("workspace", "cudnn_tune", "cudnn_off")
    try attributes.require("layout", "None", "NCHW")
    try attributes.require("target_shape", "()", "[]", "(0, 0)", "(0,0)")
    guard let kernel = try attributes.extent("kernel") else { throw attributes.error(.invalid, "has no kernel") }
    return Operation.Deconvolution(
      filters: try attributes.required("num_filter"), kernel: kernel, stride: try attributes.extent("stride") ?? 1,
      pad: NetworkGraph.Padding(try attributes.extent("pad") ?? 0), dilation: try attributes.extent("dilate") ?? 1,
      outputPadding: try attributes.extent("adj") ?? 0, groups: try attributes.integer("num_group") ?? 1,
      bias: try !(attributes.flag("no_bias") ?? true))
  }

  private func leakyReLU(
    _ attributes: inout MXNetAttributes, inputs: [Value]
  ) throws(GraphError) -> Operation {
    // The bounds belong to the randomised kind; whoever writes them for another changes nothing.
    attributes.ignore("lower_bound", "upper_bound")
    let slope = try attributes.number("slope") ?? 0.25
    switch attributes.text("act_type") ?? "leaky" {
    case "leaky": return .activation(.leakyRelu(slope: slope))
    case "elu": return .activation(.elu(slope: slope))
    case "gelu": return .activation(.gelu)
    case "prelu":
      guard attributes.node.inputs.count == 2 else { throw attributes.error(.invalid, "has no slope") }
      let variable = symbol.nodes[attributes.node.inputs[1].node]
      let declared = try declaredShape(of: variable)?.fixed
      let length = weights[variable.name]?.shape ?? declared
      // One slope for many channels is gluon's form; MXNet repeats it.
      return .prelu(shared: length == [1] && shapes[inputs[0].node].dimensions.dropFirst().first != 1)
    case let type: throw attributes.error(.unsupported, "act_type \"\(type)\" is not supported")
    }
  }

  private func pooling(_ attributes: inout MXNetAttributes) throws(GraphError) -> Operation.Pooling {
    attributes.ignore("cudnn_off", "p_value")
    try attributes.require("layout", "None", "NCHW")
    let kinds: [String: Operation.Pooling.Kind] = ["max": .max, "avg": .average, "sum": .sum]
    let kindText = attributes.text("pool_type") ?? "max"
    guard let kind = kinds[kindText] else {
      throw attributes.error(.unsupported, "pool_type \"\(kindText)\" is not supported")
    }
    let conventions: [String: Operation.Pooling.Convention] = ["valid": .valid, "full": .full]
    let conventionText = attributes.text("pooling_convention") ?? "valid"
    guard let convention = conventions[conventionText] else {
      throw attributes.error(.unsupported, "pooling_convention \"\(conventionText)\" is not supported")
    }
    return Operation.Pooling(
      kind, kernel: try attributes.extent("kernel"), stride: try attributes.extent("stride") ?? 1,
      pad: NetworkGraph.Padding(try attributes.extent("pad") ?? 0),
      isGlobal: try attributes.flag("global_pool") ?? false, convention: convention,
      countsPadding: try attributes.flag("count_include_pad") ?? true)
  }

  private func reshape(_ attributes: inout MXNetAttributes) throws(GraphError) -> [Operation.ReshapeTarget] {
    try attributes.require("reverse", "False")
    attributes.ignore("keep_highest")
    // target_shape is the form of MXNet 0.5; an all-zero one means that it is not used.
    let old = try attributes.integers("target_shape")
    guard let codes = try attributes.integers("shape"), !codes.isEmpty else {
      throw attributes.error(
        .unsupported, old == nil ? "has no shape" : "the obsolete target_shape is not supported")
    }
    var targets: [Operation.ReshapeTarget] = []
    var index = 0
    while index < codes.count {
      switch codes[index] {
      case 0: targets.append(.keep)
      case -1: targets.append(.infer)
      case -2: targets.append(.keepRest)
      case -3: targets.append(.merge)
      case -4:
        guard index + 2 < codes.count else { throw attributes.error(.invalid, "-4 in shape needs two numbers") }
        targets.append(.split(codes[index + 1], codes[index + 2]))
        index += 2
      case let size:
        guard size > 0 else { throw attributes.error(.invalid, "shape holds \(size)") }
        targets.append(.size(size))
      }
      index += 1
    }
    return targets
  }

  /// The axis of a softmax over everything but the batch, which is an axis only where there is one other.
  private func flatAxis(_ attributes: MXNetAttributes, _ inputs: [Value]) throws(GraphError) -> Int {
    let shape = shapes[inputs[0].node]
    guard shape.rank == 2 || shape.dimensions.dropFirst(2).allSatisfy({ $0 == 1 }) else {
      throw attributes.error(.unsupported, "a softmax over all of \(shape) but the batch is not supported")
    }
    return 1
  }
}
