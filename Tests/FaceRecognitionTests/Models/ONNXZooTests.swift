import Formats
import Foundation
import Inference
import Testing

@testable import FaceRecognition

/// The registered networks on their way to other runtimes.
@Suite struct ONNXZooTests {
  private static func embeddings(_ graph: NetworkGraph, _ pixels: [Float], _ size: Int) throws -> [Float] {
    let input = try InferencePlan.Tensor(shape: [pixels.count / (3 * size * size), 3, size, size], elements: pixels)
    return try InferencePlan(graph).run([graph.inputs[0].name: input])[0].elements
  }

  /// A transformer through an ONNX file of each kind, back into a network and into a `.pt` file.
  @Test(arguments: [13, 17, 20]) func aTransformerComesBackFromONNX(_ opset: Int) throws {
    let graph = try VisionTransformer(
      design: .init(width: 64, depth: 2, dropPath: 0.1, mask: 0.1), settings: NetworkSettings(imageSize: 27)
    ).graph().withRandomWeights(seed: 1)
    let model = try graph.onnxModel(.init(opset: opset))
    let again = try NetworkGraph.importing(ONNXModel(serialized: model.serialized())).graph
    func count(_ graph: NetworkGraph, _ word: String) -> Int {
      graph.nodes.filter { $0.operation.name == word }.count
    }
    for word in ["layerNorm", "matmul", "fullyConnected", "softmax"] {
      #expect(count(again, word) == count(graph, word), "\(word)")
    }
    let pixels: [Float] = (0..<2 * 3 * 27 * 27).map { (index: Int) -> Float in Float(index * 7919 % 256) }
    let (before, after) = (try Self.embeddings(graph, pixels, 27), try Self.embeddings(again, pixels, 27))
    var (squares, differences): (Float, Float) = (0, 0)
    for (a, b) in zip(before, after) {
      squares += a * a
      differences += (a - b) * (a - b)
    }
    let (norm, distance) = (squares.squareRoot(), differences.squareRoot())
    #expect(norm > 1 && distance < 1e-5 * norm)
  }

  @Test func weightsFromElsewhereBecomeAPyTorchFileWhereTheyFit() throws {
    let graph = try RecognitionNetwork.mbf.graph().withRandomWeights(seed: 1)
    let through = try NetworkGraph.importing(graph.mxnetSymbol(), weights: graph.mxnetWeights()).graph
    let made = try RecognitionNetwork.pyTorchNetwork(of: through)
    #expect(made.preprocessing == graph.preprocessing)
    let (before, after) = (try graph.stateDictionary(), try made.stateDictionary())
    #expect(after.map { $0.name } == before.map { $0.name })
    #expect(zip(before, after).allSatisfy { $0.tensor == $1.tensor })
    // Networks of MXNet have no file of PyTorch, and pixels scaled otherwise would give other embeddings.
    #expect(throws: GraphError.self) {
      try RecognitionNetwork.pyTorchNetwork(of: RecognitionNetwork.mnas025.graph().withRandomWeights(seed: 1))
    }
    var other = graph
    other.preprocessing?.scale = [1 / 128]
    #expect(throws: GraphError.self) { try RecognitionNetwork.pyTorchNetwork(of: other) }
  }

  @Test func anExportedTransformerBecomesAPyTorchFileWithAnEmptyMaskToken() throws {
    let graph = try RecognitionNetwork.vitTiny.graph().withRandomWeights(seed: 1)
    let exported = try NetworkGraph.importing(graph.onnxModel()).graph
    let made = try RecognitionNetwork.pyTorchNetwork(of: exported)
    let (before, after) = (try graph.stateDictionary(), try made.stateDictionary())
    #expect(after.map { $0.name } == before.map { $0.name })
    for ((name, given), (_, found)) in zip(before, after) {
      if name == "mask_token" {
        #expect(found.shape == given.shape && found.floats().allSatisfy { $0 == 0 })
      } else {
        #expect(found == given, "\(name)")
      }
    }
  }
}
