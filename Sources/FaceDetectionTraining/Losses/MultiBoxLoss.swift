import FaceDetection
import Glibc

/// The PyTorch port's loss over its network's outputs, with its gradients (layers/modules/multibox_loss.py).
///
/// Smooth L1 of box deltas over the priors that are faces, divided by their number and times 2; smooth L1 of landmark
/// deltas over those whose landmarks are known, divided by theirs; cross entropy over the faces and seven times as many
/// of the hardest background priors of each image, divided by the number of faces. Numbers are those of the batch, at
/// least 1.
public struct MultiBoxLoss: Sendable {
  let priors: PriorSet
  /// `loc_weight`.
  static let boxWeight: Float = 2
  /// Background priors for each face.
  static let negativeRatio = 7

  /// Deltas and scores of a batch, or their gradients: C order.
  public struct Outputs: Sendable, Equatable {
    /// Box deltas [N, P, 4].
    public var boxes: [Float]
    /// Scores before the softmax, background and face [N, P, 2].
    public var scores: [Float]
    /// Landmark deltas [N, P, 10].
    public var landmarks: [Float]

    /// A network's outputs.
    public init(boxes: [Float], scores: [Float], landmarks: [Float]) {
      self.boxes = boxes
      self.scores = scores
      self.landmarks = landmarks
    }
  }

  /// Loss and gradients of a batch.
  public struct Result: Sendable {
    /// The loss; boxes are weighted.
    public var parts: MultiTaskLoss.Parts
    /// ∂loss/∂output.
    public var gradients: Outputs
    /// The faces of the priors, by image.
    public var matches: [PriorMatching]
  }

  /// A loss for images of S × S pixels; `anchors` from the smallest stride up.
  public init(anchors: [AnchorLevel] = DetectorConfiguration.pyTorch.levels, imageSize: Int) {
    priors = PriorSet(anchors, imageSize: imageSize)
  }

  /// Faces that can be learned, relative to the image.
  private func relative(_ faces: [TrainingFace]) -> [TrainingFace] {
    let scale = Float(priors.imageSize)
    return faces.compactMap { face in
      let box = face.box
      guard (0..<4).allSatisfy({ box[$0].magnitude < 1e7 }), box[2] > box[0], box[3] > box[1] else { return nil }
      return TrainingFace(box: box / scale, landmarks: face.landmarks.map { $0.map { $0 / scale } })
    }
  }

  /// Computes loss and gradients.
  ///
  /// - Parameter faces: of each of the N images, in its pixels.
  public func callAsFunction(_ outputs: Outputs, _ faces: [[TrainingFace]]) -> Result {
    let (count, all) = (faces.count, priors.boxes.count)
    precondition(
      outputs.boxes.count == count * all * 4 && outputs.scores.count == count * all * 2
        && outputs.landmarks.count == count * all * 10,
      "outputs do not have the sizes of \(count) images of \(priors.imageSize) pixels")
    let faces = faces.map(relative)
    let matches = faces.map { faces in
      PriorMatching(faces.map { ($0.box, $0.landmarks != nil) }, priors: priors)
    }
    var result = Result(
      parts: .init(),
      gradients: Outputs(
        boxes: [Float](repeating: 0, count: outputs.boxes.count),
        scores: [Float](repeating: 0, count: outputs.scores.count),
        landmarks: [Float](repeating: 0, count: outputs.landmarks.count)), matches: matches)
    let positives = matches.reduce(0) { $0 + $1.labels.reduce(0) { $0 + ($1 != 0 ? 1 : 0) } }
    let known = matches.reduce(0) { $0 + $1.labels.reduce(0) { $0 + ($1 > 0 ? 1 : 0) } }
    result.parts.positives = positives
    let share = 1 / Float(max(1, positives))
    let landmarkShare = 1 / Float(max(1, known))
    for image in 0..<count {
      let match = matches[image]
      for prior in 0..<all where match.labels[prior] != 0 {
        let face = faces[image][Int(match.faces[prior])]
        regress(image * all + prior, face, priors.boxes[prior], share, landmarkShare, outputs, &result)
      }
      classify(image * all, match.labels, share, outputs, &result)
    }
    return result
  }

  private func regress(
    _ row: Int, _ face: TrainingFace, _ prior: SIMD4<Float>, _ share: Float, _ landmarkShare: Float,
    _ outputs: Outputs, _ result: inout Result
  ) {
    let target = PriorMatching.encode(face.box, prior)
    for k in 0..<4 {
      let (loss, slope) = Self.smoothL1(outputs.boxes[4 * row + k] - target[k])
      result.parts.boxes += Double(loss * share * Self.boxWeight)
      result.gradients.boxes[4 * row + k] = slope * share * Self.boxWeight
    }
    for (number, point) in (face.landmarks ?? []).enumerated() {
      let target = PriorMatching.encode(point, prior)
      for k in 0..<2 {
        let place = 10 * row + 2 * number + k
        let (loss, slope) = Self.smoothL1(outputs.landmarks[place] - target[k])
        result.parts.landmarks += Double(loss * landmarkShare)
        result.gradients.landmarks[place] = slope * landmarkShare
      }
    }
  }

  /// Cross entropy of the faces of an image and its hardest background.
  private func classify(
    _ first: Int, _ labels: [Int8], _ share: Float, _ outputs: Outputs, _ result: inout Result
  ) {
    func difference(_ prior: Int) -> Float {
      outputs.scores[2 * (first + prior) + 1] - outputs.scores[2 * (first + prior)]
    }
    let faces = labels.indices.filter { labels[$0] != 0 }
    let room = min(Self.negativeRatio * faces.count, labels.count - 1)
    // The loss of background grows with this difference.
    let background = labels.indices.filter { labels[$0] == 0 }.map { (index: $0, value: difference($0)) }
      .sorted { $0.value != $1.value ? $0.value > $1.value : $0.index < $1.index }
      .prefix(room).map(\.index)
    for (list, isFace) in [(faces, true), (background, false)] {
      for prior in list {
        let difference = difference(prior)
        let probability = difference >= 0 ? 1 / (1 + expf(-difference)) : expf(difference) / (1 + expf(difference))
        let margin = isFace ? difference : -difference
        let loss = margin >= 0 ? log1pf(expf(-margin)) : log1pf(expf(margin)) - margin
        result.parts.classes += Double(loss * share)
        result.parts.judged += 1
        if (difference > 0) == isFace { result.parts.right += 1 }
        let slope = (probability - (isFace ? 1 : 0)) * share
        result.gradients.scores[2 * (first + prior) + 1] = slope
        result.gradients.scores[2 * (first + prior)] = -slope
      }
    }
  }

  /// Smooth L1, quadratic below 1, and its derivative.
  private static func smoothL1(_ x: Float) -> (value: Float, slope: Float) {
    if x.magnitude < 1 { return (0.5 * x * x, x) }
    return (x.magnitude - 0.5, x > 0 ? 1 : -1)
  }
}
