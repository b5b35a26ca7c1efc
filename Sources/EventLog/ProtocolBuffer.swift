/// Writes the fields of a protocol buffer message.
struct MessageEncoder {
  private(set) var bytes: [UInt8] = []

  private mutating func key(_ number: UInt64, _ wireType: UInt64) { varint(number << 3 | wireType) }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func integer(_ number: UInt64, _ value: Int64) {
    key(number, 0)
    varint(UInt64(bitPattern: value))
  }

  mutating func double(_ number: UInt64, _ value: Double) {
    key(number, 1)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
  }

  mutating func float(_ number: UInt64, _ value: Float) {
    key(number, 5)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
  }

  mutating func string(_ number: UInt64, _ value: String) {
    key(number, 2)
    let text = Array(value.utf8)
    varint(UInt64(text.count))
    bytes += text
  }

  mutating func nested(_ number: UInt64, _ build: (inout MessageEncoder) -> Void) {
    var inner = MessageEncoder()
    build(&inner)
    key(number, 2)
    varint(UInt64(inner.bytes.count))
    bytes += inner.bytes
  }
}

/// Reads the fields of a protocol buffer message one after another; every length is checked against what is there.
struct MessageDecoder {
  enum Content {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>
  /// Whether the bytes turned out not to be a message.
  private(set) var failed = false

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  mutating func next() -> (number: UInt64, content: Content)? {
    if rest.isEmpty || failed { return nil }
    guard let key = varint(), key >> 3 != 0 else { return fail() }
    let number = key >> 3
    switch key & 7 {
    case 0:
      guard let value = varint() else { return fail() }
      return (number, .varint(value))
    case 1:
      guard let value = fixed(8) else { return fail() }
      return (number, .fixed64(value))
    case 2:
      guard let length = varint(), length <= UInt64(rest.count) else { return fail() }
      let content = rest.prefix(Int(length))
      rest = rest.dropFirst(Int(length))
      return (number, .bytes(content))
    case 5:
      guard let value = fixed(4) else { return fail() }
      return (number, .fixed32(UInt32(value)))
    default:
      return fail()
    }
  }

  private mutating func fail() -> (number: UInt64, content: Content)? {
    failed = true
    return nil
  }

  private mutating func varint() -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard let byte = rest.popFirst() else { return nil }
      // The tenth byte holds only the sixty-fourth bit.
      if shift == 63 && byte > 1 { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    return nil
  }

  private mutating func fixed(_ count: Int) -> UInt64? {
    guard rest.count >= count else { return nil }
    var value: UInt64 = 0
    for byte in rest.prefix(count).reversed() { value = value << 8 | UInt64(byte) }
    rest = rest.dropFirst(count)
    return value
  }
}
