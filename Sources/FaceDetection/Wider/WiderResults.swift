import Formats
import Glibc

/// Detections in the official text form: a folder an event, a file an image: `event/name.jpg`, the number of faces, then
/// `x y width height score` a line.
public enum WiderResults {
  /// A face of a result file.
  public struct Face: Sendable, Equatable {
    /// By its corners: right is x + width.
    public var box: BoundingBox
    /// As it stands in the file.
    public var score: Double
    /// Further numbers of the line, landmarks for example.
    public var rest: [Double]
  }

  /// How coordinates are written.
  public enum Rounding: Sendable {
    /// Cut to whole pixels, as the reference writes them.
    case whole
    /// With six digits.
    case exact
  }

  /// Reads all results below a folder, by `event/name`.
  ///
  /// - Throws: `FormatError` with path and line: `.notFound`, `.corrupt`, `.mismatch` where the count is another.
  public static func read(folder: String) throws(FormatError) -> [String: [Face]] {
    var results: [String: [Face]] = [:]
    for event in try entries(folder) where isFolder(folder + "/" + event) {
      for file in try entries(folder + "/" + event) where file.hasSuffix(".txt") {
        results[event + "/" + file.dropLast(4)] = try read(path: folder + "/" + event + "/" + file)
      }
    }
    guard !results.isEmpty else {
      throw FormatError(
        .notFound, "no results are here", path: folder,
        advice: "expected are folders of events with a .txt for each image")
    }
    return results
  }

  /// Reads the results of one image.
  ///
  /// - Throws: as the other form.
  public static func read(path: String) throws(FormatError) -> [Face] {
    let lines = try LabelText.lines(path: path)
    guard lines.count >= 2, let count = Int(lines[1]) else {
      throw FormatError(
        .corrupt, "the second line is not the number of faces", path: path, line: 2, advice: LabelText.advice)
    }
    var faces: [Face] = []
    for (index, line) in lines.enumerated().dropFirst(2) where !line.isEmpty {
      let values = try LabelText.numbers(line, path: path, line: index + 1)
      guard values.count >= 5 else {
        throw FormatError(
          .corrupt, "\(values.count) numbers where a face has 5", path: path, line: index + 1, advice: LabelText.advice)
      }
      faces.append(Face(box: LabelText.box(values), score: values[4], rest: Array(values[5...])))
    }
    guard faces.count == count else {
      throw FormatError(
        .mismatch, "\(count) faces are announced, \(faces.count) follow", path: path, line: 2, advice: LabelText.advice)
    }
    return faces
  }

  /// Writes the results of one image: `folder/event/name.txt`.
  ///
  /// - Throws: `FormatError` with the path.
  public static func write(
    _ detections: [Detection], event: String, name: String, folder: String, rounding: Rounding = .whole
  ) throws(FormatError) {
    try makeFolders(folder + "/" + event)
    var text = "\(event)/\(name).jpg\n\(detections.count)\n"
    for detection in detections {
      let box = detection.box
      let numbers = [box.left, box.top, box.width, box.height].map { value in
        rounding == .whole ? LabelText.plain(value.rounded(.towardZero)) : LabelText.plain(value)
      }
      text += (numbers + [LabelText.plain(Double(detection.score))]).joined(separator: " ") + " \n"
    }
    try AtomicFile.write(Array(text.utf8), to: "\(folder)/\(event)/\(name).txt")
  }

  /// The names in a folder, sorted.
  private static func entries(_ folder: String) throws(FormatError) -> [String] {
    guard let listing = opendir(folder) else {
      throw FormatError(
        .notFound, "the folder cannot be read: \(String(cString: strerror(errno)))", path: folder,
        advice: "check the path")
    }
    defer { closedir(listing) }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
