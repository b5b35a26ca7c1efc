import Formats
import Foundation
import Inference
import Testing

@testable import FaceRecognition

/// `.pt` files of arcface_torch's networks: written, recognised, read again, refused.
@Suite struct StateDictionaryTests {
  /// A network with weights that tell their places apart.
  static func filled(_ network: RecognitionNetwork, embedding: Int = 32) throws -> NetworkGraph {
    var settings = network.defaultSettings
    settings.embeddingSize = embedding
    var graph = try network.graph(settings)
    for (number, parameter) in try graph.parameters().enumerated() {
      var bytes = [UInt8](repeating: 0, count: 4 * parameter.count)
      let isHeld = parameter.name == "features.weight"
      let first = isHeld ? Float(1) : Float(number + 1)
      bytes.withUnsafeMutableBytes { raw in
        for index in isHeld ? Array(0..<parameter.count) : [0] {
          raw.storeBytes(of: first, toByteOffset: 4 * index, as: Float.self)
        }
      }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, dtype: .f32, bytes: bytes)
    }
    return graph
  }

  static func temporaryFile() -> String {
    NSTemporaryDirectory() + "state-\(UInt64.random(in: 0 ... .max)).pt"
  }

  @Test func throughAFile() throws {
    let graph = try Self.filled(.mbf)
    let path = Self.temporaryFile()
    defer { try? FileManager.default.removeItem(atPath: path) }
    try graph.writePyTorch(to: path)
    let file = try PyTorchFile(path: path)
    #expect(file.description(named: "layers.0.layers.1.num_batches_tracked")?.dtype == .i64)
    #expect(file.description(named: "layers.0.layers.1.num_batches_tracked")?.shape == [])
    #expect(RecognitionNetwork.recognised(by: file.tensors) == [.mbf])
    let read = try RecognitionNetwork.graph(of: file)
    #expect(read.weights == graph.weights)
    #expect(read.hasSameStructure(as: graph))
    #expect(read.preprocessing?.embeddingLength == 32)
    // Another network is refused, and the right one proposed.
    do {
      _ = try RecognitionNetwork.graph(of: file, as: .iresnet18)
      Issue.record("a file of mbf was taken for iresnet18")
    } catch let error as FormatError {
      #expect(error.code == .mismatch && error.advice?.contains("mbf") == true)
    }
    #expect(throws: FormatError.self) { try RecognitionNetwork.graph(of: file, as: .y1) }
  }

  @Test func frozenScaleThatIsNotOne() throws {
    let graph = try Self.filled(.iresnet18)
    var tensors = try graph.stateDictionary()
    let index = try #require(tensors.firstIndex { $0.name == "features.weight" })
    #expect(try graph.loading(stateDictionary: tensors).hasSameStructure(as: graph))
    tensors[index].tensor = try StoredTensor(shape: [32], floats: [Float](repeating: 2, count: 32))
    let read = try graph.loading(stateDictionary: tensors)
    guard case .batchNorm(let norm)? = read.node(named: "features")?.operation else {
      Issue.record("no normalisation `features`")
      return
    }
    #expect(!norm.fixGamma)
  }

  @Test func whatDoesNotFit() throws {
    let graph = try Self.filled(.mbf)
    let tensors = try graph.stateDictionary()
    func code(_ tensors: [(name: String, tensor: StoredTensor)]) -> GraphError.Code? {
      do throws(GraphError) {
        _ = try graph.loading(stateDictionary: tensors)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code(tensors) == nil)
    #expect(code(Array(tensors.dropFirst())) == .missingWeight)
    let extra = try StoredTensor(shape: [1], floats: [1])
    #expect(code(tensors + [("classifier.weight", extra)]) == .unknownName)
    #expect(code([(tensors[0].name, extra)] + tensors.dropFirst()) == .mismatch)
    #expect(RecognitionNetwork.recognised(by: [TensorDescription(name: "a", dtype: .f32, shape: [1])]).isEmpty)
    #expect(RecognitionNetwork.recognised(by: []).isEmpty)
  }

  @Test func operationCounts() throws {
    // 2 C kH kW − 1 for each output element of a convolution, 2 D for each unit of a layer and each of its tokens.
    var g = GraphBuilder()
    let x = g.addInput("data", [.n, 5, 8])
    let y = g.torchLinear("layer", x, units: 3)
    let product = g.matmul(y, y, transposesSecond: true)
    let graph = try g.finish(product)
    #expect(try graph.operationCount() == 5 * 2 * 8 * 3 + 5 * 5 * (2 * 3 - 1))
  }
}
