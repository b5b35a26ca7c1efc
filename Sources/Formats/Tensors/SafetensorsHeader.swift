/// The JSON header of a safetensors file, read with bounds: `{"name": {"dtype": …, "shape": […], "data_offsets": […]}}`.
struct SafetensorsHeader {
  struct Entry {
    var description: TensorDescription
    var range: Range<Int>
  }

  var entries: [Entry] = []
  var metadata: [String: String] = [:]

  private let text: UnsafeRawBufferPointer
  private let path: String
  // Where the JSON starts in the file, for the offsets in errors.
  private let start: Int
  private var position = 0

  static let maximumSize = 100_000_000

  init(_ text: UnsafeRawBufferPointer, path: String, start: Int) throws(FormatError) {
    self.text = text
    self.path = path
    self.start = start
    var names: Set<String> = []
    try object { (header, key, place) throws(FormatError) in
      guard names.insert(key).inserted else { throw header.error("the name `\(key)` comes twice", at: place) }
      if key == "__metadata__" {
        try header.object { (header, key, _) throws(FormatError) in header.metadata[key] = try header.string() }
      } else {
        header.entries.append(try header.entry(key, at: place))
      }
    }
    skipSpace()
    guard position == text.count else { throw error("the header goes on after its end") }
  }

  private func error(
    _ message: String, at place: Int? = nil, _ code: FormatError.Code = .corrupt
  ) -> FormatError {
    FormatError(code, message, path: path, offset: start + (place ?? position))
  }

  private mutating func entry(_ name: String, at place: Int) throws(FormatError) -> Entry {
    var dtype: StoredType?
    var shape: [Int]?
    var offsets: [Int]?
    try object { (header, key, _) throws(FormatError) in
      switch key {
      case "dtype":
        let found = try header.string()
        guard let known = Self.types.first(where: { $0.name == found })?.type else {
          throw header.error("the tensor `\(name)` has the type `\(found)`, which is not read", at: place, .unsupported)
        }
        dtype = known
      case "shape": shape = try header.numbers(atMost: 64)
      case "data_offsets": offsets = try header.numbers(atMost: 2)
      default: try header.skipValue(depth: 0)
      }
    }
    guard let dtype, let shape, let offsets, offsets.count == 2 else {
      throw error("the tensor `\(name)` needs dtype, shape and two data_offsets", at: place)
    }
    guard offsets[0] <= offsets[1], dtype.byteCount(shape: shape) == offsets[1] - offsets[0] else {
      throw error("the tensor `\(name)` of shape \(shape), type \(dtype) cannot take the bytes \(offsets)", at: place)
    }
    return Entry(
      description: TensorDescription(name: name, dtype: dtype, shape: shape), range: offsets[0]..<offsets[1])
  }

  static let types: [(name: String, type: StoredType)] = [
    ("F32", .f32), ("F64", .f64), ("F16", .f16), ("BF16", .bf16), ("U8", .u8), ("I8", .i8), ("I32", .i32),
    ("I64", .i64), ("BOOL", .bool),
  ]

  // MARK: - JSON

  private mutating func object(
    _ member: (inout SafetensorsHeader, String, Int) throws(FormatError) -> Void
  ) throws(FormatError) {
    try expect(UInt8(ascii: "{"))
    if take(UInt8(ascii: "}")) { return }
    repeat {
      skipSpace()
      let place = position
      let key = try string()
      try expect(UInt8(ascii: ":"))
      try member(&self, key, place)
    } while take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "}"))
  }

  private mutating func numbers(atMost limit: Int) throws(FormatError) -> [Int] {
    try expect(UInt8(ascii: "["))
    var result: [Int] = []
    if take(UInt8(ascii: "]")) { return result }
    repeat {
      guard result.count < limit else { throw error("more than \(limit) numbers") }
      result.append(try number())
    } while take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "]"))
    return result
  }

  private mutating func number() throws(FormatError) -> Int {
    skipSpace()
    let first = position
    var value = 0
    while position < text.count, (48...57).contains(text[position]), position - first < 18 {
      value = value * 10 + Int(text[position]) - 48
      position += 1
    }
    guard position > first else { throw error("a whole number expected") }
    return value
  }

  private mutating func string() throws(FormatError) -> String {
    try expect(UInt8(ascii: "\""))
    let first = position
    var result: [UInt8] = []
    while position < text.count {
      let byte = text[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: result, as: UTF8.self) else {
          throw error("a string that is not UTF-8", at: first)
        }
        return string
      case UInt8(ascii: "\\"): try escape(into: &result)
      case 0..<32: throw error("a control character inside a string", at: position - 1)
      default: result.append(byte)
      }
    }
    throw error("a string without its end", at: first)
  }

  private mutating func escape(into result: inout [UInt8]) throws(FormatError) {
    guard position < text.count else { throw error("a string without its end") }
    let byte = text[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
    case UInt8(ascii: "b"): result.append(8)
    case UInt8(ascii: "f"): result.append(12)
    case UInt8(ascii: "n"): result.append(10)
    case UInt8(ascii: "r"): result.append(13)
    case UInt8(ascii: "t"): result.append(9)
    case UInt8(ascii: "u"):
      var value = try hexadecimal()
      if 0xd800..<0xdc00 ~= value, position + 1 < text.count, text[position] == UInt8(ascii: "\\"),
        text[position + 1] == UInt8(ascii: "u")
      {
        position += 2
        let low = try hexadecimal()
        guard 0xdc00..<0xe000 ~= low else { throw error("half a surrogate pair") }
        value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
      }
      guard let scalar = Unicode.Scalar(value) else { throw error("half a surrogate pair") }
      result.append(contentsOf: String(Character(scalar)).utf8)
    default: throw error("an unknown escape", at: position - 1)
    }
  }

  private mutating func hexadecimal() throws(FormatError) -> UInt32 {
    guard position + 4 <= text.count,
      let value = UInt32(String(decoding: text[position..<position + 4], as: UTF8.self), radix: 16)
    else { throw error("four hexadecimal digits expected") }
    position += 4
    return value
  }

  private mutating func skipValue(depth: Int) throws(FormatError) {
    guard depth < 32 else { throw error("nested too deep") }
    skipSpace()
    guard position < text.count else { throw error("a value expected") }
    switch text[position] {
    case UInt8(ascii: "{"):
      try object { (header, _, _) throws(FormatError) in try header.skipValue(depth: depth + 1) }
    case UInt8(ascii: "["):
      position += 1
      if take(UInt8(ascii: "]")) { return }
      repeat { try skipValue(depth: depth + 1) } while take(UInt8(ascii: ","))
      try expect(UInt8(ascii: "]"))
    case UInt8(ascii: "\""): _ = try string()
    default:
      let first = position
      while position < text.count, Self.isPlain(text[position]) { position += 1 }
      guard position > first else { throw error("a value expected") }
    }
  }

  /// Letters, digits, signs and points: what numbers, `true`, `false` and `null` are made of.
  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
      return true
    default: return false
    }
  }

  private mutating func skipSpace() {
    while position < text.count, [32, 9, 10, 13].contains(text[position]) { position += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard position < text.count, text[position] == byte else { return false }
    position += 1
    return true
  }

  private mutating func expect(_ byte: UInt8) throws(FormatError) {
    guard take(byte) else { throw error("`\(Character(Unicode.Scalar(byte)))` expected in the header") }
  }
}
