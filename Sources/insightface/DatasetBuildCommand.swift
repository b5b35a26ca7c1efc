import Arguments
import FaceAnalysis
import FaceRecognition
import Formats
import Jobs

/// `insightface dataset build`: photos in identity folders become a data set to train on.
struct DatasetBuildCommand: Command {
  static let name = "build"
  static let summary = "Make train.rec and a verification set of photos in identity folders: detect, align, pack"
  static let discussion = """
    Finds the main face of each photo SOURCE/NAME/PHOTO, aligns it and writes

      OUTPUT/train.rec, train.idx, property, names.txt    what training reads
      OUTPUT/held_out.bin                                 pairs that it does not see, for verification
      OUTPUT/dropped.txt                                  photos without a face or not readable, with the reason
      OUTPUT/crops                                        the aligned faces

    Whole people are held out for the pairs (--hold-out identities), or some images of each (images), or nothing (none). Pairs of
    one person and of different people take turns. A second run goes on where the first was stopped; options of the
    detector must be the same then. The same photos, options and seed give the same files.

      insightface dataset build photos --model models/mnet.25 --output faces_mine
      insightface train --dataset mine --dataset-path faces_mine --network y1 --loss arcface
    """

  private var arguments = DetectionArguments()
  private var source = ""
  private var output = ""
  private var size = 112
  private var quality = 95
  private var holdOut = HeldOutPairs.Kind.identities.rawValue
  private var share = 0.1
  private var pairs = 3000
  private var seed = 0
  private var minimumImages = 1
  private var overwrite = false
  private var threads = processorCount

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&source, "SOURCE", help: "a folder of identity folders with photos")
    try b.option(&output, "--output", value: "FOLDER", required: true, help: "where the data set is written")
    try b.option(
      &size, "--size", value: "N", help: "width and height of the crops",
      expected: "a multiple of 112 or 128 up to 1024",
      where: { $0 > 0 && $0 <= 1024 && ($0 % 112 == 0 || $0 % 128 == 0) })
    try bindQuality(&b, &quality)
    try b.option(
      &holdOut, "--hold-out", value: "WHAT", help: "what training does not see: identities, images or none",
      expected: HeldOutPairs.Kind.allCases.map(\.rawValue).joined(separator: ", "),
      where: { HeldOutPairs.Kind(rawValue: $0) != nil })
    try b.option(
      &share, "--share", value: "PART", help: "how much of it", expected: "above 0, below 1",
      where: { $0 > 0 && $0 < 1 })
    try b.option(
      &pairs, "--pairs", value: "N", help: "at most so many pairs of one person, and as many of different people",
      expected: "1 to 1,000,000", where: { (1...1_000_000).contains($0) })
    try b.option(
      &seed, "--seed", value: "N", help: "of the draw of what is held out", expected: "0 or more", where: { $0 >= 0 })
    try b.option(
      &minimumImages, "--minimum-images", value: "N", help: "leave out of training identities with fewer images",
      expected: "1 to 1,000,000", where: { (1...1_000_000).contains($0) })
    try b.flag(&overwrite, "--overwrite", help: "replace a train.rec that is there")
    try bindThreads(&b, &threads)
    try arguments.bind(&b, modelOption: "--model")
  }

  mutating func run() throws {
    guard overwrite || !fileExists("\(output)/train.rec") else {
      throw FormatError(
        .mismatch, "the file is there already", path: "\(output)/train.rec",
        advice: "name another folder, or pass --overwrite")
    }
    guard isFolder(source) else {
      throw FormatError(.notFound, "a folder of identity folders is expected", path: source)
    }
    var analysis = try arguments.load(embeds: false)
    analysis.cropSize = (size, size)
    var builder = DatasetBuilder(analysis: analysis, settings: arguments.settings)
    builder.quality = quality
    let progress = ProgressLine()
    let began = seconds()
    defer { progress.finish() }
    let crops = try builder.crops(of: source, to: output) { done, total in
      progress.show("aligning: \(done) of \(total) photos, \(eta(done, total, since: began))")
    }
    progress.finish()
    let dropped = crops.drops.map { "\($0.path)\t\($0.reason)\n" }
    try AtomicFile.write(dropped.joined().utf8, to: "\(output)/dropped.txt")
    for drop in crops.drops.prefix(20) { print("dropped: \(drop.path): \(drop.reason)") }
    if crops.drops.count > 20 { print("… and \(crops.drops.count - 20) more, in \(output)/dropped.txt") }
    guard crops.list.imageCount > 0 else {
      throw FormatError(.mismatch, "no photo gave a face", path: source, advice: "lower --threshold")
    }
    let divided = try HeldOutPairs(
      crops.list, kind: HeldOutPairs.Kind(rawValue: holdOut) ?? .none, share: share, pairLimit: pairs,
      seed: UInt64(seed))
    let heldOut = "\(output)/held_out.bin"
    let set = divided.pairs.isEmpty ? nil : try divided.verificationSet(at: heldOut)
    let report = try DatasetPacker(
      intake: ImageIntake(side: size), minimumImages: minimumImages, threads: threads
    ).pack(
      divided.training, to: output, progress: { progress.show("packing: \($0) of \($1) images") },
      beforeCommit: { () throws(FormatError) in
        // train.rec comes last: where it is, all is there. Pairs of an earlier division may be trained on now.
        try removeFile("\(output)/train.rec")
        if let set { try set.commit() } else { try removeFile(heldOut) }
      })
    progress.finish()
    for (name, images) in report.leftOut.prefix(20) { print("left out: \(name) (\(images) images)") }
    if report.leftOut.count > 20 { print("… and \(report.leftOut.count - 20) more identities") }
    let photos = crops.list.imageCount + crops.drops.count
    print(
      "\(output): \(crops.list.imageCount) faces of \(photos) photos (\(crops.presentCount) cut before), "
        + "\(crops.drops.count) dropped, in \(fixed(seconds() - began, 1)) s")
    print("train.rec: \(report.identityCount) identities, \(report.imageCount) images")
    if !divided.pairs.isEmpty {
      print(
        "held_out.bin: \(divided.pairs.count) pairs of \(divided.heldOut.count) identities, "
          + "\(divided.pairs.count / 2) of one person")
      if divided.pairs.count < 40 { print("note: so few pairs say little; add photos, or raise --share") }
    }
  }
}
