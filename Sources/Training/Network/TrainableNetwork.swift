import Formats
import Inference
import Torch

/// A network over LibTorch, made of its graph: forward, backward, running statistics.
///
/// The graph is the one definition of a network. Here its operations run one after another under autograd; a batch
/// normalisation, the PReLU and the convolution behind it run as one operation that keeps only its input for the way back.
/// Parameters and buffers carry the graph's names.
///
/// Training uses MXNet's conventions: running = momentum · running + (1 − momentum) · batch, biased variance, a `fixGamma`
/// layer's γ stays 1. Dropout draws from (key, node) alone, so that a step can be repeated: see `dropoutKey`.
public final class TrainableNetwork: Module {
  /// What is run, in the order of execution, without weights.
  public let graph: NetworkGraph
  /// The learned tensors by name, running statistics among them.
  public let tensors: [String: Tensor]
  /// From this number and the node's index dropout draws its mask; the trainer sets it anew for each step.
  public var dropoutKey: UInt64 = 0

  /// Set while a forward pass is repeated for its backward pass: running statistics then stay as they are.
  var isRecomputing = false
  /// Whether batch normalisation, PReLU and convolution run as one operation; if not, they are LibTorch's own, one after
  /// another.
  let isFused: Bool
  /// The type of weights and values: float32, or float64 to compare with.
  let dtype: DType
  /// Where a pass with recomputation is cut.
  private(set) lazy var segments = Segment.cut(graph, steps)

  let steps: [Step]
  let orderedParameters: [NamedTensor]
  let orderedBuffers: [NamedTensor]

  /// One operation, or two or three that run as one.
  struct Step {
    /// The node whose operation this is.
    let node: Int
    /// The PReLU that is fused behind a batch normalisation.
    let fusedSlope: String?
    /// The convolution behind a batch normalisation (and its PReLU) that runs with it.
    let fusedConvolution: Int?
    /// The node whose value this step makes.
    let output: Int
    /// Nodes whose values nothing needs after this step.
    let lastUses: [Int]
  }

  /// A network with zero weights, γ, variances 1 and slopes 0.25: an `Initializer` or a checkpoint fills them.
  ///
  /// - Throws: `GraphError` where the shapes do not fit.
  public convenience init(_ graph: NetworkGraph) throws(GraphError) { try self.init(graph, isFused: true) }

  /// The same, to compare with: without this project's fused operations, or in float64.
  package init(_ graph: NetworkGraph, isFused: Bool, dtype: DType = .float32) throws(GraphError) {
    var graph = try graph.ordered()
    graph.weights = [:]
    var tensors: [String: Tensor] = [:]
    var parameters: [NamedTensor] = []
    var buffers: [NamedTensor] = []
    for parameter in try graph.parameters() {
      let isHeld: Bool =
        if case .batchNorm(let norm) = graph.nodes[parameter.node].operation {
          parameter.role == .gamma && norm.fixGamma
        } else { false }
      let tensor = Tensor.empty(
        parameter.shape, dtype: dtype, format: parameter.shape.count == 4 ? .channelsLast : .contiguous)
      tensor.fill(Self.start(of: parameter.role))
      tensors[parameter.name] = tensor
      if parameter.isAuxiliary {
        buffers.append(NamedTensor(parameter.name, tensor))
      } else {
        tensor.requiresGrad = !isHeld
        parameters.append(NamedTensor(parameter.name, tensor))
      }
    }
    self.graph = graph
    self.tensors = tensors
    orderedParameters = parameters
    orderedBuffers = buffers
    self.isFused = isFused
    self.dtype = dtype
    steps = Self.schedule(graph, fuses: isFused)
  }

  private static func start(of role: NetworkGraph.ParameterRole) -> Double {
    switch role {
    case .gamma, .movingVariance: 1
    case .slope: 0.25
    case .weight, .bias, .beta, .movingMean, .value: 0
    }
  }

  /// The learned tensors that gradients move, in the order of the network.
  public override var ownParameters: [NamedTensor] { orderedParameters }
  /// The running statistics, in the order of the network.
  public override var ownBuffers: [NamedTensor] { orderedBuffers }

  /// D, the length of the first output's rows; nil where it is not a matrix.
  public var outputLength: Int? {
    guard let shapes = try? graph.inferShapes() else { return nil }
    let shape = shapes[graph.outputs[0]]
    return shape.rank == 2 ? shape[1].fixed : nil
  }

  /// The first output for a batch.
  ///
  /// - Parameter input: [N, C, H, W] as the graph's input wants it, any numeric type, converted to that of the weights.
  public func callAsFunction(_ input: Tensor) -> Tensor { outputs(of: input)[0] }

  /// Every output for a batch.
  public func outputs(of input: Tensor) -> [Tensor] {
    var values = [Tensor?](repeating: nil, count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() {
      if case .input = node.operation { values[index] = input.to(dtype) }
    }
    run(steps.indices, &values)
    return graph.outputs.map { output in
      guard let value = values[output.node] else { preconditionFailure("output \(output.node) was not computed") }
      return value
    }
  }

  /// Computes some of the steps; values that nothing needs any more are let go.
  func run(_ range: Range<Int>, _ values: inout [Tensor?]) {
    for step in steps[range] {
      values[step.output] = evaluate(step, values)
      for index in step.lastUses { values[index] = nil }
    }
  }

  /// The order of execution with fused pairs, and when each value is used last.
  static func schedule(_ graph: NetworkGraph, fuses: Bool = true) -> [Step] {
    let isOutput = Set(graph.outputs.map(\.node))
    var users = [[Int]](repeating: [], count: graph.nodes.count)
    for (index, node) in graph.nodes.enumerated() { for input in node.inputs { users[input.node].append(index) } }
    /// The one node that takes a value, where the value is not needed otherwise.
    func onlyUser(_ index: Int) -> Int? { users[index].count == 1 && !isOutput.contains(index) ? users[index][0] : nil }
    var isFused: Set<Int> = []
    var steps: [(node: Int, slope: String?, convolution: Int?, output: Int)] = []
    for index in executionOrder(graph) {
      let node = graph.nodes[index]
      if case .input = node.operation { continue }
      if isFused.contains(index) { continue }
      var step: (node: Int, slope: String?, convolution: Int?, output: Int) = (index, nil, nil, index)
      if fuses, case .batchNorm(let norm) = node.operation, norm.axis == 1 {
        if let next = onlyUser(step.output), case .prelu(shared: false) = graph.nodes[next].operation {
          step.slope = graph.nodes[next].parameters[0]
          step.output = next
          isFused.insert(next)
        }
        if let next = onlyUser(step.output), case .convolution(let c) = graph.nodes[next].operation,
          c.pad.top == c.pad.bottom, c.pad.left == c.pad.right
        {
          step.convolution = next
          step.output = next
          isFused.insert(next)
        }
      }
      steps.append(step)
    }
    var lastStep = [Int](repeating: -1, count: graph.nodes.count)
    for (position, step) in steps.enumerated() {
      for input in graph.nodes[step.node].inputs { lastStep[input.node] = position }
    }
    return steps.enumerated().map { position, step in
      let last = Set(graph.nodes[step.node].inputs.map(\.node)).filter {
        lastStep[$0] == position && !isOutput.contains($0)
      }
      return Step(
        node: step.node, fusedSlope: step.slope, fusedConvolution: step.convolution, output: step.output,
        lastUses: last.sorted())
    }
  }

  /// The nodes in an order in which they can run: of several inputs the one with the fewest operations before it comes first.
  ///
  /// The way back goes from the last to the first. So a unit's shortcut, run first, is differentiated last, and its gradient
  /// (of the unit's wide input) does not wait in memory while the gradients of the unit's other layers are made.
  private static func executionOrder(_ graph: NetworkGraph) -> [Int] {
    var depths: [Int] = []
    for node in graph.nodes { depths.append(node.inputs.map { depths[$0.node] + 1 }.max() ?? 0) }
    var isPlaced = [Bool](repeating: false, count: graph.nodes.count)
    var order: [Int] = []
    // What no output needs stands behind, in the graph's order.
    for root in graph.outputs.map(\.node) + graph.nodes.indices {
      var waiting = [(node: root, isReady: false)]
      while let (node, isReady) = waiting.popLast() {
        guard !isPlaced[node] else { continue }
        if isReady {
          isPlaced[node] = true
          order.append(node)
          continue
        }
        waiting.append((node, true))
        let inputs = graph.nodes[node].inputs.map(\.node)
        let deepestFirst = inputs.indices.sorted {
          (depths[inputs[$0]], $0) > (depths[inputs[$1]], $1)
        }
        for index in deepestFirst where !isPlaced[inputs[index]] { waiting.append((inputs[index], false)) }
      }
    }
    return order
  }

  /// The weights as a graph carries them, for export and for a plan: float32 copies.
  public func filledGraph() throws(FormatError) -> NetworkGraph {
    var filled = graph
    for named in orderedParameters + orderedBuffers {
      filled.weights[named.name] = try StoredTensor(shape: named.tensor.shape, floats: named.tensor.floats)
    }
    return filled
  }
}
