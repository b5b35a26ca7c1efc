import Formats
import Glibc

/// The file formats that hold a network with its weights.
public enum ModelFormat: String, Sendable, Hashable, CaseIterable {
  /// `prefix-symbol.json` and `prefix-0000.params` of MXNet.
  case mxnet
  /// ONNX.
  case onnx
  /// safetensors with this project's description of the network in its metadata.
  case safetensors
  /// What `torch.save` writes.
  case pytorch

  /// The format's name as its users spell it.
  public var title: String {
    switch self {
    case .mxnet: "MXNet"
    case .onnx: "ONNX"
    case .safetensors: "safetensors"
    case .pytorch: "PyTorch"
    }
  }

  /// The format of the file at `path`, told by its first bytes, whatever its name.
  ///
  /// Throws `.unsupported` for a file of no known format, naming its first bytes.
  public static func detect(path: String) throws(FormatError) -> ModelFormat {
    let file = try PositionedFile(path: path)
    let head = try file.read(count: min(file.byteCount, 64), at: 0)
    if let format = detect(head: head, byteCount: file.byteCount) { return format }
    let bytes = head.prefix(8).map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }
    throw FormatError(
      .unsupported,
      file.byteCount == 0
        ? "the file is empty" : "the file is of no format known here; it begins with \(bytes.joined(separator: " "))",
      path: path, offset: 0, advice: "MXNet, ONNX, safetensors and PyTorch files are read")
  }

  /// The format by the first bytes of a file of `byteCount` bytes; nil for none that is known.
  static func detect(head: [UInt8], byteCount: Int) -> ModelFormat? {
    func word(_ offset: Int) -> UInt64? {
      guard head.count >= offset + 8 else { return nil }
      return head[offset..<offset + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    // MXNet's list of arrays: its magic number and a reserved zero.
    if word(0) == 0x112, word(8) == 0 { return .mxnet }
    // A zip archive, or the pickle of older versions.
    if head.starts(with: [0x50, 0x4b, 0x03, 0x04]) || head.starts(with: [0x80, 0x02]) { return .pytorch }
    if let length = word(0), length >= 2, length <= UInt64(max(0, byteCount - 8)), head.count > 8,
      head[8] == UInt8(ascii: "{")
    {
      return .safetensors
    }
    // The format version, field 1, and behind it another field of a model.
    if head.count >= 3, head[0] == 0x08, (1...64).contains(head[1]),
      [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72].contains(head[2])
    {
      return .onnx
    }
    var text = head[...]
    if text.starts(with: [0xef, 0xbb, 0xbf]) { text = text.dropFirst(3) }
    text = text.drop { [0x20, 0x09, 0x0a, 0x0d].contains($0) }
    return text.first == UInt8(ascii: "{") ? .mxnet : nil
  }
}

/// The two files of an MXNet model.
public struct MXNetLocation: Sendable, Hashable {
  /// The path without `-symbol.json`.
  public var prefix: String
  /// The number in the name of the `.params` file.
  public var epoch: Int

  /// A place by prefix and number.
  public init(prefix: String, epoch: Int) {
    self.prefix = prefix
    self.epoch = epoch
  }

  /// `prefix-symbol.json`.
  public var symbolPath: String { prefix + "-symbol.json" }

  /// `prefix-0001.params`.
  public var parametersPath: String {
    let digits = "\(epoch)"
    return "\(prefix)-\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).params"
  }

  /// Reads `prefix`, `prefix,epoch`, or the path of either file; without a number the epoch is `defaultEpoch`.
  public init(text: String, defaultEpoch: Int = 0) {
    (prefix, epoch) = (text, defaultEpoch)
    if let comma = text.lastIndex(of: ","), let number = Self.number(text[text.index(after: comma)...]) {
      (prefix, epoch) = (String(text[..<comma]), number)
    }
    if prefix.hasSuffix("-symbol.json") { prefix = String(prefix.dropLast("-symbol.json".count)) }
    if prefix.hasSuffix(".params"), let dash = prefix.lastIndex(of: "-"),
      let number = Self.number(prefix[prefix.index(after: dash)...].dropLast(".params".count))
    {
      (prefix, epoch) = (String(prefix[..<dash]), number)
    }
  }

  private static func number(_ text: Substring) -> Int? {
    guard !text.isEmpty, text.utf8.count <= 9, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text)
  }

  /// The model that a text given by a user means: as `init(text:)`, or a folder that holds one model; without a number
  /// the highest that is there.
  ///
  /// Throws `.notFound` where there are no such files, naming what was looked for.
  static func find(_ text: String) throws(FormatError) -> MXNetLocation {
    var location = MXNetLocation(text: text, defaultEpoch: -1)
    while location.prefix.count > 1, location.prefix.hasSuffix("/") { location.prefix.removeLast() }
    if isFolder(location.prefix) {
      let symbols = names(in: location.prefix).filter { $0.hasSuffix("-symbol.json") }
      guard symbols.count == 1 else {
        throw FormatError(
          symbols.isEmpty ? .notFound : .mismatch, "the folder holds \(symbols.count) files -symbol.json, not one",
          path: location.prefix, advice: "name the file, or PREFIX,EPOCH")
      }
      location.prefix += "/" + symbols[0].dropLast("-symbol.json".count)
    }
    guard fileExists(location.symbolPath) else {
      throw FormatError(
        .notFound, "there is neither this file nor \(location.symbolPath)", path: text, advice: "check the path")
    }
    if location.epoch < 0 {
      let slash = location.prefix.lastIndex(of: "/")
      let folder = slash.map { $0 == location.prefix.startIndex ? "/" : String(location.prefix[..<$0]) } ?? "."
      let name = slash.map { String(location.prefix[location.prefix.index(after: $0)...]) } ?? location.prefix
      let epochs = names(in: folder).compactMap { file -> Int? in
        guard file.hasPrefix(name + "-"), file.hasSuffix(".params") else { return nil }
        return number(file.dropFirst(name.count + 1).dropLast(".params".count))
      }
      guard let last = epochs.max() else {
        throw FormatError(.notFound, "there is no \(name)-0000.params or the like beside it", path: location.symbolPath)
      }
      location.epoch = last
    }
    return location
  }

  private static func names(in folder: String) -> [String] {
    guard let listing = opendir(folder) else { return [] }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names.sorted()
  }
}
