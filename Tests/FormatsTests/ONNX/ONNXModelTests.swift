import Testing

@testable import Formats

/// The bytes of ONNX: round trips, every way of storing a tensor, and files that mean harm.
@Suite struct ONNXModelTests {
  private static func model() throws -> ONNXModel {
    let floats = try StoredTensor(shape: [2, 3], floats: [1, 2, 3, 4, 5, 6])
    let large = try StoredTensor(shape: [100, 100], floats: (0..<10_000).map(Float.init))
    let node = ONNXNode(
      "Conv", name: "conv0", inputs: ["data", "weight", ""], outputs: ["y"],
      attributes: [
        .init("f", .float(0.5)), .init("i", .int(-3)), .init("s", .string("SAME_UPPER")), .init("t", .tensor(floats)),
        .init("fs", .floats([1, -2])), .init("is", .ints([3, -1, 1 << 40])), .init("ss", .strings(["a", ""])),
      ])
    return ONNXModel(
      irVersion: 7, operatorSets: [.init(version: 13), .init(domain: "other", version: 1)], producerName: "test",
      producerVersion: "1", metadata: [.init("colour", "RGB"), .init("note", "größer")],
      graph: ONNXGraph(
        name: "g", nodes: [node, ONNXNode("Relu", name: "", domain: "other", inputs: ["y"], outputs: ["z"])],
        initializers: [ONNXTensor("weight", floats), ONNXTensor("large", large)],
        inputs: [ONNXValueInfo("data", type: .f32, shape: [.symbol("N"), .size(3), .unknown])],
        outputs: [ONNXValueInfo("z", type: .f16, shape: nil), ONNXValueInfo("w", type: nil, shape: nil)]))
  }

  @Test func writtenAndReadIsTheSame() throws {
    let model = try Self.model()
    #expect(try ONNXModel(serialized: model.serialized()) == model)
    let folder = TemporaryFolder()
    let path = folder.file("model.onnx")
    try model.write(to: path)
    #expect(try contents(path) == model.serialized())
    #expect(try ONNXModel(path: path) == model)
    #expect(model.opset == 13)
    #expect(model[metadata: "colour"] == "RGB")
    #expect(model[metadata: "none"] == nil)
  }

  // MARK: Tensors by hand

  private static func tensorModel(_ build: (inout ProtobufWriter) -> Void) -> [UInt8] {
    var message = ProtobufWriter()
    message.integer(1, 7)
    message.nested(7) { $0.nested(5, build) }
    var bytes: [UInt8] = []
    try? message.forEachPiece { (piece) throws(FormatError) in bytes += piece }
    return bytes
  }

  private static func read(_ build: (inout ProtobufWriter) -> Void) throws -> StoredTensor {
    let model = try ONNXModel(serialized: tensorModel(build))
    return try #require(model.graph.initializers.first).tensor
  }

  private static func code(_ build: (inout ProtobufWriter) -> Void) -> FormatError.Code? {
    do {
      _ = try ONNXModel(serialized: tensorModel(build))
      return nil
    } catch { return (error as FormatError).code }
  }

  @Test func typedFieldsAreRead() throws {
    let floats = try Self.read {
      $0.packedIntegers(1, [2])
      $0.integer(2, 1)
      $0.float(4, 1.5)
      $0.float(4, -2)
    }
    #expect(floats.floats() == [1.5, -2])
    let halves = try Self.read {
      $0.integers(1, [2])
      $0.integer(2, 10)
      $0.packedIntegers(5, [0x3c00, 0xc000])
    }
    #expect(halves.floats() == [1, -2])
    #expect(halves.dtype == .f16)
    let bytes = try Self.read {
      $0.packedIntegers(1, [3])
      $0.integer(2, 3)
      $0.packedIntegers(5, [-1, 127, 3])
    }
    #expect(bytes.floats() == [-1, 127, 3])
    let longs = try Self.read {
      $0.packedIntegers(1, [2])
      $0.integer(2, 7)
      $0.packedIntegers(7, [-5, 1 << 20])
    }
    #expect(longs.floats() == [-5, 1_048_576])
    let doubles = try Self.read {
      $0.packedIntegers(1, [1])
      $0.integer(2, 11)
      $0.data(10, [0, 0, 0, 0, 0, 0, 0xf8, 0x3f])
    }
    #expect(doubles.floats() == [1.5])
    let flags = try Self.read {
      $0.packedIntegers(1, [2])
      $0.integer(2, 9)
      $0.packedIntegers(5, [0, 1])
    }
    #expect(flags.floats() == [0, 1])
  }

  @Test func impossibleTensorsAreRefused() {
    func raw(_ shape: [Int], _ type: Int, _ count: Int) -> FormatError.Code? {
      Self.code {
        $0.packedIntegers(1, shape)
        $0.integer(2, type)
        $0.data(9, [UInt8](repeating: 0, count: count))
      }
    }
    #expect(raw([1 << 40, 1 << 40], 1, 4) == .corrupt)
    #expect(raw([1 << 40], 1, 4) == .mismatch)
    #expect(raw([-1], 1, 4) == .corrupt)
    #expect(raw([2], 1, 4) == .mismatch)
    #expect(raw([1], 8, 4) == .unsupported)
    #expect(raw([1], 999, 4) == .unsupported)
    #expect(raw([Int](repeating: 1, count: 17), 1, 4) == .tooLarge)
    #expect(raw([0, 1 << 40, 1 << 40], 1, 0) == .corrupt)
    #expect(raw([0, 3], 1, 0) == nil)
    #expect(raw([1], 1, 4) == nil)
    #expect(
      Self.code {
        $0.packedIntegers(1, [3])
        $0.integer(2, 7)
        $0.packedIntegers(7, [1, 2])
      } == .mismatch)
  }

  // MARK: Weights in other files

  private static func external(_ location: String, _ offset: String, _ length: String) -> [UInt8] {
    tensorModel { tensor in
      tensor.packedIntegers(1, [2])
      tensor.integer(2, 1)
      tensor.text(8, "w")
      for (key, value) in [("location", location), ("offset", offset), ("length", length)] {
        tensor.nested(13) {
          $0.text(1, key)
          $0.text(2, value)
        }
      }
      tensor.integer(14, 1)
    }
  }

  @Test func externalWeightsAreReadFromTheSameFolderOnly() throws {
    let folder = TemporaryFolder()
    put([0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40], at: folder.file("weights.bin"))
    let path = folder.file("model.onnx")
    put(Self.external("weights.bin", "4", "8"), at: path)
    #expect(try ONNXModel(path: path).graph.initializers[0].tensor.floats() == [1, 2])
    func code(_ location: String, _ offset: String, _ length: String) -> FormatError.Code? {
      put(Self.external(location, offset, length), at: path)
      do {
        _ = try ONNXModel(path: path)
        return nil
      } catch { return (error as FormatError).code }
    }
    #expect(code("weights.bin", "8", "8") == .truncated)
    #expect(code("weights.bin", "-4", "8") == .corrupt)
    #expect(code("weights.bin", "9223372036854775807", "8") == .truncated)
    #expect(code("weights.bin", "4", "4") == .corrupt)
    #expect(code("../weights.bin", "0", "8") == .unsafe)
    #expect(code("/etc/passwd", "0", "8") == .unsafe)
    #expect(code("..", "0", "8") == .unsafe)
    #expect(code("absent.bin", "0", "8") == .notFound)
    #expect(throws: FormatError.self) { try ONNXModel(serialized: Self.external("weights.bin", "4", "8")) }
  }

  // MARK: Hostile files

  @Test func everyTruncationIsAnError() throws {
    let bytes = try Self.model().serialized()
    // Behind the graph come fields that may be missing; up to its end, every cut breaks it.
    for length in stride(from: 0, to: 2000, by: 7) {
      #expect(throws: FormatError.self) { try ONNXModel(serialized: Array(bytes.prefix(length))) }
    }
  }

  @Test func damageIsReadOrRefusedButNeverTraps() throws {
    let sound = Array(try Self.model().serialized().prefix(700)) + Array(try Self.model().serialized().suffix(200))
    var generator = SeededGenerator(state: 11)
    for _ in 0..<2000 {
      var bytes = sound
      for _ in 0..<Int.random(in: 1...8, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      do {
        _ = try ONNXModel(serialized: bytes)
      } catch {
        #expect((error as FormatError).offset != nil)
      }
    }
  }

  @Test func numbersOfMoreThan64BitsAreRefused() {
    let overflow = [UInt8](repeating: 0xff, count: 9) + [0x02]
    #expect(throws: FormatError.self) { try ONNXModel(serialized: [0x08] + overflow) }
    #expect(throws: FormatError.self) { try ONNXModel(serialized: [UInt8](repeating: 0xff, count: 64)) }
    // A length of 2⁶³ and more.
    #expect(throws: FormatError.self) {
      try ONNXModel(serialized: [0x08, 0x07, 0x3a] + [UInt8](repeating: 0xff, count: 9) + [0x01])
    }
  }

  /// Graphs within attributes within graphs are passed over, however deep.
  @Test func deepNestingIsNotFollowed() throws {
    var inner: [UInt8] = []
    for _ in 0..<2000 {
      var graph = ProtobufWriter()
      graph.nested(1) { node in
        node.text(4, "If")
        node.nested(5) { attribute in
          attribute.text(1, "then_branch")
          attribute.data(6, inner)
          attribute.integer(20, 5)
        }
      }
      inner = []
      try graph.forEachPiece { (piece) throws(FormatError) in inner += piece }
    }
    var message = ProtobufWriter()
    message.integer(1, 7)
    message.data(7, inner)
    var bytes: [UInt8] = []
    try message.forEachPiece { (piece) throws(FormatError) in bytes += piece }
    let model = try ONNXModel(serialized: bytes)
    #expect(model.graph.nodes.first?["then_branch"] == .other(kind: 5))
  }

  @Test func aCrowdOfEmptyMessagesIsRefused() {
    var message = ProtobufWriter()
    message.integer(1, 7)
    var nodes: [UInt8] = []
    for _ in 0...ONNXReader.maximumItems { nodes += [0x0a, 0x00] }
    message.data(7, nodes)
    var bytes: [UInt8] = []
    try? message.forEachPiece { (piece) throws(FormatError) in bytes += piece }
    do {
      _ = try ONNXModel(serialized: bytes)
      Issue.record("half a million nodes were read")
    } catch {
      #expect((error as FormatError).code == .tooLarge)
    }
  }

  @Test func otherFilesAreNotModels() {
    for bytes: [UInt8] in [[], Array("hello, world".utf8), [0x08, 0x07], [0x08, 0x7f, 0x3a, 0x00]] {
      #expect(throws: FormatError.self) { try ONNXModel(serialized: bytes) }
    }
  }
}
