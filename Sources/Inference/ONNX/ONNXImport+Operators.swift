import Formats

extension ONNXGraphReader {
  /// All operators that are read, some of them in certain forms only.
  static let operators: Set<String> = [
    "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "ConvTranspose", "Div", "Dropout", "Elu", "Erf", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu",
    "LpNormalization", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad", "Pow", "ReduceL2", "ReduceMax",
    "ReduceMean", "ReduceSum",
    "ReduceSumSquare", "Reciprocal", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus",
    "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose", "Unsqueeze", "Upsample",
  ]

  mutating func read(_ node: ONNXNode) throws(GraphError) {
    var attributes = ONNXAttributes(node: node, opset: opset)
    guard let output = node.outputs.first(where: { !$0.isEmpty }) else {
      throw attributes.error(.invalid, "makes nothing")
    }
    if let result = try folded(node) {
      learn(output, result)
      return
    }
    if node.op == "Split" {
      try split(&attributes)
    } else {
      learn(output, try result(&attributes))
    }
    try attributes.finish()
  }

  /// What a node makes, as its first output.
  private mutating func result(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    switch node.op {
    case "Conv": return .tensor(try convolution(&a))
    case "ConvTranspose": return .tensor(try deconvolution(&a))
    case "Gemm": return .tensor(try gemm(&a))
    case "MatMul": return .tensor(try matMul(&a))
    case "BatchNormalization": return .tensor(try batchNorm(&a))
    case "LayerNormalization": return .tensor(try layerNormalization(&a))
    case "PRelu": return .tensor(try prelu(&a))
    case "Gelu": return .tensor(try gelu(&a))
    case "Erf": return try errorFunction(a)
    case "Relu": return try activate(.relu, node)
    case "Sigmoid": return try activate(.sigmoid, node)
    case "Tanh": return try activate(.tanh, node)
    case "Softplus": return try activate(.softplus, node)
    case "Softsign": return try activate(.softsign, node)
    case "LeakyRelu": return try activate(.leakyRelu(slope: try a.number("alpha") ?? 0.01), node)
    case "Elu": return try activate(.elu(slope: try a.number("alpha") ?? 1), node)
    case "HardSigmoid":
      let (alpha, beta) = (try a.number("alpha") ?? 0.2, try a.number("beta") ?? 0.5)
      return .tensor(try hardSigmoid(try tensor(0, of: node), alpha, beta, node, isLast: true))
    case "HardSwish":
      let x = try tensor(0, of: node)
      let gate = try hardSigmoid(x, 1.0 / 6, 0.5, node, isLast: false)
      return .tensor(try emit(.elementwise(.init(.multiply)), [x, gate], for: node))
    case "Clip": return try clip(&a)
    case "Add": return try binary(.add, node)
    case "Sub": return try binary(.subtract, node)
    case "Mul": return try binary(.multiply, node)
    case "Div": return try binary(.divide, node)
    case "Sum": return try variadic(.add, node)
    case "Max": return try variadic(.maximum, node)
    case "Min": return try variadic(.minimum, node)
    case "Neg": return .tensor(try emit(.scalar(.init(.multiply, -1)), [try tensor(0, of: node)], for: node))
    case "Reciprocal": return .tensor(try emit(.scalar(.init(.divideInto, 1)), [try tensor(0, of: node)], for: node))
    case "Pow": return try power(&a)
    case "Sqrt":
      let root = try emit(.activation(.squareRoot), [try tensor(0, of: node)], for: node)
      guard case .sumOfSquares(let x, let axes, let epsilon, _)? = try input(0, of: node) else { return .tensor(root) }
      return .norm(of: x, axes: axes, epsilon: epsilon, result: root)
    case "Tile":
      guard let repeats = try constant(1, of: node, "repeats")?.integers else {
        throw a.error(.unsupported, "its repeats are not known")
      }
      return .tensor(try emit(.tile(repetitions: repeats), [try tensor(0, of: node)], for: node))
    case "LpNormalization":
      try a.require("p", 2)
      let x = try tensor(0, of: node)
      let rank = shapes[x.node].rank
      let axis = try resolve(try a.integer("axis") ?? -1, rank, a)
      return .tensor(try l2Normalize(x, axes: [axis], epsilon: 1e-30, a))
    case "Softmax": return .tensor(try softmax(&a))
    case "MaxPool": return .tensor(try pool(.max, &a))
    case "AveragePool": return .tensor(try pool(.average, &a))
    case "GlobalAveragePool": return .tensor(try globalPool(.average, try tensor(0, of: node), node))
    case "GlobalMaxPool": return .tensor(try globalPool(.max, try tensor(0, of: node), node))
    case "ReduceMean", "ReduceMax", "ReduceSum", "ReduceSumSquare", "ReduceL2": return try reduce(&a)
    case "Identity":
      guard case .tensor(let x)? = try input(0, of: node) else { return try passed(a) }
      return .tensor(try emit(.identity(stopsGradient: false), [x], for: node))
    case "Dropout":
      let old = try a.number("ratio")
      a.ignore("seed", "is_test", "consumed_inputs")
      if let mode = try constant(2, of: node, "training mode"), mode.uniformValue != 0 {
        throw a.error(.unsupported, "drops while the network runs")
      }
      let given = try constant(1, of: node, "ratio")?.uniformValue.map { ONNXAttributes.shortest(Float($0)) }
      let rate = given ?? old ?? 0.5
      return .tensor(try emit(.dropout(rate: rate), [try tensor(0, of: node)], for: node))
    case "Cast":
      a.ignore("saturate")
      let code = try a.integer("to") ?? 0
      guard [.f32, .f16, .f64, .bf16].contains(StoredType(onnxCode: code)) else {
        throw a.error(.unsupported, "a computed tensor is cast to ONNX's type \(code), not a floating-point one")
      }
      return try passed(a)
    case "Expand":
      guard case .norm? = try input(0, of: node) else {
        throw a.error(.unsupported, "is supported for constants and norms only")
      }
      return try passed(a)
    case "Pad": return try pad(&a)
    case "Flatten", "Reshape", "Transpose", "Concat", "Slice", "Squeeze", "Unsqueeze", "Gather", "Resize", "Upsample":
      return try rearranged(&a)
    default: throw a.error(.unsupported, "is supported where its inputs are constants or shapes only")
    }
  }

  /// The first input as it is.
  private mutating func passed(_ a: ONNXAttributes) throws(GraphError) -> ONNXKnown {
    guard let found = try input(0, of: a.node) else { throw a.error(.invalid, "has no input") }
    return found
  }

  func resolve(_ axis: Int, _ rank: Int, _ a: ONNXAttributes) throws(GraphError) -> Int {
    let resolved = axis < 0 ? axis + rank : axis
    guard (0..<rank).contains(resolved) else { throw a.error(.shape, "there is no axis \(axis) of \(rank)") }
    return resolved
  }

  // MARK: Elements

  private mutating func activate(
    _ activation: Operation.Activation, _ node: ONNXNode
  ) throws(GraphError) -> ONNXKnown {
    .tensor(try emit(.activation(activation), [try tensor(0, of: node)], for: node))
  }

  private mutating func hardSigmoid(
    _ x: Value, _ alpha: Double, _ beta: Double, _ node: ONNXNode, isLast: Bool
  ) throws(GraphError) -> Value {
    let scaled = try emit(.scalar(.init(.multiply, alpha)), [x], for: node, suffix: "scaled")
    let moved = try emit(.scalar(.init(.add, beta)), [scaled], for: node, suffix: "moved")
    return try emit(
      .activation(.clip(minimum: 0, maximum: 1)), [moved], for: node, suffix: isLast ? nil : "gate")
  }

  private mutating func clip(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    var low = try a.number("min")
    var high = try a.number("max")
    if let constant = try constant(1, of: node, "lower limit") { low = constant.uniformValue }
    if let constant = try constant(2, of: node, "upper limit") { high = constant.uniformValue }
    // The largest number that the type holds is no limit.
    func isNone(_ limit: Double) -> Bool { abs(limit) >= Double(Float.greatestFiniteMagnitude) }
    if let limit = low, isNone(limit) { low = nil }
    if let limit = high, isNone(limit) { high = nil }
    if case .norm(let x, let axes, let epsilon, let norm)? = try input(0, of: node), let low, high == nil,
      (0...1e-6).contains(low)
    {
      // max(‖x‖, e): beyond e the same number, and e² under the root keeps zero apart from zero as well.
      let limited = try emit(.scalar(.init(.maximum, low)), [norm], for: node)
      return .norm(of: x, axes: axes, epsilon: max(epsilon, low * low), result: limited)
    }
    let x = try tensor(0, of: node)
    func shortest(_ limit: Double) -> Double { ONNXAttributes.shortest(Float(limit)) }
    switch (low, high) {
    case (nil, nil): return .tensor(try emit(.identity(stopsGradient: false), [x], for: node))
    case (0?, nil): return .tensor(try emit(.activation(.relu), [x], for: node))
    case (let low?, nil): return .tensor(try emit(.scalar(.init(.maximum, shortest(low))), [x], for: node))
    case (nil, let high?): return .tensor(try emit(.scalar(.init(.minimum, shortest(high))), [x], for: node))
    case (let low?, let high?):
      let clip = Operation.Activation.clip(minimum: shortest(low), maximum: shortest(high))
      return .tensor(try emit(.activation(clip), [x], for: node))
    }
  }

  private mutating func power(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    guard let exponent = try constant(1, of: node, "exponent")?.uniformValue else {
      throw a.error(.unsupported, "raises to different powers")
    }
    let x = try tensor(0, of: node)
    switch exponent {
    case 1: return .tensor(x)
    case 2: return .square(of: x, product: try emit(.elementwise(.init(.multiply)), [x, x], for: node))
    default: throw a.error(.unsupported, "raises to the power \(exponent); only squares are supported")
    }
  }

  private mutating func variadic(
    _ kind: Operation.Elementwise.Kind, _ node: ONNXNode
  ) throws(GraphError) -> ONNXKnown {
    guard var result = try input(0, of: node) else {
      throw GraphError(.invalid, node: baseName(node), operation: node.op, message: "has no input")
    }
    if node.inputs.count == 1 {
      return .tensor(try emit(.identity(stopsGradient: false), [try tensor(result, of: node)], for: node))
    }
    for index in 1..<node.inputs.count {
      guard let other = try input(index, of: node) else { continue }
      let isLast = index == node.inputs.count - 1
      result = try combine(kind, result, other, node, suffix: isLast ? nil : "part\(index)")
    }
    return result
  }

  private mutating func binary(
    _ kind: Operation.Elementwise.Kind, _ node: ONNXNode
  ) throws(GraphError) -> ONNXKnown {
    guard node.inputs.count == 2, let a = try input(0, of: node), let b = try input(1, of: node) else {
      throw GraphError(.invalid, node: baseName(node), operation: node.op, message: "takes two tensors")
    }
    if kind == .add {
      if let value = try addedBias(a, b, node) { return .tensor(value) }
      if let value = try addedBias(b, a, node) { return .tensor(value) }
    }
    return try combine(kind, a, b, node, suffix: nil)
  }

  /// Arithmetic of two things known.
  private mutating func combine(
    _ kind: Operation.Elementwise.Kind, _ a: ONNXKnown, _ b: ONNXKnown, _ node: ONNXNode, suffix: String?
  ) throws(GraphError) -> ONNXKnown {
    switch (kind, a, b) {
    case (.divide, .tensor(let x), .norm(let y, let axes, let epsilon, _))
    where x == y && Self.normalization(axes, rank: shapes[x.node].rank) != nil:
      return .tensor(try l2Normalize(x, axes: axes, epsilon: epsilon, ONNXAttributes(node: node, opset: opset)))
    case (.add, .sumOfSquares(let x, let axes, let epsilon, let sum), .constant(let c)),
      (.add, .constant(let c), .sumOfSquares(let x, let axes, let epsilon, let sum)):
      if let value = c.uniformValue, value >= 0,
        let moved = try scalar(kind, c, .tensor(sum), constantFirst: false, node, suffix)
      {
        return .sumOfSquares(
          of: x, axes: axes, epsilon: epsilon + ONNXAttributes.shortest(Float(value)), result: moved)
      }
    case (.maximum, .norm(let x, let axes, let epsilon, let norm), .constant(let c)):
      if let low = c.uniformValue, (0...1e-6).contains(low),
        let limited = try scalar(kind, c, .tensor(norm), constantFirst: false, node, suffix)
      {
        return .norm(of: x, axes: axes, epsilon: max(epsilon, low * low), result: limited)
      }
    case (.divide, .tensor(let x), .tensor(let y)):
      if let (source, epsilon) = normalised(x, by: y) {
        let result = try elementwise(kind, x, y, node, suffix)
        return .normalised(of: source, epsilon: epsilon, scale: nil, result: result)
      }
    case (_, .gelu(let x, let state), let other), (_, let other, .gelu(let x, let state)):
      guard let next = try continuedGELU(kind, of: x, state, with: other, node) else { throw incompleteGELU(node) }
      return next
    case (_, let link, .constant(let c)) where link.isNormalised,
      (_, .constant(let c), let link) where link.isNormalised:
      let next = try continued(kind, link, with: c, node) { (reader, result) throws(GraphError) in
        if let value = try reader.scalar(kind, c, .tensor(result), constantFirst: false, node, suffix) { return value }
        return try reader.elementwise(kind, result, try reader.tensor(.constant(c), of: node), node, suffix)
      }
      if let next { return next }
    default: break
    }
    return try combineTensors(kind, a, b, node, suffix: suffix)
  }

  private mutating func combineTensors(
    _ kind: Operation.Elementwise.Kind, _ a: ONNXKnown, _ b: ONNXKnown, _ node: ONNXNode, suffix: String?
  ) throws(GraphError) -> ONNXKnown {
    switch (a, b) {
    case (.constant(let c), _):
      if let result = try scalar(kind, c, b, constantFirst: true, node, suffix) { return .tensor(result) }
    case (_, .constant(let c)):
      if let result = try scalar(kind, c, a, constantFirst: false, node, suffix) { return .tensor(result) }
    default: break
    }
    let (x, y) = (try tensor(a, of: node), try tensor(b, of: node))
    let value = try elementwise(kind, x, y, node, suffix)
    return kind == .multiply && x == y ? .square(of: x, product: value) : .tensor(value)
  }

  private mutating func elementwise(
    _ kind: Operation.Elementwise.Kind, _ x: Value, _ y: Value, _ node: ONNXNode, _ suffix: String?
  ) throws(GraphError) -> Value {
    let operation = Operation.elementwise(.init(kind, broadcasts: shapes[x.node] != shapes[y.node]))
    return try emit(operation, [x, y], for: node, suffix: suffix)
  }

  /// Arithmetic with a constant whose elements are all the same and that does not enlarge the tensor; nil for others.
  private mutating func scalar(
    _ kind: Operation.Elementwise.Kind, _ c: ONNXConstant, _ other: ONNXKnown, constantFirst: Bool, _ node: ONNXNode,
    _ suffix: String?
  ) throws(GraphError) -> Value? {
    guard let number = c.uniformValue, number.isFinite else { return nil }
    let x = try tensor(other, of: node)
    let shape = shapes[x.node]
    guard c.shape.count <= shape.rank else { return nil }
    for (size, dimension) in zip(c.shape.reversed(), shape.dimensions.reversed())
    where size != 1 && dimension != .fixed(size) { return nil }
    let scalarKind: Operation.ScalarArithmetic.Kind =
      switch kind {
      case .add: .add
      case .subtract: constantFirst ? .subtractFrom : .subtract
      case .multiply: .multiply
      case .divide: constantFirst ? .divideInto : .divide
      case .maximum: .maximum
      case .minimum: .minimum
      }
    guard kind != .divide || constantFirst || number != 0 else { return nil }
    let value = c.isInteger ? number : ONNXAttributes.shortest(Float(number))
    return try emit(.scalar(.init(scalarKind, value)), [x], for: node, suffix: suffix)
  }

  // MARK: Norms

  private mutating func reduce(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    guard let found = try input(0, of: node) else { throw a.error(.invalid, "has no input") }
    var square: Value?
    var x = try tensor(found, of: node)
    if case .square(let source, _) = found, node.op == "ReduceSum" { (square, x) = (source, source) }
    let rank = shapes[x.node].rank
    let fromInput = try constant(1, of: node, "axes")?.integers
    let emptyMeansNone = try a.flag("noop_with_empty_axes") ?? false
    var axes: [Int] = []
    for axis in try a.integers("axes") ?? fromInput ?? [] { axes.append(try resolve(axis, rank, a)) }
    guard !axes.isEmpty || !emptyMeansNone else { throw a.error(.unsupported, "reduces nothing") }
    if axes.isEmpty { axes = Array(0..<rank) }
    axes = Set(axes).sorted()
    let keeps = try a.flag("keepdims") ?? true
    if node.op == "ReduceL2" || node.op == "ReduceSumSquare" {
      let product = try emit(.elementwise(.init(.multiply)), [x, x], for: node, suffix: "square")
      let isRoot = node.op == "ReduceL2"
      let sum = try emit(
        .reduction(.init(.sum, axes: axes, keepsDimensions: keeps)), [product], for: node,
        suffix: isRoot ? "sum" : nil)
      let result = isRoot ? try emit(.activation(.squareRoot), [sum], for: node) : sum
      // Without its dimension a norm lines up with other axes, so that no division by it is a normalisation.
      guard keeps else { return .tensor(result) }
      return isRoot
        ? .norm(of: x, axes: axes, epsilon: 1e-30, result: result)
        : .sumOfSquares(of: x, axes: axes, epsilon: 0, result: result)
    }
    let source = try tensor(found, of: node)
    if let square, keeps {
      let sum = try emit(.reduction(.init(.sum, axes: axes, keepsDimensions: true)), [source], for: node)
      return .sumOfSquares(of: square, axes: axes, epsilon: 0, result: sum)
    }
    guard rank == 4, axes == [2, 3] else {
      guard node.op != "ReduceMax" else { throw a.error(.unsupported, "takes the maximum along the axes \(axes)") }
      let kind: Operation.Reduction.Kind = node.op == "ReduceMean" ? .mean : .sum
      return .tensor(
        try emit(.reduction(.init(kind, axes: axes, keepsDimensions: keeps)), [source], for: node))
    }
    let kind: Operation.Pooling.Kind =
      switch node.op {
      case "ReduceMean": .average
      case "ReduceMax": .max
      default: .sum
      }
    guard !keeps else { return .tensor(try globalPool(kind, source, node)) }
    let pooled = try emit(
      .pooling(.init(kind, kernel: nil, isGlobal: true)), [source], for: node, suffix: "pooled")
    return .tensor(try emit(.flatten, [pooled], for: node))
  }

  private mutating func globalPool(
    _ kind: Operation.Pooling.Kind, _ x: Value, _ node: ONNXNode
  ) throws(GraphError) -> Value {
    try emit(.pooling(.init(kind, kernel: nil, isGlobal: true)), [x], for: node)
  }

  private mutating func l2Normalize(
    _ x: Value, axes: [Int], epsilon: Double, _ a: ONNXAttributes
  ) throws(GraphError) -> Value {
    guard let mode = Self.normalization(axes, rank: shapes[x.node].rank) else {
      throw a.error(.unsupported, "normalises along the axes \(axes)")
    }
    return try emit(.l2Normalize(.init(mode: mode, epsilon: epsilon)), [x], for: a.node)
  }

  /// Which normalisation runs along these axes; nil for none.
  private static func normalization(_ axes: [Int], rank: Int) -> Operation.L2Normalize.Mode? {
    guard rank >= 2 else { return nil }
    if axes == Array(1..<rank) { return .instance }
    if axes == [1] { return .channel }
    return rank >= 3 && axes == Array(2..<rank) ? .spatial : nil
  }

  private mutating func softmax(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let x = try tensor(0, of: a.node)
    let shape = shapes[x.node]
    let axis = try a.integer("axis") ?? (opset >= 13 ? -1 : 1)
    if opset < 13 {
      // Older versions take everything from the axis on as one.
      let rest = shape.dimensions.dropFirst(try resolve(axis, shape.rank, a) + 1)
      guard rest.allSatisfy({ $0 == 1 }) else {
        throw a.error(.unsupported, "runs over several dimensions of \(shape) at once")
      }
    }
    return try emit(.softmax(axis: axis), [x], for: a.node)
  }
}
