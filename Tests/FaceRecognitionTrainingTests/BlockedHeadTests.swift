import Testing
import Torch

@testable import FaceRecognitionTraining

/// The margin softmax in blocks of classes against the same with whole matrices.
@Suite struct BlockedHeadTests {
  private func head(_ classes: Int, _ size: Int, _ margin: Margin, _ gradient: MarginGradient = .exact)
    -> MarginSoftmaxHead
  {
    MarginSoftmaxHead(
      classCount: classes, embeddingSize: size, margin: margin, marginGradient: gradient, momentum: 0.9,
      weightDecay: 5e-4, device: .cpu, generator: Generator(seed: 11))
  }

  private func batch(_ count: Int, _ size: Int, classes: Int) -> (Tensor, Tensor) {
    let generator = Generator(seed: 5)
    let embeddings = Tensor.empty([count, size]).fillNormal(deviation: 2, generator)
    let labels = (0..<count).map { Int64(($0 * 7919 + 3) % classes) }
    return (embeddings, Tensor(labels))
  }

  private func distance(_ a: Tensor, _ b: Tensor) -> Double {
    ((a - b).norm().item) / Swift.max(b.norm().item, 1e-30)
  }

  /// Class counts around the sizes of vectors and blocks: one class, tails, several blocks.
  @Test(arguments: [1, 2, 7, 8, 9, 61, 476, 30_011])
  func equalsTheWholeMatrices(classes: Int) {
    for (margin, gradient) in [
      (Margin(m2: 0.5), MarginGradient.exact), (Margin(m3: 0.35), .exact), (Margin(), .exact),
      (Margin(m1: 0.9, m2: 0.4, m3: 0.15), .exact), (Margin(m2: 0.5), .straightThrough),
      (Margin(scale: 16, m1: 3), .exact),
    ] {
      let (width, count) = (37, classes > 1000 ? 110 : 13)
      let (embeddings, labels) = batch(count, width, classes: classes)
      let (whole, blocked) = (head(classes, width, margin, gradient), head(classes, width, margin, gradient))
      let expected = whole.composed(embeddings, labels)
      let made = blocked.backward(embeddings, labels)
      #expect(abs(made.loss.item - expected.loss.item) <= 1e-5 * Swift.max(1, expected.loss.item))
      #expect(made.correct.item == expected.correct.item)
      if classes > 1 {
        #expect(distance(made.embeddingGradient, expected.embeddingGradient) < 1e-4)
        if let a = blocked.gradients[0], let b = whole.gradients[0] { #expect(distance(a, b) < 1e-4) }
      }
      // The step that fuses the update moves weight and momentum to the same place.
      let fused = head(classes, width, margin, gradient)
      for _ in 0..<2 {
        _ = fused.step(embeddings, labels, learningRate: 0.1)
        _ = whole.composed(embeddings, labels)
        whole.update(learningRate: 0.1)
      }
      #expect(distance(fused.weight, whole.weight) < 1e-5)
      #expect(distance(fused.weightMomentum, whole.weightMomentum) < 1e-4 || whole.weightMomentum.norm().item < 1e-6)
    }
  }

  /// A face on its class centre, one opposite to it, one of zeros: nothing becomes NaN.
  @Test func staysFiniteAtTheEnds() {
    let made = head(3, 8, Margin(m2: 0.5))
    let w = made.weight
    let rows = Tensor.concatenated([w[0..<1] * 100, w[1..<2] * -100, Tensor.zeros([1, 8])])
    let result = made.step(rows, Tensor([Int64(0), 1, 2]), learningRate: 0.1)
    #expect(result.loss.item.isFinite)
    #expect(firstNotFinite([result.embeddingGradient, made.weight, made.weightMomentum]) == nil)
  }

  /// The same figures whatever the number of threads says about the pieces of a loop.
  @Test func threadsDoNotChangeTheResult() {
    let threads = Torch.threadCount
    defer { Torch.threadCount = threads }
    let (embeddings, labels) = batch(64, 32, classes: 501)
    var losses: [[Float]] = []
    for count in [1, 2] {
      Torch.threadCount = count
      let made = head(501, 32, Margin(m2: 0.5))
      losses.append(made.backward(embeddings, labels).embeddingGradient.floats)
    }
    #expect(zip(losses[0], losses[1]).allSatisfy { abs($0 - $1) <= 1e-6 + 1e-4 * abs($0) })
  }
}
