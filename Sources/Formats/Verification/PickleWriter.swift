/// Writes pickles as CPython's C pickler does, byte for byte (protocols 2 to 5), as far as verification sets need it.
struct PickleWriter {
  private let file: AtomicFile
  private let version: Int
  private var frame: [UInt8] = []
  private var memoized = 0
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

  /// `(list of bytes, list of truth values)`.
  mutating func write(images: [[UInt8]], isSame: [Bool]) throws(FormatError) {
    try boundary()
    try boundary()
    try list(images.count) { (writer, index) throws(FormatError) in try writer.bytes(images[index]) }
    try boundary()
    try list(isSame.count) { (writer, index) throws(FormatError) in writer.frame.append(isSame[index] ? 0x88 : 0x89) }
    frame.append(0x86)
    _ = memoize()
    frame.append(UInt8(ascii: "."))
    try endFrame()
  }

  private mutating func list(
    _ count: Int, _ item: (inout PickleWriter, Int) throws(FormatError) -> Void
  ) throws(FormatError) {
    frame.append(UInt8(ascii: "]"))
    _ = memoize()
    if count == 1 {
      try boundary()
      try item(&self, 0)
      frame.append(UInt8(ascii: "a"))
      return
    }
    for start in stride(from: 0, to: count, by: Self.batch) {
      frame.append(UInt8(ascii: "("))
      for index in start..<min(start + Self.batch, count) {
        try boundary()
        try item(&self, index)
      }
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

extension VerificationSet {
  /// Writes the set atomically, as `pickle.dump((bins, issame_list), file, protocol)` of Python 3 does for lists of bytes.
  ///
  /// `protocol` is 2 to 5; the reference reads 2 under Python 2 and all of them under Python 3. Throws `.unsupported` for
  /// other protocols and for images that are not encoded, `.mismatch` where there are not two images per pair.
  public func write(path: String, protocol version: Int = 4) throws(FormatError) {
    guard (2...5).contains(version) else {
      throw FormatError(.unsupported, "pickle protocol \(version); 2 to 5 are written", path: path)
    }
    guard images.count == 2 * isSame.count else {
      throw FormatError(
        .mismatch, "\(isSame.count) pairs need \(2 * isSame.count) images, there are \(images.count)", path: path)
    }
    var encoded: [[UInt8]] = []
    encoded.reserveCapacity(images.count)
    for (index, image) in images.enumerated() {
      guard case .encoded(let bytes) = image else {
        throw FormatError(
          .unsupported, "the image \(index) is pixels; encode it as JPEG or PNG before writing the set", path: path)
      }
      encoded.append(bytes)
    }
    let file = try AtomicFile(path: path)
    var writer = try PickleWriter(file: file, protocol: version)
    try writer.write(images: encoded, isSame: isSame)
    try file.commit()
  }
}
