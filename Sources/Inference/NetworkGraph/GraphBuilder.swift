/// Writes down a network operation by operation.
///
/// ```swift
/// var g = GraphBuilder(input: "data", channels: 3, height: 112, width: 112)
/// var x = g.multiply(g.subtract(g.input, 127.5), 0.0078125)
/// x = g.convolution("conv0", x, filters: 64, kernel: 3, stride: 2, pad: 1, bias: false)
/// x = g.prelu("relu0", g.batchNorm("bn0", x))
/// let graph = try g.finish(x)
/// ```
///
/// Shapes are worked out as the network grows. The first mistake is kept, later operations do nothing, and `finish`
/// throws it: model code needs no `try` on every line. Layers that learn are named; others may be, and else get the
/// names that MXNet gives (`_plus0`, `flatten0` …).
///
/// Every method is `mutating`, also those that only look: Swift then evaluates nested calls such as
/// `g.finish(g.relu(x))` before it reads the builder.
public struct GraphBuilder: Sendable {
  /// A tensor of the network under construction.
  public typealias Value = NetworkGraph.Value
  /// Height and width.
  public typealias Extent = NetworkGraph.Extent
  /// Padding on four sides.
  public typealias Padding = NetworkGraph.Padding
  /// What a node computes.
  public typealias Operation = NetworkGraph.Operation

  /// The first input.
  public private(set) var input = Value(node: 0)

  private var nodes: [NetworkGraph.Node] = []
  private var shapes: [NetworkGraph.Shape] = []
  private var names: Set<String> = []
  private var counters: [String: Int] = [:]
  private var failure: GraphError?

  /// Begins a network over image batches (N, channels, height, width).
  public init(input name: String = "data", channels: Int, height: Int, width: Int) {
    input = add(.input(.images(channels: channels, height: height, width: width)), named: name)
  }

  /// Begins a network without inputs; `addInput` adds them.
  public init() {}

  /// Adds an input.
  public mutating func addInput(_ name: String, _ shape: NetworkGraph.Shape) -> Value {
    let value = add(.input(shape), named: name)
    if nodes.count == 1 { input = value }
    return value
  }

  /// The shape of a tensor; nil after a mistake.
  public mutating func shape(of value: Value) -> NetworkGraph.Shape? {
    failure == nil && shapes.indices.contains(value.node) ? shapes[value.node] : nil
  }

  /// The size of the channel axis (axis 1); 1 after a mistake, which `finish` reports.
  public mutating func channels(of value: Value) -> Int {
    guard let shape = shape(of: value), shape.rank >= 2 else { return 1 }
    return shape[1].fixed ?? 1
  }

  /// Adds any operation.
  ///
  /// - Parameters:
  ///   - operation: what the node computes.
  ///   - inputs: the tensors it takes.
  ///   - name: unique name of the node; nil numbers it as MXNet does.
  ///   - parameters: names of its learned parameters where they differ from MXNet's, in the order of its roles.
  public mutating func add(
    _ operation: Operation, _ inputs: [Value] = [], named name: String? = nil, parameters: [String]? = nil
  ) -> Value {
    guard failure == nil else { return Value(node: 0) }
    let name = name ?? automaticName(operation)
    let node = NetworkGraph.Node(name: name, operation: operation, inputs: inputs, parameters: parameters)
    do {
      guard names.insert(name).inserted else {
        throw GraphError(.invalid, node: name, operation: operation.name, message: "the name is used twice")
      }
      for input in inputs where !nodes.indices.contains(input.node) {
        throw GraphError(
          .invalid, node: name, operation: operation.name, message: "takes a tensor of another network")
      }
      let result = try ShapeInference(node: name, operation: operation).infer(inputs.map { shapes[$0.node] })
      nodes.append(node)
      shapes.append(result.output)
    } catch let error as GraphError {
      failure = error
      return Value(node: 0)
    } catch {
      return Value(node: 0)
    }
    return Value(node: nodes.count - 1)
  }

  /// The finished network with its nodes in depth-first order, without those that no output needs.
  ///
  /// - Throws: the first `GraphError` of the construction.
  public mutating func finish(
    _ outputs: Value..., preprocessing: Preprocessing? = nil
  ) throws(GraphError) -> NetworkGraph {
    try finish(outputs, preprocessing: preprocessing)
  }

  /// The finished network with its nodes in depth-first order, without those that no output needs.
  ///
  /// - Throws: the first `GraphError` of the construction.
  public mutating func finish(_ outputs: [Value], preprocessing: Preprocessing? = nil) throws(GraphError)
    -> NetworkGraph
  {
    if let failure { throw failure }
    let graph = try NetworkGraph(nodes: nodes, outputs: outputs, preprocessing: preprocessing).ordered()
    _ = try graph.parameters()
    return graph
  }

  private mutating func automaticName(_ operation: Operation) -> String {
    let hint = operation.automaticName
    while true {
      let count = counters[hint, default: 0]
      counters[hint] = count + 1
      if !names.contains("\(hint)\(count)") { return "\(hint)\(count)" }
    }
  }
}

// MARK: Layers that learn

extension GraphBuilder {
  /// Two-dimensional convolution: (N, C, H, W) → (N, filters, H′, W′).
  public mutating func convolution(
    _ name: String, _ x: Value, filters: Int, kernel: Extent, stride: Extent = 1, pad: Padding = 0,
    dilation: Extent = 1, groups: Int = 1, bias: Bool = true
  ) -> Value {
    let convolution = Operation.Convolution(
      filters: filters, kernel: kernel, stride: stride, pad: pad, dilation: dilation, groups: groups, bias: bias)
    return add(.convolution(convolution), [x], named: name)
  }

  /// Transposed convolution: (N, C, H, W) → (N, filters, H′, W′).
  public mutating func deconvolution(
    _ name: String, _ x: Value, filters: Int, kernel: Extent, stride: Extent = 1, pad: Padding = 0,
    dilation: Extent = 1, outputPadding: Extent = 0, groups: Int = 1, bias: Bool = false
  ) -> Value {
    let deconvolution = Operation.Deconvolution(
      filters: filters, kernel: kernel, stride: stride, pad: pad, dilation: dilation, outputPadding: outputPadding,
      groups: groups, bias: bias)
    return add(.deconvolution(deconvolution), [x], named: name)
  }

  /// Fully connected layer: (N, …) → (N, units).
  public mutating func fullyConnected(
    _ name: String, _ x: Value, units: Int, bias: Bool = true, flatten: Bool = true
  ) -> Value {
    add(.fullyConnected(.init(units: units, bias: bias, flatten: flatten)), [x], named: name)
  }

  /// Batch normalisation over `axis`; the shape stays.
  public mutating func batchNorm(
    _ name: String, _ x: Value, epsilon: Double = 1e-3, momentum: Double = 0.9, fixGamma: Bool = false, axis: Int = 1
  ) -> Value {
    add(.batchNorm(.init(epsilon: epsilon, momentum: momentum, fixGamma: fixGamma, axis: axis)), [x], named: name)
  }

  /// Layer normalisation along `axis`; the shape stays.
  public mutating func layerNorm(_ name: String, _ x: Value, epsilon: Double = 1e-5, axis: Int = -1) -> Value {
    add(.layerNorm(.init(epsilon: epsilon, axis: axis)), [x], named: name)
  }

  /// Leaky rectifier with a learned slope for each channel, or one for all; the shape stays.
  public mutating func prelu(_ name: String, _ x: Value, shared: Bool = false) -> Value {
    add(.prelu(shared: shared), [x], named: name)
  }

  /// A learned or constant tensor as an operand.
  public mutating func parameter(_ name: String, shape: [Int]) -> Value {
    add(.parameter(shape: shape), named: name)
  }
}

// MARK: Arithmetic

extension GraphBuilder {
  /// Adds a constant.
  public mutating func add(_ x: Value, _ constant: Double, named name: String? = nil) -> Value {
    add(.scalar(.init(.add, constant)), [x], named: name)
  }

  /// Subtracts a constant.
  public mutating func subtract(_ x: Value, _ constant: Double, named name: String? = nil) -> Value {
    add(.scalar(.init(.subtract, constant)), [x], named: name)
  }

  /// Multiplies with a constant.
  public mutating func multiply(_ x: Value, _ constant: Double, named name: String? = nil) -> Value {
    add(.scalar(.init(.multiply, constant)), [x], named: name)
  }

  /// Divides by a constant.
  public mutating func divide(_ x: Value, _ constant: Double, named name: String? = nil) -> Value {
    add(.scalar(.init(.divide, constant)), [x], named: name)
  }

  /// a + b of equal shapes, or with `broadcasting` of shapes that differ in axes of 1.
  public mutating func add(_ a: Value, _ b: Value, broadcasting: Bool = false, named name: String? = nil) -> Value {
    add(.elementwise(.init(.add, broadcasts: broadcasting)), [a, b], named: name)
  }

  /// a − b of equal shapes, or with `broadcasting` of shapes that differ in axes of 1.
  public mutating func subtract(
    _ a: Value, _ b: Value, broadcasting: Bool = false, named name: String? = nil
  ) -> Value {
    add(.elementwise(.init(.subtract, broadcasts: broadcasting)), [a, b], named: name)
  }

  /// a / b of equal shapes, or with `broadcasting` of shapes that differ in axes of 1.
  public mutating func divide(_ a: Value, _ b: Value, broadcasting: Bool = false, named name: String? = nil) -> Value {
    add(.elementwise(.init(.divide, broadcasts: broadcasting)), [a, b], named: name)
  }

  /// a · b of equal shapes, or with `broadcasting` of shapes that differ in axes of 1.
  public mutating func multiply(
    _ a: Value, _ b: Value, broadcasting: Bool = false, named name: String? = nil
  ) -> Value {
    add(.elementwise(.init(.multiply, broadcasts: broadcasting)), [a, b], named: name)
  }
}

// MARK: Everything else

extension GraphBuilder {
  /// A function of each element.
  public mutating func activation(
    _ x: Value, _ activation: Operation.Activation, named name: String? = nil
  ) -> Value {
    add(.activation(activation), [x], named: name)
  }

  /// The rectifier max(x, 0).
  public mutating func relu(_ x: Value, named name: String? = nil) -> Value {
    activation(x, .relu, named: name)
  }

  /// The logistic function 1 / (1 + e^−x).
  public mutating func sigmoid(_ x: Value, named name: String? = nil) -> Value {
    activation(x, .sigmoid, named: name)
  }

  /// Maximum of each window.
  public mutating func maxPool(
    _ x: Value, kernel: Extent, stride: Extent = 1, pad: Padding = 0,
    convention: Operation.Pooling.Convention = .valid, named name: String? = nil
  ) -> Value {
    add(.pooling(.init(.max, kernel: kernel, stride: stride, pad: pad, convention: convention)), [x], named: name)
  }

  /// Average of each window.
  public mutating func averagePool(
    _ x: Value, kernel: Extent, stride: Extent = 1, pad: Padding = 0,
    convention: Operation.Pooling.Convention = .valid, countsPadding: Bool = true, named name: String? = nil
  ) -> Value {
    let pooling = Operation.Pooling(
      .average, kernel: kernel, stride: stride, pad: pad, convention: convention, countsPadding: countsPadding)
    return add(.pooling(pooling), [x], named: name)
  }

  /// Average of each channel: (N, C, H, W) → (N, C, 1, 1).
  public mutating func globalAveragePool(_ x: Value, named name: String? = nil) -> Value {
    add(.pooling(.init(.average, kernel: nil, isGlobal: true)), [x], named: name)
  }

  /// Merges all dimensions but the first: (N, …) → (N, product of the rest).
  public mutating func flatten(_ x: Value, named name: String? = nil) -> Value {
    add(.flatten, [x], named: name)
  }

  /// The same elements under another shape; in a literal 0 keeps a dimension and −1 infers it.
  public mutating func reshape(_ x: Value, _ targets: [Operation.ReshapeTarget], named name: String? = nil) -> Value {
    add(.reshape(targets), [x], named: name)
  }

  /// Dimensions reordered.
  public mutating func transpose(_ x: Value, _ permutation: [Int], named name: String? = nil) -> Value {
    add(.transpose(permutation: permutation), [x], named: name)
  }

  /// Tensors joined along an axis.
  public mutating func concat(_ tensors: [Value], axis: Int = 1, named name: String? = nil) -> Value {
    add(.concat(axis: axis), tensors, named: name)
  }

  /// Exponentials divided by their sum along an axis.
  public mutating func softmax(_ x: Value, axis: Int = -1, named name: String? = nil) -> Value {
    add(.softmax(axis: axis), [x], named: name)
  }

  /// Random zeroing while training.
  public mutating func dropout(_ x: Value, rate: Double, named name: String? = nil) -> Value {
    add(.dropout(rate: rate), [x], named: name)
  }

  /// Matrix products over the last two axes: (…, M, K) and (…, K, P), or (…, P, K) transposed, give (…, M, P).
  public mutating func matmul(
    _ a: Value, _ b: Value, transposesSecond: Bool = false, named name: String? = nil
  ) -> Value {
    add(.matmul(transposesSecond: transposesSecond), [a, b], named: name)
  }

  /// Random zeroing of whole samples while training.
  public mutating func dropPath(_ x: Value, rate: Double, named name: String? = nil) -> Value {
    add(.dropPath(rate: rate), [x], named: name)
  }

  /// Division by the Euclidean norm.
  public mutating func l2Normalize(
    _ x: Value, mode: Operation.L2Normalize.Mode = .instance, epsilon: Double = 1e-10, named name: String? = nil
  ) -> Value {
    add(.l2Normalize(.init(mode: mode, epsilon: epsilon)), [x], named: name)
  }

  /// Elements `begin ..< end` of one axis; nil is the end.
  public mutating func slice(
    _ x: Value, axis: Int, begin: Int, end: Int?, named name: String? = nil
  ) -> Value {
    add(.slice(.init(axis: axis, begin: begin, end: end)), [x], named: name)
  }

  /// The part of an image that has the height and width of another.
  public mutating func crop(
    _ x: Value, like other: Value, offset: Extent = 0, isCentered: Bool = false, named name: String? = nil
  ) -> Value {
    add(.crop(.init(size: nil, offset: offset, isCentered: isCentered)), [x, other], named: name)
  }

  /// Every pixel repeated `scale` times in both directions.
  public mutating func upsampleNearest(_ x: Value, scale: Int, named name: String? = nil) -> Value {
    add(.upsampleNearest(scale: scale), [x], named: name)
  }

  /// Sum over axes, or over all elements.
  public mutating func sum(
    _ x: Value, axes: [Int] = [], keepsDimensions: Bool = false, named name: String? = nil
  ) -> Value {
    add(.reduction(.init(.sum, axes: axes, keepsDimensions: keepsDimensions)), [x], named: name)
  }

  /// Mean over axes, or over all elements.
  public mutating func mean(
    _ x: Value, axes: [Int] = [], keepsDimensions: Bool = false, named name: String? = nil
  ) -> Value {
    add(.reduction(.init(.mean, axes: axes, keepsDimensions: keepsDimensions)), [x], named: name)
  }

  /// The tensor repeated along each axis.
  public mutating func tile(_ x: Value, _ repetitions: [Int], named name: String? = nil) -> Value {
    add(.tile(repetitions: repetitions), [x], named: name)
  }

  /// The tensor itself under another name; `stopsGradient` blocks the backward pass.
  public mutating func identity(_ x: Value, stopsGradient: Bool = false, named name: String? = nil) -> Value {
    add(.identity(stopsGradient: stopsGradient), [x], named: name)
  }
}
