import Arguments
import FaceAnalysis
import FaceDetection
import FaceRecognition
import Formats
import Imaging

/// The networks that commands need who tell people apart.
struct AnalysisArguments {
  private var detection = DetectionArguments()
  private var recognizer = ""
  private var flip = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(
      &recognizer, "--recognizer", value: "PREFIX[,EPOCH]", required: true,
      help: "a recognition checkpoint: PREFIX-symbol.json, PREFIX-0000.params")
    try b.flag(&flip, "--embed-flip", help: "add the embedding of the mirrored face, as verification does")
    try detection.bind(&b, modelOption: "--detector")
  }

  /// The analysis; of several faces of a photo it takes the main one.
  func load(all: Bool) throws(FaceAnalysisError) -> FaceAnalysis {
    var (detector, options) = try detection.load()
    if !all { options.selection = .central(1) }
    return FaceAnalysis(
      detector: detector, embedder: try CropEmbedder.load(recognizer, mirrors: flip), detection: options)
  }
}

/// `insightface embed`: photos become embeddings.
struct EmbedCommand: Command {
  static let name = "embed"
  static let summary = "Turn the faces of photos into embeddings: .npy with names, or JSON lines"
  static let discussion = """
    Finds the main face of each photo (all faces with --all), aligns it and computes its embedding, of length 1. With
    --output FILE.npy it writes a matrix of 32-bit floats and beside it FILE.names.txt, a line a row; else JSON lines.

      insightface embed --detector models/mnet.25 --recognizer models/y1/model photos --output faces.npy
    """

  private var arguments = AnalysisArguments()
  private var paths: [String] = []
  private var output: String?
  private var all = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(&output, "--output", value: "FILE.npy", help: "write a matrix here, not JSON to standard output")
    try b.flag(&all, "--all", help: "every face, not only the main one")
    try arguments.bind(&b)
  }

  mutating func run() throws {
    let photos = try PhotoList(paths).photos
    let analysis = try arguments.load(all: all)
    var rows: [[Float]] = []
    var names: [String] = []
    let output = output
    let failures = forEachPhoto(photos, "embedding") { photo in
      let faces = try analysis.faces(in: Image.read(path: photo.path, turnsUpright: true))
      if faces.isEmpty { warn("no face: \(photo.path)") }
      for face in faces where !face.embedding.isEmpty {
        if output == nil {
          print("{\"image\":\(JSONText.string(photo.path)),\"face\":\(face.json)}")
        } else {
          rows.append(face.embedding)
          names.append(photo.relativePath)
        }
      }
    }
    if let output {
      try NumPyArray.write(rows, to: output)
      let stem = output.hasSuffix(".npy") ? String(output.dropLast(4)) : output
      try AtomicFile.write(Array(names.map { $0 + "\n" }.joined().utf8), to: stem + ".names.txt")
      print("\(output): \(rows.count) embeddings of \(photos.count) photos, \(failures) not readable")
    }
    if failures > 0 { throw ExitCode.failure }
  }
}

/// `insightface compare`: how alike two photos' main faces are.
struct CompareCommand: Command {
  static let name = "compare"
  static let summary = "Say how alike the main faces of two photos are"
  static let discussion = """
    Prints the cosine and the squared distance of both embeddings. With --same-at it also says same or different: the
    threshold belongs to the recognition network and to the share of strangers that may pass (FAR), which
    `insightface verify` tells for a checkpoint.

      insightface compare --detector models/mnet.25 --recognizer models/y1/model a.jpg b.jpg --same-at 0.35
    """

  private var arguments = AnalysisArguments()
  private var first = ""
  private var second = ""
  private var threshold: Double?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&first, "A", help: "a photo")
    try b.positional(&second, "B", help: "another photo")
    try b.option(
      &threshold, "--same-at", value: "COSINE", help: "say same from this cosine on", expected: "-1 to 1",
      where: { (-1...1).contains($0) })
    try arguments.bind(&b)
  }

  mutating func run() throws {
    let analysis = try arguments.load(all: false)
    var faces: [Face] = []
    for path in [first, second] {
      let image = try Image.read(path: path, turnsUpright: true)
      guard let face = try analysis.faces(in: image).first, !face.embedding.isEmpty else {
        throw FormatError(.notFound, "no face was found", path: path, advice: "lower --threshold or use another photo")
      }
      faces.append(face)
    }
    guard let similarity = faces[0].similarity(faces[1]) else {
      throw FormatError(.mismatch, "the embeddings have different lengths")
    }
    let cosine = JSONText.number(similarity.cosine, digits: 6)
    print("cosine \(cosine), squared distance \(JSONText.number(similarity.squaredDistance, digits: 6))")
    if let threshold { print(similarity.cosine >= threshold ? "same" : "different") }
  }
}
