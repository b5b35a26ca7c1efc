import Arguments
import FaceRecognition
import Formats
import Glibc
import Jobs

/// `insightface dataset pairs`: LFW's pairs and aligned images become a verification set.
struct DatasetPairsCommand: Command {
  static let name = "pairs"
  static let summary = "Make a verification set (.bin) from pairs.txt and aligned images"
  static let discussion = """
    PAIRS is a pairs.txt as of Labeled Faces in the Wild: `name n1 n2` for a pair of one person, `name1 n1 name2 n2` for
    different people, optionally `folds N` or `N` in the first line. IMAGES holds name/name_0001.jpg (.jpeg, .png) and so on,
    112×112 pixels each; other sizes are an error unless --resize is given.

      insightface dataset pairs pairs.txt lfw_aligned --output lfw.bin
    """

  private var pairs = ""
  private var images = ""
  private var output = ""
  private var protocolVersion = 4
  private var resize = false
  private var quality = 95
  private var threads = processorCount

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&pairs, "PAIRS", help: "pairs.txt")
    try b.positional(&images, "IMAGES", help: "the folder of identity folders")
    try b.option(&output, "--output", value: "FILE", required: true, help: "the .bin file to write")
    try b.option(
      &protocolVersion, "--protocol", value: "N", help: "pickle protocol: 2 for readers in Python 2, 4",
      expected: "2 or 4", where: { $0 == 2 || $0 == 4 })
    try b.flag(&resize, "--resize", help: "scale other images (short side), cut their centre, encode them as JPEG")
    try bindQuality(&b, &quality)
    try bindThreads(&b, &threads)
  }

  mutating func run() throws {
    let list = try PairList(path: pairs)
    let progress = ProgressLine()
    let began = seconds()
    defer { progress.finish() }
    let intake = ImageIntake(resizes: resize, quality: quality, keepsPNG: true)
    let report = try list.write(
      images: images, intake: intake, threads: threads, to: output, protocol: protocolVersion
    ) { done, total in
      progress.show("writing: \(done) of \(total) images, \(eta(done, total, since: began))")
    }
    progress.finish()
    if let announced = list.announcedCount, announced != list.pairs.count {
      print("note: the first line of \(pairs) announces \(announced) pairs, the file holds \(list.pairs.count)")
    }
    print(
      "\(output): \(report.pairCount) pairs, \(report.sameCount) of one person, "
        + "\(report.pairCount - report.sameCount) of different people, "
        + "\(report.encodedCount) images encoded anew, in \(fixed(seconds() - began, 1)) s")
  }
}
