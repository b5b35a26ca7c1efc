import Arguments
import FaceRecognitionTraining
import Formats
import Glibc
import Jobs
import Torch

/// `insightface-bench head`: one step of the classification layer, its forward, backward and update.
struct HeadCommand: Command {
  static let name = "head"
  static let summary = "Time a step of the ArcFace head: forward, backward, SGD with momentum"
  static let discussion = """
    Prints a figure a line: seconds of a step; with --memory instead one line, the most memory (MiB) that the process had beside
    weights and momentum, and beside what it had before it made the head.

      insightface-bench head --classes 85742 --batch 256 --size 512 --threads 2 --samples 5
      insightface-bench head --classes 85742 --memory
    """

  private var classes = 85_742
  private var batch = 256
  private var size = 512
  private var threads = 2
  private var samples = 3
  private var memory = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    func count(_ value: inout Int, _ name: String, _ b: inout ArgumentBinder, help: String) throws(UsageError) {
      try b.option(
        &value, name, value: "N", help: help, expected: "1 to 100000000", where: { (1...100_000_000).contains($0) })
    }
    try count(&classes, "--classes", &b, help: "identities")
    try count(&batch, "--batch", &b, help: "faces of a step")
    try count(&size, "--size", &b, help: "numbers of an embedding")
    try count(&threads, "--threads", &b, help: "threads")
    try count(&samples, "--samples", &b, help: "figures")
    try b.flag(&memory, "--memory", help: "tell memory, not time")
  }

  mutating func run() throws {
    Torch.threadCount = threads
    let before = try Self.status("VmRSS:")
    let generator = Generator(seed: 1)
    let head = MarginSoftmaxHead(
      classCount: classes, embeddingSize: size, margin: Margin(scale: 64, m2: 0.5), momentum: 0.9, weightDecay: 5e-4,
      device: .cpu, generator: generator)
    let embeddings = Tensor.empty([batch, size]).fillNormal(deviation: 1, generator)
    var random = CounterRandom(4)
    let labels = Tensor((0..<batch).map { _ in Int64(random.next(below: classes)) })
    // What making the weights took is not what a step takes.
    if memory { Self.forgetPeak() }
    func step() throws -> Double {
      try Torch.catching {
        let began = seconds()
        let loss = head.step(embeddings, labels, learningRate: 0.1).loss.floats[0]
        let took = seconds() - began
        guard loss.isFinite else { throw FormatError(.mismatch, "the loss of the head is \(loss)") }
        return took
      }
    }
    _ = try step()
    if memory {
      _ = try step()
      let held = 2 * 4 * classes * size
      print(fixed(Double(try Self.status("VmHWM:") - before - held) / 1_048_576, 2))
    } else {
      for _ in 0..<samples { print(fixed(try step(), 5)) }
    }
  }

  /// Starts the kernel's record of the highest resident memory anew, where it lets us.
  private static func forgetPeak() {
    guard let file = fopen("/proc/self/clear_refs", "w") else { return }
    fputs("5", file)
    fclose(file)
  }

  /// A line of /proc/self/status in bytes.
  private static func status(_ key: String) throws -> Int {
    guard let file = fopen("/proc/self/status", "r") else {
      throw FormatError(.notFound, "the system does not tell memory", path: "/proc/self/status")
    }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let words = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        .split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\n") }
      if words.count >= 2, words[0].elementsEqual(key.utf8),
        let kibibytes = Int(String(decoding: words[1], as: UTF8.self))
      {
        return 1024 * kibibytes
      }
    }
    throw FormatError(.notFound, "there is no \(key) in it", path: "/proc/self/status")
  }
}
