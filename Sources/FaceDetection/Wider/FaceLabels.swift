import Formats
import Imaging

/// A labelled face of a training or test image.
public struct LabelledFace: Sendable, Equatable {
  /// A landmark with what the label says of it.
  public struct Landmark: Sendable, Equatable {
    /// Where it is.
    public var point: Point
    /// Whether it is seen, not hidden.
    public var isVisible: Bool
  }

  /// The face, by its corners: right is x + width of the label.
  public var box: BoundingBox
  /// Eyes, nose tip, corners of the mouth; nil where they are not labelled.
  public var landmarks: [Landmark]?
  /// 0 sharp … 1 blurred; 0.3 where the label does not say, as the reference has it; nil where labels have none.
  public var blur: Double?
  /// Whether the label calls the face one that cannot be judged.
  public var isInvalid: Bool

  /// A face of its parts.
  public init(box: BoundingBox, landmarks: [Landmark]? = nil, blur: Double? = nil, isInvalid: Bool = false) {
    self.box = box
    self.landmarks = landmarks
    self.blur = blur
    self.isInvalid = isInvalid
  }

  /// Whether all landmarks lie within ten times the face's size of its middle: others are slips of whoever wrote them.
  var holdsLandmarks: Bool {
    let reach = 10 * max(box.width, box.height)
    let (x, y) = ((box.left + box.right) / 2, (box.top + box.bottom) / 2)
    return (landmarks ?? []).allSatisfy { abs($0.point.x - x) <= reach && abs($0.point.y - y) <= reach }
  }

  /// The face with its box cut at the right and bottom of its image; nil where nothing is left: the reference's reading.
  public func clipped(width: Int, height: Int) -> LabelledFace? {
    var face = self
    face.box.right = min(Double(width), box.right)
    face.box.bottom = min(Double(height), box.bottom)
    return face.box.left < face.box.right && face.box.top < face.box.bottom ? face : nil
  }
}

/// The faces of a set of images, as a label file holds them.
public struct FaceLabels: Sendable, Equatable {
  /// An image and its faces.
  public struct Image: Sendable, Equatable {
    /// `event/name.jpg`, below the folder of the images.
    public var path: String
    /// Its faces, in the order of the file.
    public var faces: [LabelledFace]

    /// An image of its parts.
    public init(path: String, faces: [LabelledFace] = []) {
      self.path = path
      self.faces = faces
    }
  }

  /// A line that was left out.
  public struct Skip: Sendable, Equatable, CustomStringConvertible {
    /// Counted from 1.
    public var line: Int
    /// The image it belongs to.
    public var image: String
    /// Why.
    public var reason: String

    /// One line for a person.
    public var description: String { "line \(line), \(image): \(reason)" }
  }

  /// The images in the order of the file.
  public var images: [Image]
  /// What was left out: faces whose box has no area, landmarks far away from their face.
  public var skipped: [Skip]

  /// Labels of their parts.
  public init(images: [Image], skipped: [Skip] = []) {
    self.images = images
    self.skipped = skipped
  }

  /// Faces of all images.
  public var faceCount: Int { images.reduce(0) { $0 + $1.faces.count } }

  /// Reads the reference's `label.txt`: `# path`, then a line a face: x y width height, five times x y flag, blur.
  ///
  /// A flag of 0 is a visible landmark, a greater one a hidden one; x = y = −1 is none. A line may end after the box, and what stands behind the blur is not
  /// looked at.
  /// Faces whose box has no area are left out and listed, and so are landmarks more than ten sizes away from their face.
  ///
  /// - Throws: `FormatError` with path and line: `.corrupt`, and what opening a file throws.
  public static func readRetinaFace(path: String) throws(FormatError) -> FaceLabels {
    var labels = FaceLabels(images: [])
    var seen: Set<String> = []
    for (index, line) in try LabelText.lines(path: path).enumerated() where !line.isEmpty {
      if line.hasPrefix("#") {
        let name = line.dropFirst().drop { $0 == " " }
        guard !name.isEmpty else {
          throw FormatError(.corrupt, "an image without a name", path: path, line: index + 1, advice: LabelText.advice)
        }
        guard seen.insert(String(name)).inserted else {
          throw FormatError(.corrupt, "\"\(name)\" is named a second time", path: path, line: index + 1)
        }
        labels.images.append(Image(path: String(name)))
        continue
      }
      guard !labels.images.isEmpty else {
        throw FormatError(
          .corrupt, "a face before the first image, which begins with #", path: path, line: index + 1,
          advice: LabelText.advice)
      }
      let values = try LabelText.numbers(line, path: path, line: index + 1)
      guard values.count == 4 || values.count >= 20 else {
        throw FormatError(
          .corrupt, "\(values.count) numbers where a face has 4 (its box) or 20 (with landmarks and blur)", path: path,
          line: index + 1, advice: LabelText.advice)
      }
      var face = LabelledFace(box: LabelText.box(values))
      if values.count >= 20 {
        let points = (0..<5).map { Array(values[4 + 3 * $0..<7 + 3 * $0]) }
        if points.allSatisfy({ $0[0] != -1 || $0[1] != -1 }) {
          face.landmarks = points.map { .init(point: Point($0[0], $0[1]), isVisible: $0[2] == 0) }
          if !face.holdsLandmarks {
            face.landmarks = nil
            let image = labels.images[labels.images.count - 1].path
            labels.skipped.append(Skip(line: index + 1, image: image, reason: "landmarks far away from their face"))
          }
        }
        face.blur = values[19] < 0 ? 0.3 : values[19]
      }
      labels.append(face, line: index + 1)
    }
    return labels
  }

  /// Reads the official `wider_face_train_bbx_gt.txt` or `wider_face_val_bbx_gt.txt`: path, number of faces, then a line a
  /// face: x y width height, and blur, expression, illumination, invalid, occlusion, pose.
  ///
  /// An image without faces is followed by one line of zeros. Faces whose box has no area are left out and listed.
  ///
  /// - Throws: `FormatError` with path and line: `.corrupt`, `.truncated`, and what opening a file throws.
  public static func readWider(path: String) throws(FormatError) -> FaceLabels {
    var labels = FaceLabels(images: [])
    let lines = try LabelText.lines(path: path)
    var position = 0
    while position < lines.count {
      let name = lines[position]
      if name.isEmpty {
        position += 1
        continue
      }
      guard position + 1 < lines.count, let count = Int(lines[position + 1]), count >= 0 else {
        throw FormatError(
          .corrupt, "\"\(name)\" is not followed by the number of its faces", path: path, line: position + 2,
          advice: LabelText.advice)
      }
      labels.images.append(Image(path: String(name)))
      position += 2
      let rows = max(count, isZeroRow(lines, position) ? 1 : 0)
      guard rows <= lines.count - position else {
        throw FormatError(
          .truncated, "\(count) faces of \"\(name)\" expected, \(lines.count - position) lines left", path: path,
          line: position + 1, advice: "download the file again")
      }
      for row in position..<position + rows {
        let values = try LabelText.numbers(lines[row], path: path, line: row + 1)
        guard values.count == 10 || values.count == 4 else {
          throw FormatError(
            .corrupt, "\(values.count) numbers where a face has 10, or 4 without attributes", path: path, line: row + 1,
            advice: LabelText.advice)
        }
        // The line of zeros under an image without faces is no face.
        if count == 0 { continue }
        var face = LabelledFace(box: LabelText.box(values))
        if values.count == 10 {
          face.blur = values[4] / 2
          face.isInvalid = values[7] != 0
        }
        labels.append(face, line: row + 1)
      }
      position += rows
    }
    return labels
  }

  private static func isZeroRow(_ lines: [Substring], _ index: Int) -> Bool {
    guard index < lines.count else { return false }
    let parts = lines[index].split(separator: " ")
    return parts.count >= 4 && parts.allSatisfy { $0 == "0" }
  }

  private mutating func append(_ face: LabelledFace, line: Int) {
    let image = images[images.count - 1].path
    guard face.box.width > 0, face.box.height > 0 else {
      let size = "\(LabelText.plain(face.box.width))×\(LabelText.plain(face.box.height))"
      skipped.append(Skip(line: line, image: image, reason: "a box of \(size) has no area"))
      return
    }
    images[images.count - 1].faces.append(face)
  }
}
