/// One event of a TensorBoard log: a moment, a step, and the values recorded there.
public struct Event: Sendable, Equatable {
  /// Seconds since 1970 when the event was recorded.
  public var wallTime: Double
  /// The training step that the values belong to.
  public var step: Int64
  /// The format's name; only the first event of a file carries it.
  public var fileVersion: String?
  /// The values in the order in which they were recorded.
  public var values: [SummaryValue]

  /// An event with these parts.
  public init(wallTime: Double, step: Int64, fileVersion: String? = nil, values: [SummaryValue] = []) {
    self.wallTime = wallTime
    self.step = step
    self.fileVersion = fileVersion
    self.values = values
  }
}

/// A named value of an event.
public struct SummaryValue: Sendable, Equatable {
  /// What the value is.
  public enum Content: Sendable, Equatable {
    /// One number, as TensorBoard's scalar charts show it.
    case scalar(Float)
    /// One piece of Markdown text.
    case text(String)
    /// Something that this library does not read: an image, a histogram.
    case other
  }

  /// The name under which TensorBoard shows the value, such as `loss` or `lfw/accuracy`.
  public var tag: String
  /// The value itself.
  public var content: Content

  /// A value with this name.
  public init(tag: String, content: Content) {
    self.tag = tag
    self.content = content
  }
}

// The protocol buffer messages are TensorFlow's `Event` (tensorflow/core/util/event.proto), `Summary`
// (framework/summary.proto) and `TensorProto` (framework/tensor.proto). Fields are written in the order of their
// numbers and zero defaults are left out, as Google's own serialisers do, so that equal events give equal bytes.
extension Event {
  /// The serialised message.
  func encoded() -> [UInt8] {
    var message = MessageEncoder()
    if wallTime.bitPattern != 0 { message.double(1, wallTime) }
    if step != 0 { message.integer(2, step) }
    if let fileVersion { message.string(3, fileVersion) }
    if !values.isEmpty {
      message.nested(5) { summary in
        for value in values {
          summary.nested(1) { value.encode(into: &$0) }
        }
      }
    }
    return message.bytes
  }

  /// Reads a serialised message; nil where the bytes are not one.
  init?(encoded bytes: ArraySlice<UInt8>) {
    self.init(wallTime: 0, step: 0)
    var decoder = MessageDecoder(bytes)
    while let field = decoder.next() {
      switch (field.number, field.content) {
      case (1, .fixed64(let bits)): wallTime = Double(bitPattern: bits)
      case (2, .varint(let bits)): step = Int64(bitPattern: bits)
      case (3, .bytes(let text)): fileVersion = String(decoding: text, as: UTF8.self)
      case (5, .bytes(let summary)):
        guard let values = SummaryValue.decodeSummary(summary) else { return nil }
        self.values += values
      default: break
      }
    }
    if decoder.failed { return nil }
  }
}

extension SummaryValue {
  fileprivate func encode(into message: inout MessageEncoder) {
    if !tag.isEmpty { message.string(1, tag) }
    switch content {
    case .scalar(let value):
      message.float(2, value)
    case .text(let text):
      message.nested(8) { tensor in
        tensor.integer(1, 7)  // DT_STRING
        tensor.nested(2) { shape in shape.nested(2) { $0.integer(1, 1) } }
        tensor.string(8, text)
      }
      message.nested(9) { metadata in metadata.nested(1) { $0.string(1, "text") } }
    case .other:
      break
    }
  }

  fileprivate static func decodeSummary(_ bytes: ArraySlice<UInt8>) -> [SummaryValue]? {
    var values: [SummaryValue] = []
    var decoder = MessageDecoder(bytes)
    while let field = decoder.next() {
      guard field.number == 1, case .bytes(let content) = field.content else { continue }
      guard let value = SummaryValue(encoded: content) else { return nil }
      values.append(value)
    }
    return decoder.failed ? nil : values
  }

  private init?(encoded bytes: ArraySlice<UInt8>) {
    self.init(tag: "", content: .other)
    var decoder = MessageDecoder(bytes)
    while let field = decoder.next() {
      switch (field.number, field.content) {
      case (1, .bytes(let text)): tag = String(decoding: text, as: UTF8.self)
      case (2, .fixed32(let bits)): content = .scalar(Float(bitPattern: bits))
      case (8, .bytes(let tensor)):
        guard let decoded = SummaryValue.decodeTensor(tensor) else { return nil }
        content = decoded
      default: break
      }
    }
    if decoder.failed { return nil }
  }

  /// Scalars of TensorFlow 2 and text arrive as tensors; anything but one float or one string is `.other`.
  private static func decodeTensor(_ bytes: ArraySlice<UInt8>) -> Content? {
    var kind: UInt64 = 0
    var floats: [Float] = []
    var strings: [String] = []
    var decoder = MessageDecoder(bytes)
    while let field = decoder.next() {
      switch (field.number, field.content) {
      case (1, .varint(let bits)): kind = bits
      case (4, .bytes(let raw)), (5, .bytes(let raw)): floats += littleEndianFloats(raw)
      case (5, .fixed32(let bits)): floats.append(Float(bitPattern: bits))
      case (8, .bytes(let text)): strings.append(String(decoding: text, as: UTF8.self))
      default: break
      }
    }
    if decoder.failed { return nil }
    if kind == 1, floats.count == 1 { return .scalar(floats[0]) }
    if kind == 7, strings.count == 1 { return .text(strings[0]) }
    return .other
  }

  private static func littleEndianFloats(_ bytes: ArraySlice<UInt8>) -> [Float] {
    stride(from: bytes.startIndex, to: bytes.startIndex + bytes.count / 4 * 4, by: 4).map { start in
      var bits: UInt32 = 0
      for index in (0..<4).reversed() { bits = bits << 8 | UInt32(bytes[start + index]) }
      return Float(bitPattern: bits)
    }
  }
}
