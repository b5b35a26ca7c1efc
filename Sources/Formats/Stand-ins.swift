// Minimal local versions of types that the rest of this target defines, with the same signatures, so that this folder
// and its tests compile alone. Deleted when the two meet.

import Glibc

/// What is wrong with a file, where, and what to do about it.
public struct FormatError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The kind of trouble.
  public enum Code: String, Sendable {
    case io, notFound, truncated, corrupt, unsupported, mismatch, unsafe, tooLarge, diskFull
  }

  /// The kind of trouble.
  public let code: Code
  /// What was found and what was expected.
  public let message: String
  /// The file in question.
  public let path: String?
  /// Where in the file, in bytes from its start.
  public let offset: Int?
  /// Where in a text file, counted from 1.
  public let line: Int?
  /// What the user can do.
  public let advice: String?

  /// An error of kind `code`.
  public init(
    _ code: Code, _ message: String, path: String? = nil, offset: Int? = nil, line: Int? = nil, advice: String? = nil
  ) {
    self.code = code
    self.message = message
    self.path = path
    self.offset = offset
    self.line = line
    self.advice = advice
  }

  /// `path, line 3, byte 128: message (advice)`.
  public var description: String {
    var place: [String] = []
    if let path { place.append(path) }
    if let line { place.append("line \(line)") }
    if let offset { place.append("byte \(offset)") }
    var text = place.isEmpty ? message : place.joined(separator: ", ") + ": " + message
    if let advice { text += " (\(advice))" }
    return text
  }
}

/// Element type of a stored tensor.
public enum StoredType: String, Sendable, CaseIterable {
  case f32
}

/// A tensor as it lies in a file: shape, element type, little-endian bytes in C order.
public struct StoredTensor: Sendable, Equatable {
  /// The extents, slowest axis first.
  public let shape: [Int]
  /// The element type.
  public let dtype: StoredType
  /// The elements, little-endian, last axis fastest.
  public let bytes: [UInt8]

  /// A tensor of given bytes.
  public init(shape: [Int], dtype: StoredType, bytes: [UInt8]) throws(FormatError) {
    guard shape.reduce(4, *) == bytes.count else {
      throw FormatError(.mismatch, "a tensor of shape \(shape) cannot have \(bytes.count) bytes")
    }
    self.shape = shape
    self.dtype = dtype
    self.bytes = bytes
  }

  /// A tensor of f32 elements.
  public init(shape: [Int], floats: [Float]) throws(FormatError) {
    try self.init(shape: shape, dtype: .f32, bytes: floats.withUnsafeBytes { Array($0) })
  }

  /// All elements as f32.
  public func floats() -> [Float] {
    bytes.withUnsafeBytes { raw in
      (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
    }
  }
}

/// The weights of an MXNet model; the stand-in reads version 2 arrays of float32 alone.
public struct MXNetParameters: Sendable {
  /// Names and arrays in the order of the file.
  public var entries: [(name: String, tensor: StoredTensor)]

  /// Reads the file at `path`.
  public init(path: String) throws(FormatError) {
    guard let file = fopen(path, "rb") else { throw FormatError(.notFound, "cannot open", path: path) }
    defer { fclose(file) }
    func bytes(_ count: Int) throws(FormatError) -> [UInt8] {
      var buffer = [UInt8](repeating: 0, count: min(count, 1 << 28))
      guard fread(&buffer, 1, buffer.count, file) == count else {
        throw FormatError(.truncated, "the file ends early", path: path)
      }
      return buffer
    }
    func integer(_ size: Int) throws(FormatError) -> Int {
      try bytes(size).reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    guard try integer(8) == 0x112 else { throw FormatError(.corrupt, "not a .params file", path: path, offset: 0) }
    _ = try integer(8)
    var tensors: [StoredTensor] = []
    for _ in 0..<(try integer(8)) {
      guard try integer(4) == 0xf993_fac9, try integer(4) == 0 else {
        throw FormatError(.unsupported, "not a dense array of version 2", path: path)
      }
      var shape: [Int] = []
      for _ in 0..<(try integer(4)) { shape.append(try integer(8)) }
      _ = try bytes(8)
      guard try integer(4) == 0 else { throw FormatError(.unsupported, "not float32", path: path) }
      tensors.append(try StoredTensor(shape: shape, dtype: .f32, bytes: try bytes(shape.reduce(4, *))))
    }
    entries = []
    _ = try integer(8)
    for tensor in tensors {
      entries.append((String(decoding: try bytes(try integer(8)), as: UTF8.self), tensor))
    }
  }
}
