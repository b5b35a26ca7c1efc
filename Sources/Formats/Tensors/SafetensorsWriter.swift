/// Writes a safetensors file piece by piece, for callers that make the bytes as they go.
///
/// The tensors are declared first; then come the bytes of each, in that order, ``endTensor()`` after each, and
/// ``commit()``. Nothing appears at the path before that.
public final class SafetensorsWriter {
  private let file: AtomicFile
  private let tensors: [TensorDescription]
  private let sizes: [Int]
  private var current = 0
  private var written = 0

  /// The path that ``commit()`` makes.
  public var path: String { file.path }

  /// Starts the file and writes its header.
  ///
  /// Throws `.mismatch` for names that come twice and shapes that cannot be.
  public init(path: String, tensors: [TensorDescription], metadata: [String: String] = [:]) throws(FormatError) {
    self.tensors = tensors
    var sizes: [Int] = []
    var members: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { Self.quoted($0.key) + ":" + Self.quoted($0.value) }
      members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
    }
    var names: Set<String> = ["__metadata__"]
    var position = 0
    for tensor in tensors {
      guard names.insert(tensor.name).inserted else {
        throw FormatError(.mismatch, "the tensor name `\(tensor.name)` is reserved or comes twice", path: path)
      }
      guard let size = tensor.dtype.byteCount(shape: tensor.shape), size <= Int.max / 2 - position,
        let type = SafetensorsHeader.types.first(where: { $0.type == tensor.dtype })?.name
      else {
        throw FormatError(.mismatch, "the tensor `\(tensor.name)` cannot have the shape \(tensor.shape)", path: path)
      }
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      members.append(
        "\(Self.quoted(tensor.name)):{\"dtype\":\"\(type)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(position),\(position + size)]}")
      sizes.append(size)
      position += size
    }
    self.sizes = sizes
    var header = Array("{\(members.joined(separator: ","))}".utf8)
    // The data starts at a multiple of eight, so that the first tensor is aligned when the file is mapped.
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    guard header.count <= SafetensorsHeader.maximumSize else {
      throw FormatError(.tooLarge, "a header of \(header.count) bytes", path: path)
    }
    var front: [UInt8] = []
    front.appendLittleEndian(UInt64(header.count))
    file = try AtomicFile(path: path)
    try file.write(contentsOf: front)
    try file.write(contentsOf: header)
  }

  /// Appends bytes to the current tensor.
  ///
  /// Throws `.mismatch` for more than it has.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
    guard current < tensors.count, bytes.count <= sizes[current] - written else {
      let name = current < tensors.count ? tensors[current].name : "(none left)"
      throw FormatError(.mismatch, "more bytes than the tensor `\(name)` has were given", path: path)
    }
    try file.write(bytes)
    written += bytes.count
  }

  /// Ends the current tensor.
  ///
  /// Throws `.mismatch` where bytes are missing.
  public func endTensor() throws(FormatError) {
    guard current < tensors.count else {
      throw FormatError(.mismatch, "more tensors were written than declared", path: path)
    }
    guard written == sizes[current] else {
      throw FormatError(
        .mismatch, "the tensor `\(tensors[current].name)` has \(sizes[current]) bytes, \(written) were given",
        path: path)
    }
    current += 1
    written = 0
  }

  /// Puts the file in place.
  ///
  /// Throws `.mismatch` where tensors are missing.
  public func commit() throws(FormatError) {
    guard current == tensors.count else {
      throw FormatError(.mismatch, "\(tensors.count) tensors were declared, \(current) written", path: path)
    }
    try file.commit()
  }

  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{0}"..<" ":
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
