import Foundation
import Inference
import Testing
import Torch

@testable import FaceRecognition
@testable import FaceRecognitionTraining
@testable import Training

/// Checkpoints of arcface_torch's networks, in PyTorch's and in MXNet's form.
@Suite struct PyTorchCheckpointTests {
  static func folder() throws -> String {
    let path = NSTemporaryDirectory() + "checkpoint-\(UInt64.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
  }

  /// A transformer of two units, for which masking and stochastic depth are on.
  static func smallTransformer() throws -> NetworkGraph {
    let design = VisionTransformer.Design(width: 32, depth: 2, dropPath: 0.3, mask: 0.25, heads: 4)
    return try VisionTransformer(design: design, settings: NetworkSettings(imageSize: 36, embeddingSize: 16)).graph()
  }

  @Test func fileOfPyTorch() throws {
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let network = try TrainableNetwork(RecognitionNetwork.mbf.graph())
    RecognitionNetwork.mbf.initializer.initialize(network, Generator(seed: 5))
    let path = folder + "/weights"
    try network.filledGraph().writePyTorch(to: path)
    // Known by its content, not by its name.
    let location = CheckpointLocation(path, epoch: 1)
    #expect(location.isPyTorch && location.parametersPath == path)
    let checkpoint = try Checkpoint(location)
    #expect(try checkpoint.imageSize() == 112)
    let read = try checkpoint.network()
    for parameter in network.parameters + network.buffers {
      #expect(read.tensors[parameter.name]?.floats == parameter.tensor.floats, "\(parameter.name)")
    }
    #expect(throws: (any Error).self) { try Checkpoint(location, network: .iresnet18) }
    // With leave, the part that fits: mbf_large has some layers of the same shape.
    let larger = try TrainableNetwork(RecognitionNetwork.mbfLarge.graph())
    let part = try Checkpoint(location, network: .mbfLarge, allowsMissing: true)
    let report = try larger.load(part, allowMissing: true)
    #expect(report.loaded > 20 && !report.isComplete)
    #expect(throws: ConfigurationError.self) { try larger.load(part) }
    #expect(
      larger.tensors["features.layers.2.weight"]?.floats == network.tensors["features.layers.2.weight"]?.floats)
  }

  @Test func learnedTokenSurvivesTheSymbol() throws {
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let graph = try Self.smallTransformer()
    let network = try TrainableNetwork(graph)
    Initializer.visionTransformer.initialize(network, Generator(seed: 5))
    let location = CheckpointLocation(prefix: folder + "/model", epoch: 1)
    try Checkpoint.save(graph, weights: network.parameters, buffers: network.buffers, to: location)
    let checkpoint = try Checkpoint(location)
    let again = try TrainableNetwork(graph)
    let report = try again.load(checkpoint)
    #expect(report.isComplete)
    #expect(again.tensors["mask_token"]?.floats == network.tensors["mask_token"]?.floats)
    // Without its registry entry the checkpoint runs as its symbol says, and computes the same.
    let alone = try checkpoint.network()
    alone.setTraining(false)
    network.setTraining(false)
    let image = Tensor.full([2, 3, 36, 36], 99)
    withoutGrad { #expect(alone(image).floats == network(image).floats) }
  }

  @Test func trainingStepMovesEveryParameter() throws {
    let network = try TrainableNetwork(try Self.smallTransformer())
    Initializer.visionTransformer.initialize(network, Generator(seed: 5))
    network.setTraining(true)
    network.dropoutKey = 3
    let pixels = Tensor.empty([6, 3, 36, 36]).fillUniform(0, 255, Generator(seed: 9))
    let direction = Tensor.empty([6, 16]).fillNormal(deviation: 1, Generator(seed: 10))
    (network(pixels) * direction).sum().backward()
    for parameter in network.parameters {
      let gradient = try #require(parameter.tensor.grad?.floats, "\(parameter.name)")
      #expect(gradient.allSatisfy(\.isFinite) && gradient.contains { $0 != 0 }, "\(parameter.name)")
    }
  }

  @Test func initialWeights() throws {
    func spread(_ tensor: Tensor?) throws -> Double {
      let values = try #require(tensor).floats.map(Double.init)
      return (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
    }
    let residual = try TrainableNetwork(RecognitionNetwork.iresnet18.graph())
    RecognitionNetwork.iresnet18.initializer.initialize(residual, Generator(seed: 1))
    #expect(abs(try spread(residual.tensors["layer2.0.conv1.weight"]) - 0.1) < 0.002)
    // U(±b) has the deviation b / √3.
    let bound = 1 / 25088.0.squareRoot()
    #expect(abs(try spread(residual.tensors["fc.weight"]) / (bound / 3.0.squareRoot()) - 1) < 0.01)
    #expect(abs(try spread(residual.tensors["fc.bias"]) / (bound / 3.0.squareRoot()) - 1) < 0.15)
    #expect(residual.tensors["prelu.weight"]?.floats == [Float](repeating: 0.25, count: 64))
    let transformer = try TrainableNetwork(try Self.smallTransformer())
    Initializer.visionTransformer.initialize(transformer, Generator(seed: 1))
    #expect(abs(try spread(transformer.tensors["blocks.0.mlp.fc1.weight"]) / 0.02 - 1) < 0.05)
    #expect(try spread(transformer.tensors["blocks.0.mlp.fc1.bias"]) == 0)
    #expect(try spread(transformer.tensors["mask_token"]) > 0)
    let patch = 1 / 243.0.squareRoot() / 3.0.squareRoot()
    #expect(abs(try spread(transformer.tensors["patch_embed.proj.weight"]) / patch - 1) < 0.05)
    #expect(try spread(transformer.tensors["patch_embed.proj.bias"]) > 0)
  }
}
