/// The constants of dmlc's RecordIO.
///
/// A record is one part or several. A part: the magic (u32), a word (u32) with the kind in its upper three bits and the
/// length in the lower 29, the data, zeros up to a multiple of four. Kinds: 0 whole, 1 first, 2 middle, 3 last; between
/// parts stood the magic itself, which the writer took out so that it never occurs 4-aligned inside the data.
enum RecordIO {
  static let magic: UInt32 = 0xced7_230a
  static let partHeaderSize = 8
  static let maximumLength = 1 << 29

  static func padded(_ length: Int) -> Int { (length + 3) & ~3 }
}

/// A buffer that a thread keeps for its reads, so that reading a record allocates nothing once it has grown.
public struct RecordBuffer: Sendable {
  /// The bytes; only the range that the last read gave back has a meaning.
  public internal(set) var bytes: [UInt8] = []

  /// An empty buffer; it grows with the first read.
  public init() {}

  mutating func grow(to count: Int) {
    guard bytes.count < count else { return }
    // Grown past what is asked for, so that slightly larger records do not grow it again and again.
    let extra = count - bytes.count + count / 4
    bytes.append(contentsOf: repeatElement(0, count: extra))
  }
}

/// A `.rec` file, read at positions: any number of threads may read at once.
public final class RecordReader: Sendable {
  private let file: PositionedFile

  /// The path given.
  public var path: String { file.path }
  /// The size of the file in bytes.
  public var byteCount: Int { file.byteCount }

  /// Opens the `.rec` file at `path`.
  public init(path: String) throws(FormatError) {
    file = try PositionedFile(path: path)
  }

  /// Reads a part of the file from one end to the other and forgets it, so that the system has it in memory; records
  /// are then found there without a seek of the disk.
  public func readThrough(_ range: Range<Int>) {
    let end = min(range.upperBound, file.byteCount)
    withUnsafeTemporaryAllocation(byteCount: 1 << 20, alignment: 64) { buffer in
      for offset in stride(from: max(0, range.lowerBound), to: end, by: buffer.count) {
        let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[..<min(buffer.count, end - offset)])
        guard let count = try? file.read(into: piece, at: offset), count == piece.count else { return }
      }
    }
  }

  /// The payload of the record that starts at byte `offset`; the parts of a split record are joined.
  public func payload(at offset: Int) throws(FormatError) -> [UInt8] {
    var buffer = RecordBuffer()
    let (range, _) = try read(at: offset, into: &buffer)
    return Array(buffer.bytes[range])
  }

  /// Reads the record at byte `offset` into `buffer`; gives the range of the payload there and where the record ends.
  ///
  /// Throws `.mismatch` where no record starts at `offset`, `.truncated` where the file ends inside it, `.corrupt` where
  /// the parts do not follow each other as they must.
  public func read(
    at offset: Int, into buffer: inout RecordBuffer
  ) throws(FormatError) -> (payload: Range<Int>, end: Int) {
    guard offset >= 0, offset < byteCount else {
      throw FormatError(
        .mismatch, "a record should start here, but the file ends at byte \(byteCount)", path: path, offset: offset,
        advice: Self.indexAdvice)
    }
    // Most faces take 4 to 12 KB: one read brings the whole record, a second one is needed for large ones only.
    let guess = min(1 << 14, byteCount - offset)
    buffer.grow(to: guess)
    let got = try buffer.bytes.withMutableRawBytes { (bytes) throws(FormatError) in
      try file.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<guess]), at: offset)
    }
    let head = RecordIO.partHeaderSize
    var part = try buffer.bytes.withRawBytes { (bytes) throws(FormatError) in
      try parsePart(UnsafeRawBufferPointer(rebasing: bytes[..<got]), at: offset, isFirst: true)
    }
    let available = min(got - head, part.length)
    var end = head + part.length
    buffer.grow(to: end)
    if available < part.length { try fill(&buffer, from: head + available, to: end, at: offset + head + available) }
    var next = offset + head + RecordIO.padded(part.length)

    while part.continues {
      part = try self.part(at: next, isFirst: false)
      buffer.grow(to: end + 4 + part.length)
      buffer.bytes.withMutableRawBytes {
        $0.storeBytes(of: RecordIO.magic.littleEndian, toByteOffset: end, as: UInt32.self)
      }
      try fill(&buffer, from: end + 4, to: end + 4 + part.length, at: next + head)
      end += 4 + part.length
      next += head + RecordIO.padded(part.length)
    }
    return (head..<end, next)
  }

  /// Reads at most `limit` bytes from the front of the record at `offset` (of its first part, where it is split), and
  /// tells how long the payload is and where the record ends: cheap when only the header is wanted.
  func peek(
    at offset: Int, limit: Int
  ) throws(FormatError) -> (front: [UInt8], length: Int, end: Int) {
    var part = try self.part(at: offset, isFirst: true)
    let front = try file.read(count: min(limit, part.length), at: offset + RecordIO.partHeaderSize)
    var length = part.length
    var next = offset + RecordIO.partHeaderSize + RecordIO.padded(part.length)
    while part.continues {
      part = try self.part(at: next, isFirst: false)
      length += 4 + part.length
      next += RecordIO.partHeaderSize + RecordIO.padded(part.length)
    }
    return (front, length, next)
  }

  /// Throws unless the magic of a record's first part stands at `offset`.
  func verifyStart(at offset: Int) throws(FormatError) {
    _ = try part(at: offset, isFirst: true)
  }

  static let indexAdvice =
    "the .idx does not belong to this .rec or one of them is damaged: restore the pair, or remove the .idx to have the "
    + "records found by a scan"

  private struct Part {
    let length: Int
    let continues: Bool
  }

  private func part(at offset: Int, isFirst: Bool) throws(FormatError) -> Part {
    var header: (UInt32, UInt32) = (0, 0)
    let result: Result<Part, FormatError> = withUnsafeMutableBytes(of: &header) { bytes in
      do throws(FormatError) {
        let got = try file.read(into: bytes, at: offset)
        return .success(
          try parsePart(UnsafeRawBufferPointer(rebasing: bytes[..<got]), at: offset, isFirst: isFirst))
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private func parsePart(_ bytes: UnsafeRawBufferPointer, at offset: Int, isFirst: Bool) throws(FormatError) -> Part {
    guard bytes.count >= RecordIO.partHeaderSize else {
      throw FormatError(
        isFirst && bytes.isEmpty ? .mismatch : .truncated,
        "a record header of 8 bytes expected, \(bytes.count) left in the file", path: path, offset: offset)
    }
    let magic = RecordHeader.word(bytes, 0)
    guard magic == RecordIO.magic else {
      throw FormatError(
        isFirst ? .mismatch : .corrupt,
        "a record should start here with the bytes 0a 23 d7 ce, found \(Self.hexadecimal(bytes[..<4]))", path: path,
        offset: offset, advice: isFirst ? Self.indexAdvice : nil)
    }
    let word = RecordHeader.word(bytes, 4)
    let kind = word >> 29
    let length = Int(word & 0x1fff_ffff)
    guard isFirst ? kind == 0 || kind == 1 : kind == 2 || kind == 3 else {
      let message =
        isFirst
        ? "a record should start here, this is a later part (kind \(kind)) of a split record"
        : "a later part of a split record expected (kind 2 or 3), found kind \(kind)"
      throw FormatError(isFirst ? .mismatch : .corrupt, message, path: path, offset: offset)
    }
    let room = byteCount - offset - RecordIO.partHeaderSize
    guard RecordIO.padded(length) <= room else {
      throw FormatError(
        .truncated, "a record of \(length) bytes starts here, the file ends \(room) bytes on", path: path,
        offset: offset, advice: "the file is cut short: copy or download it again")
    }
    return Part(length: length, continues: kind == 1 || kind == 2)
  }

  private func fill(_ buffer: inout RecordBuffer, from: Int, to: Int, at offset: Int) throws(FormatError) {
    let got = try buffer.bytes.withMutableRawBytes { (bytes) throws(FormatError) in
      try file.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[from..<to]), at: offset)
    }
    guard got == to - from else {
      throw FormatError(
        .truncated, "\(to - from) bytes expected, \(got) found: the file has become shorter", path: path,
        offset: offset)
    }
  }

  private static func hexadecimal(_ bytes: Slice<UnsafeRawBufferPointer>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
  }
}

/// Goes through a `.rec` file from front to back.
public struct RecordScanner {
  private let reader: RecordReader
  private var offset: Int

  /// Starts at byte `offset`, where a record must start (or the file end).
  public init(_ reader: RecordReader, from offset: Int = 0) {
    self.reader = reader
    self.offset = offset
  }

  /// Reads the next record into `buffer`; gives where it starts and where in the buffer its payload is, `nil` at the end.
  ///
  /// After an error the scan stands where it was.
  public mutating func next(
    into buffer: inout RecordBuffer
  ) throws(FormatError) -> (offset: Int, payload: Range<Int>)? {
    guard offset != reader.byteCount else { return nil }
    let start = offset
    let (payload, end) = try reader.read(at: start, into: &buffer)
    offset = end
    return (start, payload)
  }
}
