/// Reads the fields of one protocol buffer message where it lies, every length checked against what is there.
///
/// It never recurses by itself: whoever reads a nested message makes a reader of its own, so the depth is that of the
/// code, not of the file.
struct ProtobufReader {
  /// What a field holds; bytes are ranges of the file.
  enum Content {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    case bytes(Range<Int>)
  }

  /// One field with where in the file it begins.
  struct Field {
    var number: Int
    var content: Content
    var offset: Int
  }

  let bytes: UnsafeRawBufferPointer
  let path: String
  private(set) var position: Int
  private let end: Int

  init(_ bytes: UnsafeRawBufferPointer, path: String, range: Range<Int>) {
    self.bytes = bytes
    self.path = path
    position = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { position >= end }

  /// The next field; nil at the end of the message.
  mutating func next() throws(FormatError) -> Field? {
    guard position < end else { return nil }
    let start = position
    let key = try varint("a field's key")
    guard key >> 3 != 0, key >> 3 < 1 << 29 else {
      throw error(.corrupt, "a protocol buffer field has the number \(key >> 3)", at: start)
    }
    let number = Int(key >> 3)
    switch key & 7 {
    case 0: return Field(number: number, content: .varint(try varint("field \(number)")), offset: start)
    case 1: return Field(number: number, content: .fixed64(try fixed(UInt64.self)), offset: start)
    case 2:
      let length = try varint("the length of field \(number)")
      guard length <= UInt64(end - position) else {
        throw error(
          .truncated, "field \(number) announces \(length) bytes, \(end - position) are left in its message", at: start,
          advice: "the file is cut short or damaged: copy or download it again")
      }
      let range = position..<position + Int(length)
      position = range.upperBound
      return Field(number: number, content: .bytes(range), offset: start)
    case 5: return Field(number: number, content: .fixed32(try fixed(UInt32.self)), offset: start)
    case let type:
      throw error(.corrupt, "field \(number) has the wire type \(type), which no ONNX file uses", at: start)
    }
  }

  /// A varint of at most ten bytes.
  mutating func varint(_ what: @autoclosure () -> String) throws(FormatError) -> UInt64 {
    let start = position
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard position < end else { throw error(.truncated, "the message ends inside \(what())", at: start) }
      let byte = bytes[position]
      position += 1
      // The tenth byte holds only the sixty-fourth bit.
      guard shift < 63 || byte <= 1 else {
        throw error(.corrupt, "\(what()) is a number of more than 64 bits", at: start)
      }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
  }

  private mutating func fixed<Value: FixedWidthInteger>(_ type: Value.Type) throws(FormatError) -> Value {
    let size = MemoryLayout<Value>.size
    guard end - position >= size else {
      throw error(.truncated, "\(size) bytes of a number expected, \(end - position) left")
    }
    defer { position += size }
    return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
  }

  func error(
    _ code: FormatError.Code, _ message: String, at offset: Int? = nil, advice: String? = nil
  ) -> FormatError {
    FormatError(code, message, path: path, offset: offset ?? position, advice: advice)
  }

  // MARK: Typed contents of a field

  /// A signed number.
  func integer(_ field: Field) throws(FormatError) -> Int {
    guard case .varint(let value) = field.content else { throw unexpected(field, "a whole number") }
    return Int(Int64(bitPattern: value))
  }

  func float(_ field: Field) throws(FormatError) -> Float {
    guard case .fixed32(let value) = field.content else { throw unexpected(field, "a 32-bit number") }
    return Float(bitPattern: value)
  }

  func range(_ field: Field) throws(FormatError) -> Range<Int> {
    guard case .bytes(let range) = field.content else { throw unexpected(field, "bytes") }
    return range
  }

  func data(_ field: Field) throws(FormatError) -> [UInt8] { Array(bytes[try range(field)]) }

  /// UTF-8 text.
  func text(_ field: Field, atMost limit: Int = 1 << 16) throws(FormatError) -> String {
    let range = try range(field)
    guard range.count <= limit else {
      throw error(.tooLarge, "a name or text of \(range.count) bytes, at most \(limit) are read", at: field.offset)
    }
    guard let text = String(validating: bytes[range], as: UTF8.self) else {
      throw error(.corrupt, "a text that is not UTF-8", at: field.offset)
    }
    return text
  }

  /// A nested message.
  func message(_ field: Field) throws(FormatError) -> ProtobufReader {
    ProtobufReader(bytes, path: path, range: try range(field))
  }

  /// Appends a repeated number in either form, alone or packed.
  func appendIntegers(_ field: Field, to list: inout [Int]) throws(FormatError) {
    switch field.content {
    case .varint(let value): list.append(Int(Int64(bitPattern: value)))
    case .bytes(let range):
      var inner = ProtobufReader(bytes, path: path, range: range)
      while !inner.isAtEnd { list.append(Int(Int64(bitPattern: try inner.varint("a packed number")))) }
    default: throw unexpected(field, "whole numbers")
    }
  }

  /// Appends a repeated 32-bit float in either form.
  func appendFloats(_ field: Field, to list: inout [Float]) throws(FormatError) {
    switch field.content {
    case .fixed32(let value): list.append(Float(bitPattern: value))
    case .bytes(let range):
      guard range.count % 4 == 0 else {
        throw error(.corrupt, "packed 32-bit numbers take \(range.count) bytes", at: field.offset)
      }
      list.reserveCapacity(list.count + range.count / 4)
      for start in stride(from: range.lowerBound, to: range.upperBound, by: 4) {
        let pattern = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
        list.append(Float(bitPattern: pattern))
      }
    default: throw unexpected(field, "32-bit numbers")
    }
  }

  /// Appends the little-endian bytes of a repeated number of `size` bytes in either form.
  func appendFixed(_ field: Field, size: Int, to list: inout [UInt8]) throws(FormatError) {
    switch field.content {
    case .fixed32(let value) where size == 4: list.appendLittleEndian(value)
    case .fixed64(let value) where size == 8: list.appendLittleEndian(value)
    case .bytes(let range):
      guard range.count % size == 0 else {
        throw error(.corrupt, "packed numbers of \(size) bytes take \(range.count) bytes", at: field.offset)
      }
      list += bytes[range]
    default: throw unexpected(field, "numbers of \(size) bytes")
    }
  }

  private func unexpected(_ field: Field, _ expected: String) -> FormatError {
    error(.corrupt, "field \(field.number) should hold \(expected) and holds something else", at: field.offset)
  }
}
