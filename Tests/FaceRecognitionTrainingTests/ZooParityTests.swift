import Formats
import Foundation
import Inference
import Jobs
import Testing
import Torch
import Training

@testable import FaceRecognition
@testable import FaceRecognitionTraining

private let isSlow = ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1"

/// A case of `Tests/Fixtures/zoo/numbers-*.json`, which `scripts/fixtures/make_zoo.py` writes with MXNet 1.9.1.
private struct ZooCase: Decodable {
  let label: String
  let size: Int
  let images: Int
  let evaluation: Sketch
  let training: Sketch
  let gradients: [String: Sketch]

  /// Norm and 32 projections, float32 in base64.
  struct Sketch: Decodable {
    let values: [Float]

    init(from decoder: any Decoder) throws {
      let text = try decoder.singleValueContainer().decode(String.self)
      let data = Data(base64Encoded: text) ?? Data()
      values = data.withUnsafeBytes { raw in
        (0..<raw.count / 4).map { Float(bitPattern: raw.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)) }
      }
      try #require(values.count == 33)
    }
  }

  static let all: [String: ZooCase] = read("numbers-networks").merging(
    read("numbers-variants"), uniquingKeysWith: { $1 })

  private static func read<Value: Decodable>(_ name: String) -> [String: Value] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let data = try? Data(contentsOf: folder.appending(path: "Fixtures/zoo/\(name).json"))
    return data.flatMap { try? JSONDecoder().decode([String: Value].self, from: $0) } ?? [:]
  }

  /// What a label stands for.
  private struct Description: Decodable { let network: String, settings: [String: String], bottleneck: [Int]? }
  private static let descriptions: [String: Description] = read("structure")

  /// The network, through the configuration's keys, with dropout off.
  func graph() throws -> NetworkGraph {
    let description = try #require(Self.descriptions[label])
    let network = try #require(RecognitionNetwork(rawValue: description.network))
    var configuration = RecognitionConfiguration(network: network, loss: .arcface, dataset: "emore")
    for (key, value) in description.settings { try configuration.set(key, value, from: "test") }
    try configuration.validate()
    var settings = configuration.networkSettings
    settings.imageSize = size
    let graph =
      if let units = description.bottleneck {
        try FaceResNet(settings: settings, units: units, isBottleneck: true).graph()
      } else {
        try network.graph(settings)
      }
    let nodes = graph.nodes.map { node in
      guard case .dropout = node.operation else { return node }
      var node = node
      node.operation = .dropout(rate: 0)
      return node
    }
    return try NetworkGraph(nodes: nodes, outputs: graph.outputs, preprocessing: graph.preprocessing)
  }
}

/// Weights by the part that they play, as `rule` and `values` of make_zoo.py make them.
enum ZooWeights {
  static func fill(_ network: TrainableNetwork) throws {
    let graph = network.graph
    var summed: Set<Int> = []
    for node in graph.nodes where node.operation == .elementwise(.init(.add)) {
      summed.formUnion(node.inputs.map(\.node))
    }
    for parameter in try graph.parameters() {
      let rule = rule(parameter, graph.nodes[parameter.node].operation, feedsSum: summed.contains(parameter.node))
      let start = Hashed.floats("zoo/\(parameter.name)", min(parameter.count, 16411), rule)
      var values: [Float] = []
      values.reserveCapacity(parameter.count)
      while values.count < parameter.count { values += start.prefix(parameter.count - values.count) }
      network.tensors[parameter.name]?.copy(from: Tensor(values, shape: parameter.shape))
    }
  }

  private static func rule(
    _ parameter: NetworkGraph.Parameter, _ operation: NetworkGraph.Operation, feedsSum: Bool
  ) -> Hashed.Rule {
    switch parameter.role {
    // Pixels as they are, 0 … 255.
    case .movingMean where parameter.name == "bn_data_moving_mean": return .init(kind: "offset", a: 10, b: 120)
    case .movingVariance where parameter.name == "bn_data_moving_var": return .init(kind: "offset", a: 1000, b: 5000)
    case .gamma:
      if case .batchNorm(let norm) = operation, norm.fixGamma { return .init(kind: "constant", a: 0, b: 1) }
      return feedsSum ? .init(kind: "offset", a: 0.2, b: 0.2) : .init(kind: "offset", a: 0.3, b: 1)
    case .movingVariance: return .init(kind: "offset", a: 0.4, b: 0.9)
    case .slope: return .init(kind: "offset", a: 0.06, b: 0.97)
    case .movingMean: return .init(kind: "symmetric", a: 0.1, b: 0)
    case .beta, .bias: return .init(kind: "symmetric", a: 0.2, b: 0)
    case .weight, .value:
      let inputs = parameter.shape.dropFirst().reduce(1, *)
      return .init(kind: "symmetric", a: Float((3 / Double(inputs)).squareRoot()), b: 0)
    }
  }

  /// uint8 [count, 3, size, size].
  static func images(_ count: Int, _ size: Int) -> Tensor {
    let images = Hashed.images("zoo", Hashed.labels("zoo", count, 20))
    return images.narrowed(2, start: 0, count: size).narrowed(3, start: 0, count: size).contiguous(.channelsLast)
  }
}

/// The relative error of values of which the golden is a sketch of every so-manieth.
private func relativeError(_ name: String, _ values: [Float], _ golden: ZooCase.Sketch) -> Double {
  let step = max(1, values.count / 20011)
  return Hashed.error(name, stride(from: 0, to: values.count, by: step).map { values[$0] }, golden: golden.values[...])
}

/// ‖a − b‖ / ‖b‖.
private func distance(_ a: [Float], _ b: [Float]) -> Double {
  let difference = zip(a, b).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
  return (difference / b.reduce(0.0) { $0 + Double($1) * Double($1) }).squareRoot()
}

/// The reference's networks against MXNet: embeddings in both modes, gradients.
///
/// The bounds are those of every comparison of training steps (docs/parity.md): 1e-4 and 1e-3, else five times MXNet's own
/// distance from float64.
@Suite(.serialized) struct ZooParityTests {
  /// A small member of each family, and each kind of unit and head that it does not have.
  private static let small =
    [
      "r18@48", "r18-output-GNAP@48", "r18-unit-1-input-0-se-1@48", "r18-unit-2-input-1-se-1@48",
      "bottleneck-unit-3-input-1@48", "m05@112", "mnas025@112", "vargfacenet@112",
    ] + denseNets

  /// Without optimisation the kernels round products once more, and a value of d169 falls on the other side of a rectifier's
  /// corner: its goldens hold for kernels as they are used, and as `make test` builds them.
  #if OPTIMISED_KERNELS || !DEBUG
    private static let denseNets = ["d169@48"]
  #else
    private static let denseNets: [String] = []
  #endif

  /// All the others, or those that `INSIGHTFACE_ZOO_CASES` names, separated by commas.
  private static let others: [String] = {
    if let chosen = ProcessInfo.processInfo.environment["INSIGHTFACE_ZOO_CASES"] {
      return chosen.split(separator: ",").map(String.init)
    }
    return ZooCase.all.keys.sorted().filter { !small.contains($0) && $0 != "d169@48" }
  }()

  private func compare(_ key: String) throws {
    let golden = try #require(ZooCase.all[key])
    Torch.threadCount = 1
    let network = try TrainableNetwork(golden.graph())
    try ZooWeights.fill(network)
    let images = ZooWeights.images(golden.images, golden.size)
    network.setTraining(false)
    let evaluated = withoutGrad { network(images).floats }
    let evaluation = relativeError("evaluation", evaluated, golden.evaluation)
    #expect(evaluation < 5e-5, "\(key), evaluation: \(evaluation)")
    network.setTraining(true)
    let embeddings = network(images)
    let training = relativeError("training", embeddings.floats, golden.training)
    let pull = Hashed.tensor("zoo/pull", embeddings.shape, .init(kind: "symmetric", a: 1, b: 0))
    embeddings.backward(pull)
    // Where a value falls on the other side of a rectifier's corner than in MXNet, float64 says which of the two is further off.
    var exact: (embeddings: Tensor, network: TrainableNetwork)?
    func truth() throws -> (embeddings: Tensor, network: TrainableNetwork) {
      if let exact { return exact }
      let network = try TrainableNetwork(golden.graph(), isFused: false, dtype: .float64)
      try ZooWeights.fill(network)
      network.setTraining(true)
      let embeddings = network(images)
      embeddings.backward(pull.to(.float64))
      exact = (embeddings, network)
      return (embeddings, network)
    }
    if training >= 1e-4 {
      let exactly = try truth().embeddings.floats
      let (own, noise) = (distance(embeddings.floats, exactly), relativeError("training", exactly, golden.training))
      #expect(own < max(1e-4, 5 * noise), "\(key), training: \(own) from float64, MXNet \(noise)")
    }
    var worst = (error: 0.0, name: "")
    for (name, expected) in golden.gradients {
      let gradient = try #require(network.tensors[name]?.grad, "no gradient of \(name)")
      let error = relativeError(name, gradient.floats, expected)
      if error >= 1e-3 {
        let trained = try truth().network
        let exactly = try #require(trained.tensors[name]?.grad).floats
        let (own, noise) = (distance(gradient.floats, exactly), relativeError(name, exactly, expected))
        #expect(own < max(1e-3, 5 * noise), "\(key), gradient of \(name): \(own) from float64, MXNet \(noise)")
      }
      if error > worst.error { worst = (error, name) }
    }
    if let path = ProcessInfo.processInfo.environment["INSIGHTFACE_PARITY_LOG"] {
      let line = "\(key) \(evaluation) \(training) \(worst.error) \(worst.name)\n"
      let old = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
      try (old + line).write(toFile: path, atomically: true, encoding: .utf8)
    }
  }

  @Test(arguments: small) func smallNetworksEqualTheReferences(key: String) throws { try compare(key) }

  @Test(
    .enabled(if: isSlow, "slow: make test-all"), arguments: others)
  func everyNetworkEqualsTheReferences(key: String) throws { try compare(key) }

  @Test func everyNetworkIsAmongTheGoldens() {
    let labels = Set(ZooCase.all.values.map(\.label))
    let families: Set = ["fresnet", "fdensenet", "fmobilefacenet", "fmobilenet", "fmnasnet", "vargfacenet"]
    for network in RecognitionNetwork.allCases where families.contains(network.family) {
      #expect(labels.contains(network.rawValue), "\(network)")
    }
  }
}

/// For `scripts/parity/zoo.py`, which lets MXNet load what is written here.
@Suite struct ZooExportTests {
  private static let folder = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_DIR"]
  private static let name = ProcessInfo.processInfo.environment["INSIGHTFACE_EXPORT_NETWORK"]

  @Test(.enabled(if: folder != nil && name != nil, "set INSIGHTFACE_EXPORT_DIR and INSIGHTFACE_EXPORT_NETWORK"))
  func aCheckpointForMXNetToLoad() throws {
    let folder = try #require(Self.folder)
    let name = try #require(Self.name)
    let registered = try #require(RecognitionNetwork(rawValue: name))
    Torch.threadCount = 1
    let network = try TrainableNetwork(registered.graph())
    try ZooWeights.fill(network)
    var graph = try network.filledGraph()
    graph.preprocessing = try registered.graph().preprocessing
    try graph.mxnetSymbol().json().write(toFile: "\(folder)/\(name)-symbol.json", atomically: true, encoding: .utf8)
    try MXNetParameters(entries: graph.mxnetWeights()).write(to: "\(folder)/\(name)-0000.params")
    network.setTraining(false)
    let embeddings = withoutGrad { network(ZooWeights.images(2, 112)).floats }
    try JSONEncoder().encode(embeddings).write(to: URL(filePath: "\(folder)/\(name)-embeddings.json"))
  }
}

@Suite(.serialized) struct ZooTrainingTests {
  /// Two steps of every family on images of patterns: losses and weights stay finite, the checkpoint comes back.
  @Test(arguments: [RecognitionNetwork.mnas025, .m05, .vargfacenet]) func smallNetworksTrain(
    network: RecognitionNetwork
  ) throws { try train(network) }

  @Test(
    .enabled(if: isSlow, "slow: make test-all"),
    arguments: [RecognitionNetwork.r18, .r50, .r50v1, .r100fc, .d169, .mnas])
  func largeNetworksTrain(network: RecognitionNetwork) throws { try train(network) }

  private func train(_ network: RecognitionNetwork) throws {
    let data = try TemporaryData()
    var c = RecognitionConfiguration(network: network, loss: .arcface, dataset: "tiny")
    let settings = [
      "dataset_path": data.folder, "models_root": data.models, "per_batch_size": "2", "frequent": "1", "verbose": "2",
      "max_steps": "2", "lr": "0.01", "ckpt": "2", "val_targets": "none",
    ]
    for (key, value) in settings { try c.set(key, value, from: "test") }
    var losses: [Double] = []
    _ = try RecognitionTrainer(c, .oneThread) { losses.append($0.loss) }.run()
    #expect(losses.count == 2 && losses.allSatisfy(\.isFinite))
    let folder = "\(data.models)/\(network.rawValue)-arcface-tiny"
    let log = try String(contentsOfFile: "\(folder)/train.log", encoding: .utf8)
    #expect(log.contains("'net_name': '\(network.family)'") && log.contains("Network FLOPs: "))
    let checkpoint = try Checkpoint(CheckpointLocation("\(folder),1", epoch: 1))
    let again = try checkpoint.network()
    #expect(again.parameters.map(\.name) == (try TrainableNetwork(network.graph())).parameters.map(\.name))
    for named in again.parameters + again.buffers { #expect(named.tensor.isFinite().all().item != 0, "\(named.name)") }
  }

  @Test func initialWeightsFollowTheFamily() {
    for network in RecognitionNetwork.allCases {
      switch (network.family, network.initializer) {
      case ("fresnet", .xavierGaussianOut), ("fmobilefacenet", .xavierGaussianOut), ("fdensenet", .xavierUniformIn),
        ("fmobilenet", .xavierUniformIn), ("fmnasnet", .xavierUniformIn), ("vargfacenet", .xavierUniformIn):
        break
      case ("fresnet", _), ("fmobilefacenet", _), ("fdensenet", _), ("fmobilenet", _), ("fmnasnet", _),
        ("vargfacenet", _):
        Issue.record("\(network) starts otherwise in the reference")
      default: break
      }
    }
  }

  @Test func switchesAreCheckedByNetwork() throws {
    func configuration(_ network: RecognitionNetwork, _ key: String, _ value: String) throws -> RecognitionConfiguration
    {
      var c = RecognitionConfiguration(network: network, loss: .arcface, dataset: "emore")
      try c.set(key, value, from: "--set")
      return c
    }
    for (network, key, value) in [
      (RecognitionNetwork.r50, "net_unit", "4"), (.r50, "num_layers", "34"), (.r50, "net_output", "Z"),
      (.r50, "net_act", "swish"), (.y1, "net_blocks", "1,2"), (.d169, "densenet_dropout", "1"),
      (.m05, "net_multiplier", "0"), (.r50, "net_name", "fdensenet"), (.vargfacenet, "net_act", "maxout"),
    ] {
      #expect(throws: ConfigurationError.self, "\(network) \(key)=\(value)") {
        try configuration(network, key, value).validate()
      }
    }
    // What a network does not read may be set, and the log says that it does nothing.
    for (network, key) in [
      (RecognitionNetwork.r50, "net_blocks"), (.y1, "net_se"), (.d169, "net_input"), (.m1, "net_unit"),
      (.mnas, "net_input"), (.vargfacenet, "net_blocks"), (.iresnet50, "net_output"), (.iresnet50, "net_blocks"),
      (.iresnet2060, "net_unit"), (.mbf, "net_act"), (.mbfLarge, "net_multiplier"), (.vitTiny, "net_blocks"),
      (.vitLargeMasked, "net_se"),
    ] {
      let c = try configuration(network, key, key == "net_blocks" ? "1" : "7")
      try c.validate()
      #expect(c.withoutEffect.contains { $0.hasPrefix("\(key): no effect") }, "\(network) \(key)")
    }
    // Of arcface_torch's networks MobileFaceNet alone takes its blocks from there.
    #expect(throws: ConfigurationError.self) { try configuration(.mbf, "net_blocks", "1,2").validate() }
    #expect(try configuration(.mbf, "net_blocks", "1,2,3,1").withoutEffect.isEmpty)
    // A key that only some networks have is unknown to the others.
    #expect(throws: ConfigurationError.self) { try configuration(.r50, "densenet_dropout", "0.1") }
    let c = RecognitionConfiguration(network: .d201, loss: .arcface, dataset: "emore")
    #expect(c.int("per_batch_size") == 64 && c.dictionary.contains("'num_layers': 201"))
  }
}
