/// A value of the reference's configuration, printed as Python prints it so that existing log parsers work.
public enum PythonValue: Equatable, Sendable, CustomStringConvertible {
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
  indirect case list([PythonValue])
  indirect case tuple([PythonValue])

  /// Python's `repr`.
  public var description: String {
    switch self {
    case .bool(let value): return value ? "True" : "False"
    case .int(let value): return "\(value)"
    case .double(let value): return Self.float(value)
    case .string(let value):
      let escaped = value.map { $0 == "\\" ? "\\\\" : $0 == "'" ? "\\'" : $0 == "\n" ? "\\n" : "\($0)" }
      return "'\(escaped.joined())'"
    case .list(let values): return "[\(values.map(\.description).joined(separator: ", "))]"
    case .tuple(let values):
      return "(\(values.map(\.description).joined(separator: ", "))\(values.count == 1 ? "," : ""))"
    }
  }

  /// Python's shortest form of a float: `0.1`, `64.0`, `1e-05`.
  public static func float(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    let text = value.description  // the shortest digits that read back the same, as in Python
    guard let exponentMark = text.firstIndex(of: "e") else { return text }
    var mantissa = String(text[..<exponentMark])
    if mantissa.hasSuffix(".0") { mantissa.removeLast(2) }
    let exponent = Int(text[text.index(after: exponentMark)...]) ?? 0
    if exponent < 0 && exponent >= -4 { return decimal(mantissa, exponent) }
    if exponent >= 0 && exponent < 16 { return "\(Int64(value)).0" }
    let digits = abs(exponent) < 10 ? "0\(abs(exponent))" : "\(abs(exponent))"
    return "\(mantissa)e\(exponent < 0 ? "-" : "+")\(digits)"
  }

  private static func decimal(_ mantissa: String, _ exponent: Int) -> String {
    let negative = mantissa.hasPrefix("-")
    let digits = mantissa.filter(\.isNumber)
    return (negative ? "-" : "") + "0." + String(repeating: "0", count: -exponent - 1) + digits
  }

  /// Prints a dictionary as Python does.
  public static func dictionary(_ entries: [(key: String, value: PythonValue)]) -> String {
    "{" + entries.map { "'\($0.key)': \($0.value)" }.joined(separator: ", ") + "}"
  }
}
