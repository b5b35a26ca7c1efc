import Formats

extension ONNXExport {
  func unsupported(_ node: NetworkGraph.Node, _ message: String) -> GraphError {
    GraphError(.unsupported, node: node.name, operation: node.operation.name, message: message)
  }

  /// Writes one node of the graph as one or more operators, the last of which makes a tensor of the node's name.
  mutating func append(_ node: NetworkGraph.Node, _ index: Int) throws(GraphError) {
    let x = operands(node)
    switch node.operation {
    case .input, .parameter: break
    case .scalar(let scalar): try append(scalar, node, x[0])
    case .elementwise(let elementwise): add(Self.op(elementwise.kind), node.name, x)
    case .convolution(let c):
      let weights = try weights(node)
      add("Conv", node.name, x + weights, Self.window(c.kernel, c.stride, c.pad, c.dilation, c.groups))
    case .deconvolution(let d):
      let weights = try weights(node)
      var attributes = Self.window(d.kernel, d.stride, d.pad, d.dilation, d.groups)
      if d.outputPadding != 0 {
        attributes.append(.init("output_padding", .ints([d.outputPadding.height, d.outputPadding.width])))
      }
      add("ConvTranspose", node.name, x + weights, attributes)
    case .fullyConnected(let f): try append(f, node, x[0])
    case .batchNorm(let b): try append(b, node, x[0])
    case .activation(let activation): try append(activation, node, x[0])
    case .prelu(let isShared):
      // The slope is spread over what follows the channel axis: (C, 1, 1) for images.
      let rank = inputShape(node).rank
      let count = isShared ? 1 : shapes.parameters[index][0][0]
      let shape = isShared ? [1] : [count] + [Int](repeating: 1, count: rank - 2)
      add("PRelu", node.name, x + [try initializer(node.parameters[0], of: node, shape: shape)])
    case .pooling(let p): try append(p, node, x[0])
    case .softmax(let axis): add("Softmax", node.name, x, [.init("axis", .int(axis))])
    case .l2Normalize(let l): try append(l, node, x[0])
    case .dropout(let rate):
      add("Dropout", node.name, x + [try numbers([rate], shape: [], node, "ratio", type: .f32)])
    case .identity: add("Identity", node.name, x)
    case .flatten: add("Flatten", node.name, x, [.init("axis", .int(1))])
    case .reshape:
      let target = opensSize(index) ? try openTarget(node) : try reshapeTarget(shapes.outputs[index], node)
      add("Reshape", node.name, x + [try integers(target, node, "shape")])
    case .transpose(let permutation):
      let order = permutation.isEmpty ? Array((0..<inputShape(node).rank).reversed()) : permutation
      add("Transpose", node.name, x, [.init("perm", .ints(order))])
    case .concat(let axis): add("Concat", node.name, x, [.init("axis", .int(axis))])
    case .slice(let s): try slice(node, x[0], axes: [s.axis], begins: [s.begin], ends: [s.end ?? Int.max])
    case .crop(let crop) where opensSize(index): try openCrop(crop, node, x)
    case .crop(let crop):
      let window = try ShapeInference(node: node.name, operation: node.operation)
        .cropWindow(crop, image: inputShape(node), like: node.inputs.count > 1 ? shapes[node.inputs[1]] : nil)
      try slice(
        node, x[0], axes: [2, 3], begins: [window.rows.lowerBound, window.columns.lowerBound],
        ends: [window.rows.upperBound, window.columns.upperBound])
    case .reduction(let reduction): try append(reduction, node, x[0])
    case .tile(let repetitions):
      let rank = inputShape(node).rank
      let missing = max(0, repetitions.count - rank)
      let axes = Array(0..<missing)
      let source =
        missing == 0 ? x[0] : step("Unsqueeze", node, "wide", [x[0], try integers(axes, node, "axes")])
      let repeats = [Int](repeating: 1, count: max(0, rank - repetitions.count)) + repetitions
      add("Tile", node.name, [source, try integers(repeats, node, "repeats")])
    case .layerNorm(let norm): try append(norm, node, x[0])
    case .matmul(let transposesSecond):
      guard transposesSecond else {
        add("MatMul", node.name, x)
        break
      }
      var order = Array(0..<shapes[node.inputs[1]].rank)
      order.swapAt(order.count - 2, order.count - 1)
      let turned = step("Transpose", node, "transpose", [x[1]], [.init("perm", .ints(order))])
      add("MatMul", node.name, [x[0], turned])
    // What is drawn in training alone.
    case .dropPath, .tokenMask, .tokenRestore: add("Identity", node.name, [x[0]])
    case .upsampleNearest(let scale):
      let scales = try numbers([1, 1, Double(scale), Double(scale)], shape: [4], node, "scales", type: .f32)
      add(
        "Resize", node.name, [x[0], "", scales],
        [
          .init("mode", .string("nearest")), .init("coordinate_transformation_mode", .string("asymmetric")),
          .init("nearest_mode", .string("floor")),
        ])
    }
  }

  private mutating func weights(_ node: NetworkGraph.Node) throws(GraphError) -> [String] {
    var names: [String] = []
    for parameter in node.parameters { names.append(try initializer(parameter, of: node, shape: nil)) }
    return names
  }

  private static func window(
    _ kernel: NetworkGraph.Extent, _ stride: NetworkGraph.Extent, _ pad: NetworkGraph.Padding,
    _ dilation: NetworkGraph.Extent = 1, _ groups: Int? = nil
  ) -> [ONNXAttribute] {
    var attributes: [ONNXAttribute] = [
      .init("kernel_shape", .ints([kernel.height, kernel.width])),
      .init("strides", .ints([stride.height, stride.width])),
      .init("pads", .ints([pad.top, pad.left, pad.bottom, pad.right])),
    ]
    if let groups {
      attributes.append(.init("dilations", .ints([dilation.height, dilation.width])))
      attributes.append(.init("group", .int(groups)))
    }
    return attributes
  }

  private static func op(_ kind: Operation.Elementwise.Kind) -> String {
    switch kind {
    case .add: "Add"
    case .subtract: "Sub"
    case .multiply: "Mul"
    case .divide: "Div"
    case .maximum: "Max"
    case .minimum: "Min"
    }
  }

  private mutating func append(
    _ scalar: Operation.ScalarArithmetic, _ node: NetworkGraph.Node, _ x: String
  ) throws(GraphError) {
    let c = try numbers([scalar.value], shape: [], node, "constant")
    switch scalar.kind {
    case .add: add("Add", node.name, [x, c])
    case .subtract: add("Sub", node.name, [x, c])
    case .subtractFrom: add("Sub", node.name, [c, x])
    case .multiply: add("Mul", node.name, [x, c])
    case .divide: add("Div", node.name, [x, c])
    case .divideInto: add("Div", node.name, [c, x])
    case .maximum: add("Max", node.name, [x, c])
    case .minimum: add("Min", node.name, [x, c])
    }
  }

  private mutating func append(
    _ f: Operation.FullyConnected, _ node: NetworkGraph.Node, _ x: String
  ) throws(GraphError) {
    let weights = try weights(node)
    let rank = inputShape(node).rank
    if f.flatten || rank == 2 {
      let flat = rank == 2 ? x : step("Flatten", node, "flatten", [x], [.init("axis", .int(1))])
      add("Gemm", node.name, [flat] + weights, [.init("transB", .int(1))])
      return
    }
    // Gemm knows matrices only. Runtimes transpose the constant once, when they load it.
    let transposed = step("Transpose", node, "transpose", [weights[0]], [.init("perm", .ints([1, 0]))])
    if f.bias {
      let product = step("MatMul", node, "matmul", [x, transposed])
      add("Add", node.name, [product, weights[1]])
    } else {
      add("MatMul", node.name, [x, transposed])
    }
  }

  private mutating func append(_ b: Operation.BatchNorm, _ node: NetworkGraph.Node, _ x: String) throws(GraphError) {
    let shape = inputShape(node)
    let axis = try ShapeInference(node: node.name, operation: node.operation).resolve(axis: b.axis, rank: shape.rank)
    let channels = shape[axis].fixed ?? 1
    let ones = b.fixGamma ? [Float](repeating: 1, count: channels) : nil
    var weights = [try initializer(node.parameters[0], of: node, shape: nil, values: ones)]
    for name in node.parameters.dropFirst() { weights.append(try initializer(name, of: node, shape: nil)) }
    let attributes: [ONNXAttribute] = [
      .init("epsilon", .float(Float(b.epsilon))), .init("momentum", .float(Float(b.momentum))),
    ]
    if axis == 1 {
      add("BatchNormalization", node.name, [x] + weights, attributes)
      return
    }
    // ONNX normalises axis 1 only: the axis goes there and back.
    guard axis > 0 else { throw unsupported(node, "normalises the batch axis, which ONNX does not") }
    var order = Array(0..<shape.rank)
    order.swapAt(1, axis)
    let turned = step("Transpose", node, "to", [x], [.init("perm", .ints(order))])
    let normalised = step("BatchNormalization", node, "normalised", [turned] + weights, attributes)
    add("Transpose", node.name, [normalised], [.init("perm", .ints(order))])
  }

  /// Older sets of operators have no word for it, and newer ones know the last axis only: another goes there and back.
  private mutating func append(_ norm: Operation.LayerNorm, _ node: NetworkGraph.Node, _ x: String) throws(GraphError) {
    let weights = try weights(node)
    let rank = inputShape(node).rank
    let last = rank - 1
    let axis = try ShapeInference(node: node.name, operation: node.operation).resolve(axis: norm.axis, rank: rank)
    var order = Array(0..<rank)
    order.swapAt(axis, last)
    let turn = ONNXAttribute("perm", .ints(order))
    let source = axis == last ? x : step("Transpose", node, "to", [x], [turn])
    let name = axis == last ? node.name : unique("\(node.name)_normalised")
    if options.opset >= 17 {
      add(
        "LayerNormalization", name, [source] + weights,
        [.init("axis", .int(-1)), .init("epsilon", .float(Float(norm.epsilon)))])
    } else {
      // Squares leave the range of half precision, and epsilons lie below it.
      let wide = options.isHalfPrecision ? cast(source, to: .f32, suffix: "single") : source
      let axes: [ONNXAttribute] = [.init("axes", .ints([last])), .init("keepdims", .int(1))]
      let centred = step("Sub", node, "centred", [wide, step("ReduceMean", node, "mean", [wide], axes)])
      let variance = step("ReduceMean", node, "variance", [step("Mul", node, "square", [centred, centred])], axes)
      let epsilon = try numbers([norm.epsilon], shape: [], node, "epsilon", type: .f32)
      let deviation = step("Sqrt", node, "deviation", [step("Add", node, "shifted", [variance, epsilon])])
      let quotient = step("Div", node, "quotient", [centred, deviation])
      let narrow = options.isHalfPrecision ? cast(quotient, to: .f16, suffix: "half") : quotient
      add("Add", name, [step("Mul", node, "scaled", [narrow, weights[0]]), weights[1]])
    }
    if axis != last { add("Transpose", node.name, [name], [turn]) }
  }

  private mutating func append(
    _ activation: Operation.Activation, _ node: NetworkGraph.Node, _ x: String
  ) throws(GraphError) {
    switch activation {
    case .relu: add("Relu", node.name, [x])
    case .sigmoid: add("Sigmoid", node.name, [x])
    case .tanh: add("Tanh", node.name, [x])
    case .softplus: add("Softplus", node.name, [x])
    case .softsign: add("Softsign", node.name, [x])
    case .squareRoot: add("Sqrt", node.name, [x])
    case .gelu where options.opset >= 20: add("Gelu", node.name, [x])
    case .gelu:
      let scaled = step("Mul", node, "scaled", [x, try numbers([(0.5).squareRoot()], shape: [], node, "root_half")])
      let shifted = step(
        "Add", node, "shifted", [step("Erf", node, "erf", [scaled]), try numbers([1], shape: [], node, "one")])
      let half = step("Mul", node, "half", [x, try numbers([0.5], shape: [], node, "a_half")])
      add("Mul", node.name, [half, shifted])
    case .leakyRelu(let slope): add("LeakyRelu", node.name, [x], [.init("alpha", .float(Float(slope)))])
    case .elu(let slope): add("Elu", node.name, [x], [.init("alpha", .float(Float(slope)))])
    case .clip(let low, let high):
      // Half precision ends at 65504; beyond it there is nothing to limit.
      let bound = type == .f16 ? Double(Float16.greatestFiniteMagnitude) : Double(Float.greatestFiniteMagnitude)
      let minimum = try numbers([max(low, -bound)], shape: [], node, "min")
      let maximum = try numbers([min(high, bound)], shape: [], node, "max")
      add("Clip", node.name, [x, minimum, maximum])
    }
  }

  // MARK: Pooling

  private mutating func append(_ p: Operation.Pooling, _ node: NetworkGraph.Node, _ x: String) throws(GraphError) {
    if p.isGlobal {
      switch p.kind {
      case .max: add("GlobalMaxPool", node.name, [x])
      case .average: add("GlobalAveragePool", node.name, [x])
      case .sum:
        add("ReduceSum", node.name, [x, try integers([2, 3], node, "axes")], [.init("keepdims", .int(1))])
      }
      return
    }
    guard otherShapes == nil || p.convention == .valid else {
      throw unsupported(node, "rounds its size up, which is written for one size of images alone")
    }
    guard let kernel = p.kernel, let height = inputShape(node)[2].fixed, let width = inputShape(node)[3].fixed else {
      throw unsupported(node, "has no kernel")
    }
    // The rounding up of runtimes differs in the last window, so it is written out as padding.
    func hangingOver(_ size: Int, _ kernel: Int, _ stride: Int, _ pad: Int) -> Int {
      guard p.convention == .full else { return 0 }
      let room = size + pad - kernel
      return max(0, (room + stride - 1) / stride * stride - room)
    }
    let over = NetworkGraph.Extent(
      height: hangingOver(height, kernel.height, p.stride.height, p.pad.top + p.pad.bottom),
      width: hangingOver(width, kernel.width, p.stride.width, p.pad.left + p.pad.right))
    var pad = p.pad
    pad.bottom += over.height
    pad.right += over.width
    guard pad.bottom < kernel.height, pad.right < kernel.width else {
      throw unsupported(node, "has a last window that lies wholly in the padding, which runtimes refuse")
    }
    func countsPadding(_ counts: Bool) -> ONNXAttribute { .init("count_include_pad", .int(counts ? 1 : 0)) }
    switch p.kind {
    case .max: add("MaxPool", node.name, [x], Self.window(kernel, p.stride, pad))
    case .sum:
      let mean = step(
        "AveragePool", node, "mean", [x], Self.window(kernel, p.stride, pad) + [countsPadding(true)])
      let area = try numbers([Double(kernel.height * kernel.width)], shape: [], node, "area")
      add("Mul", node.name, [mean, area])
    case .average where p.countsPadding && over != 0 && p.pad != 0:
      // Zeros that count are real ones; what hangs over beyond them does not count.
      let pads = [0, 0, p.pad.top, p.pad.left, 0, 0, p.pad.bottom, p.pad.right]
      let border = try integers(pads, node, "pads")
      let padded = step("Pad", node, "pad", [x, border], [.init("mode", .string("constant"))])
      let rest = NetworkGraph.Padding(top: 0, left: 0, bottom: over.height, right: over.width)
      add("AveragePool", node.name, [padded], Self.window(kernel, p.stride, rest) + [countsPadding(false)])
    case .average:
      add(
        "AveragePool", node.name, [x],
        Self.window(kernel, p.stride, pad) + [countsPadding(p.countsPadding && over == 0)])
    }
  }

  private mutating func append(_ l: Operation.L2Normalize, _ node: NetworkGraph.Node, _ x: String) throws(GraphError) {
    let rank = inputShape(node).rank
    let axes =
      switch l.mode {
      case .instance: Array(1..<rank)
      case .channel: [1]
      case .spatial: Array(2..<rank)
      }
    // Sums of squares leave the range of half precision, and epsilons lie below it.
    let source = options.isHalfPrecision ? cast(x, to: .f32, suffix: "single") : x
    let square = step("Mul", node, "square", [source, source])
    let sum = step(
      "ReduceSum", node, "sum", [square, try integers(axes, node, "axes")], [.init("keepdims", .int(1))])
    let safe = step("Add", node, "safe", [sum, try numbers([l.epsilon], shape: [], node, "epsilon", type: .f32)])
    let norm = step("Sqrt", node, "norm", [safe])
    guard options.isHalfPrecision else {
      add("Div", node.name, [source, norm])
      return
    }
    let quotient = add("Div", node.name, [source, norm], output: unique("\(node.name)_single"))
    add(
      "Cast", unique("\(node.name)_cast"), [quotient], output: node.name,
      [.init("to", .int(StoredType.f16.onnxCode))])
  }

  private mutating func append(
    _ reduction: Operation.Reduction, _ node: NetworkGraph.Node, _ x: String
  ) throws(GraphError) {
    let rank = inputShape(node).rank
    let axes = try ShapeInference(node: node.name, operation: node.operation).axes(of: reduction, rank: rank)
    // Everything reduced is one number here and none at all there.
    let isNumber = axes.count == rank && !reduction.keepsDimensions
    let name = isNumber ? unique("\(node.name)_number") : node.name
    var attributes: [ONNXAttribute] = [.init("keepdims", .int(reduction.keepsDimensions ? 1 : 0))]
    var inputs = [x]
    if reduction.kind == .sum || options.opset >= 18 {
      inputs.append(try integers(axes, node, "axes"))
    } else {
      attributes.append(.init("axes", .ints(axes)))
    }
    add(reduction.kind == .sum ? "ReduceSum" : "ReduceMean", name, inputs, attributes)
    if isNumber { add("Reshape", node.name, [name, try integers([1], node, "shape")]) }
  }

  // MARK: Shapes

  /// The target of a Reshape: numbers, and −1 for the dimension that depends on the batch size.
  private func reshapeTarget(_ shape: NetworkGraph.Shape, _ node: NetworkGraph.Node) throws(GraphError) -> [Int] {
    let target = shape.dimensions.map { $0.fixed ?? -1 }
    guard target.filter({ $0 == -1 }).count <= 1 else {
      throw unsupported(node, "gives a shape with two dimensions of the batch size, \(shape)")
    }
    return target
  }

  private mutating func slice(
    _ node: NetworkGraph.Node, _ x: String, axes: [Int], begins: [Int], ends: [Int]
  ) throws(GraphError) {
    add(
      "Slice", node.name,
      [
        x, try integers(begins, node, "starts"), try integers(ends, node, "ends"), try integers(axes, node, "axes"),
      ])
  }
}
