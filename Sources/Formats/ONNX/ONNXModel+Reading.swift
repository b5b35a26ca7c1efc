extension ONNXModel {
  /// Reads the file at `path`; weights that lie in other files beside it (`external_data`) are read too.
  ///
  /// Throws `.truncated` and `.corrupt` with the byte offset, `.unsupported` for element types that are not read,
  /// `.unsafe` for external data outside the model's own folder, `.tooLarge`.
  public init(path: String) throws(FormatError) {
    let file = try MappedFile(path: path)
    self = try file.withBytes { (bytes) throws(FormatError) in
      var reader = ONNXReader(bytes: bytes, path: path)
      return try reader.model()
    }
  }

  /// Reads a model from memory; external data is refused.
  ///
  /// Throws as ``init(path:)``; `name` stands for the path in errors.
  public init(serialized bytes: [UInt8], name: String = "model") throws(FormatError) {
    self = try bytes.withRawBytes { (bytes) throws(FormatError) in
      var reader = ONNXReader(bytes: bytes, path: name, readsExternalData: false)
      return try reader.model()
    }
  }
}

/// Reads the messages of an ONNX file; the nesting is that of these functions, so a file cannot deepen it.
struct ONNXReader {
  /// More messages and names than this in one file are refused, because each takes more memory here than there.
  static let maximumItems = 1 << 19

  let bytes: UnsafeRawBufferPointer
  let path: String
  private var items = 0
  private var external: ONNXExternalData?

  init(bytes: UnsafeRawBufferPointer, path: String, readsExternalData: Bool = true) {
    self.bytes = bytes
    self.path = path
    external = readsExternalData ? ONNXExternalData(modelPath: path) : nil
  }

  private mutating func count(_ reader: ProtobufReader, at offset: Int) throws(FormatError) {
    items += 1
    guard items <= Self.maximumItems else {
      throw reader.error(
        .tooLarge, "the file holds more than \(Self.maximumItems) nodes, names and attributes", at: offset)
    }
  }

  /// Collects the fields of a message.
  private mutating func read(
    _ reader: ProtobufReader,
    _ body: (inout ONNXReader, ProtobufReader, ProtobufReader.Field) throws(FormatError) -> Void
  ) throws(FormatError) {
    var fields = reader
    while let field = try fields.next() {
      try count(fields, at: field.offset)
      try body(&self, fields, field)
    }
  }

  mutating func model() throws(FormatError) -> ONNXModel {
    let message = ProtobufReader(bytes, path: path, range: 0..<bytes.count)
    var irVersion: Int?
    var sets: [ONNXModel.OperatorSet] = []
    var (producer, producerVersion) = ("", "")
    var metadata: [ONNXModel.Property] = []
    var graph: ONNXGraph?
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: irVersion = try message.integer(field)
      case 2: producer = try message.text(field)
      case 3: producerVersion = try message.text(field)
      case 7:
        guard graph == nil else { throw message.error(.corrupt, "a second graph", at: field.offset) }
        graph = try reader.graph(try message.message(field))
      case 8: sets.append(try reader.operatorSet(try message.message(field)))
      case 14: metadata.append(try reader.property(try message.message(field)))
      default: break
      }
    }
    guard let irVersion, let graph else {
      throw FormatError(
        .corrupt, "the file holds no \(irVersion == nil ? "format version" : "graph")", path: path, offset: 0,
        advice: "check that this is an ONNX file")
    }
    guard (1...64).contains(irVersion) else {
      throw FormatError(.unsupported, "the format version \(irVersion) is not one of ONNX", path: path, offset: 0)
    }
    return ONNXModel(
      irVersion: irVersion, operatorSets: sets, producerName: producer, producerVersion: producerVersion,
      metadata: metadata, graph: graph)
  }

  private mutating func operatorSet(_ message: ProtobufReader) throws(FormatError) -> ONNXModel.OperatorSet {
    var set = ONNXModel.OperatorSet(version: 0)
    try read(message) { (_, message, field) throws(FormatError) in
      switch field.number {
      case 1: set.domain = try message.text(field)
      case 2: set.version = try message.integer(field)
      default: break
      }
    }
    return set
  }

  private mutating func property(_ message: ProtobufReader) throws(FormatError) -> ONNXModel.Property {
    var property = ONNXModel.Property("", "")
    try read(message) { (_, message, field) throws(FormatError) in
      switch field.number {
      case 1: property.key = try message.text(field)
      // Exporters put whole tables of names and traces here.
      case 2: property.value = try message.text(field, atMost: 1 << 24)
      default: break
      }
    }
    return property
  }

  private mutating func graph(_ message: ProtobufReader) throws(FormatError) -> ONNXGraph {
    var graph = ONNXGraph(name: "", nodes: [], initializers: [], inputs: [], outputs: [])
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: graph.nodes.append(try reader.node(try message.message(field)))
      case 2: graph.name = try message.text(field)
      case 5:
        let (name, tensor) = try reader.tensor(try message.message(field), at: field.offset)
        graph.initializers.append(ONNXTensor(name, tensor))
      case 11: graph.inputs.append(try reader.valueInfo(try message.message(field)))
      case 12: graph.outputs.append(try reader.valueInfo(try message.message(field)))
      case 15:
        throw message.error(.unsupported, "the graph holds sparse tensors, which are not read", at: field.offset)
      default: break
      }
    }
    return graph
  }

  private mutating func node(_ message: ProtobufReader) throws(FormatError) -> ONNXNode {
    var node = ONNXNode("", name: "", inputs: [], outputs: [])
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: node.inputs.append(try message.text(field))
      case 2: node.outputs.append(try message.text(field))
      case 3: node.name = try message.text(field)
      case 4: node.op = try message.text(field)
      case 5: node.attributes.append(try reader.attribute(try message.message(field), at: field.offset))
      case 7: node.domain = try message.text(field)
      default: break
      }
    }
    return node
  }

  /// Old files leave the kind out; then the field that is there tells.
  private mutating func attribute(_ message: ProtobufReader, at offset: Int) throws(FormatError) -> ONNXAttribute {
    var name = ""
    var kind = 0
    var (float, int) = (Float(0), 0)
    var string: String?
    var tensor: StoredTensor?
    var (floats, ints, strings) = ([Float](), [Int](), [String]())
    var found = 0
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: name = try message.text(field)
      case 2: (float, found) = (try message.float(field), 1)
      case 3: (int, found) = (try message.integer(field), 2)
      case 4: (string, found) = (reader.lenientText(message, try message.range(field)), 3)
      case 5: (tensor, found) = (try reader.tensor(try message.message(field), at: field.offset).tensor, 4)
      case 6: found = 5
      case 7:
        try message.appendFloats(field, to: &floats)
        found = 6
      case 8:
        try message.appendIntegers(field, to: &ints)
        found = 7
      case 9:
        strings.append(reader.lenientText(message, try message.range(field)))
        found = 8
      case 20: kind = try message.integer(field)
      default: break
      }
    }
    let value: ONNXAttribute.Value
    switch kind == 0 ? found : kind {
    case 1: value = .float(float)
    case 2: value = .int(int)
    case 3: value = .string(string ?? "")
    case 4:
      guard let tensor else { throw message.error(.corrupt, "the attribute `\(name)` holds no tensor", at: offset) }
      value = .tensor(tensor)
    case 6: value = .floats(floats)
    case 7: value = .ints(ints)
    case 8: value = .strings(strings)
    case let kind: value = .other(kind: kind)
    }
    return ONNXAttribute(name, value)
  }

  /// Attribute strings are bytes by the format's rule; what is not UTF-8 in them cannot be a setting known here.
  private func lenientText(_ message: ProtobufReader, _ range: Range<Int>) -> String {
    String(decoding: message.bytes[range], as: UTF8.self)
  }

  private mutating func valueInfo(_ message: ProtobufReader) throws(FormatError) -> ONNXValueInfo {
    var info = ONNXValueInfo("", type: nil, shape: nil)
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: info.name = try message.text(field)
      case 2:
        try reader.read(try message.message(field)) { (reader, message, field) throws(FormatError) in
          guard field.number == 1 else { return }
          try reader.read(try message.message(field)) { (reader, message, field) throws(FormatError) in
            switch field.number {
            case 1: info.type = StoredType(onnxCode: try message.integer(field))
            case 2: info.shape = try reader.shape(try message.message(field))
            default: break
            }
          }
        }
      default: break
      }
    }
    return info
  }

  private mutating func shape(_ message: ProtobufReader) throws(FormatError) -> [ONNXValueInfo.Dimension] {
    var dimensions: [ONNXValueInfo.Dimension] = []
    try read(message) { (reader, message, field) throws(FormatError) in
      guard field.number == 1 else { return }
      var dimension = ONNXValueInfo.Dimension.unknown
      try reader.read(try message.message(field)) { (_, message, field) throws(FormatError) in
        switch field.number {
        case 1: dimension = .size(try message.integer(field))
        case 2: dimension = .symbol(try message.text(field))
        default: break
        }
      }
      dimensions.append(dimension)
    }
    return dimensions
  }

  // MARK: Tensors

  /// The parts of a tensor message before they are put together.
  private struct TensorParts {
    var dimensions: [Int] = []
    var type = 0
    var name = ""
    var raw: Range<Int>?
    /// Bytes of `float_data` and `double_data`, which are those of the elements.
    var fixed: [UInt8] = []
    /// Numbers of `int32_data`, `int64_data` and `uint64_data`.
    var integers: [Int] = []
    var isExternal = false
    var externalEntries: [ONNXModel.Property] = []
  }

  private mutating func tensor(
    _ message: ProtobufReader, at offset: Int
  ) throws(FormatError) -> (name: String, tensor: StoredTensor) {
    var parts = TensorParts()
    try read(message) { (reader, message, field) throws(FormatError) in
      switch field.number {
      case 1: try message.appendIntegers(field, to: &parts.dimensions)
      case 2: parts.type = try message.integer(field)
      case 3: throw message.error(.unsupported, "a tensor in segments is not read", at: field.offset)
      case 4: try message.appendFixed(field, size: 4, to: &parts.fixed)
      case 5, 7, 11: try message.appendIntegers(field, to: &parts.integers)
      case 8: parts.name = try message.text(field)
      case 9: parts.raw = try message.range(field)
      case 10: try message.appendFixed(field, size: 8, to: &parts.fixed)
      case 13: parts.externalEntries.append(try reader.property(try message.message(field)))
      case 14: parts.isExternal = try message.integer(field) == 1
      default: break
      }
    }
    let label = parts.name.isEmpty ? "a constant" : "the tensor `\(parts.name)`"
    guard parts.dimensions.count <= 16 else {
      throw message.error(.tooLarge, "\(label) has \(parts.dimensions.count) dimensions", at: offset)
    }
    guard let type = StoredType(onnxCode: parts.type) else {
      throw message.error(
        .unsupported, "\(label) has the element type \(parts.type) of ONNX, which is not read", at: offset)
    }
    // A zero must not hide that the other dimensions multiply to more than a number holds.
    guard type.byteCount(shape: parts.dimensions.filter { $0 != 0 }) != nil,
      let size = type.byteCount(shape: parts.dimensions)
    else {
      throw message.error(.corrupt, "\(label) has the impossible shape \(parts.dimensions)", at: offset)
    }
    let content: [UInt8]
    if parts.isExternal {
      content = try externalContent(parts.externalEntries, size: size, label: label, message, at: offset)
    } else if let raw = parts.raw {
      // Checked before anything is copied: the shape may say what it likes.
      guard raw.count == size else { throw mismatch(message, label, parts.dimensions, type, raw.count, at: offset) }
      content = Array(bytes[raw])
    } else {
      content = try typedContent(parts, type: type, size: size, label: label, message, at: offset)
    }
    return (parts.name, try StoredTensor(shape: parts.dimensions, dtype: type, bytes: content))
  }

  private func mismatch(
    _ message: ProtobufReader, _ label: String, _ shape: [Int], _ type: StoredType, _ found: Int, at offset: Int
  ) -> FormatError {
    message.error(
      .mismatch, "\(label) of shape \(shape) and type \(type) cannot have \(found) bytes", at: offset)
  }

  private func typedContent(
    _ parts: TensorParts, type: StoredType, size: Int, label: String, _ message: ProtobufReader, at offset: Int
  ) throws(FormatError) -> [UInt8] {
    let count = size / type.byteCount
    switch type {
    case .f32, .f64:
      guard parts.fixed.count == size else {
        throw mismatch(message, label, parts.dimensions, type, parts.fixed.count, at: offset)
      }
      return parts.fixed
    default:
      guard parts.integers.count == count else {
        throw mismatch(
          message, label, parts.dimensions, type, parts.integers.count * type.byteCount, at: offset)
      }
      var content: [UInt8] = []
      content.reserveCapacity(size)
      for number in parts.integers {
        switch type {
        case .i64: content.appendLittleEndian(Int64(number))
        case .i32: content.appendLittleEndian(Int32(truncatingIfNeeded: number))
        case .f16, .bf16: content.appendLittleEndian(UInt16(truncatingIfNeeded: number))
        default: content.append(UInt8(truncatingIfNeeded: number))
        }
      }
      return content
    }
  }

  private mutating func externalContent(
    _ entries: [ONNXModel.Property], size: Int, label: String, _ message: ProtobufReader, at offset: Int
  ) throws(FormatError) -> [UInt8] {
    guard external != nil else {
      throw message.error(
        .unsupported, "\(label) lies in another file", at: offset,
        advice: "save the model with its weights inside: onnx.save(model, path, save_as_external_data=False)")
    }
    func value(_ key: String) -> String? { entries.last { $0.key == key }?.value }
    let (start, length) = (Int(value("offset") ?? "0"), Int(value("length") ?? "\(size)"))
    guard let location = value("location"), let start, let length, start >= 0, length == size else {
      throw message.error(
        .corrupt, "\(label) of \(size) bytes lies in another file, but where is not said soundly", at: offset)
    }
    do {
      return try external?.read(location, start: start, count: length) ?? []
    } catch {
      throw message.error(error.code, "\(label): \(error.message)", at: offset, advice: error.advice)
    }
  }
}

/// The files beside a model that hold its weights: plain names in the model's own folder, read with bounds.
private struct ONNXExternalData {
  let modelPath: String
  private var files: [String: MappedFile] = [:]
  private var taken: [String: Int] = [:]

  init(modelPath: String) { self.modelPath = modelPath }

  mutating func read(_ location: String, start: Int, count: Int) throws(FormatError) -> [UInt8] {
    // A path that leads elsewhere could read any file of this machine into a model that is then passed on.
    let name = location.hasPrefix("./") ? String(location.dropFirst(2)) : location
    guard !name.isEmpty, name != ".", name != "..", !name.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == 0 })
    else {
      throw FormatError(
        .unsafe, "it lies at `\(location.prefix(80))`; only files in the model's own folder are read",
        advice: "save the model with its weights inside")
    }
    let file = try self.file(name)
    guard start <= file.count, count <= file.count - start else {
      throw FormatError(
        .truncated, "bytes \(start) to \(start) + \(count) of \(name) are asked for, it has \(file.count)",
        advice: "copy both files again")
    }
    // Many tensors over the same bytes would take memory without end.
    let total = taken[name, default: 0] + count
    guard total <= max(file.count, 1 << 20) else {
      throw FormatError(.tooLarge, "more bytes of \(name) are asked for than it has (\(file.count))")
    }
    taken[name] = total
    return file.withBytes { Array($0[start..<start + count]) }
  }

  private mutating func file(_ name: String) throws(FormatError) -> MappedFile {
    if let file = files[name] { return file }
    guard files.count < 1024 else { throw FormatError(.tooLarge, "the model lies in more than 1024 files") }
    let folder = splitPath(modelPath).folder
    let file = try MappedFile(path: folder + "/" + name)
    files[name] = file
    return file
  }
}
