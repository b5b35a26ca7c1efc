import Formats
import Foundation
import Inference
import Testing

@testable import FaceRecognition

/// The registered networks on their way to other runtimes.
@Suite struct ONNXZooTests {
  /// Numbers in 0 ..< 1 that are the same everywhere.
  private static func uniform(_ key: String, _ count: Int) -> [Float] {
    let seed = key.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    return (0..<count).map { index in
      var z = seed &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return Float((z ^ (z >> 31)) >> 40) * 0x1p-24
    }
  }

  /// Weights with which the signal keeps its size through any depth, as scripts/fixtures/make_zoo.py makes them.
  static func filled(_ network: NetworkGraph) throws -> NetworkGraph {
    var graph = network
    // A normalisation whose result is added to another has a small gamma, so that sums of many units do not grow.
    var summed: Set<String> = []
    for node in graph.nodes where node.operation == .elementwise(.init(.add)) {
      for input in node.inputs { summed.formUnion(graph.nodes[input.node].parameters) }
    }
    for parameter in try graph.parameters() {
      let (scale, offset): (Float, Float) =
        switch parameter.role {
        case .gamma: summed.contains(parameter.name) ? (0.2, 0.2) : (0.3, 1)
        case .movingVariance: (0.4, 0.9)
        case .slope: (0.06, 0.97)
        case .movingMean: (0.2, -0.1)
        case .beta, .bias: (0.4, -0.2)
        case .value: (1, -0.5)
        case .weight:
          {
            let bound = (3 / Float(max(1, parameter.shape.dropFirst().reduce(1, *)))).squareRoot()
            return (2 * bound, -bound)
          }()
        }
      // The tensor of pixels, 0 … 255.
      let isRaw = parameter.name.hasPrefix("bn_data_moving")
      let period = Self.uniform(parameter.name, min(parameter.count, 16411)).map { value in
        isRaw ? (parameter.role == .movingMean ? 120 + 10 * value : 5000 + 1000 * value) : offset + scale * value
      }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(4 * parameter.count)
      let part = period.withUnsafeBytes { Array($0) }
      while bytes.count < 4 * parameter.count { bytes += part.prefix(4 * parameter.count - bytes.count) }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, dtype: .f32, bytes: bytes)
    }
    return graph
  }

  /// Pixels (count, 3, size, size) in 0 … 255.
  private static func pixels(_ count: Int, _ size: Int) -> [Float] {
    uniform("pixels", count * 3 * size * size).map { ($0 * 255).rounded() }
  }

  private static func embeddings(_ graph: NetworkGraph, _ pixels: [Float], _ size: Int) throws -> [Float] {
    let input = try InferencePlan.Tensor(shape: [pixels.count / (3 * size * size), 3, size, size], elements: pixels)
    return try InferencePlan(graph).run([graph.inputs[0].name: input])[0].elements
  }

  /// A transformer through an ONNX file of each kind, back into a network and into a `.pt` file.
  @Test(arguments: [13, 17, 20]) func aTransformerComesBackFromONNX(_ opset: Int) throws {
    let graph = try Self.filled(
      VisionTransformer(
        design: .init(width: 64, depth: 2, dropPath: 0.1, mask: 0.1), settings: NetworkSettings(imageSize: 27)
      ).graph())
    let model = try graph.onnxModel(.init(opset: opset))
    let again = try NetworkGraph.importing(ONNXModel(serialized: model.serialized())).graph
    func count(_ graph: NetworkGraph, _ word: String) -> Int {
      graph.nodes.filter { $0.operation.name == word }.count
    }
    for word in ["layerNorm", "matmul", "fullyConnected", "softmax"] {
      #expect(count(again, word) == count(graph, word), "\(word)")
    }
    let pixels = Self.pixels(2, 27)
    let (before, after) = (try Self.embeddings(graph, pixels, 27), try Self.embeddings(again, pixels, 27))
    let norm = before.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let distance = zip(before, after).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    #expect(norm > 1 && distance < 1e-5 * norm)
  }

  @Test func weightsFromElsewhereBecomeAPyTorchFileWhereTheyFit() throws {
    let graph = try Self.filled(RecognitionNetwork.mbf.graph())
    let through = try NetworkGraph.importing(graph.mxnetSymbol(), weights: graph.mxnetWeights()).graph
    let made = try RecognitionNetwork.pyTorchNetwork(of: through)
    #expect(made.preprocessing == graph.preprocessing)
    let (before, after) = (try graph.stateDictionary(), try made.stateDictionary())
    #expect(after.map { $0.name } == before.map { $0.name })
    #expect(zip(before, after).allSatisfy { $0.tensor == $1.tensor })
    // Networks of MXNet have no file of PyTorch, and pixels scaled otherwise would give other embeddings.
    #expect(throws: GraphError.self) {
      try RecognitionNetwork.pyTorchNetwork(of: Self.filled(RecognitionNetwork.mnas025.graph()))
    }
    var other = graph
    other.preprocessing?.scale = [1 / 128]
    #expect(throws: GraphError.self) { try RecognitionNetwork.pyTorchNetwork(of: other) }
  }

  private static let folder = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_DIR"]
  private static let name = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_NETWORK"]

  /// For `scripts/parity/onnx_runtime.py`, which lets ONNX Runtime run what is written here.
  @Test(.enabled(if: folder != nil && name != nil, "set INSIGHTFACE_EXPORT_DIR and INSIGHTFACE_EXPORT_NETWORK"))
  func aModelForONNXRuntimeToRun() throws {
    let (folder, name) = (try #require(Self.folder), try #require(Self.name))
    let stem = "\(folder)/\(name)"
    let network = try #require(RecognitionNetwork(rawValue: name))
    let graph = try Self.filled(network.graph())
    try graph.onnxModel().write(to: stem + ".onnx")
    let pixels = Self.pixels(2, 112)
    try NumPyArray.write([pixels], to: stem + "-input.npy")
    try NumPyArray.write([try Self.embeddings(graph, pixels, 112)], to: stem + "-embeddings.npy")
  }
}
