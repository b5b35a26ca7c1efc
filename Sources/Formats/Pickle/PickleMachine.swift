/// What every pickle may hold; a machine's values have cases of their own beside these.
protocol PickleValue {
  static var none: Self { get }
  static func bool(_ value: Bool) -> Self
  static func int(_ value: Int) -> Self
  static func list(_ number: Int) -> Self
  static func tuple(_ number: Int) -> Self
  /// The number of a list; nil for another value.
  var listNumber: Int? { get }
}

/// Stack, marks, memo and tables of a pickle machine.
struct PickleState<Value> {
  var stack: [Value] = []
  var marks: [Int] = []
  var memo: [Int: Value] = [:]
  fileprivate(set) var lists: [[Value]] = []
  fileprivate var tupleItems: [Value] = []
  fileprivate var tupleRanges: [Range<Int>] = []
  fileprivate var made = 0

  /// No file that is read here makes more values than this.
  fileprivate static var maximumValues: Int { 1 << 24 }

  /// Forgets stack and memo; the tables stay.
  mutating func restart() {
    stack.removeAll()
    marks.removeAll()
    memo.removeAll()
  }
}

/// What a piece of an opcode is, for messages.
enum PickleArgument { case argument, number }

/// The part of Python's pickle machine that all pickles share: stack, marks, memo, lists, tuples, whole numbers.
///
/// Values live in flat tables and refer to each other by number: nesting costs no stack, cycles are harmless, and memory is
/// bounded by a small multiple of the pickle. Nothing is ever looked up or run here; what a pickle may name is up to each
/// machine.
protocol PickleMachine {
  associatedtype Value: PickleValue
  var state: PickleState<Value> { get set }

  /// The next bytes; throws `.truncated` where there are fewer.
  mutating func take(_ count: Int, of what: PickleArgument) throws(FormatError) -> UnsafeRawBufferPointer
  /// An error at the opcode that is being run, or elsewhere.
  func error(_ code: FormatError.Code, _ message: String, at offset: Int?, advice: String?) -> FormatError
}

extension PickleMachine {
  var lists: [[Value]] { state.lists }
  /// The value on top, unless it lies under a mark.
  var top: Value? { state.stack.count > state.marks.last ?? 0 ? state.stack.last : nil }

  func tuple(_ number: Int) -> ArraySlice<Value> { state.tupleItems[state.tupleRanges[number]] }

  /// Runs an opcode that all machines know; false for another one.
  mutating func runShared(_ opcode: UInt8) throws(FormatError) -> Bool {
    switch opcode {
    case 0x80:
      let version = try unsigned(1)
      guard version <= 5 else { throw corrupt("pickle protocol \(version); 0 to 5 are known", .unsupported) }
    case 0x95: _ = try unsigned(8)  // Frames only help buffering; their contents are read one opcode after the other.
    case UInt8(ascii: "("): state.marks.append(state.stack.count)
    case UInt8(ascii: "0"):
      if let mark = state.marks.last, mark == state.stack.count { state.marks.removeLast() } else { _ = try pop() }
    case UInt8(ascii: "1"): state.stack.removeLast(state.stack.count - (try popMark()))
    case UInt8(ascii: "2"):
      let top = try pop()
      try push(top)
      try push(top)
    case UInt8(ascii: "N"): try push(Value.none)
    case 0x88: try push(.bool(true))
    case 0x89: try push(.bool(false))
    case UInt8(ascii: "J"): try pushWhole(4)
    case UInt8(ascii: "K"): try push(.int(try unsigned(1)))
    case UInt8(ascii: "M"): try push(.int(try unsigned(2)))
    case 0x8a: try pushWhole(try unsigned(1))
    case 0x8b: try pushWhole(try unsigned(4))
    case UInt8(ascii: "]"): try pushList([])
    case UInt8(ascii: "l"): try pushList(try popItems())
    case UInt8(ascii: "a"):
      let item = try pop()
      try append([item])
    case UInt8(ascii: "e"): try append(try popItems())
    case UInt8(ascii: ")"): try pushTuple([])
    case UInt8(ascii: "t"): try pushTuple(try popItems())
    case 0x85, 0x86, 0x87: try pushTuple(try popLast(Int(opcode) - 0x84))
    case UInt8(ascii: "q"): try put(try unsigned(1))
    case UInt8(ascii: "r"): try put(try unsigned(4))
    case 0x94: try put(state.memo.count)
    case UInt8(ascii: "h"): try get(try unsigned(1))
    case UInt8(ascii: "j"): try get(try unsigned(4))
    default: return false
    }
    return true
  }

  // MARK: Stack

  mutating func count(_ values: Int) throws(FormatError) {
    state.made += values
    guard state.made <= PickleState<Value>.maximumValues else {
      throw corrupt("the pickle makes more than \(PickleState<Value>.maximumValues) values", .tooLarge)
    }
  }

  mutating func push(_ value: Value) throws(FormatError) {
    try count(1)
    state.stack.append(value)
  }

  mutating func pop() throws(FormatError) -> Value {
    guard state.stack.count > state.marks.last ?? 0, let value = state.stack.popLast() else { throw underflow() }
    return value
  }

  private mutating func popMark() throws(FormatError) -> Int {
    guard let mark = state.marks.popLast() else { throw corrupt("the opcode needs a mark, there is none") }
    return mark
  }

  mutating func popItems() throws(FormatError) -> [Value] { try popLast(state.stack.count - (try popMark())) }

  mutating func popLast(_ number: Int) throws(FormatError) -> [Value] {
    guard state.stack.count - (state.marks.last ?? 0) >= number else { throw underflow() }
    let items = Array(state.stack.suffix(number))
    state.stack.removeLast(number)
    return items
  }

  private func underflow() -> FormatError { corrupt("the opcode needs more values than there are") }

  private func corrupt(_ message: String, _ code: FormatError.Code = .corrupt) -> FormatError {
    error(code, message, at: nil, advice: nil)
  }

  private mutating func pushList(_ items: [Value]) throws(FormatError) {
    state.lists.append(items)
    try push(.list(state.lists.count - 1))
  }

  private mutating func pushTuple(_ items: [Value]) throws(FormatError) {
    try count(items.count)
    state.tupleRanges.append(state.tupleItems.count..<state.tupleItems.count + items.count)
    state.tupleItems.append(contentsOf: items)
    try push(.tuple(state.tupleRanges.count - 1))
  }

  private mutating func append(_ items: [Value]) throws(FormatError) {
    guard let number = top?.listNumber else { throw corrupt("items are appended to something that is not a list") }
    try count(items.count)
    state.lists[number].append(contentsOf: items)
  }

  mutating func put(_ key: Int) throws(FormatError) {
    guard let top else { throw underflow() }
    try count(1)
    state.memo[key] = top
  }

  mutating func get(_ key: Int) throws(FormatError) {
    guard let value = state.memo[key] else { throw corrupt("the memo has no entry \(key)") }
    try push(value)
  }

  // MARK: Arguments

  mutating func unsigned(_ size: Int) throws(FormatError) -> Int {
    let value = Self.littleEndian(try take(size, of: .argument))
    guard let result = Int(exactly: value) else { throw corrupt("a length of \(value) bytes") }
    return result
  }

  private mutating func pushWhole(_ byteCount: Int) throws(FormatError) {
    guard byteCount <= 8 else { throw corrupt("a whole number of \(byteCount) bytes; 8 are read", .unsupported) }
    let value = Self.littleEndian(try take(byteCount, of: .number))
    let unused = UInt64(64 - 8 * byteCount)
    try push(.int(byteCount == 0 ? 0 : Int(Int64(bitPattern: value << unused) >> Int64(unused))))
  }

  private static func littleEndian(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var value: UInt64 = 0
    for (index, byte) in bytes.enumerated() { value |= UInt64(byte) << UInt64(8 * index) }
    return value
  }

  /// A name as messages show it.
  static func shown(_ name: String) -> String {
    name.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : String($0) }.joined()
  }
}
