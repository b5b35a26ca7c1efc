extension ONNXModel {
  /// Protocol buffers end here: readers refuse files of two gibibytes.
  static let maximumFileSize = Int(Int32.max)

  /// Writes the model to one file, atomically; weights lie in it as raw little-endian bytes.
  ///
  /// Throws `.tooLarge` for a model of two gibibytes or more, which no reader of ONNX takes in one file.
  public func write(to path: String) throws(FormatError) {
    let message = encoded()
    guard message.count <= Self.maximumFileSize else {
      throw FormatError(
        .tooLarge, "the model takes \(message.count) bytes, an ONNX file holds at most \(Self.maximumFileSize)",
        path: path, advice: "write it as safetensors, or in half precision")
    }
    let file = try AtomicFile(path: path)
    try message.forEachPiece { (piece) throws(FormatError) in
      try piece.withRawBytes { (bytes) throws(FormatError) in try file.write(bytes) }
    }
    try file.commit()
  }

  /// The bytes of the file.
  public func serialized() -> [UInt8] {
    let message = encoded()
    var bytes: [UInt8] = []
    bytes.reserveCapacity(message.count)
    try? message.forEachPiece { (piece) throws(FormatError) in bytes += piece }
    return bytes
  }

  private func encoded() -> ProtobufWriter {
    var message = ProtobufWriter()
    message.integer(1, irVersion)
    message.optionalText(2, producerName)
    message.optionalText(3, producerVersion)
    message.nested(7) { graph.encode(into: &$0) }
    for set in operatorSets {
      message.nested(8) {
        $0.optionalText(1, set.domain)
        $0.integer(2, set.version)
      }
    }
    for property in metadata {
      message.nested(14) {
        $0.text(1, property.key)
        $0.text(2, property.value)
      }
    }
    return message
  }
}

extension ONNXGraph {
  func encode(into message: inout ProtobufWriter) {
    for node in nodes { message.nested(1) { node.encode(into: &$0) } }
    message.text(2, name)
    for initializer in initializers {
      message.nested(5) { initializer.tensor.encodeONNX(named: initializer.name, into: &$0) }
    }
    for input in inputs { message.nested(11) { input.encode(into: &$0) } }
    for output in outputs { message.nested(12) { output.encode(into: &$0) } }
  }
}

extension ONNXNode {
  func encode(into message: inout ProtobufWriter) {
    for input in inputs { message.text(1, input) }
    for output in outputs { message.text(2, output) }
    message.optionalText(3, name)
    message.text(4, op)
    for attribute in attributes { message.nested(5) { attribute.encode(into: &$0) } }
    message.optionalText(7, domain)
  }
}

extension ONNXAttribute {
  func encode(into message: inout ProtobufWriter) {
    message.text(1, name)
    let kind: Int
    switch value {
    case .float(let number):
      kind = 1
      message.float(2, number)
    case .int(let number):
      kind = 2
      message.integer(3, number)
    case .string(let text):
      kind = 3
      message.text(4, text)
    case .tensor(let tensor):
      kind = 4
      message.nested(5) { tensor.encodeONNX(named: "", into: &$0) }
    case .floats(let numbers):
      kind = 6
      for number in numbers { message.float(7, number) }
    case .ints(let numbers):
      kind = 7
      message.integers(8, numbers)
    case .strings(let texts):
      kind = 8
      for text in texts { message.text(9, text) }
    case .other(let number): kind = number
    }
    message.integer(20, kind)
  }
}

extension StoredTensor {
  func encodeONNX(named name: String, into message: inout ProtobufWriter) {
    if !shape.isEmpty { message.packedIntegers(1, shape) }
    message.integer(2, dtype.onnxCode)
    message.optionalText(8, name)
    message.data(9, bytes)
  }
}

extension ONNXValueInfo {
  func encode(into message: inout ProtobufWriter) {
    message.text(1, name)
    guard let type else { return }
    message.nested(2) { valueType in
      valueType.nested(1) { tensorType in
        tensorType.integer(1, type.onnxCode)
        guard let shape else { return }
        tensorType.nested(2) { message in
          for dimension in shape {
            message.nested(1) {
              switch dimension {
              case .size(let size): $0.integer(1, size)
              case .symbol(let name): $0.text(2, name)
              case .unknown: break
              }
            }
          }
        }
      }
    }
  }
}
