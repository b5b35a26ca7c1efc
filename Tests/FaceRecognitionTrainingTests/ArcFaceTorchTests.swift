import Foundation
import Inference
import Testing
import Torch

@testable import FaceRecognition
@testable import Training

/// arcface_torch's networks against PyTorch (`scripts/fixtures/make_arcface_torch.py`): names, embeddings, gradients.
@Suite(.serialized) struct ArcFaceTorchTests {
  struct Golden: Decodable {
    let batch: Int
    let labels: [Int64]
    let gradients: [String]
    let statistics: [String]
    /// How far PyTorch's float32 gradients are from its float64 ones, where that matters.
    let noise: [String: Double]?
  }

  struct Architecture: Decodable {
    let tensors: Int
    let elements: Int
    let hash: String
  }

  static let folder = TrainingGolden.folder.deletingLastPathComponent().appending(path: "arcface-torch")

  /// float32 [count] in [0, 1) from a name, as `uniform` of the script.
  static func uniform(_ key: String, _ count: Int) -> Tensor {
    let h = Double(Hashed.fnv1a64(key) >> 11) * 0x1p-53
    func fraction(_ x: Tensor) -> Tensor { x - x.to(.int64).to(.float64) }
    let t = fraction(Tensor.arange(0, Double(count), dtype: .float64) * 0.6180339887498949 + h)
    return fraction(t * t * 9973).to(.float32)
  }

  /// The tensor of a name, as `fill` of the script.
  static func fill(_ key: String, _ shape: [Int], _ role: NetworkGraph.ParameterRole?) -> Tensor {
    let count = shape.reduce(1, *)
    let u = uniform(key, count).reshaped(shape)
    func symmetric(_ a: Double) -> Tensor { (u * 2 - 1) * Double(Float(a)) }
    switch role {
    case .weight: return symmetric(0.5 * (3 / (Double(count) / Double(shape[0]))).squareRoot())
    case .bias, .beta, .value: return symmetric(0.2)
    case nil: return symmetric(1)
    case .movingMean: return symmetric(0.1)
    case .gamma, .movingVariance: return u + 0.5
    case .slope: return u * Double(Float(0.06)) + Double(Float(0.97))
    }
  }

  /// A network without stochastic depth and masking, which draw.
  static func graph(_ name: String) throws -> NetworkGraph {
    let network = try #require(RecognitionNetwork(rawValue: name))
    let designs: [RecognitionNetwork: (Int, Int)] = [
      .vitTiny: (256, 12), .vitSmall: (512, 12), .vitBase: (512, 24), .vitLarge: (768, 24),
    ]
    guard let (width, depth) = designs[network] else { return try network.graph() }
    let design = VisionTransformer.Design(width: width, depth: depth, dropPath: 0, mask: 0)
    return try VisionTransformer(design: design, settings: network.defaultSettings).graph()
  }

  static func filled(_ graph: NetworkGraph) throws -> TrainableNetwork {
    let network = try TrainableNetwork(graph)
    for parameter in try graph.parameters() {
      if case .batchNorm(let norm) = graph.nodes[parameter.node].operation, norm.fixGamma, parameter.role == .gamma {
        continue
      }
      network.tensors[parameter.name]?.copy(from: fill(parameter.name, parameter.shape, parameter.role))
    }
    return network
  }

  /// Every n-th element, so that at most 4096 are left.
  static func thinned(_ values: [Float]) -> [Float] {
    stride(from: 0, to: values.count, by: (values.count + 4095) / 4096).map { values[$0] }
  }

  static func relativeError(_ made: [Float], _ golden: ArraySlice<Float>) -> Double {
    var (difference, norm) = (0.0, 0.0)
    for (a, b) in zip(made, golden) {
      difference += Double(a - b) * Double(a - b)
      norm += Double(b) * Double(b)
    }
    return (difference / norm).squareRoot()
  }

  @Test func parametersAreThoseOfTheStateDictionaries() throws {
    let data = try Data(contentsOf: Self.folder.appending(path: "architectures.json"))
    let architectures = try JSONDecoder().decode([String: Architecture].self, from: data)
    let variants = [
      "vit_t_dp005_mask0": "vit_t", "vit_s_dp005_mask_0": "vit_s", "vit_b_dp005_mask_005": "vit_b",
      "vit_l_dp005_mask_005": "vit_l",
    ]
    for network in RecognitionNetwork.allCases where network.isArcFaceTorch {
      let golden = try #require(architectures[variants[network.rawValue] ?? network.rawValue], "\(network)")
      let parameters = try network.graph().parameters()
      let lines = parameters.map { "\($0.name) \($0.shape.map(String.init).joined(separator: ","))" }
      #expect(parameters.count == golden.tensors, "\(network)")
      #expect(parameters.reduce(0) { $0 + $1.count } == golden.elements, "\(network)")
      let hash = Hashed.fnv1a64(
        lines.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }.joined(separator: "\n"))
      #expect(String(hash, radix: 16) == golden.hash, "\(network)")
    }
  }

  @Test(arguments: ["mbf", "iresnet18", "vit_t"])
  func equalsPyTorch(_ name: String) throws { try Self.compare(name) }

  @Test(
    .enabled(if: ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1", "slow"),
    arguments: ["iresnet34", "iresnet50", "iresnet100", "iresnet200", "mbf_large", "vit_s", "vit_b"])
  func deepOnesEqualPyTorch(_ name: String) throws { try Self.compare(name) }

  static func compare(_ name: String) throws {
    Torch.threadCount = 1
    let golden = try JSONDecoder().decode(
      Golden.self, from: try Data(contentsOf: folder.appending(path: "\(name).json")))
    let values = try Data(contentsOf: folder.appending(path: "\(name).bin")).withUnsafeBytes { raw in
      (0..<raw.count / 4).map { Float(bitPattern: raw.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self)) }
    }
    let size = golden.batch * 512
    try #require(values.count == 2 * size + 41 * (golden.gradients.count + golden.statistics.count))
    let network = try filled(graph(name))
    let images = Hashed.images(name, golden.labels)
    network.setTraining(false)
    let evaluated = withoutGrad { network(images).floats }
    let evaluationError = relativeError(evaluated, values[..<size])
    #expect(evaluationError < 1e-4, "\(name): evaluation")
    network.setTraining(true)
    let trained = network(images)
    let trainingError = relativeError(trained.floats, values[size..<2 * size])
    #expect(trainingError < 1e-4, "\(name): training")
    (trained * fill("loss", [golden.batch, 512], nil)).sum().backward()
    var position = 2 * size
    var worst = 0.0
    for key in golden.gradients {
      let gradient = try #require(network.tensors[key]?.grad, "\(key)")
      let error = Hashed.error(key, thinned(gradient.floats), golden: values[position..<position + 41])
      worst = max(worst, error)
      #expect(error < max(1e-3, 5 * (golden.noise?[key] ?? 0)), "\(name): gradient of \(key)")
      position += 41
    }
    print("\(name): evaluation \(evaluationError), training \(trainingError), gradient \(worst)")
    // PyTorch moves the running variance by the unbiased one, this project by the biased, as MXNet.
    for key in golden.statistics {
      let parameter = try #require(network.graph.parameters().first { $0.name == key })
      let norm = network.graph.nodes[parameter.node]
      var mine = try #require(network.tensors[key]).floats
      if parameter.role == .movingVariance {
        let shape = try network.graph.inferShapes()[norm.inputs[0]]
        let count = Double(golden.batch * shape.dimensions.dropFirst(2).compactMap(\.fixed).reduce(1, *))
        let start = fill(key, parameter.shape, .movingVariance).floats
        for index in mine.indices {
          let biased = (Double(mine[index]) - 0.9 * Double(start[index])) / 0.1
          mine[index] = Float(0.9 * Double(start[index]) + 0.1 * biased * count / (count - 1))
        }
      }
      let error = Hashed.error(key, thinned(mine), golden: values[position..<position + 41])
      #expect(error < 1e-4, "\(name): \(key)")
      position += 41
    }
  }

  @Test func graphExecutorAgrees() throws {
    // A small transformer: every operation of the family, in double precision node by node.
    var settings = NetworkSettings(imageSize: 36, embeddingSize: 16)
    settings.momentum = 0.9
    let design = VisionTransformer.Design(width: 32, depth: 2, dropPath: 0.3, mask: 0.25, heads: 4)
    let graph = try VisionTransformer(design: design, settings: settings).graph()
    let network = try Self.filled(graph)
    network.setTraining(false)
    let pixels = (0..<7776).map { (index: Int) -> Float in Float(index * 37 % 256) }
    let made = withoutGrad { network(Tensor(pixels, shape: [2, 3, 36, 36])).floats }
    let executor = try NaiveExecutor(try network.filledGraph())
    let input = try #require(NaiveExecutor.Tensor(shape: [2, 3, 36, 36], elements: pixels.map(Double.init)))
    let exact = try executor.run(["data": input])[0].elements
    for (a, b) in zip(made, exact) { #expect(abs(Double(a) - b) < 1e-4 * max(1, abs(b))) }
    // Through MXNet's symbol and back it computes the same; masking is no part of it.
    let filled = try network.filledGraph()
    let weights = try filled.mxnetWeights()
    let read = try NetworkGraph.importing(try filled.mxnetSymbol(), weights: weights)
    #expect(read.unusedWeights == ["mask_token"])
    let again = try NaiveExecutor(read.graph).run(["data": input])[0].elements
    #expect(again == exact)
    #expect(read.graph.preprocessing == graph.preprocessing)
  }

  @Test func maskingAndStochasticDepth() throws {
    var g = GraphBuilder()
    let x = g.addInput("data", [.n, 8, 4])
    let masked = g.add(.tokenMask(ratio: 0.3), [x], named: "masking")
    let y = g.add(.tokenRestore, [g.multiply(masked, 2), masked], named: "restoring", parameters: ["mask_token"])
    let network = try TrainableNetwork(try g.finish(y))
    let token: [Float] = [-1, -2, -3, -4]
    network.tensors["mask_token"]?.copy(from: Tensor(token, shape: [1, 1, 4]))
    let values = (1...96).map { (value: Int) -> Float in Float(value) }
    let input = Tensor(values, shape: [3, 8, 4])
    network.setTraining(false)
    #expect(network(input).floats == values.map { 2 * $0 })
    network.setTraining(true)
    network.dropoutKey = 7
    let made = network(input)
    let floats = made.floats
    var kept: [Set<Int>] = []
    for sample in 0..<3 {
      var mine: Set<Int> = []
      for place in 0..<8 {
        let range = (sample * 8 + place) * 4..<(sample * 8 + place + 1) * 4
        if Array(floats[range]) == values[range].map({ 2 * $0 }) {
          mine.insert(place)
        } else {
          #expect(Array(floats[range]) == token)
        }
      }
      // ⌊8 · 0.7⌋ stay.
      #expect(mine.count == 5)
      kept.append(mine)
    }
    #expect(Set(kept).count > 1)
    #expect(network(input).floats == floats)
    network.dropoutKey = 8
    #expect(network(input).floats != floats)
    network.dropoutKey = 7
    made.sum().backward()
    #expect(try #require(network.tensors["mask_token"]?.grad).floats == [9, 9, 9, 9])

    var h = GraphBuilder()
    let z = h.addInput("data", [.n, 2, 2])
    let dropping = try TrainableNetwork(try h.finish(h.dropPath(z, rate: 0.25)))
    dropping.setTraining(true)
    let samples = dropping(Tensor.ones([400, 2, 2])).floats
    var dropped = 0
    for sample in 0..<400 {
      let own = Set(samples[sample * 4..<sample * 4 + 4])
      #expect(own == [0] || own == [1 / 0.75])
      dropped += own == [0] ? 1 : 0
    }
    #expect((60...140).contains(dropped))
    dropping.setTraining(false)
    #expect(dropping(Tensor.ones([4, 2, 2])).floats == [Float](repeating: 1, count: 16))
  }
}
