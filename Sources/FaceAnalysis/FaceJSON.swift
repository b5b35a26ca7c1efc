import Glibc

extension Face {
  /// The face as JSON: `box` (left, top, right, bottom), `score`, `landmarks` (five of x, y), `landmark_2d_106` and
  /// `embedding` where there are such.
  public var json: String {
    let corners = [box.left, box.top, box.right, box.bottom].map { JSONText.number($0) }.joined(separator: ",")
    var text = "{\"box\":[\(corners)],\"score\":\(JSONText.number(Double(score)))"
    let points = landmarks.map { "[\(JSONText.number($0.x)),\(JSONText.number($0.y))]" }
    text += ",\"landmarks\":[\(points.joined(separator: ","))]"
    if !denseLandmarks.isEmpty {
      let points = denseLandmarks.map { "[\(JSONText.number($0.x)),\(JSONText.number($0.y))]" }
      text += ",\"landmark_2d_\(points.count)\":[\(points.joined(separator: ","))]"
    }
    if !embedding.isEmpty {
      text += ",\"embedding\":[\(embedding.map { JSONText.number(Double($0), digits: 9) }.joined(separator: ","))]"
    }
    return text + "}"
  }
}

/// Strings and numbers as JSON writes them.
public enum JSONText {
  /// A string with its quotes.
  public static func string(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// A number of so many significant digits; `null` where it is not finite.
  public static func number(_ value: Double, digits: Int = 7) -> String {
    guard value.isFinite else { return "null" }
    return withVaList([Int32(digits), value]) { arguments in
      var buffer = [CChar](repeating: 0, count: 64)
      vsnprintf(&buffer, buffer.count, "%.*g", arguments)
      return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
