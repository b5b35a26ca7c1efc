import Glibc

/// A file opened for reads at given positions, from any number of threads at once (`pread`; no shared position).
public final class PositionedFile: Sendable {
  /// The path given.
  public let path: String
  /// The size in bytes when opened.
  public let byteCount: Int

  private let descriptor: Int32

  /// Opens the regular file at `path`.
  public init(path: String) throws(FormatError) {
    self.path = path
    (descriptor, byteCount) = try openRegularFile(path)
  }

  deinit {
    close(descriptor)
  }

  /// Fills `buffer` from byte `offset` on and returns how many bytes were read: fewer than asked only at the end.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FormatError) -> Int {
    guard offset >= 0 else {
      throw FormatError(.mismatch, "a read at a negative position", path: path, offset: offset)
    }
    var done = 0
    while done < buffer.count {
      guard let base = buffer.baseAddress else { break }
      let (position, overflow) = offset.addingReportingOverflow(done)
      guard !overflow else { break }
      let got = pread(descriptor, base + done, buffer.count - done, position)
      if got < 0 {
        if errno == EINTR { continue }
        let number = errno
        throw FormatError(
          .io, "reading \(buffer.count) bytes failed: \(String(cString: strerror(number)))", path: path, offset: offset)
      }
      if got == 0 { break }
      done += got
    }
    return done
  }

  /// Reads exactly `count` bytes from byte `offset` on; throws `.truncated` where the file is shorter.
  public func read(count: Int, at offset: Int) throws(FormatError) -> [UInt8] {
    guard count >= 0, offset >= 0, offset <= byteCount, count <= byteCount - offset else {
      throw FormatError(
        .truncated, "\(count) bytes expected, the file has \(byteCount) in all", path: path, offset: offset)
    }
    var bytes = [UInt8](repeating: 0, count: count)
    let got = try bytes.withMutableRawBytes { (buffer) throws(FormatError) in try read(into: buffer, at: offset) }
    guard got == count else {
      throw FormatError(
        .truncated, "\(count) bytes expected, \(got) found: the file has become shorter", path: path, offset: offset)
    }
    return bytes
  }
}
