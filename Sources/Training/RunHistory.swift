import Formats
import Glibc

/// One row a step (`history.csv`): step, epoch, batch, learning rate, loss with all its digits, correct ones.
public final class RunHistory {
  private static let header = Array("step,epoch,batch,lr,loss,correct\n".utf8)

  private let path: String
  private let kept: [UInt8]
  private var descriptor: Int32 = -1
  private var pending: [UInt8] = []

  /// Reads what a resumed run keeps, the rows up to step `keptSteps`, and leaves the file as it is until ``begin()``.
  ///
  /// With 0 steps to keep, or where no file is, the history starts anew.
  ///
  /// - Throws: `FormatError`: `.corrupt` with the line where one of these rows is none.
  public init(path: String, keptSteps: Int) throws(FormatError) {
    self.path = path
    guard keptSteps > 0, fileExists(path) else {
      kept = Self.header
      return
    }
    let bytes = try MappedFile(path: path).withBytes { Array($0) }
    kept = Array(bytes[..<(try Self.end(ofStep: keptSteps, in: bytes, path))])
  }

  /// Cuts the file off after the rows that are kept, so that no step is written twice, and opens it for more.
  public func begin() throws(FormatError) {
    try AtomicFile.write(kept, to: path)
    descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FormatError(.io, "cannot open for appending: \(String(cString: strerror(errno)))", path: path)
    }
  }

  /// Where the row of a step ends, or of the last step before it.
  private static func end(ofStep last: Int, in bytes: [UInt8], _ path: String) throws(FormatError) -> Int {
    func damaged(_ line: Int, _ expected: String, _ found: ArraySlice<UInt8>) -> FormatError {
      FormatError(
        .corrupt, "\(expected) expected, found `\(String(decoding: found.prefix(80), as: UTF8.self))`", path: path,
        line: line, advice: "repair that row, or move the file away: the history goes on without the earlier steps then"
      )
    }
    guard bytes.starts(with: header) else {
      throw damaged(1, "`\(String(decoding: header.dropLast(), as: UTF8.self))`", bytes.prefix { $0 != 10 })
    }
    var (end, line, step) = (header.count, 1, 0)
    // What stands behind the last step that is kept goes, so it may be anything: a crash leaves halves of rows.
    while step < last, let newline = bytes[end...].firstIndex(of: 10) {
      line += 1
      guard let next = Self.step(ofRow: bytes[end..<newline]), next > step else {
        throw damaged(line, "a row of a step after \(step)", bytes[end..<newline])
      }
      if next > last { break }
      (end, step) = (newline + 1, next)
    }
    return end
  }

  private static func step(ofRow row: ArraySlice<UInt8>) -> Int? {
    let fields = row.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
    guard fields.count == 6, fields[1...2].allSatisfy({ Int($0) != nil }),
      fields[3...4].allSatisfy({ Double($0) != nil }), fields[5].isEmpty || Int(fields[5]) != nil
    else { return nil }
    return Int(fields[0])
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
