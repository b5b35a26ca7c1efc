/// Reads the pickles in the files of `torch.save` as data: tensors, numbers, texts and containers; nothing is ever run.
///
/// What an opcode may refer to is a short list of names, each understood here (``Global``); any other is refused at the
/// opcode that names it.
struct TorchPickle: PickleMachine {
  enum Value: Equatable, PickleValue {
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

    var listNumber: Int? { if case .list(let number) = self { number } else { nil } }
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
  var state = PickleState<Value>()
  private var cursor: ByteCursor
  private var place = 0

  private static let maximumRank = 64

  /// A machine over `range` of the file.
  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, path: String) throws(FormatError) {
    cursor = ByteCursor(UnsafeRawBufferPointer(rebasing: bytes[..<range.upperBound]), path: path)
    _ = try cursor.take(range.lowerBound, "what stands before the pickle")
  }

  /// Where the next pickle or the data begins.
  var offset: Int { cursor.offset }

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
    state.restart()
    while true {
      place = cursor.offset
      let opcode = try cursor.integer(UInt8.self, "the pickle's next opcode")
      if opcode == UInt8(ascii: ".") { return try pop() }
      if try !runShared(opcode) { try execute(opcode) }
    }
  }

  mutating func take(_ count: Int, of what: PickleArgument) throws(FormatError) -> UnsafeRawBufferPointer {
    try cursor.take(count, what == .number ? "a number" : "an opcode's argument")
  }

  private mutating func execute(_ opcode: UInt8) throws(FormatError) {
    switch opcode {
    case UInt8(ascii: "G"):
      try push(.float(Double(bitPattern: try cursor.integer(UInt64.self, "a number").byteSwapped)))
    case UInt8(ascii: "X"), UInt8(ascii: "T"), UInt8(ascii: "B"): try pushText(try unsigned(4))
    case 0x8c, UInt8(ascii: "U"), UInt8(ascii: "C"): try pushText(try unsigned(1))
    case 0x8d, 0x8e: try pushText(try unsigned(8))
    case UInt8(ascii: "}"): try pushDictionary()
    case UInt8(ascii: "d"):
      let items = try popItems()
      try pushDictionary()
      try insert(items)
    case UInt8(ascii: "s"): try insert(try popLast(2))
    case UInt8(ascii: "u"): try insert(try popItems())
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

  // MARK: - Values

  private mutating func pushDictionary() throws(FormatError) {
    dictionaries.append([])
    try push(.dictionary(dictionaries.count - 1))
  }

  private mutating func insert(_ items: [Value]) throws(FormatError) {
    guard case .dictionary(let number)? = top else {
      throw error(.corrupt, "items are set in something that is not a dictionary")
    }
    guard items.count % 2 == 0 else { throw error(.corrupt, "a key without its value") }
    try count(items.count)
    for index in stride(from: 0, to: items.count, by: 2) {
      dictionaries[number].append((items[index], items[index + 1]))
    }
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
    error(
      .unsafe, "the pickle refers to `\(Self.shown(name))`, which no tensor needs; nothing was run",
      advice: Self.saveAgain)
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
    guard case .dictionary? = top else {
      throw error(.unsafe, "the pickle sets attributes of an object; nothing was run", advice: Self.saveAgain)
    }
  }
}
