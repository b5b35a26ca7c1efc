import Arguments
import FaceRecognition
import Jobs

/// `insightface dataset unpack`: a record file becomes image files.
struct DatasetUnpackCommand: Command {
  static let name = "unpack"
  static let summary = "Write the images of a record file into identity folders, byte for byte"
  static let discussion = """
    Writes FOLDER/NAME/NAME_0001.jpg and so on. NAME is the line of names.txt beside the records, where that is there, else
    the label. A second run goes on where the first was stopped. The exit status is 1 when a record could not be unpacked.

      insightface dataset unpack faces/train.rec --output images
    """

  private var path = ""
  private var output = ""

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&path, "REC", help: "a .rec file")
    try b.option(&output, "--output", value: "FOLDER", required: true, help: "where the identity folders are made")
  }

  mutating func run() throws {
    let progress = ProgressLine()
    let began = seconds()
    defer { progress.finish() }
    let report = try DatasetUnpacker().unpack(path: path, to: output) { done, total in
      progress.show("unpacking: \(done) of \(total) images, \(eta(done, total, since: began))")
    }
    progress.finish()
    for problem in report.problems { print("problem: \(problem)") }
    if report.problemCount > report.problems.count {
      print("… and \(report.problemCount - report.problems.count) more")
    }
    print(
      "\(output): \(report.identityCount) identities, \(report.writtenCount) images written, "
        + "\(report.presentCount) already there, \(report.problemCount) problem(s), in \(fixed(seconds() - began, 1)) s"
    )
    if report.problemCount > 0 { throw ExitCode.failure }
  }
}
