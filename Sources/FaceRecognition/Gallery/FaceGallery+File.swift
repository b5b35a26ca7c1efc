import Formats

/// Gallery files are safetensors: `embeddings` (F32 [N, D]) and `names` (U8, UTF-8, a line a row), and in the metadata
/// `insightface.gallery` (the version, 1) and `insightface.model` (the network's fingerprint).
extension FaceGallery {
  private enum Key {
    static let version = "insightface.gallery"
    static let model = "insightface.model"
    static let embeddings = "embeddings"
    static let names = "names"
  }

  /// Reads a gallery.
  ///
  /// - Throws: `FormatError`: `.unsupported` for a file that is no gallery or of a later version, `.mismatch` where names and
  ///   embeddings do not fit, `.corrupt` for names or embeddings that cannot be.
  public init(path: String) throws(FormatError) {
    let file = try Safetensors(path: path)
    guard let version = file.metadata[Key.version], let model = file.metadata[Key.model] else {
      throw FormatError(
        .unsupported, "the file is no gallery", path: path, advice: "`insightface enroll` makes galleries")
    }
    guard version == "1" else {
      throw FormatError(
        .unsupported, "a gallery of version \(version); version 1 is read here", path: path,
        advice: "use the program that wrote it, or a later one")
    }
    guard let matrix = file.description(named: Key.embeddings), matrix.dtype == .f32, matrix.shape.count == 2,
      let text = file.description(named: Key.names), text.dtype == .u8, text.shape.count == 1
    else {
      throw FormatError(
        .mismatch, "`embeddings` of F32 [N, D] and `names` of U8 are expected", path: path, advice: "enroll anew")
    }
    let (rows, length) = (matrix.shape[0], matrix.shape[1])
    guard length > 0, length <= 1 << 20 else {
      throw FormatError(.mismatch, "embeddings of \(length) numbers", path: path, advice: "enroll anew")
    }
    let bytes = try file.withBytes(ofTensor: Key.names) { Array($0) }
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    guard lines.count == rows else {
      throw FormatError(
        .mismatch, "\(rows) embeddings and \(lines.count) names", path: path, advice: "enroll anew")
    }
    var names: [String] = []
    names.reserveCapacity(rows)
    for line in lines {
      guard !line.isEmpty, let name = String(validating: line, as: UTF8.self) else {
        throw FormatError(.corrupt, "name \(names.count + 1) is empty or not UTF-8", path: path, advice: "enroll anew")
      }
      names.append(name)
    }
    let values = try file.withBytes(ofTensor: Key.embeddings) { raw in
      [Float](unsafeUninitializedCapacity: rows * length) { buffer, count in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
        count = rows * length
      }
    }
    for row in 0..<rows where !Self.isNormalised(values[row * length..<(row + 1) * length]) {
      throw FormatError(
        .corrupt, "the embedding of \"\(names[row])\" (row \(row)) is not finite or not of length 1", path: path,
        advice: "enroll anew")
    }
    self.init(model: model, embeddingLength: length, checkedNames: names, values: values)
  }

  /// Writes the gallery; the file appears whole or not at all.
  ///
  /// - Throws: `FormatError`.
  public func write(path: String) throws(FormatError) {
    let text = names.flatMap { Array($0.utf8) + [UInt8(ascii: "\n")] }
    let tensors = [
      TensorDescription(name: Key.embeddings, dtype: .f32, shape: [count, embeddingLength]),
      TensorDescription(name: Key.names, dtype: .u8, shape: [text.count]),
    ]
    let writer = try SafetensorsWriter(path: path, tensors: tensors, metadata: [Key.version: "1", Key.model: model])
    var failure: FormatError?
    values.withUnsafeBytes { bytes in
      do throws(FormatError) { try writer.write(bytes) } catch { failure = error }
    }
    if let failure { throw failure }
    try writer.endTensor()
    text.withUnsafeBytes { bytes in
      do throws(FormatError) { try writer.write(bytes) } catch { failure = error }
    }
    if let failure { throw failure }
    try writer.endTensor()
    try writer.commit()
  }
}
