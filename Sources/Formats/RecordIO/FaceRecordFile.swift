/// One face of a record file.
public struct FaceRecord: Sendable {
  /// The identity: the first label.
  public let label: Float
  /// All labels of the record; never empty.
  public let labels: [Float]
  /// The encoded image (JPEG or PNG).
  public let encoded: ArraySlice<UInt8>
}

/// Where a face that was read into a ``RecordBuffer`` lies.
public struct FaceRecordView: Sendable, Equatable {
  /// The identity: the first label.
  public let label: Float
  /// The encoded image (JPEG or PNG) in `buffer.bytes`.
  public let encoded: Range<Int>
}

/// The training images of InsightFace: `train.rec` with `train.idx` beside it.
///
/// Any number of threads may read at once.
///
/// Three layouts are known:
/// - *faces*: record 0 is a header record without an image, labels `[b, e)`; records 1 ..< b are images, records b ..< e
///   are identity records without images whose labels `[first, last)` are the image keys of that identity
///   (`face2rec2.py`, `RecBuilder` of the reference's `rec_builder.py`);
/// - *plain*: every record is an image (`im2rec`, `SeqRecBuilder`, `rec2shufrec.py`), with record 0 or without.
///
/// Images are addressed by position 0 ..< ``imageCount``; the index takes 8 bytes an image, 16 where keys have gaps.
public final class FaceRecordFile: Sendable {
  /// How the records are laid out.
  public enum Layout: Sendable, Equatable {
    /// A header record, images, identity records.
    case faces
    /// Images only.
    case plain
  }

  /// The path given.
  public var path: String { reader.path }
  /// The records themselves.
  public let reader: RecordReader
  /// Where the record of each key starts.
  public let index: RecordIndex
  /// How the records are laid out.
  public let layout: Layout
  /// The number of images.
  public let imageCount: Int
  /// The number of identities where the file says it (layout *faces*).
  public let identityCount: Int?
  /// The keys of the identity records (layout *faces*).
  let identityKeys: Range<Int>

  // The positions of each identity's images where they were read from the identity records.
  private let identityPositions: [PackedRange]?
  // The keys of the images in the order of their positions where these are not just consecutive ranks of the index.
  private let scatteredKeys: [UInt32]?
  private let firstRank: Int

  private struct PackedRange: Sendable {
    let start: UInt32
    let count: UInt32
  }

  /// Opens the `.rec` file at `path`.
  ///
  /// Its index is read beside it; where there is none, the records are scanned.
  ///
  /// Throws `.mismatch` where index and records, or header record and index, do not fit each other.
  public convenience init(path: String) throws(FormatError) {
    try self.init(path: path, exactKeyLimit: 1 << 24)
  }

  /// `exactKeyLimit`: from which key on f32 labels no longer say keys exactly (2²⁴; smaller in tests).
  init(path: String, exactKeyLimit: Int) throws(FormatError) {
    reader = try RecordReader(path: path)
    let indexPath = RecordWriter.indexPath(for: path)
    if fileExists(indexPath) {
      index = try RecordIndex(path: indexPath)
      try Self.checkOffsets(of: index, in: reader, indexPath: indexPath)
    } else {
      index = try Self.scan(reader)
    }
    guard let header = try Self.headerRecord(reader, index) else {
      if fileExists(indexPath) { try Self.checkEnd(of: index, in: reader, indexPath: indexPath) }
      layout = .plain
      imageCount = index.count
      identityCount = nil
      identityKeys = 0..<0
      identityPositions = nil
      scatteredKeys = nil
      firstRank = 0
      return
    }
    layout = .faces
    let identityKeys = try Self.identityKeys(header, reader, index, exactKeyLimit: exactKeyLimit)
    self.identityKeys = identityKeys
    identityCount = identityKeys.count
    if identityKeys.upperBound > exactKeyLimit {
      // The identity records' labels are rounded: every key before the first identity record is an image.
      guard let first = index.rank(ofKey: 1), index.rank(ofKey: identityKeys.lowerBound - 1) != nil,
        index.hasConsecutiveKeys
      else {
        throw Self.misfit(reader, "the keys 1 ..< \(identityKeys.lowerBound) of the images are not all in the index")
      }
      imageCount = identityKeys.lowerBound - 1
      identityPositions = nil
      scatteredKeys = nil
      firstRank = first
      return
    }

    var ranges: [Range<Int>] = []
    ranges.reserveCapacity(identityKeys.count)
    var total = 0
    var isTiled = true
    for key in identityKeys {
      let range = try Self.identityRange(key, reader, index, before: identityKeys.lowerBound)
      isTiled = isTiled && range.lowerBound == (ranges.last?.upperBound ?? 1)
      total += range.count
      ranges.append(range)
      // Each image belongs to one identity; ranges over and over the same images would only eat memory.
      guard total < identityKeys.lowerBound else {
        throw Self.misfit(reader, "the ranges of the identity records overlap (seen at key \(key))")
      }
    }
    guard total <= index.count else {
      throw Self.misfit(reader, "the identity records speak of \(total) images, the index has \(index.count) records")
    }
    imageCount = total
    var positions: [PackedRange] = []
    positions.reserveCapacity(ranges.count)
    var start = 0
    for range in ranges {
      positions.append(PackedRange(start: UInt32(start), count: UInt32(range.count)))
      start += range.count
    }
    identityPositions = positions
    if isTiled, index.hasConsecutiveKeys, total > 0, let first = index.rank(ofKey: 1) {
      scatteredKeys = nil
      firstRank = first
    } else {
      var keys: [UInt32] = []
      keys.reserveCapacity(total)
      for range in ranges {
        for key in range {
          guard index.rank(ofKey: key) != nil else {
            throw Self.misfit(reader, "the image of key \(key) is not in the index")
          }
          keys.append(UInt32(key))
        }
      }
      scatteredKeys = keys
      firstRank = 0
    }
  }

  /// The keys of the images in the order of their positions.
  public var imageKeys: some RandomAccessCollection<Int> {
    (0..<imageCount).lazy.map { self.key(at: $0) }
  }

  /// The key of the image at `position` (0 ..< ``imageCount``).
  public func key(at position: Int) -> Int {
    if let scatteredKeys { return Int(scatteredKeys[position]) }
    return index.key(at: firstRank + position)
  }

  /// Where the record of the image at `position` (0 ..< ``imageCount``) starts in the file.
  public func offset(at position: Int) throws(FormatError) -> Int {
    guard position >= 0, position < imageCount else {
      throw FormatError(.mismatch, "the image \(position) was asked for, there are \(imageCount)", path: path)
    }
    guard let scatteredKeys else { return index.offset(at: firstRank + position) }
    guard let offset = index.offset(ofKey: Int(scatteredKeys[position])) else {
      throw Self.misfit(reader, "the image of key \(scatteredKeys[position]) is not in the index")
    }
    return offset
  }

  /// The image at `position` (0 ..< ``imageCount``).
  public func image(at position: Int) throws(FormatError) -> FaceRecord {
    let offset = try offset(at: position)
    let payload = try reader.payload(at: offset)
    let header = try payload.withRawBytes { (bytes) throws(FormatError) in
      try RecordHeader(payload: bytes, path: path, offset: offset)
    }
    return FaceRecord(label: header.label, labels: header.labels, encoded: payload[header.encodedSize...])
  }

  /// Reads the image at `position` into a buffer that the calling thread keeps: no allocation once it has grown.
  public func readImage(at position: Int, into buffer: inout RecordBuffer) throws(FormatError) -> FaceRecordView {
    let offset = try offset(at: position)
    let (payload, _) = try reader.read(at: offset, into: &buffer)
    return try buffer.bytes.withRawBytes { (bytes) throws(FormatError) in
      let record = UnsafeRawBufferPointer(rebasing: bytes[payload])
      let size = RecordHeader.fixedSize
      guard record.count >= size else {
        throw FormatError(
          .corrupt, "a record of \(record.count) bytes; an image record has a header of \(size)", path: path,
          offset: offset)
      }
      let flag = Int(RecordHeader.word(record, 0))
      guard flag <= (record.count - size) / 4 else {
        throw FormatError(
          .corrupt, "the record header announces \(flag) labels, the record has room for \((record.count - size) / 4)",
          path: path, offset: offset)
      }
      let label = Float(bitPattern: RecordHeader.word(record, flag == 0 ? 4 : size))
      return FaceRecordView(label: label, encoded: payload.lowerBound + size + 4 * flag..<payload.upperBound)
    }
  }

  /// The positions of each identity's images, `nil` where the file does not group them (layout *plain*).
  ///
  /// Files with more than 2²⁴ keys have rounded ranges in their identity records; there the ranges are found by the
  /// labels of the images, which reads the front of every record once.
  public func identityRanges() throws(FormatError) -> [Range<Int>]? {
    guard let identityCount else { return nil }
    if let identityPositions {
      return identityPositions.map { Int($0.start)..<Int($0.start) + Int($0.count) }
    }
    var ranges: [Range<Int>] = []
    var start = 0
    var current: Float?
    for position in 0..<imageCount {
      let label = try firstLabel(at: position)
      if let current, current != label {
        ranges.append(start..<position)
        start = position
      }
      current = label
    }
    if current != nil { ranges.append(start..<imageCount) }
    guard ranges.count == identityCount else {
      throw Self.misfit(
        reader, "\(identityCount) identity records, but \(ranges.count) runs of equal labels among the images")
    }
    return ranges
  }

  private func firstLabel(at position: Int) throws(FormatError) -> Float {
    let offset = try offset(at: position)
    let (front, length, _) = try reader.peek(at: offset, limit: RecordHeader.fixedSize + 4)
    guard let label = Self.firstLabel(front) else {
      throw FormatError(.corrupt, "a record of \(length) bytes is no image record", path: path, offset: offset)
    }
    return label
  }

  private static func firstLabel(_ front: [UInt8]) -> Float? {
    let size = RecordHeader.fixedSize
    return front.withRawBytes { bytes in
      guard bytes.count >= size else { return nil }
      if RecordHeader.word(bytes, 0) == 0 { return Float(bitPattern: RecordHeader.word(bytes, 4)) }
      return bytes.count >= size + 4 ? Float(bitPattern: RecordHeader.word(bytes, size)) : nil
    }
  }
}

// MARK: - Opening

extension FaceRecordFile {
  private static func misfit(_ reader: RecordReader, _ message: String) -> FormatError {
    FormatError(.mismatch, message, path: reader.path, advice: RecordReader.indexAdvice)
  }

  /// All offsets lie in the file, and records start at some of them (each is checked again when it is read).
  private static func checkOffsets(
    of index: RecordIndex, in reader: RecordReader, indexPath: String
  ) throws(FormatError) {
    let end = reader.byteCount
    for rank in 0..<index.count where index.offset(at: rank) >= end {
      throw FormatError(
        .mismatch,
        "the key \(index.key(at: rank)) stands at byte \(index.offset(at: rank)), but \(reader.path) ends at byte \(end)",
        path: indexPath, advice: RecordReader.indexAdvice)
    }
    guard index.count > 0 else {
      guard end == 0 else {
        throw FormatError(
          .mismatch, "the index is empty, but \(reader.path) has \(end) bytes", path: indexPath,
          advice: RecordReader.indexAdvice)
      }
      return
    }
    let samples = 16
    for sample in 0...samples {
      // Divided first: the product could only overflow for absurd counts, but then it would crash.
      let rank = sample == samples ? index.count - 1 : (index.count / samples) * sample
      try reader.verifyStart(at: index.offset(at: rank))
    }
    // The last record of a file that was cut still starts inside it, so its whole extent is looked at.
    var last = 0
    for rank in 0..<index.count { last = max(last, index.offset(at: rank)) }
    _ = try reader.peek(at: last, limit: 0)
  }

  /// No record stands behind the last one that the index knows.
  ///
  /// An index that was cut short has lost its last line, which in InsightFace's layout is that of the header record: what is
  /// left looks like a plain file with fewer images.
  private static func checkEnd(
    of index: RecordIndex, in reader: RecordReader, indexPath: String
  ) throws(FormatError) {
    var last = 0
    for rank in 0..<index.count { last = max(last, index.offset(at: rank)) }
    guard index.count > 0 else { return }
    let next = try reader.peek(at: last, limit: 0).end
    guard next >= reader.byteCount else {
      throw FormatError(
        .mismatch,
        "the \(index.count) records of the index end at byte \(next), but \(reader.path) goes on to byte "
          + "\(reader.byteCount)", path: indexPath, advice: RecordReader.indexAdvice)
    }
  }

  /// The header record: labels without an image at key 0.
  private static func headerRecord(
    _ reader: RecordReader, _ index: RecordIndex
  ) throws(FormatError) -> RecordHeader? {
    guard let offset = index.offset(ofKey: 0) else { return nil }
    return try imagelessRecord(reader, offset, labels: 2)
  }

  /// The header of the record at `offset` where it is `labels` labels and nothing else.
  private static func imagelessRecord(
    _ reader: RecordReader, _ offset: Int, labels: Int
  ) throws(FormatError) -> RecordHeader? {
    let size = RecordHeader.fixedSize + 4 * labels
    let (front, length, _) = try reader.peek(at: offset, limit: size)
    guard length == size, front.count == size else { return nil }
    let header = try front.withRawBytes { (bytes) throws(FormatError) -> RecordHeader? in
      guard Int(RecordHeader.word(bytes, 0)) == labels else { return nil }
      return try RecordHeader(payload: bytes, path: reader.path, offset: offset)
    }
    return header
  }

  private static func identityKeys(
    _ header: RecordHeader, _ reader: RecordReader, _ index: RecordIndex, exactKeyLimit: Int
  ) throws(FormatError) -> Range<Int> {
    guard let first = Int(exactly: header.labels[0].rounded()), let end = Int(exactly: header.labels[1].rounded()),
      first >= 1, end >= first, end <= 1 << 30, end - first <= index.count, index.count > 0
    else {
      throw FormatError(
        .corrupt,
        "the header record should say where the identity records start and end, found \(header.labels)",
        path: reader.path, offset: index.offset(ofKey: 0))
    }
    let largest = index.key(at: index.count - 1)
    if end <= exactKeyLimit {
      guard end - 1 <= largest, first == end || index.rank(ofKey: first) != nil else {
        throw misfit(
          reader,
          "the header record announces identity records at keys \(first) ..< \(end), the index ends at \(largest)")
      }
      return first..<end
    }
    // Rounded to the nearest f32: the first identity record is near, and it is the first record without an image.
    let slack = max(1, Int(header.labels[0].ulp))
    var found: Int?
    for key in max(1, first - slack)...(first + slack) {
      guard let offset = index.offset(ofKey: key) else { continue }
      if try imagelessRecord(reader, offset, labels: 2) != nil {
        found = key
        break
      }
    }
    guard let found, abs(largest + 1 - end) <= max(1, Int(header.labels[1].ulp)), found <= largest else {
      throw misfit(
        reader, "no identity records where the header record announces them, at keys near \(first) ..< \(end)")
    }
    return found..<largest + 1
  }

  private static func identityRange(
    _ key: Int, _ reader: RecordReader, _ index: RecordIndex, before end: Int
  ) throws(FormatError) -> Range<Int> {
    guard let offset = index.offset(ofKey: key) else {
      throw misfit(reader, "the identity record of key \(key) is not in the index")
    }
    guard let header = try imagelessRecord(reader, offset, labels: 2) else {
      throw FormatError(
        .corrupt, "an identity record (two labels, no image) expected at key \(key)", path: reader.path, offset: offset,
        advice: RecordReader.indexAdvice)
    }
    guard let first = Int(exactly: header.labels[0].rounded()), let last = Int(exactly: header.labels[1].rounded()),
      first >= 1, first <= last, last <= end
    else {
      throw FormatError(
        .corrupt,
        "the identity record of key \(key) should hold a range of image keys in 1 ..< \(end), found \(header.labels)",
        path: reader.path, offset: offset)
    }
    return first..<last
  }

  /// Finds all records by going through the file.
  ///
  /// Their keys are the numbers in their headers where these are all different, and where they are not, their order
  /// (records without an image are then left out).
  private static func scan(_ reader: RecordReader) throws(FormatError) -> RecordIndex {
    var entries: [(key: Int, offset: Int)] = []
    var imageless: Set<Int> = []
    var offset = 0
    while offset < reader.byteCount {
      let (front, length, end) = try reader.peek(at: offset, limit: RecordHeader.fixedSize)
      let (key, labels) = try front.withRawBytes { (bytes) throws(FormatError) in
        guard bytes.count == RecordHeader.fixedSize else {
          throw FormatError(
            .corrupt, "a record of \(length) bytes; an image record has a header of \(RecordHeader.fixedSize)",
            path: reader.path, offset: offset)
        }
        let id = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        return (id < 1 << 60 ? Int(id) : -1, Int(RecordHeader.word(bytes, 0)))
      }
      if length <= RecordHeader.fixedSize + 4 * labels { imageless.insert(entries.count) }
      entries.append((key, offset))
      offset = end
    }
    if !entries.contains(where: { $0.key < 0 }), let index = try? RecordIndex(pairs: entries, path: reader.path) {
      return index
    }
    entries = entries.enumerated().filter { !imageless.contains($0.offset) }.map(\.element)
    for rank in entries.indices { entries[rank].key = rank }
    return try RecordIndex(pairs: entries, path: reader.path)
  }
}
