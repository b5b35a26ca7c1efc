import Testing
import Torch

private func expectClose(_ a: Tensor, _ b: Tensor, _ tolerance: Double = 1e-5) {
  #expect(a.shape == b.shape)
  #expect((a.to(.float64) - b.to(.float64)).abs().max().item <= tolerance * Swift.max(1, b.abs().max().item))
}

@Suite(.serialized) struct TensorTests {
  @Test func valuesShapesAndViews() {
    let t = Tensor((0..<24).map { Float($0) }, shape: [2, 3, 4])
    #expect(t.shape == [2, 3, 4] && t.count == 24 && t.rank == 3 && t.dtype == .float32 && t.device == .cpu)
    #expect(t.transposed(1, 2).floats.prefix(4) == [0, 4, 8, 1])
    #expect(t.narrowed(2, start: 1, count: 2).shape == [2, 3, 2])
    #expect(t[1][0].floats == [12, 13, 14, 15])
    #expect(t.permuted([2, 0, 1]).shape == [4, 2, 3])
    #expect(Tensor.concatenated([t, t], dim: 1).shape == [2, 6, 4])
    #expect(t.to(.uint8).array(of: UInt8.self).last == 23)
    #expect(Tensor([Int64(1), 2, 3]).dtype == .int64)
  }

  @Test func channelsLastKeepsLogicalOrder() {
    let t = Tensor((0..<24).map { Float($0) }, shape: [1, 2, 3, 4])
    let last = t.contiguous(.channelsLast)
    #expect(last.isContiguous(.channelsLast) && !last.isContiguous())
    #expect(last.floats == t.floats)
  }

  @Test func arithmeticAndReductions() {
    let a = Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])
    #expect((a + a * 2 - 1).floats == [2, 5, 8, 11])
    #expect((2 * a / a).floats == [2, 2, 2, 2])
    #expect(a.sum(1).floats == [3, 7])
    #expect(a.mean().item == 2.5)
    #expect(a.argmax(1).array(of: Int64.self) == [1, 1])
    #expect(a.variance(0).floats == [1, 1])
    #expect(a.topk(1).values.floats == [2, 4])
    #expect(Tensor.select(a .> 2, a, -a).floats == [-1, -2, 3, 4])
    #expect(firstNotFinite([a, a / 0]) == 1)
    #expect(firstNotFinite([a, nil]) == nil)
    // A finite tensor whose sum overflows is finite.
    #expect(firstNotFinite([Tensor.full([4], 3e38)]) == nil)
  }

  @Test func gradientsOfALinearClassifier() {
    let x = Tensor([1, 2, 3, 4] as [Float], shape: [2, 2])
    let w = Tensor([0.5, -0.5, 0.25, 0.125] as [Float], shape: [2, 2])
    w.requiresGrad = true
    let labels = Tensor([Int64(0), 1])
    x.linear(w).crossEntropy(labels).backward()
    let p = x.linear(w).softmax()
    let oneHot = Tensor([1, 0, 0, 1] as [Float], shape: [2, 2])
    expectClose(w.grad ?? x, ((p - oneHot) / 2).transposed().matmul(x))
    w.clearGrad()
    #expect(w.grad == nil)
    let silent = withoutGrad { x.linear(w) }
    #expect(!silent.requiresGrad)
  }

  @Test func generatorsRepeatAndTheirStateTravels() {
    let a = Tensor.zeros([100]).fillNormal(deviation: 1, Generator(seed: 7))
    let generator = Generator(seed: 7)
    #expect(a.floats == Tensor.zeros([100]).fillNormal(deviation: 1, generator).floats)
    let state = generator.state
    let next = Tensor.zeros([10]).fillUniform(0, 1, generator).floats
    let other = Generator(seed: 1)
    other.state = state
    #expect(Tensor.zeros([10]).fillUniform(0, 1, other).floats == next)
  }

  @Test func errorsInsideACatchingScopeAreThrown() {
    let a = Tensor.zeros([2, 3])
    #expect(throws: TorchError.self) { try Torch.catching { a.matmul(a).sum().item } }
    do {
      _ = try Torch.catching { a.matmul(a) }
    } catch {
      #expect("\(error)".contains("matmul") && "\(error)".contains("[2, 3]"))
    }
    #expect(throws: TorchError.self) { try Torch.catching { Tensor.zeros([1 << 50]) } }
    do { _ = try Torch.catching { Tensor.zeros([1 << 50]) } } catch let error as TorchError {
      #expect(error.isOutOfMemory)
    } catch { Issue.record("another error: \(error)") }
  }

  @Test func twoThreadsWork() {
    let before = Torch.threadCount
    defer { Torch.threadCount = before }
    Torch.threadCount = 2
    #expect(Torch.threadsAtWork() == 2)
    Torch.threadCount = 1
    #expect(Torch.threadsAtWork() == 1)
  }

  @Test func devicesByName() {
    #expect(Device("cpu") == .cpu && Device("cuda:3") == .cuda(3) && Device("cuda") == .cuda(0))
    #expect(Device("cuda:x") == nil && Device("tpu") == nil && Device("cuda:-1") == nil)
    #expect(Device.cuda(1).description == "cuda:1")
  }
}

@Suite(.serialized) struct BatchNormLayerTests {
  /// The same computation out of LibTorch's own operations.
  private func composed(_ x: Tensor, _ gamma: Tensor, _ beta: Tensor, _ slope: Tensor?, eps: Double) -> Tensor {
    let order = x.rank == 4 ? [0, 2, 3, 1] : [0, 1]
    let rows = x.permuted(order).reshaped([-1, x.shape[1]])
    let centred = rows - rows.mean(0, keepDim: true)
    let variance = (centred * centred).mean(0, keepDim: true)
    var y = centred * (variance + eps).rsqrt() * gamma + beta
    if let slope { y = Tensor.select(y .> 0, y, y * slope) }
    guard x.rank == 4 else { return y }
    let s = x.shape
    return y.reshaped([s[0], s[2], s[3], s[1]]).permuted([0, 3, 1, 2])
  }

  @Test(arguments: [[4, 8, 5, 6], [3, 24, 1, 1], [16, 12], [2, 5, 7, 7]], [true, false])
  func fusedFormMatchesTheComposition(shape: [Int], prelu: Bool) {
    let generator = Generator(seed: 3)
    let c = shape[1]
    func leaf(_ t: Tensor) -> Tensor {
      let copy = t.cloned()
      copy.requiresGrad = true
      return copy
    }
    let x0 = Tensor.zeros(shape).fillNormal(mean: 2, deviation: 3, generator)
    let (g0, b0) = (
      Tensor.zeros([c]).fillUniform(0.5, 1.5, generator), Tensor.zeros([c]).fillNormal(deviation: 1, generator)
    )
    let s0 = Tensor.zeros([c]).fillUniform(0.1, 0.4, generator)
    let weight = Tensor.zeros(shape).fillNormal(deviation: 1, generator)
    let (x, g, b, s) = (leaf(x0), leaf(g0), leaf(b0), leaf(s0))
    let (mean, variance) = (Tensor.zeros([c]), Tensor.ones([c]))
    let fused = x.batchNorm(
      gamma: g, beta: b, mean: mean, variance: variance, slope: prelu ? s : nil, training: true, eps: 1e-3)
    (fused * weight).sum().backward()
    let (x2, g2, b2, s2) = (leaf(x0), leaf(g0), leaf(b0), leaf(s0))
    let plain = composed(x2, g2, b2, prelu ? s2 : nil, eps: 1e-3)
    (plain * weight).sum().backward()
    expectClose(fused, plain, 1e-5)
    for (a, b) in [(x, x2), (g, g2), (b, b2)] + (prelu ? [(s, s2)] : []) {
      guard let a = a.grad, let b = b.grad else {
        Issue.record("no gradient")
        continue
      }
      expectClose(a, b, 1e-4)
    }
    // Running statistics: a tenth of the way, biased variance.
    let rows = (shape.count == 4 ? x0.permuted([0, 2, 3, 1]) : x0).reshaped([-1, c])
    expectClose(mean, rows.mean(0) * 0.1)
    expectClose(variance, rows.variance(0) * 0.1 + 0.9)
    // Evaluation uses them and leaves them alone.
    let before = mean.floats
    let evaluated = x0.batchNorm(
      gamma: g0, beta: b0, mean: mean, variance: variance, slope: prelu ? s0 : nil, training: false, eps: 1e-3)
    #expect(mean.floats == before)
    let view = shape.count == 4 ? [1, c, 1, 1] : [1, c]
    var y =
      (x0 - mean.reshaped(view)) * (variance + 1e-3).rsqrt().reshaped(view) * g0.reshaped(view) + b0.reshaped(view)
    if prelu { y = Tensor.select(y .> 0, y, y * s0.reshaped(view)) }
    expectClose(evaluated, y, 1e-5)
  }
}

@Suite struct OptimizerTests {
  @Test func sgdFollowsTheFormulaOverTwoSteps() {
    let w = Tensor([1, -2] as [Float])
    w.requiresGrad = true
    let sgd = SGD([NamedTensor("w", w)], momentum: 0.9, weightDecay: 0.01)
    var (expected, m): ([Double], [Double]) = ([1, -2], [0, 0])
    for _ in 0..<2 {
      (w * w).sum().backward()
      sgd.step(learningRate: 0.1, rescale: 0.5)
      w.clearGrad()
      for i in 0..<2 {
        m[i] = 0.9 * m[i] - 0.1 * (0.5 * 2 * expected[i] + 0.01 * expected[i])
        expected[i] += m[i]
      }
    }
    #expect(zip(w.floats, expected).allSatisfy { abs(Double($0) - $1) < 1e-6 })
  }

  @Test func stepsDropAfterTheirStep() {
    let schedule = StepSchedule(base: 0.1, steps: [3, 5])
    #expect([1, 3, 4, 5, 6].map(schedule.rate) == [0.1, 0.1, 0.1 * 0.1, 0.1 * 0.1, 0.1 * 0.1 * 0.1])
  }

  @Test func xavierScalesAreTheReferences() {
    #expect(abs(Initializer.xavierGaussianOut.scale([64, 3, 3, 3]) - (2.0 / 576).squareRoot()) < 1e-15)
    #expect(abs(Initializer.xavierUniformIn.scale([64, 3, 3, 3]) - (2.0 / 27).squareRoot()) < 1e-15)
    let conv = Conv2d("c", 64, 256, kernel: 3)
    Initializer.xavierGaussianOut.initialize(conv, Generator(seed: 1))
    let deviation = conv.weight.variance().item.squareRoot()
    #expect(abs(deviation / Initializer.xavierGaussianOut.scale([256, 64, 3, 3]) - 1) < 0.01)
  }
}
