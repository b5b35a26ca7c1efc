import Foundation
import Testing
import Torch

@testable import FaceRecognitionTraining

@Suite struct MarginHeadTests {
  static let names = [
    "sphereface", "sphereface-m3-exact", "curricularface", "magface", "adaface", "elasticface-arc", "elasticface-cos",
    "elasticface-arc-plus", "elasticface-cos-plus", "subcenter-arcface", "combined-margin", "combined-margin-filter",
    "combined-margin-cosface-filter",
  ]
  let golden: MarginHeadsGolden

  init() throws { golden = try TrainingGolden.read("margin-heads") }

  /// Loss, both gradients and what the head remembers, over two batches, against autograd of the authors' formulas.
  @Test(arguments: names, [DType.float64, .float32]) func equalsItsAuthorsFormula(name: String, dtype: DType) throws {
    let expected = try #require(golden.heads.first { $0.name == name })
    let head = try #require(golden.head(name, dtype))
    let weight = head.parameters[0].tensor
    for (i, step) in expected.steps.enumerated() {
      let input = golden.inputs(i, rows: weight.shape[0], dtype)
      weight.copy(from: input.weight)
      head.prepare(HeadProgress(step: i + 1))
      let result = head.backward(input.embeddings, Tensor(golden.labels[i]))
      let bound = dtype == .float64 ? 1e-8 : 1e-5
      #expect(abs(result.loss.item - step.loss) <= bound * step.loss, "step \(i + 1)")
      let x = MarginHeadsGolden.error(result.embeddingGradient, step.embeddings)
      let w = MarginHeadsGolden.error(head.gradients[0], step.weight)
      // The first and the last face lie at ±0.9999 of their centres, where 1 − cos² is 2e-4: float32's 1e-7 of a cosine
      // is 5e-4 of sin θ there. The faces between are known to float32's own precision.
      let inner = golden.embedding..<(golden.batch - 1) * golden.embedding
      let between = MarginHeadsGolden.error(
        result.embeddingGradient[1..<golden.batch - 1], Array(step.embeddings[inner]))
      #expect(x <= (dtype == .float64 ? 1e-7 : 1e-3) && w <= (dtype == .float64 ? 1e-7 : 1e-3), "\(x), \(w)")
      #expect(between <= (dtype == .float64 ? 1e-9 : 2e-5), "step \(i + 1): \(between)")
    }
    for (key, value) in expected.memory {
      let kept = try #require(head.buffers.first { $0.name == "fc7_\(key)" })
      #expect(abs(kept.tensor.item - value) <= 1e-5 * max(1e-2, abs(value)), "\(key)")
    }
    #expect(head.buffers.count == expected.memory.count)
  }

  /// Gradients against central differences of the loss in float64, where a head's gradient is that of its loss: what it
  /// remembers is put back before every evaluation, and where the margin does not see ‖x‖ as a variable (AdaFace) the
  /// embeddings move across their direction only.
  @Test(arguments: [
    "arcface", "subcenter-arcface", "sphereface", "curricularface", "magface", "adaface", "elasticface-arc",
    "elasticface-cos", "elasticface-arc-plus", "combined-margin-filter",
  ])
  func gradientsAreThoseOfTheLoss(name: String) throws {
    // A t that follows the batch would be part of the difference.
    let head = try #require(
      name == "curricularface"
        ? CurricularFaceHead(golden.settings(.float64), rate: 0)
        : golden.head(name, .float64, marginGradient: .exact))
    let weight = head.parameters[0].tensor
    let input = golden.inputs(1, rows: weight.shape[0], .float64)
    // Away from the ends, where second derivatives are large.
    let x =
      MarginHeadsGolden.normalised(
        MarginHeadsGolden.normalised(input.embeddings)
          + Hashed.tensor("margin-heads/away", input.embeddings.shape, .init(kind: "symmetric", a: 0.4, b: 0)).to(
            .float64))
      * input.embeddings.norm(1, keepDim: true)
    weight.copy(from: input.weight)
    let labels = Tensor(golden.labels[1])
    let kept = head.buffers.map { $0.tensor.cloned() }
    func loss(_ x: Tensor, _ w: Tensor) -> Double {
      weight.copy(from: w)
      for (buffer, value) in zip(head.buffers, kept) { buffer.tensor.copy(from: value) }
      return head.backward(x, labels).loss.item
    }
    _ = loss(x, input.weight)
    let result = head.backward(x, labels)
    for (buffer, value) in zip(head.buffers, kept) { buffer.tensor.copy(from: value) }
    let gradient = head.backward(x, labels)
    let byWeight = try #require(head.gradients[0]).cloned()
    #expect(result.loss.item.isFinite)
    let unit = MarginHeadsGolden.normalised(x)
    for trial in 0..<6 {
      let rule = Hashed.Rule(kind: "symmetric", a: 1, b: 0)
      var toX = Hashed.tensor("direction/x/\(trial)", x.shape, rule).to(.float64)
      if name == "adaface" { toX = toX - unit * (unit * toX).sum(1, keepDim: true) }
      let toW = Hashed.tensor("direction/w/\(trial)", weight.shape, rule).to(.float64)
      let h = 1e-6
      let byX = (loss(x + toX * h, input.weight) - loss(x - toX * h, input.weight)) / (2 * h)
      let expectedX = (gradient.embeddingGradient * toX).sum().item
      #expect(abs(byX - expectedX) <= 1e-6 * max(1e-2, abs(expectedX)), "x: \(byX), \(expectedX)")
      let byW = (loss(x, input.weight + toW * h) - loss(x, input.weight - toW * h)) / (2 * h)
      let expectedW = (byWeight * toW).sum().item
      #expect(abs(byW - expectedW) <= 1e-6 * max(1e-1, abs(expectedW)), "w: \(byW), \(expectedW)")
    }
  }

  /// Faces on their class centres, opposite to them, at right angles, and of length 0: loss and gradients stay finite
  /// in every type, with one class too.
  @Test(arguments: names + ["arcface"]) func staysFiniteAtTheEnds(name: String) throws {
    let head = try #require(golden.head(name, .float32))
    let weight = head.parameters[0].tensor
    let input = golden.inputs(0, rows: weight.shape[0], .float32)
    weight.copy(from: input.weight)
    let rows = (0..<8).map { row in
      input.weight[Int(golden.labels[0][row]) * weight.shape[0] / golden.classes]
        * [20.0, -20, 0, 1e-3, -1e4, 60, 20, -20][row]
    }
    for dtype in [DType.float32, .float16, .bfloat16] {
      let result = head.backward(Tensor.stacked(rows).to(dtype), Tensor(golden.labels[0]))
      #expect(result.loss.item.isFinite, "\(dtype)")
      #expect(result.embeddingGradient.dtype == .float32)
      #expect(firstNotFinite([result.embeddingGradient, head.gradients[0]] + head.buffers.map(\.tensor)) == nil)
    }
    // A batch of one face.
    let one = head.backward(Tensor.stacked([rows[0]]), Tensor([golden.labels[0][0]]))
    #expect(one.loss.item.isFinite && firstNotFinite([one.embeddingGradient] + head.buffers.map(\.tensor)) == nil)
    head.update(learningRate: 0.1)
    #expect(firstNotFinite([weight]) == nil)
  }

  @Test func oneClassAndAMillionClasses() throws {
    for loss in RecognitionLoss.allCases where !loss.isTriplet {
      for classes in [1, 1_000_000] {
        var c = RecognitionConfiguration(network: .y1, loss: loss, dataset: "x")
        for (key, value) in [("num_classes", "\(classes)"), ("emb_size", "4")] { try c.set(key, value, from: "test") }
        if loss == .subcenterArcface { try c.set("loss_K", "2", from: "test") }
        let head = loss.head(c, TrainingOptions(), Generator(seed: 4))
        let x = Tensor([12, 3, -4, 1, -6, 15, 2, 2] as [Float], shape: [2, 4])
        head.prepare(HeadProgress(step: 1))
        let result = head.backward(x, Tensor([Int64(0), Int64(classes - 1)]))
        #expect(result.loss.item.isFinite, "\(loss) \(classes)")
        #expect(firstNotFinite([result.embeddingGradient] + head.gradients) == nil, "\(loss) \(classes)")
        if classes == 1 {
          #expect(loss == .magface || result.loss.item == 0, "\(loss)")
        } else {
          // ln K is the loss of chance; the margins only raise it.
          #expect(result.loss.item > 10, "\(loss): \(result.loss.item)")
        }
        head.update(learningRate: 0.1)
        #expect(firstNotFinite(head.parameters.map(\.tensor)) == nil, "\(loss) \(classes)")
      }
    }
  }

  /// Half precision reaches the loss as its rounded embeddings in float32, nothing worse.
  @Test(arguments: [DType.float16, .bfloat16]) func halfPrecisionIsUpcast(dtype: DType) throws {
    for name in Self.names {
      let (a, b) = (try #require(golden.head(name, .float32)), try #require(golden.head(name, .float32)))
      let input = golden.inputs(0, rows: a.parameters[0].tensor.shape[0], .float32)
      for head in [a, b] { head.parameters[0].tensor.copy(from: input.weight) }
      let rounded = input.embeddings.to(dtype)
      let labels = Tensor(golden.labels[0])
      let (half, whole) = (a.backward(rounded, labels), b.backward(rounded.to(.float32), labels))
      #expect(half.loss.item == whole.loss.item && half.embeddingGradient.floats == whole.embeddingGradient.floats)
    }
  }

  /// A warm-up begins without a margin: with none in force and one scale, the losses whose margin is all they have are
  /// plain softmax over cosines.
  @Test func marginsGrowFromNone() throws {
    for name in ["arcface", "elasticface-arc", "elasticface-cos", "combined-margin"] {
      let head = try #require(golden.head(name, .float64))
      let plain = MarginSoftmaxHead(golden.settings(.float64), margin: Margin())
      let input = golden.inputs(0, rows: golden.classes, .float64)
      for each in [head, plain] {
        each.parameters[0].tensor.copy(from: input.weight)
        each.prepare(HeadProgress(step: 1, marginShare: 0, scaleShare: 0.5))
      }
      let labels = Tensor(golden.labels[0])
      let (made, expected) = (head.backward(input.embeddings, labels), plain.backward(input.embeddings, labels))
      #expect(abs(made.loss.item - expected.loss.item) < 1e-5 * expected.loss.item, "\(name)")
      head.prepare(HeadProgress(step: 2))
      #expect(head.backward(input.embeddings, labels).loss.item > 1.5 * made.loss.item, "\(name)")
    }
  }

  @Test func elasticMarginsAreDrawnByStepAndPosition() throws {
    let head = ElasticFaceHead(golden.settings(.float32), kind: .arc, plus: true, seed: 9)
    let own = (0..<2000).map { Double($0 % 97) / 97 }
    head.prepare(HeadProgress(step: 5))
    let first = head.margins(own)
    #expect(first == head.margins(own))
    head.prepare(HeadProgress(step: 6))
    #expect(first != head.margins(own))
    let mean = first.reduce(0, +) / 2000
    let deviation = (first.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 2000).squareRoot()
    #expect(abs(mean - 0.5) < 0.005 && abs(deviation - 0.05) < 0.005)
    // The nearest has the smallest, the farthest the largest.
    #expect(first.indices.filter { own[$0] == 0 }.contains { first[$0] == first.max() })
    #expect(first.indices.filter { own[$0] == 96.0 / 97 }.contains { first[$0] == first.min() })
  }
}
