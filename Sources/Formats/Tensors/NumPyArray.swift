/// Writes NumPy's array files (`.npy`, format 1.0).
public enum NumPyArray {
  /// Writes a matrix of 32-bit floats, row by row, under a temporary name that is renamed at the end.
  ///
  /// - Throws: `FormatError`: `.mismatch` where the rows have different lengths, and what writing throws.
  public static func write(_ rows: [[Float]], to path: String) throws(FormatError) {
    let width = rows.first?.count ?? 0
    guard rows.allSatisfy({ $0.count == width }) else {
      throw FormatError(.mismatch, "the rows of the array have different lengths", path: path)
    }
    var header = "{'descr': '<f4', 'fortran_order': False, 'shape': (\(rows.count), \(width)), }"
    // Magic, version and length take ten bytes; the data begin at a multiple of 64.
    let padding = 63 - (10 + header.utf8.count) % 64
    header += String(repeating: " ", count: padding) + "\n"
    let length = header.utf8.count
    let file = try AtomicFile(path: path)
    try file.write(
      contentsOf: [0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(length & 0xff), UInt8(length >> 8)] + Array(header.utf8))
    for row in rows { try row.withRawBytesOfFloats { bytes throws(FormatError) in try file.write(bytes) } }
    try file.commit()
  }
}

extension [Float] {
  fileprivate func withRawBytesOfFloats(
    _ body: (UnsafeRawBufferPointer) throws(FormatError) -> Void
  ) throws(FormatError) {
    var failure: FormatError?
    withUnsafeBytes { raw in
      do throws(FormatError) { try body(raw) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
