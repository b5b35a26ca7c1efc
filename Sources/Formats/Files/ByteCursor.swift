/// A bounded, little-endian reading position in the bytes of a file: every step is checked against the end.
struct ByteCursor {
  let bytes: UnsafeRawBufferPointer
  let path: String
  private(set) var offset = 0

  init(_ bytes: UnsafeRawBufferPointer, path: String) {
    self.bytes = bytes
    self.path = path
  }

  var remaining: Int { bytes.count - offset }

  mutating func integer<Value: FixedWidthInteger>(
    _ type: Value.Type, _ what: @autoclosure () -> String
  ) throws(FormatError) -> Value {
    let size = MemoryLayout<Value>.size
    guard remaining >= size else { throw truncated(size, what()) }
    defer { offset += size }
    return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
  }

  /// The next `count` bytes.
  mutating func take(_ count: Int, _ what: @autoclosure () -> String) throws(FormatError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else { throw truncated(count, what()) }
    defer { offset += count }
    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  func error(_ code: FormatError.Code, _ message: String, at position: Int? = nil, advice: String? = nil) -> FormatError
  {
    FormatError(code, message, path: path, offset: position ?? offset, advice: advice)
  }

  private func truncated(_ count: Int, _ what: String) -> FormatError {
    error(
      .truncated, "\(count) bytes for \(what) expected, \(remaining) left",
      advice: "the file is cut short: copy or download it again")
  }
}
