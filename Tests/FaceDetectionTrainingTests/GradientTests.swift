import FaceDetection
import Testing
import Torch

@testable import FaceDetectionTraining

/// The way back through the whole network, against differences of the loss along the gradient.
@Suite struct GradientTests {
  private static let size = 64
  private static let faces = [
    [TrainingFace(box: SIMD4(8, 8, 27, 29), landmarks: (0..<5).map { SIMD2(10 + 3 * Float($0), 15) })],
    [TrainingFace(box: SIMD4(20, 12, 50, 47)), TrainingFace(box: SIMD4(2, 40, 17, 56))],
  ]

  private func evaluate(_ model: DetectorNetwork, _ images: Tensor) -> (loss: Double, sum: Tensor?) {
    let outputs = model.network.outputs(of: images)
    let heads = (0..<3).map { index in
      MultiTaskLoss.Head(
        scores: outputs[3 * index].detached().floats, boxes: outputs[3 * index + 1].detached().floats,
        landmarks: outputs[3 * index + 2].detached().floats)
    }
    let loss = MultiTaskLoss(anchors: model.anchors, imageSize: Self.size, landmarkWeight: 2)
    let result = loss(heads, Self.faces)
    var sum: Tensor?
    for (index, gradient) in result.gradients.enumerated() {
      for (place, values) in [gradient.scores, gradient.boxes, gradient.landmarks].enumerated() {
        let output = outputs[3 * index + place]
        let product = (output * Tensor(values, shape: output.shape)).sum()
        sum = sum.map { $0 + product } ?? product
      }
    }
    return (result.parts.total, sum)
  }

  @Test(arguments: ["mobilenet0_conv1_", "mobilenet0_", "RF_", "rf_head", "face_rpn"])
  func gradientIsThatOfTheLoss(_ prefix: String) throws {
    let graph = try DetectionNetwork.mnet.network(.current, .net3).graph(height: Self.size, width: Self.size)
    let model = try DetectorNetwork(graph, anchors: ReferenceNetwork.net3.levels)
    model.initialize(Generator(seed: 4))
    let images = Tensor.empty([2, 3, Self.size, Self.size]).fillUniform(0, 255, Generator(seed: 5))
    evaluate(model, images).sum?.backward()
    let part = model.network.parameters.filter { $0.name.hasPrefix(prefix) }
    let gradients = part.map { $0.tensor.grad?.detached().cloned() }
    let norm = totalNorm(gradients)
    #expect(part.count > 0 && norm > 0 && gradients.allSatisfy { $0 != nil })
    // Rectifiers and pixels up to 255 make the loss curve within 1e-4.
    let step = 1e-5
    func moved(_ amount: Double) -> Double {
      for (named, gradient) in zip(part, gradients) {
        if let gradient { named.tensor.add(gradient, times: amount / norm) }
      }
      return withoutGrad { evaluate(model, images).loss }
    }
    let (above, below) = (moved(step), moved(-2 * step))
    let slope = (above - below) / (2 * step)
    #expect(abs(slope - norm) < 0.1 * norm, "\(prefix): slope \(slope), gradient \(norm)")
  }
}
