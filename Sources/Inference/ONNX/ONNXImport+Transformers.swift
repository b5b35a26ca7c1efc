import Formats

// What transformers are made of. Older files have no word for layer normalisation and GELU: there the chains of
// arithmetic that stand for them are recognised, link by link, and become one operation. The links are appended as what
// they are; where nothing but the chain took them, they fall out when the graph is put in order.

extension ONNXGraphReader {
  // MARK: Products of computed matrices

  /// A product of two computed tensors, with the transposition of the second one taken up.
  mutating func product(_ x: Value, _ y: Value, transposesSecond: Bool, _ node: ONNXNode) throws(GraphError) -> Value {
    var (second, isTransposed) = (y, transposesSecond)
    let before = nodes[y.node]
    if case .transpose(let given) = before.operation {
      let rank = shapes[y.node].rank
      let permutation = given.isEmpty ? Array((0..<rank).reversed()) : given
      var swapped = Array(0..<rank)
      if rank >= 2 { swapped.swapAt(rank - 2, rank - 1) }
      if rank >= 2, permutation == swapped { (second, isTransposed) = (before.inputs[0], !isTransposed) }
    }
    return try emit(.matmul(transposesSecond: isTransposed), [x, second], for: node)
  }

  // MARK: Layer normalisation

  mutating func layerNormalization(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    a.ignore("stash_type")
    let x = try tensor(0, of: node)
    let shape = shapes[x.node]
    let epsilon = try a.number("epsilon") ?? 1e-5
    let axis = try resolve(try a.integer("axis") ?? -1, shape.rank, a)
    guard axis == shape.rank - 1, let length = shape[axis].fixed else {
      throw a.error(.unsupported, "normalises axis \(axis) and all behind it of \(shape); the last one is supported")
    }
    let base = baseName(node)
    guard let scale = try constant(1, of: node, "scale").flatMap({ Self.row($0, length) }) else {
      throw a.error(.unsupported, "its scale is not \(length) numbers")
    }
    let shift: ONNXConstant?
    if let given = try constant(2, of: node, "bias") {
      guard let row = Self.row(given, length) else { throw a.error(.unsupported, "its bias is not \(length) numbers") }
      shift = row
    } else {
      shift = ONNXConstant(shape: [length], type: .f32, numbers: [Double](repeating: 0, count: length))
    }
    guard let shift else { throw a.error(.tooLarge, "normalises \(length) numbers") }
    return try layerNorm(x, epsilon: epsilon, scale, shift, base, node)
  }

  private mutating func layerNorm(
    _ x: Value, epsilon: Double, _ scale: ONNXConstant, _ shift: ONNXConstant, _ base: String, _ node: ONNXNode
  ) throws(GraphError) -> Value {
    let names = [
      try register(scale, fallback: base + NetworkGraph.ParameterRole.gamma.suffix),
      try register(shift, fallback: base + NetworkGraph.ParameterRole.beta.suffix),
    ]
    return try emit(.layerNorm(.init(epsilon: epsilon)), [x], for: node, parameters: names)
  }

  /// A constant that gives each element of the last axis a number, as a list of them; nil for another one.
  private static func row(_ constant: ONNXConstant, _ length: Int) -> ONNXConstant? {
    guard constant.count == length, constant.shape.last == length else { return nil }
    return constant.reshaped([length])
  }

  /// What a quotient normalises where it is (y − mean y) / √(mean (y − mean y)² + epsilon) along the last axis.
  func normalised(_ x: Value, by divisor: Value) -> (source: Value, epsilon: Double)? {
    func node(_ value: Value) -> NetworkGraph.Node { nodes[value.node] }
    func isMean(_ value: Value, of other: Value) -> Bool {
      guard case .reduction(let reduction) = node(value).operation, reduction.kind == .mean, reduction.keepsDimensions,
        reduction.axes == [shapes[other.node].rank - 1]
      else { return false }
      return node(value).inputs == [other]
    }
    guard case .elementwise(let difference) = node(x).operation, difference.kind == .subtract,
      isMean(node(x).inputs[1], of: node(x).inputs[0]),
      node(divisor).operation == .activation(.squareRoot), let sum = node(divisor).inputs.first,
      case .scalar(let added) = node(sum).operation, added.kind == .add, added.value >= 0,
      let variance = node(sum).inputs.first, let square = node(variance).inputs.first, isMean(variance, of: square),
      case .elementwise(let product) = node(square).operation, product.kind == .multiply, node(square).inputs == [x, x]
    else { return nil }
    return (node(x).inputs[0], added.value)
  }

  /// The next link of a layer normalisation, times a row or plus a row; nil where it is none.
  ///
  /// - Parameter plain: makes the node that computes the link where it is no normalisation.
  mutating func continued(
    _ kind: Operation.Elementwise.Kind, _ link: ONNXKnown, with constant: ONNXConstant, _ node: ONNXNode,
    plain: (inout Self, Value) throws(GraphError) -> Value
  ) throws(GraphError) -> ONNXKnown? {
    guard case .normalised(let x, let epsilon, let scale, let result) = link,
      let length = shapes[x.node].dimensions.last?.fixed, let row = Self.row(constant, length)
    else { return nil }
    switch (kind, scale) {
    case (.multiply, nil):
      return .normalised(of: x, epsilon: epsilon, scale: row, result: try plain(&self, result))
    case (.add, let scale?):
      return .tensor(try layerNorm(x, epsilon: epsilon, scale, row, baseName(node), node))
    default: return nil
    }
  }

  // MARK: GELU

  mutating func gelu(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let kind = try a.text("approximate") ?? "none"
    guard kind == "none" else {
      throw a.error(.unsupported, "approximate = \"\(kind)\" is not supported, only \"none\"")
    }
    return try emit(.activation(.gelu), [try tensor(0, of: a.node)], for: a.node)
  }

  /// The error function where it begins a GELU: erf(x / √2).
  mutating func errorFunction(_ a: ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let before = nodes[try tensor(0, of: a.node).node]
    guard case .scalar(let scalar) = before.operation, let x = before.inputs.first else { throw incompleteGELU(a.node) }
    let factor: Double? =
      switch scalar.kind {
      case .multiply: scalar.value
      case .divide: 1 / scalar.value
      default: nil
      }
    // Half precision rounds √½ by 1e-4.
    guard let factor, abs(factor * 2.0.squareRoot() - 1) < 5e-4 else { throw incompleteGELU(a.node) }
    return .gelu(of: x, .init(hasOne: false, hasFactor: false, scale: 1))
  }

  func incompleteGELU(_ node: ONNXNode) -> GraphError {
    GraphError(
      .unsupported, node: baseName(node), operation: node.op,
      message: "the error function is understood as part of GELU only, x · 0.5 · (1 + erf(x / √2))")
  }

  /// The next link of a GELU; nil where it is none.
  mutating func continuedGELU(
    _ kind: Operation.Elementwise.Kind, of x: Value, _ state: ONNXGELU, with other: ONNXKnown, _ node: ONNXNode
  ) throws(GraphError) -> ONNXKnown? {
    var state = state
    switch (kind, other) {
    case (.add, .constant(let c)) where !state.hasOne && c.uniformValue == 1 && c.shape.count <= shapes[x.node].rank:
      state.hasOne = true
    case (.multiply, .constant(let c)) where state.hasOne && c.shape.count <= shapes[x.node].rank:
      guard let factor = c.uniformValue else { return nil }
      state.scale *= factor
    case (.multiply, .tensor(let y)) where state.hasOne && !state.hasFactor:
      if y != x {
        guard case .scalar(let scalar) = nodes[y.node].operation, scalar.kind == .multiply || scalar.kind == .divide,
          nodes[y.node].inputs == [x]
        else { return nil }
        state.scale *= scalar.kind == .multiply ? scalar.value : 1 / scalar.value
      }
      state.hasFactor = true
    default: return nil
    }
    guard state.hasFactor, state.scale == 0.5 else { return .gelu(of: x, state) }
    return .tensor(try emit(.activation(.gelu), [x], for: node))
  }
}

/// How far a GELU has been read.
struct ONNXGELU {
  /// Whether one was added to the error function.
  var hasOne: Bool
  /// Whether the sum was multiplied with x.
  var hasFactor: Bool
  /// The constants it was multiplied with; ½ completes it.
  var scale: Double
}
