import Formats
import Foundation
import Testing

@testable import Inference

/// Every operation on its way through ONNX: the numbers stay those of MXNet.
@Suite struct ONNXOperationTests {
  /// The graph read back from the bytes of an ONNX file.
  private func returned(
    _ graph: NetworkGraph, _ options: ONNXExportOptions = ONNXExportOptions()
  ) throws -> NetworkGraph {
    let bytes = try graph.onnxModel(options).serialized()
    let read = try NetworkGraph.importing(ONNXModel(serialized: bytes))
    #expect(read.unusedWeights.isEmpty)
    return read.graph
  }

  @Test(arguments: OperatorCase.all)
  func computesTheSameBehindONNX(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    let again = try returned(graph)
    // ONNX wants an operation behind every output, so one that is an input gets a name of its own.
    let inputNames = graph.inputs.map(\.name)
    #expect(again.outputNames == graph.outputNames.map { inputNames.contains($0) ? "\($0)_output" : $0 })
    try expectEqual(try NaiveExecutor(again).run(inputs(operation, again)), operation.outputs, within: 2e-6)
  }

  @Test(arguments: OperatorCase.all)
  func computesTheSameFoldedAndInHalfPrecision(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    let folded = try returned(graph, .init(opset: 17, foldsBatchNorm: true))
    try expectEqual(try NaiveExecutor(folded).run(inputs(operation, folded)), operation.outputs, within: 5e-6)
    let half = try returned(graph, .init(isHalfPrecision: true))
    // Only the weights are rounded here: the executor computes in double precision.
    try expectEqual(try NaiveExecutor(half).run(inputs(operation, half)), operation.outputs, within: 2e-2)
  }

  @Test(arguments: OperatorCase.all)
  func theDescriptionInJSONIsTheSameGraph(_ operation: OperatorCase) throws {
    let graph = try operation.graph()
    let again = try NetworkGraph(json: graph.json())
    #expect(again.hasSameStructure(as: graph))
    #expect(again.json() == graph.json())
  }

  /// For `scripts/fixtures/onnx_models.py check`, which lets ONNX Runtime load and run the exported models.
  @Test(.enabled(if: exportFolder != nil, "set INSIGHTFACE_EXPORT_DIR to write the exported models there"))
  func modelsForONNXRuntimeToCheck() throws {
    let folder = URL(fileURLWithPath: try #require(Self.exportFolder))
    struct Sample: Encodable {
      var inputs: [String: [Double]]
      var inputShapes: [String: [Int]]
      var outputs: [[Double]]
      var tolerance: Double
    }
    let variants: [(String, ONNXExportOptions)] = [
      ("plain", .init()), ("folded", .init(opset: 17, foldsBatchNorm: true)), ("newest", .init(opset: 21)),
      ("half", .init(isHalfPrecision: true)),
    ]
    for operation in OperatorCase.all {
      for (variant, options) in variants {
        let stem = folder.appendingPathComponent("\(operation.name)-\(variant)")
        try operation.graph().onnxModel(options).write(to: stem.path + ".onnx")
        let sample = Sample(
          inputs: operation.inputs.mapValues(\.elements), inputShapes: operation.inputs.mapValues(\.shape),
          outputs: operation.outputs.map(\.elements), tolerance: variant == "half" ? 2e-2 : 2e-5)
        try JSONEncoder().encode(sample).write(to: URL(fileURLWithPath: stem.path + ".json"))
      }
    }
  }

  private static let exportFolder = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_DIR"]

  /// A crop like another tensor becomes numbers, after which nothing takes that tensor.
  private func inputs(_ operation: OperatorCase, _ graph: NetworkGraph) -> [String: NaiveExecutor.Tensor] {
    let names = graph.inputs.map(\.name)
    return operation.inputs.filter { names.contains($0.key) }
  }

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
