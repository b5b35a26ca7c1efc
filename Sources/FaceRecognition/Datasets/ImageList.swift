import Formats

/// Image files grouped by identity, in the order in which they are packed.
public struct ImageList: Sendable {
  /// One identity.
  public struct Identity: Sendable, Equatable {
    /// The name of its folder, or its label in a list.
    public let name: String
    /// The paths of its images.
    public let paths: [String]
  }

  /// The identities: names in byte order; numbers, where all of a list's labels are whole numbers, by value.
  public let identities: [Identity]
  /// Files that were passed over because their names end in none of .jpg, .jpeg and .png.
  public let otherFileCount: Int

  /// How many image files.
  public var imageCount: Int { identities.reduce(0) { $0 + $1.paths.count } }

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
        if !file.isFolder, Self.isImageName(file.name) {
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
  /// The fields are `index label path` (im2rec's .lst; labels are whole numbers, also written 3.000000) or `path label`
  /// (labels are any text). Relative paths start at `root`, or where that is nil at the list's folder.
  ///
  /// Throws `.corrupt` with the line number where a line is neither, or where an image comes twice.
  public init(list: String, root: String? = nil) throws(FormatError) {
    let root = root ?? FaceRecognition.folder(of: list)
    var groups: [String: [String]] = [:]
    var firstLine: [String: Int] = [:]
    var isNumeric = true
    var fieldCount: Int?
    for (number, text) in try textLines(list) {
      let fields = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 2 || fields.count == 3, fields.allSatisfy({ !$0.isEmpty }) else {
        throw FormatError(
          .corrupt, "`index<tab>label<tab>path` or `path<tab>label` expected, found \(fields.count) field(s)",
          path: list,
          line: number, advice: "several labels for an image are not packed")
      }
      guard fieldCount ?? fields.count == fields.count else {
        throw FormatError(
          .corrupt, "\(fields.count) fields, the lines above have \(fieldCount ?? 0)", path: list, line: number)
      }
      fieldCount = fields.count
      let whole = Self.wholeNumber(fields[1])
      if fields.count == 3, whole == nil || Int(fields[0]) == nil {
        throw FormatError(
          .corrupt, "index and label should be whole numbers, found `\(fields[0])` and `\(fields[1])`", path: list,
          line: number)
      }
      if whole == nil { isNumeric = false }
      let label = fields.count == 3 ? whole.map { "\($0)" } ?? fields[1] : fields[1]
      try Self.checkName(label, list, line: number)
      let file = fields.count == 3 ? fields[2] : fields[0]
      let path = file.hasPrefix("/") ? file : "\(root)/\(file)"
      if let earlier = firstLine.updateValue(number, forKey: path) {
        throw FormatError(.corrupt, "\(file) stands in line \(earlier) already", path: list, line: number)
      }
      groups[label, default: []].append(path)
    }
    guard !groups.isEmpty else {
      throw FormatError(
        .notFound, "the list names no image", path: list, advice: "write a line `path<tab>label` an image")
    }
    let names = groups.keys.sorted { a, b in
      if isNumeric, let x = Self.wholeNumber(a), let y = Self.wholeNumber(b), x != y { return x < y }
      return precedes(a, b)
    }
    identities = names.map { Identity(name: $0, paths: (groups[$0] ?? []).sorted(by: precedes)) }
    otherFileCount = 0
  }

  /// A folder, or a list file.
  public init(path: String, root: String? = nil) throws(FormatError) {
    guard exists(path) else {
      throw FormatError(
        .notFound, "nothing stands here", path: path, advice: "name a folder of identity folders, or a list file")
    }
    if isFolder(path) { try self.init(folder: path) } else { try self.init(list: path, root: root) }
  }

  private static func isImageName(_ name: String) -> Bool {
    let lower = name.lowercased()
    return lower.hasSuffix(".jpg") || lower.hasSuffix(".jpeg") || lower.hasSuffix(".png")
  }

  /// names.txt holds a name a line.
  private static func checkName(_ name: String, _ path: String, line: Int?) throws(FormatError) {
    guard !name.utf8.contains(where: { $0 == 10 || $0 == 13 }) else {
      throw FormatError(
        .unsupported, "the name of an identity holds a line break", path: path, line: line, advice: "rename it")
    }
  }

  private static func wholeNumber(_ text: String) -> Int? {
    if let number = Int(text) { return number >= 0 ? number : nil }
    guard let number = Double(text), let whole = Int(exactly: number), whole >= 0 else { return nil }
    return whole
  }
}
