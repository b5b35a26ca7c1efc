/// A JSON document to be written, for programs that start without Foundation.
public indirect enum JSONValue: Sendable, Equatable {
  /// A text.
  case string(String)
  /// A whole number.
  case integer(Int)
  /// A number; those that JSON has not are the strings "inf", "-inf" and "nan".
  case number(Double)
  /// True or false.
  case bool(Bool)
  /// Values in order.
  case list([JSONValue])
  /// Members by name, written in the order of their names; nil ones are left out.
  case object([String: JSONValue?])

  /// A number that may be absent.
  public static func number(_ value: Double?) -> JSONValue? { value.map { .number($0) } }

  /// A list of numbers.
  public static func numbers(_ values: [Double]) -> JSONValue { .list(values.map { .number($0) }) }

  /// The text, two spaces a level.
  public var text: String {
    var result = ""
    write(into: &result, indent: "\n")
    return result
  }

  private func write(into text: inout String, indent: String) {
    switch self {
    case .string(let value): text += JSONValue.quoted(value)
    case .integer(let value): text += "\(value)"
    case .number(let value):
      if value.isFinite {
        text += Int(exactly: value).map { "\($0)" } ?? "\(value)"
      } else {
        text += value.isNaN ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\""
      }
    case .bool(let value): text += value ? "true" : "false"
    case .list(let values):
      guard !values.isEmpty else { return text += "[]" }
      for (index, value) in values.enumerated() {
        text += (index == 0 ? "[" : ",") + indent + "  "
        value.write(into: &text, indent: indent + "  ")
      }
      text += indent + "]"
    case .object(let members):
      let present = members.compactMapValues { $0 }.sorted { $0.key < $1.key }
      guard !present.isEmpty else { return text += "{}" }
      for (index, member) in present.enumerated() {
        text += (index == 0 ? "{" : ",") + indent + "  " + JSONValue.quoted(member.key) + " : "
        member.value.write(into: &text, indent: indent + "  ")
      }
      text += indent + "}"
    }
  }

  /// A string with its quotes.
  public static func quoted(_ text: String) -> String { SafetensorsWriter.quoted(text) }
}
