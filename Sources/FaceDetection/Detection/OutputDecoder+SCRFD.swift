import Inference

extension OutputDecoder {
  /// Scores, distances and points as SCRFD's graph gives them, for one image.
  func grouped(
    _ outputs: [FloatTensor], _ count: Int, _ height: Int, _ width: Int
  ) throws(DetectionError) -> [Candidates] {
    let levels = configuration.levels
    let kinds = outputs.count / max(1, levels.count)
    guard count == 1, kinds == 2 || kinds == 3, outputs.count == kinds * levels.count else {
      throw DetectionError(
        .outputs, "the network has \(outputs.count) outputs, 2 or 3 for each of \(levels.count) strides are expected",
        advice: "name an SCRFD detector")
    }
    var result = Candidates()
    for (index, level) in levels.enumerated() {
      let (rows, columns) = (height / level.stride, width / level.stride)
      let total = rows * columns * level.boxes.count
      let group = (0..<kinds).map { outputs[index + $0 * levels.count] }
      for (tensor, components) in zip(group, [1, 4, 10]) {
        guard tensor.shape == [total, components] || tensor.shape == [1, total, components] else {
          throw DetectionError(
            .outputs,
            "an output of shape \(tensor.shape) at stride \(level.stride), [\(total), \(components)] is expected for an "
              + "input of \(width)×\(height)", advice: "name an SCRFD detector")
        }
      }
      let anchors = level.boxes.count
      withPointers(group) { pointers in
        func head(_ kind: Int, _ components: Int) -> Head {
          Head(
            elements: pointers[kind], start: 0, position: anchors * components, anchor: components, component: 1)
        }
        decode(
          level, rows, columns, head(0, 1), head(1, 4), kinds == 3 ? head(2, 10) : nil, height, width, into: &result)
      }
    }
    return [result]
  }
}
