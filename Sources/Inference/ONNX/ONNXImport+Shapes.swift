import Formats

extension ONNXGraphReader {
  /// Operators that move elements about.
  mutating func rearranged(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let node = a.node
    if node.op == "Concat" {
      var inputs: [Value] = []
      for index in node.inputs.indices { inputs.append(try tensor(index, of: node)) }
      guard let axis = try a.integer("axis") else { throw a.error(.invalid, "has no axis") }
      return .tensor(try emit(.concat(axis: axis), inputs, for: node))
    }
    let x = try tensor(0, of: node)
    let shape = shapes[x.node]
    switch node.op {
    case "Flatten":
      let axis = try a.integer("axis") ?? 1
      guard axis == 1 || axis == 1 - shape.rank else {
        throw a.error(.unsupported, "axis = \(axis) is not supported, only 1")
      }
      return .tensor(try emit(.flatten, [x], for: node))
    case "Reshape": return .tensor(try reshape(x, &a))
    case "Transpose":
      return .tensor(try emit(.transpose(permutation: try a.integers("perm") ?? []), [x], for: node))
    case "Slice": return .tensor(try slice(x, &a))
    case "Gather": return .tensor(try gather(x, &a))
    case "Resize", "Upsample": return .tensor(try resize(x, &a))
    default: return .tensor(try squeeze(x, &a))
    }
  }

  private mutating func reshape(_ x: Value, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let allowsZero = try a.flag("allowzero") ?? false
    let attribute = try a.integers("shape")
    let target: [Dimension]
    switch try input(1, of: a.node) {
    case .sizes(let sizes, false)?: target = sizes
    case .constant(let constant)?: target = (constant.integers ?? []).map(Dimension.fixed)
    case nil: target = (attribute ?? []).map(Dimension.fixed)
    default: throw a.error(.unsupported, "its target shape is computed")
    }
    guard !target.isEmpty, !allowsZero || !target.contains(.fixed(0)) else {
      throw a.error(.unsupported, "gives no or an empty shape")
    }
    return try reshape(x, to: target, a)
  }

  /// A reshape to sizes of which −1 is inferred and 0 kept.
  private mutating func reshape(
    _ x: Value, to target: [Dimension], _ a: ONNXAttributes
  ) throws(GraphError) -> Value {
    let shape = shapes[x.node]
    var targets: [Operation.ReshapeTarget] = []
    for (index, dimension) in target.enumerated() {
      switch dimension {
      case .fixed(0): targets.append(.keep)
      case .fixed(-1): targets.append(.infer)
      case .fixed(let size): targets.append(.size(size))
      case .batch:
        if index < shape.rank, shape[index] == dimension {
          targets.append(.keep)
        } else if !target.contains(.fixed(-1)), !targets.contains(.infer) {
          // The batch size is what is left once everything else is a number.
          targets.append(.infer)
        } else {
          throw a.error(.unsupported, "moves the batch dimension of \(shape)")
        }
      }
    }
    let inference = ShapeInference(node: a.label, operation: .reshape(targets))
    let result = try inference.infer([shape]).output
    if result.rank == 2, shape.rank > 2,
      let flat = try? ShapeInference(node: a.label, operation: .flatten).infer([shape]).output, flat == result
    {
      return try emit(.flatten, [x], for: a.node)
    }
    return try emit(.reshape(targets), [x], for: a.node)
  }

  /// Squeeze and Unsqueeze, as reshapes.
  private mutating func squeeze(_ x: Value, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let fromInput = try constant(1, of: a.node, "axes")?.integers
    let given = try a.integers("axes") ?? fromInput
    let shape = shapes[x.node]
    var target = shape.dimensions
    if a.node.op == "Unsqueeze" {
      guard let given, given.count <= 8 else { throw a.error(.invalid, "has no axes") }
      var axes: [Int] = []
      for axis in given { axes.append(try resolve(axis, shape.rank + given.count, a)) }
      for axis in axes.sorted() {
        guard axis <= target.count else { throw a.error(.invalid, "axes is \(given)") }
        target.insert(1, at: axis)
      }
    } else {
      var axes: Set<Int> = []
      for axis in given ?? shape.dimensions.indices.filter({ shape[$0] == 1 }) {
        axes.insert(try resolve(axis, shape.rank, a))
      }
      guard axes.allSatisfy({ shape[$0] == 1 }) else {
        throw a.error(.shape, "takes away axes \(axes.sorted()) of \(shape), which are not all 1")
      }
      target = target.indices.filter { !axes.contains($0) }.map { target[$0] }
    }
    guard !target.isEmpty else { throw a.error(.unsupported, "makes a single number of a tensor") }
    return try reshape(x, to: target, a)
  }

  /// The tensor whose height and width a Slice takes over: its ends are the last two sizes of a Shape.
  private mutating func cropReference(_ node: ONNXNode) -> Value? {
    guard node.op == "Slice", node.inputs.count == 4 else { return nil }
    func isList(_ node: ONNXNode, _ index: Int, _ expected: [Int]) -> Bool {
      guard case .constant(let found)? = try? input(index, of: node) else { return false }
      return found.integers == expected
    }
    func maker(_ name: String) -> ONNXNode? { model.graph.nodes.first { $0.outputs.contains(name) } }
    guard let ends = maker(node.inputs[2]), ends.op == "Slice", ends.inputs.count == 3,
      let shape = maker(ends.inputs[0]), shape.op == "Shape", shape.attributes.isEmpty,
      isList(ends, 1, [2]), isList(ends, 2, [4]), isList(node, 1, [0, 0]), isList(node, 3, [2, 3]),
      case .tensor(let like)? = known[shape.inputs.first ?? ""], shapes[like.node].rank == 4
    else { return nil }
    return like
  }

  private mutating func slice(_ x: Value, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    if shapes[x.node].rank == 4, let like = cropReference(node) {
      return try emit(.crop(.init(size: nil)), [x, like], for: node)
    }
    let fromInputs = (
      try constant(1, of: node, "starts")?.integers, try constant(2, of: node, "ends")?.integers,
      try constant(3, of: node, "axes")?.integers
    )
    let starts = try a.integers("starts") ?? fromInputs.0 ?? []
    let ends = try a.integers("ends") ?? fromInputs.1 ?? []
    let axes = try a.integers("axes") ?? fromInputs.2 ?? Array(starts.indices)
    if let steps = try constant(4, of: node, "steps")?.integers, steps.contains(where: { $0 != 1 }) {
      throw a.error(.unsupported, "steps = \(steps) is not supported, only 1")
    }
    guard !starts.isEmpty, starts.count == ends.count, starts.count == axes.count, axes.count <= shapes[x.node].rank
    else {
      throw a.error(.invalid, "has \(starts.count) starts, \(ends.count) ends and \(axes.count) axes")
    }
    var cuts: [Operation.Slice] = []
    for (index, axis) in axes.enumerated() {
      let axis = try resolve(axis, shapes[x.node].rank, a)
      guard let size = shapes[x.node][axis].fixed else {
        if starts[index] == 0, ends[index] >= Int(Int32.max) { continue }
        throw a.error(.unsupported, "cuts the batch dimension")
      }
      let range = Self.range(starts[index], ends[index], size)
      guard !range.isEmpty else { throw a.error(.unsupported, "leaves nothing of axis \(axis)") }
      if range.count == size, index < axes.count - 1 || !cuts.isEmpty { continue }
      cuts.append(.init(axis: axis, begin: range.lowerBound, end: range.upperBound == size ? nil : range.upperBound))
    }
    guard let last = cuts.last else { return try emit(.identity(stopsGradient: false), [x], for: node) }
    var value = x
    for (index, cut) in cuts.dropLast().enumerated() {
      value = try emit(.slice(cut), [value], for: node, suffix: "cut\(index)")
    }
    return try emit(.slice(last), [value], for: node)
  }

  /// The elements from `start` to `end` of `size`, both limited to it; negative numbers count from the end.
  static func range(_ start: Int, _ end: Int, _ size: Int) -> Range<Int> {
    func limited(_ number: Int) -> Int {
      if number >= 0 { return min(number, size) }
      return number < -size ? 0 : number + size
    }
    let (begin, end) = (limited(start), limited(end))
    return begin < end ? begin..<end : begin..<begin
  }

  mutating func split(_ a: inout ONNXAttributes) throws(GraphError) {
    let node = a.node
    let x = try tensor(0, of: node)
    let axis = try resolve(try a.integer("axis") ?? 0, shapes[x.node].rank, a)
    guard let size = shapes[x.node][axis].fixed else { throw a.error(.unsupported, "splits the batch dimension") }
    let fromInput = try constant(1, of: node, "split")?.integers
    let count = try a.integer("num_outputs") ?? node.outputs.count
    guard count == node.outputs.count, count > 0 else { throw a.error(.invalid, "num_outputs is \(count)") }
    let part = (size + count - 1) / count
    let equal = (0..<count).map { max(0, min(part, size - $0 * part)) }
    let lengths = try a.integers("split") ?? fromInput ?? equal
    guard lengths.count == count, lengths.allSatisfy({ (1...size).contains($0) }), lengths.reduce(0, +) == size else {
      throw a.error(.invalid, "splits \(size) into \(lengths)")
    }
    var begin = 0
    for (output, length) in zip(node.outputs, lengths) {
      let cut = Operation.Slice(axis: axis, begin: begin, end: begin + length == size ? nil : begin + length)
      begin += length
      guard !output.isEmpty else { continue }
      // Each part is called like the tensor it makes.
      let named = ONNXNode("Split", name: "", inputs: node.inputs, outputs: [output])
      learn(output, .tensor(try emit(.slice(cut), [x], for: named)))
    }
  }

  /// One element of an axis, which goes away.
  private mutating func gather(_ x: Value, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    let shape = shapes[x.node]
    let axis = try resolve(try a.integer("axis") ?? 0, shape.rank, a)
    guard let indices = try constant(1, of: node, "indices"), let list = indices.integers, list.count == 1,
      let size = shape[axis].fixed, (-size..<size).contains(list[0])
    else { throw a.error(.unsupported, "takes other than one element of an axis by a constant number") }
    let index = list[0] < 0 ? list[0] + size : list[0]
    let isKept = indices.shape.count == 1
    guard indices.shape.count <= 1 else { throw a.error(.unsupported, "takes elements in several dimensions") }
    let cut = Operation.Slice(axis: axis, begin: index, end: index + 1)
    let value = try emit(.slice(cut), [x], for: node, suffix: isKept ? nil : "cut")
    guard !isKept else { return value }
    var target = shape.dimensions
    target.remove(at: axis)
    guard !target.isEmpty else { throw a.error(.unsupported, "makes a single number of a tensor") }
    return try reshape(value, to: target, a)
  }

  // MARK: Enlarging

  private mutating func resize(_ x: Value, _ a: inout ONNXAttributes) throws(GraphError) -> Value {
    let node = a.node
    let mode = try a.text("mode") ?? "nearest"
    guard mode == "nearest" else { throw a.error(.unsupported, "mode \"\(mode)\" is not supported, only nearest") }
    a.ignore("cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "antialias")
    let isUpsample = node.op == "Upsample"
    let isOld = isUpsample || opset < 11
    let coordinates = try a.text("coordinate_transformation_mode") ?? (isOld ? "asymmetric" : "half_pixel")
    let rounding = try a.text("nearest_mode") ?? (isOld ? "floor" : "round_prefer_floor")
    let axes = try a.integers("axes")
    let attribute = try a.numbers("scales")
    let shape = shapes[x.node]
    guard shape.rank == 4, let height = shape[2].fixed, let width = shape[3].fixed else {
      throw a.error(.unsupported, "enlarges \(shape); only images are supported")
    }
    guard axes == nil || axes == [2, 3] else { throw a.error(.unsupported, "axes is not height and width") }
    let scales = try constant(isOld ? 1 : 2, of: node, "scales")
    var factors = attribute ?? scales?.numbers ?? []
    if factors.isEmpty {
      // Sizes in place of factors; the batch size may be among them.
      var sizes: [Dimension] = []
      switch try input(3, of: node) {
      case .constant(let constant)?: sizes = (constant.integers ?? []).map(Dimension.fixed)
      case .sizes(let found, false)?: sizes = found
      default: break
      }
      guard sizes.count >= 2, let rows = sizes[sizes.count - 2].fixed, let columns = sizes[sizes.count - 1].fixed,
        sizes.count == 2 || Array(sizes.prefix(2)) == Array(shape.dimensions.prefix(2))
      else { throw a.error(.unsupported, "its scales and sizes are not known") }
      factors = [Double(rows) / Double(height), Double(columns) / Double(width)]
    } else if factors.count == 4 {
      guard factors[0] == 1, factors[1] == 1 else { throw a.error(.unsupported, "scales is \(factors)") }
      factors.removeFirst(2)
    }
    guard factors.count == 2, factors[0] == factors[1], let scale = Int(exactly: factors[0]), (1...256).contains(scale)
    else { throw a.error(.unsupported, "scales is \(factors); one whole factor for both directions is supported") }
    // The ways of rounding that repeat every pixel `scale` times.
    let repeats =
      switch coordinates {
      case "asymmetric": rounding == "floor" || (rounding == "round_prefer_floor" && scale <= 2)
      case "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric": rounding.hasPrefix("round_prefer")
      default: scale == 1
      }
    guard repeats else {
      throw a.error(.unsupported, "\(coordinates) with \(rounding) does not repeat pixels alike")
    }
    return try emit(.upsampleNearest(scale: scale), [x], for: node)
  }
}
