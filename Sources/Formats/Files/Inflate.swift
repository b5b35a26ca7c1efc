import CZlib

/// Expands zlib streams, with bounded memory.
enum Zlib {
  /// The bytes of a zlib stream.
  ///
  /// - Parameters:
  ///   - bytes: the stream, header and checksum included.
  ///   - limit: the most bytes accepted; memory grows with what is there, not with what a header claims.
  ///   - path: the file, for errors.
  ///   - offset: where the stream begins in the file, for errors.
  /// - Throws: `FormatError`: `.tooLarge`, `.truncated`, `.corrupt`.
  static func inflated(
    _ bytes: UnsafeRawBufferPointer, limit: Int, path: String, offset: Int
  ) throws(FormatError) -> [UInt8] {
    var stream = z_stream()
    let version = ZLIB_VERSION
    guard inflateInit_(&stream, version, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw FormatError(.io, "zlib cannot be started", path: path, advice: "free memory and try again")
    }
    defer { inflateEnd(&stream) }
    guard bytes.count <= Int(UInt32.max) else {
      throw FormatError(.tooLarge, "a compressed part of \(bytes.count) bytes", path: path, offset: offset)
    }
    let source = bytes.bindMemory(to: UInt8.self)
    stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
    stream.avail_in = UInt32(source.count)
    var result: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let (status, count) = chunk.withUnsafeMutableBufferPointer { buffer in
        stream.next_out = buffer.baseAddress
        stream.avail_out = UInt32(buffer.count)
        let status = inflate(&stream, Z_NO_FLUSH)
        return (status, buffer.count - Int(stream.avail_out))
      }
      guard result.count + count <= limit else {
        throw FormatError(
          .tooLarge, "a compressed part expands to more than \(limit) bytes", path: path, offset: offset,
          advice: "get the file from a source that you trust")
      }
      result += chunk[..<count]
      if status == Z_STREAM_END { return result }
      guard status == Z_OK, count > 0 || stream.avail_in > 0 else {
        let isShort = status == Z_BUF_ERROR || status == Z_OK
        throw FormatError(
          isShort ? .truncated : .corrupt, isShort ? "a compressed part ends early" : "a compressed part is damaged",
          path: path, offset: offset, advice: "copy or download the file again")
      }
    }
  }
}
