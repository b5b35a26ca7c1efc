/// Reads the pickles that hold verification sets, and nothing else: no code is ever looked up or run.
///
/// Only what `pickle.dump((bins, issame), …)` of Python 2 and 3 and numpy leaves behind is known (protocols 0 to 5). A
/// global outside that list is refused at the opcode that names it, before anything is done with it.
///
/// Data stays in the file until the caller asks for it, and a value that is referred to many times exists once: memory is
/// bounded by a small multiple of the file.
struct PickleReader: PickleMachine {
  enum Value: Equatable, PickleValue {
    case none
    case bool(Bool)
    case int(Int)
    case blob(Int)
    case list(Int)
    case tuple(Int)
    case array(Int)
    case type(Int)
    case global(Global)

    var listNumber: Int? { if case .list(let number) = self { number } else { nil } }
  }

  /// The names that may be referred to.
  enum Global: Equatable {
    case codecsEncode
    case bytes
    case byteArray
    case reconstruct
    case fromBuffer
    case scalar
    case ndarray
    case dtype
  }

  /// A run of bytes in the file and how it is to be read.
  struct Blob: Hashable {
    enum Kind: Hashable {
      /// `bytes`.
      case bytes
      /// A `str` of Python 2, which is bytes and text.
      case string
      /// The same, written as its `repr` (protocol 0).
      case escapedString
      /// UTF-8 text.
      case text
      /// Text in raw-unicode-escape (protocol 0).
      case escapedText
      /// Bytes whose Latin-1 reading is this UTF-8 text.
      case latin1OfText
      /// Bytes whose Latin-1 reading is this raw-unicode-escape text.
      case latin1OfEscapedText
    }
    var start: Int
    var count: Int
    var kind: Kind
  }

  struct ArrayState {
    var type: Int?
    var shape: [Int] = []
    var isColumnMajor = false
    var data: Value = .none
  }

  struct ElementType {
    var name: String
    var isBigEndian = false
  }

  let bytes: UnsafeRawBufferPointer
  let path: String
  private(set) var blobs: [Blob] = []
  private(set) var arrays: [ArrayState] = []
  private(set) var types: [ElementType] = []
  var state = PickleState<Value>()
  private var position = 0
  private var opcodeStart = 0
  private var decoded: [Blob: [UInt8]] = [:]
  private var decodedBytes = 0

  init(_ bytes: UnsafeRawBufferPointer, path: String) {
    self.bytes = bytes
    self.path = path
  }

  func error(
    _ code: FormatError.Code, _ message: String, at offset: Int? = nil, advice: String? = nil
  ) -> FormatError {
    FormatError(code, message, path: path, offset: offset ?? opcodeStart, advice: advice)
  }

  // MARK: - The machine

  /// Runs the pickle to its end and returns the value it makes.
  mutating func load() throws(FormatError) -> Value {
    while true {
      opcodeStart = position
      guard position < bytes.count else {
        throw error(.truncated, "the pickle ends without its stop code", advice: "copy or download the file again")
      }
      let opcode = bytes[position]
      position += 1
      if opcode == UInt8(ascii: ".") { return try pop() }
      if try !runShared(opcode) { try execute(opcode) }
    }
  }

  mutating func take(_ count: Int, of what: PickleArgument) throws(FormatError) -> UnsafeRawBufferPointer {
    guard bytes.count - position >= count else {
      throw error(
        .truncated, "the file ends inside \(what == .number ? "a number" : "an opcode")",
        advice: "copy or download the file again")
    }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  private mutating func execute(_ opcode: UInt8) throws(FormatError) {
    switch opcode {
    case UInt8(ascii: "I"): try pushIntegerLine(isLong: false)
    case UInt8(ascii: "L"): try pushIntegerLine(isLong: true)
    case UInt8(ascii: "S"): try pushQuoted()
    case UInt8(ascii: "T"): try pushBlob(.string, try length(4))
    case UInt8(ascii: "U"): try pushBlob(.string, try length(1))
    case UInt8(ascii: "B"): try pushBlob(.bytes, try length(4))
    case UInt8(ascii: "C"): try pushBlob(.bytes, try length(1))
    case 0x8e, 0x96: try pushBlob(.bytes, try length(8))
    case UInt8(ascii: "V"):
      let line = try line()
      try pushBlob(Blob(start: line.lowerBound, count: line.count, kind: .escapedText))
    case UInt8(ascii: "X"): try pushBlob(.text, try length(4))
    case 0x8c: try pushBlob(.text, try length(1))
    case 0x8d: try pushBlob(.text, try length(8))
    case UInt8(ascii: "p"): try put(try indexLine())
    case UInt8(ascii: "g"): try get(try indexLine())
    case UInt8(ascii: "c"):
      let module = try line()
      let name = try line()
      try pushGlobal(module: plainText(module), name: plainText(name))
    case 0x93:
      let name = try pop()
      let module = try pop()
      try pushGlobal(module: try shortText(module), name: try shortText(name))
    case UInt8(ascii: "R"): try reduce()
    case UInt8(ascii: "b"): try build()
    default: try refuse(opcode)
    }
  }

  private mutating func refuse(_ opcode: UInt8) throws(FormatError) {
    switch opcode {
    case UInt8(ascii: "i"):
      let module = try line()
      let name = try line()
      throw unsafeGlobal(plainText(module) + "." + plainText(name))
    case UInt8(ascii: "o"), 0x81, 0x92:
      throw error(.unsafe, "the pickle asks for an object to be made; a verification set has none; nothing was run")
    case 0x82, 0x83, 0x84:
      throw error(.unsafe, "the pickle asks for an extension from a registry; nothing was run")
    case UInt8(ascii: "P"), UInt8(ascii: "Q"):
      throw error(.unsafe, "the pickle refers to an object outside itself; nothing was run")
    case 0x97, 0x98:
      throw error(.unsupported, "the pickle keeps its data outside the file (out-of-band buffers)")
    case UInt8(ascii: "}"), UInt8(ascii: "d"), UInt8(ascii: "s"), UInt8(ascii: "u"), UInt8(ascii: "F"),
      UInt8(ascii: "G"), 0x8f, 0x90, 0x91:
      throw error(
        .unsupported,
        "a dictionary, set or floating-point number; a verification set holds images and true or false only")
    default:
      throw error(
        .corrupt, "the byte \(opcode) is no pickle opcode", advice: "check that this is a verification set (.bin)")
    }
  }

  // MARK: - Arguments

  private mutating func length(_ size: Int) throws(FormatError) -> Int {
    let length = try unsigned(size)
    guard length <= bytes.count - position else {
      throw error(
        .truncated, "\(length) bytes expected, \(bytes.count - position) left",
        advice: "the file is cut short: copy or download it again")
    }
    return length
  }

  private mutating func pushBlob(_ kind: Blob.Kind, _ length: Int) throws(FormatError) {
    let blob = Blob(start: position, count: length, kind: kind)
    position += length
    try pushBlob(blob)
  }

  private mutating func pushBlob(_ blob: Blob) throws(FormatError) {
    blobs.append(blob)
    try push(.blob(blobs.count - 1))
  }

  private mutating func line() throws(FormatError) -> Range<Int> {
    let start = position
    while position < bytes.count {
      if bytes[position] == UInt8(ascii: "\n") {
        position += 1
        return start..<position - 1
      }
      position += 1
    }
    throw error(.truncated, "the file ends inside a line", advice: "copy or download the file again")
  }

  private func plainText(_ range: Range<Int>) -> String {
    String(decoding: bytes[range.prefix(100)], as: UTF8.self)
  }

  private mutating func indexLine() throws(FormatError) -> Int {
    guard let index = Int(plainText(try line())), index >= 0 else { throw error(.corrupt, "a memo index expected") }
    return index
  }

  private mutating func pushIntegerLine(isLong: Bool) throws(FormatError) {
    var text = plainText(try line())
    if isLong, text.hasSuffix("L") { text.removeLast() }
    // Protocols 0 and 1 write the truth values so.
    if !isLong, text == "00" { return try push(.bool(false)) }
    if !isLong, text == "01" { return try push(.bool(true)) }
    guard let value = Int(text) else { throw error(.corrupt, "a whole number of at most 64 bits expected") }
    try push(.int(value))
  }

  private mutating func pushQuoted() throws(FormatError) {
    let line = try line()
    guard line.count >= 2, let first = line.first, let last = line.last, bytes[first] == bytes[last],
      bytes[first] == UInt8(ascii: "'") || bytes[first] == UInt8(ascii: "\"")
    else { throw error(.corrupt, "a string in quotes expected") }
    try pushBlob(Blob(start: line.lowerBound + 1, count: line.count - 2, kind: .escapedString))
  }

  // MARK: - What the pickle may ask for

  private mutating func pushGlobal(module: String, name: String) throws(FormatError) {
    switch (module, name) {
    case ("_codecs", "encode"): try push(.global(.codecsEncode))
    case ("__builtin__", "bytes"), ("builtins", "bytes"), ("__builtin__", "str"): try push(.global(.bytes))
    case ("__builtin__", "bytearray"), ("builtins", "bytearray"): try push(.global(.byteArray))
    case ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"):
      try push(.global(.reconstruct))
    case ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"): try push(.global(.scalar))
    case ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"):
      try push(.global(.fromBuffer))
    case ("numpy", "ndarray"): try push(.global(.ndarray))
    case ("numpy", "dtype"): try push(.global(.dtype))
    default: throw unsafeGlobal(module + "." + name)
    }
  }

  private func unsafeGlobal(_ name: String) -> FormatError {
    error(
      .unsafe, "the pickle refers to `\(Self.shown(name))`, which no verification set needs; nothing was run",
      advice: "do not load this file with Python either, unless you trust where it comes from")
  }

  private mutating func reduce() throws(FormatError) {
    let argument = try pop()
    let function = try pop()
    guard case .global(let global) = function, case .tuple(let number) = argument else {
      throw error(.corrupt, "a call of something that is not a known function")
    }
    let arguments = Array(tuple(number).prefix(8))
    switch global {
    case .codecsEncode: try encode(arguments)
    case .bytes:
      guard arguments.isEmpty else { throw badArguments("bytes") }
      try pushBlob(Blob(start: opcodeStart, count: 0, kind: .bytes))
    case .byteArray:
      switch arguments.count {
      case 0: try pushBlob(Blob(start: opcodeStart, count: 0, kind: .bytes))
      case 1:
        guard case .blob = arguments[0] else { throw badArguments("bytearray") }
        try push(arguments[0])
      default: try encode(arguments)
      }
    case .reconstruct:
      guard arguments.first == .global(.ndarray) else { throw badArguments("numpy's _reconstruct") }
      arrays.append(ArrayState())
      try push(.array(arrays.count - 1))
    case .dtype: try makeType(arguments)
    case .scalar: try makeScalar(arguments)
    case .fromBuffer: try makeFromBuffer(arguments)
    case .ndarray: throw badArguments("numpy.ndarray")
    }
  }

  private func badArguments(_ function: String) -> FormatError {
    error(.corrupt, "\(function) with arguments that no verification set has")
  }

  /// `_codecs.encode(text, 'latin1')`: how Python 3 writes bytes in protocols 0 to 2.
  private mutating func encode(_ arguments: [Value]) throws(FormatError) {
    guard arguments.count == 2, case .blob(let number) = arguments[0] else { throw badArguments("_codecs.encode") }
    switch try shortText(arguments[1]) {
    case "latin1", "latin-1", "iso-8859-1", "iso8859-1": break
    case let other: throw error(.unsupported, "bytes through the encoding `\(other)`; latin1 is known")
    }
    var blob = blobs[number]
    switch blob.kind {
    case .text: blob.kind = .latin1OfText
    case .escapedText: blob.kind = .latin1OfEscapedText
    default: throw badArguments("_codecs.encode")
    }
    try pushBlob(blob)
  }

  private mutating func makeType(_ arguments: [Value]) throws(FormatError) {
    guard let first = arguments.first else { throw badArguments("numpy.dtype") }
    var name = try shortText(first)
    var isBigEndian = false
    if let mark = name.first, "<>|=".contains(mark) {
      isBigEndian = mark == ">"
      name.removeFirst()
    }
    try count(1)
    types.append(ElementType(name: name, isBigEndian: isBigEndian))
    try push(.type(types.count - 1))
  }

  private mutating func makeScalar(_ arguments: [Value]) throws(FormatError) {
    guard arguments.count == 2, case .type(let type) = arguments[0], case .blob(let number) = arguments[1] else {
      throw badArguments("numpy's scalar")
    }
    guard let size = Self.sizes[types[type].name], !types[type].isBigEndian || size == 1 else {
      throw unknownType(types[type])
    }
    let data = try decode(blobs[number])
    guard data.count == size else { throw badArguments("numpy's scalar") }
    try push(Self.element(types[type].name, data[...]))
  }

  private mutating func makeFromBuffer(_ arguments: [Value]) throws(FormatError) {
    guard arguments.count == 4, case .type(let type) = arguments[1], case .tuple = arguments[2],
      case .blob = arguments[0]
    else { throw badArguments("numpy's _frombuffer") }
    let order = try shortText(arguments[3])
    guard order == "C" || order == "F" else { throw badArguments("numpy's _frombuffer") }
    arrays.append(
      ArrayState(type: type, shape: try shape(arguments[2]), isColumnMajor: order == "F", data: arguments[0]))
    try push(.array(arrays.count - 1))
  }

  private mutating func build() throws(FormatError) {
    let attributes = try pop()
    guard let target = top, case .tuple(let number) = attributes else {
      throw error(.corrupt, "a state for something that has none")
    }
    let items = Array(tuple(number).prefix(16))
    switch target {
    case .array(let array):
      // (version, shape, dtype, is column-major, data)
      guard items.count == 5, case .type(let type) = items[2] else { throw badArguments("a numpy array's state") }
      arrays[array] = ArrayState(
        type: type, shape: try shape(items[1]), isColumnMajor: try truth(items[3]), data: items[4])
    case .type(let type):
      // (version, byte order, …)
      guard items.count >= 2 else { throw badArguments("a numpy dtype's state") }
      types[type].isBigEndian = try shortText(items[1]) == ">"
    default: throw error(.corrupt, "a state for something that has none")
    }
  }

  private mutating func shape(_ value: Value) throws(FormatError) -> [Int] {
    guard case .tuple(let number) = value, tuple(number).count <= 8 else { throw badArguments("an array shape") }
    var shape: [Int] = []
    var elements = 1
    for item in tuple(number) {
      guard case .int(let extent) = item, extent >= 0 else { throw badArguments("an array shape") }
      let (product, overflow) = elements.multipliedReportingOverflow(by: extent)
      guard !overflow, product <= max(bytes.count, 1) else {
        throw error(.corrupt, "an array of more elements than the file has bytes")
      }
      elements = product
      shape.append(extent)
    }
    return shape
  }

  func truth(_ value: Value) throws(FormatError) -> Bool {
    switch value {
    case .bool(let value): return value
    case .int(let value): return value != 0
    default: throw error(.corrupt, "true or false expected")
    }
  }

  // MARK: - Data

  private static let sizes = ["b1": 1, "u1": 1, "i1": 1, "u2": 2, "i2": 2, "u4": 4, "i4": 4, "u8": 8, "i8": 8]

  private func unknownType(_ type: ElementType) -> FormatError {
    error(.unsupported, "numpy elements of type `\(type.isBigEndian ? ">" : "")\(type.name)`; uint8 images are read")
  }

  private static func element(_ type: String, _ data: ArraySlice<UInt8>) -> Value {
    if type == "b1" { return .bool(data.first != 0) }
    var value: UInt64 = 0
    for (index, byte) in data.enumerated() { value |= UInt64(byte) << UInt64(8 * index) }
    let unused = UInt64(64 - 8 * data.count)
    guard type.hasPrefix("i") else { return .int(Int(clamping: value)) }
    return .int(Int(Int64(bitPattern: value << unused) >> Int64(unused)))
  }

  /// The values of a one-dimensional array of truth values or whole numbers.
  mutating func elements(ofArray number: Int) throws(FormatError) -> [Value] {
    let (shape, data, type) = try contents(ofArray: number)
    guard let size = Self.sizes[type.name], !type.isBigEndian || size == 1 else { throw unknownType(type) }
    guard shape.filter({ $0 != 1 }).count <= 1 else { throw error(.corrupt, "a list expected, an array found") }
    return stride(from: 0, to: data.count, by: size).map { Self.element(type.name, data[$0..<$0 + size]) }
  }

  /// Shape and bytes (last axis fastest) of a uint8 array.
  mutating func pixels(ofArray number: Int) throws(FormatError) -> (shape: [Int], bytes: [UInt8]) {
    let (shape, data, type) = try contents(ofArray: number)
    guard type.name == "u1" else { throw unknownType(type) }
    guard arrays[number].isColumnMajor, shape.filter({ $0 != 1 }).count > 1 else { return (shape, data) }
    try spend(data.count)
    var reordered = [UInt8](repeating: 0, count: data.count)
    var strides: [Int] = []
    var step = 1
    for extent in shape {
      strides.append(step)
      step *= extent
    }
    var index = [Int](repeating: 0, count: shape.count)
    for position in reordered.indices {
      var source = 0
      for axis in shape.indices { source += index[axis] * strides[axis] }
      reordered[position] = data[source]
      for axis in shape.indices.reversed() {
        index[axis] += 1
        if index[axis] < shape[axis] { break }
        index[axis] = 0
      }
    }
    return (shape, reordered)
  }

  private mutating func contents(
    ofArray number: Int
  ) throws(FormatError) -> (shape: [Int], data: [UInt8], type: ElementType) {
    let array = arrays[number]
    guard let type = array.type, case .blob(let blob) = array.data else {
      throw error(.corrupt, "a numpy array without its data, or an array of objects")
    }
    guard let size = Self.sizes[types[type].name] else { throw unknownType(types[type]) }
    let data = try decode(blobs[blob])
    let (expected, overflow) = array.shape.reduce(1, *).multipliedReportingOverflow(by: size)
    guard !overflow, data.count == expected else {
      throw error(.mismatch, "a numpy array of shape \(array.shape) with \(data.count) bytes", at: blobs[blob].start)
    }
    return (array.shape, data, types[type])
  }

  /// The bytes of blob `number`; text is refused.
  mutating func data(ofBlob number: Int) throws(FormatError) -> [UInt8] {
    let blob = blobs[number]
    guard blob.kind != .text, blob.kind != .escapedText else {
      throw error(.corrupt, "an encoded image expected, text found", at: blob.start)
    }
    return try decode(blob)
  }

  private mutating func shortText(_ value: Value) throws(FormatError) -> String {
    guard case .blob(let number) = value, blobs[number].count <= 200 else {
      throw error(.corrupt, "a short text expected")
    }
    return String(decoding: try decode(blobs[number]), as: UTF8.self)
  }

  // What is decoded is kept, so that a value that is referred to again shares its storage; the sum is bounded all the
  // same, since numpy arrays of one blob may differ in shape.
  private mutating func spend(_ count: Int) throws(FormatError) {
    decodedBytes += count
    guard decodedBytes <= 4 * bytes.count + 1024 else {
      throw error(.tooLarge, "the pickle unfolds to more than four times its size")
    }
  }

  private mutating func decode(_ blob: Blob) throws(FormatError) -> [UInt8] {
    if let known = decoded[blob] { return known }
    let raw = bytes[blob.start..<blob.start + blob.count]
    var result: [UInt8]
    switch blob.kind {
    case .bytes, .string, .text: result = Array(raw)
    case .escapedString: result = try unescape(raw)
    case .escapedText: result = try characters(of: raw)
    case .latin1OfText: result = try latin1(utf8: raw)
    case .latin1OfEscapedText: result = try characters(of: raw)
    }
    try spend(result.count)
    decoded[blob] = result
    return result
  }

  private func latin1(utf8 raw: Slice<UnsafeRawBufferPointer>) throws(FormatError) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(raw.count)
    var index = raw.startIndex
    while index < raw.endIndex {
      let byte = raw[index]
      if byte < 0x80 {
        result.append(byte)
        index += 1
      } else {
        guard byte == 0xc2 || byte == 0xc3, index + 1 < raw.endIndex, raw[index + 1] & 0xc0 == 0x80 else {
          throw error(.corrupt, "a character above 255 where bytes are written as Latin-1 text", at: index)
        }
        result.append(byte << 6 | raw[index + 1] & 0x3f)
        index += 2
      }
    }
    return result
  }

  /// Undoes raw-unicode-escape; every character must be a byte.
  private func characters(of raw: Slice<UnsafeRawBufferPointer>) throws(FormatError) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(raw.count)
    var index = raw.startIndex
    while index < raw.endIndex {
      let byte = raw[index]
      let next = index + 1 < raw.endIndex ? raw[index + 1] : 0
      let digits = next == UInt8(ascii: "u") ? 4 : next == UInt8(ascii: "U") ? 8 : 0
      guard byte == UInt8(ascii: "\\"), digits > 0 else {
        result.append(byte)
        index += 1
        // Of a pair of backslashes the second one starts nothing.
        if byte == UInt8(ascii: "\\"), next == byte {
          result.append(next)
          index += 1
        }
        continue
      }
      guard let value = hexadecimal(raw, from: index + 2, digits: digits), value < 256 else {
        throw error(.corrupt, "a character of one byte in hexadecimal expected", at: index)
      }
      result.append(UInt8(value))
      index += 2 + digits
    }
    return result
  }

  /// Undoes the escapes of Python 2's `repr(str)`.
  private func unescape(_ raw: Slice<UnsafeRawBufferPointer>) throws(FormatError) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(raw.count)
    var index = raw.startIndex
    while index < raw.endIndex {
      let byte = raw[index]
      index += 1
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      guard index < raw.endIndex else { throw error(.corrupt, "a string ends in a backslash", at: index) }
      let escape = raw[index]
      index += 1
      switch escape {
      case UInt8(ascii: "n"): result.append(10)
      case UInt8(ascii: "r"): result.append(13)
      case UInt8(ascii: "t"): result.append(9)
      case UInt8(ascii: "a"): result.append(7)
      case UInt8(ascii: "b"): result.append(8)
      case UInt8(ascii: "f"): result.append(12)
      case UInt8(ascii: "v"): result.append(11)
      case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): result.append(escape)
      case UInt8(ascii: "x"):
        guard let value = hexadecimal(raw, from: index, digits: 2) else {
          throw error(.corrupt, "two hexadecimal digits expected", at: index)
        }
        result.append(UInt8(value))
        index += 2
      case UInt8(ascii: "0")...UInt8(ascii: "7"):
        var value = Int(escape) - 48
        var digits = 1
        while digits < 3, index < raw.endIndex, (48...55).contains(raw[index]) {
          value = value * 8 + Int(raw[index]) - 48
          index += 1
          digits += 1
        }
        result.append(UInt8(truncatingIfNeeded: value))
      default: result.append(contentsOf: [byte, escape])
      }
    }
    return result
  }

  private func hexadecimal(_ raw: Slice<UnsafeRawBufferPointer>, from start: Int, digits: Int) -> Int? {
    guard start + digits <= raw.endIndex else { return nil }
    var value = 0
    for index in start..<start + digits {
      let byte = raw[index]
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 + (Int(byte) - 48)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 + (Int(byte) - 87)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 + (Int(byte) - 55)
      default: return nil
      }
    }
    return value
  }
}
