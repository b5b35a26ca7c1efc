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
    /// The network's first output [N, D], in the type of the weights, without history.
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
  /// same masks, and running statistics are moved in the first run alone. Only where a convolution's input is large (over
  /// 32 MiB) is its weight's gradient the sum over parts of the batch, which rounds otherwise. A network of several inputs
  /// or outputs, or one that cannot be cut, keeps everything.
  public func pass(_ input: Tensor, _ options: PassOptions = PassOptions()) -> Pass {
    guard options.recomputes, !segments.isEmpty else {
      let output = withAutocast(options.precision, input.device) { self(input) }.to(dtype)
      return Pass(output.detached()) { output.backward($0) }
    }
    let segments = segments
    var boundaries: [[Tensor?]] = []
    var values = [Tensor?](repeating: nil, count: graph.nodes.count)
    withoutGrad {
      for (index, segment) in segments.enumerated() {
        boundaries.append(index == 0 ? [input] : segment.inputs.map { values[$0] })
        if index == 0 { values[segment.inputs[0]] = input.to(dtype) }
        withAutocast(options.precision, input.device) { run(segment.steps, &values) }
      }
    }
    let last = graph.outputs[0].node
    guard let output = values[last]?.to(dtype) else { preconditionFailure("output \(last) was not computed") }
    let (key, device) = (dropoutKey, input.device)
    return Pass(output) { [self] gradient in
      precondition(device == gradient.device, "a gradient on \(gradient.device) for a pass on \(device)")
      let keyNow = dropoutKey
      dropoutKey = key
      isRecomputing = true
      defer { (dropoutKey, isRecomputing) = (keyNow, false) }
      var gradients = [last: gradient]
      for segment in segments.reversed() {
        guard let boundary = boundaries.popLast() else { return }
        goBack(segment, boundary, &gradients, options.precision, device)
      }
    }
  }

  /// Runs a segment again from the values that enter it, and takes the gradients of what leaves it back to them.
  private func goBack(
    _ segment: Segment, _ boundary: [Tensor?], _ gradients: inout [Int: Tensor], _ precision: DType, _ device: Device
  ) {
    var values = [Tensor?](repeating: nil, count: graph.nodes.count)
    var starts: [Int: Tensor] = [:]
    for (node, value) in zip(segment.inputs, boundary) {
      guard let value else { preconditionFailure("the value of node \(node) is gone") }
      if case .input = graph.nodes[node].operation {
        values[node] = value.to(dtype)
      } else {
        let start = value.detached()
        start.requiresGrad = true
        (values[node], starts[node]) = (start, start)
      }
    }
    withAutocast(precision, device) { run(segment.steps, &values) }
    var (made, seeds): ([Tensor], [Tensor]) = ([], [])
    for node in segment.outputs where !segment.inputs.contains(node) {
      guard let value = values[node], let gradient = gradients.removeValue(forKey: node), value.requiresGrad else {
        continue
      }
      made.append(node == graph.outputs[0].node ? value.to(dtype) : value)
      seeds.append(gradient)
    }
    values = []
    guard !made.isEmpty else { return }
    Tensor.backwardConsuming(made, seeds)
    for (node, start) in starts {
      guard let gradient = start.grad else { continue }
      // What is used behind this segment as well has a gradient from there.
      gradients[node] = gradients[node].map { later in withoutGrad { later + gradient } } ?? gradient
    }
  }

  /// What a training step keeps for the way back at its peak, in elements an image: the values at the cuts so far and those of
  /// the segment behind them (of everything where nothing is computed again).
  public static func keptElements(_ graph: NetworkGraph, recomputes: Bool) throws(GraphError) -> Int {
    let ordered = try graph.ordered()
    let steps = schedule(ordered)
    let costs = try Segment.costs(ordered, steps)
    let segments = recomputes ? Segment.cut(ordered, steps) : []
    guard !segments.isEmpty else { return costs.reduce(0, +) }
    let shapes = try ordered.inferShapes()
    var (kept, peak) = (0, 0)
    for segment in segments {
      peak = max(peak, kept + costs[segment.steps].reduce(0, +))
      kept += segment.outputs.reduce(0) { $0 + (shapes[.init(node: $1)].sizes(batch: 1)?.reduce(1, *) ?? 0) }
    }
    return peak
  }

  /// The largest value that a step makes, in elements an image.
  public static func largestElements(_ graph: NetworkGraph) throws(GraphError) -> Int {
    let ordered = try graph.ordered()
    return try Segment.costs(ordered, schedule(ordered)).max() ?? 0
  }
}
