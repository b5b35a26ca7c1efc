import Formats
import Foundation
import Inference
import Testing

@testable import FaceRecognition

/// A network of `Tests/Fixtures/zoo/structure.json`, which `scripts/fixtures/make_zoo.py` writes.
struct ZooNetwork: Decodable {
  struct Digest: Decodable, Equatable { let count: Int, fnv1a64: String }
  let network: String
  let settings: [String: String]
  let bottleneck: [Int]?
  let arguments: Digest
  let auxiliaries: Digest
  let operators: Digest
  let parameters: Int
  let statistics: Int
  let flops: Int?
  let flops_text: String?

  static let all: [String: ZooNetwork] = {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/zoo/structure.json")
    return (try? JSONDecoder().decode([String: ZooNetwork].self, from: Data(contentsOf: folder))) ?? [:]
  }()

  var registered: RecognitionNetwork? { RecognitionNetwork(rawValue: network) }

  func graph() throws -> NetworkGraph {
    let registered = try #require(registered)
    var s = registered.defaultSettings
    for (key, value) in settings {
      switch key {
      case "net_output": s.output = try #require(NetworkOutput(rawValue: value))
      case "net_unit": s.unit = try #require(Int(value))
      case "net_input": s.input = try #require(Int(value))
      case "net_se": s.hasSqueezeExcitation = value == "1"
      case "net_act": s.activation = try #require(ActivationKind(rawValue: value))
      case "net_multiplier": s.multiplier = try #require(Double(value))
      case "bn_mom": s.momentum = try #require(Double(value))
      case "emb_size": s.embeddingSize = try #require(Int(value))
      case "densenet_dropout": s.dropout = try #require(Double(value))
      default: Issue.record("unknown setting \(key)")
      }
    }
    if let bottleneck { return try FaceResNet(settings: s, units: bottleneck, isBottleneck: true).graph() }
    return try registered.graph(s)
  }
}

/// Every network of the registry, and variants by the reference's switches, against the reference's own symbols.
@Suite struct ZooStructureTests {
  static let labels = ZooNetwork.all.keys.sorted()

  @Test func everyNetworkHasAGolden() {
    // Networks of other sources are tested elsewhere.
    let families: Set = ["fresnet", "fdensenet", "fmobilefacenet", "fmobilenet", "fmnasnet", "vargfacenet"]
    for network in RecognitionNetwork.allCases where families.contains(network.family) {
      #expect(ZooNetwork.all[network.rawValue] != nil, "\(network)")
    }
    #expect(Self.labels.count >= 60)
  }

  @Test(arguments: labels) func namesShapesAndOperatorsAreTheReferences(label: String) throws {
    let golden = try #require(ZooNetwork.all[label])
    let graph = try golden.graph()
    let parameters = try graph.parameters()
    let trained = parameters.filter { !$0.isAuxiliary }
    let statistics = parameters.filter(\.isAuxiliary)
    #expect(graph.argumentNames() == ["data"] + trained.map(\.name))
    #expect(graph.auxiliaryNames() == statistics.map(\.name))
    #expect(digest(trained.map(line)) == golden.arguments)
    #expect(digest(statistics.map(line)) == golden.auxiliaries)
    #expect(trained.reduce(0) { $0 + $1.count } == golden.parameters)
    #expect(statistics.reduce(0) { $0 + $1.count } == golden.statistics)
    let lines = operatorLines(try graph.mxnetSymbol())
    if digest(lines) != golden.operators, let folder = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_DIR"] {
      try lines.joined(separator: "\n").write(toFile: "\(folder)/\(label).txt", atomically: true, encoding: .utf8)
    }
    #expect(digest(lines) == golden.operators)
    let shape = try graph.inferShapes()[graph.outputs[0]]
    #expect(shape == [.n, .fixed(graph.preprocessing?.embeddingLength ?? 0)])
    if let flops = golden.flops {
      let count = try graph.operationCount()
      #expect(count == flops)
      #expect(NetworkGraph.formatted(operationCount: count) == golden.flops_text)
    }
  }

  /// What we write is read back as the same network, with its preprocessing; deep ones only in slow tests.
  @Test(arguments: labels.filter { isSlow || (ZooNetwork.all[$0]?.operators.count ?? 0) < 200 })
  func theSymbolComesBack(label: String) throws {
    let graph = try #require(ZooNetwork.all[label]).graph()
    let symbol = try MXNetSymbol.parse(Array(graph.mxnetSymbol().json().utf8))
    let again = try NetworkGraph.importing(symbol, options: .init(allowsMissingWeights: true)).graph
    #expect(ordinary(again) == ordinary(graph))
    #expect(again.preprocessing == graph.preprocessing)
  }

  /// `INSIGHTFACE_ZOO_SYMBOLS` names the folder that `make_zoo.py symbols` filled.
  @Test(
    .enabled(if: symbolFolder != nil, "set INSIGHTFACE_ZOO_SYMBOLS to a folder of the reference's symbols"),
    arguments: labels)
  func theReferencesSymbolIsOurGraph(label: String) throws {
    let path = "\(try #require(symbolFolder))/\(label).json"
    let symbol = try MXNetSymbol.parse(Array(Data(contentsOf: URL(filePath: path))))
    let imported = try NetworkGraph.importing(symbol, options: .init(allowsMissingWeights: true)).graph
    let graph = try #require(ZooNetwork.all[label]).graph()
    #expect(ordinary(imported) == ordinary(graph))
    if graph.preprocessing?.isInsideGraph == true { #expect(imported.preprocessing == graph.preprocessing) }
  }

  @Test func whatANetworkCannotBeIsAnError() {
    var s = RecognitionNetwork.r18.defaultSettings
    s.unit = 4
    #expect(throws: GraphError.self) { try RecognitionNetwork.r18.graph(s) }
    s = RecognitionNetwork.d169.defaultSettings
    s.output = .gdc  // 1664 channels in 512 groups
    #expect(throws: GraphError.self) { try RecognitionNetwork.d169.graph(s) }
    s = RecognitionNetwork.mnas025.defaultSettings
    for multiplier in [0, -1, .nan, .infinity, 1e9, 0.01] {
      s.multiplier = multiplier
      #expect(throws: GraphError.self, "\(multiplier)") { try RecognitionNetwork.mnas025.graph(s) }
      #expect(throws: GraphError.self, "\(multiplier)") { try RecognitionNetwork.m05.graph(s) }
      #expect(throws: GraphError.self, "\(multiplier)") { try RecognitionNetwork.vargfacenet.graph(s) }
    }
    s = RecognitionNetwork.vargfacenet.defaultSettings
    s.imageSize = 64
    #expect(throws: GraphError.self) { try RecognitionNetwork.vargfacenet.graph(s) }
  }
}

private let isSlow = ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1"
private let symbolFolder = ProcessInfo.processInfo.environment["INSIGHTFACE_ZOO_SYMBOLS"]

private func line(_ parameter: NetworkGraph.Parameter) -> String {
  "\(parameter.name) \(parameter.shape.map(String.init).joined(separator: "x"))"
}

private func digest(_ lines: [String]) -> ZooNetwork.Digest {
  let hash = lines.joined(separator: "\n").utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
    ($0 ^ UInt64($1)) &* 0x100_0000_01B3
  }
  let digits = String(hash, radix: 16)
  return .init(count: lines.count, fnv1a64: String(repeating: "0", count: 16 - digits.count) + digits)
}

/// The nodes without what means nothing: the window of a pooling that sees the whole map.
private func ordinary(_ graph: NetworkGraph) -> [NetworkGraph.Node] {
  graph.nodes.map { node in
    guard case .pooling(var pooling) = node.operation, pooling.isGlobal else { return node }
    pooling.kernel = nil
    var node = node
    node.operation = .pooling(pooling)
    return node
  }
}

/// As `lines` in make_zoo.py.
private func operatorLines(_ symbol: MXNetSymbol) -> [String] {
  let defaults: [String: [String: String]] = [
    "Convolution": ["stride": "(1,1)", "dilate": "(1,1)", "pad": "(0,0)", "num_group": "1", "no_bias": "False"],
    "BatchNorm": [
      "eps": "0.001", "momentum": "0.9", "fix_gamma": "True", "axis": "1", "use_global_stats": "False",
      "output_mean_var": "False",
    ],
    "Pooling": [
      "stride": "(1,1)", "pad": "(0,0)", "global_pool": "False", "pooling_convention": "valid",
      "count_include_pad": "True",
    ],
    "FullyConnected": ["no_bias": "False", "flatten": "True"], "Concat": ["dim": "1"],
    "Dropout": ["axes": "()", "mode": "training"],
  ]
  let ignored: Set = ["workspace", "cudnn_tune", "cudnn_off", "layout", "p_value", "lower_bound", "upper_bound"]
  return symbol.nodes.filter { !$0.isVariable }.map { node in
    var attributes: [String] = []
    for attribute in node.attributes.sorted(by: { $0.key < $1.key }) {
      var value = attribute.value.filter { $0 != " " }
      if let number = Double(value) { value = String(format: "%.10g", number) }
      if ignored.contains(attribute.key) || defaults[node.op]?[attribute.key] == value { continue }
      if node.op == "Pooling", ["kernel", "stride"].contains(attribute.key), node["global_pool"] == "True" { continue }
      attributes.append("\(attribute.key)=\(value)")
    }
    let inputs = node.inputs.map { symbol.nodes[$0.node].name }
    return "\(node.op)|\(node.name)|\(attributes.joined(separator: ";"))|\(inputs.joined(separator: ";"))"
  }
}
