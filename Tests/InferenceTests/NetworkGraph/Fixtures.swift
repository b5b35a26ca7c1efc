import Formats
import Foundation
import Testing

@testable import Inference

/// Files of the tests, and real data where it lies.
enum Fixtures {
  static var root: URL {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<4 { url.deleteLastPathComponent() }
    return url
  }

  static func text(_ name: String) throws -> String {
    let url = root.appendingPathComponent("Tests/Fixtures/network-graph/\(name)")
    return String(decoding: try Data(contentsOf: url), as: UTF8.self)
  }

  /// The folder of real checkpoints and faces.
  static var dataFolder: String {
    ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
      ?? root.appendingPathComponent("../shared/data").standardized.path
  }

  static func hasData(_ name: String) -> Bool { FileManager.default.fileExists(atPath: dataFolder + "/" + name) }
}

/// A network of one operator as MXNet 1.9.1 wrote and computed it.
struct OperatorCase: Decodable, Sendable, CustomTestStringConvertible {
  struct Tensor: Decodable, Sendable {
    var name: String
    var shape: [Int]
    var elements: [Double]
  }

  var name: String
  var symbol: String
  var arguments: [String]
  var auxiliaries: [String]
  var tensors: [Tensor]
  var outputs: [Tensor]

  var testDescription: String { name }

  static let inputNames = ["data", "other"]

  static let all: [OperatorCase] = {
    ["operations-1.json", "operations-2.json", "operations-3.json", "operations-transformer.json"].flatMap { file in
      (try? JSONDecoder().decode([OperatorCase].self, from: Data(Fixtures.text(file).utf8))) ?? []
    }
  }()

  /// Everything that is not an input, as a checkpoint would hold it.
  func weights() throws -> [(name: String, tensor: StoredTensor)] {
    try tensors.filter { !Self.inputNames.contains($0.name) }.map {
      (
        (auxiliaries.contains($0.name) ? "aux:" : "arg:") + $0.name,
        try StoredTensor(shape: $0.shape, floats: $0.elements.map(Float.init))
      )
    }
  }

  /// The shapes of the inputs with a symbolic batch size.
  var inputShapes: [String: NetworkGraph.Shape] {
    var shapes: [String: NetworkGraph.Shape] = [:]
    for tensor in tensors where Self.inputNames.contains(tensor.name) {
      shapes[tensor.name] = NetworkGraph.Shape([.n] + tensor.shape.dropFirst().map { .fixed($0) })
    }
    return shapes
  }

  func graph() throws -> NetworkGraph {
    try NetworkGraph.importing(
      MXNetSymbol.parse(Array(symbol.utf8)), weights: weights(), options: .init(inputShapes: inputShapes)
    ).graph
  }

  var inputs: [String: NaiveExecutor.Tensor] {
    var inputs: [String: NaiveExecutor.Tensor] = [:]
    for tensor in tensors where Self.inputNames.contains(tensor.name) {
      inputs[tensor.name] = NaiveExecutor.Tensor(shape: tensor.shape, elements: tensor.elements)
    }
    return inputs
  }
}
