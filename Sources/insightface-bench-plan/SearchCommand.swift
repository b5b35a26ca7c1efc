import Arguments
import FaceRecognition
import Formats
import Jobs

/// `insightface-bench-plan search`: how long it takes to find the nearest faces of a gallery, exactly.
struct SearchCommand: Command {
  static let name = "search"
  static let summary = "Time the exact search of a gallery of drawn embeddings"
  static let discussion = """
    The search of `insightface search`: every product of a query and a face. Prints a figure a line, in seconds for all queries.

      insightface-bench-plan search --count 1000000 --size 512 --queries 256 --top 10 --threads 2 --samples 3
    """

  private var count = 1_000_000
  private var size = 512
  private var queries = 256
  private var top = 10
  private var threads = 2
  private var samples = 3

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.count(&count, "--count", help: "faces in the gallery")
    try b.count(&size, "--size", help: "numbers of an embedding")
    try b.count(&queries, "--queries", help: "faces that are looked for")
    try b.count(&top, "--top", help: "matches of each")
    try b.count(&threads, "--threads", help: "threads of a search")
    try b.count(&samples, "--samples", help: "figures")
  }

  mutating func run() throws {
    let (elements, overflow) = max(count, queries).multipliedReportingOverflow(by: size)
    // 64 GiB: beyond it no machine is meant.
    guard !overflow, elements <= 1 << 34 else {
      throw UsageError("--count, --queries and --size: \(max(count, queries)) × \(size) numbers are too many")
    }
    let gallery = try FaceGallery(
      model: "drawn", embeddingLength: size, names: (0..<count).map { "face \($0)" }, values: drawn(count, key: 4))
    let wanted = drawn(queries, key: 5)
    let faces = (0..<queries).map { Array(wanted[$0 * size..<($0 + 1) * size]) }
    let first = try gallery.search(faces, count: top, threads: threads)
    for _ in 0..<samples {
      let began = seconds()
      let found = try gallery.search(faces, count: top, threads: threads)
      let took = seconds() - began
      guard found == first else { throw FormatError(.mismatch, "two searches of the same gallery differ") }
      print(fixed(took, 4))
    }
  }

  /// Vectors of length 1.
  private func drawn(_ rows: Int, key: UInt64) -> [Float] {
    var random = CounterRandom(key)
    let size = size
    return [Float](unsafeUninitializedCapacity: rows * size) { values, count in
      for row in 0..<rows {
        var sum = 0.0
        for index in row * size..<(row + 1) * size {
          // The sum of four draws is nearly normal, so that directions are nearly uniform.
          let bits = random.next()
          var value: Float = -2
          for part in 0..<4 { value += Float((bits >> (16 * UInt64(part))) & 0xffff) / 65_536 }
          values.initializeElement(at: index, to: value)
          sum += Double(value) * Double(value)
        }
        let factor = Float(1 / max(sum, 1e-12).squareRoot())
        for index in row * size..<(row + 1) * size { values[index] *= factor }
      }
      count = rows * size
    }
  }
}
