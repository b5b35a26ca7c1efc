import Formats

/// A `pairs.txt` in the form of Labeled Faces in the Wild.
///
/// The first line may say `folds<tab>N` or `N`: N pairs of one person and N of different people (a fold). A line
/// `name n1 n2` is a pair of one person, `name1 n1 name2 n2` of different people; image n of a person is
/// `name/name_000n.jpg` (or .jpeg, .png). Fields are separated by tabs, or by spaces where a line has no tab.
/// Reference: http://vis-www.cs.umass.edu/lfw/README.txt.
public struct PairList: Sendable, Equatable {
  /// One image of one person.
  public struct Reference: Sendable, Hashable {
    /// Who.
    public let name: String
    /// Which image, as in the file's name.
    public let number: Int
  }

  /// One pair.
  public struct Pair: Sendable, Equatable {
    /// The first image.
    public let first: Reference
    /// The second image.
    public let second: Reference
    /// Whether both show one person.
    public let isSame: Bool
    /// The line that it stands in, counted from 1.
    public let line: Int
  }

  /// The file.
  public let path: String
  /// The pairs, in the order of the file.
  public let pairs: [Pair]
  /// How many pairs the first line announces; nil where there is no such line.
  public let announcedCount: Int?

  /// Reads the file at `path`.
  ///
  /// Throws `.corrupt` with the line number where a line is no pair.
  public init(path: String) throws(FormatError) {
    var pairs: [Pair] = []
    var announced: Int?
    for (index, line) in try textLines(path).enumerated() {
      let separator: Character = line.text.contains("\t") ? "\t" : " "
      let fields = line.text.split(separator: separator).map { Self.trimmed($0) }.filter { !$0.isEmpty }
      if fields.isEmpty { continue }
      if index == 0, fields.count <= 2 {
        let numbers = fields.compactMap { Int($0) }
        guard numbers.count == fields.count, numbers.allSatisfy({ $0 > 0 && $0 <= 1 << 30 }) else {
          throw Self.malformed(path, line.number)
        }
        announced = 2 * numbers.reduce(1, *)
        continue
      }
      switch fields.count {
      case 3:
        let name = try Self.name(fields[0], path, line.number)
        pairs.append(
          Pair(
            first: Reference(name: name, number: try Self.number(fields[1], path, line.number)),
            second: Reference(name: name, number: try Self.number(fields[2], path, line.number)), isSame: true,
            line: line.number))
      case 4:
        pairs.append(
          Pair(
            first: Reference(
              name: try Self.name(fields[0], path, line.number), number: try Self.number(fields[1], path, line.number)),
            second: Reference(
              name: try Self.name(fields[2], path, line.number), number: try Self.number(fields[3], path, line.number)),
            isSame: false, line: line.number))
      default: throw Self.malformed(path, line.number)
      }
    }
    guard !pairs.isEmpty else {
      throw FormatError(.corrupt, "the file holds no pairs", path: path, advice: "write a line `name n1 n2` a pair")
    }
    self.path = path
    self.pairs = pairs
    announcedCount = announced
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }

  private static func malformed(_ path: String, _ line: Int) -> FormatError {
    FormatError(.corrupt, "`name n1 n2` or `name1 n1 name2 n2` expected", path: path, line: line)
  }

  private static func name(_ text: String, _ path: String, _ line: Int) throws(FormatError) -> String {
    guard !text.contains("/"), text != ".", text != ".." else {
      throw FormatError(.corrupt, "`\(text)` is no name of a folder", path: path, line: line)
    }
    return text
  }

  private static func number(_ text: String, _ path: String, _ line: Int) throws(FormatError) -> Int {
    guard let number = Int(text), number >= 0 else {
      throw FormatError(.corrupt, "the number of an image expected, found `\(text)`", path: path, line: line)
    }
    return number
  }

  /// Where the image stands below `folder`; nil where it does not.
  private static func find(_ image: Reference, in folder: String) -> String? {
    let stem = "\(folder)/\(image.name)/\(image.name)_\(padded(image.number, 4))"
    return [".jpg", ".jpeg", ".png"].lazy.map { stem + $0 }.first { fileExists($0) }
  }

  /// What was written.
  public struct Report: Sendable, Equatable {
    /// Pairs in the set.
    public let pairCount: Int
    /// How many of them show one person.
    public let sameCount: Int
    /// Images that were encoded anew, each counted once however many pairs ask for it.
    public let encodedCount: Int
  }

  /// Writes the verification set of these pairs with the images below `folder` to `path`, whole or not at all: each file's
  /// bytes as they are unless `intake` changes them.
  ///
  /// Images are read as the pairs ask for them and go straight to the file, so that memory does not grow with the number
  /// of pairs; one that several pairs ask for is read for each. `protocol` is the pickle's, 2 to 5. Throws `.notFound`
  /// where images are missing (with the first twenty of them), `.corrupt` where one does not decode, `.mismatch` where one
  /// has another size, each with the line of the pair.
  public func write(
    images folder: String, intake: ImageIntake, threads: Int, to path: String, protocol version: Int = 4,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(FormatError) -> Report {
    let files = try files(below: folder)
    let writer = try VerificationSetWriter(path: path, isSame: pairs.map(\.isSame), protocol: version)
    let total = 2 * pairs.count
    func reference(_ position: Int) -> Reference {
      let pair = pairs[position / 2]
      return position % 2 == 0 ? pair.first : pair.second
    }
    var encoded: Set<Reference> = []
    var (given, taken) = (0, 0)
    try inOrder(
      threads: threads,
      next: { () throws(FormatError) -> [String]? in
        guard given < total else { return nil }
        let end = min(total, given + 16)
        defer { given = end }
        return (given..<end).map { files[reference($0)] ?? "" }
      }, work: { intake.take($0) },
      take: { (outcome) throws(FormatError) in
        let (image, line) = (reference(taken), pairs[taken / 2].line)
        let file = files[image] ?? ""
        switch outcome {
        case .bad(let reason):
          throw FormatError(
            .corrupt, "the image does not decode: \(reason)", path: file,
            advice: "line \(line) of \(self.path) asks for it: replace it, or take the line out")
        case .misfit(let what): throw intake.misfitError(file, what)
        case .taken(let bytes, let isUnchanged):
          if !isUnchanged { encoded.insert(image) }
          try writer.append(encoded: bytes)
        }
        taken += 1
        progress(taken, total)
      })
    try writer.commit()
    return Report(pairCount: pairs.count, sameCount: pairs.count { $0.isSame }, encodedCount: encoded.count)
  }

  /// The file of every image that a pair asks for; throws `.notFound` with the first twenty that are missing.
  private func files(below folder: String) throws(FormatError) -> [Reference: String] {
    guard isFolder(folder) else {
      throw FormatError(
        .notFound, "a folder of identity folders is expected here", path: folder, advice: "check the path")
    }
    var files: [Reference: String] = [:]
    var asked: Set<Reference> = []
    var missing: [String] = []
    for pair in pairs {
      for image in [pair.first, pair.second] where asked.insert(image).inserted {
        if let path = Self.find(image, in: folder) {
          files[image] = path
        } else {
          missing.append("line \(pair.line): \(image.name)/\(image.name)_\(padded(image.number, 4)).jpg")
        }
      }
    }
    guard missing.isEmpty else {
      let shown = missing.prefix(20).joined(separator: "\n  ")
      let rest = missing.count > 20 ? "\n  … and \(missing.count - 20) more" : ""
      throw FormatError(
        .notFound,
        "\(missing.count) of \(asked.count) images of the pairs are missing in \(folder):\n  \(shown)\(rest)\n",
        path: path, advice: "add them, or take their lines out")
    }
    return files
  }
}
