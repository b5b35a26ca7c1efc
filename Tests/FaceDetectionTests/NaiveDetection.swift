import Glibc

@testable import FaceDetection

/// What the kernels behind a detector's network compute, written out plainly.
struct NaiveDecoder {
  typealias Head = OutputDecoder.Head
  let configuration: DetectorConfiguration
  let threshold: Float

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

  /// `distance2bbox` and `distance2kps`: single precision.
  func decodeDistances(
    _ stride: Int, _ row: Int, _ column: Int, _ position: Int, _ anchor: Int, _ box: Head, _ landmarks: Head?,
    into result: inout Candidates
  ) {
    let (x, y, step) = (Float(column * stride), Float(row * stride), Float(stride))
    result.boxes.append(
      BoundingBox(
        left: Double(x - box.value(position, anchor, 0) * step), top: Double(y - box.value(position, anchor, 1) * step),
        right: Double(x + box.value(position, anchor, 2) * step),
        bottom: Double(y + box.value(position, anchor, 3) * step)))
    guard let landmarks else { return }
    for point in 0..<5 {
      result.landmarks.append(x + landmarks.value(position, anchor, 2 * point) * step)
      result.landmarks.append(y + landmarks.value(position, anchor, 2 * point + 1) * step)
    }
  }
}

extension OutputDecoder.Head {
  func value(_ position: Int, _ anchor: Int, _ component: Int) -> Float {
    elements[start + position * self.position + anchor * self.anchor + component * self.component]
  }
}

/// Greedy suppression and sorting, written out plainly.
enum NaiveSuppression {
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

  /// The highest score first; of equal scores the later place first.
  static func order(_ scores: [Float]) -> [Int] {
    scores.indices.sorted { first, second in
      scores[first] != scores[second] ? scores[first] > scores[second] : first > second
    }
  }
}
