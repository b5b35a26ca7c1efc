/// The `property` file beside a record file: `num_classes,height,width`.
///
/// The reference's `rec2shufrec.py` adds lines: the number of images, the word `shuffled`, a date. They are read where
/// present; whatever else follows the first three numbers is passed over.
public struct Property: Sendable, Equatable {
  /// The number of identities.
  public var classCount: Int
  /// The height of the images in pixels.
  public var height: Int
  /// The width of the images in pixels.
  public var width: Int
  /// The number of images, where the file says it.
  public var imageCount: Int?
  /// Whether the file says that the records are shuffled.
  public var isShuffled: Bool

  /// A property of its numbers.
  public init(classCount: Int, height: Int, width: Int, imageCount: Int? = nil, isShuffled: Bool = false) {
    self.classCount = classCount
    self.height = height
    self.width = width
    self.imageCount = imageCount
    self.isShuffled = isShuffled
  }

  /// Reads the file at `path`.
  ///
  /// Throws `.corrupt` where the first line is not three positive numbers.
  public init(path: String) throws(FormatError) {
    let file = try PositionedFile(path: path)
    // A property has some dozens of bytes; a larger file is something else, and only its front is looked at.
    let text = String(decoding: try file.read(count: min(file.byteCount, 4096), at: 0), as: UTF8.self)
    let lines = text.split(whereSeparator: \.isNewline)
      .map { Self.trimmed($0.first == "\u{feff}" ? $0.dropFirst() : $0) }
      .filter { !$0.isEmpty }
    let numbers = (lines.first ?? "").split(separator: ",", omittingEmptySubsequences: false)
      .map { Int(Self.trimmed($0)) }
    guard numbers.count >= 3, let classCount = numbers[0], let height = numbers[1], let width = numbers[2],
      classCount > 0, height > 0, width > 0
    else {
      throw FormatError(
        .corrupt, "a line `num_classes,height,width` of positive numbers expected, found `\(lines.first ?? "")`",
        path: path, line: 1, advice: "write such a line, for example 85742,112,112")
    }
    self.init(classCount: classCount, height: height, width: width)
    for line in lines.dropFirst() {
      if line == "shuffled" { isShuffled = true }
      if imageCount == nil, let count = Int(line), count >= 0 { imageCount = count }
    }
  }

  /// The file's content.
  public var text: String {
    var text = "\(classCount),\(height),\(width)\n"
    if let imageCount { text += "\(imageCount)\n" }
    if isShuffled { text += "shuffled\n" }
    return text
  }

  /// Writes the file atomically.
  public func write(to path: String) throws(FormatError) {
    try AtomicFile.write(text.utf8, to: path)
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text
    while let first = text.first, first.isWhitespace { text.removeFirst() }
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return text
  }
}
