import FaceDetection
import Glibc

/// RetinaFace's loss over the heads' outputs, with its gradients (rcnn/symbol/symbol_common.py, `get_out`).
///
/// Per stride: softmax over (background, face), averaged over the anchors of the whole batch that mining left; smooth L1
/// with σ = 3 of box and landmark deltas, summed over the anchors that are faces, times 0.25 · B / `anchorsPerImage` and
/// that times 0.4 · `landmarkWeight`. B is the batch size.
public struct MultiTaskLoss: Sendable {
  /// Anchors by stride, in the order of the heads.
  public let anchors: [AnchorLevel]
  /// S, side of the training images.
  public let imageSize: Int
  /// `LANDMARK_LR_MULT`: 2.5 for mnet, 2 for resnet.
  public let landmarkWeight: Double

  /// Anchors of an image and a stride that give a loss: `RPN_BATCH_SIZE`, 256.
  public let anchorsPerImage: Int

  /// A loss.
  public init(anchors: [AnchorLevel], imageSize: Int, landmarkWeight: Double, anchorsPerImage: Int = 256) {
    self.anchorsPerImage = anchorsPerImage
    self.anchors = anchors
    self.imageSize = imageSize
    self.landmarkWeight = landmarkWeight
  }

  /// What a stride's head says, or the gradients of it: C order.
  public struct Head: Sendable, Equatable {
    /// Scores before the softmax [N, 2A, H, W], background of all anchors first.
    public var scores: [Float]
    /// Box deltas [N, 4A, H, W].
    public var boxes: [Float]
    /// Landmark deltas [N, 10A, H, W].
    public var landmarks: [Float]

    /// A head's outputs.
    public init(scores: [Float], boxes: [Float], landmarks: [Float]) {
      self.scores = scores
      self.boxes = boxes
      self.landmarks = landmarks
    }
  }

  /// The parts of a loss, summed over the strides, and how well anchors are told apart.
  public struct Parts: Sendable, Equatable {
    /// Cross entropy.
    public var classes = 0.0
    /// Smooth L1 of boxes, weighted.
    public var boxes = 0.0
    /// Smooth L1 of landmarks, weighted.
    public var landmarks = 0.0
    /// Anchors that gave a loss, and those told right.
    public var (judged, right) = (0, 0)
    /// Anchors that are faces, after mining.
    public var positives = 0

    /// The sum.
    public var total: Double { classes + boxes + landmarks }
  }

  /// Loss and gradients of a batch.
  public struct Result: Sendable {
    /// The loss.
    public var parts: Parts
    /// ∂loss/∂output, by stride.
    public var gradients: [Head]
    /// The labels after mining: by stride [N, A · H · W].
    public var labels: [[Int8]]
  }

  /// Computes loss and gradients.
  ///
  /// - Parameters:
  ///   - heads: by stride.
  ///   - faces: of each of the N images.
  public func callAsFunction(_ heads: [Head], _ faces: [[TrainingFace]]) -> Result {
    precondition(heads.count == anchors.count, "\(heads.count) heads for \(anchors.count) strides")
    let assignments = faces.map { AnchorAssignment($0, anchors: anchors, imageSize: imageSize) }
    var result = Result(parts: Parts(), gradients: [], labels: [])
    for (index, head) in heads.enumerated() {
      let (gradient, labels) = level(index, head, faces, assignments.map { $0.levels[index] }, &result.parts)
      result.gradients.append(gradient)
      result.labels.append(labels)
    }
    return result
  }

  private func level(
    _ index: Int, _ head: Head, _ faces: [[TrainingFace]], _ assigned: [AnchorAssignment.Level], _ parts: inout Parts
  ) -> (Head, [Int8]) {
    let level = anchors[index]
    let (count, perPosition) = (faces.count, level.boxes.count)
    let plane = (assigned.first?.height ?? 0) * (assigned.first?.width ?? 0)
    let all = perPosition * plane
    precondition(
      head.scores.count == count * 2 * all && head.boxes.count == count * 4 * all
        && head.landmarks.count == count * 10 * all,
      "stride \(level.stride): outputs do not have the sizes of \(count) images of \(imageSize) pixels")
    var gradient = Head(
      scores: [Float](repeating: 0, count: head.scores.count), boxes: [Float](repeating: 0, count: head.boxes.count),
      landmarks: [Float](repeating: 0, count: head.landmarks.count))
    let boxScale = Float(0.25 * Double(count) / Double(anchorsPerImage))
    let landmarkScale = Float(0.4 * landmarkWeight) * boxScale
    var mined: [Int8] = []
    mined.reserveCapacity(count * all)
    for image in 0..<count {
      var labels = assigned[image].labels
      let start = image * 2 * all
      HardExampleMining(count: anchorsPerImage).mine(&labels) {
        head.scores[start + all + $0] - head.scores[start + $0]
      }
      mined += labels
      for anchor in 0..<all where labels[anchor] > 0 {
        let face = faces[image][Int(assigned[image].faces[anchor])]
        let (a, position) = (anchor / plane, anchor % plane)
        let box = Self.box(level, a, position, width: assigned[image].width)
        parts.positives += 1
        let target = RegressionTarget.box(face.box, box)
        for k in 0..<4 {
          let place = (image * 4 * perPosition + 4 * a + k) * plane + position
          let (loss, slope) = Self.smoothL1(head.boxes[place] - target[k])
          parts.boxes += Double(loss * boxScale)
          gradient.boxes[place] = slope * boxScale
        }
        guard let points = face.landmarks else { continue }
        for (number, point) in points.enumerated() {
          let target = RegressionTarget.landmark(point, box)
          for k in 0..<2 {
            let place = (image * 10 * perPosition + 10 * a + 2 * number + k) * plane + position
            let (loss, slope) = Self.smoothL1(head.landmarks[place] - target[k])
            parts.landmarks += Double(loss * landmarkScale)
            gradient.landmarks[place] = slope * landmarkScale
          }
        }
      }
    }
    classify(head, mined, count, all, &gradient, &parts)
    return (gradient, mined)
  }

  /// Softmax over two classes, averaged over the anchors that count.
  private func classify(
    _ head: Head, _ labels: [Int8], _ count: Int, _ all: Int, _ gradient: inout Head, _ parts: inout Parts
  ) {
    let valid = max(1, labels.reduce(0) { $0 + ($1 >= 0 ? 1 : 0) })
    let scale = 1 / Float(valid)
    var loss = 0.0
    for image in 0..<count {
      for anchor in 0..<all where labels[image * all + anchor] >= 0 {
        let isFace = labels[image * all + anchor] > 0
        let background = image * 2 * all + anchor
        let face = background + all
        let difference = head.scores[face] - head.scores[background]
        // The probability of a face, and the logarithm of that of what it is, without overflow.
        let probability = difference >= 0 ? 1 / (1 + expf(-difference)) : expf(difference) / (1 + expf(difference))
        let margin = isFace ? difference : -difference
        loss += Double(margin >= 0 ? log1pf(expf(-margin)) : log1pf(expf(margin)) - margin)
        parts.judged += 1
        if (difference > 0) == isFace { parts.right += 1 }
        let slope = (probability - (isFace ? 1 : 0)) * scale
        gradient.scores[face] = slope
        gradient.scores[background] = -slope
      }
    }
    parts.classes += loss / Double(valid)
  }

  /// Smooth L1 with σ = 3 and its derivative: quadratic below 1/9.
  private static func smoothL1(_ x: Float) -> (value: Float, slope: Float) {
    if x.magnitude < 1 / 9 { return (4.5 * x * x, 9 * x) }
    return (x.magnitude - 0.5 / 9, x > 0 ? 1 : -1)
  }

  /// The anchor at a position.
  static func box(_ level: AnchorLevel, _ a: Int, _ position: Int, width: Int) -> SIMD4<Float> {
    let (x, y) = (Float(position % width * level.stride), Float(position / width * level.stride))
    let anchor = level.boxes[a]
    return SIMD4(anchor.left + x, anchor.top + y, anchor.right + x, anchor.bottom + y)
  }
}
