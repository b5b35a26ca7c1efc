import Formats
import Foundation
import Testing

@testable import Inference

/// Models from one format into the next, and files that do not tell what they are.
@Suite final class ModelFileTests {
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("model-\(UUID().uuidString)")

  init() throws { try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(at: folder) }

  private func file(_ name: String) -> String { folder.appendingPathComponent(name).path }

  /// A small embedder with drawn weights.
  private func network(inside: Bool) throws -> NetworkGraph {
    var g = GraphBuilder(input: "data", channels: 3, height: 12, width: 10)
    var x = inside ? g.multiply(g.subtract(g.input, 127.5), 0.0078125) : g.input
    x = g.prelu("relu0", g.batchNorm("bn0", g.convolution("conv0", x, filters: 4, kernel: 3, stride: 2, bias: false)))
    x = g.batchNorm("fc1", g.fullyConnected("pre_fc1", x, units: 6), epsilon: 2e-5, fixGamma: true)
    var preprocessing = Preprocessing.insideGraph(height: 12, width: 10, embeddingLength: 6)
    if !inside {
      preprocessing.isInsideGraph = false
      preprocessing.scale = [1 / 127.5]
    }
    var graph = try g.finish([x], preprocessing: preprocessing)
    var state: UInt64 = 3
    for parameter in try graph.parameters() {
      let values = (0..<parameter.count).map { _ -> Float in
        state = state &* 6_364_136_223_846_793_005 &+ 1
        let number = Float(state >> 40) / Float(1 << 24)
        if parameter.name == "fc1_gamma" { return 1 }
        return parameter.role == .movingVariance ? number + 0.5 : number - 0.5
      }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, floats: values)
    }
    return graph
  }

  private func embedding(_ graph: NetworkGraph) throws -> [Double] {
    let preprocessing = try #require(graph.preprocessing)
    let pixels = (0..<360).map { index -> Double in
      let pixel = Double(index * 37 % 256)
      return preprocessing.isInsideGraph ? pixel : (pixel - preprocessing.mean[0]) * preprocessing.scale[0]
    }
    let image = try #require(NaiveExecutor.Tensor(shape: [1, 3, 12, 10], elements: pixels))
    return try #require(try NaiveExecutor(graph).run([graph.inputs[0].name: image]).first).elements
  }

  private func worst(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).map { abs($0 - $1) }.max() ?? 1 }

  /// InsightFace's tools feed an MXNet model under the name `data`.
  @Test func theInputOfAnMXNetModelIsCalledData() throws {
    let graph = try network(inside: true)
    var nodes = graph.nodes
    nodes[0].name = "input"
    let renamed = try NetworkGraph(
      nodes: nodes, outputs: graph.outputs, weights: graph.weights, preprocessing: graph.preprocessing)
    try ModelFile(graph: renamed, format: .onnx).write(to: file("d,1"), as: .mxnet)
    let read = try ModelFile(reading: file("d,1")).graph
    #expect(read.inputs.map(\.name) == ["data"])
    #expect(read.preprocessing == graph.preprocessing)
    #expect(try embedding(read) == embedding(graph))
    // A symbol written without that name keeps size and preprocessing all the same.
    let symbol = try renamed.mxnetSymbol()
    let other = try NetworkGraph.importing(symbol, weights: renamed.mxnetWeights()).graph
    #expect(other.inputs.map(\.name) == ["input"])
    #expect(try embedding(other) == embedding(graph))
  }

  @Test(arguments: [true, false])
  func theEmbeddingIsTheSameAtEveryStation(inside: Bool) throws {
    let graph = try network(inside: inside)
    let expected = try embedding(graph)
    var model = ModelFile(graph: graph, format: .mxnet, license: "for tests")
    let stations: [(String, ModelFormat)] = [
      (file("a.safetensors"), .safetensors), (file("b,7"), .mxnet), (file("c.onnx"), .onnx),
      (file("d"), .safetensors), (file("e"), .onnx), (file("f-0003.params"), .mxnet),
    ]
    for (path, format) in stations {
      let written = try model.write(to: path, as: format)
      #expect(written.count == (format == .mxnet ? 2 : 1))
      model = try ModelFile(reading: path)
      #expect(model.format == format)
      #expect(model.unusedWeights.isEmpty)
      #expect(model.graph.preprocessing?.embeddingLength == 6)
      #expect(worst(try embedding(model.graph), expected) < 1e-6, "\(path)")
    }
    #expect(FileManager.default.fileExists(atPath: file("b-0007.params")))
    // Whoever runs an MXNet model feeds it pixels.
    #expect(model.graph.preprocessing?.isInsideGraph == true)
  }

  @Test func theWholeModelSurvivesSafetensors() throws {
    let graph = try network(inside: false)
    try ModelFile(graph: graph, format: .onnx, license: "x").write(to: file("m.safetensors"), as: .safetensors)
    let model = try ModelFile(reading: file("m.safetensors"))
    #expect(model.graph.hasSameStructure(as: graph))
    #expect(model.graph.weights == graph.weights)
    #expect(model.graph.preprocessing == graph.preprocessing)
    #expect(model.license == "x")
  }

  @Test func foldedModelsComputeTheSame() throws {
    let graph = try network(inside: true)
    let model = ModelFile(graph: graph, format: .mxnet)
    try model.write(to: file("m.onnx"), as: .onnx, onnx: .init(foldsBatchNorm: true, license: "research"))
    let folded = try ModelFile(reading: file("m.onnx"))
    #expect(folded.license == "research")
    #expect(!folded.graph.nodes.contains { if case .batchNorm = $0.operation { true } else { false } })
    #expect(folded.graph.outputNames == ["fc1"])
    #expect(worst(try embedding(folded.graph), try embedding(graph)) < 1e-5)
  }

  @Test func unknownPreprocessingMustBeSaid() throws {
    var graph = try network(inside: false)
    graph.preprocessing = nil
    try ModelFile(graph: graph, format: .onnx).write(to: file("m.onnx"), as: .onnx)
    #expect(throws: FormatError.self) { try ModelFile(reading: file("m.onnx")) }
    let unknown = try ModelFile(reading: file("m.onnx"), options: .init(requiresPreprocessing: false))
    #expect(unknown.graph.preprocessing == nil)
    let said = try ModelFile(reading: file("m.onnx"), options: .init(preprocessing: .arcFaceTorch))
    #expect(said.graph.preprocessing?.scale == [1 / 127.5])
    #expect(said.graph.preprocessing?.height == 12)
    #expect(said.graph.preprocessing?.embeddingLength == 6)
    // What is said must not contradict the file.
    try said.write(to: file("n.onnx"), as: .onnx)
    #expect(try ModelFile(reading: file("n.onnx"), options: .init(preprocessing: .arcFaceTorch)).format == .onnx)
    #expect(throws: FormatError.self) {
      try ModelFile(reading: file("n.onnx"), options: .init(preprocessing: .insightFace))
    }
    // And must fit the network.
    let wrong = Preprocessing.insideGraph(height: 12, width: 10, embeddingLength: 7)
    #expect(throws: FormatError.self) {
      try ModelFile(reading: file("m.onnx"), options: .init(preprocessing: .exact(wrong)))
    }
  }

  @Test func formatsAreToldByContent() throws {
    func detect(_ bytes: [UInt8]) -> ModelFormat? {
      ModelFormat.detect(head: Array(bytes.prefix(64)), byteCount: bytes.count)
    }
    #expect(detect([0x12, 0x01] + [UInt8](repeating: 0, count: 30)) == .mxnet)
    #expect(detect(Array("\u{feff} \n{\"nodes\": []}".utf8)) == .mxnet)
    #expect(detect([0x50, 0x4b, 0x03, 0x04, 0, 0]) == .pytorch)
    #expect(detect([0x80, 0x02, 0x8a, 0x0a]) == .pytorch)
    #expect(detect([2, 0, 0, 0, 0, 0, 0, 0] + Array("{}".utf8)) == .safetensors)
    #expect(detect([0xff, 0, 0, 0, 0, 0, 0, 0] + Array("{}".utf8)) == nil)
    #expect(detect([0x08, 0x07, 0x12, 0x00]) == .onnx)
    for other: [UInt8] in [[], [0x08], Array("hello".utf8), [UInt8](repeating: 0xff, count: 64)] {
      #expect(detect(other) == nil)
    }
    try Data("hello, world".utf8).write(to: URL(fileURLWithPath: file("x.onnx")))
    do {
      _ = try ModelFile(reading: file("x.onnx"))
      Issue.record("a text was read as a model")
    } catch {
      #expect((error as FormatError).code == .unsupported)
      #expect((error as FormatError).description.contains("68 65 6c 6c 6f"))
    }
  }

  @Test func otherSafetensorsAndPyTorchSayWhatIsMissing() throws {
    let tensor = try StoredTensor(shape: [1], floats: [1])
    try Safetensors.write([("a", tensor)], to: file("a.safetensors"))
    #expect(throws: FormatError.self) { try ModelFile(reading: file("a.safetensors")) }
    try Data([0x50, 0x4b, 0x03, 0x04]).write(to: URL(fileURLWithPath: file("a.pt")))
    #expect(throws: FormatError.self) { try ModelFile(reading: file("a.pt")) }
    let graph = try network(inside: false)
    let read = try ModelFile(
      reading: file("a.pt"),
      options: .init(readPyTorch: { _ throws(FormatError) in graph }))
    #expect(read.format == .pytorch)
    #expect(read.graph.hasSameStructure(as: graph))
  }

  @Test func descriptionsAreReadStrictly() throws {
    let sound = try network(inside: true).json()
    for (old, new) in [
      ("\"version\":1", "\"version\":2"), ("\"op\":\"prelu\"", "\"op\":\"magic\""),
      ("\"shared\":false", "\"shared\":0"), ("\"shared\":false", "\"shared\":false,\"more\":1"),
      (",\"groups\":1", ""), ("\"filters\":4", "\"filters\":-4"), ("\"filters\":4", "\"filters\":9223372036854775808"),
      ("\"in\":[0]", "\"in\":[99]"), ("\"in\":[0]", "\"in\":[-1]"), ("\"outputs\":", "\"inputs\":"), ("}", ""),
      ("\"kernel\":[3,3]", "\"kernel\":[3]"), ("\"N\"", "\"M\""), ("\"N\"", "\"-1N\""),
    ] {
      let damaged = sound.replacing(old, with: new, maxReplacements: 1)
      #expect(damaged != sound, "\(old)")
      #expect(throws: GraphError.self, "\(new)") { try NetworkGraph(json: damaged) }
    }
  }

  @Test func placesOfMXNetModels() {
    #expect(MXNetLocation(text: "m/model,12") == MXNetLocation(prefix: "m/model", epoch: 12))
    #expect(MXNetLocation(text: "m/model-0012.params") == MXNetLocation(prefix: "m/model", epoch: 12))
    #expect(MXNetLocation(text: "m/model-symbol.json").prefix == "m/model")
    #expect(MXNetLocation(text: "m/a,b").prefix == "m/a,b")
    #expect(MXNetLocation(prefix: "m", epoch: 12345).parametersPath == "m-12345.params")
  }

  // MARK: The original checkpoint

  private static let y1 = Fixtures.dataFolder + "/mobilefacenet-y1/model"
  private static let hasCheckpoint = Fixtures.hasData("mobilefacenet-y1/model-0000.params")
  private static let skipped: Comment = "the y1 checkpoint is looked for in $INSIGHTFACE_TEST_DATA or ../shared/data"

  /// Weight for weight; what they compute is then the same.
  @Test(.enabled(if: hasCheckpoint, skipped))
  func theOriginalCheckpointTravelsUnchanged() throws {
    let original = try ModelFile(reading: Self.y1)
    #expect(original.graph.preprocessing == .insideGraph(embeddingLength: 128))
    var model = original
    for (path, format) in [
      (file("y1.safetensors"), ModelFormat.safetensors), (file("y1,0"), .mxnet), (file("y1.onnx"), .onnx),
    ] {
      try model.write(to: path, as: format)
      model = try ModelFile(reading: path)
      #expect(model.graph.weights == original.graph.weights, "\(format)")
      #expect(model.graph.preprocessing == original.graph.preprocessing)
      #expect(try model.graph.operationCount() == 439_821_056)
      #expect(model.graph.nodes.map(\.name) == original.graph.nodes.map(\.name))
    }
  }
}
