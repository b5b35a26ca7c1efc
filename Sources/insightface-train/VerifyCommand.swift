import Arguments
import FaceRecognition
import FaceRecognitionTraining
import Formats
import Jobs
import Torch
import Training

/// `insightface verify`: the reference's `verification.py`.
struct VerifyCommand: Command {
  static let name = "verify"
  static let summary = "Judge a checkpoint on verification sets (lfw.bin and its like)"
  static let discussion = """
    Ten contiguous folds as in the reference. Accuracy is that of the images as they are, Accuracy-Flip that of the sum
    of image and mirror image. Thresholds are squared distances of normalised embeddings, d² = 2 − 2 cos; the best one is
    that of Accuracy-Flip.

      insightface verify --model models/y1-arcface-emore/model,1 --bin faces_emore/lfw.bin --plot roc.svg
    """

  private var model = ""
  private var bins: [String] = []
  private var network: RecognitionNetwork?
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
      help: "MXNet checkpoint, or its folder, or a .pt file of arcface_torch")
    try b.option(
      &network, "--network", value: "NAME",
      help: "whose weights a .pt file holds (default: recognised by its names)")
    try b.option(&epoch, "--epoch", value: "N", help: "the checkpoint's number where --model names none")
    try b.option(&bins, "--bin", value: "FILE", help: "a verification set; repeatable")
    try b.option(
      &batchSize, "--batch-size", value: "N", help: "images at a time", expected: "1 or more", where: { $0 >= 1 })
    try b.option(&folds, "--folds", value: "N", help: "folds", expected: "2 or more", where: { $0 >= 2 })
    try b.flag(&json, "--json", help: "print one JSON object instead of lines")
    try b.option(&plot, "--plot", value: "FILE.svg", help: "draw the ROC curves")
    try b.option(&device, "--device", value: "DEVICE", help: "cpu, cuda or cuda:N (default: by CUDA_VISIBLE_DEVICES)")
    try b.option(
      &threads, "--threads", value: "N", help: "threads (default: one a core)", expected: "1 or more",
      where: { $0 >= 1 })
  }

  mutating func run() throws {
    guard !bins.isEmpty else { throw UsageError("--bin is missing: name at least one verification set") }
    let device = try DeviceChoice.resolve(device)
    if let threads { Torch.threadCount = threads }
    let checkpoint = try Checkpoint(CheckpointLocation(model, epoch: epoch), network: self.network)
    let network = try checkpoint.network()
    network.move(to: device)
    let size = try checkpoint.imageSize()
    var embedder = NetworkEmbedder(network, device: device, imageSize: size)
    var summary = VerificationReports()
    for path in bins {
      let lines = try summary.judge(path: path, imageSize: size, batchSize: batchSize, folds: folds) {
        try embedder($0, $1)
      }
      if !json { for line in lines { print(line) } }
    }
    if json { print(summary.json()) }
    if let plot { try AtomicFile.write(summary.rocDrawing().utf8, to: plot) }
  }
}
