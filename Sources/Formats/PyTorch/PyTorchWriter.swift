extension PyTorchFile {
  /// Writes a state dictionary as `torch.save` does, atomically: `torch.load(path, weights_only=True)` gives an
  /// OrderedDict of tensors in this order.
  ///
  /// - Parameters:
  ///   - tensors: names and tensors; each has a storage of its own, at a multiple of 64 bytes of the file.
  ///   - metadata: texts that travel in the archive beside the tensors; PyTorch does not see them. Keys are letters,
  ///     digits, `_`, `-` and `.`.
  /// - Throws: `FormatError`: `.mismatch` for names that come twice or keys that are none, `.io`, `.diskFull`.
  public static func write(
    _ tensors: [(name: String, tensor: StoredTensor)], metadata: [String: String] = [:], to path: String
  ) throws(FormatError) {
    var names: Set<String> = []
    for (name, _) in tensors {
      guard names.insert(name).inserted, name.utf8.count <= 0xffff else {
        throw FormatError(.mismatch, "the tensor name `\(name)` comes twice or is too long", path: path)
      }
    }
    let archive = try ZipWriter(path: path)
    try archive.add("archive/data.pkl", pickle(tensors))
    try archive.add("archive/byteorder", Array("little".utf8))
    for (index, item) in tensors.enumerated() { try archive.add("archive/data/\(index)", item.tensor.bytes) }
    for (key, text) in metadata.sorted(by: { $0.key < $1.key }) {
      guard !key.isEmpty, key.utf8.allSatisfy(isPlain), key != ".", key != ".." else {
        throw FormatError(.mismatch, "the metadata key `\(key)` is not letters and digits", path: path)
      }
      try archive.add("archive/" + PyTorchContent.metadataFolder + key, Array(text.utf8))
    }
    try archive.add("archive/version", Array("3\n".utf8))
    try archive.finish()
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
      return true
    default: return false
    }
  }

  /// Protocol 2: OrderedDict, then name and `_rebuild_tensor_v2((storage…), 0, size, stride, False, OrderedDict())`.
  static func pickle(_ tensors: [(name: String, tensor: StoredTensor)]) -> [UInt8] {
    var p: [UInt8] = [0x80, 2]
    func global(_ module: String, _ name: String) -> [UInt8] { Array("c\(module)\n\(name)\n".utf8) }
    func text(_ text: String) -> [UInt8] {
      var bytes: [UInt8] = [UInt8(ascii: "X")]
      bytes.appendLittleEndian(UInt32(text.utf8.count))
      return bytes + Array(text.utf8)
    }
    func number(_ value: Int) -> [UInt8] {
      if (0..<256).contains(value) { return [UInt8(ascii: "K"), UInt8(value)] }
      var bytes: [UInt8]
      if let small = Int32(exactly: value) {
        bytes = [UInt8(ascii: "J")]
        bytes.appendLittleEndian(small)
      } else {
        bytes = [0x8a, 8]
        bytes.appendLittleEndian(Int64(value))
      }
      return bytes
    }
    func tuple(_ values: [Int]) -> [UInt8] {
      values.isEmpty
        ? [UInt8(ascii: ")")] : [UInt8(ascii: "(")] + values.flatMap(number) + [UInt8(ascii: "t")]
    }
    // Memo 0: OrderedDict; 1: _rebuild_tensor_v2; 2: "storage"; 3: "cpu".
    p += global("collections", "OrderedDict") + [UInt8(ascii: "q"), 0]
    p += global("torch._utils", "_rebuild_tensor_v2") + [UInt8(ascii: "q"), 1, UInt8(ascii: "0")]
    p += text("storage") + [UInt8(ascii: "q"), 2, UInt8(ascii: "0")]
    p += text("cpu") + [UInt8(ascii: "q"), 3, UInt8(ascii: "0")]
    p += [UInt8(ascii: ")"), UInt8(ascii: "R"), UInt8(ascii: "(")]
    for (index, item) in tensors.enumerated() {
      var strides = [Int](repeating: 1, count: item.tensor.shape.count)
      for axis in strides.indices.dropLast().reversed() {
        // Empty tensors: PyTorch counts an extent of 0 as 1. The product cannot overflow, as the bytes exist.
        strides[axis] = strides[axis + 1] * max(1, item.tensor.shape[axis + 1])
      }
      p += text(item.name)
      p += [UInt8(ascii: "h"), 1, UInt8(ascii: "("), UInt8(ascii: "("), UInt8(ascii: "h"), 2]
      p += global("torch", storageName(item.tensor.dtype)) + text("\(index)") + [UInt8(ascii: "h"), 3]
      p += number(item.tensor.elementCount) + [UInt8(ascii: "t"), UInt8(ascii: "Q")]
      p += number(0) + tuple(item.tensor.shape) + tuple(strides)
      p += [0x89, UInt8(ascii: "h"), 0, UInt8(ascii: ")"), UInt8(ascii: "R"), UInt8(ascii: "t"), UInt8(ascii: "R")]
    }
    p += [UInt8(ascii: "u"), UInt8(ascii: ".")]
    return p
  }

  private static func storageName(_ type: StoredType) -> String {
    switch type {
    case .f32: "FloatStorage"
    case .f64: "DoubleStorage"
    case .f16: "HalfStorage"
    case .bf16: "BFloat16Storage"
    case .u8: "ByteStorage"
    case .i8: "CharStorage"
    case .i32: "IntStorage"
    case .i64: "LongStorage"
    case .bool: "BoolStorage"
    }
  }
}

/// Writes a zip archive of stored entries whose contents begin at multiples of 64 bytes.
final class ZipWriter {
  private let file: AtomicFile
  private let usesZip64: Bool
  private var directory: [UInt8] = []
  private var count = 0

  /// - Parameter usesZip64: extents of 64 bits in any case; otherwise only where a file needs them.
  init(path: String, usesZip64: Bool = false) throws(FormatError) {
    file = try AtomicFile(path: path)
    self.usesZip64 = usesZip64
  }

  func add(_ name: String, _ content: [UInt8]) throws(FormatError) {
    let start = file.byteCount
    let checksum = content.withRawBytes { CRC32.of($0) }
    let isLarge = usesZip64 || content.count >= 0xffff_ffff
    let isFar = usesZip64 || start >= 0xffff_ffff
    let size = isLarge ? UInt32.max : UInt32(content.count)
    let nameBytes = Array(name.utf8)
    guard nameBytes.count <= 0xffff else { throw FormatError(.mismatch, "a name too long", path: file.path) }

    var extra: [UInt8] = []
    if isLarge {
      extra.appendLittleEndian(UInt16(1))
      extra.appendLittleEndian(UInt16(16))
      extra.appendLittleEndian(UInt64(content.count))
      extra.appendLittleEndian(UInt64(content.count))
    }
    // A field of padding, under PyTorch's own mark, brings the content to a multiple of 64.
    let unpadded = start + 30 + nameBytes.count + extra.count + 4
    let padding = (64 - unpadded % 64) % 64
    extra += Array("FB".utf8)
    extra.appendLittleEndian(UInt16(padding))
    extra += [UInt8](repeating: 0, count: padding)

    var header: [UInt8] = []
    header.appendLittleEndian(UInt32(0x0403_4b50))
    describe(&header, checksum, size, isLarge: isLarge || isFar)
    header.appendLittleEndian(UInt16(nameBytes.count))
    header.appendLittleEndian(UInt16(extra.count))
    try file.write(contentsOf: header + nameBytes + extra)
    try file.write(contentsOf: content)

    var wide: [UInt8] = []
    if isLarge || isFar {
      wide.appendLittleEndian(UInt16(1))
      wide.appendLittleEndian(UInt16((isLarge ? 16 : 0) + (isFar ? 8 : 0)))
      if isLarge {
        wide.appendLittleEndian(UInt64(content.count))
        wide.appendLittleEndian(UInt64(content.count))
      }
      if isFar { wide.appendLittleEndian(UInt64(start)) }
    }
    directory.appendLittleEndian(UInt32(0x0201_4b50))
    directory.appendLittleEndian(UInt16(45))
    describe(&directory, checksum, size, isLarge: isLarge || isFar)
    directory.appendLittleEndian(UInt16(nameBytes.count))
    directory.appendLittleEndian(UInt16(wide.count))
    directory += [UInt8](repeating: 0, count: 10)
    directory.appendLittleEndian(isFar ? UInt32.max : UInt32(start))
    directory += nameBytes + wide
    count += 1
  }

  /// Version, flags (names are UTF-8), method, time, checksum and sizes: alike in both headers.
  private func describe(_ bytes: inout [UInt8], _ checksum: UInt32, _ size: UInt32, isLarge: Bool) {
    bytes.appendLittleEndian(UInt16(isLarge ? 45 : 20))
    bytes.appendLittleEndian(UInt16(0x0800))
    bytes.appendLittleEndian(UInt16(0))
    // No time, and the first day that the format knows: equal content makes equal files.
    bytes.appendLittleEndian(UInt16(0))
    bytes.appendLittleEndian(UInt16(0x21))
    bytes.appendLittleEndian(checksum)
    bytes.appendLittleEndian(size)
    bytes.appendLittleEndian(size)
  }

  func finish() throws(FormatError) {
    let start = file.byteCount
    let isWide = usesZip64 || count >= 0xffff || start >= 0xffff_ffff || directory.count >= 0xffff_ffff
    try file.write(contentsOf: directory)
    var end: [UInt8] = []
    if isWide {
      let place = file.byteCount
      end.appendLittleEndian(UInt32(0x0606_4b50))
      end.appendLittleEndian(UInt64(44))
      end.appendLittleEndian(UInt16(45))
      end.appendLittleEndian(UInt16(45))
      end.appendLittleEndian(UInt64(0))
      end.appendLittleEndian(UInt64(count))
      end.appendLittleEndian(UInt64(count))
      end.appendLittleEndian(UInt64(directory.count))
      end.appendLittleEndian(UInt64(start))
      end.appendLittleEndian(UInt32(0x0706_4b50))
      end.appendLittleEndian(UInt32(0))
      end.appendLittleEndian(UInt64(place))
      end.appendLittleEndian(UInt32(1))
    }
    end.appendLittleEndian(UInt32(0x0605_4b50))
    end.appendLittleEndian(UInt32(0))
    end.appendLittleEndian(isWide ? UInt16.max : UInt16(count))
    end.appendLittleEndian(isWide ? UInt16.max : UInt16(count))
    end.appendLittleEndian(isWide ? UInt32.max : UInt32(directory.count))
    end.appendLittleEndian(isWide ? UInt32.max : UInt32(start))
    end.appendLittleEndian(UInt16(0))
    try file.write(contentsOf: end)
    try file.commit()
  }
}
