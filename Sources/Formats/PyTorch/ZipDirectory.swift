/// The directory of a zip archive whose entries are stored as they are, as `torch.save` writes them.
///
/// Names, extents and checksums come from the central directory (APPNOTE.TXT 4.3, zip64 included). Compressed and
/// encrypted entries are refused, so an archive never yields more bytes than it has; so are entries that overlap each
/// other or reach into the directory.
struct ZipDirectory {
  struct Entry {
    let name: String
    /// Where the content lies in the file.
    let range: Range<Int>
    let checksum: UInt32
  }

  let entries: [String: Entry]
  /// Names in the order of the directory.
  let names: [String]

  private static let damaged = "the file is cut short or damaged: copy or download it again"

  init(_ bytes: UnsafeRawBufferPointer, path: String) throws(FormatError) {
    let (count, directory) = try Self.locate(bytes, path: path)
    // A record of the directory takes at least 46 bytes: a count beyond that cannot be true, whatever the file says.
    guard count <= directory.count / 46 else {
      throw FormatError(
        .corrupt, "\(count) entries in a directory of \(directory.count) bytes", path: path,
        offset: directory.lowerBound)
    }
    var cursor = ByteCursor(UnsafeRawBufferPointer(rebasing: bytes[..<directory.upperBound]), path: path)
    _ = try cursor.take(directory.lowerBound, "what stands before the directory")
    var entries: [String: Entry] = [:]
    var names: [String] = []
    var taken: [(range: Range<Int>, name: String)] = []
    for _ in 0..<count {
      let place = cursor.offset
      let record = try Self.record(&cursor)
      if record.name.hasSuffix("/") && record.size == 0 { continue }
      let range = try Self.content(of: record, bytes, before: directory.lowerBound, path: path)
      let entry = Entry(name: record.name, range: range.content, checksum: record.checksum)
      guard entries.updateValue(entry, forKey: record.name) == nil else {
        throw FormatError(.corrupt, "the entry `\(record.name)` comes twice", path: path, offset: place)
      }
      names.append(record.name)
      taken.append((range.whole, record.name))
    }
    taken.sort { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }
    for (earlier, later) in zip(taken, taken.dropFirst()) where later.range.lowerBound < earlier.range.upperBound {
      throw FormatError(
        .corrupt, "the entries `\(earlier.name)` and `\(later.name)` overlap", path: path,
        offset: later.range.lowerBound)
    }
    self.entries = entries
    self.names = names
  }

  /// Whether the bytes begin as a zip archive does.
  static func begins(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count >= 4 && bytes[0] == 0x50 && bytes[1] == 0x4b && bytes[2] == 3 && bytes[3] == 4
  }

  // MARK: - The end of the archive

  /// The number of entries and where the directory lies.
  private static func locate(
    _ bytes: UnsafeRawBufferPointer, path: String
  ) throws(FormatError) -> (count: Int, directory: Range<Int>) {
    guard let end = endRecord(bytes) else {
      throw FormatError(
        .truncated, "a zip archive without its directory at the end", path: path, offset: bytes.count, advice: damaged)
    }
    var cursor = ByteCursor(bytes, path: path)
    _ = try cursor.take(end + 4, "the archive")
    let disk = try cursor.integer(UInt16.self, "the disk number")
    let firstDisk = try cursor.integer(UInt16.self, "the disk number")
    _ = try cursor.integer(UInt16.self, "the number of entries")
    var count = UInt64(try cursor.integer(UInt16.self, "the number of entries"))
    var size = UInt64(try cursor.integer(UInt32.self, "the directory's size"))
    var start = UInt64(try cursor.integer(UInt32.self, "the directory's position"))
    var limit = end
    let isMarked = count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff
    if isMarked, end >= 20, word(bytes, end - 20) == 0x0706_4b50 {
      let record = bytes.loadUnaligned(fromByteOffset: end - 12, as: UInt64.self)
      guard let place = Int(exactly: UInt64(littleEndian: record)), place <= end - 20, end - 20 - place >= 56,
        word(bytes, place) == 0x0606_4b50
      else {
        throw FormatError(
          .corrupt, "the zip64 directory is not where the archive says", path: path, offset: end - 20, advice: damaged)
      }
      func field(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place + offset, as: UInt64.self))
      }
      (count, size, start) = (field(32), field(40), field(48))
      limit = place
    } else {
      guard disk == 0, firstDisk == 0 else {
        throw FormatError(.unsupported, "an archive in several parts", path: path, offset: end)
      }
    }
    guard let first = Int(exactly: start), let length = Int(exactly: size), let number = Int(exactly: count),
      first <= limit, length <= limit - first
    else {
      throw FormatError(
        .corrupt, "a directory of \(size) bytes at \(start) does not fit the file", path: path, offset: end,
        advice: damaged)
    }
    return (number, first..<first + length)
  }

  /// Where the end record begins: within the last 65 557 bytes, as its comment has at most 65 535.
  private static func endRecord(_ bytes: UnsafeRawBufferPointer) -> Int? {
    var position = bytes.count - 22
    let last = max(0, bytes.count - 22 - 0xffff)
    while position >= last {
      if word(bytes, position) == 0x0605_4b50 {
        let comment = Int(bytes[position + 20]) | Int(bytes[position + 21]) << 8
        if comment == bytes.count - position - 22 { return position }
      }
      position -= 1
    }
    return nil
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  // MARK: - Entries

  private struct Record {
    var place: Int
    var name: String
    var checksum: UInt32
    var size: UInt64
    var start: UInt64
  }

  private static func record(_ cursor: inout ByteCursor) throws(FormatError) -> Record {
    let place = cursor.offset
    guard try cursor.integer(UInt32.self, "an entry of the directory") == 0x0201_4b50 else {
      throw cursor.error(.corrupt, "an entry of the zip directory expected", at: place, advice: damaged)
    }
    _ = try cursor.take(4, "the versions")
    let flags = try cursor.integer(UInt16.self, "the flags")
    let method = try cursor.integer(UInt16.self, "the compression")
    _ = try cursor.take(4, "the time")
    let checksum = try cursor.integer(UInt32.self, "the checksum")
    var packed = UInt64(try cursor.integer(UInt32.self, "the size"))
    var size = UInt64(try cursor.integer(UInt32.self, "the size"))
    let nameLength = Int(try cursor.integer(UInt16.self, "the name's length"))
    let extraLength = Int(try cursor.integer(UInt16.self, "the extra field's length"))
    let commentLength = Int(try cursor.integer(UInt16.self, "the comment's length"))
    _ = try cursor.take(8, "the attributes")
    var start = UInt64(try cursor.integer(UInt32.self, "the position"))
    guard let name = String(validating: try cursor.take(nameLength, "the name"), as: UTF8.self) else {
      throw cursor.error(.corrupt, "the name of an entry is not UTF-8", at: place)
    }
    var extra = ByteCursor(try cursor.take(extraLength, "the extra field"), path: cursor.path)
    _ = try cursor.take(commentLength, "the comment")
    while extra.remaining >= 4 {
      let kind = try extra.integer(UInt16.self, "the extra field")
      let length = Int(try extra.integer(UInt16.self, "the extra field"))
      guard length <= extra.remaining else {
        throw cursor.error(.corrupt, "the extra field of `\(name)` is longer than it says", at: place)
      }
      var field = ByteCursor(try extra.take(length, "the extra field"), path: cursor.path)
      guard kind == 1 else { continue }
      do throws(FormatError) {
        if size == 0xffff_ffff { size = try field.integer(UInt64.self, "the size") }
        if packed == 0xffff_ffff { packed = try field.integer(UInt64.self, "the size") }
        if start == 0xffff_ffff { start = try field.integer(UInt64.self, "the position") }
      } catch {
        throw cursor.error(.corrupt, "the zip64 field of `\(name)` is too short", at: place)
      }
    }
    guard flags & 1 == 0 else { throw cursor.error(.unsupported, "the entry `\(name)` is encrypted", at: place) }
    guard method == 0, packed == size else {
      throw cursor.error(
        .unsupported, "the entry `\(name)` is compressed; torch.save stores its entries as they are", at: place,
        advice: "load it with PyTorch and save it again")
    }
    return Record(place: place, name: name, checksum: checksum, size: size, start: start)
  }

  /// Where the entry lies, with its local header and without.
  private static func content(
    of record: Record, _ bytes: UnsafeRawBufferPointer, before end: Int, path: String
  ) throws(FormatError) -> (whole: Range<Int>, content: Range<Int>) {
    func beyond() -> FormatError {
      FormatError(
        .truncated, "the entry `\(record.name)`, \(record.size) bytes at \(record.start), reaches beyond the file",
        path: path, offset: record.place, advice: damaged)
    }
    guard let start = Int(exactly: record.start), let size = Int(exactly: record.size), start <= end,
      end - start >= 30
    else { throw beyond() }
    guard word(bytes, start) == 0x0403_4b50 else {
      throw FormatError(
        .corrupt, "the entry `\(record.name)` does not stand where the directory says", path: path, offset: start,
        advice: damaged)
    }
    let nameLength = Int(bytes[start + 26]) | Int(bytes[start + 27]) << 8
    let extraLength = Int(bytes[start + 28]) | Int(bytes[start + 29]) << 8
    let first = start + 30 + nameLength + extraLength
    guard first <= end, size <= end - first else { throw beyond() }
    return (start..<first + size, first..<first + size)
  }
}
