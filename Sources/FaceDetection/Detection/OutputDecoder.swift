import Glibc
import Inference

/// Turns a network's outputs into boxes, scores and landmarks in the pixels of its input.
struct OutputDecoder {
  let configuration: DetectorConfiguration
  let threshold: Float

  /// Where the numbers of one level lie: those of a position, an anchor and a component are these steps apart.
  struct Head {
    var elements: UnsafePointer<Float>
    var start: Int
    var position: Int
    var anchor: Int
    var component: Int

    func value(_ position: Int, _ anchor: Int, _ component: Int) -> Float {
      elements[start + position * self.position + anchor * self.anchor + component * self.component]
    }
  }

  /// The candidates of each image of a batch whose score reaches the threshold.
  ///
  /// - Parameters:
  ///   - outputs: of the network, for `count` images of `height`×`width`.
  ///   - count: images in the batch.
  /// - Throws: `DetectionError` of kind `outputs` where they are not laid out as the configuration says.
  func candidates(
    _ outputs: [FloatTensor], count: Int, height: Int, width: Int
  ) throws(DetectionError) -> [Candidates] {
    switch configuration.layout {
    case .levels: try separate(outputs, count, height, width)
    case .joined: try joined(outputs, count, height, width)
    case .grouped: try grouped(outputs, count, height, width)
    }
  }

  private func separate(
    _ outputs: [FloatTensor], _ count: Int, _ height: Int, _ width: Int
  ) throws(DetectionError) -> [Candidates] {
    let levels = configuration.levels
    let perLevel = outputs.count / max(1, levels.count)
    guard perLevel == 2 || perLevel == 3, outputs.count == perLevel * levels.count else {
      throw DetectionError(
        .outputs,
        "the network has \(outputs.count) outputs, \(2 * levels.count) or \(3 * levels.count) are expected "
          + "for strides \(levels.map(\.stride))", advice: "choose the anchor set that the network was trained with")
    }
    var results = [Candidates](repeating: Candidates(), count: count)
    for (index, level) in levels.enumerated() {
      let anchors = level.boxes.count
      let group = Array(outputs[perLevel * index..<perLevel * (index + 1)])
      let shape = group[0].shape
      guard shape.count == 4 else { throw unexpected(group[0].shape, level) }
      let (rows, columns) = (shape[2], shape[3])
      for (tensor, channels) in zip(group, [2, 4, 10]) {
        guard tensor.shape == [count, channels * anchors, rows, columns] else { throw unexpected(tensor.shape, level) }
      }
      let plane = rows * columns
      for image in 0..<count {
        withPointers(group) { pointers in
          let score = Head(
            elements: pointers[0], start: (image * 2 + 1) * anchors * plane, position: 1, anchor: plane, component: 0)
          let box = Head(
            elements: pointers[1], start: image * 4 * anchors * plane, position: 1, anchor: 4 * plane, component: plane)
          let landmarks =
            perLevel == 3
            ? Head(
              elements: pointers[2], start: image * 10 * anchors * plane, position: 1, anchor: 10 * plane,
              component: plane) : nil
          decode(level, rows, columns, score, box, landmarks, height, width, into: &results[image])
        }
      }
    }
    return results
  }

  private func joined(
    _ outputs: [FloatTensor], _ count: Int, _ height: Int, _ width: Int
  ) throws(DetectionError) -> [Candidates] {
    var total = 0
    let sizes = configuration.levels.map { level in
      let (rows, columns) = ((height - 1) / level.stride + 1, (width - 1) / level.stride + 1)
      total += rows * columns * level.boxes.count
      return (rows, columns)
    }
    guard outputs.count == 3, zip(outputs, [4, 2, 10]).allSatisfy({ $0.shape == [count, total, $1] }) else {
      throw DetectionError(
        .outputs,
        "the network gives tensors of shape \(outputs.map(\.shape)), [\(count), \(total), 4], 2 and 10 are "
          + "expected for an input of \(width)×\(height)", advice: "choose the preset that fits the network")
    }
    var results = [Candidates](repeating: Candidates(), count: count)
    for image in 0..<count {
      withPointers(outputs) { pointers in
        var first = image * total
        for (level, (rows, columns)) in zip(configuration.levels, sizes) {
          let anchors = level.boxes.count
          func head(_ index: Int, _ components: Int, _ offset: Int) -> Head {
            Head(
              elements: pointers[index], start: first * components + offset, position: anchors * components,
              anchor: components, component: 1)
          }
          decode(
            level, rows, columns, head(1, 2, 1), head(0, 4, 0), head(2, 10, 0), height, width, into: &results[image])
          first += rows * columns * anchors
        }
      }
    }
    return results
  }

  func decode(
    _ level: AnchorLevel, _ rows: Int, _ columns: Int, _ score: Head, _ box: Head, _ landmarks: Head?, _ height: Int,
    _ width: Int, into result: inout Candidates
  ) {
    let factor = configuration.scoreFactors[level.stride] ?? 1
    for row in 0..<rows {
      for column in 0..<columns {
        let position = row * columns + column
        for (anchor, base) in level.boxes.enumerated() {
          let value = score.value(position, anchor, 0) * factor
          guard configuration.excludesThreshold ? value > threshold : value >= threshold else { continue }
          switch configuration.coding {
          case .pixels:
            let (x, y) = (Float(column * level.stride), Float(row * level.stride))
            let anchorBox = AnchorLevel.Box(
              left: base.left + x, top: base.top + y, right: base.right + x, bottom: base.bottom + y)
            decodePixels(anchorBox, position, anchor, box, landmarks, height, width, into: &result)
          case .priors(let centre, let size):
            let prior = (
              x: Float((Double(column) + 0.5) * Double(level.stride) / Double(width)),
              y: Float((Double(row) + 0.5) * Double(level.stride) / Double(height)),
              width: Float(Double(base.right - base.left) / Double(width)),
              height: Float(Double(base.bottom - base.top) / Double(height))
            )
            decodePrior(prior, centre, size, position, anchor, box, landmarks, height, width, into: &result)
          case .distances:
            decodeDistances(level.stride, row, column, position, anchor, box, landmarks, into: &result)
          }
          // Damaged weights can give numbers beyond all bounds; such a candidate is none.
          guard isSound(result, hasLandmarks: landmarks != nil) else {
            result.boxes.removeLast()
            if landmarks != nil { result.landmarks.removeLast(10) }
            continue
          }
          result.scores.append(value)
        }
      }
    }
  }

  /// Whether the last candidate lies within a million pixels.
  private func isSound(_ candidates: Candidates, hasLandmarks: Bool) -> Bool {
    guard let box = candidates.boxes.last else { return false }
    let bound = 1e6
    let isBoxSound = [box.left, box.top, box.right, box.bottom].allSatisfy { abs($0) <= bound }
    return isBoxSound && (!hasLandmarks || candidates.landmarks.suffix(10).allSatisfy { abs($0) <= Float(bound) })
  }

  /// `bbox_pred`, `clip_boxes` and `landmark_pred` of the reference: deltas in single, sums in double precision.
  private func decodePixels(
    _ anchorBox: AnchorLevel.Box, _ position: Int, _ anchor: Int, _ box: Head, _ landmarks: Head?, _ height: Int,
    _ width: Int, into result: inout Candidates
  ) {
    let (left, top) = (Double(anchorBox.left), Double(anchorBox.top))
    let (anchorWidth, anchorHeight) = (Double(anchorBox.right) - left + 1, Double(anchorBox.bottom) - top + 1)
    let (centreX, centreY) = (left + 0.5 * (anchorWidth - 1), top + 0.5 * (anchorHeight - 1))
    let x = Double(box.value(position, anchor, 0)) * anchorWidth + centreX
    let y = Double(box.value(position, anchor, 1)) * anchorHeight + centreY
    let halfWidth = 0.5 * (Double(expf(box.value(position, anchor, 2))) * anchorWidth - 1)
    let halfHeight = 0.5 * (Double(expf(box.value(position, anchor, 3))) * anchorHeight - 1)
    let (right, bottom) = (Double(width - 1), Double(height - 1))
    result.boxes.append(
      BoundingBox(
        left: max(min(x - halfWidth, right), 0), top: max(min(y - halfHeight, bottom), 0),
        right: max(min(x + halfWidth, right), 0), bottom: max(min(y + halfHeight, bottom), 0)))
    guard let landmarks else { return }
    for point in 0..<5 {
      let dx = Double(landmarks.value(position, anchor, 2 * point))
      let dy = Double(landmarks.value(position, anchor, 2 * point + 1))
      result.landmarks.append(Float(dx * anchorWidth + centreX))
      result.landmarks.append(Float(dy * anchorHeight + centreY))
    }
  }

  /// `decode` and `decode_landm` of the PyTorch port: single precision, relative to the image.
  private func decodePrior(
    _ prior: (x: Float, y: Float, width: Float, height: Float), _ centre: Float, _ size: Float, _ position: Int,
    _ anchor: Int, _ box: Head, _ landmarks: Head?, _ height: Int, _ width: Int, into result: inout Candidates
  ) {
    let (scaleX, scaleY) = (Float(width), Float(height))
    let boxWidth = prior.width * expf(box.value(position, anchor, 2) * size)
    let boxHeight = prior.height * expf(box.value(position, anchor, 3) * size)
    let left = prior.x + box.value(position, anchor, 0) * centre * prior.width - boxWidth / 2
    let top = prior.y + box.value(position, anchor, 1) * centre * prior.height - boxHeight / 2
    result.boxes.append(
      BoundingBox(
        left: Double(left * scaleX), top: Double(top * scaleY), right: Double((left + boxWidth) * scaleX),
        bottom: Double((top + boxHeight) * scaleY)))
    guard let landmarks else { return }
    for point in 0..<5 {
      let dx = landmarks.value(position, anchor, 2 * point) * centre * prior.width
      let dy = landmarks.value(position, anchor, 2 * point + 1) * centre * prior.height
      result.landmarks.append((prior.x + dx) * scaleX)
      result.landmarks.append((prior.y + dy) * scaleY)
    }
  }

  private func unexpected(_ shape: [Int], _ level: AnchorLevel) -> DetectionError {
    DetectionError(
      .outputs, "an output of shape \(shape) does not fit \(level.boxes.count) anchors at stride \(level.stride)",
      advice: "choose the anchor set that the network was trained with")
  }

  func withPointers(_ tensors: [FloatTensor], _ body: ([UnsafePointer<Float>]) -> Void) {
    func next(_ index: Int, _ pointers: [UnsafePointer<Float>]) {
      guard index < tensors.count else { return body(pointers) }
      tensors[index].elements.withUnsafeBufferPointer { buffer in
        // Without positions there is nothing to decode, and no address to decode from.
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return }
        next(index + 1, pointers + [base])
      }
    }
    next(0, [])
  }
}
