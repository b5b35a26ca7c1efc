import Arguments
import FaceAnalysis
import FaceRecognition
import Formats
import Glibc
import Imaging
import Jobs

/// `insightface enroll`: faces of photos join a gallery.
struct EnrollCommand: Command {
  static let name = "enroll"
  static let summary = "Add the faces of photos to a gallery of known people"
  static let discussion = """
    Adds the main face of each photo to GALLERY, which is made where it is not there. A photo FOLDER/NAME/PHOTO is of NAME, one
    that was named itself or stands in FOLDER is of its file's name; --name gives all the same. The gallery is a safetensors
    file; it remembers the recognition network, and refuses another one's embeddings. The file is replaced whole or not at all.

      insightface enroll people.gallery photos --detector models/mnet.25 --recognizer models/y1/model
      insightface enroll people.gallery ada.jpg --name "Ada Lovelace" --models buffalo_l
    """

  private var arguments = AnalysisArguments()
  private var gallery = ""
  private var paths: [String] = []
  private var name: String?
  private var replace = false

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&gallery, "GALLERY", help: "the gallery file")
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(
      &name, "--name", value: "NAME", help: "whose faces they are", expected: "a line", where: { !$0.isEmpty })
    try b.flag(&replace, "--replace", help: "first remove what the gallery holds under these names")
    try arguments.bind(&b)
  }

  mutating func run() throws {
    let photos = try PhotoList(paths, outputs: [gallery]).photos
    try AtomicFile.check(gallery)
    let analysis = try arguments.load(all: false)
    guard let embedder = analysis.embedder, let model = analysis.embeddingModel else { return }
    var known = FaceGallery(model: model, embeddingLength: embedder.embeddingLength)
    if fileExists(gallery) {
      known = try FaceGallery(path: gallery)
      try known.check(model: model)
    }
    var (added, present, faceless) = (0, 0, 0)
    var replaced: Set<String> = []
    let (name, replace) = (name, replace)
    let failures = forEachPhoto(photos, "enrolling") { photo in
      guard let face = try analysis.faces(in: Image.read(path: photo.path, turnsUpright: true)).first,
        !face.embedding.isEmpty
      else {
        faceless += 1
        warn("no face: \(photo.path)")
        return
      }
      let parts = photo.stem.split(separator: "/")
      let own = name ?? (parts.count > 1 ? String(parts[0]) : photo.stem)
      if replace, replaced.insert(own).inserted { known.remove(name: own) }
      if try known.add(name: own, embedding: face.embedding) { added += 1 } else { present += 1 }
    }
    try known.write(path: gallery)
    print(
      "\(gallery): \(added) faces added, \(present) there before, \(faceless) photos without a face, \(failures) not "
        + "readable; \(known.count) faces of \(Set(known.names).count) people")
    if failures > 0 { throw ExitCode.failure }
  }
}

/// `insightface search`: who the people in photos are.
struct SearchCommand: Command {
  static let name = "search"
  static let summary = "Find the faces of photos in a gallery: exact nearest faces, unknown below the threshold"
  static let discussion = """
    Prints a line of JSON for each face of each photo: name (null where the nearest face does not reach the threshold), its cosine,
    and the nearest faces of the gallery, the nearest first. The threshold is that of `insightface compare`.

      insightface search people.gallery party.jpg --detector models/mnet.25 --recognizer models/y1/model --top 3
    """

  private var arguments = AnalysisArguments()
  private var threshold = ThresholdArguments()
  private var gallery = ""
  private var paths: [String] = []
  private var top = 5
  private var main = false
  private var threads = processorCount

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positional(&gallery, "GALLERY", help: "a gallery that `insightface enroll` made")
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(
      &top, "--top", value: "K", help: "how many faces of the gallery to name", expected: "1 to 10,000",
      where: { (1...10_000).contains($0) })
    try b.flag(&main, "--main", help: "the main face of each photo only")
    try bindThreads(&b, &threads)
    try threshold.bind(&b)
    try arguments.bind(&b)
  }

  mutating func run() throws {
    let photos = try PhotoList(paths).photos
    let known = try FaceGallery(path: gallery)
    let analysis = try arguments.load(all: !main)
    if let model = analysis.embeddingModel { try known.check(model: model) }
    let least = try threshold.cosine(analysis)
    let (top, threads) = (top, threads)
    let failures = forEachPhoto(photos, "searching") { photo in
      let faces = try analysis.faces(in: Image.read(path: photo.path, turnsUpright: true))
        .filter { !$0.embedding.isEmpty }
      if faces.isEmpty { warn("no face: \(photo.path)") }
      let found = try known.search(faces.map(\.embedding), count: top, threads: threads)
      for (face, matches) in zip(faces, found) {
        let best = matches.first.flatMap { Double($0.cosine) >= least ? $0 : nil }
        var bare = face
        bare.embedding = []
        bare.denseLandmarks = []
        let list = matches.map {
          "{\"name\":\(JSONText.string($0.name)),\"cosine\":\(JSONText.number(Double($0.cosine), digits: 6))}"
        }
        print(
          "{\"image\":\(JSONText.string(photo.path)),\"name\":\(best.map { JSONText.string($0.name) } ?? "null"),"
            + "\"matches\":[\(list.joined(separator: ","))],\"face\":\(bare.json)}")
      }
    }
    if failures > 0 { throw ExitCode.failure }
  }
}

/// `insightface cluster`: which photos show the same people.
struct ClusterCommand: Command {
  static let name = "cluster"
  static let summary = "Group the faces of photos into people nobody named"
  static let discussion = """
    Average linkage: every face begins as a group; the two groups with the highest mean cosine between their faces are joined
    again and again while it reaches the threshold. Prints JSON: the groups, the largest first, with the photos of each. With
    --output the aligned faces are written into a folder a group: OUTPUT/000/PHOTO_0.jpg. OUTPUT appears whole or not at all:
    until the end it is called OUTPUT.part.

      insightface cluster photos --detector models/mnet.25 --recognizer models/y1/model --output people
    """

  private var arguments = AnalysisArguments()
  private var threshold = ThresholdArguments()
  private var paths: [String] = []
  private var output: String?
  private var main = false
  private var quality = 95

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.positionals(&paths, "PHOTO|FOLDER", minimumCount: 1, help: "photos, and folders of photos")
    try b.option(&output, "--output", value: "FOLDER", help: "write each group's faces into a folder here")
    try b.flag(&main, "--main", help: "the main face of each photo only")
    try bindQuality(&b, &quality)
    try threshold.bind(&b)
    try arguments.bind(&b)
  }

  mutating func run() throws {
    let place = try output.map { path throws(FormatError) in try GroupFolder(path) }
    let photos = try PhotoList(paths, outputs: [place?.partial].compactMap(\.self)).photos
    // Crops stay in memory only where they are written.
    let analysis = try arguments.load(all: !main, cutsCrops: output != nil)
    let least = try threshold.cosine(analysis)
    var found: [(photo: PhotoList.Photo, number: Int, face: Face)] = []
    let failures = forEachPhoto(photos, "embedding") { photo in
      let faces = try analysis.faces(in: Image.read(path: photo.path, turnsUpright: true))
        .filter { !$0.embedding.isEmpty }
      if faces.isEmpty { warn("no face: \(photo.path)") }
      for (number, face) in faces.enumerated() where found.count <= FaceClustering.limit {
        found.append((photo, number, face))
      }
    }
    let clusters = try FaceClustering(found.map(\.face.embedding), threshold: least)
    var groups = [[Int]](repeating: [], count: clusters.count)
    for (index, group) in clusters.groups.enumerated() { groups[group].append(index) }
    var lists: [JSONValue] = []
    for (number, group) in groups.enumerated() {
      let digits = "\(number)"
      let name = String(repeating: "0", count: max(0, 3 - digits.count)) + digits
      lists.append(
        .object([
          "id": .integer(number), "size": .integer(group.count),
          "faces": .list(
            group.map {
              let box = found[$0].face.box
              return .object([
                "image": .string(found[$0].photo.path),
                "box": .numbers([box.left, box.top, box.right, box.bottom].map { ($0 * 100).rounded() / 100 }),
              ])
            }),
        ]))
      guard let place else { continue }
      for index in group {
        let stem = found[index].photo.stem.split(separator: "/").joined(separator: "_")
        try makeFolders("\(place.partial)/\(name)")
        // Photos of two folders may have one name.
        var path = "\(place.partial)/\(name)/\(stem)_\(found[index].number)"
        while fileExists(path + ".jpg") { path += "_\(index)" }
        try found[index].face.crop?.write(path: path + ".jpg", quality: quality)
      }
    }
    try place?.commit()
    print(JSONValue.object(["threshold": .number(least), "faces": .integer(found.count), "groups": .list(lists)]).text)
    if failures > 0 { throw ExitCode.failure }
  }
}

/// A folder of groups that appears whole or not at all.
private final class GroupFolder {
  private let path: String
  /// Where the groups are written until all are.
  let partial: String

  /// Makes the partial folder, so that a place that cannot be written to is found before hours of work.
  ///
  /// - Throws: `FormatError` where something stands at the path, or what an earlier run left.
  init(_ path: String) throws(FormatError) {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    guard !fileExists(path) else {
      throw FormatError(
        .mismatch, "something stands here already", path: path, advice: "name a folder that is not there yet")
    }
    self.path = path
    partial = path + ".part"
    // A run that was stopped before it wrote anything left an empty one.
    guard !fileExists(partial) || rmdir(partial) == 0 else {
      throw FormatError(
        .mismatch, "this was left half written by a run that was stopped", path: partial,
        advice: "remove it, or name another folder")
    }
    try makeFolders(partial)
  }

  // Nothing was written, because something else failed: nothing stays.
  deinit { rmdir(partial) }

  /// Gives the folder its name.
  func commit() throws(FormatError) { try renameDurably(partial, to: path) }
}
