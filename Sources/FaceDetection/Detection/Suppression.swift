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
  static func kept(
    _ boxes: [BoundingBox], threshold: Double, rule: DetectorConfiguration.Suppression
  ) -> [Int] {
    let count = boxes.count
    var corners = [Float](repeating: 0, count: 5 * count)
    for (index, box) in boxes.enumerated() {
      let (left, top, right, bottom) = (Float(box.left), Float(box.top), Float(box.right), Float(box.bottom))
      corners[5 * index] = left
      corners[5 * index + 1] = top
      corners[5 * index + 2] = right
      corners[5 * index + 3] = bottom
      corners[5 * index + 4] = (right - left + 1) * (bottom - top + 1)
    }
    let single = Float(threshold)
    var isSuppressed = [Bool](repeating: false, count: count)
    var kept: [Int] = []
    corners.withUnsafeBufferPointer { box in
      isSuppressed.withUnsafeMutableBufferPointer { isSuppressed in
        for first in 0..<count where !isSuppressed[first] {
          kept.append(first)
          let (left, top, right, bottom) = (box[5 * first], box[5 * first + 1], box[5 * first + 2], box[5 * first + 3])
          let area = box[5 * first + 4]
          for second in first + 1..<max(first + 1, count) where !isSuppressed[second] {
            let across = max(0, min(right, box[5 * second + 2]) - max(left, box[5 * second]) + 1)
            let down = max(0, min(bottom, box[5 * second + 3]) - max(top, box[5 * second + 1]) + 1)
            let shared = across * down
            let overlap = shared / (area + box[5 * second + 4] - shared)
            switch rule {
            case .atThreshold: isSuppressed[second] = Double(overlap) >= threshold
            case .aboveThreshold: isSuppressed[second] = !(overlap <= single)
            }
          }
        }
      }
    }
    return kept
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
