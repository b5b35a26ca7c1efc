import FaceDetection
import Glibc

/// The PyTorch port's priors of an image: centre, width and height relative to it (layers/functions/prior_box.py).
struct PriorSet: Sendable {
  /// S, side of the images.
  let imageSize: Int
  /// x, y, width, height; from the smallest stride up, row by row, the smaller prior first.
  let boxes: [SIMD4<Float>]
  /// By stride: where its priors begin, its rows, and the sides of its priors in pixels.
  fileprivate let levels: [(stride: Int, first: Int, rows: Int, sides: [Float])]

  /// The priors of anchors whose centres lie in the middle of a position.
  init(_ anchors: [AnchorLevel], imageSize: Int) {
    self.imageSize = imageSize
    var boxes: [SIMD4<Float>] = []
    var levels: [(stride: Int, first: Int, rows: Int, sides: [Float])] = []
    let side = Double(imageSize)
    for level in anchors {
      let rows = (imageSize + level.stride - 1) / level.stride
      let sides = level.boxes.map { $0.right - $0.left }
      levels.append((level.stride, boxes.count, rows, sides))
      for y in 0..<rows {
        for x in 0..<rows {
          for prior in sides {
            let place = (
              Float((Double(x) + 0.5) * Double(level.stride) / side),
              Float((Double(y) + 0.5) * Double(level.stride) / side)
            )
            let size = Float(Double(prior) / side)
            boxes.append(SIMD4(place.0, place.1, size, size))
          }
        }
      }
    }
    self.boxes = boxes
    self.levels = levels
  }

  /// The priors that may touch a rectangle given relative to the image, in their order.
  fileprivate func around(_ box: SIMD4<Float>, _ body: (Int) -> Void) {
    for level in levels {
      let half = (level.sides.max() ?? 0) / 2
      func range(_ low: Float, _ high: Float) -> Range<Int> {
        let scale = Float(imageSize)
        let first = ((low * scale - half) / Float(level.stride) - 0.5).rounded(.down) - 1
        let last = ((high * scale + half) / Float(level.stride) - 0.5).rounded(.up) + 1
        let bound = Float(level.rows)
        let start = Int(min(max(first, 0), bound))
        return start..<max(start, Int(min(max(last + 1, 0), bound)))
      }
      let columns = range(box[0], box[2])
      for y in range(box[1], box[3]) {
        let row = level.first + y * level.rows * level.sides.count
        for index in row + columns.lowerBound * level.sides.count..<row + columns.upperBound * level.sides.count {
          body(index)
        }
      }
    }
  }
}

/// Which priors of an image are faces, and of which face (utils/box_utils.py, `match`).
///
/// A prior whose overlap with its best face reaches 0.35 is that face's. The best prior of each face that has one of at
/// least 0.2 is a face by force; the best prior of every face is given that face, the last of several.
public struct PriorMatching: Sendable, Equatable {
  /// 1 a face with landmarks, −1 a face without, 0 background.
  public var labels: [Int8]
  /// The face of each prior.
  public var faces: [Int32]

  /// From this overlap on a prior is a face.
  static let threshold: Float = 0.35
  /// Below this overlap a face's best prior is not forced.
  static let forced: Float = 0.2

  /// Matches faces, boxes by their corners relative to the image.
  init(_ faces: [(box: SIMD4<Float>, hasLandmarks: Bool)], priors: PriorSet) {
    var best = [Float](repeating: 0, count: priors.boxes.count)
    var owner = [Int32](repeating: 0, count: priors.boxes.count)
    var own: [(prior: Int, overlap: Float)] = []
    for (number, face) in faces.enumerated() {
      let box = face.box
      let area = (box[2] - box[0]) * (box[3] - box[1])
      var mine = (prior: 0, overlap: Float(0))
      priors.around(box) { index in
        let prior = priors.boxes[index]
        let (left, right) = (prior[0] - prior[2] / 2, prior[0] + prior[2] / 2)
        let (top, bottom) = (prior[1] - prior[3] / 2, prior[1] + prior[3] / 2)
        let across = max(0, min(right, box[2]) - max(left, box[0]))
        let down = max(0, min(bottom, box[3]) - max(top, box[1]))
        let inside = across * down
        let overlap = inside / (area + (right - left) * (bottom - top) - inside)
        if overlap > mine.overlap { mine = (index, overlap) }
        if overlap > best[index] {
          best[index] = overlap
          owner[index] = Int32(number)
        }
      }
      own.append(mine)
    }
    labels = [Int8](repeating: 0, count: best.count)
    self.faces = owner
    // Without a face to force the image is background, whatever else overlaps.
    guard own.contains(where: { $0.overlap >= Self.forced }) else { return }
    for mine in own where mine.overlap >= Self.forced { best[mine.prior] = 2 }
    for (number, mine) in own.enumerated() { self.faces[mine.prior] = Int32(number) }
    for index in best.indices where best[index] >= Self.threshold {
      labels[index] = faces[Int(self.faces[index])].hasLandmarks ? 1 : -1
    }
  }

  /// Shift of the centre in tenths of the prior, logarithm of the ratio of sizes in fifths (`encode`).
  static func encode(_ box: SIMD4<Float>, _ prior: SIMD4<Float>) -> SIMD4<Float> {
    let centre = SIMD2(box[0] + box[2], box[1] + box[3]) / 2 - SIMD2(prior[0], prior[1])
    let size = SIMD2(box[2] - box[0], box[3] - box[1]) / SIMD2(prior[2], prior[3])
    return SIMD4(
      centre.x / (0.1 * prior[2]), centre.y / (0.1 * prior[3]), logf(size.x) / 0.2, logf(size.y) / 0.2)
  }

  /// A point relative to the prior's centre, in tenths of the prior (`encode_landm`).
  static func encode(_ point: SIMD2<Float>, _ prior: SIMD4<Float>) -> SIMD2<Float> {
    (point - SIMD2(prior[0], prior[1])) / (0.1 * SIMD2(prior[2], prior[3]))
  }
}
