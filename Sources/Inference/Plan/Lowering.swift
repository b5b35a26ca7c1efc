/// Turns a graph into layers: batch norms and scalar arithmetic go into the weights of their neighbours, activations and
/// additions into the epilogue of what comes before them, attention becomes one layer.
///
/// Shapes are those of one input size, so that "equal shapes" means equal.
struct Lowering {
  private let graph: NetworkGraph
  private let shapes: NetworkGraph.Shapes
  private let parameters: [String: [Float]]

  private(set) var layers: [Layer] = []
  /// Indices of `layers` in the order in which they run.
  private(set) var order: [Int] = []
  private(set) var outputs: [Int] = []
  /// The layer that gives a node's value.
  private var layer: [Int]
  /// Whether a node's value is used once, by the node at hand.
  private var isExclusive: [Bool]

  /// - Parameter parameters: the graph's weights by name.
  init(
    _ graph: NetworkGraph, shapes: NetworkGraph.Shapes, parameters: [String: [Float]], fuses: Bool = true
  ) throws(GraphError) {
    self.graph = graph
    self.shapes = shapes
    self.parameters = parameters
    var uses = [Int](repeating: 0, count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() {
      // A crop to the size that is there reads nothing of what it is to be like.
      for input in Self.isWhole(index, graph, shapes) ? Array(node.inputs.prefix(1)) : node.inputs {
        uses[input.node] += 1
      }
    }
    for output in graph.outputs { uses[output.node] += 1 }
    layer = [Int](repeating: -1, count: graph.nodes.count)
    isExclusive = uses.map { fuses && $0 == 1 }
    for index in graph.nodes.indices { try lower(index) }
    outputs = graph.outputs.map { layer[$0.node] }
    removeUnused()
  }

  private mutating func lower(_ index: Int) throws(GraphError) {
    let node = graph.nodes[index]
    let shape = shapes.outputs[index]
    let source = node.inputs.first?.node ?? index
    let inference = ShapeInference(node: node.name, operation: node.operation)
    var other: Layer {
      Layer(kind: .operation(node), inputs: node.inputs.map { layer[$0.node] }, shape: shape, name: node.name)
    }
    switch node.operation {
    case .input: append(Layer(kind: .input(nil), inputs: [], shape: shape, name: node.name), for: index)
    case .parameter:
      append(Layer(kind: .constant(node.parameters[0]), inputs: [], shape: shape, name: node.name), for: index)
    // Where nothing is trained, no token was taken away.
    case .dropout, .identity, .dropPath, .tokenMask, .tokenRestore: pass(index, source)
    case .crop where Self.isWhole(index, graph, shapes): pass(index, source)
    case .scalar(let scalar):
      if let affine = scalar.affine {
        apply(.uniform(affine.scale, affine.offset), axis: min(1, max(0, shape.rank - 1)), index, source)
      } else {
        append(other, for: index)
      }
    case .batchNorm(let batchNorm):
      let axis = try inference.resolve(axis: batchNorm.axis, rank: shape.rank)
      let values = try node.parameters.map { name throws(GraphError) in try self.values(name, node) }
      var affine = ChannelAffine(scale: [], shift: [])
      for channel in values[0].indices {
        let gamma = batchNorm.fixGamma ? 1 : Double(values[0][channel])
        let scale = gamma / (Double(values[3][channel]) + batchNorm.epsilon).squareRoot()
        affine.scale.append(scale)
        affine.shift.append(Double(values[1][channel]) - Double(values[2][channel]) * scale)
      }
      apply(affine, axis: axis, index, source)
    case .prelu:
      activate(.slope(try values(node.parameters[0], node)), index, source)
    case .activation(let activation):
      switch activation {
      case .relu: activate(.relu, index, source)
      case .leakyRelu(let slope): activate(.slope([Float(slope)]), index, source)
      case .clip(let low, let high): activate(.clip(Float(low), Float(high)), index, source)
      default: append(other, for: index)
      }
    case .elementwise(let elementwise):
      if elementwise.kind == .add, addResidual(index, node) { return }
      append(other, for: index)
    case .reshape:
      // Its inner nodes are in the list already; what nobody reads is taken out at the end.
      if let pattern = AttentionPattern(endingAt: index, in: graph, shapes: shapes, isExclusive: isExclusive) {
        let inputs = pattern.parts.map { layer[$0.node] }
        append(Layer(kind: .attention(pattern), inputs: inputs, shape: shape, name: node.name), for: index)
      } else {
        append(other, for: index)
      }
    case .convolution, .deconvolution, .fullyConnected:
      append(product(index, node), for: index)
    default: append(other, for: index)
    }
  }

  /// Lets a node's value be that of its input.
  private mutating func pass(_ index: Int, _ source: Int) {
    layer[index] = layer[source]
    isExclusive[index] = isExclusive[index] && isExclusive[source]
  }

  /// Whether a node is a crop that takes nothing away.
  private static func isWhole(_ index: Int, _ graph: NetworkGraph, _ shapes: NetworkGraph.Shapes) -> Bool {
    guard case .crop = graph.nodes[index].operation, let source = graph.nodes[index].inputs.first else { return false }
    return shapes.outputs[index] == shapes.outputs[source.node]
  }

  private func values(_ name: String, _ node: NetworkGraph.Node) throws(GraphError) -> [Float] {
    guard let values = parameters[name] else {
      throw GraphError(
        .missingWeight, node: node.name, operation: node.operation.name, message: "there is no \"\(name)\"")
    }
    return values
  }

  private mutating func append(_ new: Layer, for index: Int) {
    layer[index] = layers.count
    order.append(layers.count)
    layers.append(new)
  }

  /// Lets a layer stand for a further node.
  private mutating func extend(_ target: Int, to index: Int) {
    layer[index] = target
    layers[target].shape = shapes.outputs[index]
    layers[target].name = graph.nodes[index].name
  }

  // MARK: Folding

  private mutating func apply(_ affine: ChannelAffine, axis: Int, _ index: Int, _ source: Int) {
    let target = layer[source]
    let before = layers[target]
    let isUniform = affine.scale.count == 1
    if isExclusive[source], before.epilogue.activation == nil, before.epilogue.residual == nil {
      switch before.kind {
      case .product(var product) where isUniform || (axis == 1 && Self.hasChannelAxis(before.shape)):
        product.after = product.after?.then(affine) ?? affine
        product.key += "|" + graph.nodes[index].name
        layers[target].kind = .product(product)
        return extend(target, to: index)
      case .affine(let first, let own) where isUniform || own == axis || first?.scale.count == 1:
        layers[target].kind = .affine(first?.then(affine) ?? affine, axis: isUniform ? own : axis)
        return extend(target, to: index)
      case .input(let first) where before.shape.rank == 4 && (isUniform || axis == 1):
        layers[target].kind = .input(first?.then(affine) ?? affine)
        layer[index] = target
        return
      default: break
      }
    }
    append(
      Layer(
        kind: .affine(affine, axis: axis), inputs: [target], shape: shapes.outputs[index], name: graph.nodes[index].name
      ), for: index)
  }

  private static func hasChannelAxis(_ shape: NetworkGraph.Shape) -> Bool { shape.rank == 4 || shape.rank == 2 }

  private mutating func activate(_ activation: LayerEpilogue.Activation, _ index: Int, _ source: Int) {
    let target = layer[source]
    var isUniform = true
    if case .slope(let slopes) = activation { isUniform = slopes.count == 1 }
    if isExclusive[source], layers[target].epilogue.activation == nil {
      let isFit: Bool
      switch layers[target].kind {
      case .product: isFit = isUniform || Self.hasChannelAxis(layers[target].shape)
      case .affine(_, let axis): isFit = isUniform || axis == 1
      case .operation(let node) where isUniform && activateParts(activation, of: node):
        return extend(target, to: index)
      default: isFit = false
      }
      if isFit {
        layers[target].epilogue.activation = activation
        return extend(target, to: index)
      }
    }
    let shape = shapes.outputs[index]
    var new = Layer(
      kind: .affine(nil, axis: min(1, max(0, shape.rank - 1))), inputs: [target], shape: shape,
      name: graph.nodes[index].name)
    new.epilogue.activation = activation
    append(new, for: index)
  }

  /// Activates the parts of a concatenation, where all are products that nobody else reads, in place of the whole.
  private mutating func activateParts(_ activation: LayerEpilogue.Activation, of node: NetworkGraph.Node) -> Bool {
    guard case .concat = node.operation else { return false }
    let parts = node.inputs.map(\.node)
    guard
      parts.allSatisfy({
        guard case .product = layers[layer[$0]].kind else { return false }
        return isExclusive[$0] && layers[layer[$0]].epilogue.activation == nil
      })
    else { return false }
    for part in parts { layers[layer[part]].epilogue.activation = activation }
    return true
  }

  /// Makes an addition of equal shapes the epilogue of the later of its operands.
  private mutating func addResidual(_ index: Int, _ node: NetworkGraph.Node) -> Bool {
    let sources = node.inputs.map(\.node)
    let shape = shapes.outputs[index]
    guard sources.allSatisfy({ shapes.outputs[$0] == shape }) else { return false }
    let candidates = [(sources[0], sources[1]), (sources[1], sources[0])].filter { mine, other in
      guard isExclusive[mine], layer[mine] != layer[other], layers[layer[mine]].epilogue.residual == nil else {
        return false
      }
      switch layers[layer[mine]].kind {
      case .product: return true
      case .affine: return true
      default: return false
      }
    }
    guard let (mine, other) = candidates.max(by: { layer[$0.0] < layer[$1.0] }) else { return false }
    let target = layer[mine]
    layers[target].epilogue.residual = layer[other]
    layers[target].epilogue.addsFirst = layers[target].epilogue.activation == nil
    // It must now run after what it adds.
    order.removeAll { $0 == target }
    order.append(target)
    extend(target, to: index)
    return true
  }

  private func product(_ index: Int, _ node: NetworkGraph.Node) -> Layer {
    let input = layer[node.inputs[0].node]
    var product = Layer.Product(node: node, key: node.name)
    var source = input
    if case .fullyConnected(let connected) = node.operation, connected.flatten {
      // The merged elements lie in another order here, which their weights can follow.
      if case .operation(let flatten) = layers[source].kind, flatten.operation == .flatten,
        layers[layers[source].inputs[0]].shape.rank == 4
      {
        source = layers[source].inputs[0]
      }
      if layers[source].shape.rank == 4 { product.mergedChannels = layers[source].shape[1].fixed }
    }
    let before = layers[source]
    if case .affine(let affine?, let axis) = before.kind, before.epilogue.activation == nil,
      before.epilogue.residual == nil, axis == 1 || affine.scale.count == 1, Self.hasChannelAxis(before.shape),
      let channels = before.shape[1].fixed
    {
      let needsPadding: Bool
      switch node.operation {
      case .convolution(let convolution): needsPadding = convolution.pad != 0
      case .deconvolution: needsPadding = true
      default: needsPadding = false
      }
      if !needsPadding || affine.padding(channels) != nil {
        product.before = affine
        product.key += "|<" + before.name
        source = before.inputs[0]
      }
    }
    return Layer(kind: .product(product), inputs: [source], shape: shapes.outputs[index], name: node.name)
  }

  private mutating func removeUnused() {
    var isUsed = [Bool](repeating: false, count: layers.count)
    for output in outputs { isUsed[output] = true }
    for index in order.reversed() where isUsed[index] {
      for read in layers[index].reads { isUsed[read] = true }
    }
    order.removeAll { !isUsed[$0] }
  }
}
