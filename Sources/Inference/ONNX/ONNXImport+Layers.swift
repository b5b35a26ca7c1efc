import Formats

extension ONNXGraphReader {
  /// The weight of a convolution: (M, C, kH, kW).
  private mutating func kernel(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXConstant {
    guard let weight = try constant(1, of: a.node, "weight") else { throw a.error(.invalid, "has no weight") }
    guard weight.shape.count == 4, weight.count > 0 else {
      throw a.error(
        .unsupported, "has a weight of shape \(weight.shape); only images of two dimensions are supported")
    }
    if let declared = try a.extent("kernel_shape"), [declared.height, declared.width] != Array(weight.shape[2...]) {
      throw a.error(.mismatch, "kernel_shape is \(declared), its weight has the shape \(weight.shape)")
    }
    return weight
  }

  /// The names under which weight and bias are kept.
  private mutating func registered(
    _ weight: ONNXConstant, _ a: ONNXAttributes
  ) throws(GraphError) -> (names: [String], hasBias: Bool) {
    let base = baseName(a.node)
    var names = [try register(weight, fallback: base + "_weight")]
    guard let bias = try constant(2, of: a.node, "bias") else { return (names, false) }
    names.append(try register(bias, fallback: base + "_bias"))
    return (names, true)
  }

  mutating func convolution(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let weight = try kernel(&a)
    let (x, border) = try bordered(a, accepting: { $0 == 0 })
    let window = NetworkGraph.Extent(height: weight.shape[2], width: weight.shape[3])
    let stride = try a.extent("strides") ?? 1
    let dilation = try a.extent("dilations") ?? 1
    let span = NetworkGraph.Extent(
      height: dilation.height * (window.height - 1) + 1, width: dilation.width * (window.width - 1) + 1)
    let pad = try padding(&a, x, span: span, stride: stride, border: border)
    let (names, hasBias) = try registered(weight, a)
    let convolution = Operation.Convolution(
      filters: weight.shape[0], kernel: window, stride: stride, pad: pad, dilation: dilation,
      groups: try a.integer("group") ?? 1, bias: hasBias)
    return try emit(.convolution(convolution), [x], for: a.node, parameters: names)
  }

  mutating func deconvolution(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let weight = try kernel(&a)
    let x = try tensor(0, of: a.node)
    let stride = try a.extent("strides") ?? 1
    let dilation = try a.extent("dilations") ?? 1
    let groups = try a.integer("group") ?? 1
    if let mode = try a.text("auto_pad"), mode != "NOTSET", mode != "VALID" {
      throw a.error(.unsupported, "auto_pad = \(mode) is not supported")
    }
    guard try a.integers("output_shape") == nil else { throw a.error(.unsupported, "output_shape is not supported") }
    let pads = try a.integers("pads") ?? [0, 0, 0, 0]
    guard pads.count == 4 else { throw a.error(.invalid, "pads has \(pads.count) numbers, not 4") }
    let (filters, overflow) = weight.shape[1].multipliedReportingOverflow(by: groups)
    guard !overflow else { throw a.error(.invalid, "group is \(groups)") }
    let (names, hasBias) = try registered(weight, a)
    let deconvolution = Operation.Deconvolution(
      filters: filters, kernel: .init(height: weight.shape[2], width: weight.shape[3]), stride: stride,
      pad: .init(top: pads[0], left: pads[1], bottom: pads[2], right: pads[3]), dilation: dilation,
      outputPadding: try a.extent("output_padding") ?? 0, groups: groups, bias: hasBias)
    return try emit(.deconvolution(deconvolution), [x], for: a.node, parameters: names)
  }

  /// The tensor of a node's first input and the border that a Pad put around it.
  private mutating func bordered(
    _ a: ONNXAttributes, accepting: (Double) -> Bool
  ) throws(GraphError) -> (x: Value, border: NetworkGraph.Padding) {
    guard case .padded(let x, let border, let value)? = try input(0, of: a.node), accepting(value) else {
      return (try tensor(0, of: a.node), 0)
    }
    return (x, border)
  }

  /// `pads` or `auto_pad` of a window, and the border of a Pad before it.
  private func padding(
    _ a: inout ONNXAttributes, _ x: Value, span: NetworkGraph.Extent, stride: NetworkGraph.Extent,
    border: NetworkGraph.Padding
  ) throws(GraphError) -> NetworkGraph.Padding {
    let shape = shapes[x.node]
    let pads = try a.integers("pads") ?? [0, 0, 0, 0]
    let mode = try a.text("auto_pad") ?? "NOTSET"
    guard pads.count == 4, pads.allSatisfy({ $0.magnitude <= Operation.largestNumber }) else {
      throw a.error(.unsupported, "pads is \(pads); four numbers, for images, are supported")
    }
    var pad = NetworkGraph.Padding(top: pads[0], left: pads[1], bottom: pads[2], right: pads[3])
    switch mode {
    case "NOTSET": break
    case "VALID": pad = 0
    case "SAME_UPPER", "SAME_LOWER":
      guard shape.rank == 4, let height = shape[2].fixed, let width = shape[3].fixed, stride.height > 0,
        stride.width > 0
      else { throw a.error(.shape, "auto_pad needs images of known size") }
      func both(_ size: Int, _ span: Int, _ stride: Int) -> (Int, Int) {
        let total = max(0, ((size + stride - 1) / stride - 1) * stride + span - size)
        return mode == "SAME_UPPER" ? (total / 2, total - total / 2) : (total - total / 2, total / 2)
      }
      let vertical = both(height + border.top + border.bottom, span.height, stride.height)
      let horizontal = both(width + border.left + border.right, span.width, stride.width)
      pad = .init(top: vertical.0, left: horizontal.0, bottom: vertical.1, right: horizontal.1)
    default: throw a.error(.invalid, "auto_pad is \"\(mode)\"")
    }
    return .init(
      top: pad.top + border.top, left: pad.left + border.left, bottom: pad.bottom + border.bottom,
      right: pad.right + border.right)
  }

  // MARK: Pooling

  mutating func pool(_ kind: Operation.Pooling.Kind, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    guard let kernel = try a.extent("kernel_shape") else { throw a.error(.invalid, "has no kernel_shape") }
    let stride = try a.extent("strides") ?? 1
    if let dilations = try a.extent("dilations"), dilations != 1 {
      throw a.error(.unsupported, "dilations = \(dilations) is not supported")
    }
    a.ignore("storage_order")
    let counts = kind == .average ? try a.flag("count_include_pad") ?? false : true
    let isRoundedUp = try a.flag("ceil_mode") ?? false
    var (x, border) = try bordered(
      a, accepting: { kind == .max ? $0 <= -Double(Float16.greatestFiniteMagnitude) : $0 == 0 })
    if kind == .max, case .padded(let source, let zeros, 0)? = try input(0, of: node), isNeverNegative(source) {
      // A zero is never larger than what is there.
      (x, border) = (source, zeros)
    }
    let own = try padding(&a, x, span: kernel, stride: stride, border: 0)
    var pooling = Operation.Pooling(
      kind, kernel: kernel, stride: stride,
      pad: .init(
        top: own.top + border.top, left: own.left + border.left, bottom: own.bottom + border.bottom,
        right: own.right + border.right), convention: isRoundedUp ? .full : .valid,
      countsPadding: border == 0 ? counts : true)
    if border != 0, own != 0, kind == .average, !counts {
      // Zeros that count, then a border that does not: what is written for windows that hang over.
      pooling.pad = border
      pooling.convention = .full
      let valid = Operation.Pooling(
        kind, kernel: kernel, stride: stride,
        pad: .init(
          top: border.top, left: border.left, bottom: border.bottom + own.bottom, right: border.right + own.right))
      guard !isRoundedUp, own.top == 0, own.left == 0, try size(of: pooling, x, node) == size(of: valid, x, node) else {
        throw a.error(.unsupported, "has a border that counts and one that does not")
      }
    }
    if isRoundedUp { try refuseWindowInPadding(pooling, x, a) }
    return try emit(.pooling(pooling), [x], for: node)
  }

  private func size(of pooling: Operation.Pooling, _ x: Value, _ node: ONNXNode) throws(GraphError) -> Shape {
    try ShapeInference(node: baseName(node), operation: .pooling(pooling)).infer([shapes[x.node]]).output
  }

  /// PyTorch and newer runtimes leave out a last window that begins in the padding; others do not.
  private func refuseWindowInPadding(
    _ p: Operation.Pooling, _ x: Value, _ a: ONNXAttributes
  ) throws(GraphError) {
    let (input, output) = (shapes[x.node], try size(of: p, x, a.node))
    guard let height = input[2].fixed, let width = input[3].fixed, let rows = output[2].fixed,
      let columns = output[3].fixed
    else { return }
    guard (rows - 1) * p.stride.height < height + p.pad.top, (columns - 1) * p.stride.width < width + p.pad.left else {
      throw a.error(.unsupported, "its last window begins in the padding (ceil_mode), where runtimes disagree")
    }
  }

  private func isNeverNegative(_ value: Value) -> Bool {
    switch nodes[value.node].operation {
    case .activation(.relu), .activation(.sigmoid): true
    case .activation(.clip(let low, _)): low >= 0
    default: false
    }
  }

  mutating func pad(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    let mode = try a.text("mode") ?? "constant"
    guard mode == "constant" else { throw a.error(.unsupported, "mode \"\(mode)\" is not supported") }
    let fromInput = try constant(1, of: node, "pads")?.integers
    let old = try a.number("value")
    let value = try constant(2, of: node, "value")?.uniformValue ?? old ?? 0
    var pads = try a.integers("pads") ?? fromInput ?? []
    let x = try tensor(0, of: node)
    let rank = shapes[x.node].rank
    if let axes = try constant(3, of: node, "axes")?.integers {
      guard pads.count == 2 * axes.count else {
        throw a.error(.invalid, "has \(pads.count) pads for \(axes.count) axes")
      }
      var all = [Int](repeating: 0, count: 2 * rank)
      for (index, axis) in axes.enumerated() {
        let axis = try resolve(axis, rank, a)
        all[axis] = pads[index]
        all[rank + axis] = pads[axes.count + index]
      }
      pads = all
    }
    guard pads.count == 2 * rank else { throw a.error(.invalid, "has \(pads.count) pads for \(rank) dimensions") }
    if pads.allSatisfy({ $0 == 0 }) {
      return .tensor(try emit(.identity(stopsGradient: false), [x], for: node))
    }
    guard rank == 4, pads.allSatisfy({ (0...Operation.largestNumber).contains($0) }),
      [pads[0], pads[1], pads[4], pads[5]].allSatisfy({ $0 == 0 })
    else { throw a.error(.unsupported, "pads is \(pads); only a border around images is supported") }
    return .padded(x, .init(top: pads[2], left: pads[3], bottom: pads[6], right: pads[7]), value: value)
  }

  // MARK: Matrices

  mutating func gemm(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    try a.require("transA", 0)
    a.ignore("broadcast")
    let isTransposed = try a.flag("transB") ?? false
    let (alpha, beta) = (try a.number("alpha") ?? 1, try a.number("beta") ?? 1)
    guard var weight = try constant(1, of: node, "weight"), weight.shape.count == 2 else {
      throw a.error(.unsupported, "its weight is not a matrix")
    }
    if !isTransposed { weight = weight.transposed([1, 0]) ?? weight }
    weight = scaled(weight, alpha)
    let base = baseName(node)
    var names = [try register(weight, fallback: base + "_weight")]
    let units = weight.shape[0]
    if let bias = try constant(2, of: node, "bias") {
      guard let values = bias.repeated(to: [1, units]),
        let row = bias.shape == [units] ? bias : ONNXConstant(shape: [units], type: .f32, numbers: values)
      else { throw a.error(.unsupported, "adds a bias of shape \(bias.shape) to \(units) units") }
      names.append(try register(scaled(row, beta), fallback: base + "_bias"))
    }
    var x = try tensor(0, of: node)
    // Written by this program for a layer that flattens by itself.
    let before = nodes[x.node]
    if before.operation == .flatten, before.name == base + "_flatten" { x = before.inputs[0] }
    guard shapes[x.node].rank == 2 || before.operation == .flatten else {
      throw a.error(.shape, "takes a matrix, found shape \(shapes[x.node])")
    }
    return try emit(
      .fullyConnected(.init(units: units, bias: names.count == 2)), [x], for: node, parameters: names)
  }

  private func scaled(_ constant: ONNXConstant, _ factor: Double) -> ONNXConstant {
    guard factor != 1 else { return constant }
    let numbers = constant.numbers.map { $0 * factor }
    guard var result = ONNXConstant(shape: constant.shape, type: .f32, numbers: numbers) else { return constant }
    result.name = constant.name
    return result
  }

  mutating func matMul(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    guard case .constant(let found)? = try input(1, of: node), found.shape.count == 2,
      let weight = found.transposed([1, 0])
    else {
      let (x, y) = (try tensor(0, of: node), try tensor(1, of: node))
      return try product(x, y, transposesSecond: false, node)
    }
    let x = try tensor(0, of: node)
    let name = try register(weight, fallback: baseName(node) + "_weight")
    return try emit(
      .fullyConnected(.init(units: weight.shape[0], bias: false, flatten: shapes[x.node].rank == 2)), [x], for: node,
      parameters: [name])
  }

  /// The sum of a matrix product that nothing else takes and a constant row: a layer with its bias.
  mutating func addedBias(_ a: ONNXKnown, _ b: ONNXKnown, _ node: ONNXNode) throws(GraphError) -> Value? {
    guard case .tensor(let value) = a, case .constant(let bias) = b,
      case .fullyConnected(var layer) = nodes[value.node].operation, !layer.bias, bias.shape == [layer.units],
      isUsedOnce(value)
    else { return nil }
    layer.bias = true
    nodes[value.node].operation = .fullyConnected(layer)
    nodes[value.node].parameters.append(try register(bias, fallback: baseName(node) + "_bias"))
    rename(value, to: baseName(node))
    return value
  }

  // MARK: Channels

  mutating func batchNorm(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    a.ignore("consumed_inputs", "is_test")
    try a.require("training_mode", 0)
    try a.require("spatial", 1)
    let epsilon = try a.number("epsilon") ?? 1e-5
    let momentum = try a.number("momentum") ?? 0.9
    let x = try tensor(0, of: node)
    let base = baseName(node)
    var names: [String] = []
    for (index, role) in NetworkGraph.Operation.batchNorm(.init()).parameterRoles.enumerated() {
      guard let weight = try constant(index + 1, of: node, "\(role)") else {
        throw a.error(.invalid, "has no \(role)")
      }
      names.append(try register(weight, fallback: base + role.suffix, isAuxiliary: role.isAuxiliary))
    }
    return try emit(
      .batchNorm(.init(epsilon: epsilon, momentum: momentum)), [x], for: node, parameters: names)
  }

  mutating func prelu(_ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    a.ignore("consumed_inputs")
    guard let slope = try constant(1, of: node, "slope") else { throw a.error(.invalid, "has no slope") }
    let x = try tensor(0, of: node)
    let shape = shapes[x.node]
    let fallback = baseName(node) + "_gamma"
    let channels = shape.rank >= 2 ? shape[1].fixed : nil
    if slope.count == 1, let one = slope.reshaped([1]) {
      return try emit(
        .prelu(shared: channels != 1), [x], for: node, parameters: [try register(one, fallback: fallback)])
    }
    // Aligned at the last axis, only the channel axis may vary. MXNet's exporter leaves the slope as (C), which
    // runtimes refuse; where it cannot mean the last axis, it means the channels.
    let place = 1 - (shape.rank - slope.shape.count)
    let fits = slope.shape.indices.contains(place) && slope.shape[place] == slope.count
    let isBare = slope.shape.count == 1 && shape.rank > 2 && shape.dimensions.last != .fixed(slope.count)
    guard let channels, slope.count == channels, fits || isBare, let row = slope.reshaped([channels]) else {
      throw a.error(.unsupported, "its slope of shape \(slope.shape) is not one for each channel of \(shape)")
    }
    return try emit(.prelu(shared: false), [x], for: node, parameters: [try register(row, fallback: fallback)])
  }
}
