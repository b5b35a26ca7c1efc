import Formats
import Foundation
import Testing

@testable import Inference

/// Models that PyTorch's two exporters wrote, and what is refused with which words.
@Suite struct ONNXImportTests {
  struct Sample: Decodable {
    var shape: [Int]
    var input: [Double]
    var shapes: [[Int]]
    var outputs: [[Double]]
  }

  private static func path(_ name: String) -> String {
    Fixtures.root.appendingPathComponent("Tests/Fixtures/onnx/\(name)").path
  }

  static let models = ["iresnet", "detector", "mixed", "transformer"].flatMap { ["\($0)-script", "\($0)-dynamo"] }

  /// Against ONNX Runtime's numbers, directly and once more through this project's own export.
  @Test(arguments: models)
  func computesWhatONNXRuntimeDoes(_ name: String) throws {
    let stem = String(name.split(separator: "-")[0])
    let data = try Data(contentsOf: URL(fileURLWithPath: Self.path("\(stem).json")))
    let sample = try JSONDecoder().decode(Sample.self, from: data)
    let read = try NetworkGraph.importing(ONNXModel(path: Self.path("\(name).onnx")))
    #expect(read.graph.preprocessing == nil)
    let input = try #require(NaiveExecutor.Tensor(shape: sample.shape, elements: sample.input))
    let again = try NetworkGraph.importing(read.graph.onnxModel(.init(foldsBatchNorm: true))).graph
    for graph in [read.graph, again] {
      // The batch size stays open: the samples are two, the graph does not say so.
      #expect(graph.inputs.first?.shape.dimensions.first == .n)
      let outputs = try NaiveExecutor(graph).run([try #require(graph.inputs.first).name: input])
      #expect(outputs.map(\.shape) == sample.shapes)
      for (output, expected) in zip(outputs, sample.outputs) {
        try #require(output.elements.count == expected.count)
        let worst = zip(output.elements, expected).map { abs($0 - $1) / max(1, abs($1)) }.max() ?? 1
        #expect(worst < 1e-5)
      }
    }
  }

  /// Chains of arithmetic become the operations that they stand for, through either exporter and through ours.
  @Test(arguments: ["transformer-script", "transformer-dynamo"])
  func transformersKeepTheirOperations(_ name: String) throws {
    func counts(_ graph: NetworkGraph) -> [Int] {
      func count(_ isWanted: (NetworkGraph.Operation) -> Bool) -> Int {
        graph.nodes.filter { isWanted($0.operation) }.count
      }
      return [
        count { if case .layerNorm = $0 { true } else { false } },
        count { if case .matmul = $0 { true } else { false } },
        count { if case .fullyConnected = $0 { true } else { false } }, count { $0 == .activation(.gelu) },
        count { if case .reduction = $0 { true } else { false } },
        count { if case .softmax = $0 { true } else { false } },
      ]
    }
    let graph = try NetworkGraph.importing(ONNXModel(path: Self.path("\(name).onnx"))).graph
    #expect(counts(graph) == [5, 4, 9, 1, 0, 2])
    #expect(graph.weights["norms.0.weight"]?.shape == [16] && graph.weights["norms.4.bias"]?.shape == [16])
    for opset in [13, 17, 20] {
      let again = try NetworkGraph.importing(graph.onnxModel(.init(opset: opset))).graph
      #expect(counts(again) == counts(graph), "opset \(opset)")
    }
  }

  @Test func namesOfWeightsAreThoseOfPyTorch() throws {
    let graph = try NetworkGraph.importing(ONNXModel(path: Self.path("iresnet-script.onnx"))).graph
    for (name, shape) in [
      ("layer1.0.bn1.weight", [8]), ("fc.weight", [16, 144]), ("bn2.running_var", [12]), ("bn2.running_mean", [12]),
    ] {
      #expect(graph.weights[name]?.shape == shape, "\(name)")
    }
  }

  // MARK: Written by hand

  private func model(
    _ nodes: [ONNXNode], shape: [ONNXValueInfo.Dimension] = [.symbol("N"), .size(4), .size(8), .size(8)],
    initializers: [ONNXTensor] = [], outputs: [String] = ["y"], opset: Int = 13
  ) -> ONNXModel {
    ONNXModel(
      irVersion: 7, operatorSets: [.init(version: opset)], producerName: "",
      graph: ONNXGraph(
        name: "", nodes: nodes, initializers: initializers,
        inputs: [ONNXValueInfo("x", type: .f32, shape: shape)],
        outputs: outputs.map { ONNXValueInfo($0, type: .f32, shape: nil) }))
  }

  private func error(_ model: ONNXModel) -> GraphError? {
    do {
      _ = try NetworkGraph.importing(model)
      return nil
    } catch { return error }
  }

  @Test func allUnknownOperatorsAreNamedAtOnce() {
    let found = error(
      model([
        ONNXNode("Einsum", name: "e1", inputs: ["x"], outputs: ["a"]),
        ONNXNode("Einsum", name: "e2", inputs: ["a"], outputs: ["b"]),
        ONNXNode("Attention", name: "att", domain: "com.microsoft", inputs: ["b"], outputs: ["c"]),
        ONNXNode("Relu", name: "r", inputs: ["c"], outputs: ["d"]),
        ONNXNode("GRU", name: "", inputs: ["d"], outputs: ["y"]),
        ONNXNode("NeverNeeded", name: "n", inputs: ["x"], outputs: ["z"]),
      ]))
    #expect(found?.code == .unsupported)
    for word in ["Einsum (2 nodes, the first \"e1\")", "com.microsoft.Attention (\"att\")", "GRU (\"y\")"] {
      #expect(found?.message.contains(word) == true, "\(word)")
    }
    #expect(found?.message.contains("NeverNeeded") == false)
  }

  @Test func whatItDoesNotUnderstandIsRefused() {
    let relu = ONNXNode("Relu", name: "r", inputs: ["x"], outputs: ["y"], attributes: [.init("magic", .int(1))])
    #expect(error(model([relu]))?.message.contains("magic") == true)
    let order = [
      ONNXNode("Relu", name: "late", inputs: ["a"], outputs: ["y"]),
      ONNXNode("Relu", name: "early", inputs: ["x"], outputs: ["a"]),
    ]
    #expect(error(model(order))?.code == .invalid)
    let twice = [
      ONNXNode("Relu", name: "a", inputs: ["x"], outputs: ["y"]),
      ONNXNode("Relu", name: "b", inputs: ["x"], outputs: ["y"]),
    ]
    #expect(error(model(twice))?.code == .invalid)
    #expect(error(model([], outputs: []))?.code == .invalid)
    #expect(error(model([], outputs: ["x"]))?.code == .unknownName)
    let open = model(
      [ONNXNode("Relu", name: "r", inputs: ["x"], outputs: ["y"])],
      shape: [.symbol("N"), .size(3), .symbol("h"), .symbol("w")])
    #expect(error(open)?.code == .shape)
    #expect(error(open)?.advice?.contains("height and width") == true)
  }

  @Test func openSizesAreFilledIn() throws {
    let open = model(
      [ONNXNode("Relu", name: "r", inputs: ["x"], outputs: ["y"])],
      shape: [.size(1), .size(3), .symbol("h"), .unknown])
    let graph = try NetworkGraph.importing(open, options: .init(inputSize: .init(height: 48, width: 64))).graph
    #expect(graph.inputs.first?.shape == [1, 3, 48, 64])
    #expect(graph.outputNames == ["y"])
  }

  @Test func slopesOfEveryFormAreRead() throws {
    func slope(_ shape: [Int]) throws -> NetworkGraph {
      let count = shape.reduce(1, *)
      let tensor = try StoredTensor(shape: shape, floats: (0..<count).map { Float($0) })
      return try NetworkGraph.importing(
        model(
          [ONNXNode("PRelu", name: "p", inputs: ["x", "slope"], outputs: ["y"])],
          initializers: [ONNXTensor("slope", tensor)])
      ).graph
    }
    for shape in [[4, 1, 1], [1, 4, 1, 1], [4]] {
      let graph = try slope(shape)
      #expect(graph.nodes.last?.operation == .prelu(shared: false))
      #expect(graph.weights["slope"]?.shape == [4])
    }
    for shape in [[1], [], [1, 1, 1]] { #expect(try slope(shape).nodes.last?.operation == .prelu(shared: true)) }
    #expect(throws: GraphError.self) { try slope([8]) }
    #expect(throws: GraphError.self) { try slope([8, 1]) }
  }

  @Test func constantsThatWouldTakeAllMemoryAreRefused() throws {
    let huge = [1 << 30, 1 << 30].flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    let shape = ONNXTensor("s", try StoredTensor(shape: [2], dtype: .i64, bytes: huge))
    let nodes = [
      ONNXNode("ConstantOfShape", name: "c", inputs: ["s"], outputs: ["a"]),
      ONNXNode("Add", name: "add", inputs: ["x", "a"], outputs: ["y"]),
    ]
    #expect(error(model(nodes, initializers: [shape]))?.code == .tooLarge)
  }

  /// A few nodes that would make gigabytes, or tensors of ever more dimensions, of next to nothing.
  @Test func chainsThatGrowConstantsAreRefusedAtTheNode() throws {
    func list(_ name: String, _ numbers: [Int]) throws -> ONNXTensor {
      let bytes = numbers.flatMap { number in (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) } }
      return ONNXTensor(name, try StoredTensor(shape: [numbers.count], dtype: .i64, bytes: bytes))
    }
    func chain(_ op: String, _ start: String, count: Int, inputs: [String]? = nil) -> [ONNXNode] {
      (0..<count).map { index in
        let before = index == 0 ? start : "\(op)\(index - 1)"
        return ONNXNode(
          op, name: "\(op)-\(index)", inputs: [before] + (inputs ?? [before]), outputs: ["\(op)\(index)"])
      }
    }
    let constant = ONNXNode("ConstantOfShape", name: "constant", inputs: ["s"], outputs: ["c"])
    let million = try list("s", [1 << 20])
    let axes = try list("axes", [0, 1, 2, 3, 4, 5, 6, 7])
    let bombs: [(node: String, nodes: [ONNXNode], initializers: [ONNXTensor])] = [
      // 4 MiB each.
      (
        "Slice-31", [constant] + chain("Slice", "c", count: 60, inputs: ["zero", "one"]),
        [try list("s", [1, 1 << 20]), try list("zero", [0]), try list("one", [1])]
      ),
      (
        "expand",
        [
          constant, ONNXNode("Concat", name: "double", inputs: ["c", "c"], outputs: ["d"]),
          ONNXNode("Expand", name: "expand", inputs: ["d", "t"], outputs: ["y"]),
        ], [million, try list("t", [16, 1 << 21])]
      ),
      (
        "concat",
        [constant, ONNXNode("Concat", name: "concat", inputs: [String](repeating: "c", count: 17), outputs: ["y"])],
        [million]
      ),
      (
        "Concat-4",
        [ONNXNode("Shape", name: "shape", inputs: ["x"], outputs: ["n"])] + chain("Concat", "n", count: 24), []
      ),
      ("constant", [constant], [try list("s", [Int](repeating: 1, count: 17))]),
      (
        "expand", [constant, ONNXNode("Expand", name: "expand", inputs: ["c", "t"], outputs: ["y"])],
        [try list("s", [1]), try list("t", [Int](repeating: 1, count: 17))]
      ),
      (
        "Unsqueeze-1", [constant] + chain("Unsqueeze", "c", count: 200, inputs: ["axes"]), [try list("s", [1]), axes]
      ),
    ]
    for (node, nodes, initializers) in bombs {
      let last = try #require(nodes.last?.outputs.first)
      let found = error(model(nodes, initializers: initializers, outputs: [last]))
      #expect(found?.code == .tooLarge && found?.node == node, "\(node): \(String(describing: found))")
    }
  }

  /// Each product keeps a weight of its own where the factor differs.
  @Test func oneWeightInManyFormsIsRefused() throws {
    let weight = try StoredTensor(shape: [32, 32], floats: [Float](repeating: 1, count: 1 << 10))
    let nodes = (0..<40).map { index in
      ONNXNode(
        "Gemm", name: "gemm\(index)", inputs: [index == 0 ? "x" : "\(index - 1)", "w"], outputs: ["\(index)"],
        attributes: [.init("alpha", .float(Float(index + 2)))])
    }
    let many = model(
      nodes, shape: [.symbol("N"), .size(32)], initializers: [ONNXTensor("w", weight)], outputs: ["39"])
    let error = #expect(throws: GraphError.self) {
      var reader = try ONNXGraphReader(model: many, options: .init(), foldedAllowance: 1 << 16)
      _ = try reader.read()
    }
    // 64 KiB for every file and eight times the 4 KiB of the weight hold 24 forms of it.
    #expect(error?.code == .tooLarge && error?.node == "gemm24")
  }

  /// A list without elements says nothing of how long its other axes are.
  @Test func emptyConstantsAreCutInNoTime() throws {
    let empty = ONNXTensor("e", try StoredTensor(shape: [1 << 40, 0], dtype: .f32, bytes: []))
    let cut = ONNXNode(
      "Slice", name: "cut", inputs: ["e"], outputs: ["y"],
      attributes: [.init("starts", .ints([0])), .init("ends", .ints([0])), .init("axes", .ints([1]))])
    #expect(error(model([cut], initializers: [empty], opset: 9))?.code == .unsupported)
  }

  /// Numbers at the ends of their range, which arithmetic on them must survive.
  @Test(arguments: [Int.min, Int.max, -1, 1 << 40])
  func extremeNumbersAreRefused(_ number: Int) throws {
    let weight = ONNXTensor("w", try StoredTensor(shape: [4, 4, 1, 1], floats: [Float](repeating: 1, count: 16)))
    for (name, list) in [
      ("strides", [number, 1]), ("dilations", [1, number]), ("pads", [number, 0, number, 0]),
      ("kernel_shape", [number, number]),
    ] {
      for op in ["Conv", "ConvTranspose", "MaxPool"] {
        let inputs = op == "MaxPool" ? ["x"] : ["x", "w"]
        let node = ONNXNode(op, name: "n", inputs: inputs, outputs: ["y"], attributes: [.init(name, .ints(list))])
        #expect(error(model([node], initializers: [weight])) != nil, "\(op) \(name)")
      }
    }
    for (op, name) in [("Softmax", "axis"), ("Flatten", "axis"), ("Concat", "axis"), ("Split", "axis")]
    where number != -1 {
      let node = ONNXNode(op, name: "n", inputs: ["x"], outputs: ["y"], attributes: [.init(name, .int(number))])
      #expect(error(model([node])) != nil, "\(op)")
    }
  }

  /// Damage that leaves the bytes sound: names, shapes and numbers that do not fit each other.
  @Test func damagedModelsNeverTrap() throws {
    var state: UInt64 = 5
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      return Int(state >> 33) % bound
    }
    for name in Self.models {
      let sound = try MappedFile(path: Self.path("\(name).onnx")).withBytes { Array($0) }
      for _ in 0..<60 {
        var bytes = sound
        for _ in 0...next(4) { bytes[next(bytes.count)] = UInt8(next(256)) }
        guard let model = try? ONNXModel(serialized: bytes) else { continue }
        _ = try? NetworkGraph.importing(model)
      }
    }
  }

  /// A bias joins the product before it only where nothing else takes the product, under whichever name.
  @Test(arguments: ["m", "c", "once"]) func aBiasStaysInItsBranch(_ other: String) throws {
    var nodes = [
      ONNXNode("MatMul", name: "product", inputs: ["x", "w"], outputs: ["m"]),
      ONNXNode("Cast", name: "alias", inputs: ["m"], outputs: ["c"], attributes: [.init("to", .int(1))]),
      ONNXNode("Add", name: "bias", inputs: ["c", "b"], outputs: ["y"]),
    ]
    let isShared = other != "once"
    if isShared { nodes.append(ONNXNode("Relu", name: "branch", inputs: [other], outputs: ["z"])) }
    let graph = try NetworkGraph.importing(
      model(
        nodes, shape: [.symbol("N"), .size(2)],
        initializers: [
          ONNXTensor("w", try StoredTensor(shape: [2, 2], floats: [1, 2, 3, 4])),
          ONNXTensor("b", try StoredTensor(shape: [2], floats: [10, 20])),
        ], outputs: isShared ? ["y", "z"] : ["y"])
    ).graph
    let hasBias = graph.nodes.contains { node in
      if case .fullyConnected(let layer) = node.operation { layer.bias } else { false }
    }
    #expect(hasBias == !isShared)
    let input = try #require(NaiveExecutor.Tensor(shape: [1, 2], elements: [1, 1]))
    let outputs = try NaiveExecutor(graph).run(["x": input]).map(\.elements)
    #expect(outputs == (isShared ? [[14, 26], [4, 6]] : [[14, 26]]))
  }

  @Test func partsOfGELUAreNotTakenForSomethingElse() {
    func half(_ value: Float, _ name: String) throws -> ONNXTensor {
      ONNXTensor(name, try StoredTensor(shape: [], floats: [value]))
    }
    func chain(scale: Float, one: Float) throws -> ONNXModel {
      model(
        [
          ONNXNode("Mul", name: "m", inputs: ["x", "s"], outputs: ["a"]),
          ONNXNode("Erf", name: "e", inputs: ["a"], outputs: ["b"]),
          ONNXNode("Add", name: "p", inputs: ["b", "o"], outputs: ["c"]),
          ONNXNode("Mul", name: "q", inputs: ["x", "c"], outputs: ["d"]),
          ONNXNode("Mul", name: "r", inputs: ["d", "h"], outputs: ["y"]),
        ], initializers: [try half(scale, "s"), try half(one, "o"), try half(0.5, "h")])
    }
    #expect(throws: Never.self) {
      let graph = try NetworkGraph.importing(chain(scale: 0.70710677, one: 1)).graph
      #expect(graph.nodes.map(\.operation.name) == ["input", "activation gelu"])
      for wrong in [try chain(scale: 0.7, one: 1), try chain(scale: 0.70710677, one: 2)] {
        #expect(error(wrong)?.code == .unsupported)
      }
    }
  }
}
