import FaceDetection
import Glibc

/// Which anchors of an image are faces, which are background, and which are neither
/// (detection/retinaface/rcnn/io/rpn.py, `assign_anchor_fpn`).
///
/// The overlap with the best face decides: from 0.5 on a face, below 0.3 background. No face is given an anchor by force.
public struct AnchorAssignment: Sendable {
  /// One stride's anchors: index a · H · W + y · W + x.
  public struct Level: Sendable, Equatable {
    /// H.
    public let height: Int
    /// W.
    public let width: Int
    /// 1 face, 0 background, −1 neither.
    public var labels: [Int8]
    /// The face with the best overlap, the first of equals; 0 where none overlaps.
    public var faces: [Int32]
  }

  /// By stride, in the order of the anchors given.
  public var levels: [Level]

  /// The overlap from which on an anchor is a face.
  public static let positiveOverlap = 0.5
  /// The overlap below which an anchor is background.
  public static let negativeOverlap = 0.3

  /// Assigns the anchors of an image of S × S pixels.
  ///
  /// - Parameters:
  ///   - faces: in the image's pixels.
  ///   - anchors: by stride; maps have ⌈S / stride⌉ rows and columns.
  public init(_ faces: [TrainingFace], anchors: [AnchorLevel], imageSize: Int) {
    levels = anchors.map { level in
      let side = (imageSize + level.stride - 1) / level.stride
      return Self.assign(faces, level, side)
    }
  }

  private static func assign(_ faces: [TrainingFace], _ level: AnchorLevel, _ side: Int) -> Level {
    let plane = side * side
    let count = level.boxes.count * plane
    var best = [Double](repeating: 0, count: count)
    var owner = [Int32](repeating: 0, count: count)
    for (number, face) in faces.enumerated() {
      let box = SIMD4<Double>(face.box)
      guard box[0].magnitude < 1e7, box[1].magnitude < 1e7, box[2].magnitude < 1e7, box[3].magnitude < 1e7 else {
        continue
      }
      let area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
      for (a, anchor) in level.boxes.enumerated() {
        let base = SIMD4<Double>(
          Double(anchor.left), Double(anchor.top), Double(anchor.right), Double(anchor.bottom))
        let anchorArea = (base[2] - base[0] + 1) * (base[3] - base[1] + 1)
        // Positions beyond these cannot touch the face.
        let columns = Self.positions(box[0], box[2], base[0], base[2], level.stride, side)
        for y in Self.positions(box[1], box[3], base[1], base[3], level.stride, side) {
          let dy = Double(y * level.stride)
          let down = min(base[3] + dy, box[3]) - max(base[1] + dy, box[1]) + 1
          guard down > 0 else { continue }
          for x in columns {
            let dx = Double(x * level.stride)
            let across = min(base[2] + dx, box[2]) - max(base[0] + dx, box[0]) + 1
            guard across > 0 else { continue }
            let overlap = across * down / (anchorArea + area - across * down)
            let index = a * plane + y * side + x
            if overlap > best[index] {
              best[index] = overlap
              owner[index] = Int32(number)
            }
          }
        }
      }
    }
    let labels = best.map { overlap -> Int8 in
      overlap >= positiveOverlap ? 1 : overlap < negativeOverlap ? 0 : -1
    }
    return Level(height: side, width: side, labels: labels, faces: owner)
  }

  private static func positions(
    _ low: Double, _ high: Double, _ anchorLow: Double, _ anchorHigh: Double, _ stride: Int, _ count: Int
  ) -> Range<Int> {
    let first = Int(((low - anchorHigh - 1) / Double(stride)).rounded(.down))
    let last = Int(((high - anchorLow + 1) / Double(stride)).rounded(.up))
    let start = min(max(first, 0), count)
    return start..<min(max(last + 1, start), count)
  }
}

/// What the network is to say of an anchor (rcnn/processing/bbox_transform.py), with pixels counted at both ends.
enum RegressionTarget {
  /// Shift of the centre in units of the anchor, logarithm of the ratio of sizes.
  static func box(_ face: SIMD4<Float>, _ anchor: SIMD4<Float>) -> SIMD4<Float> {
    let (width, height) = (anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1)
    let (centreX, centreY) = (anchor[0] + 0.5 * (width - 1), anchor[1] + 0.5 * (height - 1))
    let (faceWidth, faceHeight) = (face[2] - face[0] + 1, face[3] - face[1] + 1)
    let (faceX, faceY) = (face[0] + 0.5 * (faceWidth - 1), face[1] + 0.5 * (faceHeight - 1))
    return SIMD4(
      (faceX - centreX) / width, (faceY - centreY) / height, logf(faceWidth / width), logf(faceHeight / height))
  }

  /// Each point relative to the anchor's centre, in units of the anchor.
  static func landmark(_ point: SIMD2<Float>, _ anchor: SIMD4<Float>) -> SIMD2<Float> {
    let size = SIMD2(anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1)
    let centre = SIMD2(anchor[0], anchor[1]) + 0.5 * (size - 1)
    return (point - centre) / size
  }
}
