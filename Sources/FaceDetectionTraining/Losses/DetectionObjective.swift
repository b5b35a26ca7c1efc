/// A loss over the outputs of a detector, whichever family it is of.
protocol DetectionObjective: Sendable {
  /// The shapes of the outputs for N images.
  func shapes(_ count: Int) -> [[Int]]
  /// The loss, and its gradient for every output.
  func evaluate(
    _ outputs: [[Float]], _ faces: [[TrainingFace]]
  ) -> (parts: MultiTaskLoss.Parts, gradients: [[Float]])
}

extension MultiTaskLoss: DetectionObjective {
  func shapes(_ count: Int) -> [[Int]] {
    anchors.flatMap { level in
      let side = (imageSize + level.stride - 1) / level.stride
      return [2, 4, 10].map { [count, $0 * level.boxes.count, side, side] }
    }
  }

  func evaluate(_ outputs: [[Float]], _ faces: [[TrainingFace]]) -> (parts: Parts, gradients: [[Float]]) {
    let heads = anchors.indices.map { index in
      Head(scores: outputs[3 * index], boxes: outputs[3 * index + 1], landmarks: outputs[3 * index + 2])
    }
    let result = self(heads, faces)
    return (result.parts, result.gradients.flatMap { [$0.scores, $0.boxes, $0.landmarks] })
  }
}

extension MultiBoxLoss: DetectionObjective {
  func shapes(_ count: Int) -> [[Int]] { [4, 2, 10].map { [count, priors.boxes.count, $0] } }

  func evaluate(
    _ outputs: [[Float]], _ faces: [[TrainingFace]]
  ) -> (parts: MultiTaskLoss.Parts, gradients: [[Float]]) {
    let result = self(Outputs(boxes: outputs[0], scores: outputs[1], landmarks: outputs[2]), faces)
    return (result.parts, [result.gradients.boxes, result.gradients.scores, result.gradients.landmarks])
  }
}
