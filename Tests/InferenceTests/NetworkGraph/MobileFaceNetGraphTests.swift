import Formats
import Foundation
import Testing

@testable import Inference

/// The builder's MobileFaceNets against the facts of the reference's own symbols.
@Suite struct MobileFaceNetGraphTests {
  struct Facts {
    var byteCount = 0
    var hash = ""
    var operationCount = 0
    var formattedCount = ""
    var operators: [String] = []
    var arguments: [String] = []
    var auxiliaries: [String] = []
    var shapes: [String: [Int]] = [:]
    var output: [Int] = []

    init(_ name: String) throws {
      for line in try Fixtures.text(name).split(separator: "\n").map(String.init) {
        if line.hasPrefix("op|") {
          operators.append(line)
          continue
        }
        let parts = line.split(separator: " ").map(String.init)
        switch parts[0] {
        case "json": (byteCount, hash) = (try #require(Int(parts[1])), parts[2])
        case "flops": (operationCount, formattedCount) = (try #require(Int(parts[1])), parts[2])
        default:
          let shape = parts[2].split(separator: "x").compactMap { Int($0) }
          switch parts[0] {
          case "arg": arguments.append(parts[1])
          case "aux": auxiliaries.append(parts[1])
          default: output = shape
          }
          shapes[parts[1]] = shape
        }
      }
    }
  }

  enum Network: String, CaseIterable {
    case y1, y2

    var model: MobileFaceNetGraph { self == .y1 ? .y1 : .y2 }
    var facts: Facts { get throws { try Facts("mobilefacenet-\(rawValue).txt") } }
  }

  @Test(arguments: Network.allCases)
  func everyOperatorIsThatOfTheReference(_ network: Network) throws {
    let symbol = try network.model.graph().mxnetSymbol()
    let facts = try network.facts
    let operators = symbol.nodes.filter { !$0.isVariable }.map { node in
      let attributes = node.attributes.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
      let inputs = node.inputs.map { symbol.nodes[$0.node].name }
      return "op|\(node.op)|\(node.name)|\(attributes.joined(separator: ";"))|\(inputs.joined(separator: ";"))"
    }
    #expect(operators.count == facts.operators.count)
    for (mine, theirs) in zip(operators, facts.operators) { #expect(mine == theirs) }
  }

  /// The whole file, variables with their initialisers and row pointers included, is MXNet's to the byte; so MXNet
  /// loads it, lists the same arguments and computes the same.
  @Test(arguments: Network.allCases)
  func theSymbolFileIsThatOfTheReference(_ network: Network) throws {
    let json = try network.model.graph().mxnetSymbol().json()
    let facts = try network.facts
    #expect(json.utf8.count == facts.byteCount)
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in json.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    #expect(String(hash, radix: 16) == facts.hash)
  }

  @Test(arguments: Network.allCases)
  func parametersAreThoseOfTheReference(_ network: Network) throws {
    let graph = try network.model.graph()
    let facts = try network.facts
    #expect(graph.argumentNames() == facts.arguments)
    #expect(graph.auxiliaryNames() == facts.auxiliaries)
    let parameters = try graph.parameters()
    #expect(parameters.count == facts.arguments.count - 1 + facts.auxiliaries.count)
    for parameter in parameters {
      #expect(parameter.shape == facts.shapes[parameter.name], "\(parameter.name)")
      #expect(parameter.isAuxiliary == facts.auxiliaries.contains(parameter.name))
    }
    let output = try graph.inferShapes()[graph.outputs[0]]
    #expect(output == [.n, .fixed(network.model.embeddingLength)])
    #expect(output.sizes(batch: 1) == facts.output)
  }

  @Test(arguments: Network.allCases)
  func operationsAreCountedAsTheReferenceDoes(_ network: Network) throws {
    let facts = try network.facts
    let count = try network.model.graph().operationCount()
    #expect(count == facts.operationCount)
    #expect(NetworkGraph.formatted(operationCount: count) == facts.formattedCount)
    if network == .y1 { #expect(NetworkGraph.formatted(operationCount: count) == "439.8M") }
  }

  @Test func countsAreFormattedInAllUnits() {
    let formatted = [0, 999, 1000, 1250, 1_000_000, 12_126_000_000, 3_000_000_000_000]
      .map(NetworkGraph.formatted(operationCount:))
    #expect(formatted == ["0.0", "999.0", "1.0K", "1.2K", "1.0M", "12.1G", "3.0T"])
  }

  @Test func importOfTheExportIsTheSameNetwork() throws {
    let preprocessing = Preprocessing.insideGraph(embeddingLength: 128)
    let graph = try MobileFaceNetGraph.y1.graph(preprocessing: preprocessing)
    let symbol = try MXNetSymbol.parse(Array(graph.mxnetSymbol().json().utf8))
    let again = try NetworkGraph.importing(symbol, options: .init(allowsMissingWeights: true)).graph
    #expect(again.hasSameStructure(as: graph))
    #expect(again.preprocessing == preprocessing)
  }

  @Test func preprocessingIsRecognisedWhereTheSymbolDoesNotTell() throws {
    let symbol = try MobileFaceNetGraph.y2.graph().mxnetSymbol()
    let graph = try NetworkGraph.importing(symbol, options: .init(allowsMissingWeights: true)).graph
    #expect(graph.preprocessing == .insideGraph(embeddingLength: 256))
  }

  // MARK: The original checkpoint

  private static let hasCheckpoint = Fixtures.hasData("mobilefacenet-y1/model-0000.params")
  private static let skipped: Comment = "the y1 checkpoint is looked for in $INSIGHTFACE_TEST_DATA or ../shared/data"

  private static func checkpoint() throws -> MXNetImport {
    let prefix = Fixtures.dataFolder + "/mobilefacenet-y1/model"
    return try NetworkGraph.importing(
      MXNetSymbol.read(path: prefix + "-symbol.json"),
      weights: MXNetParameters(path: prefix + "-0000.params").entries)
  }

  @Test(.enabled(if: hasCheckpoint, skipped))
  func theOriginalCheckpointIsImportedUnderItsOwnNames() throws {
    let imported = try Self.checkpoint()
    #expect(imported.unusedWeights.isEmpty)
    #expect(imported.graph.weights["fc1_weight"]?.shape == [128, 512])
    #expect(imported.graph.weights["fc1_gamma"]?.floats() == [Float](repeating: 1, count: 128))
    #expect(imported.graph.preprocessing == .insideGraph(embeddingLength: 128))
    #expect(try imported.graph.operationCount() == 439_821_056)
  }

  @Test(.enabled(if: hasCheckpoint, skipped))
  func oldNamesAreMappedToTodays() throws {
    let imported = try Self.checkpoint().graph
    let target = try MobileFaceNetGraph.y1.graph()
    let renamed = imported.canonicalNames().filter { $0.key != $0.value }
    #expect(renamed == ["fc1_weight": "pre_fc1_weight"])
    #expect(try imported.withCanonicalNames().hasSameStructure(as: target))

    let match = try imported.matchWeights(to: target)
    #expect(match.isComplete)
    #expect(match.renamed.map(\.source) == ["fc1_weight"])
    #expect(match.renamed.map(\.target) == ["pre_fc1_weight"])
    #expect(match.weights["pre_fc1_weight"] == imported.weights["fc1_weight"])

    let other = try imported.matchWeights(to: MobileFaceNetGraph.y2.graph())
    #expect(!other.isComplete)
    #expect(other.missing.contains("res_2_block0_conv_sep_conv2d_weight"))
    #expect(other.leftover.contains("conv_2_dw_conv2d_weight"))
    #expect(other.mismatched.contains { $0.name == "pre_fc1_weight" && $0.expected == [256, 512] })
  }

  /// Two drawn patterns, for which the fixture holds MXNet's embeddings.
  @Test(.enabled(if: hasCheckpoint, skipped))
  func theOriginalCheckpointComputesWhatMXNetDoes() throws {
    let expected = try JSONDecoder().decode([[Double]].self, from: Data(Fixtures.text("embeddings-y1.json").utf8))
    let executor = try NaiveExecutor(Self.checkpoint().graph)
    for (number, embedding) in expected.enumerated() {
      var pixels: [Double] = []
      for c in 0..<3 {
        for y in 0..<112 {
          for x in 0..<112 { pixels.append(Double((31 * x + 17 * y + 57 * c + x * y * (number + 1) / 8) & 255)) }
        }
      }
      try expectEmbedding(executor, pixels, embedding)
    }
  }

  private static let decodedFaces = ProcessInfo.processInfo.environment["INSIGHTFACE_DECODED_FACES"]

  /// Two real faces against the embeddings that MXNet gave for them; `scripts/fixtures/network_graph.py faces` decodes
  /// them, since nothing on this floor can.
  @Test(.enabled(if: hasCheckpoint && decodedFaces != nil, "set INSIGHTFACE_DECODED_FACES to the decoded images"))
  func theOriginalCheckpointGivesItsEmbeddingsOfRealFaces() throws {
    let size = 3 * 112 * 112
    let pixels = [UInt8](try Data(contentsOf: URL(fileURLWithPath: try #require(Self.decodedFaces))))
    try #require(pixels.count == 2 * size)
    let file = Fixtures.dataFolder + "/mobilefacenet-y1/mxnet_embeddings_first200.npy"
    // float32 rows behind a header of 128 bytes.
    let stored = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file))).dropFirst(128)
    let values = Array(stored).withUnsafeBytes { raw in
      (0..<256).map { Double(raw.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self)) }
    }
    let executor = try NaiveExecutor(Self.checkpoint().graph)
    for face in 0..<2 {
      try expectEmbedding(
        executor, pixels[face * size..<(face + 1) * size].map(Double.init), Array(values[face * 128..<face * 128 + 128])
      )
    }
  }

  private func expectEmbedding(_ executor: NaiveExecutor, _ pixels: [Double], _ expected: [Double]) throws {
    let image = try #require(NaiveExecutor.Tensor(shape: [1, 3, 112, 112], elements: pixels))
    let embedding = try #require(try executor.run(["data": image]).first).elements
    try #require(embedding.count == expected.count)
    #expect(cosine(embedding, expected) >= 0.9999999)
    let worst = zip(embedding, expected).map { abs($0 - $1) }.max() ?? 1
    #expect(worst < 2e-5)
  }

  private func cosine(_ a: [Double], _ b: [Double]) -> Double {
    func dot(_ x: [Double], _ y: [Double]) -> Double { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
    return dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()
  }
}
