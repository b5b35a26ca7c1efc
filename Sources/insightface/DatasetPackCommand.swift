import Arguments
import FaceRecognition
import Formats
import Glibc
import Jobs

/// `insightface dataset pack`: image files become a record file.
struct DatasetPackCommand: Command {
  static let name = "pack"
  static let summary = "Pack a folder of identity folders, or a list of images, into train.rec"
  static let discussion = """
    SOURCE is a folder of identity folders (FOLDER/NAME/IMAGE.jpg, .jpeg or .png), or a list file with one image a line and
    tabs between the fields. The first line of a list decides which form it has:

      index label path      im2rec's .lst; the label is a whole number
      aligned path label    the .lst of InsightFace's face2rec2.py; aligned is 1; a box and points may follow
      path label            the path ends in .jpg, .jpeg or .png; the label is any text
      label path            the same the other way round

    Identities become the labels 0, 1, … in the byte order of their names (lists whose labels are all whole numbers: in the
    order of the numbers); names.txt holds the name of each. Images are in the byte order of their paths.

    JPEGs of --size pixels a side are stored byte for byte; others are an error unless --resize is given. Images that do
    not decode are reported and left out.

      insightface dataset pack faces --output faces_packed
      insightface dataset pack train.lst --root photos --output faces_packed --resize --minimum-images 3
    """

  private var source = ""
  private var output = ""
  private var root: String?
  private var size = 112
  private var resize = false
  private var quality = 95
  private var strict = false
  private var overwrite = false
  private var minimumImages = 1
  private var threads = processorCount

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&source, "SOURCE", help: "a folder of identity folders, or a list file")
    try b.option(&output, "--output", value: "FOLDER", required: true, help: "where the files are written")
    try b.option(&root, "--root", value: "FOLDER", help: "where a list's relative paths start; else the list's folder")
    try b.option(
      &size, "--size", value: "N", help: "the width and height of every image", expected: "16 to 1024",
      where: { (16...1024).contains($0) })
    try b.flag(&resize, "--resize", help: "scale other images (short side), cut their centre, encode them as JPEG")
    try bindQuality(&b, &quality)
    try b.flag(&strict, "--strict", help: "an image that does not decode is an error")
    try b.flag(&overwrite, "--overwrite", help: "replace a train.rec that is there")
    try b.option(
      &minimumImages, "--minimum-images", value: "N", help: "leave out identities with fewer images",
      expected: "1 to 1,000,000", where: { (1...1_000_000).contains($0) })
    try bindThreads(&b, &threads)
  }

  mutating func run() throws {
    guard overwrite || access("\(output)/train.rec", F_OK) != 0 else {
      throw FormatError(
        .mismatch, "the file is there already", path: "\(output)/train.rec",
        advice: "name another folder, or pass --overwrite")
    }
    let list = try ImageList(path: source, root: root)
    let packer = DatasetPacker(
      intake: ImageIntake(side: size, resizes: resize, quality: quality), minimumImages: minimumImages,
      isStrict: strict,
      threads: threads)
    let progress = ProgressLine()
    let began = seconds()
    defer { progress.finish() }
    let report = try packer.pack(list, to: output) { done, total in
      progress.show("packing: \(done) of \(total) images, \(eta(done, total, since: began))")
    }
    progress.finish()
    for problem in report.skipped.prefix(20) { print("skipped: \(problem)") }
    if report.skipped.count > 20 { print("… and \(report.skipped.count - 20) more") }
    for (name, images) in report.leftOut.prefix(20) { print("left out: \(name) (\(images) images)") }
    if report.leftOut.count > 20 { print("… and \(report.leftOut.count - 20) more identities") }
    if list.otherFileCount > 0 { print("passed over: \(list.otherFileCount) files that are no images by their names") }
    print(
      "\(output)/train.rec: \(report.identityCount) identities, \(report.imageCount) images "
        + "(\(report.encodedCount) encoded anew), \(report.skipped.count) skipped, in \(fixed(seconds() - began, 1)) s")
  }
}

func bindQuality(_ b: inout ArgumentBinder, _ quality: inout Int) throws(UsageError) {
  try b.option(
    &quality, "--quality", value: "N", help: "JPEG quality of images that are encoded anew", expected: "1 to 100",
    where: { (1...100).contains($0) })
}
