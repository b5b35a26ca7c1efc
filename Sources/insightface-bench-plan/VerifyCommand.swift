import Arguments
import FaceRecognition
import Formats
import Jobs

/// `insightface-bench-plan verify`: how long the judgement of pairs takes, embeddings given.
struct VerifyCommand: Command {
  static let name = "verify"
  static let summary = "Time the evaluation of pairs of drawn embeddings: accuracy, VAL, ROC in ten folds"
  static let discussion = """
    Prints a figure a line, in milliseconds. With --write the embeddings go to a file for others: float32, row after row; rows
    2i and 2i + 1 are pair i, which shows one person where i is even.

      insightface-bench-plan verify --pairs 6000 --size 512 --samples 5
    """

  private var pairs = 6000
  private var size = 512
  private var samples = 5
  private var path: String?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.count(&pairs, "--pairs", help: "pairs")
    try b.count(&size, "--size", help: "numbers of an embedding")
    try b.count(&samples, "--samples", help: "figures")
    try b.option(&path, "--write", value: "FILE", help: "write the embeddings here and time nothing")
  }

  mutating func run() throws {
    let values = drawn()
    if let path {
      try AtomicFile.write(values.withUnsafeBytes { Array($0) }, to: path)
    } else {
      try time(EmbeddingMatrix(rows: 2 * pairs, columns: size, values: values))
    }
  }

  /// Both faces of a pair lie around a person each; noise of about the same size leaves some of the pairs in doubt.
  private func drawn() -> [Float] {
    var random = CounterRandom(3)
    var values = [Float](repeating: 0, count: 2 * pairs * size)
    for pair in 0..<pairs {
      let first = 2 * pair * size
      for index in first..<first + size {
        let person = random.uniform(1)
        let other = pair % 2 == 0 ? person : random.uniform(1)
        values[index] = person + random.uniform(1.5)
        values[index + size] = other + random.uniform(1.5)
      }
    }
    return values
  }

  private func time(_ matrix: EmbeddingMatrix) throws {
    let isSame = (0..<pairs).map { $0 % 2 == 0 }
    let evaluator = VerificationEvaluator()
    let first = try evaluator.evaluate(embeddings: matrix, isSame: isSame)
    for _ in 0..<samples {
      let began = seconds()
      let report = try evaluator.evaluate(embeddings: matrix, isSame: isSame)
      let took = seconds() - began
      guard report.accuracy == first.accuracy else {
        throw FormatError(.mismatch, "two evaluations of the same pairs differ")
      }
      print(fixed(1000 * took, 4))
    }
  }
}
