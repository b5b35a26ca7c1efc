import Formats
import Glibc

/// One row a step (`history.csv`): step, epoch, batch, learning rate, loss with all its digits, correct ones.
public final class RunHistory {
  private let path: String
  private var descriptor: Int32 = -1
  private var pending: [UInt8] = []

  /// Opens the file; rows after step `keptSteps` are cut off, so that a resumed run writes no step twice.
  public init(path: String, keptSteps: Int) throws(FormatError) {
    self.path = path
    let header = "step,epoch,batch,lr,loss,correct\n"
    var kept = Array(header.utf8)
    if keptSteps > 0, let file = try? MappedFile(path: path) {
      let rows: [UInt8] = file.withBytes { bytes in
        var length = 0
        var line = 0
        while let end = bytes[line...].firstIndex(of: 10) {
          // The header has no number and stays.
          var step = 0
          for byte in bytes[line..<end] where byte != 44 || step >= 0 {
            guard byte >= 48 && byte <= 57 else { break }
            step = step * 10 + Int(byte - 48)
          }
          if step > keptSteps { break }
          length = end + 1
          line = length
        }
        return Array(bytes[..<length])
      }
      if !rows.isEmpty { kept = rows }
    }
    try AtomicFile.write(kept, to: path)
    descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FormatError(.io, "cannot open for appending: \(String(cString: strerror(errno)))", path: path)
    }
  }

  deinit {
    try? flush()
    if descriptor >= 0 { close(descriptor) }
  }

  /// Adds a row; the number of correct ones stays empty where it is NaN.
  public func append(
    step: Int, position: BatchPosition, rate: Double, loss: Double, correct: Double
  ) throws(FormatError) {
    let count = Int(exactly: correct.rounded()).map(String.init) ?? ""
    pending += "\(step),\(position.epoch),\(position.batch),\(rate),\(loss),\(count)\n".utf8
    if pending.count > 4096 { try flush() }
  }

  /// Hands the rows to the system.
  public func flush() throws(FormatError) {
    let done = pending.withUnsafeBytes { writeAll(descriptor, $0) }
    guard done else {
      let code: FormatError.Code = errno == ENOSPC ? .diskFull : .io
      throw FormatError(code, "cannot append: \(String(cString: strerror(errno)))", path: path)
    }
    pending.removeAll(keepingCapacity: true)
  }

  /// Makes the rows durable.
  public func sync() throws(FormatError) {
    try flush()
    fsync(descriptor)
  }
}
