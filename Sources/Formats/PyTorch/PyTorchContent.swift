/// What a file of `torch.save` holds: its pickle, and where the storages lie that the pickle names.
struct PyTorchContent {
  var pickle: TorchPickle
  let root: TorchPickle.Value
  let metadata: [String: String]
  private let path: String
  private let storages: [String: Storage]

  private struct Storage {
    var range: Range<Int>
    var checksum: UInt32?
  }

  /// Where this project's writer puts texts, beside what PyTorch reads.
  static let metadataFolder = "insightface/"
  private static let maximumMetadata = 1 << 20

  // MARK: - The archive

  init(archive bytes: UnsafeRawBufferPointer, path: String) throws(FormatError) {
    let directory = try ZipDirectory(bytes, path: path)
    let found = directory.names.filter { $0.hasSuffix("/data.pkl") && $0.utf8.count { $0 == UInt8(ascii: "/") } == 1 }
    guard found.count == 1, let name = found.first, let entry = directory.entries[name] else {
      throw FormatError(
        .unsupported, "a zip archive without a data.pkl; torch.save puts one in", path: path,
        advice: "check that this is a PyTorch checkpoint")
    }
    let prefix = String(name.dropLast("data.pkl".count))
    func content(_ name: String) throws(FormatError) -> UnsafeRawBufferPointer? {
      guard let entry = directory.entries[prefix + name] else { return nil }
      let content = UnsafeRawBufferPointer(rebasing: bytes[entry.range])
      guard CRC32.of(content) == entry.checksum else {
        throw FormatError(
          .corrupt, "the checksum of `\(entry.name)` is wrong", path: path, offset: entry.range.lowerBound,
          advice: "the file is damaged: copy or download it again")
      }
      return content
    }
    _ = try content("data.pkl")
    if let order = try content("byteorder"), !order.elementsEqual("little".utf8) {
      throw FormatError(
        .unsupported, "written on a machine that stores numbers the other way round (byteorder)", path: path,
        advice: "load it with PyTorch on a little-endian machine and save it again")
    }
    if directory.entries[prefix + "constants.pkl"] != nil {
      throw FormatError(
        .unsupported, "a TorchScript program; only tensors are read", path: path, advice: TorchPickle.saveAgain)
    }
    var storages: [String: Storage] = [:]
    var metadata: [String: String] = [:]
    for name in directory.names {
      guard let entry = directory.entries[name], name.hasPrefix(prefix) else { continue }
      let rest = name.dropFirst(prefix.count)
      if rest.hasPrefix("data/") {
        storages[String(rest.dropFirst(5))] = Storage(range: entry.range, checksum: entry.checksum)
      } else if rest.hasPrefix(Self.metadataFolder), entry.range.count <= Self.maximumMetadata,
        let text = try content(String(rest))
      {
        metadata[String(rest.dropFirst(Self.metadataFolder.count))] = String(decoding: text, as: UTF8.self)
      }
    }
    pickle = try TorchPickle(bytes, entry.range, path: path)
    root = try pickle.load()
    self.metadata = metadata
    self.path = path
    self.storages = storages
  }

  // MARK: - The older stream

  /// The pickle of 0x1950a86a20f9469cfc6c.
  private static let legacyMagic: [UInt8] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
  ]

  static func isLegacy(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.starts(with: legacyMagic) }

  /// Five pickles (magic, protocol, machine, content, keys), then each storage as its count and its elements.
  init(legacy bytes: UnsafeRawBufferPointer, path: String) throws(FormatError) {
    pickle = try TorchPickle(bytes, Self.legacyMagic.count..<bytes.count, path: path)
    guard try pickle.load() == .int(1001) else {
      throw pickle.error(.unsupported, "a protocol other than 1001 of torch.save")
    }
    guard case .dictionary(let machine) = try pickle.load() else {
      throw pickle.error(.corrupt, "a description of the machine expected")
    }
    for (key, value) in pickle.dictionaries[machine] where pickle.text(key) == "little_endian" {
      guard value == .bool(true) else {
        throw pickle.error(.unsupported, "written on a machine that stores numbers the other way round")
      }
    }
    root = try pickle.load()
    guard case .list(let list) = try pickle.load() else { throw pickle.error(.corrupt, "a list of storages expected") }
    var types: [String: (type: StoredType?, count: Int)] = [:]
    for storage in pickle.storages {
      if let key = pickle.text(.text(storage.key)) { types[key] = (storage.type, storage.count) }
    }
    var cursor = ByteCursor(bytes, path: path)
    _ = try cursor.take(pickle.offset, "the pickles")
    var storages: [String: Storage] = [:]
    for value in pickle.lists[list] {
      guard let key = pickle.text(value), let (type, expected) = types[key], let type else {
        throw pickle.error(.corrupt, "a storage that no tensor of a known type uses")
      }
      let place = cursor.offset
      let count = try cursor.integer(Int64.self, "the size of a storage")
      guard let count = Int(exactly: count), count == expected, let size = type.byteCount(shape: [count]) else {
        throw cursor.error(.corrupt, "the storage \(key) has \(count) elements, \(expected) expected", at: place)
      }
      let start = cursor.offset
      _ = try cursor.take(size, "the storage \(key)")
      storages[key] = Storage(range: start..<start + size)
    }
    metadata = [:]
    self.path = path
    self.storages = storages
  }

  // MARK: - The state dictionary

  /// Where storage `number` of the pickle lies.
  func extent(of number: Int) throws(FormatError) -> (range: Range<Int>, checksum: UInt32?) {
    let storage = pickle.storages[number]
    guard let key = pickle.text(.text(storage.key)), let found = storages[key] else {
      throw pickle.error(.truncated, "the data of a storage is not in the file", at: storage.key.lowerBound)
    }
    guard let type = storage.type, let size = type.byteCount(shape: [storage.count]), size <= found.range.count else {
      throw pickle.error(
        .truncated, "the storage \(key) has \(found.range.count) bytes, fewer than its \(storage.count) elements",
        at: storage.key.lowerBound)
    }
    return (found.range.lowerBound..<found.range.lowerBound + size, size == found.range.count ? found.checksum : nil)
  }

  /// Names and tensors in order, and the key under which they stood.
  func stateDictionary() throws(FormatError) -> (items: [(String, TorchPickle.TensorView)], key: String?) {
    guard case .dictionary(let number) = root else {
      throw FormatError(
        .unsupported, "the file holds no dictionary of tensors", path: path, advice: "save `model.state_dict()`")
    }
    for key in PyTorchFile.dictionaryKeys {
      guard let item = pickle.dictionaries[number].last(where: { pickle.text($0.key) == key }),
        case .dictionary(let inner) = item.value
      else { continue }
      let items = tensors(of: inner)
      if !items.isEmpty { return (withoutPrefix(items), key) }
    }
    let items = tensors(of: number)
    guard !items.isEmpty else {
      let keys = pickle.dictionaries[number].prefix(8).compactMap { pickle.text($0.key) }.joined(separator: ", ")
      throw FormatError(
        .unsupported, "the file holds no dictionary of tensors; its keys are: \(keys)", path: path,
        advice: "save `model.state_dict()`")
    }
    return (withoutPrefix(items), nil)
  }

  private func tensors(of number: Int) -> [(String, TorchPickle.TensorView)] {
    pickle.dictionaries[number].compactMap { key, value in
      guard case .tensor(let tensor) = value, let name = pickle.text(key) else { return nil }
      return (name, pickle.tensors[tensor])
    }
  }

  private func withoutPrefix(_ items: [(String, TorchPickle.TensorView)]) -> [(String, TorchPickle.TensorView)] {
    let prefix = "module."
    guard items.allSatisfy({ $0.0.hasPrefix(prefix) }) else { return items }
    return items.map { (String($0.0.dropFirst(prefix.count)), $0.1) }
  }
}
