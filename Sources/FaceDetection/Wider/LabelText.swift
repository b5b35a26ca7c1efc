import Formats
import Glibc

/// Lines and numbers of label and result files.
enum LabelText {
  static let advice = "check that this is the file meant, whole and unchanged"

  /// The lines without their ends and without spaces around them.
  static func lines(path: String) throws(FormatError) -> [Substring] {
    let file = try MappedFile(path: path)
    let text = file.withBytes { String(decoding: $0, as: UTF8.self) }
    return text.split(omittingEmptySubsequences: false) { $0.isNewline }.map { line in
      let start = line.drop { $0 == " " || $0 == "\t" }
      return start.lastIndex { $0 != " " && $0 != "\t" }.map { start[...$0] } ?? start[..<start.startIndex]
    }
  }

  /// The finite numbers of a line, separated by spaces.
  static func numbers(_ line: Substring, path: String, line number: Int) throws(FormatError) -> [Double] {
    var values: [Double] = []
    for word in line.split(whereSeparator: { $0 == " " || $0 == "\t" }) {
      guard let value = Double(word), value.isFinite, abs(value) < 1e9 else {
        throw FormatError(.corrupt, "\"\(word.prefix(40))\" is no number", path: path, line: number, advice: advice)
      }
      values.append(value)
    }
    return values
  }

  /// x, y, width and height as corners.
  static func box(_ values: [Double]) -> BoundingBox {
    BoundingBox(left: values[0], top: values[1], right: values[0] + values[2], bottom: values[1] + values[3])
  }

  /// A number without needless digits: whole ones as such, others as C's `%g` writes them.
  static func plain(_ value: Double, digits: Int = 6) -> String {
    if let whole = Int(exactly: value), abs(whole) < 1_000_000 { return "\(whole)" }
    return withVaList([Int32(digits), value]) { arguments in
      var buffer = [CChar](repeating: 0, count: 64)
      vsnprintf(&buffer, buffer.count, "%.*g", arguments)
      return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
