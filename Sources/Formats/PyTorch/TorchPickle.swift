/// Reads the pickles in the files of `torch.save` as data: tensors, numbers, texts and containers; nothing is ever run.
///
/// What an opcode may refer to is a short list of names, each understood here (``Global``); any other is refused at the
/// opcode that names it. Values live in flat tables and refer to each other by number: nesting costs no stack, cycles
/// are harmless, and memory is bounded by a small multiple of the pickle.
struct TorchPickle {
  enum Value: Equatable {
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    /// A range of the file, UTF-8 or bytes.
    case text(Range<Int>)
    case list(Int)
    case tuple(Int)
    case dictionary(Int)
    case global(Global)
    case storage(Int)
    case tensor(Int)
  }

  /// The names that may be referred to.
  enum Global: Equatable {
    case orderedDictionary
    case rebuildTensor
    case rebuildParameter
    case size
    /// An element type or its storage; `nil` for the types that ``StoredType`` lacks.
    case type(StoredType?)
    case other
  }

  /// Elements in the file, shared by the tensors that view them.
  struct Storage: Equatable {
    var key: Range<Int>
    var type: StoredType?
    var count: Int
  }

  /// A view of a storage.
  struct TensorView {
    var storage: Int
    var offset: Int
    var shape: [Int]
    var strides: [Int]
    /// Where the pickle makes it, for messages.
    var place: Int
  }

  private(set) var storages: [Storage] = []
  private(set) var tensors: [TensorView] = []
  private(set) var dictionaries: [[(key: Value, value: Value)]] = []
  private(set) var lists: [[Value]] = []
  private var tupleItems: [Value] = []
  private var tupleRanges: [Range<Int>] = []
  private var cursor: ByteCursor
  private var stack: [Value] = []
  private var marks: [Int] = []
  private var memo: [Int: Value] = [:]
  private var place = 0
  private var made = 0

  /// A state dictionary with millions of tensors does not exist.
  private static let maximumValues = 1 << 24
  private static let maximumRank = 64

  /// A machine over `range` of the file.
  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, path: String) throws(FormatError) {
    cursor = ByteCursor(UnsafeRawBufferPointer(rebasing: bytes[..<range.upperBound]), path: path)
    _ = try cursor.take(range.lowerBound, "what stands before the pickle")
  }

  /// Where the next pickle or the data begins.
  var offset: Int { cursor.offset }

  func tuple(_ number: Int) -> ArraySlice<Value> { tupleItems[tupleRanges[number]] }

  /// The text of a value, `nil` where it is none.
  func text(_ value: Value) -> String? {
    guard case .text(let range) = value else { return nil }
    return String(validating: cursor.bytes[range], as: UTF8.self)
  }

  func error(
    _ code: FormatError.Code, _ message: String, at offset: Int? = nil, advice: String? = nil
  ) -> FormatError {
    cursor.error(code, message, at: offset ?? place, advice: advice)
  }

  // MARK: - The machine

  /// Runs one pickle to its stop code and returns the value it makes; the tables stay for the next.
  mutating func load() throws(FormatError) -> Value {
    stack.removeAll()
    marks.removeAll()
    memo.removeAll()
    while true {
      place = cursor.offset
      let opcode = try cursor.integer(UInt8.self, "the pickle's next opcode")
      if opcode == UInt8(ascii: ".") { return try pop() }
      try execute(opcode)
    }
  }

  private mutating func execute(_ opcode: UInt8) throws(FormatError) {
    switch opcode {
    case 0x80:
      let version = try unsigned(UInt8.self)
      guard version <= 5 else { throw error(.unsupported, "pickle protocol \(version); 0 to 5 are known") }
    case 0x95: _ = try unsigned(UInt64.self)
    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "0"):
      if let mark = marks.last, mark == stack.count { marks.removeLast() } else { _ = try pop() }
    case UInt8(ascii: "1"): stack.removeLast(stack.count - (try popMark()))
    case UInt8(ascii: "2"):
      let top = try pop()
      try push(top)
      try push(top)
    case UInt8(ascii: "N"): try push(.none)
    case 0x88: try push(.bool(true))
    case 0x89: try push(.bool(false))
    case UInt8(ascii: "J"): try push(.int(Int(try cursor.integer(Int32.self, "a number"))))
    case UInt8(ascii: "K"): try push(.int(try unsigned(UInt8.self)))
    case UInt8(ascii: "M"): try push(.int(try unsigned(UInt16.self)))
    case 0x8a: try pushLong(try unsigned(UInt8.self))
    case 0x8b: try pushLong(try unsigned(UInt32.self))
    case UInt8(ascii: "G"):
      try push(.float(Double(bitPattern: try cursor.integer(UInt64.self, "a number").byteSwapped)))
    case UInt8(ascii: "X"), UInt8(ascii: "T"), UInt8(ascii: "B"): try pushText(try unsigned(UInt32.self))
    case 0x8c, UInt8(ascii: "U"), UInt8(ascii: "C"): try pushText(try unsigned(UInt8.self))
    case 0x8d, 0x8e: try pushText(try unsigned(UInt64.self))
    case UInt8(ascii: "]"): try pushList([])
    case UInt8(ascii: "l"): try pushList(try popItems())
    case UInt8(ascii: "a"):
      let item = try pop()
      try append([item])
    case UInt8(ascii: "e"): try append(try popItems())
    case UInt8(ascii: ")"): try pushTuple([])
    case UInt8(ascii: "t"): try pushTuple(try popItems())
    case 0x85, 0x86, 0x87: try pushTuple(try popLast(Int(opcode) - 0x84))
    case UInt8(ascii: "}"): try pushDictionary()
    case UInt8(ascii: "d"):
      let items = try popItems()
      try pushDictionary()
      try insert(items)
    case UInt8(ascii: "s"): try insert(try popLast(2))
    case UInt8(ascii: "u"): try insert(try popItems())
    case UInt8(ascii: "q"): try put(try unsigned(UInt8.self))
    case UInt8(ascii: "r"): try put(try unsigned(UInt32.self))
    case 0x94: try put(memo.count)
    case UInt8(ascii: "h"): try get(try unsigned(UInt8.self))
    case UInt8(ascii: "j"): try get(try unsigned(UInt32.self))
    case UInt8(ascii: "c"):
      let module = try line()
      let name = try line()
      try pushGlobal(module: module, name: name)
    case 0x93:
      let names = try popLast(2).map { text($0) ?? "?" }
      try pushGlobal(module: names[0], name: names[1])
    case UInt8(ascii: "Q"): try pushStorage()
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
      throw unsafeGlobal(module + "." + name)
    case UInt8(ascii: "o"), 0x81, 0x92:
      throw error(
        .unsafe, "the pickle asks for an object to be made; only tensors are read; nothing was run",
        advice: Self.saveAgain)
    case 0x82, 0x83, 0x84: throw error(.unsafe, "the pickle asks for an extension from a registry; nothing was run")
    case UInt8(ascii: "P"): throw error(.unsafe, "the pickle refers to an object outside itself; nothing was run")
    case UInt8(ascii: "I"), UInt8(ascii: "L"), UInt8(ascii: "F"), UInt8(ascii: "S"), UInt8(ascii: "V"),
      UInt8(ascii: "p"), UInt8(ascii: "g"), 0x8f, 0x90, 0x91, 0x96, 0x97, 0x98:
      throw error(
        .unsupported, "the pickle opcode \(opcode), which torch.save does not write for tensors",
        advice: Self.saveAgain)
    default: throw error(.corrupt, "the byte \(opcode) is no pickle opcode")
    }
  }

  static let saveAgain = "load the file where its program is trusted and save `model.state_dict()`"

  // MARK: - Stack

  private mutating func count(_ values: Int) throws(FormatError) {
    made += values
    guard made <= Self.maximumValues else {
      throw error(.tooLarge, "the pickle makes more than \(Self.maximumValues) values")
    }
  }

  private mutating func push(_ value: Value) throws(FormatError) {
    try count(1)
    stack.append(value)
  }

  private mutating func pop() throws(FormatError) -> Value {
    guard stack.count > marks.last ?? 0, let value = stack.popLast() else { throw underflow() }
    return value
  }

  private mutating func popMark() throws(FormatError) -> Int {
    guard let mark = marks.popLast() else { throw error(.corrupt, "the opcode needs a mark, there is none") }
    return mark
  }

  private mutating func popItems() throws(FormatError) -> [Value] {
    try popLast(stack.count - (try popMark()))
  }

  private mutating func popLast(_ number: Int) throws(FormatError) -> [Value] {
    guard stack.count - (marks.last ?? 0) >= number else { throw underflow() }
    let items = Array(stack.suffix(number))
    stack.removeLast(number)
    return items
  }

  private func underflow() -> FormatError { error(.corrupt, "the opcode needs more values than there are") }

  private mutating func pushList(_ items: [Value]) throws(FormatError) {
    lists.append(items)
    try push(.list(lists.count - 1))
  }

  private mutating func pushTuple(_ items: [Value]) throws(FormatError) {
    try count(items.count)
    tupleRanges.append(tupleItems.count..<tupleItems.count + items.count)
    tupleItems.append(contentsOf: items)
    try push(.tuple(tupleRanges.count - 1))
  }

  private mutating func pushDictionary() throws(FormatError) {
    dictionaries.append([])
    try push(.dictionary(dictionaries.count - 1))
  }

  private mutating func append(_ items: [Value]) throws(FormatError) {
    guard stack.count > marks.last ?? 0, case .list(let number)? = stack.last else {
      throw error(.corrupt, "items are appended to something that is not a list")
    }
    try count(items.count)
    lists[number].append(contentsOf: items)
  }

  private mutating func insert(_ items: [Value]) throws(FormatError) {
    guard stack.count > marks.last ?? 0, case .dictionary(let number)? = stack.last else {
      throw error(.corrupt, "items are set in something that is not a dictionary")
    }
    guard items.count % 2 == 0 else { throw error(.corrupt, "a key without its value") }
    try count(items.count)
    for index in stride(from: 0, to: items.count, by: 2) {
      dictionaries[number].append((items[index], items[index + 1]))
    }
  }

  private mutating func put(_ key: Int) throws(FormatError) {
    guard stack.count > marks.last ?? 0, let top = stack.last else { throw underflow() }
    try count(1)
    memo[key] = top
  }

  private mutating func get(_ key: Int) throws(FormatError) {
    guard let value = memo[key] else { throw error(.corrupt, "the memo has no entry \(key)") }
    try push(value)
  }

  // MARK: - Arguments

  private mutating func unsigned<Number: FixedWidthInteger & UnsignedInteger>(
    _ type: Number.Type
  ) throws(FormatError) -> Int {
    let value = try cursor.integer(type, "an opcode's argument")
    guard let result = Int(exactly: value) else { throw error(.corrupt, "a length of \(value) bytes") }
    return result
  }

  private mutating func pushText(_ length: Int) throws(FormatError) {
    let start = cursor.offset
    _ = try cursor.take(length, "a text")
    try push(.text(start..<start + length))
  }

  private mutating func line() throws(FormatError) -> String {
    let start = cursor.offset
    while try cursor.integer(UInt8.self, "a line") != UInt8(ascii: "\n") {}
    return String(decoding: cursor.bytes[start..<cursor.offset - 1].prefix(200), as: UTF8.self)
  }

  private mutating func pushLong(_ byteCount: Int) throws(FormatError) {
    let bytes = try cursor.take(byteCount, "a number")
    // The legacy format's magic number has ten bytes; it is compared as bytes before a machine is made.
    guard byteCount <= 8 else { throw error(.unsupported, "a whole number of \(byteCount) bytes; 8 are read") }
    var value: UInt64 = 0
    for (index, byte) in bytes.enumerated() { value |= UInt64(byte) << UInt64(8 * index) }
    let unused = UInt64(64 - 8 * byteCount)
    try push(.int(byteCount == 0 ? 0 : Int(Int64(bitPattern: value << unused) >> Int64(unused))))
  }

  // MARK: - What the pickle may ask for

  private static let storageTypes: [String: StoredType] = [
    "FloatStorage": .f32, "DoubleStorage": .f64, "HalfStorage": .f16, "BFloat16Storage": .bf16, "ByteStorage": .u8,
    "CharStorage": .i8, "IntStorage": .i32, "LongStorage": .i64, "BoolStorage": .bool,
  ]

  /// Storages that are harmless but not read: their tensors are refused when they are part of the state dictionary.
  private static let otherStorages: Set<String> = ["ShortStorage", "ComplexFloatStorage", "ComplexDoubleStorage"]

  /// Element types by their names in Python; checkpoints hold them among their settings.
  private static let elementTypes: Set<String> = [
    "float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool",
  ]

  private mutating func pushGlobal(module: String, name: String) throws(FormatError) {
    switch (module, name) {
    case ("collections", "OrderedDict"): return try push(.global(.orderedDictionary))
    case ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor"):
      return try push(.global(.rebuildTensor))
    case ("torch._utils", "_rebuild_parameter"): return try push(.global(.rebuildParameter))
    case ("torch", "Size"): return try push(.global(.size))
    case ("torch", _), ("torch.cuda", _), ("torch.storage", _):
      if let type = Self.storageTypes[name] { return try push(.global(.type(type))) }
      if Self.otherStorages.contains(name) { return try push(.global(.type(nil))) }
      if module == "torch", Self.elementTypes.contains(name) { return try push(.global(.other)) }
      // The device only says where the tensor was.
      if module == "torch", name == "device" { return try push(.global(.other)) }
      throw unsafeGlobal(module + "." + name)
    default: throw unsafeGlobal(module + "." + name)
    }
  }

  private func unsafeGlobal(_ name: String) -> FormatError {
    let shown = name.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : String($0) }.joined()
    return error(
      .unsafe, "the pickle refers to `\(shown)`, which no tensor needs; nothing was run", advice: Self.saveAgain)
  }

  /// Persistent ids are `("storage", type, key, location, count)`; the legacy format adds a view, which must be None.
  private mutating func pushStorage() throws(FormatError) {
    let id = try pop()
    guard case .tuple(let number) = id else {
      throw error(.unsafe, "the pickle refers to an object outside itself; nothing was run")
    }
    let items = Array(tuple(number))
    guard let first = items.first, text(first) == "storage" else {
      throw error(.unsafe, "the pickle refers to `\(items.first.flatMap(text) ?? "?")`, only storages are read")
    }
    guard items.count == 5 || (items.count == 6 && items[5] == .none), case .global(.type(let type)) = items[1],
      case .text(let key) = items[2], case .int(let count) = items[4], count >= 0
    else {
      throw error(.unsupported, "a storage is described by its type, key, place and size")
    }
    storages.append(Storage(key: key, type: type, count: count))
    try push(.storage(storages.count - 1))
  }

  private mutating func reduce() throws(FormatError) {
    let arguments = try pop()
    let function = try pop()
    guard case .global(let global) = function, case .tuple(let number) = arguments else {
      throw error(.unsafe, "the pickle calls something that is not a known name; nothing was run")
    }
    let items = Array(tuple(number))
    switch global {
    case .orderedDictionary:
      try pushDictionary()
      guard let pairs = items.first else { return }
      guard items.count == 1, case .list(let list) = pairs else {
        throw error(.unsupported, "a dictionary is made of nothing or a list of pairs")
      }
      for pair in lists[list] {
        guard case .tuple(let number) = pair, tuple(number).count == 2 else {
          throw error(.corrupt, "a dictionary is made of pairs")
        }
        try insert(Array(tuple(number)))
      }
    case .rebuildTensor: try rebuildTensor(items)
    case .rebuildParameter:
      guard let data = items.first, case .tensor = data, items.count <= 3 else {
        throw error(.corrupt, "a parameter is made of a tensor")
      }
      try push(data)
    case .size: try push(items.first ?? .none)
    case .other: try push(.none)
    case .type: throw error(.unsafe, "the pickle calls an element type; nothing was run")
    }
  }

  private mutating func rebuildTensor(_ items: [Value]) throws(FormatError) {
    guard items.count >= 4, items.count <= 7, case .storage(let storage) = items[0], case .int(let offset) = items[1],
      let shape = numbers(items[2]), let strides = numbers(items[3])
    else {
      throw error(.corrupt, "a tensor is made of a storage, an offset, a size and a stride")
    }
    guard shape.count == strides.count, shape.count <= Self.maximumRank, offset >= 0, shape.allSatisfy({ $0 >= 0 }),
      strides.allSatisfy({ $0 >= 0 })
    else { throw error(.corrupt, "a tensor of size \(shape), stride \(strides), offset \(offset)") }
    tensors.append(TensorView(storage: storage, offset: offset, shape: shape, strides: strides, place: place))
    try push(.tensor(tensors.count - 1))
  }

  private func numbers(_ value: Value) -> [Int]? {
    guard case .tuple(let number) = value, tuple(number).count <= Self.maximumRank else { return nil }
    var result: [Int] = []
    for item in tuple(number) {
      guard case .int(let number) = item else { return nil }
      result.append(number)
    }
    return result
  }

  /// Attributes of a dictionary (`_metadata`: versions of layers) are of no use here; nothing else may be given any.
  private mutating func build() throws(FormatError) {
    _ = try pop()
    guard stack.count > marks.last ?? 0, case .dictionary? = stack.last else {
      throw error(.unsafe, "the pickle sets attributes of an object; nothing was run", advice: Self.saveAgain)
    }
  }
}
