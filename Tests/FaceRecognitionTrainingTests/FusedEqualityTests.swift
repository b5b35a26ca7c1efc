import FaceRecognition
import Foundation
import Inference
import Testing
import Torch

@testable import FaceRecognitionTraining
@testable import Training

/// A training step with this project's fused operations against the same step with LibTorch's own, one after another: from
/// the same state, at states along a run.
@Suite(.serialized) struct FusedEqualityTests {
  /// Network, head and optimizer of one way to compute.
  private final class Trainee {
    let network: TrainableNetwork
    let head: MarginSoftmaxHead
    let optimizer: SGD
    static let classes = 20

    init(_ graph: NetworkGraph, isFused: Bool, dtype: DType = .float32) throws {
      network = try TrainableNetwork(graph, isFused: isFused, dtype: dtype)
      let generator = Generator(seed: 2)
      Initializer.xavierGaussianOut.initialize(network, generator)
      let settings = HeadSettings(
        classCount: Self.classes, embeddingSize: network.outputLength ?? 0, momentum: 0.9, weightDecay: 5e-4,
        device: .cpu, generator: generator, dtype: dtype)
      head = MarginSoftmaxHead(settings, margin: Margin(scale: 16, m2: 0.2))
      head.allowsBlocks = isFused
      optimizer = SGD(network.parameters, momentum: 0.9, weightDecay: 5e-4)
      #expect(head.runsInBlocks == isFused)
      #expect(network.steps.contains { $0.fusedConvolution != nil } == isFused)
    }

    /// Everything that the next step depends on.
    var state: [Tensor] {
      network.parameters.map(\.tensor) + network.buffers.map(\.tensor) + optimizer.momenta
        + head.parameters.map(\.tensor) + head.momenta
    }

    /// Slopes of one: the activations have no corner, whose side rounding could change.
    func removeCorners() {
      withoutGrad {
        for parameter in network.parameters where parameter.name.hasSuffix("relu_gamma") { parameter.tensor.fill(1) }
      }
    }

    func copy(from other: Trainee) {
      withoutGrad { for (mine, theirs) in zip(state, other.state) { mine.copy(from: theirs) } }
    }

    /// One step, made of the calls that `Update` makes.
    ///
    /// In MXNet's form the momentum buffer after a step is the update itself.
    func step(_ images: Tensor, _ labels: Tensor) -> Outcome {
      let pass = network.pass(images, .init())
      let result = head.step(pass.output, labels, learningRate: 0.1)
      pass.backward(result.embeddingGradient)
      var tensors: [String: Tensor] = ["gradient of the embeddings": result.embeddingGradient.cloned()]
      for (name, tensor) in network.parameters.map({ ($0.name, $0.tensor) }) {
        tensors["gradient of \(name)"] = tensor.grad.map { $0.cloned() }
      }
      optimizer.step(learningRate: 0.1)
      network.clearGradients()
      for (parameter, update) in zip(network.parameters + head.parameters, optimizer.momenta + head.momenta) {
        tensors["update of \(parameter.name)"] = update.cloned()
      }
      for buffer in network.buffers { tensors[buffer.name] = buffer.tensor.cloned() }
      return Outcome(loss: result.loss.item, tensors: tensors)
    }
  }

  private struct Outcome {
    let loss: Double
    let tensors: [String: Tensor]
  }

  /// ‖a − b‖ / ‖b‖ in float64.
  private func distance(_ a: Tensor, _ b: Tensor) -> Double {
    let (a, b) = (a.to(.float64), b.to(.float64))
    return (a - b).norm().item / max(b.norm().item, 1e-300)
  }

  private static let isSlow = ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1"

  /// Ten states of y1 (batch 8), the first three of them always: every gradient and every update within 1e-4 of LibTorch's.
  ///
  /// Where the two are further apart, float32 itself cannot say more: the tensor is then compared with the same step in
  /// float64, and the fused one may be five times as far from it as LibTorch's float32 is, the rule of every comparison of
  /// training steps here (docs/parity.md). Which value falls on the other side of a PReLU's corner is chance in both, and one
  /// value moves every gradient before it: each state is compared once with slopes of one, where there is no corner, tensor
  /// by tensor; and as it is, where a tensor's largest error along the run stands against LibTorch's largest.
  @Test func aStepEqualsTheUnfusedOneAlongARun() throws {
    let threads = Torch.threadCount
    defer { Torch.threadCount = threads }
    Torch.threadCount = 1
    let graph = try RecognitionNetwork.y1.graph()
    let run = try Trainee(graph, isFused: true)
    let fused = try Trainee(graph, isFused: true)
    let composed = try Trainee(graph, isFused: false)
    let exact = try Trainee(graph, isFused: false, dtype: .float64)
    var noise: [String: (fused: Double, composed: Double)] = [:]
    var (firstLoss, lastLoss) = (0.0, 0.0)
    for state in 0..<(Self.isSlow ? 10 : 3) {
      let labels = Hashed.labels("equal\(state % 2)", 8, Trainee.classes)
      let images = Hashed.images("equal\(state % 2)", labels).contiguous(.channelsLast)
      for hasCorners in [false, true] {
        for trainee in [fused, composed, exact] {
          trainee.copy(from: run)
          if !hasCorners { trainee.removeCorners() }
        }
        let made = fused.step(images, Tensor(labels))
        let expected = composed.step(images, Tensor(labels))
        #expect(abs(made.loss - expected.loss) <= 1e-4 * expected.loss)
        #expect(made.tensors.count == expected.tensors.count)
        let apart = try made.tensors.filter { name, tensor in
          distance(tensor, try #require(expected.tensors[name])) > 1e-4
        }
        guard !apart.isEmpty else { continue }
        let truth = exact.step(images, Tensor(labels)).tensors
        for (name, tensor) in apart {
          let (other, exactly) = (try #require(expected.tensors[name]), try #require(truth[name]))
          let error = (fused: distance(tensor, exactly), composed: distance(other, exactly))
          if hasCorners {
            let before = noise[name] ?? (0, 0)
            noise[name] = (max(before.fused, error.fused), max(before.composed, error.composed))
          } else {
            #expect(error.fused <= max(1e-4, 5 * error.composed), "state \(state), \(name): \(error)")
          }
        }
      }
      lastLoss = run.step(images, Tensor(labels)).loss
      if state == 0 { firstLoss = lastLoss }
    }
    #expect(lastLoss < firstLoss, "the run learns: \(firstLoss), \(lastLoss)")
    for (name, error) in noise.sorted(by: { $0.key < $1.key }) {
      #expect(error.fused <= max(1e-4, 5 * error.composed), "\(name): \(error)")
    }
  }
}
