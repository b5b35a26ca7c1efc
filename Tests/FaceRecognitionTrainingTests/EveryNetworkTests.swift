import FaceRecognition
import Formats
import Foundation
import Inference
import Testing
import Torch

@testable import FaceRecognitionTraining
@testable import Training

/// Every network of the registry: shape, finite gradients, names, and the way to a checkpoint and back.
@Suite(.serialized) struct EveryNetworkTests {
  private static let isSlow = ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1"

  /// Up to this many learned numbers a network is tested always, the others with the slow tests.
  private static let small = 20_000_000

  /// The smallest image that a network takes: the convolution of its output wants a map of 7×7, or a token's patches 9×9.
  private static func settings(_ network: RecognitionNetwork) -> NetworkSettings {
    var settings = network.defaultSettings
    if settings.output != .gdc, network != .vargfacenet { settings.imageSize = network.family == "vit" ? 36 : 32 }
    return settings
  }

  private static func count(_ network: RecognitionNetwork) -> Int {
    ((try? network.graph(settings(network)).parameters()) ?? []).reduce(0) { $0 + $1.count }
  }

  private static let counts = Dictionary(uniqueKeysWithValues: RecognitionNetwork.allCases.map { ($0, count($0)) })
  private static let always = RecognitionNetwork.allCases.filter { (1...small).contains(counts[$0] ?? 0) }
  private static let others = RecognitionNetwork.allCases.filter { !always.contains($0) }

  @Test(arguments: always) func smallNetworks(_ network: RecognitionNetwork) throws { try check(network) }

  @Test(.enabled(if: isSlow, "slow: make test-all"), arguments: others)
  func largeNetworks(_ network: RecognitionNetwork) throws { try check(network) }

  @Test func everyFamilyIsTestedAlways() {
    #expect(Set(Self.always.map(\.family)).union(["iresnet2060"]) == Set(RecognitionNetwork.allCases.map(\.family)))
  }

  private func check(_ registered: RecognitionNetwork) throws {
    let threads = Torch.threadCount
    defer { Torch.threadCount = threads }
    Torch.threadCount = 1
    let graph = try registered.graph(Self.settings(registered))
    let size = try #require(graph.preprocessing?.height)
    let network = try TrainableNetwork(graph)
    registered.initializer.initialize(network, Generator(seed: 7))

    // Names: what the graph lists, each once, trained and not.
    let listed = try graph.parameters()
    #expect(network.parameters.map(\.name) == listed.filter { !$0.isAuxiliary }.map(\.name))
    #expect(network.buffers.map(\.name) == listed.filter(\.isAuxiliary).map(\.name))
    #expect(Set(listed.map(\.name)).count == listed.count)

    // Shape and gradients. Two images, and three where the last map is one pixel: of two a batch norm makes ±1.
    let images = Tensor.empty([3, 3, size, size]).fillUniform(0, 255, Generator(seed: 8)).to(.uint8)
    let pass = network.pass(images.contiguous(.channelsLast), .init())
    #expect(pass.output.shape == [3, registered.defaultSettings.embeddingSize])
    #expect(pass.output.isFinite().all().item != 0)
    pass.backward(Tensor.empty(pass.output.shape).fillNormal(deviation: 0.1, Generator(seed: 9)))
    var moving = 0
    for named in network.parameters where named.tensor.requiresGrad {
      guard let gradient = named.tensor.grad else {
        // A token that stands for masked ones learns only where something is masked.
        #expect(named.name == "mask_token", "no gradient for \(named.name)")
        continue
      }
      let norm = gradient.norm().item
      #expect(norm.isFinite && gradient.shape == named.tensor.shape, "\(named.name): \(norm)")
      if norm > 0 { moving += 1 }
    }
    #expect(moving * 10 >= network.parameters.filter { $0.tensor.requiresGrad }.count * 9)
    for named in network.buffers { #expect(named.tensor.norm().item.isFinite, "\(named.name)") }
    network.clearGradients()
    // One pass moves running statistics by a tenth; with so little of it values outgrow float32 over 200 layers.
    withoutGrad {
      for (parameter, named) in zip(listed.filter(\.isAuxiliary), network.buffers) {
        let isVariance = parameter.role == .movingVariance
        let ofBatch = (named.tensor - (isVariance ? 0.9 : 0)) * 10
        named.tensor.copy(from: isVariance ? ofBatch.abs() + 1e-3 : ofBatch)
      }
    }

    // To MXNet's files and back: the same graph, the same bits.
    let folder = NSTemporaryDirectory() + "insightface-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let location = CheckpointLocation(prefix: "\(folder)/model", epoch: 1)
    try Checkpoint.save(graph, weights: network.parameters, buffers: network.buffers, to: location)
    let again = try Checkpoint(location).network()
    // The token of masked patches counts in training alone and has no place in MXNet's symbol.
    let expected = network.parameters.map(\.name).filter { $0 != "mask_token" }
    #expect(Set(again.parameters.map(\.name)) == Set(expected))
    let read = Dictionary(uniqueKeysWithValues: (again.parameters + again.buffers).map { ($0.name, $0.tensor) })
    for stored in network.parameters + network.buffers where stored.name != "mask_token" {
      let tensor = try #require(read[stored.name])
      #expect((stored.tensor - tensor).abs().max().item == 0, "\(stored.name)")
    }
    network.setTraining(false)
    again.setTraining(false)
    let (own, other) = withoutGrad { (network(images).floats, again(images).floats) }
    let isFinite = own.allSatisfy(\.isFinite)
    #expect(isFinite, "the embeddings with running statistics")
    #expect(own == other, "the embeddings of what was read back")
  }
}
