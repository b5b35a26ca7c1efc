import Formats

/// What WIDER FACE's evaluation compares detections with: boxes, and which of them count in each setting.
public struct WiderGroundTruth: Sendable {
  /// An image with its faces.
  public struct Image: Sendable {
    /// `0--Parade`.
    public var event: String
    /// The file's name without `.jpg`.
    public var name: String
    /// All faces: a detection of one that does not count is neither right nor wrong.
    public var boxes: [BoundingBox]
    /// For each setting the places in `boxes` of the faces that count.
    public var counted: [[Int]]

    /// `event/name`.
    public var key: String { event + "/" + name }

    /// An image of its parts.
    public init(event: String, name: String, boxes: [BoundingBox], counted: [[Int]]) {
      self.event = event
      self.name = name
      self.boxes = boxes
      self.counted = counted
    }
  }

  /// The names of the settings: `easy`, `medium`, `hard`.
  public var settings: [String]
  /// The images in the order of the files.
  public var images: [Image]

  /// Ground truth of its parts.
  public init(settings: [String], images: [Image]) {
    self.settings = settings
    self.images = images
  }

  /// Reads the official files of a folder: `wider_face_val.mat`, `wider_easy_val.mat`, `wider_medium_val.mat`,
  /// `wider_hard_val.mat`.
  ///
  /// - Throws: `FormatError` with the file: what reading it throws, `.corrupt` and `.mismatch` where the lists do not have
  ///   the shape of WIDER's or do not fit each other.
  public static func read(folder: String) throws(FormatError) -> WiderGroundTruth {
    let path = folder + "/wider_face_val.mat"
    let file = try MatFile(path: path, names: ["event_list", "file_list", "face_bbx_list"])
    let events = try cells(file.variables["event_list"], "event_list", path)
    let files = try cells(file.variables["file_list"], "file_list", path, count: events.count)
    let faces = try cells(file.variables["face_bbx_list"], "face_bbx_list", path, count: events.count)
    var images: [Image] = []
    for (index, event) in events.enumerated() {
      guard let event = event.text else { throw unexpected("event_list", path) }
      let names = try cells(files[index], "file_list", path)
      let boxes = try cells(faces[index], "face_bbx_list", path, count: names.count)
      for (name, box) in zip(names, boxes) {
        guard let name = name.text, let numbers = box.numbers, box.shape.count == 2,
          numbers.isEmpty || box.shape[1] == 4
        else { throw unexpected("file_list or face_bbx_list", path) }
        let count = numbers.count / 4
        let corners = (0..<count).map { row in LabelText.box((0..<4).map { numbers[$0 * count + row] }) }
        images.append(Image(event: event, name: name, boxes: corners, counted: []))
      }
    }
    let settings = ["easy", "medium", "hard"]
    for setting in settings {
      let path = folder + "/wider_\(setting)_val.mat"
      let lists = try cells(MatFile(path: path, names: ["gt_list"]).variables["gt_list"], "gt_list", path)
      guard lists.count == events.count else { throw unexpected("gt_list", path) }
      var next = 0
      for list in lists {
        for places in try cells(list, "gt_list", path) {
          guard next < images.count, let numbers = places.numbers else { throw unexpected("gt_list", path) }
          var counted: [Int] = []
          for number in numbers {
            guard let place = Int(exactly: number), place >= 1, place <= images[next].boxes.count else {
              throw FormatError(
                .mismatch, "face \(number) of \(images[next].key) counts, which has \(images[next].boxes.count)",
                path: path)
            }
            counted.append(place - 1)
          }
          images[next].counted.append(counted)
          next += 1
        }
      }
      guard next == images.count else {
        throw FormatError(.mismatch, "\(next) images where wider_face_val.mat has \(images.count)", path: path)
      }
    }
    return WiderGroundTruth(settings: settings, images: images)
  }

  /// Ground truth of text labels, in one setting where every face counts that is not called invalid.
  public init(labels: FaceLabels) {
    settings = ["all"]
    images = labels.images.map { image in
      let parts = image.path.split(separator: "/")
      let file = parts.last.map(String.init) ?? image.path
      let name = file.lastIndex(of: ".").map { String(file[..<$0]) } ?? file
      let places = image.faces.indices.filter { !image.faces[$0].isInvalid }
      return Image(
        event: parts.dropLast().joined(separator: "/"), name: name, boxes: image.faces.map(\.box), counted: [places])
    }
  }

  /// The part of the images whose `event/name` is in the set.
  public func restricted(to keys: Set<String>) -> WiderGroundTruth {
    WiderGroundTruth(settings: settings, images: images.filter { keys.contains($0.key) })
  }

  private static func cells(
    _ value: MatValue?, _ name: String, _ path: String, count: Int? = nil
  ) throws(FormatError) -> [MatValue] {
    guard let value else {
      throw FormatError(.corrupt, "the file has no variable \"\(name)\"", path: path, advice: LabelText.advice)
    }
    // An event without images is an empty array of numbers.
    if value.numbers?.isEmpty == true { return [] }
    guard let cells = value.cells, count == nil || cells.count == count else { throw unexpected(name, path) }
    return cells
  }

  private static func unexpected(_ name: String, _ path: String) -> FormatError {
    FormatError(
      .corrupt, "\"\(name)\" does not have the shape of WIDER FACE's list", path: path, advice: LabelText.advice)
  }
}
