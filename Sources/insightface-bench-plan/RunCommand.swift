import Arguments
import Formats
import Inference
import Jobs

/// `insightface-bench-plan run`: how long a network of images takes, from floats to its outputs.
struct RunCommand: Command {
  static let name = "run"
  static let summary = "Time a network on drawn images, float32 in memory"
  static let discussion = """
    The network is one of an ONNX file with a fixed height and width. Prints a figure a line, in milliseconds a call. With --write
    the input and what comes out of it go to a file for others to check against: float32, the input, then the outputs in their
    order.

      insightface-bench-plan run --model mnet.onnx --threads 2 --calls 20 --samples 3
    """

  private var model = ""
  private var batch = 1
  private var threads = 2
  private var calls = 20
  private var samples = 3
  private var path: String?
  private var isBySteps = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&model, "--model", value: "FILE", required: true, help: "a model in any format")
    try b.count(&batch, "--batch", help: "images of a call")
    try b.count(&threads, "--threads", help: "threads of a call")
    try b.count(&calls, "--calls", help: "calls of one figure")
    try b.count(&samples, "--samples", help: "figures")
    try b.option(&path, "--write", value: "FILE", help: "write input and outputs here and time nothing")
    try b.flag(&isBySteps, "--steps", help: "print the milliseconds of each step in place of the whole, for one image")
  }

  mutating func run() throws {
    let graph = try ModelFile(reading: model, options: .init(requiresPreprocessing: false)).graph
    guard let size = graph.imageSize else { throw UsageError("--model \(model): it takes no images of one size") }
    var options = InferencePlan.Options()
    options.threads = threads
    let plan = try InferencePlan(graph, options: options)
    var random = CounterRandom(4)
    let elements = (0..<batch * 3 * size.height * size.width).map { _ in Float(random.next() >> 56) }
    let input = try FloatTensor(shape: [batch, 3, size.height, size.width], elements: elements)
    if let path {
      let outputs = try plan.run(input)
      let floats = elements + outputs.flatMap(\.elements)
      return try AtomicFile.write(floats.withUnsafeBytes { Array($0) }, to: path)
    }
    if isBySteps {
      _ = try plan.run(input)
      for step in try plan.stepSeconds(input, calls: calls) { print(fixed(1000 * step.seconds, 4), step.name) }
      return
    }
    for number in 0...samples {
      let began = seconds()
      for _ in 0..<calls { _ = try plan.run(input) }
      // The first time packs the weights.
      if number > 0 { print(fixed(1000 * (seconds() - began) / Double(calls), 4)) }
    }
  }
}
