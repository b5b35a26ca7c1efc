/// A safetensors file, mapped: named tensors, and text to go with them.
///
/// u64 length, JSON header, data; the tensors cover the data without gaps or overlaps. Format:
/// `safetensors/src/tensor.rs` of huggingface/safetensors.
public struct Safetensors: Sendable {
  /// The tensors in the order of their data.
  public let tensors: [TensorDescription]
  /// The text that goes with them (`__metadata__`).
  public let metadata: [String: String]
  /// The path given.
  public var path: String { file.path }

  private let file: MappedFile
  private let ranges: [Range<Int>]
  private let ranks: [String: Int]

  /// Opens the file at `path` and checks its header: nothing of the data is read yet.
  ///
  /// Throws `.truncated`, `.corrupt`, `.unsupported` (element types) with the byte offset.
  public init(path: String) throws(FormatError) {
    file = try MappedFile(path: path)
    let (header, start, end) = try file.withBytes { (bytes) throws(FormatError) in
      var cursor = ByteCursor(bytes, path: path)
      let size = try cursor.integer(UInt64.self, "the header's length")
      guard size <= UInt64(SafetensorsHeader.maximumSize) else {
        throw FormatError(
          .corrupt, "a header of \(size) bytes; at most \(SafetensorsHeader.maximumSize) are allowed", path: path,
          offset: 0, advice: "check that this is a safetensors file")
      }
      let text = try cursor.take(Int(size), "the header")
      return (try SafetensorsHeader(text, path: path, start: 8), cursor.offset, bytes.count)
    }
    // Empty tensors may share a position with the next one; they come first.
    let entries = header.entries.sorted {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    var position = 0
    for entry in entries {
      guard entry.range.lowerBound == position else {
        throw FormatError(
          .corrupt,
          "the tensor `\(entry.description.name)` starts at \(entry.range.lowerBound) of the data, expected \(position)",
          path: path, offset: start)
      }
      position = entry.range.upperBound
    }
    guard position == end - start else {
      throw FormatError(
        position > end - start ? .truncated : .corrupt,
        "the tensors take \(position) bytes, the file holds \(end - start) behind its header", path: path,
        offset: start, advice: "copy or write the file again")
    }
    tensors = entries.map(\.description)
    ranges = entries.map { $0.range.lowerBound + start..<$0.range.upperBound + start }
    metadata = header.metadata
    ranks = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($0.element.name, $0.offset) })
  }

  /// Name, type and shape of the tensor `name`, `nil` where there is none.
  public func description(named name: String) -> TensorDescription? {
    ranks[name].map { tensors[$0] }
  }

  /// A copy of the tensor `name`.
  ///
  /// Throws `.notFound` where there is none.
  public func tensor(named name: String) throws(FormatError) -> StoredTensor {
    let bytes = try withBytes(ofTensor: name) { Array($0) }
    guard let description = description(named: name) else { throw missing(name) }
    return try StoredTensor(shape: description.shape, dtype: description.dtype, bytes: bytes)
  }

  /// Calls `body` with the bytes of the tensor `name`, in place; they need not be aligned.
  ///
  /// Throws `.notFound` where there is none.
  public func withBytes<Result>(
    ofTensor name: String, _ body: (UnsafeRawBufferPointer) -> Result
  ) throws(FormatError) -> Result {
    guard let rank = ranks[name] else { throw missing(name) }
    return file.withBytes { body(UnsafeRawBufferPointer(rebasing: $0[ranges[rank]])) }
  }

  private func missing(_ name: String) -> FormatError {
    FormatError(.notFound, "there is no tensor `\(name)` among the \(tensors.count) of the file", path: path)
  }

  /// Writes a whole file from tensors in memory, atomically.
  public static func write(
    _ tensors: [(name: String, tensor: StoredTensor)], metadata: [String: String] = [:], to path: String
  ) throws(FormatError) {
    let descriptions = tensors.map {
      TensorDescription(name: $0.name, dtype: $0.tensor.dtype, shape: $0.tensor.shape)
    }
    try write(descriptions, metadata: metadata, to: path) { (index, sink) throws(FormatError) in
      try tensors[index].tensor.bytes.withRawBytes { (bytes) throws(FormatError) in try sink(bytes) }
    }
  }

  /// Writes a file tensor by tensor, atomically: `data` is called once for each, in order, with its number and a sink
  /// that takes its bytes in any number of pieces.
  ///
  /// Memory for one piece is enough.
  public static func write(
    _ tensors: [TensorDescription], metadata: [String: String] = [:], to path: String,
    data: (_ index: Int, _ sink: (UnsafeRawBufferPointer) throws(FormatError) -> Void) throws(FormatError) -> Void
  ) throws(FormatError) {
    let writer = try SafetensorsWriter(path: path, tensors: tensors, metadata: metadata)
    for index in tensors.indices {
      try data(index) { (bytes) throws(FormatError) in try writer.write(bytes) }
      try writer.endTensor()
    }
    try writer.commit()
  }
}
