import Formats
import Foundation
import Jobs
import Testing

@testable import Inference

/// Networks with operators that have no counterpart here, run by OpenVINO where it is installed, against ONNX Runtime.
@Suite struct OpenVINOTests {
  struct Case: Decodable, Sendable, CustomTestStringConvertible {
    struct Output: Decodable, Sendable {
      var name: String
      var shape: [Int]
      var values: [Double]
    }
    var model: String
    var shape: [Int]
    var input: [Double]
    var outputs: [Output]
    var testDescription: String { "\(model) \(shape)" }
  }

  static let folder = Fixtures.root.appendingPathComponent("Tests/Fixtures/openvino").path
  static let cases = (try? JSONDecoder().decode([Case].self, from: contents("expected.json"))) ?? []
  static let isInstalled = (try? OpenVINO.installed()) != nil
  static let advice: Comment = "OpenVINO is not installed: scripts/bootstrap --openvino, or $INSIGHTFACE_OPENVINO"

  static func contents(_ name: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))
  }

  static func path(_ name: String) -> String { "\(folder)/\(name).onnx" }

  private func load(_ name: String, size: NetworkGraph.Extent? = nil) throws -> OpenVINONetwork {
    let path = Self.path(name)
    guard case .openVINO(let network) = try ONNXNetwork.load(path: path, model: ONNXModel(path: path), inputSize: size)
    else { throw GraphError(.invalid, message: "\(name) was read") }
    return network
  }

  private func tensor(_ sample: Case) throws -> FloatTensor {
    try FloatTensor(shape: sample.shape, elements: sample.input.map { Float($0) })
  }

  @Test func `There are cases`() { #expect(Self.cases.count == 5) }

  @Test(.enabled(if: isInstalled, advice), arguments: cases)
  func `Numbers are those of ONNX Runtime`(_ sample: Case) throws {
    let network = try load(sample.model)
    #expect(network.outputNames == sample.outputs.map(\.name))
    #expect(network.note?.contains("runs through OpenVINO 2") == true, "\(network.note ?? "")")
    let outputs = try network.run(tensor(sample))
    #expect(outputs.map(\.shape) == sample.outputs.map(\.shape))
    for (output, expected) in zip(outputs, sample.outputs) {
      // One unit of the last place of half precision, where that is what the file computes in.
      let tolerance = expected.name == "half" || sample.model == "half" ? 2e-3 : 2e-5
      let errors = zip(output.elements, expected.values).map { abs(Double($0) - $1) / max(1, abs($1)) }
      #expect(try #require(errors.max()) <= tolerance, "\(expected.name)")
    }
  }

  @Test(.enabled(if: isInstalled, advice)) func `Threads that share a network get what each gets alone`() throws {
    let network = try load("mixed")
    let inputs = try (0..<24).map { index in
      let shape = [1 + index % 3, 3, 4 + index % 5, 5 + index % 4]
      var random = CounterRandom(UInt64(index))
      let elements = (0..<shape.reduce(1, *)).map { _ in Float(random.next() >> 40) / 0x1p23 - 1 }
      return try FloatTensor(shape: shape, elements: elements)
    }
    let expected = try inputs.map { try network.run($0) }
    let results = Monitor<[Int: [FloatTensor]]>([:])
    let threads = (0..<12).map { first in
      WorkerThread {
        for index in stride(from: first, to: inputs.count, by: 12) {
          guard let outputs = try? network.run(inputs[index]) else { continue }
          results.with { $0[index] = outputs }
        }
      }
    }
    for thread in threads { thread.join() }
    let found = results.with { $0 }
    for index in inputs.indices { #expect(found[index] == expected[index], "\(index)") }
  }

  @Test(.enabled(if: isInstalled, advice)) func `Sizes are fixed on demand, and what does not fit is refused`() throws {
    let network = try load("mixed", size: .init(height: 8, width: 6))
    #expect(network.inputShape == [nil, 3, 8, 6])
    let four = try network.run(FloatTensor(shape: [4, 3, 8, 6], elements: .init(repeating: 1, count: 576)))
    #expect(four[1].shape == [4, 4, 4])
    for shape in [[1, 3, 9, 6], [1, 2, 8, 6], [3, 8, 6], [0, 3, 8, 6]] {
      let elements = [Float](repeating: 0, count: shape.reduce(1, *))
      #expect(throws: GraphError.self, "\(shape)") { try network.run(FloatTensor(shape: shape, elements: elements)) }
    }
    // A batch that the file fixes.
    let recurrent = try load("lstm")
    let error = #expect(throws: GraphError.self) {
      try recurrent.run(FloatTensor(shape: [3, 4, 5], elements: .init(repeating: 0, count: 60)))
    }
    #expect(error?.code == .shape)
  }

  @Test(.enabled(if: isInstalled, advice)) func `Images are prepared as the preprocessing says`() throws {
    let path = Self.path("mixed")
    let preprocessing = Preprocessing(
      colourOrder: .bgr, height: 4, width: 5, mean: [1, 2, 3], scale: [0.5, 0.25, 0.125], isInsideGraph: false)
    guard
      case .openVINO(let network) = try ONNXNetwork.load(
        path: path, model: ONNXModel(path: path), preprocessing: preprocessing)
    else { throw GraphError(.invalid, message: "the file was read") }
    var random = CounterRandom(5)
    let pixels = (0..<2 * 60).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    var elements: [Float] = []
    for image in 0..<2 {
      for (channel, scale) in [Float(0.5), 0.25, 0.125].enumerated() {
        for pixel in 0..<20 {
          elements.append((Float(pixels[image * 60 + 3 * pixel + 2 - channel]) - Float(channel + 1)) * scale)
        }
      }
    }
    let expected = try network.run(FloatTensor(shape: [2, 3, 4, 5], elements: elements))
    #expect(try network.run(images: pixels, count: 2, height: 4, width: 5) == expected)
    #expect(throws: GraphError.self) { try network.run(images: pixels, count: 3, height: 4, width: 5) }
  }

  @Test(.enabled(if: isInstalled, advice)) func `What OpenVINO refuses is an error with its words`() throws {
    let engine = try OpenVINO.installed()
    var damaged = Array(try Self.contents("mixed.onnx"))
    damaged.removeLast(damaged.count / 2)
    for bytes in [[], Array("no network".utf8), damaged] {
      let error = #expect(throws: GraphError.self) {
        try bytes.withUnsafeBytes {
          try OpenVINONetwork(bytes: $0, outputNames: ["map"], engine: engine)
        }
      }
      #expect(error?.code == .library && error?.message.contains("OpenVINO says") == true, "\(error?.message ?? "")")
    }
  }

  @Test func `Without OpenVINO the error names operator, node and what to install`() throws {
    let empty = FileManager.default.temporaryDirectory.path + "/no-openvino-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: empty) }
    let path = Self.path("mixed")
    let error = #expect(throws: FormatError.self) {
      try ONNXNetwork.load(path: path, model: ONNXModel(path: path), openVINO: empty)
    }
    let text = error?.description ?? ""
    for part in ["Hardmax", "\"winner\"", "Einsum", "\"products\"", empty, path, "scripts/bootstrap --openvino"] {
      #expect(text.contains(part), "\(part) in \(text)")
    }
    // Something that is no library.
    try Data("text".utf8).write(to: URL(fileURLWithPath: empty + "/libopenvino_c.so"))
    let other = #expect(throws: GraphError.self) { try OpenVINO.installed(at: empty) }
    #expect(other?.code == .library && other?.message.contains("cannot be loaded") == true)
    // A file whose operators are all known needs none of it.
    let known = Fixtures.root.appendingPathComponent("Tests/Fixtures/onnx/iresnet-script.onnx").path
    guard case .graph = try ONNXNetwork.load(path: known, model: ONNXModel(path: known), openVINO: empty) else {
      Issue.record("a known network went to OpenVINO")
      return
    }
    #expect(try ONNXNetwork.unknown(path: known, openVINO: empty) == nil)
  }

  @Test(arguments: [0, -1, Int.min, 4097, 1 << 40, Int.max])
  func `A size of images that cannot be is an error`(side: Int) throws {
    let folder = FileManager.default.temporaryDirectory.path + "/sizes-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = folder + "/model.onnx"
    let code: FormatError.Code = side > 0 ? .tooLarge : .mismatch
    for sides in [[side, 112], [112, side]] {
      let model = ONNXModel(
        irVersion: 7, operatorSets: [.init(version: 13)], producerName: "",
        graph: ONNXGraph(
          name: "", nodes: [ONNXNode("Hardmax", name: "winner", inputs: ["x"], outputs: ["y"])], initializers: [],
          inputs: [
            ONNXValueInfo("x", type: .f32, shape: [.size(1), .size(3)] + sides.map(ONNXValueInfo.Dimension.size))
          ], outputs: [ONNXValueInfo("y", type: .f32, shape: nil)]))
      try Data(model.serialized()).write(to: URL(fileURLWithPath: path))
      let error = #expect(throws: FormatError.self) {
        try ONNXNetwork.unknown(path: path, preprocessing: .insightFace, openVINO: folder)
      }
      #expect(error?.code == code && error?.path == path, "\(String(describing: error))")
      #expect(error?.description.contains(side > 0 ? "at most 4096" : "of a fixed size") == true)
      if side > 0 {
        let error = #expect(throws: FormatError.self) {
          try ONNXNetwork.load(path: path, model: model, openVINO: folder)
        }
        #expect(error?.code == .tooLarge && error?.path == path)
      } else {
        #expect(try model.imageSize() == nil)
      }
    }
  }

  @Test func `It is looked for by the place of the program`() {
    #expect(
      OpenVINO.standardPlaces(program: "/usr/local/bin/insightface") == [
        "/usr/local/bin", "/usr/local/lib/insightface",
      ])
    #expect(
      OpenVINO.standardPlaces(program: "/home/me/tree/.build/x86_64-unknown-linux-gnu/release/insightface").last
        == "/home/me/tree/.openvino")
  }
}
