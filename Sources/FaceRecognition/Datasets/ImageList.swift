import Formats

/// Image files grouped by identity, in the order in which they are packed.
public struct ImageList: Sendable {
  /// One identity.
  public struct Identity: Sendable, Equatable {
    /// The name of its folder, or its label in a list.
    public let name: String
    /// The paths of its images.
    public let paths: [String]

    /// An identity of its parts.
    public init(name: String, paths: [String]) {
      self.name = name
      self.paths = paths
    }
  }

  /// The identities: names in byte order; numbers, where all of a list's labels are whole numbers, by value.
  public let identities: [Identity]
  /// Files that were passed over because their names end in none of .jpg, .jpeg and .png.
  public let otherFileCount: Int

  /// How many image files.
  public var imageCount: Int { identities.reduce(0) { $0 + $1.paths.count } }

  /// A list of its parts.
  public init(identities: [Identity]) {
    self.identities = identities
    otherFileCount = 0
  }

  /// Reads a folder of identity folders: `folder/name/image.jpg` (or .jpeg, .png; the case does not matter).
  public init(folder: String) throws(FormatError) {
    let root = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
    var identities: [Identity] = []
    var others = 0
    for entry in try folderEntries(root) {
      guard entry.isFolder else {
        others += 1
        continue
      }
      try Self.checkName(entry.name, root, line: nil)
      var paths: [String] = []
      for file in try folderEntries("\(root)/\(entry.name)") {
        if !file.isFolder, isImageName(file.name) {
          paths.append("\(root)/\(entry.name)/\(file.name)")
        } else {
          others += 1
        }
      }
      identities.append(Identity(name: entry.name, paths: paths))
    }
    guard identities.contains(where: { !$0.paths.isEmpty }) else {
      throw FormatError(
        .notFound, "no identity folders with .jpg, .jpeg or .png files here", path: folder,
        advice: "the images of each person stand in a folder of their own: \(root)/NAME/IMAGE.jpg")
    }
    self.identities = identities
    otherFileCount = others
  }

  /// Reads a list file, one image a line, fields separated by tabs.
  ///
  /// The first line decides among four forms:
  ///
  /// - `index label path`, im2rec's .lst; labels are whole numbers, also written 3.000000;
  /// - `aligned path label`, the .lst of the reference's `face2rec2.py`, which may go on with a box of 4 and points of 10
  ///   numbers; `aligned` must be 1, for images are packed as they are;
  /// - `path label` or `label path`, labels are any text; the path is what ends in .jpg, .jpeg or .png, and where neither
  ///   does, the first.
  ///
  /// Relative paths start at `root`, or where that is nil at the list's folder.
  ///
  /// Throws `.corrupt` with the line number where a line is of none of them or of another than the first, or where an
  /// image comes twice; `.unsupported` for an image that is not aligned.
  public init(list: String, root: String? = nil) throws(FormatError) {
    let root = root ?? FilePath.folder(of: list)
    var groups: [String: [String]] = [:]
    var firstLine: [String: Int] = [:]
    var isNumeric = true
    var form: LineForm?
    for (number, text) in try textLines(list) {
      let fields = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard let known = form ?? LineForm(fields) else {
        throw FormatError(
          .corrupt,
          "none of the known forms (\(LineForm.allCases.map(\.rawValue).joined(separator: ", "))), fields parted by tabs; "
            + "found \(fields.count) field(s)", path: list, line: number,
          advice: "write one image a line; several labels for an image are not packed")
      }
      form = known
      guard let entry = known.entry(fields) else {
        throw FormatError(
          .corrupt, "`\(known.rawValue)` expected as in the lines above, found \(fields.count) field(s)", path: list,
          line: number, advice: "index, aligned and the label beside them are whole numbers that are not negative")
      }
      guard entry.isAligned else {
        throw FormatError(
          .unsupported, "the image \(entry.path) is not aligned (first field 0)", path: list, line: number,
          advice: "align the faces first: images are packed as they are")
      }
      if wholeNumber(entry.label) == nil { isNumeric = false }
      try Self.checkName(entry.label, list, line: number)
      let path = entry.path.hasPrefix("/") ? entry.path : "\(root)/\(entry.path)"
      if let earlier = firstLine.updateValue(number, forKey: path) {
        throw FormatError(.corrupt, "\(entry.path) stands in line \(earlier) already", path: list, line: number)
      }
      groups[entry.label, default: []].append(path)
    }
    guard !groups.isEmpty else {
      throw FormatError(
        .notFound, "the list names no image", path: list, advice: "write a line `path<tab>label` an image")
    }
    let names = groups.keys.sorted { a, b in
      if isNumeric, let x = wholeNumber(a), let y = wholeNumber(b), x != y { return x < y }
      return precedes(a, b)
    }
    identities = names.map { Identity(name: $0, paths: (groups[$0] ?? []).sorted(by: precedes)) }
    otherFileCount = 0
  }

  /// A folder, or a list file.
  public init(path: String, root: String? = nil) throws(FormatError) {
    guard fileExists(path) else {
      throw FormatError(
        .notFound, "nothing stands here", path: path, advice: "name a folder of identity folders, or a list file")
    }
    if isFolder(path) { try self.init(folder: path) } else { try self.init(list: path, root: root) }
  }

  /// names.txt holds a name a line.
  private static func checkName(_ name: String, _ path: String, line: Int?) throws(FormatError) {
    guard !name.utf8.contains(where: { $0 == 10 || $0 == 13 }) else {
      throw FormatError(
        .unsupported, "the name of an identity holds a line break", path: path, line: line, advice: "rename it")
    }
  }
}

/// How the fields of a list's line are arranged.
private enum LineForm: String, CaseIterable {
  case indexLabelPath = "index label path"
  case alignedPathLabel = "aligned path label"
  case pathLabel = "path label"
  case labelPath = "label path"

  struct Entry {
    let path: String
    let label: String
    var isAligned = true
  }

  /// The form of a line; nil where it is of none, or of two at once.
  init?(_ fields: [String]) {
    if fields.count == 2 {
      let isImage = fields.map(isImageName)
      // Two image names side by side are a list of something else.
      guard !(isImage[0] && isImage[1]) else { return nil }
      self = isImage[1] ? .labelPath : .pathLabel
      return
    }
    let fits = [LineForm.indexLabelPath, .alignedPathLabel].filter { $0.entry(fields) != nil }
    guard fits.count == 1 else { return nil }
    self = fits[0]
  }

  /// What the line says in this form; nil where it does not fit.
  func entry(_ fields: [String]) -> Entry? {
    guard fields.allSatisfy({ !$0.isEmpty }) else { return nil }
    switch self {
    case .pathLabel: return fields.count == 2 ? Entry(path: fields[0], label: fields[1]) : nil
    case .labelPath: return fields.count == 2 ? Entry(path: fields[1], label: fields[0]) : nil
    case .indexLabelPath:
      guard fields.count == 3, Int(fields[0]) != nil, let label = wholeNumber(fields[1]) else { return nil }
      return Entry(path: fields[2], label: "\(label)")
    case .alignedPathLabel:
      guard [3, 7, 17].contains(fields.count), let flag = Int(fields[0]), flag == 0 || flag == 1,
        let label = wholeNumber(fields[2]), fields[3...].allSatisfy({ Double($0) != nil })
      else { return nil }
      return Entry(path: fields[1], label: "\(label)", isAligned: flag == 1)
    }
  }
}

private func isImageName(_ name: String) -> Bool {
  let lower = name.lowercased()
  return lower.hasSuffix(".jpg") || lower.hasSuffix(".jpeg") || lower.hasSuffix(".png")
}

private func wholeNumber(_ text: String) -> Int? {
  if let number = Int(text) { return number >= 0 ? number : nil }
  guard let number = Double(text), let whole = Int(exactly: number), whole >= 0 else { return nil }
  return whole
}
