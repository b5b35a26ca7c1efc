import FaceRecognition
import Foundation
import Inference
import Testing
import Torch

@testable import Training

/// A residual network in the manner of fresnet: units of two convolutions, a shortcut with stride in each stage's first one,
/// dropout and an embedding at the end.
func residualGraph(
  size: Int, channels: [Int], units: [Int], embedding: Int = 16, dropout: Double = 0.4
) throws -> NetworkGraph {
  var g = GraphBuilder(channels: 3, height: size, width: size)
  var x = g.multiply(g.subtract(g.input, 127.5), 0.0078125)
  x = g.convolution("conv0", x, filters: channels[0], kernel: 3, pad: 1, bias: false)
  x = g.prelu("relu0", g.batchNorm("bn0", x, epsilon: 2e-5))
  for (stage, count) in units.enumerated() {
    for unit in 0..<count {
      let name = "stage\(stage)_unit\(unit)"
      let stride: NetworkGraph.Extent = unit == 0 ? 2 : 1
      var y = g.batchNorm("\(name)_bn1", x, epsilon: 2e-5)
      y = g.convolution("\(name)_conv1", y, filters: channels[stage], kernel: 3, pad: 1, bias: false)
      y = g.prelu("\(name)_relu1", g.batchNorm("\(name)_bn2", y, epsilon: 2e-5))
      y = g.convolution("\(name)_conv2", y, filters: channels[stage], kernel: 3, stride: stride, pad: 1, bias: false)
      y = g.batchNorm("\(name)_bn3", y, epsilon: 2e-5)
      if unit == 0 {
        let s = g.convolution("\(name)_conv1sc", x, filters: channels[stage], kernel: 1, stride: 2, bias: false)
        x = g.add(y, g.batchNorm("\(name)_sc", s, epsilon: 2e-5))
      } else {
        x = g.add(y, x)
      }
    }
  }
  x = g.batchNorm("bn1", x, epsilon: 2e-5)
  if dropout > 0 { x = g.dropout(x, rate: dropout, named: "dropout0") }
  x = g.fullyConnected("pre_fc1", x, units: embedding)
  x = g.batchNorm("fc1", x, epsilon: 2e-5, fixGamma: true)
  return try g.finish([x])
}

@Suite(.serialized) struct PassTests {
  private struct Outcome {
    let output: [Float]
    let gradients: [String: [Float]]
    let statistics: [String: [Float]]
  }

  private func step(
    _ graph: NetworkGraph, _ size: Int, _ options: TrainableNetwork.PassOptions, batch: Int = 4
  ) throws -> Outcome {
    Torch.threadCount = 1
    let network = try TrainableNetwork(graph)
    Initializer.xavierGaussianOut.initialize(network, Generator(seed: 3))
    network.dropoutKey = 11
    let images = (Tensor.empty([batch, 3, size, size]).fillUniform(0, 255, Generator(seed: 4))).to(.uint8)
    let pass = network.pass(images.contiguous(.channelsLast), options)
    network.dropoutKey = 12  // a pass keeps its own
    let gradient = Tensor.empty(pass.output.shape).fillNormal(deviation: 0.1, Generator(seed: 5))
    pass.backward(gradient)
    #expect(pass.output.dtype == .float32 && !pass.output.requiresGrad)
    return Outcome(
      output: pass.output.floats,
      gradients: Dictionary(uniqueKeysWithValues: network.parameters.map { ($0.name, $0.tensor.grad?.floats ?? []) }),
      statistics: Dictionary(uniqueKeysWithValues: network.buffers.map { ($0.name, $0.tensor.floats) }))
  }

  /// Embeddings, every gradient and every running statistic are the same to the last bit, dropout included.
  @Test func recomputationChangesNothing() throws {
    let residual = try residualGraph(size: 32, channels: [8, 16, 24], units: [2, 2, 2])
    for (graph, size) in [(residual, 32), (try RecognitionNetwork.y1.graph(), 112)] {
      let network = try TrainableNetwork(graph)
      #expect(network.segments.count > 2)
      #expect(network.segments.first?.steps.lowerBound == 0)
      for (a, b) in zip(network.segments, network.segments.dropFirst()) {
        #expect(a.steps.upperBound == b.steps.lowerBound && a.outputs == b.inputs)
      }
      let plain = try step(graph, size, .init())
      let again = try step(graph, size, .init(recomputes: true))
      #expect(plain.output == again.output && plain.statistics == again.statistics)
      #expect(plain.gradients == again.gradients)
      #expect(plain.gradients.values.contains { $0.contains { $0 != 0 } })
      let kept = try TrainableNetwork.keptElements(graph, recomputes: false)
      #expect(try TrainableNetwork.keptElements(graph, recomputes: true) * 2 < kept)
    }
  }

  /// Where a convolution's input is over 32 MiB its gradient is taken a few images at a time: only the sum over the batch
  /// rounds otherwise.
  ///
  /// A weight's gradient is a sum of 147,456 products here, whose order alone moves it by up to
  /// √147,456 · 2⁻²⁴ = 2.3e-5 of their size.
  @Test func recomputationOfLargeLayersOnlyRounds() throws {
    let graph = try residualGraph(size: 128, channels: [64, 8], units: [1, 1])
    let plain = try step(graph, 128, .init(), batch: 9)
    let again = try step(graph, 128, .init(recomputes: true), batch: 9)
    #expect(plain.output == again.output && plain.statistics == again.statistics)
    var differing: [String] = []
    for (name, gradient) in plain.gradients {
      let other = try #require(again.gradients[name])
      if gradient == other { continue }
      differing.append(name)
      var (difference, norm) = (0.0, 0.0)
      for (x, y) in zip(gradient, other) {
        difference += Double(x - y) * Double(x - y)
        norm += Double(x) * Double(x)
      }
      #expect((difference / norm).squareRoot() < 2.3e-5, "\(name)")
    }
    #expect(differing.contains("stage0_unit0_conv1_weight"), "\(differing)")
  }

  /// The wide values of a stem are computed again, not kept, and a shortcut runs before the layers that it goes around.
  @Test func cutsAreNarrow() throws {
    let graph = try residualGraph(size: 112, channels: [64, 128, 256, 512], units: [3, 4, 14, 3], embedding: 512)
    let network = try TrainableNetwork(graph)
    let shapes = try network.graph.inferShapes()
    func size(_ node: Int) -> Int { shapes[.init(node: node)].sizes(batch: 1)?.reduce(1, *) ?? 0 }
    let wide = 64 * 112 * 112
    #expect(network.segments.dropLast().filter { $0.outputs.contains { size($0) == wide } }.count <= 2)
    let kept = try TrainableNetwork.keptElements(graph, recomputes: true)
    #expect(kept < 4 * wide, "\(Double(kept) / Double(wide))")
    #expect(kept * 2 < (try TrainableNetwork.keptElements(graph, recomputes: false)))
    let names = network.steps.map { network.graph.nodes[$0.node].name }
    let shortcut = try #require(names.firstIndex(of: "stage1_unit0_conv1sc"))
    #expect(shortcut < (try #require(names.firstIndex(of: "stage1_unit0_bn1"))))
  }

  /// Half precision stays near float32: embeddings within a few percent, gradients of every tensor in the same direction.
  @Test(arguments: [DType.bfloat16, .float16]) func halfPrecisionIsClose(_ precision: DType) throws {
    let graph = try residualGraph(size: 32, channels: [8, 16, 24], units: [1, 2, 1], dropout: 0)
    let exact = try step(graph, 32, .init(), batch: 8)
    let half = try step(graph, 32, .init(precision: precision), batch: 8)
    #expect(cosine(exact.output, half.output) > (precision == .float16 ? 0.9999 : 0.999))
    for (name, gradient) in exact.gradients where gradient.contains(where: { $0 != 0 }) {
      // A constant that the next batch normalisation takes away again has a gradient of rounding alone.
      if name == "pre_fc1_bias" || name == "fc1_gamma" || name == "bn1_beta" || name.hasSuffix("_sc_beta")
        || name.hasSuffix("_bn3_beta")
      {
        continue
      }
      let other = try #require(half.gradients[name])
      #expect(cosine(gradient, other) > (precision == .float16 ? 0.99 : 0.9), "\(name)")
    }
    #expect(half.statistics.values.allSatisfy { $0.allSatisfy { $0.isFinite } })
    let recomputed = try step(graph, 32, .init(precision: precision, recomputes: true), batch: 8)
    #expect(recomputed.output == half.output && recomputed.gradients == half.gradients)
  }

  private func cosine(_ a: [Float], _ b: [Float]) -> Double {
    var (ab, aa, bb) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) {
      ab += Double(x) * Double(y)
      aa += Double(x) * Double(x)
      bb += Double(y) * Double(y)
    }
    return ab / (aa * bb).squareRoot()
  }

  /// The peak of a step of fresnet-50 at batch 32, to be run by itself, once with MEMONGER=1 and once without.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["INSIGHTFACE_MEASURE_MEMORY"] == "1"))
  func peakMemoryOfR50() throws {
    let graph = try residualGraph(size: 112, channels: [64, 128, 256, 512], units: [3, 4, 14, 3], embedding: 512)
    let recomputes = ProcessInfo.processInfo.environment["MEMONGER"] == "1"
    func status(_ key: String) -> Int {
      FreeMemory.field(key, of: (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? "") ?? 0
    }
    if recomputes { Torch.returnFreedMemory() }
    let before = status("VmRSS:\t")
    let begin = Date()
    _ = try step(graph, 112, .init(recomputes: recomputes), batch: 32)
    let kept = try TrainableNetwork.keptElements(graph, recomputes: recomputes) * 32 * 4
    print(
      "recomputes \(recomputes): before \(before >> 10) MiB, peak \(status("VmHWM:\t") >> 10) MiB, "
        + "kept as estimated \(kept >> 20) MiB, \(Date().timeIntervalSince(begin)) s")
  }
}
