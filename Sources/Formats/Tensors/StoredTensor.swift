/// The element types that tensors in files may have.
public enum StoredType: String, Sendable, CaseIterable {
  /// IEEE 754 binary32.
  case f32
  /// IEEE 754 binary64.
  case f64
  /// IEEE 754 binary16.
  case f16
  /// The upper half of binary32.
  case bf16
  /// Unsigned, 8 bits.
  case u8
  /// Signed, 8 bits.
  case i8
  /// Signed, 32 bits.
  case i32
  /// Signed, 64 bits.
  case i64
  /// A truth value in a byte, 0 or 1.
  case bool

  /// The size of an element in bytes.
  public var byteCount: Int {
    switch self {
    case .u8, .i8, .bool: return 1
    case .f16, .bf16: return 2
    case .f32, .i32: return 4
    case .f64, .i64: return 8
    }
  }

  /// The size in bytes of a tensor of this type, `nil` where an extent is negative or the product overflows.
  public func byteCount(shape: [Int]) -> Int? {
    var total = byteCount
    for extent in shape {
      let (product, overflow) = total.multipliedReportingOverflow(by: extent)
      guard extent >= 0, !overflow else { return nil }
      total = product
    }
    return total
  }
}

/// Name, type and shape of a tensor in a file.
public struct TensorDescription: Sendable, Equatable {
  /// The name.
  public let name: String
  /// The element type.
  public let dtype: StoredType
  /// The extents, slowest axis first.
  public let shape: [Int]

  /// A description of its parts.
  public init(name: String, dtype: StoredType, shape: [Int]) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
  }
}

/// A tensor as it lies in a file: shape, element type, little-endian bytes in C order (last axis fastest).
public struct StoredTensor: Sendable, Equatable {
  /// The extents, slowest axis first; empty for a scalar.
  public let shape: [Int]
  /// The element type.
  public let dtype: StoredType
  /// The elements, little-endian, last axis fastest.
  public let bytes: [UInt8]

  /// A tensor of given bytes.
  ///
  /// Throws `.mismatch` where their number does not fit shape and type.
  public init(shape: [Int], dtype: StoredType, bytes: [UInt8]) throws(FormatError) {
    guard let expected = dtype.byteCount(shape: shape), expected == bytes.count else {
      throw FormatError(.mismatch, "a tensor of shape \(shape) and type \(dtype) cannot have \(bytes.count) bytes")
    }
    self.shape = shape
    self.dtype = dtype
    self.bytes = bytes
  }

  /// A tensor of f32 elements.
  ///
  /// Throws `.mismatch` where their number does not fit the shape.
  public init(shape: [Int], floats: [Float]) throws(FormatError) {
    let bytes = floats.withUnsafeBytes { Array($0) }
    try self.init(shape: shape, dtype: .f32, bytes: bytes)
  }

  /// The number of elements.
  public var elementCount: Int { bytes.count / dtype.byteCount }

  /// All elements as f32, rounded to nearest where f32 cannot hold them; truth values are 0 and 1.
  public func floats() -> [Float] {
    bytes.withUnsafeBytes { raw in
      func all<Element>(_ type: Element.Type, _ convert: (Element) -> Float) -> [Float] {
        let size = MemoryLayout<Element>.size
        return (0..<elementCount).map { convert(raw.loadUnaligned(fromByteOffset: $0 * size, as: type)) }
      }
      switch dtype {
      case .f32: return all(Float.self) { $0 }
      case .f64: return all(Double.self) { Float($0) }
      case .f16: return all(UInt16.self) { Float(Float16(bitPattern: $0)) }
      case .bf16: return all(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
      case .u8: return all(UInt8.self) { Float($0) }
      case .i8: return all(Int8.self) { Float($0) }
      case .i32: return all(Int32.self) { Float($0) }
      case .i64: return all(Int64.self) { Float($0) }
      case .bool: return all(UInt8.self) { $0 == 0 ? 0 : 1 }
      }
    }
  }
}
