/// The header of an image record: MXNet's `IRHeader`, 24 bytes little-endian (`IfQQ`), then the label vector if any.
///
/// `flag` 0 is one label inside the header; `flag` n > 0 is n labels (f32) behind it, and the label field itself is 0.
/// Reference: `python/mxnet/recordio.py` (`pack`, `unpack`).
public struct RecordHeader: Sendable, Equatable {
  /// The number of labels behind the header, 0 where the one label stands inside it.
  public let flag: UInt32
  /// The labels; never empty.
  public let labels: [Float]
  /// The record's number, usually its key.
  public let id: UInt64
  /// The upper part of the number; InsightFace sets it to 1 in the header record.
  public let id2: UInt64

  /// The bytes in front of the labels.
  static let fixedSize = 24

  /// A header with one label inside (`flag` 0).
  public init(label: Float, id: UInt64, id2: UInt64 = 0) {
    flag = 0
    labels = [label]
    self.id = id
    self.id2 = id2
  }

  /// A header with a vector of labels behind it; an empty vector is written as MXNet writes it (label 0).
  public init(labels: [Float], id: UInt64, id2: UInt64 = 0) {
    flag = UInt32(labels.count)
    self.labels = labels.isEmpty ? [0] : labels
    self.id = id
    self.id2 = id2
  }

  /// The first label, which is the identity.
  public var label: Float { labels[0] }

  /// The size in bytes of header and labels.
  public var encodedSize: Int { Self.fixedSize + 4 * Int(flag) }

  /// Reads header and labels from the start of a record's payload; `path` and `offset` name it in errors.
  public init(payload: UnsafeRawBufferPointer, path: String, offset: Int) throws(FormatError) {
    guard payload.count >= Self.fixedSize else {
      throw FormatError(
        .corrupt, "a record of \(payload.count) bytes; an image record has a header of \(Self.fixedSize)", path: path,
        offset: offset)
    }
    let flag = Self.word(payload, 0)
    let room = (payload.count - Self.fixedSize) / 4
    guard Int(flag) <= room else {
      throw FormatError(
        .corrupt, "the record header announces \(flag) labels, the record has room for \(room)", path: path,
        offset: offset)
    }
    self.flag = flag
    if flag == 0 {
      labels = [Float(bitPattern: Self.word(payload, 4))]
    } else {
      labels = (0..<Int(flag)).map { Float(bitPattern: Self.word(payload, Self.fixedSize + 4 * $0)) }
    }
    id = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    id2 = UInt64(littleEndian: payload.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
  }

  /// Header and labels as bytes; the image follows them.
  public var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(encodedSize)
    bytes.appendLittleEndian(flag)
    bytes.appendLittleEndian(flag == 0 ? labels[0].bitPattern : 0)
    bytes.appendLittleEndian(id)
    bytes.appendLittleEndian(id2)
    if flag > 0 {
      for label in labels { bytes.appendLittleEndian(label.bitPattern) }
    }
    return bytes
  }

  static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}
