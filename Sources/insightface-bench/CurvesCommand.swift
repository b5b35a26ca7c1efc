import Arguments
import FaceRecognition
import FaceRecognitionTraining
import Formats
import Foundation
import Jobs
import SyntheticFaces
import Torch
import Training

/// `insightface-bench curves`: whether training with fused operations goes where training without them goes.
struct CurvesCommand: Command {
  static let name = "curves"
  static let summary = "Train MobileFaceNet + ArcFace with and without fused operations and compare the curves"
  static let discussion = """
    Draws the quickstart's faces and trains y1 on them from several seeds, once with this project's fused operations
    (normalisation, PReLU and convolution in one; the margin softmax in blocks, which moves its weights on the way back) and
    once with LibTorch's own, one after another. Both runs of a seed start from the same weights and see the same batches.
    Prints a table: the loss in windows of steps, least to greatest over the seeds, and the accuracy on people held out.
    Runs that are complete in the folder are not trained again.

      insightface-bench curves --output curves --steps 300 --batch 32 --seeds 3
    """

  private var output = "curves"
  private var steps = 300
  private var batch = 32
  private var seeds = 3
  private var identities = 100
  private var images = 60
  private var pairs = 300
  private var windows = 10
  private var threads = 1

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    func count(
      _ value: inout Int, _ name: String, from least: Int = 1, _ b: inout ArgumentBinder, help: String
    ) throws(UsageError) {
      try b.option(
        &value, name, value: "N", help: help, expected: "\(least) to 1000000",
        where: { (least...1_000_000).contains($0) })
    }
    try b.option(&output, "--output", value: "FOLDER", help: "where faces and runs are kept")
    try count(&steps, "--steps", &b, help: "steps of a run")
    try count(&batch, "--batch", from: 2, &b, help: "faces of a step")
    try count(&seeds, "--seeds", from: 2, &b, help: "runs of each kind")
    try count(&identities, "--identities", from: 2, &b, help: "people to train on")
    try count(&images, "--images", &b, help: "images of each")
    try count(&pairs, "--pairs", from: 20, &b, help: "pairs of other people")
    try count(&windows, "--windows", &b, help: "rows of the table")
    try count(&threads, "--threads", &b, help: "threads")
  }

  /// What a run gave.
  private struct Curve {
    let losses: [Double]
    let accuracy: Double
  }

  mutating func run() throws {
    StopSignal.install()
    let data = "\(output)/faces-\(identities)x\(images)-\(pairs)"
    try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
    if !FileManager.default.fileExists(atPath: "\(data)/synth.bin") {
      let generator = FaceGenerator(seed: 1)
      try GeneratedDataset(
        identities: identities, imagesPerIdentity: images, heldOutPairs: pairs, seed: 1, threads: threads
      ).write(to: data, draw: { try generator.jpeg(identity: $0.identity, index: $0.index) })
    }
    var curves: [Bool: [Curve]] = [:]
    for seed in 1...seeds {
      for isFused in [true, false] {
        curves[isFused, default: []].append(try train(data, seed: UInt64(seed), isFused: isFused))
      }
    }
    tell(curves[true] ?? [], curves[false] ?? [])
  }

  private func train(_ data: String, seed: UInt64, isFused: Bool) throws -> Curve {
    let models = "\(output)/\(isFused ? "fused" : "composed")-seed\(seed)-\(steps)x\(batch)"
    let resultPath = "\(models)/curve.txt"
    if let text = try? String(contentsOfFile: resultPath, encoding: .utf8) {
      let numbers = text.split(separator: "\n").compactMap { Double($0) }
      if numbers.count == steps + 1 { return Curve(losses: Array(numbers.dropLast()), accuracy: numbers[steps]) }
    }
    var configuration = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "synth")
    for (key, value) in [
      ("dataset_path", data), ("models_root", models), ("val_targets", "synth"), ("ckpt", "0"),
      ("per_batch_size", "\(batch)"), ("lr", "0.1"), ("loss_s", "16"), ("batch_size", "32"),
      ("lr_steps", "\(max(1, steps * 2 / 3)),\(max(1, steps * 7 / 8))"), ("max_steps", "\(steps)"),
      ("verbose", "\(steps)"), ("frequent", "20"),
    ] {
      try configuration.set(key, value, from: "curves")
    }
    var options = TrainingOptions()
    options.seed = seed
    options.threads = threads
    options.decodeThreads = 1
    options.marginWarmup = 3 * steps
    options.learningRateWarmup = min(20, steps)
    options.isFused = isFused
    var losses: [Double] = []
    let began = seconds()
    let trainer = try RecognitionTrainer(configuration, options) { losses.append($0.loss) }
    if case .interrupted(let signal) = try trainer.run() { throw ExitCode(128 + signal) }
    let log = try String(contentsOfFile: "\(RecognitionTrainer.folder(configuration))/train.log", encoding: .utf8)
    guard let line = log.split(separator: "\n").last(where: { $0.contains("Accuracy-Flip: ") }),
      let word = line.components(separatedBy: "Accuracy-Flip: ").last?.components(separatedBy: "+-").first,
      let accuracy = Double(word), losses.count == steps
    else { throw FormatError(.mismatch, "the run did not verify", path: models) }
    try AtomicFile.write((losses + [accuracy]).map { "\($0)\n" }.joined().utf8, to: resultPath)
    print("# \(models): \(fixed(seconds() - began, 1)) s")
    return Curve(losses: losses, accuracy: accuracy)
  }

  /// The table, and how far apart the two kinds are in terms of how far apart seeds are.
  private func tell(_ fused: [Curve], _ composed: [Curve]) {
    func range(_ values: [Double], _ digits: Int = 4) -> String {
      "\(fixed(values.min() ?? .nan, digits)) … \(fixed(values.max() ?? .nan, digits))"
    }
    print("| steps | loss, fused | loss, composed | overlap | difference of the means, in deviations of the seeds |")
    print("|---|---|---|---|---|")
    var overlapping = 0
    let count = min(windows, steps)
    for window in 0..<count {
      let part = window * steps / count..<(window + 1) * steps / count
      func means(_ curves: [Curve]) -> [Double] {
        curves.map { $0.losses[part].reduce(0, +) / Double(part.count) }
      }
      let (a, b) = (means(fused), means(composed))
      let overlaps = (a.min() ?? 0) <= (b.max() ?? 0) && (b.min() ?? 0) <= (a.max() ?? 0)
      if overlaps { overlapping += 1 }
      print(
        "| \(part.lowerBound + 1)–\(part.upperBound) | \(range(a)) | \(range(b)) | \(overlaps ? "yes" : "no") | "
          + "\(fixed(Self.distance(a, b), 2)) |")
    }
    let (a, b) = (fused.map(\.accuracy), composed.map(\.accuracy))
    print("windows that overlap: \(overlapping) of \(count)")
    print("accuracy, fused    \(range(a, 5)), mean \(fixed(a.reduce(0, +) / Double(a.count), 5))")
    print("accuracy, composed \(range(b, 5)), mean \(fixed(b.reduce(0, +) / Double(b.count), 5))")
    print("difference of the mean accuracies in deviations of the seeds: \(fixed(Self.distance(a, b), 2))")
  }

  /// |mean a − mean b| over the deviation within a and b.
  private static func distance(_ a: [Double], _ b: [Double]) -> Double {
    func mean(_ x: [Double]) -> Double { x.reduce(0, +) / Double(x.count) }
    func squares(_ x: [Double]) -> Double { x.reduce(0) { $0 + ($1 - mean(x)) * ($1 - mean(x)) } }
    let variance = (squares(a) + squares(b)) / Double(a.count + b.count - 2)
    return abs(mean(a) - mean(b)) / variance.squareRoot()
  }
}
