extension NetworkGraph {
  /// The shapes of all tensors of a graph.
  public struct Shapes: Sendable {
    /// The output of each node.
    public fileprivate(set) var outputs: [Shape]
    /// The learned parameters of each node, in the order of its roles.
    public fileprivate(set) var parameters: [[[Int]]]

    /// The shape of a value.
    public subscript(value: Value) -> Shape { outputs[value.node] }
  }

  /// Works out the shape of every tensor.
  ///
  /// The batch size stays symbolic unless an input's shape fixes it.
  ///
  /// - Parameter inputShapes: shapes that replace the declared ones, by input name; for example a larger image for a
  ///   fully convolutional network.
  /// - Throws: `GraphError.shape` naming the node whose inputs do not fit, `.tooLarge`, and `.unknownName` where
  ///   `inputShapes` names no input.
  public func inferShapes(inputShapes: [String: Shape] = [:]) throws(GraphError) -> Shapes {
    for name in inputShapes.keys.sorted() where !inputs.contains(where: { $0.name == name }) {
      throw GraphError(
        .unknownName, message: "there is no input \"\(name)\"",
        advice: "the inputs are \(Self.listing(inputs.map(\.name)))")
    }
    var shapes = Shapes(outputs: [], parameters: [])
    shapes.outputs.reserveCapacity(nodes.count)
    for node in nodes {
      var operation = node.operation
      if case .input = operation, let replacement = inputShapes[node.name] { operation = .input(replacement) }
      let inference = ShapeInference(node: node.name, operation: operation)
      let result = try inference.infer(node.inputs.map { shapes.outputs[$0.node] })
      shapes.outputs.append(result.output)
      shapes.parameters.append(result.parameters)
    }
    return shapes
  }
}

/// The shape rules of one node.
package struct ShapeInference {
  package typealias Shape = NetworkGraph.Shape
  typealias Dimension = NetworkGraph.Dimension
  package typealias Operation = NetworkGraph.Operation

  /// More elements in one tensor, or one sample of it, are refused: no face network comes near.
  static let maximumElements = 1 << 31

  let node: String
  let operation: Operation

  /// The rules of a node of this name.
  package init(node: String, operation: NetworkGraph.Operation) {
    self.node = node
    self.operation = operation
  }

  func error(_ message: String, advice: String? = nil) -> GraphError {
    GraphError(.shape, node: node, operation: operation.name, message: message, advice: advice)
  }

  package func infer(_ inputs: [Shape]) throws(GraphError) -> (output: Shape, parameters: [[Int]]) {
    if let problem = operation.firstProblem {
      throw GraphError(.invalid, node: node, operation: operation.name, message: problem)
    }
    guard operation.inputCounts.contains(inputs.count) else {
      throw error("takes \(operation.inputCounts) tensors, not \(inputs.count)")
    }
    let result = try rule(inputs)
    _ = try product(result.output.dimensions)
    for shape in result.parameters { _ = try product(shape.map(Dimension.fixed)) }
    return result
  }

  private func rule(_ inputs: [Shape]) throws(GraphError) -> (output: Shape, parameters: [[Int]]) {
    switch operation {
    case .input(let shape): return (shape, [])
    case .parameter(let shape): return (Shape(fixed: shape), [shape])
    case .elementwise(let elementwise):
      return (try broadcast(inputs[0], inputs[1], allowed: elementwise.broadcasts), [])
    case .concat(let axis): return (try concat(inputs, axis: axis), [])
    case .scalar, .activation, .dropout, .identity: return (inputs[0], [])
    case .layerNorm(let norm):
      let axis = try resolve(axis: norm.axis, rank: inputs[0].rank)
      return (inputs[0], [[Int]](repeating: [try size(inputs[0], axis)], count: 2))
    case .matmul(let transposesSecond):
      return (try multiply(inputs[0], inputs[1], transposesSecond: transposesSecond), [])
    case .dropPath, .tokenMask:
      guard inputs[0].rank == 3 else { throw error("needs tokens (N, L, D), found \(inputs[0])") }
      return (inputs[0], [])
    case .tokenRestore:
      guard inputs[0].rank == 3 else { throw error("needs tokens (N, L, D), found \(inputs[0])") }
      return (inputs[0], [[1, 1, try size(inputs[0], 2)]])
    case .crop(let crop): return (try self.crop(inputs, crop), [])
    case .convolution(let convolution): return try convolve(inputs[0], convolution)
    case .deconvolution(let deconvolution): return try deconvolve(inputs[0], deconvolution)
    case .fullyConnected(let fullyConnected): return try connect(inputs[0], fullyConnected)
    case .batchNorm(let batchNorm):
      let axis = try resolve(axis: batchNorm.axis, rank: inputs[0].rank)
      let channels = try size(inputs[0], axis)
      return (inputs[0], [[Int]](repeating: [channels], count: 4))
    case .prelu(let isShared):
      if isShared { return (inputs[0], [[1]]) }
      guard inputs[0].rank >= 2 else { throw error("needs a channel axis, found shape \(inputs[0])") }
      return (inputs[0], [[try size(inputs[0], 1)]])
    case .pooling(let pooling): return (try pool(inputs[0], pooling), [])
    case .softmax(let axis):
      _ = try resolve(axis: axis, rank: inputs[0].rank)
      return (inputs[0], [])
    case .l2Normalize(let normalize):
      let least = normalize.mode == .spatial ? 3 : 2
      guard inputs[0].rank >= least else { throw error("needs \(least) dimensions or more, found \(inputs[0])") }
      return (inputs[0], [])
    case .flatten:
      guard inputs[0].rank >= 1 else { throw error("needs one dimension or more") }
      return ([inputs[0][0], try merged(Array(inputs[0].dimensions.dropFirst()))], [])
    case .reshape(let targets): return (try reshape(inputs[0], targets), [])
    case .transpose(let permutation):
      let order = permutation.isEmpty ? Array((0..<inputs[0].rank).reversed()) : permutation
      guard order.count == inputs[0].rank else {
        throw error("the permutation \(permutation) does not fit shape \(inputs[0])")
      }
      return (Shape(order.map { inputs[0][$0] }), [])
    case .slice(let slice):
      let (axis, range) = try self.range(slice, of: inputs[0])
      var output = inputs[0]
      output[axis] = .fixed(range.count)
      return (output, [])
    case .upsampleNearest(let scale):
      let (_, height, width) = try image(inputs[0])
      return ([inputs[0][0], inputs[0][1], .fixed(height * scale), .fixed(width * scale)], [])
    case .reduction(let reduction):
      let axes = try self.axes(of: reduction, rank: inputs[0].rank)
      if reduction.keepsDimensions {
        return (Shape(inputs[0].dimensions.enumerated().map { axes.contains($0) ? 1 : $1 }), [])
      }
      let rest = inputs[0].dimensions.enumerated().filter { !axes.contains($0.offset) }.map(\.element)
      return (rest.isEmpty ? [1] : Shape(rest), [])
    case .tile(let repetitions): return (try tile(inputs[0], repetitions), [])
    }
  }

  // MARK: Rules

  private func convolve(
    _ input: Shape, _ c: Operation.Convolution
  ) throws(GraphError) -> (output: Shape, parameters: [[Int]]) {
    let (channels, height, width) = try image(input)
    guard channels % c.groups == 0 else {
      throw error("\(channels) input channels do not divide into \(c.groups) groups")
    }
    func extent(_ size: Int, _ kernel: Int, _ stride: Int, _ pad: Int, _ dilation: Int) throws(GraphError) -> Int {
      let span = dilation * (kernel - 1) + 1
      guard size + pad >= span else {
        throw error("a window of \(span) is larger than the padded image of \(size + pad); the input is \(input)")
      }
      return (size + pad - span) / stride + 1
    }
    let rows = try extent(
      height, c.kernel.height, c.stride.height, c.pad.top + c.pad.bottom, c.dilation.height)
    let columns = try extent(width, c.kernel.width, c.stride.width, c.pad.left + c.pad.right, c.dilation.width)
    let weight = [c.filters, channels / c.groups, c.kernel.height, c.kernel.width]
    return (
      [input[0], .fixed(c.filters), .fixed(rows), .fixed(columns)], c.bias ? [weight, [c.filters]] : [weight]
    )
  }

  private func deconvolve(
    _ input: Shape, _ d: Operation.Deconvolution
  ) throws(GraphError) -> (output: Shape, parameters: [[Int]]) {
    let (channels, height, width) = try image(input)
    guard channels % d.groups == 0 else {
      throw error("\(channels) input channels do not divide into \(d.groups) groups")
    }
    func extent(
      _ size: Int, _ kernel: Int, _ stride: Int, _ pad: Int, _ dilation: Int, _ extra: Int
    ) throws(GraphError) -> Int {
      let result = (size - 1) * stride + dilation * (kernel - 1) + 1 - pad + extra
      guard result >= 1 else { throw error("nothing is left of an image of \(size) after cutting \(pad)") }
      return result
    }
    let rows = try extent(
      height, d.kernel.height, d.stride.height, d.pad.top + d.pad.bottom, d.dilation.height, d.outputPadding.height)
    let columns = try extent(
      width, d.kernel.width, d.stride.width, d.pad.left + d.pad.right, d.dilation.width, d.outputPadding.width)
    let weight = [channels, d.filters / d.groups, d.kernel.height, d.kernel.width]
    return (
      [input[0], .fixed(d.filters), .fixed(rows), .fixed(columns)], d.bias ? [weight, [d.filters]] : [weight]
    )
  }

  private func connect(
    _ input: Shape, _ f: Operation.FullyConnected
  ) throws(GraphError) -> (output: Shape, parameters: [[Int]]) {
    guard input.rank >= 2 else { throw error("needs two dimensions or more, found \(input)") }
    let length: Dimension
    var output: Shape
    if f.flatten {
      length = try merged(Array(input.dimensions.dropFirst()))
      output = [input[0], .fixed(f.units)]
    } else {
      length = input[input.rank - 1]
      output = input
      output[output.rank - 1] = .fixed(f.units)
    }
    guard let depth = length.fixed else { throw error("the input length depends on the batch size: \(input)") }
    let weight = [f.units, depth]
    return (output, f.bias ? [weight, [f.units]] : [weight])
  }

  /// (…, M, K) times (…, K, P), or (…, P, K) where the second is transposed.
  private func multiply(_ a: Shape, _ b: Shape, transposesSecond: Bool) throws(GraphError) -> Shape {
    guard a.rank >= 2, a.rank == b.rank, a.dimensions.dropLast(2) == b.dimensions.dropLast(2) else {
      throw error("needs two tensors of matrices that agree before the last two axes, found \(a) and \(b)")
    }
    let (inner, outer) = transposesSecond ? (b.rank - 1, b.rank - 2) : (b.rank - 2, b.rank - 1)
    guard a[a.rank - 1] == b[inner] else {
      throw error("the inner axes differ: \(a) and \(b)\(transposesSecond ? " transposed" : "")")
    }
    var output = a
    output[output.rank - 1] = b[outer]
    return output
  }

  private func pool(_ input: Shape, _ p: Operation.Pooling) throws(GraphError) -> Shape {
    let (_, height, width) = try image(input)
    if p.isGlobal { return [input[0], input[1], 1, 1] }
    guard let kernel = p.kernel else { throw error("has no kernel, and is not global") }
    func extent(_ size: Int, _ kernel: Int, _ stride: Int, _ pad: Int) throws(GraphError) -> Int {
      guard size + pad >= kernel else {
        throw error("a window of \(kernel) is larger than the padded image of \(size + pad); the input is \(input)")
      }
      let room = size + pad - kernel
      return (p.convention == .valid ? room / stride : (room + stride - 1) / stride) + 1
    }
    return [
      input[0], input[1],
      .fixed(try extent(height, kernel.height, p.stride.height, p.pad.top + p.pad.bottom)),
      .fixed(try extent(width, kernel.width, p.stride.width, p.pad.left + p.pad.right)),
    ]
  }

  private func broadcast(_ a: Shape, _ b: Shape, allowed: Bool) throws(GraphError) -> Shape {
    if a == b { return a }
    guard allowed else {
      throw error(
        "both shapes must be equal, found \(a) and \(b)", advice: "a broadcasting operation repeats axes of 1")
    }
    let rank = max(a.rank, b.rank)
    func padded(_ shape: Shape) -> [Dimension] {
      [Dimension](repeating: 1, count: rank - shape.rank) + shape.dimensions
    }
    var output: [Dimension] = []
    for (x, y) in zip(padded(a), padded(b)) {
      if x == y || y == 1 {
        output.append(x)
      } else if x == 1 {
        output.append(y)
      } else {
        throw error("shapes \(a) and \(b) cannot be broadcast to each other")
      }
    }
    return Shape(output)
  }

  private func concat(_ inputs: [Shape], axis: Int) throws(GraphError) -> Shape {
    let axis = try resolve(axis: axis, rank: inputs[0].rank)
    var output = inputs[0]
    for input in inputs.dropFirst() {
      guard input.rank == output.rank,
        input.dimensions.indices.allSatisfy({ $0 == axis || input[$0] == output[$0] })
      else { throw error("shapes \(inputs[0]) and \(input) differ outside axis \(axis)") }
      switch (output[axis], input[axis]) {
      case (.fixed(let a), .fixed(let b)): output[axis] = .fixed(a + b)
      case (.batch(let a), .batch(let b)): output[axis] = .batch(a + b)
      default: throw error("cannot join \(output[axis]) and \(input[axis]) along axis \(axis)")
      }
    }
    return output
  }

  /// The size and place of the window within the first input.
  package func cropWindow(
    _ crop: Operation.Crop, image input: Shape, like: Shape?
  ) throws(GraphError) -> (rows: Range<Int>, columns: Range<Int>) {
    let (_, height, width) = try image(input)
    var size = crop.size
    if let like {
      let (_, rows, columns) = try image(like)
      size = NetworkGraph.Extent(height: rows, width: columns)
    }
    guard let size else { throw error("has neither a size nor a second input") }
    let top = crop.isCentered ? (height - size.height) / 2 : crop.offset.height
    let left = crop.isCentered ? (width - size.width) / 2 : crop.offset.width
    guard size.height <= height, size.width <= width, top + size.height <= height, left + size.width <= width else {
      throw error("a window of \(size) at (\(top), \(left)) is not inside \(input)")
    }
    return (top..<top + size.height, left..<left + size.width)
  }

  private func crop(_ inputs: [Shape], _ crop: Operation.Crop) throws(GraphError) -> Shape {
    let window = try cropWindow(crop, image: inputs[0], like: inputs.count > 1 ? inputs[1] : nil)
    return [inputs[0][0], inputs[0][1], .fixed(window.rows.count), .fixed(window.columns.count)]
  }

  /// The axis and the elements of a slice.
  package func range(_ slice: Operation.Slice, of input: Shape) throws(GraphError) -> (axis: Int, range: Range<Int>) {
    let axis = try resolve(axis: slice.axis, rank: input.rank)
    let size = try size(input, axis)
    let begin = slice.begin < 0 ? slice.begin + size : slice.begin
    let end = slice.end.map { $0 < 0 ? $0 + size : $0 } ?? size
    guard begin >= 0, begin < end, end <= size else {
      let last = slice.end.map(String.init) ?? "end"
      throw error("elements \(slice.begin) ..< \(last) are not inside axis \(axis) of \(input)")
    }
    return (axis, begin..<end)
  }

  private func reshape(_ input: Shape, _ targets: [Operation.ReshapeTarget]) throws(GraphError) -> Shape {
    var output: [Dimension] = []
    var inferred: Int?
    var next = 0
    func take() throws(GraphError) -> Dimension {
      guard next < input.rank else { throw error("keeps more dimensions than \(input) has") }
      next += 1
      return input[next - 1]
    }
    for target in targets {
      switch target {
      case .size(let size):
        output.append(.fixed(size))
        next += 1
      case .keep: output.append(try take())
      case .infer:
        inferred = output.count
        output.append(1)
        next += 1
      case .keepRest:
        while next < input.rank { output.append(try take()) }
      case .merge: output.append(try merged([try take(), try take()]))
      case .split(let first, let second):
        let whole = try take()
        if first == -1 {
          output += [try quotient([whole], [.fixed(second)], input), .fixed(second)]
        } else if second == -1 {
          output += [.fixed(first), try quotient([whole], [.fixed(first)], input)]
        } else {
          guard try quotient([whole], [.fixed(first)], input) == .fixed(second) else {
            throw error("\(whole) is not \(first) · \(second)")
          }
          output += [.fixed(first), .fixed(second)]
        }
      }
    }
    if let inferred {
      output[inferred] = try quotient(input.dimensions, output, input)
    } else {
      guard try quotient(input.dimensions, output, input) == 1 else {
        throw error("\(input) has not as many elements as \(Shape(output))")
      }
    }
    guard output.count <= 8 else { throw error("gives \(output.count) dimensions, at most 8 are supported") }
    return Shape(output)
  }

  /// The axes that a reduction removes, from the front, in ascending order.
  package func axes(of reduction: Operation.Reduction, rank: Int) throws(GraphError) -> [Int] {
    guard rank >= 1 else { throw error("needs one dimension or more") }
    if reduction.axes.isEmpty { return Array(0..<rank) }
    var axes: Set<Int> = []
    for axis in reduction.axes {
      guard axes.insert(try resolve(axis: axis, rank: rank)).inserted else {
        throw error("the axes \(reduction.axes) name one twice")
      }
    }
    return axes.sorted()
  }

  private func tile(_ input: Shape, _ repetitions: [Int]) throws(GraphError) -> Shape {
    let rank = max(input.rank, repetitions.count)
    guard rank <= 8 else { throw error("gives \(rank) dimensions, at most 8 are supported") }
    let dimensions = [Dimension](repeating: 1, count: rank - input.rank) + input.dimensions
    let factors = [Int](repeating: 1, count: rank - repetitions.count) + repetitions
    var output: [Dimension] = []
    for (dimension, factor) in zip(dimensions, factors) {
      let (coefficient, _) = try product([dimension, .fixed(factor)])
      if case .batch = dimension { output.append(.batch(coefficient)) } else { output.append(.fixed(coefficient)) }
    }
    return Shape(output)
  }

  // MARK: Arithmetic of dimensions

  /// The product as coefficient · N^power.
  private func product(_ dimensions: [Dimension]) throws(GraphError) -> (coefficient: Int, power: Int) {
    var coefficient = 1
    var power = 0
    for dimension in dimensions {
      let factor: Int
      switch dimension {
      case .fixed(let size): factor = size
      case .batch(let size):
        factor = size
        power += 1
      }
      let (result, overflow) = coefficient.multipliedReportingOverflow(by: factor)
      guard !overflow, factor >= 1, result <= Self.maximumElements else {
        throw GraphError(
          .tooLarge, node: node, operation: operation.name,
          message: "a tensor of shape \(Shape(dimensions)) has more than \(Self.maximumElements) elements")
      }
      coefficient = result
    }
    return (coefficient, power)
  }

  private func merged(_ dimensions: [Dimension]) throws(GraphError) -> Dimension {
    let (coefficient, power) = try product(dimensions)
    switch power {
    case 0: return .fixed(coefficient)
    case 1: return .batch(coefficient)
    default: throw error("cannot merge \(Shape(dimensions)): the batch size occurs \(power) times")
    }
  }

  private func quotient(
    _ whole: [Dimension], _ parts: [Dimension], _ input: Shape
  ) throws(GraphError) -> Dimension {
    let (a, b) = (try product(whole), try product(parts))
    guard a.coefficient % b.coefficient == 0, a.power - b.power == 0 || a.power - b.power == 1 else {
      throw error("\(Shape(whole)) does not divide into \(Shape(parts)); the input is \(input)")
    }
    return a.power == b.power ? .fixed(a.coefficient / b.coefficient) : .batch(a.coefficient / b.coefficient)
  }

  /// An axis from the front.
  package func resolve(axis: Int, rank: Int) throws(GraphError) -> Int {
    let resolved = axis < 0 ? axis + rank : axis
    guard (0..<rank).contains(resolved) else { throw error("there is no axis \(axis) of \(rank)") }
    return resolved
  }

  private func size(_ shape: Shape, _ axis: Int) throws(GraphError) -> Int {
    guard let size = shape[axis].fixed else {
      throw error("axis \(axis) of \(shape) must be a number, it depends on the batch size")
    }
    return size
  }

  /// Channels, height and width of an image batch.
  private func image(_ shape: Shape) throws(GraphError) -> (channels: Int, height: Int, width: Int) {
    guard shape.rank == 4 else { throw error("needs images (N, C, H, W), found shape \(shape)") }
    return (try size(shape, 1), try size(shape, 2), try size(shape, 3))
  }
}
