/// Reads the elements of a MATLAB 5 file.
struct MatReader {
  let path: String
  let names: Set<String>?
  /// Bytes that compressed parts may still expand to.
  var allowance: Int
  /// Bytes of memory that values may still take: a byte of a file may stand for a number of eight, or for part of a cell.
  private var room: Int
  private let memoryLimit: Int
  var variables: [String: MatValue] = [:]

  private static let deepestNesting = 32
  /// What a value takes beside its numbers or its text, about.
  private static let valueSize = 160
  /// What the name of a field takes, about.
  private static let fieldSize = 64

  init(path: String, names: Set<String>?, allowance: Int, memoryLimit: Int) {
    self.path = path
    self.names = names
    self.allowance = allowance
    self.memoryLimit = memoryLimit
    room = memoryLimit
  }

  /// Counts memory before it is taken.
  private mutating func reserve(_ count: Int, of size: Int, _ cursor: ByteCursor) throws(FormatError) {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
    guard !overflow, bytes <= room else {
      throw cursor.error(
        .tooLarge, "the values take more than \(memoryLimit) bytes of memory",
        advice: "get the file from a source that you trust, or save fewer variables in it")
    }
    room -= bytes
  }

  /// The type and the bytes of an element; short elements hold both in eight bytes.
  private struct Element {
    var type: UInt32
    var bytes: UnsafeRawBufferPointer
    var offset: Int
  }

  private func next(_ cursor: inout ByteCursor) throws(FormatError) -> Element {
    let offset = cursor.offset
    let first = try cursor.integer(UInt32.self, "an element's type")
    if first >> 16 != 0 {
      let count = Int(first >> 16)
      guard count <= 4 else {
        throw cursor.error(.corrupt, "a short element claims \(count) bytes, of which 4 fit", at: offset)
      }
      let bytes = try cursor.take(4, "a short element")
      return Element(type: first & 0xffff, bytes: .init(rebasing: bytes[..<count]), offset: offset)
    }
    let count = Int(try cursor.integer(UInt32.self, "an element's length"))
    let bytes = try cursor.take(count, "an element")
    // Compressed elements follow each other without a gap; all others end at a multiple of eight.
    if first != 15, count % 8 != 0 { _ = try cursor.take(min(8 - count % 8, cursor.remaining), "the padding") }
    return Element(type: first, bytes: bytes, offset: offset)
  }

  /// Reads the next variable of a file and files it, unless it is not wanted.
  mutating func readVariable(_ cursor: inout ByteCursor) throws(FormatError) {
    let element = try next(&cursor)
    switch element.type {
    case 14:
      var inner = ByteCursor(element.bytes, path: path)
      try readNamed(&inner)
    case 15:
      let expanded = try Zlib.inflated(element.bytes, limit: allowance, path: path, offset: element.offset)
      allowance -= expanded.count
      let failure: FormatError? = expanded.withUnsafeBytes { raw in
        var inner = ByteCursor(raw, path: path)
        do throws(FormatError) {
          let array = try next(&inner)
          guard array.type == 14 else {
            throw FormatError(
              .corrupt, "a compressed part holds an element of type \(array.type), not an array", path: path,
              offset: element.offset)
          }
          var body = ByteCursor(array.bytes, path: path)
          try readNamed(&body)
          return nil
        } catch {
          // Offsets inside an expanded part say nothing of the file; the part's own does.
          return FormatError(error.code, error.message, path: path, offset: element.offset, advice: error.advice)
        }
      }
      if let failure { throw failure }
    default:
      throw cursor.error(
        .corrupt, "an element of type \(element.type) where a variable is expected", at: element.offset)
    }
  }

  private mutating func readNamed(_ cursor: inout ByteCursor) throws(FormatError) {
    let header = try readHeader(&cursor)
    if let names, !names.contains(header.name) { return }
    try reserve(1, of: Self.valueSize, cursor)
    variables[header.name] = try readBody(&cursor, header, depth: 0)
  }

  private struct Header {
    var kind: UInt8
    var isComplex: Bool
    var shape: [Int]
    var count: Int
    var name: String
  }

  private func readHeader(_ cursor: inout ByteCursor) throws(FormatError) -> Header {
    let flags = try next(&cursor)
    guard flags.type == 6, flags.bytes.count == 8 else {
      throw cursor.error(.corrupt, "an array begins with an element of type \(flags.type), not its flags")
    }
    let dimensions = try next(&cursor)
    guard dimensions.type == 5, dimensions.bytes.count >= 8, dimensions.bytes.count % 4 == 0,
      dimensions.bytes.count <= 128
    else {
      throw cursor.error(.corrupt, "an array has no sound dimensions")
    }
    var shape: [Int] = []
    var count = 1
    for index in 0..<dimensions.bytes.count / 4 {
      let raw = dimensions.bytes.loadUnaligned(fromByteOffset: 4 * index, as: Int32.self)
      let size = Int(Int32(littleEndian: raw))
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard size >= 0, !overflow else { throw cursor.error(.corrupt, "an array of \(size) elements on an axis") }
      shape.append(size)
      count = product
    }
    let name = try next(&cursor)
    guard name.type == 1 else { throw cursor.error(.corrupt, "an array's name has type \(name.type)") }
    return Header(
      kind: flags.bytes[0], isComplex: flags.bytes[1] & 8 != 0, shape: shape, count: count,
      name: String(decoding: name.bytes, as: UTF8.self))
  }

  private mutating func readBody(_ cursor: inout ByteCursor, _ header: Header, depth: Int) throws(FormatError)
    -> MatValue
  {
    switch header.kind {
    case 1:
      return .cells(shape: header.shape, elements: try readCells(&cursor, header.count, depth: depth))
    case 2: return try readStructures(&cursor, header, depth: depth)
    case 4:
      let element = try next(&cursor)
      let text = try characters(element, cursor)
      guard text.unicodeScalars.count == header.count || text.utf16.count == header.count else {
        throw cursor.error(.mismatch, "text of \(text.unicodeScalars.count) characters in an array of \(header.count)")
      }
      return .text(shape: header.shape, text)
    case 6...15:
      guard !header.isComplex else { throw cursor.error(.unsupported, "an array of complex numbers is not read") }
      let elements = try numbers(try next(&cursor), cursor)
      guard elements.count == header.count else {
        throw cursor.error(.mismatch, "\(elements.count) numbers in an array of \(header.count)")
      }
      return .numbers(shape: header.shape, elements: elements)
    default:
      throw cursor.error(
        .unsupported, "an array of class \(header.kind) is not read (numbers, text, cells and structures are)")
    }
  }

  private mutating func readCells(
    _ cursor: inout ByteCursor, _ count: Int, depth: Int
  ) throws(FormatError) -> [MatValue] {
    guard depth < Self.deepestNesting else {
      throw cursor.error(.tooLarge, "arrays are nested more than \(Self.deepestNesting) deep")
    }
    // A cell takes eight bytes at least.
    guard count <= cursor.remaining / 8 else {
      throw cursor.error(.truncated, "\(count) cells in \(cursor.remaining) bytes")
    }
    try reserve(count, of: Self.valueSize, cursor)
    var elements: [MatValue] = []
    elements.reserveCapacity(count)
    for _ in 0..<count {
      let element = try next(&cursor)
      guard element.type == 14 else { throw cursor.error(.corrupt, "a cell of type \(element.type), not an array") }
      // An empty array may stand there as an element without content.
      if element.bytes.isEmpty {
        elements.append(.numbers(shape: [0, 0], elements: []))
        continue
      }
      var inner = ByteCursor(element.bytes, path: path)
      let header = try readHeader(&inner)
      elements.append(try readBody(&inner, header, depth: depth + 1))
    }
    return elements
  }

  private mutating func readStructures(
    _ cursor: inout ByteCursor, _ header: Header, depth: Int
  ) throws(FormatError) -> MatValue {
    let length = try numbers(try next(&cursor), cursor)
    let names = try next(&cursor)
    guard length.count == 1, let width = Int(exactly: length[0]), (1...64).contains(width),
      names.bytes.count % width == 0
    else {
      throw cursor.error(.corrupt, "the names of a structure's fields are not sound")
    }
    try reserve(names.bytes.count / width, of: Self.fieldSize, cursor)
    let fields = (0..<names.bytes.count / width).map { index in
      String(decoding: names.bytes[width * index..<width * (index + 1)].prefix { $0 != 0 }, as: UTF8.self)
    }
    let (total, overflow) = fields.count.multipliedReportingOverflow(by: header.count)
    guard !overflow else { throw cursor.error(.corrupt, "\(header.count) structures of \(fields.count) fields") }
    let values = try readCells(&cursor, total, depth: depth)
    var table: [String: [MatValue]] = [:]
    for (index, field) in fields.enumerated() {
      table[field] = stride(from: index, to: values.count, by: fields.count).map { values[$0] }
    }
    return .structures(shape: header.shape, fields: table)
  }

  private mutating func numbers(_ element: Element, _ cursor: ByteCursor) throws(FormatError) -> [Double] {
    let bytes = element.bytes
    let stored =
      switch element.type {
      case 1, 2: 1
      case 3, 4: 2
      case 5, 6, 7: 4
      default: 8
      }
    try reserve(bytes.count / stored, of: MemoryLayout<Double>.size, cursor)
    func integers<Value: FixedWidthInteger>(_ type: Value.Type) throws(FormatError) -> [Double] {
      let size = MemoryLayout<Value>.size
      guard bytes.count % size == 0 else { throw cursor.error(.corrupt, "\(bytes.count) bytes of numbers of \(size)") }
      return (0..<bytes.count / size).map {
        Double(Value(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * size, as: Value.self)))
      }
    }
    switch element.type {
    case 1: return try integers(Int8.self)
    case 2: return try integers(UInt8.self)
    case 3: return try integers(Int16.self)
    case 4: return try integers(UInt16.self)
    case 5: return try integers(Int32.self)
    case 6: return try integers(UInt32.self)
    case 12: return try integers(Int64.self)
    case 13: return try integers(UInt64.self)
    case 7:
      guard bytes.count % 4 == 0 else { throw cursor.error(.corrupt, "\(bytes.count) bytes of numbers of 4") }
      return (0..<bytes.count / 4).map {
        Double(Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))))
      }
    case 9:
      guard bytes.count % 8 == 0 else { throw cursor.error(.corrupt, "\(bytes.count) bytes of numbers of 8") }
      return (0..<bytes.count / 8).map {
        Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self)))
      }
    default: throw cursor.error(.corrupt, "numbers of type \(element.type)", at: nil)
    }
  }

  private mutating func characters(_ element: Element, _ cursor: ByteCursor) throws(FormatError) -> String {
    // Two bytes of a character may become three.
    try reserve(element.bytes.count, of: 2, cursor)
    switch element.type {
    case 1, 2, 16: return String(decoding: element.bytes, as: UTF8.self)
    case 4, 17:
      guard element.bytes.count % 2 == 0 else { throw cursor.error(.corrupt, "text of half a character") }
      let units = (0..<element.bytes.count / 2).map {
        UInt16(littleEndian: element.bytes.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self))
      }
      return String(decoding: units, as: UTF16.self)
    case 6, 18:
      guard element.bytes.count % 4 == 0 else { throw cursor.error(.corrupt, "text of half a character") }
      let units = (0..<element.bytes.count / 4).map {
        UInt32(littleEndian: element.bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))
      }
      return String(decoding: units, as: UTF32.self)
    default: throw cursor.error(.corrupt, "text of type \(element.type)")
    }
  }
}
