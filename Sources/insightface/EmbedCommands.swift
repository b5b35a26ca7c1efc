import Arguments
import FaceAnalysis
import FaceDetection
import FaceRecognition
import Formats
import Imaging
import Inference

/// The networks that commands need who tell people apart.
struct AnalysisArguments {
  private var detection = DetectionArguments()
  private var recognizer = ""
  private var flip = false
  private var preprocessingText: String?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(
      &recognizer, "--recognizer", value: "PREFIX[,EPOCH]",
      help: "a recognition network: PREFIX-symbol.json, PREFIX-0000.params, or a file of any format")
    try b.option(
      &preprocessingText, "--preprocessing", value: "TEXT",
      help: "insightface or arcface-torch, for recognition files that do not tell")
    try b.flag(
      &flip, "--embed-flip", help: "add the embedding of the mirrored face, as Accuracy-Flip of verification does")
    try detection.bind(&b, modelOption: "--detector")
  }

  /// The analysis; of several faces of a photo it takes the main one, unless all are wanted.
  func load(all: Bool, cutsCrops: Bool = false) throws -> FaceAnalysis {
    var preprocessing: PreprocessingChoice?
    if let preprocessingText {
      do {
        preprocessing = try PreprocessingChoice(text: preprocessingText)
      } catch {
        throw UsageError("--preprocessing: \(error.description)")
      }
    }
    // A network that is named goes before the pack's.
    var analysis = try detection.load(embeds: recognizer.isEmpty)
    if !recognizer.isEmpty {
      analysis = FaceAnalysis(
        detector: analysis.detector, embedder: try FaceEmbedder.load(recognizer, preprocessing: preprocessing),
        detection: analysis.detection)
      if let note = analysis.embedder?.note { warn("note: \(note)") }
    }
    guard analysis.embedder != nil else {
      throw UsageError(
        detection.pack == nil
          ? "--recognizer or --models is missing" : "the pack holds no recognition network: add --recognizer")
    }
    if !all { analysis.detection.selection = .central(1) }
    analysis.embedsMirrored = flip
    analysis.cutsCrops = cutsCrops
    return analysis
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
    let photos = try PhotoList(paths, outputs: [output].compactMap(\.self)).photos
    let namesPath = output.map { ($0.hasSuffix(".npy") ? String($0.dropLast(4)) : $0) + ".names.txt" }
    for path in [output, namesPath].compactMap(\.self) { try AtomicFile.check(path) }
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
    if let output, let namesPath {
      try NumPyArray.write(rows, to: output)
      try AtomicFile.write(Array(names.map { $0 + "\n" }.joined().utf8), to: namesPath)
      print("\(output): \(rows.count) embeddings of \(photos.count) photos, \(failures) not readable")
    }
    if failures > 0 { throw ExitCode.failure }
  }
}

/// When two faces are of one person.
struct ThresholdArguments {
  private var sameAt: Double?
  private var falseAcceptRate: Double?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(
      &sameAt, "--same-at", value: "COSINE", help: "faces are of one person from this cosine on", expected: "-1 to 1",
      where: { (-1...1).contains($0) })
    let rates = MeasuredThreshold.mobileFaceNetY1.map(\.falseAcceptRate)
    try b.option(
      &falseAcceptRate, "--at-far", value: "RATE",
      help: "the share of strangers that may pass for one person (0.001 unless given), by thresholds measured with "
        + "InsightFace's MobileFaceNet y1",
      expected: rates.map { JSONText.number($0) }.joined(separator: ", "), where: { rates.contains($0) })
  }

  /// The threshold; where it was measured with another network than the one at hand, a note says so.
  func cosine(_ analysis: FaceAnalysis) throws(UsageError) -> Double { try describe(analysis).cosine }

  /// The threshold, and what it is in words.
  func describe(_ analysis: FaceAnalysis) throws(UsageError) -> (cosine: Double, words: String) {
    if let sameAt {
      guard falseAcceptRate == nil else { throw UsageError("--same-at and --at-far exclude each other") }
      return (sameAt, "cosine \(JSONText.number(sameAt))")
    }
    let rate = falseAcceptRate ?? 0.001
    guard let measured = MeasuredThreshold.mobileFaceNetY1.first(where: { $0.falseAcceptRate == rate }) else {
      throw UsageError("--at-far \(rate): no threshold was measured there; give --same-at")
    }
    if analysis.embedder?.fingerprint != MeasuredThreshold.mobileFaceNetY1Fingerprint {
      warn(
        "note: the threshold was measured with MobileFaceNet y1, not with this network; `insightface verify` tells its own, "
          + "for --same-at with --embed-flip")
    }
    return (measured.cosine, "cosine \(JSONText.number(measured.cosine)), at a FAR of \(JSONText.number(rate))")
  }
}

/// `insightface compare`: how alike two photos' main faces are.
struct CompareCommand: Command {
  static let name = "compare"
  static let summary = "Say how alike the main faces of two photos are, and whether they are of one person"
  static let discussion = """
    Prints the cosine and the squared distance of both embeddings, and same or different. The threshold belongs to the
    recognition network and to the share of strangers that may pass (FAR): --at-far takes those measured with InsightFace's
    MobileFaceNet y1 on photos of Labeled Faces in the Wild, without --embed-flip; for other networks give --same-at the cosine
    that `insightface verify` tells, and --embed-flip, with which it was found.

      insightface compare --detector models/mnet.25 --recognizer models/y1/model a.jpg b.jpg --at-far 0.0001
      insightface compare --models buffalo_l a.jpg b.jpg --same-at 0.3
    """

  private var arguments = AnalysisArguments()
  private var threshold = ThresholdArguments()
  private var first = ""
  private var second = ""

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&first, "A", help: "a photo")
    try b.positional(&second, "B", help: "another photo")
    try threshold.bind(&b)
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
    let (least, words) = try threshold.describe(analysis)
    let cosine = JSONText.number(similarity.cosine, digits: 6)
    print("cosine \(cosine), squared distance \(JSONText.number(similarity.squaredDistance, digits: 6))")
    print("\(similarity.cosine >= least ? "same" : "different") (threshold: \(words))")
  }
}
