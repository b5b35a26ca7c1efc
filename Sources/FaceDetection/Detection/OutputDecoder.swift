import CKernels
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

    /// The same as the kernels take it.
    var form: ck_head {
      ck_head(
        elements: elements + start, position: Int64(position), anchor: Int64(anchor), component: Int64(component))
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

  /// The candidates of one level of one image, behind those that are there.
  func decode(
    _ level: AnchorLevel, _ rows: Int, _ columns: Int, _ score: Head, _ box: Head, _ landmarks: Head?, _ height: Int,
    _ width: Int, into result: inout Candidates
  ) {
    let anchors = level.boxes.flatMap { [$0.left, $0.top, $0.right, $0.bottom] }
    var form = ck_detection_level()
    (form.rows, form.columns) = (Int64(rows), Int64(columns))
    (form.anchors, form.stride) = (Int64(level.boxes.count), Int64(level.stride))
    (form.height, form.width) = (Int64(height), Int64(width))
    (form.score, form.box) = (score.form, box.form)
    if let landmarks { form.landmarks = landmarks.form }
    switch configuration.coding {
    case .pixels: form.coding = Int32(ck_coding_pixels)
    case .priors(let centre, let size):
      form.coding = Int32(ck_coding_priors)
      (form.centre_variance, form.size_variance) = (centre, size)
    case .distances: form.coding = Int32(ck_coding_distances)
    }
    form.factor = configuration.scoreFactors[level.stride] ?? 1
    form.threshold = threshold
    form.excludes_threshold = configuration.excludesThreshold ? 1 : 0
    anchors.withUnsafeBufferPointer { anchors in
      form.anchor_boxes = anchors.baseAddress
      let room = Int(ck_count_faces(&form))
      guard room > 0 else { return }
      var boxes = [Double](repeating: 0, count: 4 * room)
      var scores = [Float](repeating: 0, count: room)
      var points = [Float](repeating: 0, count: landmarks == nil ? 0 : 10 * room)
      let count = Int(ck_decode_faces(&form, Int64(room), &boxes, &scores, &points))
      for face in 0..<count {
        result.boxes.append(
          BoundingBox(
            left: boxes[4 * face], top: boxes[4 * face + 1], right: boxes[4 * face + 2], bottom: boxes[4 * face + 3]))
      }
      result.scores += scores[..<count]
      if landmarks != nil { result.landmarks += points[..<(10 * count)] }
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
