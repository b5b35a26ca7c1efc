import Arguments
import FaceAnalysis
import FaceDetection
import FaceRecognition
import Formats
import Glibc
import Imaging
import Jobs

/// What all commands that look for faces share.
struct DetectionArguments {
  var model = ""
  var network: String?
  var options = DetectionOptions()
  private var scales: [Double] = [1]
  private var pyramid = false
  private var largest: Int?
  private(set) var pack: String?
  private var inputSide = FaceDetector.defaultInputSide
  private var modelOption = "--model"

  mutating func bind(_ b: inout ArgumentBinder, modelOption: String) throws(UsageError) {
    self.modelOption = modelOption
    try b.option(
      &model, modelOption, value: "PREFIX[,EPOCH]",
      help: "a RetinaFace checkpoint: PREFIX-symbol.json, PREFIX-0000.params; or a .pth of the PyTorch port")
    try b.option(
      &pack, "--models", value: "NAME|FOLDER",
      help: "ONNX models of the insightface package: a folder, or a name in ~/.insightface/models such as buffalo_l")
    b.section("Detection")
    try b.option(
      &inputSide, "--det-size", value: "N", help: "side of the square that a pack's detector looks at",
      expected: "a multiple of 32 up to 4096", where: { $0 > 0 && $0 <= 4096 && $0 % 32 == 0 })
    try b.option(
      &network, "--network", value: "NAME", help: "the anchors; told by the checkpoint unless given",
      expected: ReferenceNetwork.allCases.map(\.rawValue).joined(separator: ", "),
      where: { ReferenceNetwork(rawValue: $0) != nil })
    try b.option(
      &options.scoreThreshold, "--threshold", value: "SCORE", help: "the least score of a face", expected: "0 to 1",
      where: { (0...1).contains($0) })
    try b.option(
      &options.suppressionThreshold, "--nms", value: "OVERLAP",
      help: "the overlap from which on the surer of two boxes stays alone", expected: "0 to 1",
      where: { (0...1).contains($0) })
    try b.option(
      &scales, "--scales", value: "FACTORS", separator: ",", help: "sizes at which a photo is looked at",
      expected: "factors above 0, at most 16", where: { $0 > 0 && $0 <= 16 })
    try b.flag(&pyramid, "--pyramid", help: "five sizes, as the reference's accurate test")
    try b.flag(&options.flips, "--flip", help: "look at the mirrored photo too")
    try b.flag(&options.padsToStride, "--nocrop", help: "pad photos to a multiple of 32 pixels")
    try b.option(
      &options.minimumSize, "--minimum-size", value: "PIXELS", help: "leave out faces with a smaller side",
      expected: "0 or more", where: { $0 >= 0 && $0.isFinite })
    try b.option(
      &largest, "--largest", value: "N", help: "at most so many faces a photo, the largest first",
      expected: "1 to 100,000", where: { (1...100_000).contains($0) })
  }

  /// The options as they were given.
  var given: DetectionOptions {
    var options = options
    options.scales = pyramid ? .pyramid : .factors(scales)
    if let largest { options.selection = .largest(largest) }
    return options
  }

  /// What decides which faces are found, in one line.
  var settings: String {
    "detector \(pack ?? model) \(network ?? ""), input \(pack == nil ? 0 : inputSide), \(given)"
  }

  /// An analysis that finds and aligns; of a pack with its recognition network, where that is asked for.
  func load(embeds: Bool, landmarks: Bool = false) throws -> FaceAnalysis {
    guard let pack else {
      guard !model.isEmpty else { throw UsageError("\(modelOption) or --models is missing") }
      return FaceAnalysis(
        detector: try FaceDetector.load(model, network: network.flatMap(ReferenceNetwork.init)), detection: given)
    }
    guard model.isEmpty else { throw UsageError("\(modelOption) and --models exclude each other") }
    guard !pyramid, scales == [1] else {
      throw UsageError("--scales and --pyramid are not for a pack's detector, which takes --det-size")
    }
    warn("note: \(ModelPack.licenseNote)")
    let analysis = try FaceAnalysis.load(
      pack: ModelPack(pack), embeds: embeds, landmarks: landmarks, inputSide: inputSide, detection: given)
    for note in analysis.notes { warn("note: \(note)") }
    return analysis
  }
}

/// Goes through photos with a progress line; one that cannot be read is reported on standard error and counted.
///
/// - Returns: how many photos failed.
func forEachPhoto(
  _ photos: [PhotoList.Photo], _ verb: String, _ body: (PhotoList.Photo) throws -> Void
) -> Int {
  let progress = ProgressLine()
  let began = seconds()
  defer { progress.finish() }
  var failures = 0
  for (index, photo) in photos.enumerated() {
    progress.show("\(verb): \(index) of \(photos.count) photos, \(eta(index, photos.count, since: began))")
    do { try body(photo) } catch {
      failures += 1
      progress.clear()
      let text = "\(error)"
      warn("skipped: " + (text.hasPrefix(photo.path) ? text : "\(photo.path): \(text)"))
      progress.redraw()
    }
  }
  return failures
}

/// A line on standard error.
func warn(_ text: String) { (text + "\n").withCString { _ = write(2, $0, strlen($0)) } }

/// `insightface detect`: faces of photos as JSON lines.
struct DetectCommand: Command {
  static let name = "detect"
  static let summary = "Find faces in photos: boxes, scores and five landmarks as JSON"
  static let discussion = """
    Prints a line of JSON a photo: its path, width and height, and its faces with box (left, top, right, bottom), score and
    landmarks. Photos are turned upright by their EXIF orientation first. A file that is no photo is reported and passed
    over; the exit status is 1 then.

      insightface detect --model models/mnet.25 photo.jpg
      insightface detect --model models/mnet.25 photos --draw drawn --output faces.jsonl

    A detector is trained with `insightface detect train`; see `insightface detect train --help`.
    """

  private var arguments = DetectionArguments()
  private var paths: [String] = []
  private var draw: String?
  private var output: String?
  private var wider: String?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(&output, "--output", value: "FILE", help: "write the lines here, not to standard output")
    try b.option(&draw, "--draw", value: "FOLDER", help: "write each photo with its faces drawn here")
    try b.option(&wider, "--wider", value: "FOLDER", help: "write WIDER FACE's text results here")
    try arguments.bind(&b, modelOption: "--model")
  }

  mutating func run() throws {
    let photos = try PhotoList(paths, outputs: [draw, output].compactMap(\.self)).photos
    var analysis = try arguments.load(embeds: false, landmarks: true)
    analysis.cutsCrops = false
    let file = try output.map { path throws(FormatError) in try AtomicFile(path: path) }
    let failures = forEachPhoto(photos, "detecting") { photo in
      let image = try Image.read(path: photo.path, turnsUpright: true)
      let faces = try analysis.faces(in: image)
      let line =
        "{\"image\":\(JSONText.string(photo.path)),\"width\":\(image.width),\"height\":\(image.height),\"faces\":["
        + faces.map(\.json).joined(separator: ",") + "]}"
      if let file { try file.write(contentsOf: Array((line + "\n").utf8)) } else { print(line) }
      if let draw { try write(image, faces, to: "\(draw)/\(photo.outputName).jpg") }
      if let wider { try writeWider(faces, photo, to: wider) }
    }
    try file?.commit()
    if failures > 0 { throw ExitCode.failure }
  }

  private func write(_ image: Image, _ faces: [Face], to path: String) throws {
    var image = image
    for face in faces {
      image.drawRectangle(face.box.rectangle, Colour(255, 40, 40))
      let radius = max(1, face.box.width / 40)
      for point in face.landmarks { image.fillCircle(centre: point, radius: radius, Colour(40, 255, 40)) }
      image.drawText(
        fixed(Double(face.score), 2), x: Int(face.box.left), y: Int(face.box.top) - 9, Colour(255, 255, 40))
    }
    try makeFolders(FilePath.folder(of: path))
    try image.write(path: path)
  }

  private func writeWider(_ faces: [Face], _ photo: PhotoList.Photo, to folder: String) throws {
    let parts = photo.outputName.split(separator: "/").map(String.init)
    try WiderResults.write(
      faces.map { Detection(box: $0.box, score: $0.score, landmarks: $0.landmarks) },
      event: parts.dropLast().joined(separator: "/"), name: parts.last ?? photo.outputName, folder: folder)
  }
}

/// `insightface align`: photos become aligned crops.
struct AlignCommand: Command {
  static let name = "align"
  static let summary = "Cut aligned faces out of photos, into a tree like theirs"
  static let discussion = """
    Writes OUTPUT/PATH.jpg for each photo FOLDER/PATH: the face turned and scaled so that its eyes, nose and mouth lie where
    recognition networks expect them. Of several faces the one is taken that is large and near the middle, unless --all is
    given: PATH_0.jpg, PATH_1.jpg and so on then, the surest first. Photos that differ in their ending alone keep it
    (a.png.jpg); of the same PATH in two folders, each gets a number of its own behind it. Photos without a face are listed.
    A second run goes on where the first was stopped. OUTPUT may lie in FOLDER: it is passed over.

      insightface align --model models/mnet.25 photos --output crops
    """

  private var arguments = DetectionArguments()
  private var paths: [String] = []
  private var output = ""
  private var size = 112
  private var quality = 95
  private var all = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(&output, "--output", value: "FOLDER", required: true, help: "where the crops are written")
    try b.option(
      &size, "--size", value: "N", help: "width and height of the crops",
      expected: "a multiple of 112 or 128 up to 1024",
      where: { $0 > 0 && $0 <= 1024 && ($0 % 112 == 0 || $0 % 128 == 0) })
    try b.flag(&all, "--all", help: "every face, not only the main one")
    try bindQuality(&b, &quality)
    try arguments.bind(&b, modelOption: "--model")
  }

  mutating func run() throws {
    let photos = try PhotoList(paths, outputs: [output]).photos
    var analysis = try arguments.load(embeds: false)
    if !all { analysis.detection.selection = .central(1) }
    analysis.cropSize = (size, size)
    var (written, present, faceless) = (0, 0, 0)
    let (output, quality, all) = (output, quality, all)
    let failures = forEachPhoto(photos, "aligning") { photo in
      let target = "\(output)/\(photo.outputName)"
      if fileExists(all ? "\(target)_0.jpg" : "\(target).jpg") {
        present += 1
        return
      }
      let faces = try analysis.faces(in: Image.read(path: photo.path, turnsUpright: true)).filter { $0.crop != nil }
      guard !faces.isEmpty else {
        faceless += 1
        print("no face: \(photo.path)")
        return
      }
      try makeFolders(FilePath.folder(of: target))
      // The first crop marks the photo as done, so it comes last.
      for (index, face) in faces.enumerated().reversed() {
        try face.crop?.write(path: all ? "\(target)_\(index).jpg" : "\(target).jpg", quality: quality)
        written += 1
      }
    }
    print(
      "\(output): \(written) crops of \(photos.count) photos written, \(present) photos done before, \(faceless) without a "
        + "face, \(failures) not readable")
    if failures > 0 { throw ExitCode.failure }
  }
}
