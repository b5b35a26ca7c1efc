/// Writes the fields of a protocol buffer message.
///
/// Large contents are kept as they are, in pieces, so that a model of hundreds of megabytes is written without a second
/// copy of its weights.
struct ProtobufWriter {
  /// Number of bytes so far.
  private(set) var count = 0
  private var pieces: [[UInt8]] = []
  private var tail: [UInt8] = []

  private static let largeContent = 1 << 14

  private mutating func put(_ bytes: some Collection<UInt8>) {
    tail += bytes
    count += bytes.count
  }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      tail.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
      count += 1
    }
    tail.append(UInt8(rest))
    count += 1
  }

  private mutating func key(_ number: Int, _ wireType: UInt64) { varint(UInt64(number) << 3 | wireType) }

  mutating func integer(_ number: Int, _ value: Int) {
    key(number, 0)
    varint(UInt64(bitPattern: Int64(value)))
  }

  mutating func float(_ number: Int, _ value: Float) {
    key(number, 5)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { put($0) }
  }

  mutating func data(_ number: Int, _ bytes: [UInt8]) {
    key(number, 2)
    varint(UInt64(bytes.count))
    guard bytes.count >= Self.largeContent else { return put(bytes) }
    flush()
    pieces.append(bytes)
    count += bytes.count
  }

  mutating func text(_ number: Int, _ text: String) { data(number, Array(text.utf8)) }

  /// A text that is left out where it is empty, as protocol buffers do.
  mutating func optionalText(_ number: Int, _ text: String) {
    if !text.isEmpty { self.text(number, text) }
  }

  mutating func integers(_ number: Int, _ values: [Int]) { for value in values { integer(number, value) } }

  /// Repeated numbers in the packed form, the one that proto3 readers and ONNX's own tools write for tensors.
  mutating func packedIntegers(_ number: Int, _ values: [Int]) {
    var inner = ProtobufWriter()
    for value in values { inner.varint(UInt64(bitPattern: Int64(value))) }
    append(number, inner)
  }

  mutating func nested(_ number: Int, _ build: (inout ProtobufWriter) -> Void) {
    var inner = ProtobufWriter()
    build(&inner)
    append(number, inner)
  }

  private mutating func append(_ number: Int, _ inner: ProtobufWriter) {
    key(number, 2)
    varint(UInt64(inner.count))
    if inner.pieces.isEmpty { return put(inner.tail) }
    flush()
    pieces += inner.pieces
    tail = inner.tail
    count += inner.count
  }

  private mutating func flush() {
    if !tail.isEmpty { pieces.append(tail) }
    tail = []
  }

  /// Calls `body` with every piece in order.
  func forEachPiece(_ body: ([UInt8]) throws(FormatError) -> Void) throws(FormatError) {
    for piece in pieces { try body(piece) }
    if !tail.isEmpty { try body(tail) }
  }
}
