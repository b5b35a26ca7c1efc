import Arguments
import FaceRecognition
import Formats
import Glibc
import Imaging
import Jobs
import SyntheticFaces

/// `insightface dataset synth`: the built-in data.
struct DatasetSynthCommand: Command {
  static let name = "synth"
  static let summary = "Draw faces of people who do not exist, as a training and a verification set"
  static let discussion = """
    Writes train.rec, train.idx, property and synth.bin (pairs of people who are not in train.rec). The same seed gives
    the same bytes, whatever the number of threads.

      insightface dataset synth --output faces_synth --identities 400 --images 25
    """

  private var output: String?
  private var identities = 400
  private var images = 25
  private var pairs = 600
  private var heldOut = 150
  private var seed: UInt64 = 1
  private var threads = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  private var scenes = 0
  private var contactSheet: String?

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&output, "--output", value: "FOLDER", help: "where the files are written; made if it is not there")
    try b.option(
      &identities, "--identities", value: "N", help: "people in train.rec", expected: "2 to 10,000,000",
      where: { (2...10_000_000).contains($0) })
    try b.option(
      &images, "--images", value: "N", help: "images of each", expected: "1 to 100,000",
      where: { (1...100_000).contains($0) })
    try b.option(
      &pairs, "--pairs", value: "N", help: "pairs in synth.bin, half of them of one person", expected: "0 to 1,000,000",
      where: { (0...1_000_000).contains($0) })
    try b.option(
      &heldOut, "--held-out", value: "N", help: "people that the pairs are made of", expected: "2 to 1,000,000",
      where: { (2...1_000_000).contains($0) })
    try b.option(&seed, "--seed", value: "N", help: "determines everything")
    try b.option(
      &threads, "--threads", value: "N", help: "threads", expected: "1 to 256", where: { (1...256).contains($0) })
    try b.option(
      &scenes, "--scenes", value: "N",
      help: "also write so many pictures with several faces, with label.txt in RetinaFace's form",
      expected: "0 to 1,000,000", where: { (0...1_000_000).contains($0) })
    try b.option(
      &contactSheet, "--contact-sheet", value: "FILE", help: "write eight images of eight people as one .jpg or .png")
  }

  mutating func run() throws {
    let generator = FaceGenerator(seed: seed)
    if let contactSheet {
      try generator.contactSheet(identities: 0..<8, images: 0..<8).write(path: contactSheet, quality: 85)
      print("\(contactSheet): eight people, eight images of each")
    }
    guard let output else {
      if contactSheet != nil { return }
      throw UsageError("--output is missing: name the folder to write to")
    }
    try makeFolders(output)
    let progress = ProgressLine()
    let began = seconds()
    let plan = GeneratedDataset(
      identities: identities, imagesPerIdentity: images, heldOutPairs: pairs, heldOutIdentities: heldOut, seed: seed,
      threads: threads)
    try plan.write(
      to: output,
      draw: { try generator.jpeg(identity: $0.identity, index: $0.index) },
      progress: { done, total in
        let rest = (seconds() - began) / Double(done) * Double(total - done)
        progress.show("drawing faces: \(done) of \(total), ETA \(clockText(rest))")
      })
    progress.finish()
    print("\(output)/train.rec: \(identities) identities, \(identities * images) images")
    if pairs > 0 { print("\(output)/synth.bin: \(pairs) pairs of \(heldOut) other people") }
    if scenes > 0 { try writeScenes(generator, output, progress) }
    print("drawn in \(fixed(seconds() - began, 1)) s")
  }

  /// `images/NNNNNN.jpg`, and `label.txt` as RetinaFace's WIDER FACE: `# path`, then a line a face: box x y w h, and five
  /// points x y 0.0, and 1.0 (blur free).
  private func writeScenes(_ generator: FaceGenerator, _ output: String, _ progress: ProgressLine) throws {
    try makeFolders("\(output)/images")
    var labels = ""
    for index in 0..<scenes {
      let scene = try generator.scene(index: index, width: 640, height: 480, faces: 1...8)
      let digits = "\(index)"
      let name = String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".jpg"
      try scene.image.write(path: "\(output)/images/\(name)", quality: 90)
      labels += "# \(name)\n"
      for face in scene.faces {
        let box = face.box
        let corners = [box.x, box.y, box.width, box.height].map { fixed($0, 1) }
        let points = face.landmarks5.map { "\(fixed($0.x, 3)) \(fixed($0.y, 3)) 0.0" }
        labels += (corners + points + ["1.0"]).joined(separator: " ") + "\n"
      }
      progress.show("drawing scenes: \(index + 1) of \(scenes)")
    }
    progress.finish()
    try AtomicFile.write(labels.utf8, to: "\(output)/label.txt")
    print("\(output)/label.txt: \(scenes) scenes")
  }
}
