import Inference
import Torch

extension TrainableNetwork {
  /// How a forward pass is made.
  public struct PassOptions: Sendable, Equatable {
    /// The type in which convolutions and linear maps are computed; weights, batch statistics and embeddings are float32.
    public var precision: DType
    /// Keep the values at a few cuts only and compute the rest again on the way back (arXiv 1604.06174).
    public var recomputes: Bool

    /// Options; by default float32, everything kept.
    public init(precision: DType = .float32, recomputes: Bool = false) {
      self.precision = precision
      self.recomputes = recomputes
    }
  }

  /// A forward pass that can be gone back through, once.
  public final class Pass {
    /// The network's first output [N, D], float32, without history.
    public let output: Tensor
    private var goBack: ((Tensor) -> Void)?

    init(_ output: Tensor, _ goBack: @escaping (Tensor) -> Void) {
      self.output = output
      self.goBack = goBack
    }

    /// Adds ∂(Σ output · gradient)/∂parameter to the gradient of every parameter, and lets the pass's values go.
    public func backward(_ gradient: Tensor) {
      goBack?(gradient)
      goBack = nil
    }
  }

  /// The first output for a batch, and the way back.
  ///
  /// With `recomputes` the gradients are those without it: the same operations run on the same values, dropout draws the
  /// same masks, and running statistics are moved in the first run alone. A network of several inputs or outputs, or one
  /// that cannot be cut, keeps everything.
  public func pass(_ input: Tensor, _ options: PassOptions = PassOptions()) -> Pass {
    guard options.recomputes, !segments.isEmpty else {
      let output = withAutocast(options.precision, input.device) { self(input) }.to(.float32)
      return Pass(output.detached()) { output.backward($0) }
    }
    let segments = segments
    var boundaries: [Tensor] = []
    var value = input
    withoutGrad {
      for segment in segments {
        boundaries.append(value)
        value = run(segment, value, options.precision)
      }
    }
    let (key, device) = (dropoutKey, input.device)
    return Pass(value) { [self] gradient in
      precondition(device == gradient.device, "a gradient on \(gradient.device) for a pass on \(device)")
      let keyNow = dropoutKey
      dropoutKey = key
      isRecomputing = true
      defer { (dropoutKey, isRecomputing) = (keyNow, false) }
      var gradient = gradient
      for (index, segment) in segments.enumerated().reversed() {
        guard let boundary = boundaries.popLast() else { return }
        let start = boundary.detached()
        if index > 0 { start.requiresGrad = true }
        run(segment, start, options.precision).backward(gradient)
        if let next = start.grad { gradient = next }
      }
    }
  }

  /// The value that a segment makes of the one that enters it.
  private func run(_ segment: Segment, _ value: Tensor, _ precision: DType) -> Tensor {
    var values = [Tensor?](repeating: nil, count: graph.nodes.count)
    values[segment.input] = segment.steps.lowerBound == 0 ? value.to(.float32) : value
    withAutocast(precision, value.device) { run(segment.steps, &values) }
    guard let result = values[segment.output] else {
      preconditionFailure("node \(segment.output) was not computed by its segment")
    }
    return segment.steps.upperBound == steps.count ? result.to(.float32) : result
  }

  /// What a training step keeps for the way back, in elements an image: the values at the cuts, and those of the largest
  /// segment (of everything where nothing is computed again).
  public static func keptElements(_ graph: NetworkGraph, recomputes: Bool) throws(GraphError) -> Int {
    let ordered = try graph.ordered()
    let steps = schedule(ordered)
    let costs = try Segment.costs(ordered, steps)
    let segments = recomputes ? Segment.cut(ordered, steps) : []
    guard !segments.isEmpty else { return costs.reduce(0, +) }
    let largest = segments.map { costs[$0.steps].reduce(0, +) }.max() ?? 0
    return segments.dropLast().map { costs[$0.steps.upperBound - 1] }.reduce(largest, +)
  }

  /// The largest value that a step makes, in elements an image.
  public static func largestElements(_ graph: NetworkGraph) throws(GraphError) -> Int {
    let ordered = try graph.ordered()
    return try Segment.costs(ordered, schedule(ordered)).max() ?? 0
  }
}

/// A run of steps between two points at which one value alone is alive.
struct Segment: Equatable {
  /// The steps.
  let steps: Range<Int>
  /// The node whose value enters.
  let input: Int
  /// The node whose value leaves.
  let output: Int

  /// The elements an image that each step makes.
  static func costs(
    _ graph: NetworkGraph, _ steps: [TrainableNetwork.Step]
  ) throws(GraphError) -> [Int] {
    let shapes = try graph.inferShapes()
    return steps.map { step in
      shapes[NetworkGraph.Value(node: step.output)].sizes(batch: 1)?.reduce(1, *) ?? 0
    }
  }

  /// The segments for which values at the cuts and values of the largest segment together are least; none where the network
  /// has several inputs or outputs, or no cut.
  static func cut(_ graph: NetworkGraph, _ steps: [TrainableNetwork.Step]) -> [Segment] {
    let inputs = graph.nodes.indices.filter { if case .input = graph.nodes[$0].operation { true } else { false } }
    guard inputs.count == 1, graph.outputs.count == 1, !steps.isEmpty, let costs = try? costs(graph, steps) else {
      return []
    }
    var alive: Set<Int> = [inputs[0]]
    var cuts: [(after: Int, node: Int)] = []
    for (index, step) in steps.enumerated() {
      alive.insert(step.output)
      alive.subtract(step.lastUses)
      if alive.count == 1, let node = alive.first { cuts.append((index, node)) }
    }
    guard cuts.count > 1, cuts.last?.after == steps.count - 1 else { return [] }
    var sums = [0]
    for cost in costs { sums.append(sums[sums.count - 1] + cost) }
    let total = sums[sums.count - 1]
    var best: (cost: Int, ends: [Int])?
    // Budgets for one segment, from fine to coarse.
    for share in 1...64 {
      let budget = total * share / 64
      var ends: [Int] = []
      var (start, kept, largest) = (0, 0, 0)
      for (index, cut) in cuts.enumerated() {
        let isLast = index == cuts.count - 1
        guard isLast || sums[cuts[index + 1].after + 1] - sums[start] > budget else { continue }
        largest = max(largest, sums[cut.after + 1] - sums[start])
        if !isLast { kept += costs[cut.after] }
        ends.append(index)
        start = cut.after + 1
      }
      if kept + largest < best?.cost ?? .max { best = (kept + largest, ends) }
    }
    guard let ends = best?.ends, ends.count > 1 else { return [] }
    var segments: [Segment] = []
    var (first, entering) = (0, inputs[0])
    for end in ends {
      segments.append(Segment(steps: first..<cuts[end].after + 1, input: entering, output: cuts[end].node))
      (first, entering) = (cuts[end].after + 1, cuts[end].node)
    }
    return segments
  }
}
