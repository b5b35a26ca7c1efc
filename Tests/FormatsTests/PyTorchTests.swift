import Foundation
import Testing

@testable import Formats

/// Files that PyTorch 2.13 wrote (`scripts/fixtures/make_pytorch.py`), and what a hostile one can try.
@Suite struct PyTorchTests {
  struct Answer: Decodable {
    var shape: [Int]
    var dtype: String
    var values: [Float]
  }

  static func path(_ name: String) -> String { packageRoot + "/Tests/Fixtures/pytorch/" + name }

  static func answers(_ key: String) throws -> [String: Answer] {
    let data = try Data(contentsOf: URL(fileURLWithPath: path("answers.json")))
    return try #require(try JSONDecoder().decode([String: [String: Answer]].self, from: data)[key])
  }

  static func check(_ file: PyTorchFile, _ answers: [String: Answer]) throws {
    let types: [String: StoredType] = [
      "float32": .f32, "float64": .f64, "float16": .f16, "bfloat16": .bf16, "uint8": .u8, "int8": .i8, "int32": .i32,
      "int64": .i64, "bool": .bool,
    ]
    #expect(Set(file.tensors.map(\.name)) == Set(answers.keys))
    for (name, answer) in answers {
      let tensor = try file.tensor(named: name)
      #expect(tensor.shape == answer.shape, "\(name)")
      #expect(tensor.dtype == types[answer.dtype], "\(name)")
      #expect(tensor.floats() == answer.values, "\(name)")
    }
  }

  /// The error that opening `path` and reading all of it gives.
  static func failure(_ path: String) -> FormatError? {
    do throws(FormatError) {
      let file = try PyTorchFile(path: path)
      for tensor in file.tensors { _ = try file.tensor(named: tensor.name) }
      return nil
    } catch {
      return error
    }
  }

  @Test(arguments: ["zip.pt", "legacy.pt", "protocol4.pt", "zip64.pt"])
  func everyTypeAndStride(_ name: String) throws {
    try Self.check(try PyTorchFile(path: Self.path(name)), try Self.answers("tensors"))
  }

  @Test func stateDictionaries() throws {
    let answers = try Self.answers("state")
    let state = try PyTorchFile(path: Self.path("state.pt"))
    try Self.check(state, answers)
    #expect(state.dictionaryKey == nil)
    #expect(
      state.tensors.map(\.name) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
        "2.weight",
      ])
    let checkpoint = try PyTorchFile(path: Self.path("checkpoint.pt"))
    try Self.check(checkpoint, answers)
    #expect(checkpoint.dictionaryKey == "state_dict")
    try Self.check(
      try PyTorchFile(path: Self.path("parameters.pt")), answers.filter { $0.value.dtype != "int64" })
  }

  @Test(.enabled(if: realData != nil, realDataMissing))
  func olderFileOfAnotherProject() throws {
    let folder = try #require(realData)
    let file = try PyTorchFile(path: folder + "/retinaface-mnet25/pytorch_mobilenet0.25_Final.pth")
    let first = try #require(file.description(named: "body.stage1.0.0.weight"))
    #expect(first.shape == [8, 3, 3, 3] && first.dtype == .f32)
    var values = 0
    for description in file.tensors {
      let tensor = try file.tensor(named: description.name)
      #expect(tensor.floats().allSatisfy { $0.isFinite })
      values += tensor.elementCount
    }
    #expect(values > 400_000)
  }

  @Test func whatIsRefused() throws {
    let evil = try #require(Self.failure(Self.path("evil.pt")))
    #expect(evil.code == .unsafe && evil.message.contains("posix.system") && evil.offset != nil)
    #expect(access("/tmp/insightface-pickle-was-run", F_OK) != 0)
    let module = try #require(Self.failure(Self.path("module.pt")))
    #expect(module.code == .unsafe && module.message.contains("torch.nn.modules"))
    #expect(Self.failure(Self.path("compressed.pt"))?.code == .unsupported)
    #expect(Self.failure(Self.path("short.pt"))?.code == .unsupported)
    #expect(Self.failure(Self.path("expanded.pt"))?.code == .tooLarge)
    #expect(Self.failure(fixture("v2.params"))?.code == .corrupt)
  }

  @Test func writtenFiles() throws {
    let folder = TemporaryFolder()
    let source = try PyTorchFile(path: Self.path("zip.pt"))
    var tensors: [(name: String, tensor: StoredTensor)] = []
    for description in source.tensors {
      tensors.append((description.name, try source.tensor(named: description.name)))
    }
    let path = folder.file("written.pt")
    try PyTorchFile.write(tensors, metadata: ["network": "iresnet50"], to: path)
    let file = try PyTorchFile(path: path)
    try Self.check(file, try Self.answers("tensors"))
    #expect(file.tensors.map(\.name) == source.tensors.map(\.name))
    #expect(file.metadata == ["network": "iresnet50"])
    // The content of each storage begins at a multiple of 64.
    let bytes = try contents(path)
    let ranges = try bytes.withRawBytes { (raw) throws(FormatError) in
      try ZipDirectory(raw, path: path).entries.values.map(\.range)
    }
    #expect(ranges.allSatisfy { $0.lowerBound % 64 == 0 })
    // Equal content makes equal files.
    try PyTorchFile.write(tensors, metadata: ["network": "iresnet50"], to: folder.file("again.pt"))
    #expect(try contents(folder.file("again.pt")) == bytes)
    #expect(throws: FormatError.self) {
      try PyTorchFile.write([tensors[0], tensors[0]], to: folder.file("twice.pt"))
    }
  }

  @Test func zip64Written() throws {
    let folder = TemporaryFolder()
    let path = folder.file("wide.zip")
    let writer = try ZipWriter(path: path, usesZip64: true)
    try writer.add("archive/a", [1, 2, 3])
    try writer.add("archive/b", [])
    try writer.finish()
    let bytes = try contents(path)
    let directory = try bytes.withRawBytes { (raw) throws(FormatError) in try ZipDirectory(raw, path: path) }
    #expect(directory.names == ["archive/a", "archive/b"])
    #expect(directory.entries["archive/a"].map { Array(bytes[$0.range]) } == [1, 2, 3])
  }

  // MARK: - Hostile files

  /// An archive of a pickle and one storage.
  static func archive(
    _ pickle: [UInt8], storage: [UInt8] = [UInt8](repeating: 0, count: 16), in folder: TemporaryFolder
  )
    throws -> String
  {
    let path = folder.file("hostile.pt")
    let writer = try ZipWriter(path: path)
    try writer.add("x/data.pkl", pickle)
    try writer.add("x/data/0", storage)
    try writer.finish()
    return path
  }

  /// `{"w": tensor}` with a storage of `count` floats and the numbers given, each as eight bytes.
  static func tensorPickle(count: Int, offset: Int, shape: [Int], strides: [Int]) -> [UInt8] {
    func number(_ value: Int) -> [UInt8] {
      var bytes: [UInt8] = [0x8a, 8]
      bytes.appendLittleEndian(Int64(value))
      return bytes
    }
    func text(_ value: String) -> [UInt8] { [0x8c, UInt8(value.utf8.count)] + Array(value.utf8) }
    var p: [UInt8] = [0x80, 2] + Array("}".utf8) + text("w") + Array("ctorch._utils\n_rebuild_tensor_v2\n((".utf8)
    p += text("storage") + Array("ctorch\nFloatStorage\n".utf8) + text("0") + text("cpu") + number(count)
    p += Array("tQ".utf8) + number(offset) + Array("(".utf8) + shape.flatMap(number) + Array("t(".utf8)
    p += strides.flatMap(number) + Array("t".utf8) + [0x89] + Array("}tRs.".utf8)
    return p
  }

  @Test func tensorsBeyondTheirStorage() throws {
    let folder = TemporaryFolder()
    func code(_ count: Int, _ offset: Int, _ shape: [Int], _ strides: [Int]) throws -> FormatError.Code? {
      let pickle = Self.tensorPickle(count: count, offset: offset, shape: shape, strides: strides)
      return Self.failure(try Self.archive(pickle, in: folder))?.code
    }
    #expect(try code(4, 0, [2, 2], [2, 1]) == nil)
    #expect(try code(4, 0, [1, 4], [.max, 1]) == nil)
    #expect(try code(4, 0, [4, 1, 1], [1, .max, .max]) == nil)
    #expect(try code(4, 0, [0, .max], [.max, .max]) == nil)
    #expect(try code(4, 1, [2, 2], [2, 1]) == .corrupt)
    #expect(try code(4, 0, [2, 2], [3, 1]) == .corrupt)
    #expect(try code(4, 0, [2, 2], [.max, .max]) == .corrupt)
    #expect(try code(4, .max, [2], [1]) == .corrupt)
    #expect(try code(4, 0, [1 << 40], [0]) == .tooLarge)
    #expect(try code(4, 0, [1 << 40, 1 << 40], [0, 0]) == .tooLarge)
    #expect(try code(4, 0, [-1], [1]) == .corrupt)
    #expect(try code(4, 0, [2], [-1]) == .corrupt)
    #expect(try code(5, 0, [2], [1]) == .truncated)
    #expect(try code(.max, 0, [2], [1]) == .truncated)
    #expect(try code(-1, 0, [2], [1]) == .unsupported)
    #expect(try code(4, 0, [Int](repeating: 1, count: 65), [Int](repeating: 1, count: 65)) == .corrupt)
  }

  @Test func hostilePickles() throws {
    let folder = TemporaryFolder()
    func failure(_ pickle: String) throws -> FormatError? {
      Self.failure(try Self.archive([0x80, 2] + Array(pickle.utf8), in: folder))
    }
    #expect(try failure("cos\nsystem\n(U\u{2}lstR.")?.code == .unsafe)
    #expect(try failure("cos\nsystem\n(U\u{2}lstR.")?.message.contains("os.system") == true)
    #expect(try failure("ctorch\nload\n.")?.code == .unsafe)
    #expect(try failure("ctorch._utils\n_rebuild_tensor_v3\n.")?.code == .unsafe)
    #expect(try failure("(ios\nsystem\n.")?.code == .unsafe)
    #expect(try failure("(cbuiltins\neval\nU\u{1}1o.")?.code == .unsafe)
    #expect(try failure("Pabc\n.")?.code == .unsafe)
    #expect(try failure("U\u{3}abcQ.")?.code == .unsafe)
    #expect(try failure("(U\u{6}modulettQ.")?.code == .corrupt)
    #expect(try failure("(U\u{6}moduletQ.")?.code == .unsafe)
    #expect(try failure("]}b.")?.code == .unsafe)
    #expect(try failure(".")?.code == .corrupt)
    #expect(try failure("u.")?.code == .corrupt)
    #expect(try failure("}K\u{1}u.")?.code == .corrupt)
    #expect(try failure("h\u{5}.")?.code == .corrupt)
    #expect(try failure("X\u{7f}\u{7f}\u{7f}\u{7f}.")?.code == .truncated)
    #expect(try failure("}")?.code == .truncated)
    #expect(try failure("}.")?.code == .unsupported)
    // A list that holds itself, and nesting a million deep.
    #expect(try failure("]q\u{0}h\u{0}a.")?.code == .unsupported)
    #expect(
      try failure(String(repeating: "]", count: 1 << 20) + String(repeating: "a", count: (1 << 20) - 1) + ".")?.code
        == .unsupported)
    // Doubling by duplication ends at the bound on values, not at that of memory.
    var dup = Array("(".utf8)
    for _ in 0..<200 { dup += Array("NNNN".utf8) }
    #expect(Self.failure(try Self.archive([0x80, 2] + dup, in: folder))?.code == .truncated)
  }

  @Test func damagedArchives() throws {
    let folder = TemporaryFolder()
    let whole = try contents(Self.path("state.pt"))
    let path = folder.file("damaged.pt")
    // Cut anywhere, it is an error, never a crash.
    for length in stride(from: 0, to: whole.count, by: 37) {
      put(whole[..<length], at: path)
      #expect(Self.failure(path) != nil, "\(length)")
    }
    let legacy = try contents(Self.path("legacy.pt"))
    for length in stride(from: 0, to: legacy.count, by: 37) {
      put(legacy[..<length], at: path)
      #expect(Self.failure(path) != nil, "\(length)")
    }
    // A changed byte of a tensor is found by its checksum.
    let directory = try whole.withRawBytes { (raw) throws(FormatError) in try ZipDirectory(raw, path: path) }
    let range = try #require(directory.entries["state/data/0"]?.range)
    var changed = whole
    changed[range.lowerBound] ^= 1
    put(changed, at: path)
    #expect(Self.failure(path)?.code == .corrupt)
    // Any changed byte is either found or harmless.
    var state: UInt64 = 1
    for _ in 0..<600 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      var bytes = state & 1 == 0 ? whole : legacy
      let position = Int(state >> 33) % bytes.count
      bytes[position] = UInt8(truncatingIfNeeded: state >> 20)
      put(bytes, at: path)
      _ = Self.failure(path)
    }
  }

  @Test func overlappingEntries() throws {
    let folder = TemporaryFolder()
    let path = try Self.archive(Array("}.".utf8), in: folder)
    var bytes = try contents(path)
    // Two records of the directory that point at the same content: the trick of the small bombs.
    let records = bytes.indices.dropLast(4).filter { Array(bytes[$0..<$0 + 4]) == [0x50, 0x4b, 1, 2] }
    try #require(records.count == 2)
    for index in 0..<4 { bytes[records[1] + 42 + index] = bytes[records[0] + 42 + index] }
    put(bytes, at: path)
    let error = try #require(Self.failure(path))
    #expect(error.code == .corrupt && error.message.contains("overlap"))
    // More entries than the directory can hold.
    var many = try contents(try Self.archive(Array("}.".utf8), in: folder))
    let end = many.count - 22
    many[end + 10] = 0xfe
    many[end + 11] = 0xff
    put(many, at: path)
    #expect(Self.failure(path)?.code == .corrupt)
  }
}
