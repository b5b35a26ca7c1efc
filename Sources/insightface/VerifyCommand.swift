import Arguments
import FaceAnalysis
import FaceRecognition
import Formats
import Inference

extension RecognitionNetwork: ArgumentValue {}

/// `insightface verify`: the reference's `verification.py`, on the CPU and without LibTorch.
struct VerifyCommand: Command {
  static let name = "verify"
  static let summary = "Judge a checkpoint on verification sets (lfw.bin and its like)"
  static let discussion = """
    Ten contiguous folds as in the reference. Accuracy is that of the images as they are, Accuracy-Flip that of the sum
    of image and mirror image. Thresholds are squared distances of normalised embeddings, d² = 2 − 2 cos; the best one is
    that of Accuracy-Flip. With --device cuda:N the training program takes over, which reads MXNet checkpoints and .pt files.

      insightface verify --model models/y1-arcface-emore/model,1 --bin faces_emore/lfw.bin --plot roc.svg
    """

  private var model = ""
  private var bins: [String] = []
  private var network: RecognitionNetwork?
  private var preprocessingText: String?
  private var epoch = 1
  private var batchSize = 32
  private var folds = 10
  private var json = false
  private var plot: String?
  private var device: String?
  private var threads: Int?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(
      &model, "--model", value: "PREFIX[,EPOCH]", required: true,
      help: "MXNet checkpoint, or its folder, or a file: .pt of arcface_torch, ONNX, safetensors of this project")
    try b.option(
      &network, "--network", value: "NAME",
      help: "whose weights a .pt file holds (default: recognised by its names)")
    try b.option(&epoch, "--epoch", value: "N", help: "the checkpoint's number where --model names none")
    try b.option(
      &preprocessingText, "--preprocessing", value: "TEXT",
      help: "insightface, arcface-torch or in full as for `insightface model`, for ONNX files that do not tell")
    try b.option(&bins, "--bin", value: "FILE", help: "a verification set; repeatable")
    try b.option(
      &batchSize, "--batch-size", value: "N", help: "images at a time", expected: "1 ... 4096",
      where: { (1...4096).contains($0) })
    try b.option(&folds, "--folds", value: "N", help: "folds", expected: "2 or more", where: { $0 >= 2 })
    try b.flag(&json, "--json", help: "print one JSON list instead of lines")
    try b.option(&plot, "--plot", value: "FILE.svg", help: "draw the ROC curves")
    try b.option(
      &device, "--device", value: "DEVICE", help: "cpu, or cuda:N for the training program (default: cpu)",
      expected: "cpu, cuda or cuda:N", where: { $0 == "cpu" })
    try b.option(
      &threads, "--threads", value: "N", help: "threads (default: $INSIGHTFACE_THREADS, else one a physical core)",
      expected: "1 or more", where: { $0 >= 1 })
  }

  /// Whether the arguments after `verify` ask for a device that only the training program has.
  static func needsTraining(_ arguments: [String]) -> Bool {
    for (index, argument) in arguments.enumerated() {
      if argument.hasPrefix("--device=cuda") { return true }
      if argument == "--device", index + 1 < arguments.count, arguments[index + 1].hasPrefix("cuda") { return true }
    }
    return false
  }

  mutating func run() throws {
    guard !bins.isEmpty else { throw UsageError("--bin is missing: name at least one verification set") }
    let embedder = try embedder()
    guard embedder.width == embedder.height else {
      throw FormatError(
        .unsupported, "verification takes square faces, the network \(embedder.width)×\(embedder.height)",
        path: model)
    }
    var summary = VerificationReports()
    for path in bins {
      let lines = try summary.judge(path: path, imageSize: embedder.width, batchSize: batchSize, folds: folds) {
        (
          try embedder.embed(pixels: $0, count: $1, isMirrored: false),
          try embedder.embed(pixels: $0, count: $1, isMirrored: true)
        )
      }
      if !json { for line in lines { print(line) } }
    }
    if json { print(summary.json()) }
    if let plot { try AtomicFile.write(summary.rocDrawing().utf8, to: plot) }
  }

  private func embedder() throws -> FaceEmbedder {
    guard let format = try? ModelFormat.detect(path: model), format == .onnx || format == .safetensors else {
      guard preprocessingText == nil else { throw UsageError("--preprocessing is for ONNX and safetensors files") }
      return try FaceEmbedder(CheckpointLocation(model, epoch: epoch), network: network, threads: threads)
    }
    guard network == nil else { throw UsageError("--network is for .pt files; \(model) holds its network") }
    var preprocessing: PreprocessingChoice?
    if let preprocessingText {
      do {
        preprocessing = try PreprocessingChoice(text: preprocessingText)
      } catch {
        throw UsageError("--preprocessing: \(error.description)")
      }
    }
    let embedder = try FaceEmbedder.load(model, preprocessing: preprocessing, threads: threads)
    if let note = embedder.note { warn("note: \(note)") }
    return embedder
  }
}
