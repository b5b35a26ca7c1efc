import Formats

/// A network read from an ONNX model, and what of the file it did not need.
public struct ONNXImport: Sendable {
  /// The network with its weights.
  public var graph: NetworkGraph
  /// Initializers that nothing on the way to the outputs uses.
  public var unusedWeights: [String]
  /// The licence note of the file.
  public var license: String?

  /// How a model is read.
  public struct Options: Sendable {
    /// Height and width of image inputs; needed where the file leaves them open, and wins over what it says.
    public var inputSize: NetworkGraph.Extent?
    /// Shapes of the inputs by name, which win over everything else.
    public var inputShapes: [String: NetworkGraph.Shape]
    /// The tensors to cut the network at; nil takes the file's outputs.
    public var outputs: [String]?
    /// Preprocessing where the file does not carry it.
    public var preprocessing: Preprocessing?

    /// Options.
    public init(
      inputSize: NetworkGraph.Extent? = nil, inputShapes: [String: NetworkGraph.Shape] = [:],
      outputs: [String]? = nil, preprocessing: Preprocessing? = nil
    ) {
      self.inputSize = inputSize
      self.inputShapes = inputShapes
      self.outputs = outputs
      self.preprocessing = preprocessing
    }
  }
}

extension NetworkGraph {
  /// Reads a network from an ONNX model.
  ///
  /// Node and weight names stay those of the file, outputs bear their tensors' names. What follows from constants and
  /// shapes alone is worked out; an open first dimension becomes the batch size. Weights become single precision.
  ///
  /// - Throws: `GraphError`: `.unsupported` with all operators that have no counterpart, or with the node whose form has
  ///   none; `.shape` for inputs of unknown size; `.invalid`, `.mismatch`.
  public static func importing(
    _ model: ONNXModel, options: ONNXImport.Options = ONNXImport.Options()
  ) throws(GraphError) -> ONNXImport {
    var reader = try ONNXGraphReader(model: model, options: options)
    return try reader.read()
  }
}

/// What is known of a tensor of the file while its nodes are read.
enum ONNXKnown {
  /// A tensor that the network computes.
  case tensor(NetworkGraph.Value)
  /// A tensor known now.
  case constant(ONNXConstant)
  /// Sizes of which some depend on the batch size: a list, or one alone.
  case sizes([NetworkGraph.Dimension], isScalar: Bool)
  /// A tensor with a border that the next convolution or pooling takes up.
  case padded(NetworkGraph.Value, NetworkGraph.Padding, value: Double)
  /// The square of a tensor; `product` is the node that computes it.
  case square(of: NetworkGraph.Value, product: NetworkGraph.Value)
  /// Σ x² + epsilon along axes; `result` is the node that computes it, which falls out where a normalisation takes over.
  case sumOfSquares(of: NetworkGraph.Value, axes: [Int], epsilon: Double, result: NetworkGraph.Value)
  /// √(Σ x² + epsilon) along axes.
  case norm(of: NetworkGraph.Value, axes: [Int], epsilon: Double, result: NetworkGraph.Value)
  /// A tensor normalised along its last axis, times a row where there is one: a layer normalisation but for what is added.
  case normalised(of: NetworkGraph.Value, epsilon: Double, scale: ONNXConstant?, result: NetworkGraph.Value)
  /// A part of GELU, which no operation computes by itself.
  case gelu(of: NetworkGraph.Value, ONNXGELU)
}

extension ONNXKnown {
  /// Whether it may become a layer normalisation.
  var isNormalised: Bool { if case .normalised = self { true } else { false } }
}

/// The walk over a model that collects nodes and weights.
struct ONNXGraphReader {
  typealias Operation = NetworkGraph.Operation
  typealias Value = NetworkGraph.Value
  typealias Shape = NetworkGraph.Shape
  typealias Dimension = NetworkGraph.Dimension

  let model: ONNXModel
  let options: ONNXImport.Options
  let opset: Int
  private let storedPreprocessing: Preprocessing?

  var nodes: [NetworkGraph.Node] = []
  var shapes: [Shape] = []
  var weights: [String: StoredTensor] = [:]
  /// Those of them that are running statistics.
  private var auxiliaries: Set<String> = []
  private(set) var known: [String: ONNXKnown] = [:]
  /// How many nodes and outputs take each tensor.
  private var uses: [String: Int] = [:]
  /// The tensors of the file that a graph node stands for: a Cast, for one, makes none of its own.
  private var aliases: [Int: [String]] = [:]

  /// The part of `foldedLimit` that is the same for every file: 128 MiB.
  static let foldedAllowance = 1 << 27
  /// Bytes that constants may take which were worked out or brought into another form.
  ///
  /// A few nodes can make gigabytes of nothing. Casting all weights, turning them round and keeping them in single precision
  /// takes less.
  private let foldedLimit: Int
  /// Bytes of them so far.
  var foldedBytes = 0

  private var names: Set<String> = []
  private var initializers: [String: StoredTensor] = [:]
  private var usedInitializers: Set<String> = []
  private var outputNames: [String] = []

  init(
    model: ONNXModel, options: ONNXImport.Options, foldedAllowance: Int = ONNXGraphReader.foldedAllowance
  ) throws(GraphError) {
    self.model = model
    self.options = options
    guard let opset = model.opset, (1...Int(Int32.max)).contains(opset) else {
      throw GraphError(.invalid, message: "the file does not say the version of its operators (opset)")
    }
    self.opset = opset
    var stored = 0
    for initializer in model.graph.initializers { stored += initializer.tensor.bytes.count }
    for case .tensor(let tensor) in model.graph.nodes.lazy.flatMap(\.attributes).map(\.value) {
      stored += tensor.bytes.count
    }
    foldedLimit = foldedAllowance + 8 * stored
    storedPreprocessing = try model[metadata: ONNXMetadata.preprocessing].map {
      (text) throws(GraphError) in try Preprocessing(encoded: text)
    }
    for initializer in model.graph.initializers {
      guard initializers.updateValue(initializer.tensor, forKey: initializer.name) == nil else {
        throw GraphError(.invalid, message: "the tensor \"\(initializer.name)\" is stored twice")
      }
    }
  }

  mutating func read() throws(GraphError) -> ONNXImport {
    outputNames = options.outputs ?? model.graph.outputs.map(\.name)
    guard !outputNames.isEmpty else { throw GraphError(.invalid, message: "the network has no output") }
    let needed = try neededNodes()
    try refuseUnknownOperators(needed)
    for input in model.graph.inputs where initializers[input.name] == nil {
      // An input that nothing takes, a label for example, is none of the network's.
      guard uses[input.name] != nil else { continue }
      let value = try append(
        NetworkGraph.Node(name: input.name, operation: .input(try shape(of: input))))
      learn(input.name, .tensor(value))
    }
    for index in needed {
      try read(model.graph.nodes[index])
      guard foldedBytes <= foldedLimit else {
        throw ONNXAttributes(node: model.graph.nodes[index], opset: opset).error(
          .tooLarge,
          "with it, what is worked out from constants takes \(foldedBytes) bytes, at most \(foldedLimit) are kept",
          advice: "fold the constants where the file is made, for example with onnxsim")
      }
    }
    var outputs: [Value] = []
    for name in outputNames { outputs.append(try output(name)) }
    var graph = try NetworkGraph(nodes: nodes, outputs: outputs).ordered()
    graph.preprocessing = options.preprocessing ?? storedPreprocessing
    for parameter in try graph.parameters() { graph.weights[parameter.name] = weights[parameter.name] }
    try graph.checkWeights()
    let unused = model.graph.initializers.map(\.name).filter { !usedInitializers.contains($0) }
    return ONNXImport(graph: graph, unusedWeights: unused, license: model[metadata: ONNXMetadata.license])
  }

  /// The nodes on the way to the outputs, in the file's order, which must be one in which they can be computed.
  private mutating func neededNodes() throws(GraphError) -> [Int] {
    var makers: [String: Int] = [:]
    for (index, node) in model.graph.nodes.enumerated() {
      for output in node.outputs where !output.isEmpty {
        guard makers.updateValue(index, forKey: output) == nil else {
          throw GraphError(
            .invalid, node: node.name, operation: node.op, message: "makes \"\(output)\", as another does")
        }
      }
    }
    var isNeeded = [Bool](repeating: false, count: model.graph.nodes.count)
    var pending: [Int] = []
    func want(_ name: String) {
      uses[name, default: 0] += 1
      if let maker = makers[name], !isNeeded[maker] {
        isNeeded[maker] = true
        pending.append(maker)
      }
    }
    for name in outputNames {
      guard makers[name] != nil else {
        throw GraphError(
          .unknownName, message: "no node makes the output \"\(name)\"",
          advice: "the file's outputs are " + NetworkGraph.listing(model.graph.outputs.map(\.name)))
      }
      want(name)
    }
    while let index = pending.popLast() {
      for input in model.graph.nodes[index].inputs where !input.isEmpty { want(input) }
    }
    return isNeeded.indices.filter { isNeeded[$0] }
  }

  /// One message with everything that would have to be known.
  private func refuseUnknownOperators(_ needed: [Int]) throws(GraphError) {
    var unknown: [String: [String]] = [:]
    for index in needed {
      let node = model.graph.nodes[index]
      let isOwn = node.domain.isEmpty || node.domain == "ai.onnx"
      if isOwn, Self.operators.contains(node.op) { continue }
      let label = node.name.isEmpty ? node.outputs.first ?? "" : node.name
      unknown[isOwn ? node.op : "\(node.domain).\(node.op)", default: []].append(label)
    }
    guard !unknown.isEmpty else { return }
    let list = unknown.sorted { $0.key < $1.key }.map { entry in
      "\(entry.key) (" + (entry.value.count == 1 ? "" : "\(entry.value.count) nodes, the first ")
        + "\"\(entry.value[0])\")"
    }
    throw GraphError(
      .unsupported, message: "operators without a counterpart here: " + list.joined(separator: ", "),
      advice: "cut the network before them by naming other outputs, or export it without them")
  }

  private func shape(of input: ONNXValueInfo) throws(GraphError) -> Shape {
    if let shape = options.inputShapes[input.name] { return shape }
    guard let declared = input.shape else {
      throw GraphError(
        .shape, node: input.name, operation: "input", message: "the file does not tell the shape of this input",
        advice: "give it among the input shapes")
    }
    var size = options.inputSize
    if size == nil, let preprocessing = options.preprocessing ?? storedPreprocessing {
      size = NetworkGraph.Extent(height: preprocessing.height, width: preprocessing.width)
    }
    var dimensions: [Dimension] = []
    for (axis, dimension) in declared.enumerated() {
      if declared.count == 4, axis >= 2, let wanted = options.inputSize {
        dimensions.append(.fixed(axis == 2 ? wanted.height : wanted.width))
        continue
      }
      switch dimension {
      case .size(let size) where size > 0: dimensions.append(.fixed(size))
      default:
        if axis == 0 {
          dimensions.append(.n)
        } else if declared.count == 4, axis >= 2, let size {
          dimensions.append(.fixed(axis == 2 ? size.height : size.width))
        } else {
          throw GraphError(
            .shape, node: input.name, operation: "input",
            message: "the file leaves dimension \(axis) of this input open",
            advice: declared.count == 4 && axis >= 2
              ? "give the height and width of the images" : "give its shape among the input shapes")
        }
      }
    }
    return Shape(dimensions)
  }

  /// The graph value of an output, whose node takes over the output's name.
  private mutating func output(_ name: String) throws(GraphError) -> Value {
    let value: Value
    switch known[name] {
    case .tensor(let found), .square(_, let found), .sumOfSquares(_, _, _, let found), .norm(_, _, _, let found),
      .normalised(_, _, _, let found):
      value = found
    default:
      throw GraphError(
        .unsupported, message: "the output \"\(name)\" is a constant or half of an operation, not a computed tensor")
    }
    let node = nodes[value.node]
    if node.name == name { return value }
    if case .input = node.operation {
    } else if !outputNames.contains(node.name), names.insert(name).inserted {
      nodes[value.node].name = name
      return value
    }
    return try append(
      NetworkGraph.Node(
        name: unique(name), operation: .identity(stopsGradient: false), inputs: [value]))
  }

  // MARK: What operators are read with

  /// Keeps what is known of a tensor of the file.
  mutating func learn(_ name: String, _ found: ONNXKnown) {
    known[name] = found
    if case .tensor(let value) = found { aliases[value.node, default: []].append(name) }
  }

  /// Whether a single node takes a value, under whichever of its names, so that it may be changed for that node.
  func isUsedOnce(_ value: Value) -> Bool { aliases[value.node, default: []].allSatisfy { uses[$0] == 1 } }

  /// What a node's graph node is called: outputs like their tensor, others like the file's node.
  func baseName(_ node: ONNXNode) -> String {
    let tensor = node.outputs.first ?? ""
    return outputNames.contains(tensor) || node.name.isEmpty ? tensor : node.name
  }

  mutating func unique(_ wanted: String) -> String {
    var name = wanted.isEmpty ? "node" : wanted
    let stem = name
    var number = 1
    while names.contains(name) {
      number += 1
      name = "\(stem)_\(number)"
    }
    return name
  }

  /// Gives a node another name, where that is free.
  mutating func rename(_ value: Value, to name: String) {
    if names.insert(name).inserted { nodes[value.node].name = name }
  }

  @discardableResult
  private mutating func append(_ node: NetworkGraph.Node) throws(GraphError) -> Value {
    names.insert(node.name)
    let result = try ShapeInference(node: node.name, operation: node.operation)
      .infer(node.inputs.map { shapes[$0.node] })
    nodes.append(node)
    shapes.append(result.output)
    return Value(node: nodes.count - 1)
  }

  /// Appends a graph node for a node of the file.
  ///
  /// - Parameters:
  ///   - suffix: what is added to the name of one of several graph nodes; nil for the last.
  ///   - parameters: names of its weights.
  mutating func emit(
    _ operation: Operation, _ inputs: [Value], for node: ONNXNode, suffix: String? = nil, parameters: [String] = []
  ) throws(GraphError) -> Value {
    let name = unique(baseName(node) + (suffix.map { "_" + $0 } ?? ""))
    return try append(
      NetworkGraph.Node(name: name, operation: operation, inputs: inputs, parameters: parameters))
  }

  /// What is known of a node's input; nil where it is left out.
  mutating func input(_ index: Int, of node: ONNXNode) throws(GraphError) -> ONNXKnown? {
    guard index < node.inputs.count, !node.inputs[index].isEmpty else { return nil }
    let name = node.inputs[index]
    if let found = known[name] { return found }
    if let tensor = initializers[name] {
      usedInitializers.insert(name)
      return .constant(ONNXConstant(tensor, name: name))
    }
    throw GraphError(
      .invalid, node: node.name, operation: node.op, message: "takes \"\(name)\", which nothing before it makes")
  }

  /// A node's input as a constant; nil where it is left out.
  mutating func constant(
    _ index: Int, of node: ONNXNode, _ what: String
  ) throws(GraphError) -> ONNXConstant? {
    guard let found = try input(index, of: node) else { return nil }
    guard case .constant(let constant) = found else {
      throw GraphError(
        .unsupported, node: baseName(node), operation: node.op, message: "its \(what) is computed, not a constant")
    }
    return constant
  }

  /// A node's input as a tensor of the network; a constant becomes a parameter node.
  mutating func tensor(_ index: Int, of node: ONNXNode) throws(GraphError) -> Value {
    guard let found = try input(index, of: node) else {
      throw GraphError(.invalid, node: baseName(node), operation: node.op, message: "has no input \(index)")
    }
    return try tensor(found, of: node)
  }

  mutating func tensor(_ found: ONNXKnown, of node: ONNXNode) throws(GraphError) -> Value {
    func unsupported(_ message: String) -> GraphError {
      GraphError(.unsupported, node: baseName(node), operation: node.op, message: message)
    }
    switch found {
    case .tensor(let value), .square(_, let value), .sumOfSquares(_, _, _, let value), .norm(_, _, _, let value),
      .normalised(_, _, _, let value):
      return value
    case .gelu: throw incompleteGELU(node)
    case .constant(let constant):
      guard constant.count > 0 else { throw unsupported("takes an empty constant") }
      let parameter = try register(constant, fallback: baseName(node) + "_constant")
      return try append(
        NetworkGraph.Node(
          name: unique(parameter), operation: .parameter(shape: constant.shape), parameters: [parameter]))
    case .sizes: throw unsupported("computes with the batch size")
    case .padded: throw unsupported("follows a Pad, which only a convolution or a pooling can take up")
    }
  }

  /// Keeps a weight under the name of its initializer and returns the name that it got.
  ///
  /// - Parameter isAuxiliary: whether training updates it without a gradient. Exporters store equal tensors once; statistics
  ///   that equal a weight get a name of their own.
  mutating func register(
    _ constant: ONNXConstant, fallback: String, isAuxiliary: Bool = false
  ) throws(GraphError) -> String {
    var tensor = constant.tensor
    if tensor.dtype != .f32 {
      do {
        tensor = try StoredTensor(shape: tensor.shape, floats: tensor.floats())
      } catch {
        throw GraphError(.mismatch, message: error.message)
      }
    }
    // Two nodes may want one initializer in different forms.
    let stem = constant.name ?? fallback
    var name = stem
    var number = 1
    while let other = weights[name] {
      if other == tensor, auxiliaries.contains(name) == isAuxiliary { return name }
      number += 1
      name = "\(stem)_\(number)"
    }
    weights[name] = tensor
    foldedBytes += tensor.bytes.count
    if isAuxiliary { auxiliaries.insert(name) }
    return name
  }
}
