import Arguments
import FaceAnalysis
import FaceDetection
import FaceRecognition
import Formats
import Glibc
import Imaging
import Jobs

/// `insightface-bench-plan pipeline`: from files of photos to embeddings.
struct PipelineCommand: Command {
  static let name = "pipeline"
  static let summary = "Time photos on their way to embeddings: decode, detect, align, embed"
  static let discussion = """
    Photos go through one after the other, all their faces are embedded. Prints a figure a line, in photos a second. With --write
    what was found goes to a file for others to check against, and nothing is timed: JSON with box, landmarks and embedding of
    each face.

      insightface-bench-plan pipeline --detector mnet.25 --recognizer y1/model --list photos.txt --threads 2
    """

  private var detector = ""
  private var recognizer = ""
  private var list = ""
  private var threads = 2
  private var samples = 3
  private var threshold = 0.8
  private var path: String?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&detector, "--detector", value: "PREFIX", required: true, help: "a RetinaFace checkpoint")
    try b.option(&recognizer, "--recognizer", value: "MODEL", required: true, help: "a recognition network")
    try b.option(&list, "--list", value: "FILE", required: true, help: "a path of a photo a line")
    try b.count(&threads, "--threads", help: "threads of a call")
    try b.count(&samples, "--samples", help: "figures")
    try b.option(
      &threshold, "--threshold", value: "SCORE", help: "the least score of a face", expected: "0 to 1",
      where: { (0...1).contains($0) })
    try b.option(&path, "--write", value: "FILE", help: "write what was found here and time nothing")
  }

  mutating func run() throws {
    setenv("INSIGHTFACE_THREADS", "\(threads)", 1)
    let text = try MappedFile(path: list).withBytes { String(decoding: $0, as: UTF8.self) }
    let photos = text.split(whereSeparator: \.isNewline).map(String.init)
    guard !photos.isEmpty else { throw UsageError("--list \(list): it names no photo") }
    var options = DetectionOptions()
    options.scoreThreshold = threshold
    let analysis = try FaceAnalysis.load(detector: detector, recognizer: recognizer, detection: options)
    func faces(_ photo: String) throws -> [Face] {
      try analysis.faces(in: Image.read(path: photo, turnsUpright: true))
    }
    if let path {
      let found = try photos.map { photo in
        "[" + (try faces(photo).map(\.json)).joined(separator: ",") + "]"
      }
      return try AtomicFile.write(("[" + found.joined(separator: ",\n") + "]\n").utf8, to: path)
    }
    for number in 0...samples {
      let began = seconds()
      var count = 0
      for photo in photos { count += try faces(photo).count }
      guard count > 0 else { throw UsageError("--list \(list): there is no face in these photos") }
      if number > 0 { print(fixed(Double(photos.count) / (seconds() - began), 3)) }
    }
  }
}
