import Formats
import Glibc
import Jobs

/// The lines of a run: on the standard streams as they come, and in a file that a resumed run takes up where its state
/// was saved, so that no step stands there twice.
public final class RunLog {
  /// The file's path, if there is one.
  public let path: String?
  private let keptLength: Int?
  private var descriptor: Int32 = -1
  private var length = 0
  private var hasFailed = false
  /// Lines of a run that has not begun; nil from then on.
  private var held: [UInt8]? = []
  /// Called before a line is printed and after, to clear and redraw a progress line.
  public var progress: ProgressLine?

  /// A log whose file stays as it is until ``begin()``.
  ///
  /// - Parameters:
  ///   - path: nil writes no file.
  ///   - length: to how many bytes the file will be cut (0: a new run; nil: append to what is there).
  public init(path: String?, length: Int? = 0) {
    self.path = path
    keptLength = length
  }

  /// Opens the file, cuts it, and writes the lines so far: the run's start has succeeded, earlier lines may go.
  public func begin() throws(FormatError) {
    guard let lines = held else { return }
    held = nil
    guard let path else { return }
    descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw FormatError(.io, "cannot open the log: \(String(cString: strerror(errno)))", path: path)
    }
    if let keptLength {
      let present = Int(lseek(descriptor, 0, SEEK_END))
      // A shorter file than the state remembers (cut by hand, or lost in a crash) is kept as it is.
      if present > keptLength { ftruncate(descriptor, off_t(keptLength)) }
    }
    length = Int(lseek(descriptor, 0, SEEK_END))
    lines.withUnsafeBytes { append($0) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Bytes of the file so far.
  public var byteCount: Int { length }

  /// A line on standard output, as the reference's `print`.
  public func out(_ line: String) { write(line, to: 1) }

  /// A line on standard error, as the reference's `logging.info`.
  public func info(_ line: String) { write("INFO:root:\(line)", to: 2) }

  /// A line on standard error that the reference does not have.
  public func note(_ line: String) { write(line, to: 2) }

  private func write(_ line: String, to stream: Int32) {
    progress?.clear()
    var text = line + "\n"
    text.withUTF8 { bytes in
      _ = writeAll(stream, UnsafeRawBufferPointer(bytes))
      if path != nil { held?.append(contentsOf: bytes) }
      append(UnsafeRawBufferPointer(bytes))
    }
    progress?.redraw()
  }

  private func append(_ bytes: UnsafeRawBufferPointer) {
    guard descriptor >= 0 else { return }
    if writeAll(descriptor, bytes) {
      length += bytes.count
    } else if !hasFailed {
      hasFailed = true
      let warning =
        "warning: \(path ?? "log"): \(String(cString: strerror(errno))); the run goes on without its log\n"
      warning.withCString { _ = Glibc.write(2, $0, strlen($0)) }
    }
  }

  /// Makes what was written durable.
  public func sync() { if descriptor >= 0 { fsync(descriptor) } }
}

/// Writes all bytes; false on an error.
func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
  var done = 0
  while done < bytes.count {
    let count = write(descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done)
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { return false }
    done += count
  }
  return true
}
