import CKernels

/// A plan for one size of input: calls of kernels and the layout of the workspace.
struct SizedPlan: Sendable {
  /// The calls in order.
  let steps: [PlanStep]
  /// Floats of the workspace.
  let arenaCount: Int
  /// Samples that a pass can take.
  let capacity: Int
  /// Whether samples do not depend on each other, so that a batch may be cut into passes.
  let isSplittable: Bool
  /// Shapes of the graph's inputs, in order.
  let inputShapes: [NetworkGraph.Shape]
  /// Places and shapes of the graph's outputs, in order.
  let outputs: [(place: PlanPlace, shape: NetworkGraph.Shape)]

  /// - Parameters:
  ///   - inputShapes: shape of each input by name, with a symbolic batch where samples may be independent.
  ///   - batch: the batch at hand; the plan serves every batch where samples are independent.
  init(
    _ graph: NetworkGraph, inputShapes: [String: NetworkGraph.Shape], batch: Int, parameters: [String: [Float]],
    weights: PackedWeights, options: InferencePlan.Options, capacity: Int, workers: Int
  ) throws(GraphError) {
    var shapes = try graph.inferShapes(inputShapes: inputShapes)
    var lowering = try Lowering(graph, shapes: shapes, parameters: parameters)
    isSplittable = Self.isSplittable(graph, shapes)
    if !isSplittable {
      var fixed: [String: NetworkGraph.Shape] = [:]
      for (name, shape) in inputShapes {
        guard let sizes = shape.sizes(batch: batch) else {
          throw GraphError(
            .tooLarge, node: name, operation: "input", message: "\(shape) is too large for \(batch) samples")
        }
        fixed[name] = NetworkGraph.Shape(fixed: sizes)
      }
      shapes = try graph.inferShapes(inputShapes: fixed)
      lowering = try Lowering(graph, shapes: shapes, parameters: parameters)
    }
    try Self.checkParameters(graph, shapes, parameters)
    self.capacity = isSplittable ? capacity : batch
    let inputs = graph.inputs.map(\.name)
    let compiler = try PlanCompiler(
      lowering, parameters: parameters, weights: weights, options: options, capacity: self.capacity, workers: workers,
      inputNames: inputs)
    steps = compiler.steps
    arenaCount = compiler.arenaCount
    outputs = lowering.outputs.map { (compiler.places[$0], lowering.layers[$0].shape) }
    self.inputShapes = graph.nodes.indices.compactMap { index in
      if case .input = graph.nodes[index].operation { shapes.outputs[index] } else { nil }
    }
  }

  private static func checkParameters(
    _ graph: NetworkGraph, _ shapes: NetworkGraph.Shapes, _ parameters: [String: [Float]]
  ) throws(GraphError) {
    for (index, node) in graph.nodes.enumerated() {
      for (name, shape) in zip(node.parameters, shapes.parameters[index])
      where parameters[name]?.count != shape.reduce(1, *) {
        throw GraphError(
          .mismatch, node: node.name, operation: node.operation.name,
          message: "these input shapes need weight \"\(name)\" in shape \(shape)")
      }
    }
  }

  /// Whether every tensor is N samples one after the other and no operation looks across them.
  private static func isSplittable(_ graph: NetworkGraph, _ shapes: NetworkGraph.Shapes) -> Bool {
    var isConstant = [Bool](repeating: false, count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() {
      let shape = shapes.outputs[index]
      let rank = shape.rank
      switch node.operation {
      case .parameter: isConstant[index] = true
      case .input: break
      default: isConstant[index] = node.inputs.allSatisfy { isConstant[$0.node] }
      }
      if isConstant[index] {
        // An output without samples cannot be put together from passes.
        if graph.outputs.contains(where: { $0.node == index }) { return false }
        continue
      }
      guard rank >= 1, shape[0] == .n, shape.dimensions.dropFirst().allSatisfy({ $0.fixed != nil }) else {
        return false
      }
      func isFirst(_ axis: Int) -> Bool { axis == 0 || axis == -rank }
      switch node.operation {
      case .softmax(let axis), .concat(let axis): if isFirst(axis) { return false }
      case .slice(let slice): if isFirst(slice.axis) { return false }
      case .layerNorm(let norm): if isFirst(norm.axis) { return false }
      // Of two matrices the second goes whole into every sample.
      case .matmul: if rank < 3 && !isConstant[node.inputs[1].node] { return false }
      case .batchNorm(let batchNorm): if isFirst(batchNorm.axis) { return false }
      case .transpose(let permutation): if permutation.first != 0 && rank > 1 { return false }
      case .input, .parameter, .scalar, .elementwise, .convolution, .deconvolution, .fullyConnected, .activation,
        .prelu,
        .pooling, .l2Normalize, .dropout, .dropPath, .tokenMask, .tokenRestore, .identity, .flatten, .reshape, .crop,
        .upsampleNearest:
        break
      // Whether another operation keeps samples apart is not known here.
      default: return false
      }
    }
    return true
  }

  /// Runs one pass.
  func run(_ run: PlanRun) {
    if let clock = run.clock { return clock.run(steps, run) }
    for step in steps { step(run) }
  }

  /// Writes an output of a pass in C order.
  func copyOutput(_ index: Int, _ run: PlanRun, to target: UnsafeMutablePointer<Float>) {
    let (place, shape) = outputs[index]
    let sizes = PlanCompiler.sizes(shape, batch: run.batch)
    PlanLayout.copy(
      sizes, from: place.pointer(run), PlanLayout.strides(sizes), to: target, PlanLayout.plainStrides(sizes),
      order: Array(sizes.indices))
  }
}
