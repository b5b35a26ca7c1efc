/// The `.idx` of a `.rec` file: where the record of each key starts.
///
/// Keys ascend, whatever the order of the lines.
///
/// One line a record, `key\toffset\n`. Takes 8 bytes a record where the keys are consecutive, 16 elsewhere.
public struct RecordIndex: Sendable, Equatable {
  private let firstKey: Int
  // Empty where the keys are firstKey, firstKey + 1, …
  private let sparseKeys: [Int]
  private let offsets: [Int]

  /// The number of records.
  public var count: Int { offsets.count }

  /// The key at rank `rank` (0 ..< count) of the ascending keys.
  public func key(at rank: Int) -> Int {
    sparseKeys.isEmpty ? firstKey + rank : sparseKeys[rank]
  }

  /// The byte offset of the record at rank `rank` (0 ..< count) of the ascending keys.
  public func offset(at rank: Int) -> Int { offsets[rank] }

  /// The rank of `key` among the ascending keys, `nil` where there is no such record.
  public func rank(ofKey key: Int) -> Int? {
    guard !offsets.isEmpty else { return nil }
    if sparseKeys.isEmpty {
      guard key >= firstKey, key - firstKey < offsets.count else { return nil }
      return key - firstKey
    }
    var low = 0
    var high = sparseKeys.count
    while low < high {
      let middle = (low + high) / 2
      if sparseKeys[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low < sparseKeys.count && sparseKeys[low] == key ? low : nil
  }

  /// The byte offset of the record of `key`, `nil` where there is none.
  public func offset(ofKey key: Int) -> Int? {
    rank(ofKey: key).map { offsets[$0] }
  }

  /// Whether the keys are consecutive.
  var hasConsecutiveKeys: Bool { sparseKeys.isEmpty }

  /// Reads the `.idx` file at `path`.
  ///
  /// Throws `.corrupt` with the line number where a line is not two whole numbers or a key comes twice.
  public init(path: String) throws(FormatError) {
    let file = try MappedFile(path: path)
    self = try file.withBytes { (bytes) throws(FormatError) in try Self(text: bytes, path: path) }
  }

  init(text: UnsafeRawBufferPointer, path: String) throws(FormatError) {
    // The shortest line has four bytes, so the file itself bounds what is allocated.
    var lines = 0
    for byte in text where byte == UInt8(ascii: "\n") { lines += 1 }
    if let last = text.last, last != UInt8(ascii: "\n") { lines += 1 }
    let capacity = min(lines, text.count / 3)

    // Keys are nearly always 0 ..< n or 1 ... n in some order: put in place at once, no sorting, 8 bytes a record.
    var placed = [Int](repeating: -1, count: capacity + 1)
    var entries = 0
    var isDense = true
    var parser = IndexParser(text: text, path: path)
    while let entry = try parser.next() {
      guard entry.key < placed.count else {
        isDense = false
        break
      }
      guard placed[entry.key] < 0 else { throw parser.duplicate(entry.key) }
      placed[entry.key] = entry.offset
      entries += 1
    }
    if isDense {
      let start = placed.isEmpty || placed[0] < 0 ? 1 : 0
      let body = placed[start..<min(start + entries, placed.count)]
      if body.count == entries, !body.contains(-1) {
        firstKey = start
        sparseKeys = []
        placed.removeLast(placed.count - start - entries)
        if start == 1 { placed.removeFirst() }
        offsets = placed
        return
      }
    }
    placed = []

    var pairs: [(key: Int, offset: Int)] = []
    pairs.reserveCapacity(capacity)
    parser = IndexParser(text: text, path: path)
    while let entry = try parser.next() { pairs.append(entry) }
    self = try Self(pairs: pairs, path: path)
  }

  /// An index of given keys and offsets, in any order; a key that comes twice throws `.corrupt`.
  init(pairs unordered: [(key: Int, offset: Int)], path: String) throws(FormatError) {
    let pairs = unordered.sorted { $0.key < $1.key }
    var isConsecutive = true
    for (previous, next) in zip(pairs, pairs.dropFirst()) {
      guard previous.key != next.key else {
        throw FormatError(.corrupt, "the key \(next.key) comes twice", path: path, advice: "write the index again")
      }
      if next.key != previous.key + 1 { isConsecutive = false }
    }
    firstKey = pairs.first?.key ?? 0
    sparseKeys = isConsecutive ? [] : pairs.map(\.key)
    offsets = pairs.map(\.offset)
  }

  /// Writes the index, keys ascending, atomically.
  public func write(to path: String) throws(FormatError) {
    let file = try AtomicFile(path: path)
    for rank in 0..<count { try file.write(contentsOf: Self.line(key: key(at: rank), offset: offset(at: rank))) }
    try file.commit()
  }

  static func line(key: Int, offset: Int) -> String.UTF8View {
    "\(key)\t\(offset)\n".utf8
  }
}

private struct IndexParser {
  let text: UnsafeRawBufferPointer
  let path: String
  var position = 0
  var line = 0

  init(text: UnsafeRawBufferPointer, path: String) {
    self.text = text
    self.path = path
  }

  /// The next entry; empty lines are passed over, `\r` and blanks at the ends too.
  mutating func next() throws(FormatError) -> (key: Int, offset: Int)? {
    while position < text.count {
      line += 1
      skipBlanks()
      if endsLine() { continue }
      guard let key = number() else { throw malformed() }
      let afterKey = position
      skipBlanks()
      guard position > afterKey, let offset = number() else { throw malformed() }
      skipBlanks()
      guard endsLine() else { throw malformed() }
      return (key, offset)
    }
    return nil
  }

  func duplicate(_ key: Int) -> FormatError {
    FormatError(.corrupt, "the key \(key) comes twice", path: path, line: line, advice: "write the index again")
  }

  private func malformed() -> FormatError {
    FormatError(
      .corrupt, "a line `key<tab>offset` of two whole numbers expected", path: path, line: line,
      advice: "restore the file, or remove it to have the records found by a scan")
  }

  private mutating func skipBlanks() {
    while position < text.count {
      switch text[position] {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): position += 1
      default: return
      }
    }
  }

  private mutating func endsLine() -> Bool {
    guard position < text.count else { return true }
    guard text[position] == UInt8(ascii: "\n") else { return false }
    position += 1
    return true
  }

  private mutating func number() -> Int? {
    let start = position
    var value = 0
    while position < text.count {
      let digit = Int(text[position]) - 48
      guard digit >= 0, digit <= 9 else { break }
      // Eighteen digits always fit into 63 bits.
      guard position - start < 18 else { return nil }
      value = value &* 10 &+ digit
      position += 1
    }
    return position > start ? value : nil
  }
}
