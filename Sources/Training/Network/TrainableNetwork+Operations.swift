import Inference
import Jobs
import Torch

extension TrainableNetwork {
  /// The value of one step.
  func evaluate(_ step: Step, _ values: [Tensor?]) -> Tensor {
    let node = graph.nodes[step.node]
    let inputs = node.inputs.map { input -> Tensor in
      guard let value = values[input.node] else {
        preconditionFailure("\(node.name): the value of node \(input.node) is gone")
      }
      return value
    }
    func weight(_ index: Int) -> Tensor {
      guard let tensor = tensors[node.parameters[index]] else {
        preconditionFailure("\(node.name): no tensor \(node.parameters[index])")
      }
      return tensor
    }
    switch node.operation {
    case .input: preconditionFailure("\(node.name): inputs are given, not computed")
    case .parameter: return weight(0)
    case .scalar(let scalar): return Self.arithmetic(inputs[0], scalar)
    case .elementwise(let elementwise): return Self.arithmetic(elementwise.kind, inputs[0], inputs[1])
    case .convolution(let c):
      let (x, pad) = Self.symmetric(inputs[0], c.pad)
      return x.conv2d(
        weight(0), bias: c.bias ? weight(1) : nil, stride: c.stride.pair, padding: pad, dilation: c.dilation.pair,
        groups: c.groups)
    case .deconvolution(let d):
      let y = inputs[0].convTranspose2d(
        weight(0), bias: d.bias ? weight(1) : nil, stride: d.stride.pair, outputPadding: d.outputPadding.pair,
        dilation: d.dilation.pair, groups: d.groups)
      return d.pad == 0
        ? y : y.padded(top: -d.pad.top, bottom: -d.pad.bottom, left: -d.pad.left, right: -d.pad.right)
    case .fullyConnected(let layer):
      let x = layer.flatten && inputs[0].rank > 2 ? inputs[0].flattened() : inputs[0]
      return x.linear(weight(0), bias: layer.bias ? weight(1) : nil)
    case .batchNorm(let norm):
      let slope = step.fusedSlope.flatMap { tensors[$0] }
      guard let index = step.fusedConvolution, case .convolution(let c) = graph.nodes[index].operation else {
        return normalise(inputs[0], norm, weight, slope: slope)
      }
      let convolution = graph.nodes[index].parameters.compactMap { tensors[$0] }
      return inputs[0].normalizedConv2d(
        gamma: weight(0), beta: weight(1), mean: weight(2), variance: weight(3), slope: slope,
        training: isTraining && !norm.usesGlobalStatistics, updatesStatistics: !isRecomputing, momentum: norm.momentum,
        eps: norm.epsilon, weight: convolution[0], bias: c.bias ? convolution[1] : nil, stride: c.stride.pair,
        padding: (c.pad.top, c.pad.left), dilation: c.dilation.pair, groups: c.groups, sparing: isRecomputing)
    case .activation(let activation): return Self.activate(inputs[0], activation)
    case .layerNorm(let norm): return Self.normalise(inputs[0], norm, weight)
    case .matmul(let transposesSecond):
      return inputs[0].matmul(transposesSecond ? inputs[1].transposed() : inputs[1])
    case .prelu: return inputs[0].prelu(weight(0))
    case .pooling(let pooling): return Self.pool(inputs[0], pooling, node.name)
    case .softmax(let axis): return inputs[0].softmax(axis)
    case .l2Normalize(let l): return Self.l2Normalize(inputs[0], l)
    case .dropout(let rate):
      guard isTraining, rate > 0 else { return inputs[0] }
      return inputs[0].dropout(rate, Generator(seed: dropoutSeed(step.node), device: inputs[0].device))
    case .dropPath(let rate):
      guard isTraining, rate > 0 else { return inputs[0] }
      let x = inputs[0]
      let samples = Tensor.ones([x.shape[0]] + [Int](repeating: 1, count: x.rank - 1), device: x.device)
      return x * samples.dropout(rate, Generator(seed: dropoutSeed(step.node), device: x.device))
    case .tokenMask(let ratio):
      guard isTraining, ratio > 0 else { return inputs[0] }
      let kept = keptTokens(step.node, ratio, samples: inputs[0].shape[0], tokens: inputs[0].shape[1])
      return inputs[0].gathered(1, kept.to(nil, inputs[0].device).unsqueezed(2).expanded([-1, -1, inputs[0].shape[2]]))
    case .tokenRestore: return restoreTokens(node, inputs, weight(0))
    case .identity(let stopsGradient): return stopsGradient ? inputs[0].detached() : inputs[0]
    case .flatten: return inputs[0].flattened()
    case .reshape: return inputs[0].contiguous().reshaped(shape(of: node, inputs))
    case .transpose(let permutation):
      return inputs[0].permuted(permutation.isEmpty ? Array((0..<inputs[0].rank).reversed()) : permutation)
    case .concat(let axis): return Tensor.concatenated(inputs, dim: axis)
    case .slice(let slice):
      let (axis, range) = required(node) { inference throws(GraphError) in
        try inference.range(slice, of: .init(fixed: inputs[0].shape))
      }
      return inputs[0].narrowed(axis, start: range.lowerBound, count: range.count)
    case .crop(let crop):
      let window = required(node) { inference throws(GraphError) in
        try inference.cropWindow(
          crop, image: .init(fixed: inputs[0].shape),
          like: inputs.count > 1 ? NetworkGraph.Shape(fixed: inputs[1].shape) : nil)
      }
      return inputs[0].narrowed(2, start: window.rows.lowerBound, count: window.rows.count)
        .narrowed(3, start: window.columns.lowerBound, count: window.columns.count)
    case .upsampleNearest(let scale): return inputs[0].upsampledNearest(scale)
    case .reduction(let reduction):
      let axes = required(node) { inference throws(GraphError) in
        try inference.axes(of: reduction, rank: inputs[0].rank)
      }
      return Self.reduce(inputs[0], reduction, axes)
    case .tile(let repetitions): return Self.tile(inputs[0], repetitions)
    }
  }

  /// The shape rules were checked when the network was made: what fails here is a batch of another shape.
  private func required<Result>(
    _ node: NetworkGraph.Node, _ body: (ShapeInference) throws(GraphError) -> Result
  ) -> Result {
    do throws(GraphError) {
      return try body(ShapeInference(node: node.name, operation: node.operation))
    } catch {
      preconditionFailure("\(error)")
    }
  }

  private func shape(of node: NetworkGraph.Node, _ inputs: [Tensor]) -> [Int] {
    required(node) { inference throws(GraphError) in
      try inference.infer(inputs.map { .init(fixed: $0.shape) }).output.fixed ?? []
    }
  }

  /// A seed of its own for each node and key.
  private func dropoutSeed(_ node: Int) -> UInt64 {
    var draws = CounterRandom(dropoutKey, UInt64(node))
    return draws.next()
  }

  /// The tokens that a mask keeps, in random order: int64 [N, ⌊L (1 − ratio)⌋] on the CPU.
  private func keptTokens(_ node: Int, _ ratio: Double, samples: Int, tokens: Int) -> Tensor {
    let noise = Tensor.empty([samples, tokens])
    noise.fillUniform(0, 1, Generator(seed: dropoutSeed(node)))
    return noise.topk(Int(Double(tokens) * (1 - ratio)), dim: 1).indices
  }

  /// Tokens [N, K, D] at their places among [N, L, D] of the learned token; all of them outside of training.
  private func restoreTokens(_ node: NetworkGraph.Node, _ inputs: [Tensor], _ token: Tensor) -> Tensor {
    let x = inputs[0]
    guard isTraining, node.inputs.count == 2, case .tokenMask(let ratio) = graph.nodes[node.inputs[1].node].operation,
      ratio > 0
    else { return x }
    let all = restoredCount(graph.nodes[node.inputs[1].node])
    guard all > x.shape[1] else { return x }
    let kept = keptTokens(node.inputs[1].node, ratio, samples: x.shape[0], tokens: all).to(nil, x.device)
    return token.expanded([x.shape[0], all, x.shape[2]]).contiguous().scattered(
      1, kept.unsqueezed(2).expanded([-1, -1, x.shape[2]]), x)
  }

  /// L of the tokens [N, L, D] that go into a mask.
  private func restoredCount(_ mask: NetworkGraph.Node) -> Int {
    (try? graph.inferShapes())?.outputs[mask.inputs[0].node][1].fixed ?? 0
  }

  private static func normalise(
    _ x: Tensor, _ norm: NetworkGraph.Operation.LayerNorm, _ weight: (Int) -> Tensor
  ) -> Tensor {
    let axis = norm.axis < 0 ? norm.axis + x.rank : norm.axis
    guard axis != x.rank - 1 else { return x.layerNorm(gamma: weight(0), beta: weight(1), eps: norm.epsilon) }
    let last = x.transposed(axis, x.rank - 1)
    return last.layerNorm(gamma: weight(0), beta: weight(1), eps: norm.epsilon).transposed(axis, x.rank - 1)
  }

  private func normalise(
    _ x: Tensor, _ norm: NetworkGraph.Operation.BatchNorm, _ weight: (Int) -> Tensor, slope: Tensor?
  ) -> Tensor {
    // Under autocast maps stay in half precision, rows (an embedding's) do not: they cost nothing.
    let x = x.rank == 2 ? x.to(dtype) : x
    let axis = norm.axis < 0 ? norm.axis + x.rank : norm.axis
    // The kernel works on axis 1 of two or four dimensions.
    let needsView = axis != 1 || (x.rank != 2 && x.rank != 4)
    let order = [0, axis] + (1..<x.rank).filter { $0 != axis }
    let moved = axis == 1 ? x : x.permuted(order)
    let view = needsView ? moved.contiguous().reshaped([moved.shape[0], moved.shape[1], -1, 1]) : x
    let y = view.batchNorm(
      gamma: weight(0), beta: weight(1), mean: weight(2), variance: weight(3), slope: slope,
      training: isTraining && !norm.usesGlobalStatistics, updatesStatistics: !isRecomputing, momentum: norm.momentum,
      eps: norm.epsilon, composed: !isFused)
    guard needsView else { return y }
    let restored = y.reshaped(moved.shape)
    guard axis != 1 else { return restored }
    var inverse = [Int](repeating: 0, count: order.count)
    for (new, old) in order.enumerated() { inverse[old] = new }
    return restored.permuted(inverse)
  }

  // MARK: Operations without parameters

  private static func arithmetic(_ x: Tensor, _ scalar: NetworkGraph.Operation.ScalarArithmetic) -> Tensor {
    let c = scalar.value
    switch scalar.kind {
    case .add: return x + c
    case .subtract: return x - c
    case .subtractFrom: return c - x
    case .multiply: return x * c
    case .divide: return x / c
    case .divideInto: return x.pow(-1) * c
    case .maximum: return x.clamped(c, .infinity)
    case .minimum: return x.clamped(-.infinity, c)
    }
  }

  private static func arithmetic(
    _ kind: NetworkGraph.Operation.Elementwise.Kind, _ a: Tensor, _ b: Tensor
  ) -> Tensor {
    switch kind {
    case .add: a + b
    case .subtract: a - b
    case .multiply: a * b
    case .divide: a / b
    case .maximum: a.maximum(b)
    case .minimum: a.minimum(b)
    }
  }

  private static func activate(_ x: Tensor, _ activation: NetworkGraph.Operation.Activation) -> Tensor {
    switch activation {
    case .relu: return x.relu()
    case .sigmoid: return x.sigmoid()
    case .tanh: return x.tanh()
    // log(1 + e^x) without overflow.
    case .softplus: return x.relu() + ((-x.abs()).exp() + 1).log()
    case .softsign: return x / (x.abs() + 1)
    case .leakyRelu(let slope): return Tensor.select(x .> 0, x, x * slope)
    case .elu(let slope): return x.relu() + (x.clamped(-.infinity, 0).exp() - 1) * slope
    case .gelu: return x.gelu()
    case .clip(let low, let high): return x.clamped(low, high)
    case .squareRoot: return x.sqrt()
    }
  }

  /// The image padded so that what is left is the same on opposite sides, and that rest.
  private static func symmetric(
    _ x: Tensor, _ pad: NetworkGraph.Padding, value: Double = 0
  ) -> (Tensor, (Int, Int)) {
    if pad.top == pad.bottom && pad.left == pad.right { return (x, (pad.top, pad.left)) }
    return (x.padded(top: pad.top, bottom: pad.bottom, left: pad.left, right: pad.right, value: value), (0, 0))
  }

  private static func pool(_ x: Tensor, _ p: NetworkGraph.Operation.Pooling, _ name: String) -> Tensor {
    if p.isGlobal {
      switch p.kind {
      case .max: return x.max(3, keepDim: true).max(2, keepDim: true)
      case .average: return x.mean(3, keepDim: true).mean(2, keepDim: true)
      case .sum: return x.sum(3, keepDim: true).sum(2, keepDim: true)
      }
    }
    let kernel = p.kernel ?? 1
    let size = ShapeInference(node: name, operation: .pooling(p))
    guard let output = try? size.infer([.init(fixed: x.shape)]).output.fixed else {
      preconditionFailure("\(name): a pooling does not fit \(x.shape)")
    }
    // Rows that the last window reaches beyond image and padding: with the convention `full` it may hang over.
    let over = (
      max(0, (output[2] - 1) * p.stride.height + kernel.height - x.shape[2] - p.pad.top - p.pad.bottom),
      max(0, (output[3] - 1) * p.stride.width + kernel.width - x.shape[3] - p.pad.left - p.pad.right)
    )
    func padded(_ image: Tensor, _ value: Double, over: (Int, Int)) -> Tensor {
      image.padded(
        top: p.pad.top, bottom: p.pad.bottom + over.0, left: p.pad.left, right: p.pad.right + over.1, value: value)
    }
    let isPlain = over == (0, 0) && p.pad.top == p.pad.bottom && p.pad.left == p.pad.right
    let pad = (p.pad.top, p.pad.left)
    let area = Double(kernel.height * kernel.width)
    switch p.kind {
    case .max:
      return isPlain && 2 * pad.0 <= kernel.height && 2 * pad.1 <= kernel.width
        ? x.maxPool2d(kernel: kernel.pair, stride: p.stride.pair, padding: pad)
        : padded(x, -.infinity, over: over).maxPool2d(kernel: kernel.pair, stride: p.stride.pair)
    case .sum: return padded(x, 0, over: over).avgPool2d(kernel: kernel.pair, stride: p.stride.pair) * area
    case .average:
      if isPlain && (p.countsPadding || pad == (0, 0)) && 2 * pad.0 <= kernel.height && 2 * pad.1 <= kernel.width {
        return x.avgPool2d(kernel: kernel.pair, stride: p.stride.pair, padding: pad)
      }
      // The share of the window that counts: image and padding, or the image alone, never what hangs over.
      let ones = Tensor.ones([1, 1, x.shape[2], x.shape[3]], device: x.device)
      let counted =
        p.countsPadding
        ? padded(ones, 1, over: (0, 0)).padded(top: 0, bottom: over.0, left: 0, right: over.1)
        : padded(ones, 0, over: over)
      return padded(x, 0, over: over).avgPool2d(kernel: kernel.pair, stride: p.stride.pair)
        / counted.avgPool2d(kernel: kernel.pair, stride: p.stride.pair)
    }
  }

  private static func reduce(
    _ x: Tensor, _ reduction: NetworkGraph.Operation.Reduction, _ axes: [Int]
  ) -> Tensor {
    // From the last axis on, so that those that follow keep their numbers.
    let y = axes.reversed().reduce(x) { partial, axis in
      reduction.kind == .sum
        ? partial.sum(axis, keepDim: reduction.keepsDimensions) : partial.mean(axis, keepDim: reduction.keepsDimensions)
    }
    return y.rank == 0 ? y.unsqueezed(0) : y
  }

  private static func tile(_ x: Tensor, _ repetitions: [Int]) -> Tensor {
    var y = x
    while y.rank < repetitions.count { y = y.unsqueezed(0) }
    for (axis, count) in zip((0..<y.rank).suffix(repetitions.count), repetitions) where count > 1 {
      if y.shape[axis] == 1 {
        var shape = y.shape
        shape[axis] = count
        y = y.expanded(shape)
      } else {
        y = Tensor.concatenated([Tensor](repeating: y, count: count), dim: axis)
      }
    }
    return y
  }

  private static func l2Normalize(_ x: Tensor, _ l: NetworkGraph.Operation.L2Normalize) -> Tensor {
    switch l.mode {
    case .instance: x.contiguous().reshaped([x.shape[0], -1]).normalized(1, eps: l.epsilon).reshaped(x.shape)
    case .channel: x.normalized(1, eps: l.epsilon)
    case .spatial:
      x.contiguous().reshaped([x.shape[0], x.shape[1], -1]).normalized(2, eps: l.epsilon).reshaped(x.shape)
    }
  }
}

extension NetworkGraph.Extent {
  var pair: (Int, Int) { (height, width) }
}
