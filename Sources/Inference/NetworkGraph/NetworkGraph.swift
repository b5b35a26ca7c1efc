import Formats

/// A network as a value: operations in topological order, the names of their learned parameters, the parameters'
/// values as far as they are known, and what the network expects and gives (`preprocessing`).
///
/// It is the one definition behind every use: a model class writes itself out as a graph, files are exported from and
/// imported into it, and the plan that runs a network is made of it.
public struct NetworkGraph: Sendable {
  /// The output of a node, as another node or the network's output list refers to it.
  public struct Value: Sendable, Hashable {
    /// Index into `nodes`.
    public var node: Int

    /// The output of a node.
    public init(node: Int) { self.node = node }
  }

  /// One operation of the network.
  public struct Node: Sendable, Hashable {
    /// The node's name, unique in the graph.
    public var name: String
    /// What it computes.
    public var operation: Operation
    /// The tensors it takes.
    public var inputs: [Value]
    /// The names of its learned parameters, one for each of `operation.parameterRoles`, in that order.
    public var parameters: [String]

    /// Makes a node; parameters get MXNet's names, the node's name and the role's suffix, unless given.
    public init(name: String, operation: Operation, inputs: [Value] = [], parameters: [String]? = nil) {
      self.name = name
      self.operation = operation
      self.inputs = inputs
      self.parameters = parameters ?? operation.parameterRoles.map { name + $0.suffix }
    }
  }

  /// A learned parameter with what the graph knows of it.
  public struct Parameter: Sendable, Hashable {
    /// The name under which weights and files hold it.
    public var name: String
    /// What it is to its operation.
    public var role: ParameterRole
    /// Its shape; none depends on the batch size.
    public var shape: [Int]
    /// Index of the first node that uses it.
    public var node: Int

    /// Whether MXNet files it under `aux:` rather than `arg:`.
    public var isAuxiliary: Bool { role.isAuxiliary }
    /// Number of elements.
    public var count: Int { shape.reduce(1, *) }
  }

  /// The operations; inputs refer to earlier ones only.
  public private(set) var nodes: [Node]
  /// What the network gives.
  public private(set) var outputs: [Value]
  /// Values of the learned parameters by name, perhaps not of all: `checkWeights()` tells.
  public var weights: [String: StoredTensor]
  /// What turns an image into the input; nil where unknown.
  public var preprocessing: Preprocessing?

  /// Makes a graph and checks its structure; `inferShapes()` checks the shapes.
  ///
  /// - Throws: `GraphError.invalid` for a reference that is not to an earlier node, a wrong number of inputs or
  ///   parameters, a name used twice, a number out of range, or no output.
  public init(
    nodes: [Node], outputs: [Value], weights: [String: StoredTensor] = [:], preprocessing: Preprocessing? = nil
  ) throws(GraphError) {
    self.nodes = nodes
    self.outputs = outputs
    self.weights = weights
    self.preprocessing = preprocessing
    try checkStructure()
  }

  /// The node with this name.
  public func node(named name: String) -> Node? { nodes.first { $0.name == name } }

  /// The network's inputs with their declared shapes.
  public var inputs: [(name: String, shape: Shape)] {
    nodes.compactMap { node in
      if case .input(let shape) = node.operation { (node.name, shape) } else { nil }
    }
  }

  /// The names of the output nodes.
  public var outputNames: [String] { outputs.map { nodes[$0.node].name } }

  /// Whether both graphs have the same nodes, names and outputs, whatever their weights.
  public func hasSameStructure(as other: NetworkGraph) -> Bool {
    nodes == other.nodes && outputs == other.outputs
  }

  private func checkStructure() throws(GraphError) {
    var names: Set<String> = []
    for (index, node) in nodes.enumerated() {
      func fail(_ message: String) -> GraphError {
        GraphError(.invalid, node: node.name, operation: node.operation.name, message: message)
      }
      guard !node.name.isEmpty else { throw fail("node \(index) has no name") }
      guard names.insert(node.name).inserted else { throw fail("the name is used twice") }
      for input in node.inputs where input.node < 0 || input.node >= index {
        throw fail("takes node \(input.node), which does not come before it (this is node \(index))")
      }
      guard node.operation.inputCounts.contains(node.inputs.count) else {
        throw fail("takes \(node.operation.inputCounts) tensors, not \(node.inputs.count)")
      }
      guard node.parameters.count == node.operation.parameterRoles.count else {
        throw fail("has \(node.operation.parameterRoles.count) parameters, not \(node.parameters.count)")
      }
      if let name = node.parameters.first(where: \.isEmpty) { throw fail("a parameter has no name: \"\(name)\"") }
      if let problem = node.operation.firstProblem { throw fail(problem) }
    }
    guard !outputs.isEmpty else { throw GraphError(.invalid, message: "the graph has no output") }
    for output in outputs where !nodes.indices.contains(output.node) {
      throw GraphError(.invalid, message: "an output refers to node \(output.node) of \(nodes.count)")
    }
  }

  /// Indices of the nodes that the outputs need, each after what it takes, in the order of a depth-first walk: the
  /// order in which MXNet lists and numbers them.
  public func depthFirstOrder() -> [Int] {
    var order: [Int] = []
    var isDone = [Bool](repeating: false, count: nodes.count)
    for output in outputs {
      // An explicit stack: networks are deep, and thread stacks are not.
      var stack: [(node: Int, nextInput: Int)] = [(output.node, 0)]
      while let (node, next) = stack.last {
        if isDone[node] {
          stack.removeLast()
        } else if next < nodes[node].inputs.count {
          stack[stack.count - 1].nextInput += 1
          let input = nodes[node].inputs[next].node
          if !isDone[input] { stack.append((input, 0)) }
        } else {
          isDone[node] = true
          order.append(node)
          stack.removeLast()
        }
      }
    }
    return order
  }

  /// The same graph with its nodes in depth-first order, without those that no output needs.
  public func ordered() throws(GraphError) -> NetworkGraph {
    let order = depthFirstOrder()
    var newIndex = [Int](repeating: -1, count: nodes.count)
    for (new, old) in order.enumerated() { newIndex[old] = new }
    let ordered = order.map { old in
      var node = nodes[old]
      node.inputs = node.inputs.map { Value(node: newIndex[$0.node]) }
      return node
    }
    return try NetworkGraph(
      nodes: ordered, outputs: outputs.map { Value(node: newIndex[$0.node]) }, weights: weights,
      preprocessing: preprocessing)
  }

  // MARK: Parameters

  /// The learned parameters, each once, in the order in which MXNet lists them; trainable ones and running statistics
  /// together as their nodes name them.
  ///
  /// - Throws: `GraphError` as `inferShapes()`, and `.shape` where two nodes share a name but not a shape.
  public func parameters() throws(GraphError) -> [Parameter] {
    let shapes = try inferShapes()
    var parameters: [Parameter] = []
    var known: [String: Int] = [:]
    for index in depthFirstOrder() {
      let node = nodes[index]
      for (name, (role, shape)) in zip(node.parameters, zip(node.operation.parameterRoles, shapes.parameters[index])) {
        if let first = known[name] {
          guard parameters[first].shape == shape, parameters[first].isAuxiliary == role.isAuxiliary else {
            throw GraphError(
              .shape, node: node.name, operation: node.operation.name,
              message: "needs \"\(name)\" in shape \(shape), but node \"\(nodes[parameters[first].node].name)\" "
                + "uses the same name in shape \(parameters[first].shape)")
          }
        } else {
          known[name] = parameters.count
          parameters.append(Parameter(name: name, role: role, shape: shape, node: index))
        }
      }
    }
    return parameters
  }

  /// Input and trainable parameter names in the order of MXNet's `list_arguments`.
  public func argumentNames() -> [String] {
    names { node in
      if case .input = node.operation { return [node.name] }
      return zip(node.parameters, node.operation.parameterRoles).filter { !$0.1.isAuxiliary }.map(\.0)
    }
  }

  /// Names of the running statistics in the order of MXNet's `list_auxiliary_states`.
  public func auxiliaryNames() -> [String] {
    names { node in zip(node.parameters, node.operation.parameterRoles).filter { $0.1.isAuxiliary }.map(\.0) }
  }

  private func names(of list: (Node) -> [String]) -> [String] {
    var seen: Set<String> = []
    return depthFirstOrder().flatMap { list(nodes[$0]) }.filter { seen.insert($0).inserted }
  }

  /// Number of elements of all learned parameters.
  public func parameterCount() throws(GraphError) -> Int {
    try parameters().reduce(0) { $0 + $1.count }
  }

  /// Checks that every parameter has a weight of its shape.
  ///
  /// - Throws: `GraphError.missingWeight` with the names that are absent, `.mismatch` with both shapes.
  public func checkWeights() throws(GraphError) {
    let parameters = try parameters()
    let missing = parameters.filter { weights[$0.name] == nil }.map(\.name)
    guard missing.isEmpty else {
      throw GraphError(.missingWeight, message: "\(missing.count) weights are missing: " + Self.listing(missing))
    }
    for parameter in parameters {
      guard let tensor = weights[parameter.name], tensor.shape != parameter.shape else { continue }
      throw GraphError(
        .mismatch, node: nodes[parameter.node].name, operation: nodes[parameter.node].operation.name,
        message: "weight \"\(parameter.name)\" must have shape \(parameter.shape), found \(tensor.shape)")
    }
  }

  /// The first few names of a list, for messages.
  static func listing(_ names: [String]) -> String {
    names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
  }
}

extension NetworkGraph.Operation {
  /// Sizes, strides and the like beyond this are refused, so that shape arithmetic cannot overflow.
  static let largestNumber = 1 << 24

  /// A number that no operation of this kind can have; nil where all are sound.
  var firstProblem: String? {
    var check = Check()
    switch self {
    case .input(let shape):
      check.atMost(8, "dimensions", shape.rank)
      for dimension in shape.dimensions {
        switch dimension {
        case .fixed(let size), .batch(let size): check.positive("dimension", size)
        }
      }
    case .parameter(let shape):
      check.atMost(8, "dimensions", shape.count)
      for size in shape { check.positive("dimension", size) }
    case .scalar(let scalar): check.finite("the constant", scalar.value)
    case .convolution(let c):
      check.window(c.kernel, c.stride, c.pad, c.dilation)
      check.groups(c.groups, filters: c.filters)
    case .deconvolution(let d):
      check.window(d.kernel, d.stride, d.pad, d.dilation)
      check.groups(d.groups, filters: d.filters)
      check.natural("output padding", d.outputPadding.height, d.outputPadding.width)
      check.require(
        d.outputPadding.height < d.stride.height && d.outputPadding.width < d.stride.width,
        "output padding \(d.outputPadding) must be smaller than stride \(d.stride)")
    case .fullyConnected(let f): check.positive("units", f.units)
    case .batchNorm(let b):
      check.finite("momentum", b.momentum)
      check.axis(b.axis)
      check.require(b.epsilon.isFinite && b.epsilon >= 0, "epsilon is \(b.epsilon), must not be negative")
    case .activation(let activation):
      switch activation {
      case .leakyRelu(let slope), .elu(let slope): check.finite("slope", slope)
      case .clip(let low, let high): check.require(low <= high, "limits \(low) and \(high) are not in order")
      case .relu, .sigmoid, .tanh, .softplus, .softsign, .squareRoot, .gelu: break
      }
    case .pooling(let p):
      if p.isGlobal { break }
      guard let kernel = p.kernel else { return "has no kernel, and is not global" }
      check.window(kernel, p.stride, p.pad, 1)
      check.require(
        max(p.pad.top, p.pad.bottom) < kernel.height && max(p.pad.left, p.pad.right) < kernel.width,
        "pad \(p.pad) must be smaller than kernel \(kernel)")
    case .layerNorm(let l):
      check.axis(l.axis)
      check.require(l.epsilon.isFinite && l.epsilon >= 0, "epsilon is \(l.epsilon), must not be negative")
    case .softmax(let axis), .concat(let axis): check.axis(axis)
    case .l2Normalize(let l):
      check.require(l.epsilon.isFinite && l.epsilon >= 0, "epsilon is \(l.epsilon), must not be negative")
    case .dropout(let rate), .dropPath(let rate), .tokenMask(let rate):
      check.require(rate >= 0 && rate < 1, "rate is \(rate), must be in [0, 1)")
    case .reshape(let targets):
      check.atMost(16, "targets", targets.count)
      check.require(targets.filter { $0 == .infer }.count <= 1, "more than one dimension is to be inferred")
      for target in targets {
        switch target {
        case .size(let size): check.positive("dimension", size)
        case .split(let first, let second):
          check.require(first != -1 || second != -1, "both parts of a split are to be inferred")
          for part in [first, second] where part != -1 { check.positive("part of a split", part) }
        case .keep, .infer, .keepRest, .merge: break
        }
      }
    case .transpose(let permutation):
      check.atMost(8, "dimensions", permutation.count)
      check.require(
        permutation.sorted() == Array(permutation.indices), "\(permutation) is not a permutation of the dimensions")
    case .slice(let s):
      check.axis(s.axis)
      check.within(-Self.largestNumber...Self.largestNumber, "begin or end", s.begin, s.end ?? 0)
    case .crop(let c):
      check.natural("offset", c.offset.height, c.offset.width)
      if let size = c.size { check.positive("size", size.height, size.width) }
    case .upsampleNearest(let scale): check.within(1...256, "scale", scale)
    case .reduction(let reduction):
      check.atMost(8, "axes", reduction.axes.count)
      for axis in reduction.axes { check.axis(axis) }
    case .tile(let repetitions):
      check.atMost(8, "dimensions", repetitions.count)
      for repetition in repetitions { check.positive("repetition", repetition) }
    case .elementwise, .prelu, .identity, .flatten, .matmul, .tokenRestore: break
    }
    return check.problem
  }

  /// Collects the first of several conditions that does not hold.
  private struct Check {
    var problem: String?

    mutating func require(_ condition: Bool, _ message: @autoclosure () -> String) {
      if problem == nil, !condition { problem = message() }
    }

    mutating func within(_ range: ClosedRange<Int>, _ what: String, _ numbers: Int...) {
      for number in numbers {
        require(
          range.contains(number), "\(what) is \(number), must be in \(range.lowerBound) … \(range.upperBound)")
      }
    }

    mutating func positive(_ what: String, _ numbers: Int...) {
      for number in numbers { within(1...NetworkGraph.Operation.largestNumber, what, number) }
    }

    mutating func natural(_ what: String, _ numbers: Int...) {
      for number in numbers { within(0...NetworkGraph.Operation.largestNumber, what, number) }
    }

    mutating func atMost(_ limit: Int, _ what: String, _ count: Int) {
      require(count <= limit, "has \(count) \(what), at most \(limit) are supported")
    }

    mutating func axis(_ axis: Int) { within(-8...7, "axis", axis) }

    mutating func finite(_ what: String, _ number: Double) { require(number.isFinite, "\(what) is \(number)") }

    mutating func window(
      _ kernel: NetworkGraph.Extent, _ stride: NetworkGraph.Extent, _ pad: NetworkGraph.Padding,
      _ dilation: NetworkGraph.Extent
    ) {
      positive("kernel", kernel.height, kernel.width)
      positive("stride", stride.height, stride.width)
      natural("pad", pad.top, pad.left, pad.bottom, pad.right)
      positive("dilation", dilation.height, dilation.width)
    }

    mutating func groups(_ groups: Int, filters: Int) {
      positive("filters", filters)
      positive("groups", groups)
      require(groups < 1 || filters % groups == 0, "\(filters) filters do not divide into \(groups) groups")
    }
  }
}
