import Imaging

/// A box by its corners, in pixels of an image: both corners lie inside it, so that its width is `right − left + 1` where
/// the reference counts pixels.
public struct BoundingBox: Sendable, Equatable {
  /// Left edge.
  public var left: Double
  /// Top edge.
  public var top: Double
  /// Right edge.
  public var right: Double
  /// Bottom edge.
  public var bottom: Double

  /// A box from its corners.
  public init(left: Double, top: Double, right: Double, bottom: Double) {
    self.left = left
    self.top = top
    self.right = right
    self.bottom = bottom
  }

  /// `right − left`, as result files write it.
  public var width: Double { right - left }
  /// `bottom − top`, as result files write it.
  public var height: Double { bottom - top }

  /// The same as a rectangle, for drawing.
  public var rectangle: Rectangle { Rectangle(x: left, y: top, width: max(0, width), height: max(0, height)) }

  /// Area of the intersection over area of the union with the +1 pixel convention: the reference's `bbox_overlaps`.
  public func overlap(_ other: BoundingBox) -> Double {
    let across = min(right, other.right) - max(left, other.left) + 1
    let down = min(bottom, other.bottom) - max(top, other.top) + 1
    guard across > 0, down > 0 else { return 0 }
    let area = (right - left + 1) * (bottom - top + 1)
    let otherArea = (other.right - other.left + 1) * (other.bottom - other.top + 1)
    return across * down / (area + otherArea - across * down)
  }
}

/// A face found in an image.
public struct Detection: Sendable, Equatable {
  /// Where it is.
  public var box: BoundingBox
  /// How sure the network is, 0…1.
  public var score: Float
  /// Left eye, right eye, nose tip, left and right mouth corner as seen in the image; empty where the network gives none or
  /// boxes were voted.
  public var landmarks: [Point]

  /// A face of its parts.
  public init(box: BoundingBox, score: Float, landmarks: [Point] = []) {
    self.box = box
    self.score = score
    self.landmarks = landmarks
  }
}
