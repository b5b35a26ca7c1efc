import CKernels
import Imaging

/// Boxes, scores and landmarks before suppression, one place each.
struct Candidates {
  /// Corners, before they are rounded to 32 bits.
  var boxes: [BoundingBox] = []
  var scores: [Float] = []
  /// x and y of five points each; empty where the network has no landmarks.
  var landmarks: [Float] = []

  mutating func append(_ other: Candidates) {
    boxes += other.boxes
    scores += other.scores
    landmarks += other.landmarks
  }

  /// The candidates in this order.
  func reordered(_ order: [Int]) -> Candidates {
    var result = Candidates()
    result.boxes = order.map { boxes[$0] }
    result.scores = order.map { scores[$0] }
    if !landmarks.isEmpty {
      result.landmarks.reserveCapacity(10 * order.count)
      for index in order { result.landmarks += landmarks[10 * index..<10 * index + 10] }
    }
    return result
  }

  /// The highest score first; of equal scores the later place first, as a stable ascending sort read backwards gives them.
  func sortedByScore() -> Candidates {
    var order = [Int64](repeating: 0, count: scores.count)
    ck_order_scores(scores, Int64(scores.count), &order)
    return reordered(order.map { Int($0) })
  }

  /// Corners rounded to 32 bits.
  mutating func roundBoxes() {
    boxes = boxes.map {
      BoundingBox(
        left: Double(Float($0.left)), top: Double(Float($0.top)), right: Double(Float($0.right)),
        bottom: Double(Float($0.bottom)))
    }
  }

  /// One face.
  func detection(_ index: Int) -> Detection {
    let points =
      landmarks.isEmpty
      ? []
      : (0..<5).map { Point(Double(landmarks[10 * index + 2 * $0]), Double(landmarks[10 * index + 2 * $0 + 1])) }
    return Detection(box: boxes[index], score: scores[index], landmarks: points)
  }
}
