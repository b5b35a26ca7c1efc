import Arguments
import FaceRecognition
import Inference
import Jobs

/// `insightface-bench-plan embed`: how many aligned faces a second become embeddings.
struct EmbedCommand: Command {
  static let name = "embed"
  static let summary = "Time the embedding of aligned faces, uint8 in memory"
  static let discussion = """
    Prints a figure a line, in images a second. With --warm-up 0 --batches 1 the whole program is what stands between
    a command and its first embedding.

      insightface-bench-plan embed --model models/r50 --batch 16 --threads 2 --batches 10 --samples 3
    """

  private var model = ""
  private var batch = 1
  private var threads = 2
  private var batches = 10
  private var samples = 1
  private var warmUp = 2

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&model, "--model", value: "MODEL", required: true, help: "a model in any format")
    try b.count(&batch, "--batch", help: "images of a call")
    try b.count(&threads, "--threads", help: "threads of a call")
    try b.count(&batches, "--batches", help: "calls of one figure")
    try b.count(&samples, "--samples", help: "figures")
    try b.count(&warmUp, "--warm-up", from: 0, help: "calls before the clock starts")
  }

  mutating func run() throws {
    let model = try ModelFile(reading: model, options: .init(requiresPreprocessing: false))
    let embedder = try FaceEmbedder(model.graph, threads: threads)
    var random = CounterRandom(2)
    let pixels = (0..<batch * 3 * embedder.height * embedder.width).map { _ in
      UInt8(truncatingIfNeeded: random.next() >> 32)
    }
    func call() throws {
      let values = try embedder.embed(pixels: pixels, count: batch)
      guard values.allSatisfy(\.isFinite) else { throw UsageError("--model: its embeddings are not finite") }
    }
    for _ in 0..<warmUp { try call() }
    for _ in 0..<samples {
      let began = seconds()
      for _ in 0..<batches { try call() }
      print(fixed(Double(batches * batch) / (seconds() - began), 3))
    }
  }
}
