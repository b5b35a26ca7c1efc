/// A JSON value that remembers where in the text it began, so that an error found later can still name the byte.
package struct SymbolJSON {
  package enum Value {
    case null
    case bool(Bool)
    /// The number as written; symbol files hold integers only, and the text survives a round trip unchanged.
    case number(String)
    case string(String)
    case array([SymbolJSON])
    case object([Member])
  }

  package struct Member {
    package var key: String
    package var value: SymbolJSON
  }

  /// Byte offset of the first character of the value.
  package var offset: Int
  package var value: Value

  /// The member with this key, where the value is an object that has one.
  package subscript(key: String) -> SymbolJSON? {
    guard case .object(let members) = value else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// What kind of value this is, for error messages.
  package var kind: String {
    switch value {
    case .null: "null"
    case .bool: "a boolean"
    case .number(let text): "the number \(text)"
    case .string(let text): "the string \"\(text.prefix(40))\""
    case .array: "an array"
    case .object: "an object"
    }
  }

  /// Parses one JSON document.
  ///
  /// Nesting is bounded, duplicate keys are errors. Control characters other than line breaks are accepted raw inside
  /// strings: MXNet's own writer leaves them unescaped.
  package static func parse(_ bytes: [UInt8], path: String?) throws(FormatError) -> SymbolJSON {
    var parser = SymbolJSONParser(bytes: bytes, path: path)
    parser.skipByteOrderMark()
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.position == bytes.count else {
      throw parser.error("expected the end of the file after the JSON value, found \(parser.found())")
    }
    return value
  }

  /// Appends `text` as MXNet's JSON writer quotes strings: it escapes the quote, the backslash, tab, CR and LF, and
  /// nothing else, and its reader knows no other escape.
  static func quote(_ text: String, into output: inout String) {
    output += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "\n": output += "\\n"
      case "\r": output += "\\r"
      case "\t": output += "\\t"
      default: output.unicodeScalars.append(scalar)
      }
    }
    output += "\""
  }
}

/// The recursive-descent parser behind `SymbolJSON.parse`.
private struct SymbolJSONParser {
  /// Symbol files nest five deep; graph attributes a little more.
  static let maximumDepth = 32

  let bytes: [UInt8]
  let path: String?
  var position = 0

  init(bytes: [UInt8], path: String?) {
    self.bytes = bytes
    self.path = path
  }

  func error(_ message: String, at offset: Int? = nil) -> FormatError {
    FormatError.symbol(.corrupt, message, path: path, bytes: bytes, offset: offset ?? position)
  }

  /// A description of the byte at the position, for messages.
  func found() -> String {
    guard position < bytes.count else { return "the end of the file" }
    let byte = bytes[position]
    if byte >= 0x21, byte < 0x7f { return "'\(Character(UnicodeScalar(byte)))'" }
    return "byte 0x" + String(byte, radix: 16)
  }

  mutating func skipByteOrderMark() {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
  }

  mutating func skipSpace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0A, 0x0D: position += 1
      default: return
      }
    }
  }

  /// Skips space and takes `byte` if it comes next.
  mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  mutating func value(depth: Int) throws(FormatError) -> SymbolJSON {
    guard depth < Self.maximumDepth else {
      throw error("arrays and objects are nested more than \(Self.maximumDepth) deep")
    }
    skipSpace()
    let start = position
    guard position < bytes.count else {
      throw FormatError.symbol(
        .truncated, "the file ends where a JSON value was expected", path: path, bytes: bytes, offset: position)
    }
    switch bytes[position] {
    case UInt8(ascii: "{"):
      position += 1
      return SymbolJSON(offset: start, value: .object(try members(depth: depth)))
    case UInt8(ascii: "["):
      position += 1
      return SymbolJSON(offset: start, value: .array(try elements(depth: depth)))
    case UInt8(ascii: "\""):
      return SymbolJSON(offset: start, value: .string(try string()))
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      return SymbolJSON(offset: start, value: .number(try number()))
    default:
      for (word, value) in [("true", SymbolJSON.Value.bool(true)), ("false", .bool(false)), ("null", .null)]
      where bytes[position...].starts(with: word.utf8) {
        position += word.utf8.count
        return SymbolJSON(offset: start, value: value)
      }
      throw error("expected a JSON value, found \(found())")
    }
  }

  private mutating func members(depth: Int) throws(FormatError) -> [SymbolJSON.Member] {
    var members: [SymbolJSON.Member] = []
    var keys: Set<String> = []
    if take(UInt8(ascii: "}")) { return members }
    while true {
      skipSpace()
      let start = position
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
        throw error("expected a quoted key, found \(found())")
      }
      let key = try string()
      guard keys.insert(key).inserted else {
        throw error("the key \"\(key.prefix(40))\" occurs twice in one object", at: start)
      }
      guard take(UInt8(ascii: ":")) else { throw error("expected ':' after the key, found \(found())") }
      members.append(SymbolJSON.Member(key: key, value: try value(depth: depth + 1)))
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "}")) else { throw error("expected ',' or '}', found \(found())") }
      return members
    }
  }

  private mutating func elements(depth: Int) throws(FormatError) -> [SymbolJSON] {
    var elements: [SymbolJSON] = []
    if take(UInt8(ascii: "]")) { return elements }
    while true {
      elements.append(try value(depth: depth + 1))
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "]")) else { throw error("expected ',' or ']', found \(found())") }
      return elements
    }
  }

  private mutating func number() throws(FormatError) -> String {
    let start = position
    func isDigit(_ index: Int) -> Bool {
      index < bytes.count && bytes[index] >= UInt8(ascii: "0") && bytes[index] <= UInt8(ascii: "9")
    }
    if bytes[position] == UInt8(ascii: "-") { position += 1 }
    guard isDigit(position) else { throw error("expected a digit, found \(found())") }
    while isDigit(position) { position += 1 }
    if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
      position += 1
      guard isDigit(position) else { throw error("expected a digit after the point, found \(found())") }
      while isDigit(position) { position += 1 }
    }
    if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
      position += 1
      if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
        position += 1
      }
      guard isDigit(position) else { throw error("expected a digit in the exponent, found \(found())") }
      while isDigit(position) { position += 1 }
    }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private mutating func string() throws(FormatError) -> String {
    let start = position
    position += 1
    var text: [UInt8] = []
    while true {
      guard position < bytes.count else {
        throw FormatError.symbol(
          .truncated, "the string that begins here does not end", path: path, bytes: bytes, offset: start)
      }
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        position += 1
        guard let string = String(validating: text, as: UTF8.self) else {
          throw error("the string that begins here is not valid UTF-8", at: start)
        }
        return string
      case 0x0A, 0x0D:
        throw error("a string must not contain a raw line break")
      case UInt8(ascii: "\\"):
        try escape(into: &text)
      default:
        text.append(byte)
        position += 1
      }
    }
  }

  private mutating func escape(into text: inout [UInt8]) throws(FormatError) {
    position += 1
    guard position < bytes.count else { throw error("the file ends inside an escape sequence") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if (0xD800..<0xDC00).contains(code) {
        guard bytes[position...].starts(with: [UInt8(ascii: "\\"), UInt8(ascii: "u")]) else {
          throw error("a high surrogate escape must be followed by a low one")
        }
        position += 2
        let low = try hexadecimal()
        guard (0xDC00..<0xE000).contains(low) else {
          throw error("a high surrogate escape must be followed by a low one")
        }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = UnicodeScalar(code) else { throw error("\\u escape names no character") }
      text.append(contentsOf: String(Character(scalar)).utf8)
    default:
      position -= 1
      throw error("unknown escape sequence, found \(found()) after a backslash")
    }
  }

  private mutating func hexadecimal() throws(FormatError) -> UInt32 {
    guard position + 4 <= bytes.count else { throw error("the file ends inside a \\u escape") }
    var code: UInt32 = 0
    for byte in bytes[position..<position + 4] {
      guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
        throw error("expected four hexadecimal digits after \\u")
      }
      code = code << 4 | UInt32(digit)
    }
    position += 4
    return code
  }
}

extension FormatError {
  /// An error of a symbol file with the line counted from the offset.
  static func symbol(
    _ code: Code, _ message: String, path: String?, bytes: [UInt8], offset: Int, advice: String? = nil
  ) -> FormatError {
    let line = 1 + bytes.prefix(offset).lazy.filter { $0 == 0x0A }.count
    return FormatError(code, message, path: path, offset: offset, line: line, advice: advice)
  }
}
