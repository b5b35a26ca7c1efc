import Formats

/// Byte order, which no locale changes.
func precedes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

/// The bytes of a whole file of at most 1 GiB.
func contents(_ path: String) throws(FormatError) -> [UInt8] {
  let file = try PositionedFile(path: path)
  guard file.byteCount <= 1 << 30 else {
    throw FormatError(.tooLarge, "\(file.byteCount) bytes; at most 1 GiB is read here", path: path)
  }
  return try file.read(count: file.byteCount, at: 0)
}

/// The lines of a text file, counted from 1, without line ends; empty ones are left out.
func textLines(_ path: String) throws(FormatError) -> [(number: Int, text: String)] {
  let bytes = try contents(path)
  var lines: [(number: Int, text: String)] = []
  var number = 0
  for part in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
    number += 1
    let line = part.last == UInt8(ascii: "\r") ? part.dropLast() : part
    guard !line.isEmpty else { continue }
    guard let text = String(validating: line, as: UTF8.self), !line.contains(0) else {
      throw FormatError(.corrupt, "the line is not UTF-8 text", path: path, line: number)
    }
    lines.append((number, text))
  }
  return lines
}

/// `number` with zeros in front, at least `width` digits.
func padded(_ number: Int, _ width: Int) -> String {
  let digits = "\(number)"
  return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

/// The record files and verification sets that a path stands for.
///
/// A folder stands for all `.rec` and `.bin` files in it, a file for itself.
public struct DatasetFiles: Sendable, Equatable {
  /// The record files, in byte order of their names.
  public let records: [String]
  /// The verification sets, in byte order of their names.
  public let verificationSets: [String]

  /// Looks at what stands at `path`.
  ///
  /// Throws `.notFound` where nothing stands there, `.unsupported` where it is no data set.
  public init(path: String) throws(FormatError) {
    guard fileExists(path) else {
      throw FormatError(
        .notFound, "nothing stands here", path: path, advice: "name a folder with train.rec, a .rec file or a .bin file"
      )
    }
    guard isFolder(path) else {
      records = path.hasSuffix(".rec") ? [path] : []
      verificationSets = path.hasSuffix(".bin") ? [path] : []
      guard records.count + verificationSets.count == 1 else {
        throw FormatError(
          .unsupported, "the name ends neither in .rec nor in .bin", path: path,
          advice: "name a folder with train.rec, a .rec file or a .bin file")
      }
      return
    }
    let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    let names = try folderEntries(path).filter { !$0.isFolder }.map { "\(trimmed)/\($0.name)" }
    records = names.filter { $0.hasSuffix(".rec") }
    verificationSets = names.filter { $0.hasSuffix(".bin") }
    guard records.count + verificationSets.count > 0 else {
      throw FormatError(
        .unsupported, "the folder holds neither .rec nor .bin files", path: path,
        advice: "`insightface dataset pack` makes a record file from a folder of identity folders")
    }
  }
}

/// The `.idx` path that belongs to a `.rec` path.
func indexPath(for path: String) -> String { RecordWriter.indexPath(for: path) }
