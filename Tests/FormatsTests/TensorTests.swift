import Testing

@testable import Formats

@Suite struct TensorTests {
  let folder = TemporaryFolder()

  // MARK: - Stored tensors

  private func bytes<Value>(_ values: [Value]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

  @Test func floatsOfEveryType() throws {
    func floats(_ dtype: StoredType, _ bytes: [UInt8]) throws -> [Float] {
      try StoredTensor(shape: [bytes.count / dtype.byteCount], dtype: dtype, bytes: bytes).floats()
    }
    #expect(try floats(.f32, bytes([Float(1.5), -3])) == [1.5, -3])
    #expect(try floats(.f64, bytes([0.1, -1e300])) == [0.1, -.infinity])
    #expect(try floats(.f16, bytes([UInt16(0x3c00), 0xfbff, 0x0001])) == [1, -65504, 5.9604645e-8])
    #expect(try floats(.bf16, bytes([UInt16(0x3f80), 0xc040])) == [1, -3])
    #expect(try floats(.u8, [0, 255]) == [0, 255])
    #expect(try floats(.i8, [0x80, 127]) == [-128, 127])
    #expect(try floats(.i32, bytes([Int32.min, 7])) == [-2_147_483_648, 7])
    #expect(try floats(.i64, bytes([Int64(1) << 40, -5])) == [1_099_511_627_776, -5])
    #expect(try floats(.bool, [0, 1, 2]) == [0, 1, 1])
    #expect(try StoredTensor(shape: [2, 1], floats: [1, 2]).floats() == [1, 2])
    #expect(try StoredTensor(shape: [], floats: [4]).elementCount == 1)
  }

  @Test func shapesThatDoNotFitAreErrors() {
    #expect(thrown { _ = try StoredTensor(shape: [3], floats: [1]) }?.code == .mismatch)
    #expect(thrown { _ = try StoredTensor(shape: [-1, -1], floats: [1]) }?.code == .mismatch)
    #expect(thrown { _ = try StoredTensor(shape: [Int.max, 4], floats: []) }?.code == .mismatch)
    #expect(StoredType.f32.byteCount(shape: [1 << 40, 1 << 40]) == nil)
    #expect(StoredType.f32.byteCount(shape: [0, 5]) == 0)
  }

  // MARK: - Safetensors

  @Test func readsWhatTheReferenceLibraryWrote() throws {
    let file = try Safetensors(path: fixture("reference.safetensors"))
    #expect(file.metadata == ["format": "np", "note": "a \"b\" \\"])
    #expect(file.tensors.map(\.name) == ["steps", "empty", "weight", "half", "odd \"name\"\n\u{e9}\u{1f600}", "mask"])
    #expect(try file.tensor(named: "weight").floats() == [0, 0.25, 0.5, 0.75, 1, 1.25])
    #expect(try file.tensor(named: "weight").shape == [2, 3])
    #expect(try file.tensor(named: "steps").shape == [])
    #expect(try file.tensor(named: "steps").floats() == [-3])
    #expect(try file.tensor(named: "half").floats() == [0.5, -65504])
    #expect(try file.tensor(named: "mask").floats() == [1, 0, 1])
    #expect(try file.tensor(named: "empty").shape == [0, 4])
    #expect(file.description(named: "half") == TensorDescription(name: "half", dtype: .f16, shape: [2]))
    #expect(try file.withBytes(ofTensor: "steps") { $0.count } == 8)
    #expect(thrown { _ = try file.tensor(named: "none") }?.code == .notFound)
  }

  @Test func writesPieceByPieceAndReadsBack() throws {
    let path = folder.file("state.safetensors")
    let names = ["momentum/fc7", "tab\t\"q\" \\ \u{e9}", "step", "none"]
    let descriptions = [
      TensorDescription(name: names[0], dtype: .f32, shape: [100, 33]),
      TensorDescription(name: names[1], dtype: .u8, shape: [3]),
      TensorDescription(name: names[2], dtype: .i64, shape: []),
      TensorDescription(name: names[3], dtype: .bf16, shape: [0]),
    ]
    let data: [[UInt8]] = [pattern(13200, 1), [1, 2, 3], [9, 0, 0, 0, 0, 0, 0, 0], []]
    try Safetensors.write(descriptions, metadata: ["seed": "7", "a": "line\n"], to: path) {
      (index, sink) throws(FormatError) in
      try data[index].withRawBytes { (bytes) throws(FormatError) in
        for start in stride(from: 0, to: bytes.count, by: 1000) {
          try sink(UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + 1000, bytes.count)]))
        }
      }
    }
    let file = try Safetensors(path: path)
    #expect(file.metadata == ["seed": "7", "a": "line\n"])
    #expect(Set(file.tensors.map(\.name)) == Set(names))
    for (index, description) in descriptions.enumerated() {
      let tensor = try file.tensor(named: description.name)
      #expect(tensor.shape == description.shape)
      #expect(tensor.dtype == description.dtype)
      #expect(tensor.bytes == data[index])
    }
    #expect(try contents(path)[0] % 8 == 0)
    try Safetensors.write(descriptions.map { ($0.name, try file.tensor(named: $0.name)) }, to: folder.file("b"))
    #expect(try Safetensors(path: folder.file("b")).tensor(named: names[0]).bytes == data[0])
    try Safetensors.write([], to: folder.file("c"))
    #expect(try Safetensors(path: folder.file("c")).tensors == [])
  }

  @Test func theWriterChecksWhatItIsGiven() throws {
    let path = folder.file("a")
    let tensor = TensorDescription(name: "t", dtype: .f32, shape: [2])
    let reserved = TensorDescription(name: "__metadata__", dtype: .f32, shape: [2])
    let impossible = TensorDescription(name: "i", dtype: .f32, shape: [Int.max])
    #expect(thrown { _ = try SafetensorsWriter(path: path, tensors: [tensor, tensor]) }?.code == .mismatch)
    #expect(thrown { _ = try SafetensorsWriter(path: path, tensors: [reserved]) }?.code == .mismatch)
    #expect(thrown { _ = try SafetensorsWriter(path: path, tensors: [impossible]) }?.code == .mismatch)
    let writer = try SafetensorsWriter(path: path, tensors: [tensor])
    let seven = pattern(7, 0)
    try seven.withRawBytes { (bytes) throws(FormatError) in try writer.write(bytes) }
    #expect(thrown { try writer.endTensor() }?.code == .mismatch)
    #expect(thrown { try seven.withRawBytes { try writer.write($0) } }?.code == .mismatch)
    #expect(thrown { try writer.commit() }?.code == .mismatch)
    try [1].withRawBytes { (bytes) throws(FormatError) in try writer.write(bytes) }
    try writer.endTensor()
    #expect(thrown { try writer.endTensor() }?.code == .mismatch)
    try writer.commit()
    #expect(try Safetensors(path: path).tensor(named: "t").bytes == seven + [1])
  }

  private func file(_ header: String, data: Int, size: UInt64? = nil) -> String {
    var bytes: [UInt8] = []
    bytes.appendLittleEndian(size ?? UInt64(header.utf8.count))
    put(bytes + Array(header.utf8) + [UInt8](repeating: 0, count: data), at: folder.file("x.safetensors"))
    return folder.file("x.safetensors")
  }

  @Test(arguments: [
    // Overlap, gap, data left over, data missing, sizes that do not fit, offsets the wrong way round.
    (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#, 3),
    (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#, 3),
    (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 2),
    (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, 1),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,2]}}"#, 2),
    (#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[2,0]}}"#, 0),
    (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, 0),
    (#"{"a":{"dtype":"F64","shape":[999999999999999999,999999999999999999],"data_offsets":[0,8]}}"#, 8),
    (#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}"#, 0),
    (#"{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}}"#, 1),
    (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#, 1),
    (#"{"a":{"shape":[1],"data_offsets":[0,1]}}"#, 1),
    (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}"#, 1),
    (#"{"a":1}"#, 0), (#"{"__metadata__":{"a":1}}"#, 0), (#"{}x"#, 0), (#"{"#, 0), (#""#, 0), (#"[]"#, 0), (#"{"a"#, 0),
    (#"{"a\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#, 0), (#"{"a\u00":{}}"#, 0), (#"{"a\q":{}}"#, 0),
  ]) func headersThatLieAreRefused(header: String, data: Int) {
    let path = file(header, data: data)
    let error = thrown { _ = try Safetensors(path: path) }
    #expect(error?.path == path)
    #expect(error?.offset != nil)
  }

  @Test func headersMayHoldMoreAndSpaces() throws {
    let header = #" { "\u0061\ud83d\ude00" : {"dtype":"U8","shape":[ 1 , 2 ],"x":[{"y":[null,-1.5e3,true,"s"]},{}],"#
    let path = file(header + #""data_offsets":[0,2]} }  "#, data: 2)
    #expect(try Safetensors(path: path).tensors == [TensorDescription(name: "a\u{1f600}", dtype: .u8, shape: [1, 2])])
    let deep = String(repeating: "[", count: 100_000)
    #expect(thrown { _ = try Safetensors(path: file(#"{"a":{"x":\#(deep)"#, data: 0)) }?.code == .corrupt)
    for size in [UInt64.max, 1 << 62, 100_000_001, 3] {
      #expect(thrown { _ = try Safetensors(path: file("{}", data: 0, size: size)) } != nil)
    }
  }

  // MARK: - MXNet parameters

  @Test func readsAndWritesTheBytesOfMXNet() throws {
    let parameters = try MXNetParameters(path: fixture("v2.params"))
    #expect(
      parameters.entries.map(\.name) == [
        "arg:weight", "arg:double", "arg:half", "aux:bytes", "aux:int", "aux:small", "aux:long",
      ])
    #expect(parameters["arg:weight"]?.shape == [2, 3, 4])
    #expect(parameters["arg:weight"]?.floats() == (0..<24).map { Float($0) / 8 - 1 })
    #expect(parameters["arg:double"]?.dtype == .f64)
    #expect(parameters["arg:double"]?.floats() == [0, 0.1, 0.2])
    #expect(parameters["arg:half"]?.floats() == [1.5, -2, 65504, 5.9604645e-8])
    #expect(parameters["aux:bytes"]?.floats() == [0, 50, 100, 150, 200])
    #expect(parameters["aux:int"]?.floats() == [-2_147_483_648, 7])
    #expect(parameters["aux:small"]?.floats() == [-128, 127])
    #expect(parameters["aux:long"]?.floats() == [1_099_511_627_776, -5])
    #expect(parameters["arg:none"] == nil)
    try parameters.write(to: folder.file("a.params"))
    #expect(try contents(folder.file("a.params")) == contents(fixture("v2.params")))
  }

  @Test(arguments: ["v0.params", "v1.params"]) func readsOldLayouts(name: String) throws {
    let tensor = try #require(try MXNetParameters(path: fixture(name))["arg:x"])
    #expect(tensor.shape == [1, 3])
    #expect(tensor.floats() == [1, 2, 3])
  }

  @Test func readsNumpyShapesAndUnnamedArrays() throws {
    let scalar = try #require(try MXNetParameters(path: fixture("v3.params"))["arg:scalar"])
    #expect(scalar.shape == [])
    #expect(scalar.floats() == [2.5])
    let unnamed = try MXNetParameters(path: fixture("unnamed.params"))
    #expect(unnamed.entries.map(\.name) == [""])
    #expect(unnamed.entries[0].tensor.shape == [2, 3, 4])
    let path = folder.file("a.params")
    #expect(thrown { try MXNetParameters(entries: [("arg:x", scalar)]).write(to: path) }?.code == .unsupported)
    #expect(folder.names == [])
  }

  @Test func sparseArraysAreRefused() {
    let error = thrown { _ = try MXNetParameters(path: fixture("sparse.params")) }
    #expect(error?.code == .unsupported)
    #expect(error?.offset == 24)
  }

  @Test func countsThatLieAreNotAllocated() {
    for (place, value) in [(0, UInt64(7)), (16, 1 << 60), (16, .max), (16, 10_000), (36, 1 << 62), (44, .max)] {
      var bytes = (try? contents(fixture("v2.params"))) ?? []
      withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(place..<place + 8, with: $0) }
      put(bytes, at: folder.file("a.params"))
      let error = thrown { _ = try MXNetParameters(path: folder.file("a.params")) }
      #expect(error?.code == .corrupt || error?.code == .truncated)
      #expect(error?.offset != nil)
    }
  }

  @Test(
    .enabled(if: realData != nil, realDataMissing),
    arguments: [
      ("mobilefacenet-y1/model-0000.params", 284), ("retinaface-mnet25/mnet.25-0000.params", 273),
    ]) func realCheckpoints(name: String, count: Int) throws
  {
    let path = try #require(realData) + "/" + name
    let parameters = try MXNetParameters(path: path)
    #expect(parameters.entries.count == count)
    for (name, tensor) in parameters.entries {
      #expect(name.hasPrefix("arg:") || name.hasPrefix("aux:"))
      #expect(tensor.dtype == .f32)
    }
    try parameters.write(to: folder.file("a.params"))
    #expect(try contents(folder.file("a.params")) == contents(path))
  }
}
