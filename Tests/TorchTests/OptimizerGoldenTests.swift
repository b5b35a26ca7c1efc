import Foundation
import Testing
import Torch

/// What PyTorch computes: `scripts/fixtures/make_optimizers.py`.
private struct Golden: Decodable {
  struct Clipped: Decodable {
    let norms: [Double]
    let weights: [Float]
  }
  struct Polynomial: Decodable {
    let base: Double
    let warmup: Int
    let total: Int
    let power: Double
    let rates: [Double]
  }
  struct Cosine: Decodable {
    let base: Double
    let total: Int
    let rates: [Double]
  }
  struct Scaler: Decodable {
    let initial: Double
    let interval: Int
    let overflows: [Bool]
    let scales: [Double]
  }
  let initial: [Float]
  let gradients: [[Float]]
  let rates: [Double]
  let weights: [String: [[Float]]]
  let clipped: Clipped
  let polynomial: [Polynomial]
  let cosine: Cosine
  let scaler: Scaler

  static func read() throws -> Golden {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return try JSONDecoder().decode(
      Golden.self, from: Data(contentsOf: tests.appending(path: "Fixtures/optimizers/golden.json")))
  }
}

@Suite struct OptimizerGoldenTests {
  private func make(_ name: String, _ parameters: [NamedTensor]) -> any Optimizer {
    switch name {
    case "sgd": SGD(parameters, momentum: 0.9, weightDecay: 5e-4, form: .torch)
    case "sgd-plain": SGD(parameters, momentum: 0, weightDecay: 0, form: .torch)
    default: AdamW(parameters, weightDecay: 0.1)
    }
  }

  /// Weights after every step are PyTorch's; half of the gradient with a factor of two is the gradient.
  @Test(arguments: ["sgd", "sgd-plain", "adamw"]) func stepsArePyTorchs(_ name: String) throws {
    let golden = try Golden.read()
    for rescale in [1.0, 2.0] {
      let w = Tensor(golden.initial)
      let optimizer = make(name, [NamedTensor("w", w), NamedTensor("unused", Tensor([1, 2] as [Float]))])
      for (step, gradient) in golden.gradients.enumerated() {
        let scaled = Tensor(gradient) / rescale
        optimizer.step(gradients: [scaled, nil], learningRate: golden.rates[step], rescale: rescale)
        let expected = try #require(golden.weights[name])[step]
        #expect(zip(w.floats, expected).allSatisfy { abs($0 - $1) <= 2e-6 * max(1, abs($1)) }, "\(name) step \(step)")
      }
      #expect(optimizer.parameters[1].tensor.floats == [1, 2] && optimizer.stepCount == golden.rates.count)
    }
  }

  /// A state put into a new optimizer goes on to the last bit.
  @Test(arguments: OptimizerKind.allCases) func statesAreWhole(_ kind: OptimizerKind) throws {
    let golden = try Golden.read()
    func optimizer(_ w: Tensor) -> any Optimizer {
      let parameters = [NamedTensor("w", w)]
      return switch kind {
      case .mxnetSGD: SGD(parameters)
      case .sgd: SGD(parameters, form: .torch)
      case .adamw: AdamW(parameters)
      }
    }
    let (a, b) = (Tensor(golden.initial), Tensor(golden.initial))
    let whole = optimizer(a)
    for gradient in golden.gradients { whole.step(gradients: [Tensor(gradient)], learningRate: 0.05, rescale: 1) }
    let first = optimizer(b)
    for gradient in golden.gradients[..<3] { first.step(gradients: [Tensor(gradient)], learningRate: 0.05, rescale: 1) }
    let second = optimizer(b)
    for (target, source) in zip(second.state, first.state) { target.tensor.copy(from: source.tensor) }
    second.stepCount = first.stepCount
    for gradient in golden.gradients[3...] {
      second.step(gradients: [Tensor(gradient)], learningRate: 0.05, rescale: 1)
    }
    #expect(a.floats == b.floats && second.state.count == kind.stateCount)
  }

  @Test func clippingIsPyTorchs() throws {
    let golden = try Golden.read()
    let w = Tensor(golden.initial)
    let optimizer = SGD([NamedTensor("w", w)], form: .torch)
    for (gradient, expected) in zip(golden.gradients, golden.clipped.norms) {
      let norm = totalNorm([Tensor(gradient), nil])
      #expect(abs(norm / expected - 1) < 1e-6)
      optimizer.step(gradients: [Tensor(gradient)], learningRate: 0.1, rescale: min(1, 5 / (norm + 1e-6)))
    }
    #expect(zip(w.floats, golden.clipped.weights).allSatisfy { abs($0 - $1) < 2e-6 })
    #expect(totalNorm([]) == 0 && totalNorm([Tensor([1, .infinity] as [Float])]).isInfinite)
    #expect(totalNorm([Tensor([3, 4] as [Float]), Tensor([.nan] as [Float])]).isNaN)
  }

  @Test func learningRatesAreTheirs() throws {
    let golden = try Golden.read()
    for p in golden.polynomial {
      let schedule = LearningRateSchedule(
        base: p.base, shape: .polynomial(power: p.power), warmup: p.warmup, total: p.total)
      for (index, rate) in p.rates.enumerated() {
        #expect(abs(schedule.rate(step: index + 1) - rate) < 1e-12 * max(1, p.base), "\(p) step \(index + 1)")
      }
    }
    let cosine = LearningRateSchedule(base: golden.cosine.base, shape: .cosine, total: golden.cosine.total)
    for (index, rate) in golden.cosine.rates.enumerated() { #expect(abs(cosine.rate(step: index + 1) - rate) < 1e-12) }
    let warm = LearningRateSchedule(base: 1, shape: .cosine, warmup: 4, total: 14)
    #expect((1...5).map(warm.rate) == [0.25, 0.5, 0.75, 1, 1] && warm.rate(step: 14) > 0)
    #expect(warm.rate(step: 15) == warm.rate(step: 99))
    let steps = LearningRateSchedule(base: 1, shape: .steps([6]), warmup: 4)
    #expect([1, 4, 6, 7].map(steps.rate) == [0.25, 1, 1, 0.1])
  }

  @Test func scalersAreTheirs() throws {
    let golden = try Golden.read().scaler
    var scaler = GradientScaler(scale: golden.initial, growthInterval: golden.interval)
    for (overflow, scale) in zip(golden.overflows, golden.scales) {
      scaler.update(finite: !overflow)
      #expect(scaler.scale == scale)
    }
  }

  /// Under autocast a linear map computes in half precision and weights keep their gradients in float32.
  @Test(arguments: [DType.bfloat16, .float16]) func autocastKeepsWeights(_ precision: DType) {
    let x = Tensor((0..<12).map { Float($0) / 7 }, shape: [3, 4])
    let w = Tensor((0..<8).map { Float($0) / 5 - 0.7 }, shape: [2, 4])
    w.requiresGrad = true
    let exact = withoutGrad { x.linear(w) }
    let y = withAutocast(precision, .cpu) { x.linear(w) }
    #expect(y.dtype == precision && x.linear(w).dtype == .float32)
    #expect((y.to(.float32) - exact).abs().max().item < 0.02)
    y.to(.float32).sum().backward()
    #expect(w.grad?.dtype == .float32)
  }
}
