import Formats
import Foundation
import Testing

@testable import Inference

/// Every operation against MXNet 1.9.1: import, names, shapes, numbers, and the way back.
@Suite struct OperationTests {
  @Test func theFixturesAreThere() {
    #expect(OperatorCase.all.count >= 50)
  }

  @Test(arguments: OperatorCase.all)
  func computesWhatMXNetComputes(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    let outputs = try NaiveExecutor(graph).run(operation.inputs)
    try expectEqual(outputs, operation.outputs, within: 2e-6)
  }

  @Test(arguments: OperatorCase.all)
  func namesAndShapesAreThoseOfMXNet(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    #expect(graph.argumentNames() == operation.arguments)
    #expect(graph.auxiliaryNames() == operation.auxiliaries)
    let shapes = Dictionary(uniqueKeysWithValues: operation.tensors.map { ($0.name, $0.shape) })
    for parameter in try graph.parameters() { #expect(parameter.shape == shapes[parameter.name]) }
    // With the batch size symbolic, and the same once it is filled in.
    let inferred = try graph.inferShapes()
    let batch = try #require(operation.inputs["data"]).shape[0]
    for (value, expected) in zip(graph.outputs, operation.outputs) {
      #expect(inferred[value].sizes(batch: batch) == expected.shape)
    }
  }

  @Test(arguments: OperatorCase.all)
  func exportedAndImportedAgainIsTheSame(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    let symbol = try graph.mxnetSymbol()
    let again = try NetworkGraph.importing(
      MXNetSymbol.parse(Array(symbol.json().utf8)), weights: graph.mxnetWeights(),
      options: .init(inputShapes: operation.inputShapes))
    #expect(again.unusedWeights.isEmpty)
    #expect(again.graph.hasSameStructure(as: graph))
    #expect(again.graph.weights == graph.weights)
  }

  /// For `scripts/fixtures/network_graph.py check`, which lets MXNet load and run the exported symbols.
  @Test(.enabled(if: exportFolder != nil, "set INSIGHTFACE_EXPORT_DIR to write the exported symbols there"))
  func symbolsForMXNetToCheck() throws {
    let folder = URL(fileURLWithPath: try #require(Self.exportFolder))
    for operation in OperatorCase.all {
      let json = try operation.graph().mxnetSymbol().json()
      try Data(json.utf8).write(to: folder.appendingPathComponent("\(operation.name)-symbol.json"))
    }
    let preprocessing = Preprocessing.insideGraph(embeddingLength: 128)
    let json = try MobileFaceNetGraph.y1.graph(preprocessing: preprocessing).mxnetSymbol().json()
    try Data(json.utf8).write(to: folder.appendingPathComponent("y1-symbol.json"))
  }

  private static let exportFolder = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_DIR"]

  private func expectEqual(
    _ outputs: [NaiveExecutor.Tensor], _ expected: [OperatorCase.Tensor], within tolerance: Double
  ) throws {
    #expect(outputs.count == expected.count)
    for (output, expected) in zip(outputs, expected) {
      #expect(output.shape == expected.shape)
      try #require(output.elements.count == expected.elements.count)
      let worst = zip(output.elements, expected.elements).map { abs($0 - $1) / max(1, abs($1)) }.max() ?? 0
      #expect(worst <= tolerance)
    }
  }
}
