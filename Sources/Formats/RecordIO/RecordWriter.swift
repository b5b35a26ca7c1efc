/// Writes a `.rec` file and its `.idx`, byte for byte as MXNet's `MXIndexedRecordIO` does.
///
/// Both appear on ``commit()``.
public final class RecordWriter {
  private let records: AtomicFile
  private let index: AtomicFile
  private let indexPath: String
  private var keys = KeySet()

  /// The path of the `.rec` file.
  public var path: String { records.path }
  /// The number of bytes of records so far, which is where the next record starts.
  public var byteCount: Int { records.byteCount }
  /// The number of records so far.
  public private(set) var count = 0

  /// Starts the pair; without `indexPath`, the index stands beside the records with `.idx` in place of `.rec`.
  public init(path: String, indexPath: String? = nil) throws(FormatError) {
    self.indexPath = indexPath ?? Self.indexPath(for: path)
    records = try AtomicFile(path: path)
    index = try AtomicFile(path: self.indexPath)
  }

  /// The path of the index that belongs to the records at `path`.
  public static func indexPath(for path: String) -> String {
    (path.hasSuffix(".rec") ? String(path.dropLast(4)) : path) + ".idx"
  }

  /// Appends an image record: header, labels, encoded image.
  public func append(key: Int, header: RecordHeader, encoded: some Collection<UInt8>) throws(FormatError) {
    var payload = header.encoded
    payload.append(contentsOf: encoded)
    try append(key: key, payload: payload)
  }

  /// Appends a record of any content.
  public func append(key: Int, payload: [UInt8]) throws(FormatError) {
    try payload.withRawBytes { (bytes) throws(FormatError) in try append(key: key, bytes: bytes) }
  }

  /// Appends a record of any content.
  ///
  /// Throws `.tooLarge` for 2²⁹ bytes and more, `.mismatch` for a key that was there.
  public func append(key: Int, bytes: UnsafeRawBufferPointer) throws(FormatError) {
    guard bytes.count < RecordIO.maximumLength else {
      throw FormatError(
        .tooLarge, "the record of key \(key) has \(bytes.count) bytes, the format ends below 2^29", path: path)
    }
    guard key >= 0, keys.insert(key) else {
      throw FormatError(.mismatch, "the key \(key) is negative or was written before", path: path)
    }
    let offset = records.byteCount
    // A reader that looks for the next record after damage searches the magic at multiples of four; where the data
    // has it there, it is taken out and the record continues as a new part.
    var start = 0
    var position = 0
    let lastWord = bytes.count & ~3
    while position < lastWord {
      if RecordHeader.word(bytes, position) == RecordIO.magic {
        try writePart(kind: start == 0 ? 1 : 2, bytes[start..<position])
        start = position + 4
      }
      position += 4
    }
    try writePart(kind: start == 0 ? 0 : 3, bytes[start...])
    let padding = RecordIO.padded(bytes.count) - bytes.count
    try records.write(contentsOf: repeatElement(0, count: padding))
    try index.write(contentsOf: RecordIndex.line(key: key, offset: offset))
    count += 1
  }

  /// Brings both files to the disk, under temporary names.
  public func sync() throws(FormatError) {
    try records.sync()
    try index.sync()
  }

  /// Puts both files in place.
  ///
  /// The old index goes first: a crash in between leaves records without an index, which are found by a scan, never an
  /// index that belongs to other records.
  public func commit() throws(FormatError) {
    try removeFile(indexPath)
    try records.commit()
    try index.commit()
  }

  private func writePart(kind: UInt32, _ data: Slice<UnsafeRawBufferPointer>) throws(FormatError) {
    var header = (RecordIO.magic.littleEndian, (kind << 29 | UInt32(data.count)).littleEndian)
    let outcome: Result<Void, FormatError> = withUnsafeBytes(of: &header) { bytes in
      do throws(FormatError) { return .success(try records.write(bytes)) } catch { return .failure(error) }
    }
    try outcome.get()
    try records.write(UnsafeRawBufferPointer(rebasing: data))
  }
}

/// The keys written so far: a bit each while they are small, as they are in practice.
private struct KeySet {
  private var bits: [UInt64] = []
  private var large: Set<Int> = []

  mutating func insert(_ key: Int) -> Bool {
    guard key < 1 << 28 else { return large.insert(key).inserted }
    let word = key >> 6
    let bit = UInt64(1) << UInt64(key & 63)
    if word >= bits.count { bits.append(contentsOf: repeatElement(0, count: word + 1 - bits.count)) }
    guard bits[word] & bit == 0 else { return false }
    bits[word] |= bit
    return true
  }
}
