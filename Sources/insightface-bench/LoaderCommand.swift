import Arguments
import FaceRecognitionTraining
import Formats
import Jobs
import Training

/// `insightface-bench loader`: how many faces a second reach a training step.
struct LoaderCommand: Command {
  static let name = "loader"
  static let summary = "Time the loader: read, decode, mirror, batch"
  static let discussion = """
    Prints a figure a line, in images a second. The threads have started and every buffer is there when the clock starts.

      insightface-bench loader --data faces --batch 128 --threads 2 --batches 100 --samples 3
    """

  private var data = ""
  private var batch = 128
  private var threads = 2
  private var batches = 100
  private var samples = 3

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&data, "--data", value: "FOLDER", required: true, help: "the folder with train.rec and property")
    try b.option(
      &batch, "--batch", value: "N", help: "images of a batch", expected: "a number from 1 on", where: { $0 >= 1 })
    try b.option(
      &threads, "--threads", value: "N", help: "threads that decode", expected: "a number from 1 on", where: { $0 >= 1 }
    )
    try b.option(
      &batches, "--batches", value: "N", help: "batches of one figure", expected: "a number from 1 on",
      where: { $0 >= 1 })
    try b.option(
      &samples, "--samples", value: "N", help: "figures", expected: "a number from 1 on", where: { $0 >= 1 })
  }

  mutating func run() throws {
    let property = try Property(path: "\(data)/property")
    let source = try FaceRecordSource(
      FaceRecordFile(path: "\(data)/train.rec"), imageSize: property.height, classCount: property.classCount)
    let loader = try BatchLoader(source, .init(batchSize: batch, seed: 1, threads: threads, isStrict: true))
    defer { loader.stop() }
    // What was loaded ahead must not count for the first figure.
    for _ in 0..<8 { loader.recycle(try loader.next()) }
    for _ in 0..<samples {
      let began = seconds()
      for _ in 0..<batches { loader.recycle(try loader.next()) }
      print(fixed(Double(batches * batch) / (seconds() - began), 1))
    }
  }
}
