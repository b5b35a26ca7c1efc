import Glibc

/// A whole file, read-only, as bytes in memory that the kernel pages in on demand.
///
/// The file must not be shortened by somebody else while it is mapped: the kernel answers such a read with `SIGBUS`.
/// Files that this project writes are replaced by rename, never changed in place, so they are safe to map.
public final class MappedFile: Sendable {
  /// The path given.
  public let path: String
  /// The size in bytes when opened.
  public let count: Int

  private let address: Int

  /// Maps the regular file at `path`; an empty file is allowed and maps nothing.
  public init(path: String) throws(FormatError) {
    let (descriptor, byteCount) = try openRegularFile(path)
    defer { close(descriptor) }
    self.path = path
    count = byteCount
    if byteCount == 0 {
      address = 0
      return
    }
    guard let base = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
      throw .system(errno, "mapping \(byteCount) bytes into memory", path: path)
    }
    address = Int(bitPattern: base)
  }

  deinit {
    if count > 0 { munmap(UnsafeMutableRawPointer(bitPattern: address), count) }
  }

  /// Calls `body` with all bytes of the file; the pointer is valid during the call only.
  public func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count))
  }
}
