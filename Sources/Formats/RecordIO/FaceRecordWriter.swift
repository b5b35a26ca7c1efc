/// Writes `train.rec` and `train.idx` in the layout *faces*: images grouped by identity, identity records, header record.
///
/// The bytes are those of the reference's `RecBuilder` (`rec_builder.py`) for the same encoded images.
public final class FaceRecordWriter {
  private let writer: RecordWriter
  private var nextKey = 1
  private var identities: [Range<Int>] = []
  private var current: Int?
  private var isFinished = false

  /// The path of the `.rec` file.
  public var path: String { writer.path }
  /// The number of images so far.
  public var imageCount: Int { nextKey - 1 }
  /// The number of identities so far.
  public var identityCount: Int { identities.count }

  /// Starts the pair of files; the index stands beside the records.
  public init(path: String) throws(FormatError) {
    writer = try RecordWriter(path: path)
  }

  /// Appends one encoded image.
  ///
  /// Labels ascend: all images of an identity one after the other.
  public func append(label: Int, encoded: some Collection<UInt8>) throws(FormatError) {
    guard !isFinished else { throw FormatError(.io, "the file is already finished", path: path) }
    guard label >= 0, label >= current ?? 0 else {
      throw FormatError(
        .mismatch, "the label \(label) follows \(current ?? 0); images must come grouped, labels ascending", path: path)
    }
    // Beyond 2^24 the f32 label cannot say it; keys may be larger, the reader knows how to deal with those.
    guard label <= 1 << 24 else {
      throw FormatError(.tooLarge, "the label \(label) is above 2^24, which a record cannot hold exactly", path: path)
    }
    let header = RecordHeader(label: Float(label), id: UInt64(nextKey))
    try writer.append(key: nextKey, header: header, encoded: encoded)
    if label == current, let last = identities.popLast() {
      identities.append(last.lowerBound..<nextKey + 1)
    } else {
      identities.append(nextKey..<nextKey + 1)
      current = label
    }
    nextKey += 1
  }

  /// Writes identity records and header record, and brings both files to the disk under temporary names: only renames are left
  /// to ``commit()``.
  public func finish() throws(FormatError) {
    guard !isFinished else { return }
    isFinished = true
    let first = nextKey
    for identity in identities {
      let labels = [Float(identity.lowerBound), Float(identity.upperBound)]
      try writer.append(key: nextKey, header: RecordHeader(labels: labels, id: UInt64(nextKey)), encoded: [])
      nextKey += 1
    }
    let header = RecordHeader(labels: [Float(first), Float(nextKey)], id: 0, id2: 1)
    try writer.append(key: 0, header: header, encoded: [])
    try writer.sync()
  }

  /// Finishes both files and puts them in place.
  public func commit() throws(FormatError) {
    try finish()
    try writer.commit()
  }
}
