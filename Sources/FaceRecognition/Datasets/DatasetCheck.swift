import Formats
import Glibc
import Imaging

/// One thing that is wrong in a data set.
public struct DatasetProblem: Sendable, Hashable, CustomStringConvertible {
  /// The file.
  public let path: String
  /// Where in the file the record starts, where that is known.
  public let offset: Int?
  /// What is wrong.
  public let message: String

  /// `path, byte 128: message`.
  public var description: String { offset.map { "\(path), byte \($0): \(message)" } ?? "\(path): \(message)" }
}

/// What a check of one file found.
public struct DatasetReport: Sendable {
  /// The file.
  public let path: String
  /// How many bytes it has.
  public internal(set) var byteCount = 0
  /// Records read; images for a verification set.
  public internal(set) var recordCount = 0
  /// Images that decode.
  public internal(set) var imageCount = 0
  /// Identities, by identity records or by labels; nil for a verification set.
  public internal(set) var identityCount: Int?
  /// Pairs of a verification set; nil for a record file.
  public internal(set) var pairCount: Int?
  /// Everything that is wrong.
  public internal(set) var problemCount = 0
  /// The first problems, as many as were asked for.
  public internal(set) var problems: [DatasetProblem] = []
  /// The first byte offset in the file at which something is wrong.
  public internal(set) var firstBadOffset: Int?
  /// What is worth knowing and not wrong.
  public internal(set) var notes: [String] = []

  private let problemLimit: Int

  init(path: String, problemLimit: Int) {
    self.path = path
    self.problemLimit = problemLimit
  }

  mutating func add(_ message: String, at offset: Int? = nil, in other: String? = nil) {
    let problem = DatasetProblem(path: other ?? path, offset: offset, message: message)
    guard !problems.contains(problem) else { return }
    problemCount += 1
    if other == nil || other == path, let offset { firstBadOffset = min(firstBadOffset ?? offset, offset) }
    if problems.count < problemLimit { problems.append(problem) }
  }

  mutating func add(_ error: FormatError) {
    let text = error.line.map { "line \($0): \(error.message)" } ?? error.message
    add(error.advice.map { "\(text) (\($0))" } ?? text, at: error.offset, in: error.path)
  }
}

/// Reads and decodes everything in a data set and holds index, labels, property and identity records against it.
public struct DatasetCheck: Sendable {
  /// Threads that decode.
  public var threads: Int
  /// How many problems are kept with their reasons; all are counted.
  public var problemLimit: Int

  /// A check on `threads` threads.
  public init(threads: Int = 2, problemLimit: Int = 20) {
    self.threads = threads
    self.problemLimit = problemLimit
  }

  /// Checks one `.rec` or `.bin` file.
  ///
  /// Throws only where the file cannot be opened; whatever is wrong inside is in the report. `progress` is told the part
  /// done of all.
  public func check(path: String, progress: (Int, Int) -> Void = { _, _ in }) throws(FormatError) -> DatasetReport {
    path.hasSuffix(".bin")
      ? try checkVerificationSet(path, progress) : try checkRecords(path, progress)
  }

  private struct Item: Sendable {
    let name: String
    let offset: Int?
    let bytes: ArraySlice<UInt8>
  }

  private struct Decoded: Sendable {
    let item: String
    let offset: Int?
    let size: Result<PixelSize, ImageError>
  }

  private static func decode(_ item: Item) -> Decoded {
    let size = item.bytes.withUnsafeBytes { raw in
      Result { () throws(ImageError) in
        let image = try Image.decode(raw)
        return PixelSize(width: image.width, height: image.height)
      }
    }
    return Decoded(item: item.name, offset: item.offset, size: size)
  }

  // MARK: - Verification sets

  private func checkVerificationSet(
    _ path: String, _ progress: (Int, Int) -> Void
  ) throws(FormatError) -> DatasetReport {
    var report = DatasetReport(path: path, problemLimit: problemLimit)
    report.byteCount = try PositionedFile(path: path).byteCount
    let set: VerificationSet
    do throws(FormatError) { set = try VerificationSet.read(path: path) } catch {
      report.add(error)
      return report
    }
    report.pairCount = set.isSame.count
    report.recordCount = set.images.count
    var sizes: [PixelSize: Int] = [:]
    var position = 0
    var done = 0
    inOrder(
      threads: threads,
      next: {
        guard position < set.images.count else { return nil }
        let end = min(set.images.count, position + 32)
        defer { position = end }
        return (position..<end).compactMap { number in
          switch set.images[number] {
          case .encoded(let bytes):
            return Item(name: "image \(number) (pair \(number / 2))", offset: nil, bytes: bytes[...])
          default:
            report.imageCount += 1
            return nil
          }
        }
      }, work: Self.decode,
      take: { decoded in
        done += 1
        progress(done, set.images.count)
        switch decoded.size {
        case .success(let size):
          report.imageCount += 1
          sizes[size, default: 0] += 1
        case .failure(let error): report.add("\(decoded.item): \(error.message)")
        }
      })
    if sizes.count > 1 { report.notes.append("images of different sizes: \(describe(sizes))") }
    let same = set.isSame.count { $0 }
    if same == 0 || same == set.isSame.count {
      report.notes.append(
        "all pairs are of \(same == 0 ? "different people" : "one person"): nothing can be told apart")
    }
    if set.isSame.isEmpty { report.add("the set holds no pairs") }
    return report
  }

  // MARK: - Record files

  private func checkRecords(_ path: String, _ progress: (Int, Int) -> Void) throws(FormatError) -> DatasetReport {
    var report = DatasetReport(path: path, problemLimit: problemLimit)
    let reader = try RecordReader(path: path)
    report.byteCount = reader.byteCount
    var file: FaceRecordFile?
    do throws(FormatError) { file = try FaceRecordFile(path: path) } catch { report.add(error) }
    let hasIndexFile = fileExists(indexPath(for: path))
    if !hasIndexFile { report.notes.append("no \(indexPath(for: path)): the records were found by a scan") }
    let index = file?.index ?? (hasIndexFile ? try? RecordIndex(path: indexPath(for: path)) : nil)
    let property = readProperty(beside: path, &report)

    var walk = RecordWalk(reader: reader, index: index, reportsUnnamed: hasIndexFile)
    let positions = file.map(Self.positionsByRank)
    var labels = [Float](repeating: .nan, count: file?.imageCount ?? 0)
    var seen: Set<Int> = []
    var sizes: [PixelSize: Int] = [:]
    let classCount = property?.classCount
    inOrder(
      threads: threads,
      next: {
        var batch: [Item] = []
        var byteCount = 0
        while batch.count < 64, byteCount < 1 << 22 {
          guard let record = walk.next(&report) else { break }
          report.recordCount += 1
          byteCount += record.payload.count
          let header: RecordHeader
          do throws(FormatError) {
            header = try record.payload.withUnsafeBytes { raw in
              Result { () throws(FormatError) in try RecordHeader(payload: raw, path: path, offset: record.offset) }
            }.get()
          } catch {
            report.add(error)
            continue
          }
          let isImage = record.payload.count > header.encodedSize
          let name = record.rank.flatMap { rank in index.map { "key \($0.key(at: rank))" } } ?? "unnamed record"
          let position = record.rank.flatMap { rank in positions.map { Int($0[rank]) } } ?? -1
          guard isImage else {
            if position >= 0 {
              report.add("\(name): a record without an image where one is expected", at: record.offset)
            }
            continue
          }
          if file?.layout == .faces, position < 0 {
            report.add("\(name): an image that no identity record names", at: record.offset)
          }
          if position >= 0 { labels[position] = header.label }
          if let label = Int(exactly: header.label), label >= 0 {
            if seen.count < 1 << 24 { seen.insert(label) }
            if let classCount, label >= classCount {
              report.add("\(name): the label \(label), property speaks of \(classCount) identities", at: record.offset)
            }
          } else {
            report.add("\(name): the label \(header.label) is no identity", at: record.offset)
          }
          batch.append(Item(name: name, offset: record.offset, bytes: record.payload[header.encodedSize...]))
        }
        // A batch may be without images; only the end of the file ends the work.
        return batch.isEmpty && walk.isAtEnd ? nil : batch
      }, work: Self.decode,
      take: { decoded in
        progress(decoded.offset ?? 0, reader.byteCount)
        switch decoded.size {
        case .success(let size):
          report.imageCount += 1
          sizes[size, default: 0] += 1
          if let property, size != PixelSize(width: property.width, height: property.height) {
            report.add(
              "\(decoded.item): the image is \(size), property says \(property.width)×\(property.height)",
              at: decoded.offset)
          }
        case .failure(let error): report.add("\(decoded.item): \(error.message)", at: decoded.offset)
        }
      })
    walk.finish(&report)
    if report.imageCount == 0, report.problemCount == 0 { report.add("the file holds no images", at: 0) }
    if sizes.count > 1 { report.notes.append("images of different sizes: \(describe(sizes))") }
    report.identityCount = file?.identityCount ?? seen.count
    if let file { checkIdentities(file, labels, classCount, seen.count, &report) }
    return report
  }

  private func readProperty(beside path: String, _ report: inout DatasetReport) -> Property? {
    let propertyPath = "\(FilePath.folder(of: path))/property"
    guard fileExists(propertyPath) else {
      report.notes.append("no property beside the records: training must be told the number of classes")
      return nil
    }
    do throws(FormatError) { return try Property(path: propertyPath) } catch {
      report.add(error)
      return nil
    }
  }

  /// The position of the image at each rank of the index, −1 where the record is no image.
  private static func positionsByRank(_ file: FaceRecordFile) -> [Int32] {
    var positions = [Int32](repeating: -1, count: file.index.count)
    for position in 0..<file.imageCount {
      if let rank = file.index.rank(ofKey: file.key(at: position)) { positions[rank] = Int32(clamping: position) }
    }
    return positions
  }

  private func checkIdentities(
    _ file: FaceRecordFile, _ labels: [Float], _ classCount: Int?, _ labelCount: Int, _ report: inout DatasetReport
  ) {
    if let classCount, let count = file.identityCount, count != classCount {
      report.add("\(count) identity records, property speaks of \(classCount) identities")
    }
    if let classCount, file.identityCount == nil, labelCount < classCount {
      report.notes.append("\(labelCount) identities have images, property speaks of \(classCount)")
    }
    do throws(FormatError) {
      guard let ranges = try file.identityRanges() else { return }
      var owner: [Float: Int] = [:]
      var empty = 0
      for (identity, range) in ranges.enumerated() {
        // Records that could not be read have no label; they are reported already.
        guard let first = labels[range].first(where: { !$0.isNaN }) else {
          if range.isEmpty { empty += 1 }
          continue
        }
        for position in range where !labels[position].isNaN && labels[position] != first {
          report.add(
            "key \(file.key(at: position)): the label \(labels[position]) among images of the label \(first) "
              + "(identity record \(identity))", at: try file.offset(at: position))
        }
        if let other = owner.updateValue(identity, forKey: first) {
          report.add(
            "the identity records \(other) and \(identity) both hold images of the label \(first)",
            at: try file.offset(at: range.lowerBound))
        }
      }
      if empty > 0 { report.notes.append("\(empty) identity records without images") }
    } catch {
      report.add(error)
    }
  }
}

/// Columns and rows of an image.
public struct PixelSize: Sendable, Hashable, CustomStringConvertible {
  /// Columns.
  public let width: Int
  /// Rows.
  public let height: Int

  /// `112×112`.
  public var description: String { "\(width)×\(height)" }
}

/// `112×112 (8 images), 96×112 (2 images)`, the most frequent first.
func describe(_ sizes: [PixelSize: Int]) -> String {
  let sorted = sizes.sorted { $0.value != $1.value ? $0.value > $1.value : "\($0.key)" < "\($1.key)" }
  let shown = sorted.prefix(5).map { "\($0.key) (\($0.value))" }.joined(separator: ", ")
  return sorted.count > 5 ? "\(shown) and \(sorted.count - 5) more" : shown
}

/// Goes through the records of a file from front to back, beside the index, and finds its way on after damage.
private struct RecordWalk {
  let reader: RecordReader
  let index: RecordIndex?
  let reportsUnnamed: Bool
  private(set) var isAtEnd = false

  private var scanner: RecordScanner
  private var buffer = RecordBuffer()
  private var at = 0
  // The ranks of the index by offset, and how many of them are passed.
  private let order: [Int]
  private var passed = 0

  init(reader: RecordReader, index: RecordIndex?, reportsUnnamed: Bool) {
    self.reader = reader
    self.index = index
    self.reportsUnnamed = reportsUnnamed
    scanner = RecordScanner(reader)
    order = index.map { index in (0..<index.count).sorted { index.offset(at: $0) < index.offset(at: $1) } } ?? []
  }

  /// The next record that can be read, with its rank in the index; nil at the end.
  mutating func next(_ report: inout DatasetReport) -> (offset: Int, rank: Int?, payload: [UInt8])? {
    while !isAtEnd {
      do throws(FormatError) {
        guard let (offset, range) = try scanner.next(into: &buffer) else {
          isAtEnd = true
          return nil
        }
        // Where a record ends, its padding included, the next starts; the scanner keeps that to itself.
        at = offset
        return (offset, take(offset, &report), Array(buffer.bytes[range]))
      } catch {
        report.add(error)
        let bad = error.offset ?? at
        skipNamed(through: bad)
        guard let resumed = recordStart(after: max(bad, at)) else {
          isAtEnd = true
          return nil
        }
        at = resumed
        scanner = RecordScanner(reader, from: resumed)
      }
    }
    return nil
  }

  /// Reports what the index names behind the last record.
  mutating func finish(_ report: inout DatasetReport) {
    guard let index else { return }
    for rank in order[passed...] {
      let offset = index.offset(at: rank)
      report.add(
        offset < reader.byteCount
          ? "the index names key \(index.key(at: rank)) here, but no record that can be read"
          : "the index names key \(index.key(at: rank)) here, the file ends at byte \(reader.byteCount)", at: offset)
    }
    passed = order.count
  }

  private mutating func take(_ offset: Int, _ report: inout DatasetReport) -> Int? {
    guard let index else { return nil }
    while passed < order.count, index.offset(at: order[passed]) < offset {
      let rank = order[passed]
      report.add(
        "the index names key \(index.key(at: rank)) here, where no record starts", at: index.offset(at: rank))
      passed += 1
    }
    guard passed < order.count, index.offset(at: order[passed]) == offset else {
      if reportsUnnamed { report.add("a record that the index does not name", at: offset) }
      return nil
    }
    let rank = order[passed]
    passed += 1
    while passed < order.count, index.offset(at: order[passed]) == offset {
      report.add(
        "the index names the keys \(index.key(at: rank)) and \(index.key(at: order[passed])) at one place", at: offset)
      passed += 1
    }
    return rank
  }

  /// The record that was damaged is reported as such, not a second time as missing.
  private mutating func skipNamed(through offset: Int) {
    guard let index else { return }
    while passed < order.count, index.offset(at: order[passed]) <= offset { passed += 1 }
  }

  /// The next place that looks like the start of a record: the magic, at a multiple of four, of a first or whole part.
  private func recordStart(after offset: Int) -> Int? {
    guard let file = try? PositionedFile(path: reader.path) else { return nil }
    var position = (offset + 4) & ~3
    let chunk = 1 << 18
    while position + 8 <= file.byteCount {
      guard let bytes = try? file.read(count: min(chunk + 4, file.byteCount - position), at: position) else {
        return nil
      }
      var i = 0
      while i + 8 <= bytes.count {
        if bytes[i] == 0x0a, bytes[i + 1] == 0x23, bytes[i + 2] == 0xd7, bytes[i + 3] == 0xce, bytes[i + 7] >> 5 <= 1 {
          return position + i
        }
        i += 4
      }
      position += i
    }
    return nil
  }
}
