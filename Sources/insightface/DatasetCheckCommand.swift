import Arguments
import FaceRecognition
import Glibc
import Jobs

/// `insightface dataset check`: reads and decodes everything.
struct DatasetCheckCommand: Command {
  static let name = "check"
  static let summary = "Read and decode every record, and hold index, labels and property against them"
  static let discussion = """
    PATH is a folder (all .rec and .bin files in it), a .rec or a .bin file. The exit status is 1 when something is wrong.

      insightface dataset check faces_emore
    """

  private var path = ""
  private var threads = processorCount

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&path, "PATH", help: "a data set's folder, a .rec or a .bin file")
    try bindThreads(&b, &threads)
  }

  mutating func run() throws {
    let files = try DatasetFiles(path: path)
    var problems = 0
    for file in files.records + files.verificationSets {
      let progress = ProgressLine()
      let began = seconds()
      let report = try DatasetCheck(threads: threads).check(path: file) { done, total in
        progress.show("checking \(file): \(eta(done, total, since: began))")
      }
      progress.finish()
      var counts = ["\(report.recordCount) \(report.pairCount == nil ? "records" : "images")"]
      counts.append("\(report.imageCount) images decode")
      if let identities = report.identityCount { counts.append("\(identities) identities") }
      if let pairs = report.pairCount { counts.append("\(pairs) pairs") }
      counts.append("\(report.byteCount) bytes in \(fixed(seconds() - began, 1)) s")
      print("\(file): \(counts.joined(separator: ", "))")
      for note in report.notes { print("  note: \(note)") }
      for problem in report.problems { print("  problem: \(problem)") }
      if report.problemCount > report.problems.count {
        print("  … and \(report.problemCount - report.problems.count) more")
      }
      if let offset = report.firstBadOffset { print("  first bad offset: \(offset)") }
      print(report.problemCount == 0 ? "  no fault found" : "  \(report.problemCount) problem(s)")
      problems += report.problemCount
    }
    if problems > 0 { throw ExitCode.failure }
  }
}

/// How many processors are there.
let processorCount = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

func bindThreads(_ b: inout ArgumentBinder, _ threads: inout Int) throws(UsageError) {
  try b.option(
    &threads, "--threads", value: "N", help: "threads that decode", expected: "1 to 256",
    where: { (1...256).contains($0) }
  )
}

/// `41 %, ETA 0:12`.
func eta(_ done: Int, _ total: Int, since began: Double) -> String {
  let part = Double(done) / Double(max(1, total))
  return "\(fixed(100 * part, 0)) %, ETA \(clockText((seconds() - began) / max(part, 1e-9) * (1 - part)))"
}
