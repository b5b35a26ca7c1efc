import Formats

/// A tensor that is known when the file is read: an initializer, or what follows from initializers and shapes.
struct ONNXConstant {
  /// Shape, type and elements.
  var tensor: StoredTensor
  /// The initializer that it came from; nil for one that was worked out.
  var name: String?

  /// More elements than this are not worked out; weights pass untouched.
  static let maximumElements = 1 << 24
  /// More dimensions than this are not worked out, nor read from a file: each node could add some to those before it.
  static let maximumRank = 16

  init(_ tensor: StoredTensor, name: String? = nil) {
    self.tensor = tensor
    self.name = name
  }

  /// A list of 64-bit integers, or one alone.
  init(integers: [Int], isScalar: Bool = false) {
    var bytes: [UInt8] = []
    for value in integers { withUnsafeBytes(of: Int64(value).littleEndian) { bytes += $0 } }
    let shape = isScalar ? [] : [integers.count]
    self.init(ONNXConstant.stored(shape, .i64, bytes))
  }

  /// Elements in double precision as a tensor of a given type.
  init?(shape: [Int], type: StoredType, numbers: [Double]) {
    guard Self.isSound(shape), type.byteCount(shape: shape) == numbers.count * type.byteCount else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(numbers.count * type.byteCount)
    func append(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    for number in numbers {
      switch type {
      case .f32: append(Float(number).bitPattern)
      case .f64: append(number.bitPattern)
      case .f16: append(Float16(number).bitPattern)
      case .bf16: append(UInt16(truncatingIfNeeded: Float(number).bitPattern >> 16))
      case .i64: append(Self.clamped(number, Int64.self))
      case .i32: append(Self.clamped(number, Int32.self))
      case .i8: append(Self.clamped(number, Int8.self))
      case .u8: append(Self.clamped(number, UInt8.self))
      case .bool: append(UInt8(number == 0 ? 0 : 1))
      }
    }
    self.init(ONNXConstant.stored(shape, type, bytes))
  }

  private static func clamped<Value: FixedWidthInteger>(_ number: Double, _ type: Value.Type) -> Value {
    if number.isNaN { return 0 }
    return Value(exactly: number.rounded(.towardZero)) ?? (number < 0 ? .min : .max)
  }

  /// The sizes are worked out by the callers above, so that they always fit.
  private static func stored(_ shape: [Int], _ type: StoredType, _ bytes: [UInt8]) -> StoredTensor {
    if let tensor = try? StoredTensor(shape: shape, dtype: type, bytes: bytes) { return tensor }
    return StoredTensor.empty
  }

  var shape: [Int] { tensor.shape }
  var count: Int { tensor.elementCount }

  var isInteger: Bool {
    switch tensor.dtype {
    case .i64, .i32, .i8, .u8, .bool: true
    case .f32, .f64, .f16, .bf16: false
    }
  }

  /// The elements as integers; nil for other types.
  var integers: [Int]? {
    guard isInteger else { return nil }
    return tensor.bytes.withUnsafeBytes { raw in
      (0..<count).map { index in
        switch tensor.dtype {
        case .i64: Int(Int64(littleEndian: raw.loadUnaligned(fromByteOffset: index * 8, as: Int64.self)))
        case .i32: Int(Int32(littleEndian: raw.loadUnaligned(fromByteOffset: index * 4, as: Int32.self)))
        case .i8: Int(Int8(bitPattern: raw[index]))
        default: Int(raw[index])
        }
      }
    }
  }

  /// The elements in double precision.
  var numbers: [Double] {
    switch tensor.dtype {
    case .f64:
      tensor.bytes.withUnsafeBytes { raw in
        (0..<count).map { raw.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
      }
    case .i64, .i32: (integers ?? []).map(Double.init)
    default: tensor.floats().map(Double.init)
    }
  }

  /// The one value that all elements have; nil where they differ or there is none.
  var uniformValue: Double? {
    guard count > 0, count <= Self.maximumElements else { return nil }
    let numbers = numbers
    let first = numbers[0]
    return numbers.allSatisfy { $0 == first } ? first : nil
  }

  /// The same elements under another shape of as many.
  func reshaped(_ shape: [Int]) -> ONNXConstant? {
    guard Self.isSound(shape), let tensor = try? StoredTensor(shape: shape, dtype: tensor.dtype, bytes: tensor.bytes)
    else { return nil }
    return ONNXConstant(tensor, name: name)
  }

  /// Dimensions reordered as `permutation` says.
  func transposed(_ permutation: [Int]) -> ONNXConstant? {
    guard permutation.sorted() == Array(shape.indices) else { return nil }
    let size = tensor.dtype.byteCount
    let target = permutation.map { shape[$0] }
    let own = Self.strides(shape)
    let steps = permutation.map { own[$0] }
    var bytes = [UInt8](repeating: 0, count: tensor.bytes.count)
    let total = count
    tensor.bytes.withUnsafeBytes { source in
      bytes.withUnsafeMutableBytes { result in
        Self.forEachIndex(target, steps, total) { index, position in
          for byte in 0..<size { result[index * size + byte] = source[position * size + byte] }
        }
      }
    }
    guard let tensor = try? StoredTensor(shape: target, dtype: tensor.dtype, bytes: bytes) else { return nil }
    return ONNXConstant(tensor, name: name)
  }

  /// The element of every output index of shape `target`, this tensor repeated along axes of 1.
  func repeated(to target: [Int]) -> [Double]? {
    guard shape.count <= target.count, let total = Self.product(target), total <= Self.maximumElements else {
      return nil
    }
    let missing = target.count - shape.count
    let own = Self.strides(shape)
    var steps = [Int](repeating: 0, count: target.count)
    for axis in shape.indices where shape[axis] != 1 {
      guard shape[axis] == target[axis + missing] else { return nil }
      steps[axis + missing] = own[axis]
    }
    let numbers = numbers
    var result = [Double](repeating: 0, count: total)
    Self.forEachIndex(target, steps, total) { index, position in result[index] = numbers[position] }
    return result
  }

  /// Every `step`-th element of one axis from `start` on, `count` in all.
  func sliced(axis: Int, start: Int, step: Int, count: Int) -> ONNXConstant? {
    guard shape.indices.contains(axis), count >= 0, count <= shape[axis] else { return nil }
    let last = start + step * max(0, count - 1)
    guard count == 0 || (0..<shape[axis]).contains(start) && (0..<shape[axis]).contains(last) else { return nil }
    var target = shape
    target[axis] = count
    let size = tensor.dtype.byteCount
    let inner = shape.dropFirst(axis + 1).reduce(1, *) * size
    var bytes: [UInt8] = []
    // Without elements the axes before this one may be of any length.
    let outerCount = inner * count == 0 ? 0 : shape.prefix(axis).reduce(1, *)
    for outer in 0..<outerCount {
      for index in 0..<count {
        let begin = (outer * shape[axis] + start + index * step) * inner
        bytes += tensor.bytes[begin..<begin + inner]
      }
    }
    guard let tensor = try? StoredTensor(shape: target, dtype: tensor.dtype, bytes: bytes) else { return nil }
    return ONNXConstant(tensor, name: name)
  }

  /// The shape that both shapes are repeated to; nil where they do not fit.
  static func broadcast(_ a: [Int], _ b: [Int]) -> [Int]? {
    let rank = max(a.count, b.count)
    var result: [Int] = []
    for axis in 0..<rank {
      let x = axis < rank - a.count ? 1 : a[axis - (rank - a.count)]
      let y = axis < rank - b.count ? 1 : b[axis - (rank - b.count)]
      guard x == y || x == 1 || y == 1 else { return nil }
      result.append(x == 1 ? y : x)
    }
    return result
  }

  /// Whether all products of sizes fit, also where a size of 0 makes the number of elements 0.
  private static func isSound(_ shape: [Int]) -> Bool {
    shape.count <= maximumRank && product(shape.filter { $0 != 0 }) != nil
  }

  static func product(_ shape: [Int]) -> Int? {
    var product = 1
    for size in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: size)
      guard size >= 0, !overflow else { return nil }
      product = next
    }
    return product
  }

  private static func strides(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    return strides
  }

  /// Counts through a shape in C order; `position` moves by `steps`.
  private static func forEachIndex(_ shape: [Int], _ steps: [Int], _ total: Int, _ body: (Int, Int) -> Void) {
    var counter = [Int](repeating: 0, count: shape.count)
    var position = 0
    for index in 0..<total {
      body(index, position)
      var axis = shape.count - 1
      while axis >= 0 {
        counter[axis] += 1
        position += steps[axis]
        if counter[axis] < shape[axis] { break }
        position -= steps[axis] * shape[axis]
        counter[axis] = 0
        axis -= 1
      }
    }
  }
}

extension StoredTensor {
  /// The tensor without elements.
  fileprivate static let empty: StoredTensor = {
    guard let tensor = try? StoredTensor(shape: [0], floats: []) else { preconditionFailure("[0] has no elements") }
    return tensor
  }()
}
