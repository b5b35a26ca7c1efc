/// The variables of a MATLAB 5 file (`.mat`, version 0x0100), little-endian, compressed or not.
///
/// Read are numbers (real, dense), text, cells and structures. Memory is bounded by what the file holds: zlib parts
/// expand to at most `expansionLimit` bytes in all, values take at most that much and 24 times the size of the file, counts
/// are checked against the bytes that stand behind them, and nesting ends at 32.
///
/// Format: MathWorks, "MAT-File Format", level 5.
public struct MatFile: Sendable {
  /// The variables by name.
  public let variables: [String: MatValue]

  /// The most bytes that all compressed parts of a file may expand to unless a caller says otherwise: 512 MiB.
  public static let expansionLimit = 1 << 29

  /// Reads a file.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - names: the variables wanted; nil reads all.
  ///   - expansionLimit: the most bytes that compressed parts may expand to in all, and that values may take beside 24 times
  ///     the size of the file.
  /// - Throws: `FormatError` with path and offset: `.unsupported` for another version, byte order or kind of array,
  ///   `.truncated`, `.corrupt`, `.tooLarge`, and what opening a file throws.
  public init(
    path: String, names: Set<String>? = nil, expansionLimit: Int = MatFile.expansionLimit
  ) throws(FormatError) {
    let file = try MappedFile(path: path)
    variables = try file.withBytes { bytes throws(FormatError) in
      try Self.read(bytes, path: path, names: names, limit: expansionLimit)
    }
  }

  /// Reads a file's bytes; `path` names them in errors.
  ///
  /// - Throws: as the other form.
  public init(
    bytes: [UInt8], path: String, names: Set<String>? = nil, expansionLimit: Int = MatFile.expansionLimit
  ) throws(FormatError) {
    variables = try bytes.withRawBytes { raw throws(FormatError) in
      try Self.read(raw, path: path, names: names, limit: expansionLimit)
    }
  }

  private static func read(
    _ bytes: UnsafeRawBufferPointer, path: String, names: Set<String>?, limit: Int
  ) throws(FormatError) -> [String: MatValue] {
    guard bytes.count >= 128 else {
      throw FormatError(
        .truncated, "\(bytes.count) bytes are no MATLAB file, whose header has 128", path: path,
        advice: "copy or download the file again")
    }
    guard bytes[126] == 0x49, bytes[127] == 0x4d, bytes[124] == 0, bytes[125] == 1 else {
      let isBigEndian = bytes[126] == 0x4d && bytes[127] == 0x49
      throw FormatError(
        .unsupported, isBigEndian ? "the MATLAB file is big-endian" : "this is no MATLAB file of version 5", path: path,
        offset: 124, advice: "save it in MATLAB with -v6 or -v7 on a little-endian machine")
    }
    // No plain file that MATLAB writes has values of more than 24 times its size: an empty cell of eight bytes is the worst.
    let memoryLimit = limit.addingReportingOverflow(24 * bytes.count)
    var reader = MatReader(
      path: path, names: names, allowance: limit, memoryLimit: memoryLimit.overflow ? .max : memoryLimit.partialValue)
    var cursor = ByteCursor(bytes, path: path)
    _ = try cursor.take(128, "the header")
    while cursor.remaining > 0 {
      // Some writers pad the file with zeros.
      if cursor.remaining < 8 { break }
      try reader.readVariable(&cursor)
    }
    return reader.variables
  }
}
