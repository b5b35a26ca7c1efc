import Formats
import Glibc

// What follows from constants and shapes alone. Exporters write the target of a reshape as a chain of Shape, Gather,
// Unsqueeze, Concat; here such chains become numbers, and the batch size stays a symbol in them.

extension ONNXGraphReader {
  /// What a node makes where that is known now; nil where the network has to compute it.
  mutating func folded(_ node: ONNXNode) throws(GraphError) -> ONNXKnown? {
    var a = ONNXAttributes(node: node, opset: opset)
    switch node.op {
    case "Constant": return try constant(&a)
    case "Shape":
      let result = try sizes(&a)
      try a.finish()
      return result
    default: break
    }
    var constants: [ONNXConstant?] = []
    var hasSizes = false
    for index in node.inputs.indices {
      switch try input(index, of: node) {
      case .constant(let constant)?: constants.append(constant)
      case .sizes?:
        constants.append(nil)
        hasSizes = true
      case nil: constants.append(nil)
      default: return nil
      }
    }
    guard constants.contains(where: { $0 != nil }) || hasSizes else { return nil }
    let result = hasSizes ? try foldedSizes(&a) : try foldedConstants(&a, constants)
    if case .constant(let made)? = result, !Self.views.contains(node.op) { foldedBytes += made.tensor.bytes.count }
    return result
  }

  /// Operators whose result shares the elements of what they take.
  private static let views: Set<String> = ["Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"]

  private mutating func constant(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let name = a.node.outputs.first
    if let tensor = try a.tensor("value") { return .constant(ONNXConstant(tensor, name: name)) }
    if let number = try a.integer("value_int") { return .constant(ONNXConstant(integers: [number], isScalar: true)) }
    if let numbers = try a.integers("value_ints") { return .constant(ONNXConstant(integers: numbers)) }
    if let number = try a.number("value_float"),
      let constant = ONNXConstant(shape: [], type: .f32, numbers: [number])
    {
      return .constant(constant)
    }
    if let numbers = try a.numbers("value_floats"),
      let constant = ONNXConstant(shape: [numbers.count], type: .f32, numbers: numbers)
    {
      return .constant(constant)
    }
    throw a.error(.unsupported, "holds no tensor of numbers")
  }

  private mutating func sizes(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown {
    let start = try a.integer("start") ?? 0
    let end = try a.integer("end")
    let dimensions: [Dimension]
    switch try input(0, of: a.node) {
    case .constant(let constant)?: dimensions = constant.shape.map(Dimension.fixed)
    case .sizes(let list, let isScalar)?: dimensions = isScalar ? [] : [.fixed(list.count)]
    case .padded(let x, let border, _)?:
      var shape = shapes[x.node]
      shape[2] = .fixed((shape[2].fixed ?? 0) + border.top + border.bottom)
      shape[3] = .fixed((shape[3].fixed ?? 0) + border.left + border.right)
      dimensions = shape.dimensions
    case .tensor(let x)?, .square(_, let x)?, .sumOfSquares(_, _, _, let x)?, .norm(_, _, _, let x)?,
      .normalised(_, _, _, let x)?, .gelu(let x, _)?:
      dimensions = shapes[x.node].dimensions
    case nil: throw a.error(.invalid, "has no input")
    }
    return Self.simplified(Array(dimensions[Self.range(start, end ?? Int.max, dimensions.count)]), isScalar: false)
  }

  /// Sizes that are all numbers are a constant.
  private static func simplified(_ sizes: [Dimension], isScalar: Bool) -> ONNXKnown {
    let numbers = sizes.compactMap(\.fixed)
    guard numbers.count == sizes.count else { return .sizes(sizes, isScalar: isScalar) }
    return .constant(ONNXConstant(integers: numbers, isScalar: isScalar))
  }

  // MARK: Sizes with the batch size

  /// Longer lists than this are no shapes.
  private static let maximumSizes = 64

  /// Inputs as lists of sizes; nil where one is neither sizes nor a short list of integers.
  private mutating func sizeLists(
    _ a: ONNXAttributes
  ) throws(GraphError) -> [(list: [Dimension], isScalar: Bool)]? {
    var lists: [(list: [Dimension], isScalar: Bool)] = []
    for index in a.node.inputs.indices {
      switch try input(index, of: a.node) {
      case .sizes(let list, let isScalar)?: lists.append((list, isScalar))
      case .constant(let constant)?:
        guard constant.shape.count <= 1, constant.count <= Self.maximumSizes, let numbers = constant.integers else {
          return nil
        }
        lists.append((numbers.map(Dimension.fixed), constant.shape.isEmpty))
      default: return nil
      }
    }
    return lists
  }

  private mutating func foldedSizes(_ a: inout ONNXAttributes) throws(GraphError) -> ONNXKnown? {
    guard let lists = try sizeLists(a), let first = lists.first else { return nil }
    switch a.node.op {
    case "Identity": return .sizes(first.list, isScalar: first.isScalar)
    case "Cast":
      let code = try a.integer("to") ?? 0
      guard [.i64, .i32].contains(StoredType(onnxCode: code)) else {
        throw a.error(.unsupported, "makes a fraction of the batch size")
      }
      return .sizes(first.list, isScalar: first.isScalar)
    case "Unsqueeze": return .sizes(first.list, isScalar: false)
    case "Squeeze": return first.list.count == 1 ? .sizes(first.list, isScalar: true) : nil
    case "Reshape": return .sizes(first.list, isScalar: lists.count > 1 && lists[1].list.isEmpty)
    case "Concat":
      let list = lists.flatMap(\.list)
      guard list.count <= Self.maximumSizes else { throw a.error(.tooLarge, "makes a list of \(list.count) sizes") }
      return Self.simplified(list, isScalar: false)
    case "Gather":
      guard lists.count == 2, !first.isScalar, try a.integer("axis") ?? 0 == 0 else { return nil }
      var list: [Dimension] = []
      for index in lists[1].list {
        guard let number = index.fixed, (-first.list.count..<first.list.count).contains(number) else { return nil }
        list.append(first.list[number < 0 ? number + first.list.count : number])
      }
      return Self.simplified(list, isScalar: lists[1].isScalar)
    case "Slice":
      let numbers = lists.dropFirst().map { $0.list.first?.fixed }
      let start = try a.integers("starts")?.first ?? numbers.first ?? nil
      let end = try a.integers("ends")?.first ?? numbers.dropFirst().first ?? nil
      guard let start, let end, numbers.count < 4 || numbers[3] == 1 else { return nil }
      return Self.simplified(Array(first.list[Self.range(start, end, first.list.count)]), isScalar: false)
    case "Add", "Sub", "Mul", "Div":
      guard lists.count == 2 else { return nil }
      let (x, y) = (lists[0].list, lists[1].list)
      guard x.count == y.count || x.count == 1 || y.count == 1, !x.isEmpty, !y.isEmpty else { return nil }
      var list: [Dimension] = []
      for index in 0..<max(x.count, y.count) {
        guard let value = Self.arithmetic(a.node.op, x[x.count == 1 ? 0 : index], y[y.count == 1 ? 0 : index]) else {
          throw a.error(.unsupported, "computes with the batch size what a shape cannot hold")
        }
        list.append(value)
      }
      return Self.simplified(list, isScalar: lists.allSatisfy(\.isScalar))
    default: return nil
    }
  }

  private static func arithmetic(_ op: String, _ x: Dimension, _ y: Dimension) -> Dimension? {
    let limit: UInt = 1 << 31
    func sound(_ number: Int) -> Bool { number.magnitude < limit }
    switch (op, x, y) {
    case (_, .fixed(let a), .fixed(let b)):
      guard sound(a), sound(b) else { return nil }
      switch op {
      case "Add": return .fixed(a + b)
      case "Sub": return .fixed(a - b)
      case "Mul": return .fixed(a * b)
      default: return b == 0 ? nil : .fixed(a / b)
      }
    case ("Mul", .batch(let a), .fixed(let b)), ("Mul", .fixed(let b), .batch(let a)):
      return sound(a) && sound(b) && b > 0 ? .batch(a * b) : nil
    case ("Div", .batch(let a), .fixed(let b)): return b > 0 && a % b == 0 ? .batch(a / b) : nil
    case ("Div", .batch(let a), .batch(let b)): return b > 0 && a % b == 0 ? .fixed(a / b) : nil
    case ("Add", .batch(let a), .batch(let b)): return sound(a) && sound(b) ? .batch(a + b) : nil
    default: return nil
    }
  }

  // MARK: Constants

  private func foldedConstants(
    _ a: inout ONNXAttributes, _ inputs: [ONNXConstant?]
  ) throws(GraphError) -> ONNXKnown? {
    guard let first = inputs.first ?? nil else { return nil }
    func result(_ constant: ONNXConstant?) throws(GraphError) -> ONNXKnown {
      guard let constant else { throw a.error(.shape, "its constants do not fit each other") }
      return .constant(constant)
    }
    func checkRank(_ rank: Int) throws(GraphError) {
      guard rank <= ONNXConstant.maximumRank else {
        throw a.error(.tooLarge, "makes a constant of \(rank) dimensions, at most \(ONNXConstant.maximumRank) are read")
      }
    }
    func axes(_ attribute: [Int]?) -> [Int]? { attribute ?? (inputs.count > 1 ? inputs[1]?.integers : nil) }
    switch a.node.op {
    case "Identity", "Dropout": return .constant(first)
    case "Cast":
      guard let type = StoredType(onnxCode: try a.integer("to") ?? 0) else {
        throw a.error(.unsupported, "casts to a type that is not read")
      }
      guard type != first.tensor.dtype else { return .constant(first) }
      if first.isInteger, type == .i64, let integers = first.integers, first.shape.count <= 1 {
        return .constant(ONNXConstant(integers: integers, isScalar: first.shape.isEmpty))
      }
      var cast = ONNXConstant(shape: first.shape, type: type, numbers: first.numbers)
      cast?.name = first.name
      return try result(cast)
    case "Transpose":
      return try result(first.transposed(try a.integers("perm") ?? Array(first.shape.indices.reversed())))
    case "Flatten":
      let axis = try a.integer("axis") ?? 1
      guard (0...first.shape.count).contains(axis) else { return nil }
      let rows = first.shape.prefix(axis).reduce(1, *)
      return try result(first.reshaped([rows, rows == 0 ? 0 : first.count / rows]))
    case "Reshape":
      guard var target = axes(try a.integers("shape")), target.count <= 16 else { return nil }
      for (index, size) in target.enumerated() where size == 0 && index < first.shape.count {
        target[index] = first.shape[index]
      }
      if let open = target.firstIndex(of: -1) {
        target[open] = 1
        guard let rest = ONNXConstant.product(target), rest > 0, first.count % rest == 0 else { return try result(nil) }
        target[open] = first.count / rest
      }
      return try result(first.reshaped(target))
    case "Unsqueeze":
      guard let given = axes(try a.integers("axes")), given.count <= 8 else { return nil }
      try checkRank(first.shape.count + given.count)
      var shape = first.shape
      for axis in given.map({ $0 < 0 ? $0 + shape.count + given.count : $0 }).sorted() {
        guard (0...shape.count).contains(axis) else { return try result(nil) }
        shape.insert(1, at: axis)
      }
      return try result(first.reshaped(shape))
    case "Squeeze":
      let rank = first.shape.count
      let given = axes(try a.integers("axes"))?.map { $0 < 0 ? $0 + rank : $0 }
      let away = Set(given ?? first.shape.indices.filter { first.shape[$0] == 1 })
      return try result(first.reshaped(first.shape.indices.filter { !away.contains($0) }.map { first.shape[$0] }))
    case "Concat":
      // Lists only: weights are not put together from parts.
      let parts = inputs.compactMap(\.self)
      guard parts.count == inputs.count, parts.allSatisfy({ $0.shape.count == 1 }) else { return nil }
      // Before anything is put together: one list may stand there any number of times.
      let total = parts.reduce(0) { $0 + $1.count }
      guard total <= ONNXConstant.maximumElements else {
        throw a.error(.tooLarge, "makes a constant of \(total) elements of \(parts.count) parts")
      }
      if parts.allSatisfy(\.isInteger) {
        return .constant(ONNXConstant(integers: parts.flatMap { $0.integers ?? [] }))
      }
      let numbers = parts.flatMap(\.numbers)
      return try result(ONNXConstant(shape: [numbers.count], type: first.tensor.dtype, numbers: numbers))
    case "Gather":
      guard first.shape.count == 1, inputs.count == 2, let indices = inputs[1], let list = indices.integers,
        indices.shape.count <= 1
      else { return nil }
      let numbers = first.numbers
      guard list.allSatisfy({ (-numbers.count..<numbers.count).contains($0) }) else { return try result(nil) }
      let picked = list.map { numbers[$0 < 0 ? $0 + numbers.count : $0] }
      return try result(ONNXConstant(shape: indices.shape, type: first.tensor.dtype, numbers: picked))
    case "Slice": return try result(Self.slice(first, inputs, try a.integers("starts"), try a.integers("ends"), &a))
    case "ConstantOfShape":
      try checkRank(first.count)
      guard let shape = first.integers, let count = ONNXConstant.product(shape), count <= ONNXConstant.maximumElements
      else { throw a.error(.tooLarge, "makes a constant of the shape \(first.integers ?? [])") }
      let value = try a.tensor("value").map { ONNXConstant($0) }
      let number = value?.numbers.first ?? 0
      return try result(
        ONNXConstant(
          shape: shape, type: value?.tensor.dtype ?? .f32, numbers: [Double](repeating: number, count: count)))
    case "Expand":
      guard let target = axes(nil) else { return nil }
      try checkRank(target.count)
      guard let shape = ONNXConstant.broadcast(first.shape, target) else { return nil }
      guard let numbers = first.repeated(to: shape) else { throw a.error(.tooLarge, "makes a constant of \(shape)") }
      return try result(ONNXConstant(shape: shape, type: first.tensor.dtype, numbers: numbers))
    case "Floor", "Ceil", "Sqrt", "Neg", "Reciprocal":
      guard first.count <= ONNXConstant.maximumElements else { return nil }
      let op = a.node.op
      let numbers = first.numbers.map { number in
        switch op {
        case "Floor": number.rounded(.down)
        case "Ceil": number.rounded(.up)
        case "Sqrt": number.squareRoot()
        case "Neg": -number
        default: 1 / number
        }
      }
      return try result(ONNXConstant(shape: first.shape, type: first.tensor.dtype, numbers: numbers))
    case "Add", "Sub", "Mul", "Div", "Pow":
      guard inputs.count == 2, let second = inputs[1] else { return nil }
      return try result(Self.arithmetic(a.node.op, first, second))
    default: return nil
    }
  }

  private static func slice(
    _ constant: ONNXConstant, _ inputs: [ONNXConstant?], _ oldStarts: [Int]?, _ oldEnds: [Int]?,
    _ a: inout ONNXAttributes
  ) throws(GraphError) -> ONNXConstant? {
    func list(_ index: Int) -> [Int]? { index < inputs.count ? inputs[index]?.integers : nil }
    let oldAxes = try a.integers("axes")
    guard let starts = oldStarts ?? list(1), let ends = oldEnds ?? list(2), starts.count == ends.count else {
      return nil
    }
    let axes = oldAxes ?? list(3) ?? Array(starts.indices)
    let steps = list(4) ?? [Int](repeating: 1, count: starts.count)
    guard axes.count == starts.count, steps.count == starts.count, axes.count <= constant.shape.count else {
      return nil
    }
    var result = constant
    for (index, axis) in axes.enumerated() {
      let axis = axis < 0 ? axis + constant.shape.count : axis
      let step = steps[index]
      guard constant.shape.indices.contains(axis), step != 0, step.magnitude <= 1 << 31 else { return nil }
      let size = result.shape[axis]
      // Backwards, the end lies before the first element.
      func limited(_ number: Int, _ bounds: ClosedRange<Int>) -> Int {
        let resolved = number < 0 ? (number < -size ? bounds.lowerBound : number + size) : number
        return min(max(resolved, bounds.lowerBound), bounds.upperBound)
      }
      let bounds = step > 0 ? 0...size : -1...max(-1, size - 1)
      let (start, end) = (limited(starts[index], bounds), limited(ends[index], bounds))
      let span = step > 0 ? end - start : start - end
      let count = span <= 0 ? 0 : (span + abs(step) - 1) / abs(step)
      guard let next = result.sliced(axis: axis, start: start, step: step, count: count) else { return nil }
      result = next
    }
    return result
  }

  private static func arithmetic(_ op: String, _ x: ONNXConstant, _ y: ONNXConstant) -> ONNXConstant? {
    guard let shape = ONNXConstant.broadcast(x.shape, y.shape), let a = x.repeated(to: shape),
      let b = y.repeated(to: shape)
    else { return nil }
    let isInteger = x.isInteger
    let numbers = zip(a, b).map { (a, b) -> Double in
      switch op {
      case "Add": return a + b
      case "Sub": return a - b
      case "Mul": return a * b
      case "Pow": return pow(a, b)
      default: return isInteger ? (a / b).rounded(.towardZero) : a / b
      }
    }
    return ONNXConstant(shape: shape, type: x.tensor.dtype, numbers: numbers)
  }
}
