import Formats
import Glibc

/// Unpacks a record file into identity folders, the encoded bytes as they are.
public struct DatasetUnpacker: Sendable {
  /// What was unpacked.
  public struct Report: Sendable {
    /// Files written.
    public internal(set) var writtenCount = 0
    /// Files that were there already with the same bytes.
    public internal(set) var presentCount = 0
    /// Identities seen.
    public internal(set) var identityCount = 0
    /// Records that cannot be unpacked.
    public internal(set) var problemCount = 0
    /// The first twenty of them.
    public internal(set) var problems: [DatasetProblem] = []
  }

  /// An unpacker.
  public init() {}

  /// Writes `folder/NAME/NAME_0001.jpg` and so on (.png for PNG, .bin for bytes that are neither): image numbers count
  /// from 1 within an identity and have as many digits as the number of images, at least four.
  ///
  /// NAME is the line of `names.txt` beside the records, where that is there, else the label with seven digits. A file that
  /// is there with the same bytes stays, so that a second run goes on where the first was stopped; no file is ever seen
  /// half written under its name, and what a killed run left half written is removed. Records that cannot be read, or
  /// whose label is no identity, are in the report.
  ///
  /// Throws `.corrupt` with the line where a name cannot be a folder, `.mismatch` where a file with other bytes is there.
  public func unpack(
    path: String, to folder: String, progress: (Int, Int) -> Void = { _, _ in }
  ) throws(FormatError) -> Report {
    let file = try FaceRecordFile(path: path)
    let names = try Self.names(beside: path)
    try makeFolders(folder)
    var report = Report()
    var counts: [Int: Int] = [:]
    var buffer = RecordBuffer()
    let width = max(4, "\(file.imageCount)".utf8.count)
    for position in 0..<file.imageCount {
      progress(position, file.imageCount)
      let view: FaceRecordView
      do throws(FormatError) { view = try file.readImage(at: position, into: &buffer) } catch {
        if error.code == .io { throw error }
        report.add(path, error.offset, error.message)
        continue
      }
      let offset = try file.offset(at: position)
      guard let label = Int(exactly: view.label), label >= 0 else {
        report.add(path, offset, "the label \(view.label) is no identity")
        continue
      }
      let number = (counts[label] ?? 0) + 1
      if number == 1 { report.identityCount += 1 }
      counts[label] = number
      let name: String
      if let names {
        guard label < names.count else {
          throw FormatError(
            .mismatch, "\(names.count) names, but a record has the label \(label)", path: Self.namesPath(path),
            advice: "the names belong to other records: move the file away to have folders named by label")
        }
        name = names[label]
      } else {
        name = padded(label, 7)
      }
      let bytes = buffer.bytes[view.encoded]
      guard !bytes.isEmpty else {
        report.add(path, offset, "the record holds no image")
        continue
      }
      if number == 1 {
        try makeFolders("\(folder)/\(name)")
        removeAbandoned(folder: "\(folder)/\(name)", name: Self.temporaryName)
      }
      let target = "\(folder)/\(name)/\(name)_\(padded(number, width)).\(Self.ending(bytes))"
      if try Self.put(bytes, target) { report.writtenCount += 1 } else { report.presentCount += 1 }
    }
    progress(file.imageCount, file.imageCount)
    return report
  }

  private static func ending(_ bytes: ArraySlice<UInt8>) -> String {
    if bytes.starts(with: [0xff, 0xd8]) { return "jpg" }
    return bytes.starts(with: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]) ? "png" : "bin"
  }

  private static func namesPath(_ path: String) -> String { "\(FilePath.folder(of: path))/names.txt" }

  /// Every name must be one folder of its own inside the output folder.
  private static func names(beside path: String) throws(FormatError) -> [String]? {
    let namesPath = namesPath(path)
    guard fileExists(namesPath) else { return nil }
    var names: [String] = []
    var lines: [String: Int] = [:]
    for (number, name) in try textLines(namesPath) {
      guard number == names.count + 1 else {
        throw FormatError(.corrupt, "the line is empty; a name is expected", path: namesPath, line: names.count + 1)
      }
      guard name != ".", name != "..", !name.contains("/"), name.utf8.count <= 200 else {
        throw FormatError(
          .corrupt, "`\(name)` cannot be the name of a folder", path: namesPath, line: number,
          advice: "change the name, or move the file away to have folders named by label")
      }
      if let earlier = lines.updateValue(number, forKey: name) {
        throw FormatError(
          .corrupt, "the name `\(name)` stands in line \(earlier) already", path: namesPath, line: number,
          advice: "change one of them, or move the file away to have folders named by label")
      }
      names.append(name)
    }
    return names
  }

  private static let temporaryName = "unpack"

  /// Writes a file under a temporary name and renames it; false where it is there already.
  ///
  /// It is not synced, which would cost more than everything else: a second run compares the bytes.
  private static func put(_ bytes: ArraySlice<UInt8>, _ target: String) throws(FormatError) -> Bool {
    if fileExists(target) {
      guard try contents(target).elementsEqual(bytes) else {
        throw FormatError(
          .mismatch, "a file with other bytes is there already", path: target, advice: "unpack to another folder")
      }
      return false
    }
    let (temporary, descriptor) = try openTemporary(
      folder: FilePath.folder(of: target), name: temporaryName, path: target)
    var isClosed = false
    defer {
      if !isClosed { close(descriptor) }
    }
    let isWritten = bytes.withUnsafeBytes { raw in
      var done = 0
      while done < raw.count, let base = raw.baseAddress {
        let count = write(descriptor, base + done, raw.count - done)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        done += count
      }
      return true
    }
    guard isWritten else {
      let error = failed("writing failed", target)
      unlink(temporary)
      throw error
    }
    // Renamed before it is closed: the lock that marks the file as ours goes with the descriptor.
    guard rename(temporary, target) == 0 else {
      let error = failed("writing failed", target)
      unlink(temporary)
      throw error
    }
    isClosed = true
    guard close(descriptor) == 0 else {
      let error = failed("writing failed", target)
      unlink(target)
      throw error
    }
    return true
  }

  private static func failed(_ what: String, _ path: String) -> FormatError {
    let isFull = errno == ENOSPC || errno == EDQUOT || errno == EFBIG
    return FormatError(
      isFull ? .diskFull : .io, "\(what): \(String(cString: strerror(errno)))", path: path,
      advice: isFull ? "free some space and run again: what is written stays" : "check the path and its permissions")
  }
}

extension DatasetUnpacker.Report {
  fileprivate mutating func add(_ path: String, _ offset: Int?, _ message: String) {
    problemCount += 1
    if problems.count < 20 { problems.append(DatasetProblem(path: path, offset: offset, message: message)) }
  }
}
