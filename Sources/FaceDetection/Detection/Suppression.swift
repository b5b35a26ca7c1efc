import CKernels

/// Of boxes that overlap one stays: greedy non-maximum suppression, and the reference's vote.
enum Suppression {
  /// The places of the boxes that stay, in the order given.
  ///
  /// Arithmetic is that of the reference's cpu_nms.pyx: single precision, pixels counted at both ends.
  ///
  /// - Parameters:
  ///   - boxes: the surest first, corners representable in 32 bits.
  ///   - threshold: of the overlap.
  ///   - rule: whether the threshold itself suppresses.
  /// - Throws: `DetectionError` without memory for so many boxes.
  static func kept(
    _ boxes: [BoundingBox], threshold: Double, rule: DetectorConfiguration.Suppression
  ) throws(DetectionError) -> [Int] {
    let corners = boxes.flatMap { [Float($0.left), Float($0.top), Float($0.right), Float($0.bottom)] }
    var kept = [Int64](repeating: 0, count: boxes.count)
    let count = ck_suppress(corners, Int64(boxes.count), threshold, rule == .aboveThreshold ? 1 : 0, &kept)
    guard count >= 0 else {
      throw DetectionError(
        .image, "there is no memory to compare \(boxes.count) boxes", advice: "raise the score threshold")
    }
    return kept[..<Int(count)].map { Int($0) }
  }

  /// The most boxes that the vote gives.
  static let voteLimit = 750

  /// Averages each box with those that overlap it by the threshold or more, weighted by score: `bbox_vote`.
  ///
  /// The reference drops a box that nothing overlaps, unless it is the last one left; so does this.
  static func voted(_ candidates: Candidates, threshold: Double) -> [Detection] {
    var rest = Array(candidates.boxes.indices)
    var result: [Detection] = []
    func area(_ box: BoundingBox) -> Double { (box.right - box.left + 1) * (box.bottom - box.top + 1) }
    while let first = rest.first, result.count < voteLimit {
      let best = candidates.boxes[first]
      let bestArea = area(best)
      var merged: [Int] = []
      var others: [Int] = []
      for index in rest {
        let box = candidates.boxes[index]
        let across = max(0, min(best.right, box.right) - max(best.left, box.left) + 1)
        let down = max(0, min(best.bottom, box.bottom) - max(best.top, box.top) + 1)
        let shared = across * down
        // The first box belongs to its own group whatever its numbers are, so that the loop ends.
        if index == first || shared / (bestArea + area(box) - shared) >= threshold {
          merged.append(index)
        } else {
          others.append(index)
        }
      }
      rest = others
      if merged.count <= 1 {
        if rest.isEmpty { result.append(Detection(box: best, score: candidates.scores[first])) }
        continue
      }
      var sums = (left: 0.0, top: 0.0, right: 0.0, bottom: 0.0, score: 0.0)
      var highest: Float = 0
      for index in merged {
        let (box, score) = (candidates.boxes[index], Double(candidates.scores[index]))
        sums.left += box.left * score
        sums.top += box.top * score
        sums.right += box.right * score
        sums.bottom += box.bottom * score
        sums.score += score
        highest = max(highest, candidates.scores[index])
      }
      guard sums.score > 0 else { continue }
      result.append(
        Detection(
          box: BoundingBox(
            left: sums.left / sums.score, top: sums.top / sums.score, right: sums.right / sums.score,
            bottom: sums.bottom / sums.score), score: highest))
    }
    return result
  }
}
