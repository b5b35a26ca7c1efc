import Glibc

/// Where an event file stops being readable.
public struct EventFileDamage: Sendable, Equatable {
  /// What is wrong there.
  public enum Kind: Sendable, Equatable {
    /// The file ends inside a record, as a kill leaves it.
    case cutRecord
    /// A record's length fails its checksum: what follows cannot be told apart.
    case badLength
    /// A record's data fails its checksum or is no event; it was skipped and reading went on.
    case badRecord
  }

  /// What is wrong.
  public let kind: Kind
  /// The offset in bytes of the record concerned.
  public let offset: Int
}

/// A scalar read back from an event file.
public struct ScalarPoint: Sendable, Equatable {
  /// The training step.
  public let step: Int64
  /// The value.
  public let value: Float
  /// Seconds since 1970.
  public let wallTime: Double
}

/// Reads TensorBoard event files, tolerant of a cut end.
///
/// Memory holds one record at a time, never more than the file itself has left.
public enum EventReader {
  /// The paths of the event files of a folder in the order in which they were begun; none where there is no folder.
  public static func files(in folder: String) throws(EventLogError) -> [String] {
    try fileNames(in: folder).filter { $0.hasPrefix("events.out.tfevents.") }.map { joinPath(folder, $0) }
  }

  /// Calls `body` for every event of a file in order.
  ///
  /// - Returns: the damage found, in order of offset; empty for a whole file.
  /// - Throws: `EventLogError` where the file cannot be opened or read; damage is returned, not thrown.
  @discardableResult
  public static func forEachEvent(
    in path: String, _ body: (Event) -> Void
  ) throws(EventLogError) -> [EventFileDamage] {
    try forEachRecord(in: path) { _, event, _ throws(EventLogError) in body(event) }.damage
  }

  /// All scalars of a file by tag, each in the order of the file.
  public static func scalars(in path: String) throws(EventLogError) -> [String: [ScalarPoint]] {
    var result: [String: [ScalarPoint]] = [:]
    try forEachEvent(in: path) { event in
      for value in event.values {
        if case .scalar(let number) = value.content {
          result[value.tag, default: []].append(
            ScalarPoint(step: event.step, value: number, wallTime: event.wallTime))
        }
      }
    }
    return result
  }

  /// All scalars of all event files of a folder by tag, file after file.
  public static func scalars(inFolder folder: String) throws(EventLogError) -> [String: [ScalarPoint]] {
    var result: [String: [ScalarPoint]] = [:]
    for path in try files(in: folder) {
      for (tag, points) in try scalars(in: path) { result[tag, default: []] += points }
    }
    return result
  }

  /// What a walk through the records found out.
  struct Scan {
    var damage: [EventFileDamage] = []
    var fileSize = 0
  }

  /// Calls `body` with the offset, the event and the serialised message of every good record.
  static func forEachRecord(
    in path: String, _ body: (Int, Event, [UInt8]) throws(EventLogError) -> Void
  ) throws(EventLogError) -> Scan {
    var file = try BufferedFile(path: path)
    defer { file.close() }
    var scan = Scan(fileSize: file.size)
    while file.position < file.size {
      let start = file.position
      guard file.size - start >= 12 else {
        scan.damage.append(EventFileDamage(kind: .cutRecord, offset: start))
        return scan
      }
      let header = try file.read(12)
      guard header.count == 12 else {
        scan.damage.append(EventFileDamage(kind: .cutRecord, offset: start))
        return scan
      }
      guard CRC32C.masked(header[0..<8]) == littleEndian32(header[8..<12]) else {
        scan.damage.append(EventFileDamage(kind: .badLength, offset: start))
        return scan
      }
      var length: UInt64 = 0
      for byte in header[0..<8].reversed() { length = length << 8 | UInt64(byte) }
      let left = UInt64(file.size - file.position)
      guard left >= 4, length <= left - 4 else {
        scan.damage.append(EventFileDamage(kind: .cutRecord, offset: start))
        return scan
      }
      let message = try file.read(Int(length))
      let checksum = try file.read(4)
      guard message.count == Int(length), checksum.count == 4 else {
        scan.damage.append(EventFileDamage(kind: .cutRecord, offset: start))
        return scan
      }
      guard CRC32C.masked(message) == littleEndian32(checksum[...]), let event = Event(encoded: message[...]) else {
        scan.damage.append(EventFileDamage(kind: .badRecord, offset: start))
        continue
      }
      try body(start, event, message)
    }
    return scan
  }

  private static func littleEndian32(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
  }
}

/// Sequential reads through one buffer of 64 KiB.
private struct BufferedFile {
  let path: String
  let size: Int
  private(set) var position = 0
  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var bufferIndex = 0

  init(path: String) throws(EventLogError) {
    self.path = path
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { throw .system(.cannotOpen, path: path, doing: "open the event file", errno: errno) }
    var status = stat()
    if fstat(descriptor, &status) != 0 || status.st_mode & S_IFMT != S_IFREG {
      Glibc.close(descriptor)
      throw EventLogError(code: .cannotOpen, path: path, offset: nil, message: "is not a regular file")
    }
    size = Int(status.st_size)
  }

  func close() { Glibc.close(descriptor) }

  /// The next `count` bytes, fewer where the file has become shorter meanwhile.
  mutating func read(_ count: Int) throws(EventLogError) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    while result.count < count {
      if bufferIndex == buffer.count {
        try fill()
        if buffer.isEmpty { break }
      }
      let taken = min(count - result.count, buffer.count - bufferIndex)
      result += buffer[bufferIndex..<(bufferIndex + taken)]
      bufferIndex += taken
      position += taken
    }
    return result
  }

  private mutating func fill() throws(EventLogError) {
    var number: Int32 = 0
    buffer = [UInt8](unsafeUninitializedCapacity: 65_536) { bytes, count in
      while true {
        let got = Glibc.read(descriptor, bytes.baseAddress, bytes.count)
        if got < 0 && errno == EINTR { continue }
        if got < 0 { number = errno }
        count = max(0, got)
        return
      }
    }
    bufferIndex = 0
    if number != 0 {
      throw .system(.cannotRead, path: path, offset: position, doing: "read the event file", errno: number)
    }
  }
}
