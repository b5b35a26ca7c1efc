/// Writes pickles as CPython's C pickler does, byte for byte (protocols 2 to 5), as far as verification sets need it.
struct PickleWriter {
  private let file: AtomicFile
  private let version: Int
  private var frame: [UInt8] = []
  private var memoized = 0
  private var listCount = 0
  private var listPosition = 0
  private var encodeFunction: Int?
  private var bytesType: Int?
  private var latin1: Int?
  // CPython keeps one object for the empty bytes and one for each single byte, so the second one is a reference.
  private var singletons: [[UInt8]: Int] = [:]

  // Protocol 4 and later group opcodes into frames of at least this size; larger data stands between frames.
  private static let frameTarget = 64 * 1024
  private static let batch = 1000

  init(file: AtomicFile, protocol version: Int) throws(FormatError) {
    self.file = file
    self.version = version
    try file.write(contentsOf: [0x80, UInt8(version)])
  }

  /// Begins `(list of bytes, list of truth values)`, whose first list will hold `count` images.
  mutating func begin(imageCount count: Int) throws(FormatError) {
    try boundary()
    try boundary()
    begin(list: count)
  }

  /// The next image of the first list.
  mutating func append(image: [UInt8]) throws(FormatError) {
    try item { (writer) throws(FormatError) in try writer.bytes(image) }
  }

  /// The second list, and the end of the file.
  mutating func end(isSame: [Bool]) throws(FormatError) {
    try boundary()
    begin(list: isSame.count)
    for answer in isSame { try item { (writer) throws(FormatError) in writer.frame.append(answer ? 0x88 : 0x89) } }
    frame.append(0x86)
    _ = memoize()
    frame.append(UInt8(ascii: "."))
    try endFrame()
  }

  private mutating func begin(list count: Int) {
    frame.append(UInt8(ascii: "]"))
    _ = memoize()
    listCount = count
    listPosition = 0
  }

  /// One item of the list at hand: alone, or in batches between a mark and an opcode that appends them all.
  private mutating func item(_ write: (inout PickleWriter) throws(FormatError) -> Void) throws(FormatError) {
    if listCount > 1, listPosition % Self.batch == 0 { frame.append(UInt8(ascii: "(")) }
    try boundary()
    try write(&self)
    listPosition += 1
    if listCount == 1 {
      frame.append(UInt8(ascii: "a"))
    } else if listPosition % Self.batch == 0 || listPosition == listCount {
      frame.append(UInt8(ascii: "e"))
    }
  }

  private mutating func bytes(_ data: [UInt8]) throws(FormatError) {
    if data.count <= 1, let known = singletons[data] { return get(known) }
    if version >= 3 {
      try plainBytes(data)
    } else if data.isEmpty {
      if let bytesType { get(bytesType) } else { bytesType = global("__builtin__", "bytes") }
      frame.append(contentsOf: [UInt8(ascii: ")"), UInt8(ascii: "R")])
    } else {
      if let encodeFunction { get(encodeFunction) } else { encodeFunction = global("_codecs", "encode") }
      var text: [UInt8] = []
      text.reserveCapacity(data.count + data.count / 2)
      for byte in data {
        if byte < 0x80 { text.append(byte) } else { text.append(contentsOf: [0xc0 | byte >> 6, 0x80 | byte & 0x3f]) }
      }
      guard text.count <= Int(UInt32.max) else { throw tooLarge() }
      unicode(text)
      _ = memoize()
      if let latin1 {
        get(latin1)
      } else {
        unicode(Array("latin1".utf8))
        latin1 = memoize()
      }
      frame.append(0x86)
      _ = memoize()
      frame.append(UInt8(ascii: "R"))
    }
    let number = memoize()
    if data.count <= 1 { singletons[data] = number }
    if version < 4, frame.count >= Self.frameTarget { try endFrame() }
  }

  private mutating func plainBytes(_ data: [UInt8]) throws(FormatError) {
    var header: [UInt8] = []
    if data.count < 256 {
      header = [UInt8(ascii: "C"), UInt8(data.count)]
    } else if data.count <= Int(UInt32.max) {
      header = [UInt8(ascii: "B")]
      header.appendLittleEndian(UInt32(data.count))
    } else {
      guard version >= 4 else { throw tooLarge() }
      header = [0x8e]
      header.appendLittleEndian(UInt64(data.count))
    }
    if data.count >= Self.frameTarget {
      try endFrame()
      try file.write(contentsOf: header)
      try file.write(contentsOf: data)
    } else {
      frame.append(contentsOf: header)
      frame.append(contentsOf: data)
    }
  }

  private func tooLarge() -> FormatError {
    FormatError(
      .tooLarge, "an image of 4 GiB or more does not fit into pickle protocol \(version)", path: file.path,
      advice: "use protocol 4")
  }

  private mutating func unicode(_ text: [UInt8]) {
    frame.append(UInt8(ascii: "X"))
    frame.appendLittleEndian(UInt32(text.count))
    frame.append(contentsOf: text)
  }

  private mutating func global(_ module: String, _ name: String) -> Int {
    frame.append(contentsOf: "c\(module)\n\(name)\n".utf8)
    return memoize()
  }

  private mutating func memoize() -> Int {
    if version >= 4 {
      frame.append(0x94)
    } else {
      reference(short: "q", long: "r", memoized)
    }
    memoized += 1
    return memoized - 1
  }

  private mutating func get(_ number: Int) {
    reference(short: "h", long: "j", number)
  }

  private mutating func reference(short: Unicode.Scalar, long: Unicode.Scalar, _ number: Int) {
    if number < 256 {
      frame.append(contentsOf: [UInt8(ascii: short), UInt8(number)])
    } else {
      frame.append(UInt8(ascii: long))
      frame.appendLittleEndian(UInt32(truncatingIfNeeded: number))
    }
  }

  /// Where the pickler may end a frame: in front of every object.
  private mutating func boundary() throws(FormatError) {
    if version >= 4, frame.count >= Self.frameTarget { try endFrame() }
  }

  private mutating func endFrame() throws(FormatError) {
    // A frame of less than four bytes is not worth its header.
    if version >= 4, frame.count >= 4 {
      var header: [UInt8] = [0x95]
      header.appendLittleEndian(UInt64(frame.count))
      try file.write(contentsOf: header)
    }
    try file.write(contentsOf: frame)
    frame.removeAll(keepingCapacity: true)
  }
}

/// Writes a verification set image by image, so that a set of any size needs the memory of one image.
///
/// The file is what `pickle.dump((bins, issame_list), file, protocol)` of Python 3 gives for lists of bytes, byte for
/// byte, and appears whole or not at all.
public final class VerificationSetWriter {
  private let file: AtomicFile
  private var writer: PickleWriter
  private let isSame: [Bool]
  private var written = 0
  private var isFinished = false

  /// A writer of `isSame.count` pairs, two images each.
  ///
  /// `protocol` is 2 to 5; the reference reads 2 under Python 2 and all of them under Python 3. Throws `.unsupported` for
  /// other protocols.
  public init(path: String, isSame: [Bool], protocol version: Int = 4) throws(FormatError) {
    guard (2...5).contains(version) else {
      throw FormatError(.unsupported, "pickle protocol \(version); 2 to 5 are written", path: path)
    }
    self.isSame = isSame
    file = try AtomicFile(path: path)
    writer = try PickleWriter(file: file, protocol: version)
    try writer.begin(imageCount: 2 * isSame.count)
  }

  /// Appends the next image, a JPEG or PNG file.
  ///
  /// Images 2i and 2i + 1 are pair i.
  public func append(encoded: [UInt8]) throws(FormatError) {
    guard written < 2 * isSame.count else { throw mismatch(written + 1) }
    try writer.append(image: encoded)
    written += 1
  }

  /// Brings the whole file to the disk under a temporary name: only a rename is left to ``commit()``.
  ///
  /// Throws `.mismatch` where images are missing.
  public func finish() throws(FormatError) {
    guard !isFinished else { return }
    guard written == 2 * isSame.count else { throw mismatch(written) }
    isFinished = true
    try writer.end(isSame: isSame)
    try file.sync()
  }

  /// Finishes the file and puts it in its place; throws `.mismatch` where images are missing.
  public func commit() throws(FormatError) {
    try finish()
    try file.commit()
  }

  private func mismatch(_ count: Int) -> FormatError {
    FormatError(
      .mismatch, "\(isSame.count) pairs need \(2 * isSame.count) images, there are \(count)", path: file.path)
  }
}

extension VerificationSet {
  /// Writes the set atomically, as `pickle.dump((bins, issame_list), file, protocol)` of Python 3 does for lists of bytes.
  ///
  /// `protocol` is 2 to 5; the reference reads 2 under Python 2 and all of them under Python 3. Throws `.unsupported` for
  /// other protocols and for images that are not encoded, `.mismatch` where there are not two images per pair.
  public func write(path: String, protocol version: Int = 4) throws(FormatError) {
    guard images.count == 2 * isSame.count else {
      throw FormatError(
        .mismatch, "\(isSame.count) pairs need \(2 * isSame.count) images, there are \(images.count)", path: path)
    }
    let writer = try VerificationSetWriter(path: path, isSame: isSame, protocol: version)
    for (index, image) in images.enumerated() {
      guard case .encoded(let bytes) = image else {
        throw FormatError(
          .unsupported, "the image \(index) is pixels; encode it as JPEG or PNG before writing the set", path: path)
      }
      try writer.append(encoded: bytes)
    }
    try writer.commit()
  }
}
