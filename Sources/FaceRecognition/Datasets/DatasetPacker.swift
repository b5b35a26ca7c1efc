import Formats
import Glibc

/// Packs image files into `train.rec`, `train.idx`, `property` and `names.txt`.
public struct DatasetPacker: Sendable {
  /// What becomes of images of another size or format.
  public var intake: ImageIntake
  /// Identities with fewer images that decode are left out.
  public var minimumImages: Int
  /// Whether an image that does not decode is an error.
  public var isStrict: Bool
  /// Threads that read and decode.
  public var threads: Int

  /// A packer; the defaults are those of `insightface dataset pack`.
  public init(intake: ImageIntake = ImageIntake(), minimumImages: Int = 1, isStrict: Bool = false, threads: Int = 2) {
    self.intake = intake
    self.minimumImages = minimumImages
    self.isStrict = isStrict
    self.threads = threads
  }

  /// What was packed.
  public struct Report: Sendable {
    /// Images in the record file.
    public internal(set) var imageCount = 0
    /// Identities in the record file, whose labels are 0 ..< identityCount.
    public internal(set) var identityCount = 0
    /// Images in the record file that were encoded anew.
    public internal(set) var encodedCount = 0
    /// Images that do not decode, in the order of the list.
    public internal(set) var skipped: [DatasetProblem] = []
    /// Identities left out because they have too few images, and how many they have.
    public internal(set) var leftOut: [(name: String, images: Int)] = []
  }

  private struct Item: Sendable {
    let identity: Int
    let path: String
  }

  private struct Loaded: Sendable {
    let item: Item
    let outcome: ImageIntake.Outcome
  }

  /// Writes the four files into `folder`, which is made where it is not there.
  ///
  /// Each appears whole or not at all, `train.rec` last. Files of an earlier set stay until all of the new one is on the disk;
  /// `beforeCommit` is called then, before the first of them is replaced. Throws `.mismatch` where an image has another size or
  /// format and may not be changed, or where nothing is left to pack; `.corrupt` where one does not decode and `isStrict` is set.
  public func pack(
    _ list: ImageList, to folder: String, progress: (Int, Int) -> Void = { _, _ in },
    beforeCommit: () throws(FormatError) -> Void = {}
  ) throws(FormatError) -> Report {
    try makeFolders(folder)
    let writer = try FaceRecordWriter(path: "\(folder)/train.rec")
    var report = Report()
    var names: [String] = []
    // The images of the identity at hand until there are enough of them; from then on they are written at once.
    var pending: [[UInt8]] = []
    var pendingEncoded = 0
    var current = 0
    var kept = 0
    let least = max(1, minimumImages)

    func endIdentity() {
      if kept > 0, kept < least { report.leftOut.append((list.identities[current].name, kept)) }
      if kept == 0, current < list.identities.count { report.leftOut.append((list.identities[current].name, 0)) }
      pending = []
      pendingEncoded = 0
      kept = 0
      current += 1
    }

    var identity = 0
    var image = 0
    let total = list.imageCount
    var done = 0
    let intake = intake
    try inOrder(
      threads: threads,
      next: { () throws(FormatError) -> [Item]? in
        var batch: [Item] = []
        while batch.count < 16, identity < list.identities.count {
          let paths = list.identities[identity].paths
          if image < paths.count {
            batch.append(Item(identity: identity, path: paths[image]))
            image += 1
          } else {
            identity += 1
            image = 0
          }
        }
        return batch.isEmpty ? nil : batch
      }, work: { Loaded(item: $0, outcome: intake.take($0.path)) },
      take: { (loaded) throws(FormatError) in
        while current < loaded.item.identity { endIdentity() }
        done += 1
        progress(done, total)
        switch loaded.outcome {
        case .misfit(let what): throw intake.misfitError(loaded.item.path, what)
        case .bad(let reason):
          if isStrict {
            throw FormatError(
              .corrupt, "the image does not decode: \(reason)", path: loaded.item.path,
              advice: "replace or remove it, or leave out --strict to have such images skipped")
          }
          report.skipped.append(DatasetProblem(path: loaded.item.path, offset: nil, message: reason))
        case .taken(let bytes, let isUnchanged):
          if !isUnchanged { pendingEncoded += 1 }
          kept += 1
          guard kept >= least else {
            pending.append(bytes)
            return
          }
          if kept == least { names.append(list.identities[current].name) }
          for earlier in pending { try writer.append(label: names.count - 1, encoded: earlier) }
          pending = []
          report.encodedCount += pendingEncoded
          pendingEncoded = 0
          try writer.append(label: names.count - 1, encoded: bytes)
        }
      })
    while current < list.identities.count { endIdentity() }
    guard !names.isEmpty else {
      throw FormatError(
        .mismatch, "nothing to pack: no identity has \(least) image(s) that decode", path: folder,
        advice: report.skipped.first.map { "the first that does not: \($0)" } ?? "lower --minimum-images")
    }
    report.imageCount = writer.imageCount
    report.identityCount = names.count
    let property = Property(classCount: names.count, height: intake.side, width: intake.side)
    var texts: [AtomicFile] = []
    for (name, text) in [("names.txt", names.map { $0 + "\n" }.joined()), ("property", property.text)] {
      let file = try AtomicFile(path: "\(folder)/\(name)")
      try file.write(contentsOf: text.utf8)
      try file.sync()
      texts.append(file)
    }
    try writer.finish()
    try beforeCommit()
    for file in texts { try file.commit() }
    try writer.commit()
    return report
  }
}
