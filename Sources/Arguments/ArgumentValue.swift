/// A type that an option or a positional argument can have.
///
/// Enumerations of strings that are `CaseIterable` conform by declaring so and get their cases as the allowed values.
public protocol ArgumentValue: Sendable {
  /// Reads a value from the command line; nil where the text is none.
  init?(argument: String)
  /// The value as one would type it; help shows it as the default.
  var argumentText: String { get }
  /// What is expected, to finish a sentence: `a number`.
  static var expectation: String { get }
  /// The word that stands for the value in help: `number`.
  static var placeholder: String { get }
  /// Every allowed text where there are few; empty where there are many.
  static var allArguments: [String] { get }
}

extension ArgumentValue {
  /// No list of allowed texts.
  public static var allArguments: [String] { [] }
}

extension ArgumentValue where Self: RawRepresentable & CaseIterable, RawValue == String {
  /// The case of this raw value.
  public init?(argument: String) { self.init(rawValue: argument) }
  /// The raw value.
  public var argumentText: String { rawValue }
  /// All raw values.
  public static var allArguments: [String] { allCases.map(\.rawValue) }
  /// The list of the raw values.
  public static var expectation: String { "one of " + allArguments.joined(separator: ", ") }
  /// `name`.
  public static var placeholder: String { "name" }
}

extension String: ArgumentValue {
  /// Any text.
  public init?(argument: String) { self = argument }
  /// The text itself.
  public var argumentText: String { self }
  /// `a text`.
  public static var expectation: String { "a text" }
  /// `text`.
  public static var placeholder: String { "text" }
}

extension ArgumentValue where Self: FixedWidthInteger {
  /// A decimal number that fits the type.
  public init?(argument: String) { self.init(argument, radix: 10) }
  /// The decimal digits.
  public var argumentText: String { String(self, radix: 10) }
  /// `a whole number`, with the bound that the type itself sets.
  public static var expectation: String { Self.isSigned ? "a whole number" : "a whole number that is not negative" }
  /// `number`.
  public static var placeholder: String { "number" }
}

extension Int: ArgumentValue {}
extension Int64: ArgumentValue {}
extension UInt64: ArgumentValue {}

extension Double: ArgumentValue {
  /// A finite decimal number, such as `0.1` or `5e-4`.
  public init?(argument: String) {
    guard let value = Double(argument), value.isFinite else { return nil }
    self = value
  }
  /// The shortest decimals that give the value back, whole numbers without a point.
  public var argumentText: String {
    let text = description
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }
  /// `a number`.
  public static var expectation: String { "a number" }
  /// `number`.
  public static var placeholder: String { "number" }
}

extension Bool: ArgumentValue {
  /// `true`, `yes`, `on`, `1` and their opposites in any case.
  public init?(argument: String) {
    switch argument.lowercased() {
    case "true", "yes", "on", "1": self = true
    case "false", "no", "off", "0": self = false
    default: return nil
    }
  }
  /// `true` or `false`.
  public var argumentText: String { self ? "true" : "false" }
  /// `true or false`.
  public static var expectation: String { "true or false" }
  /// `true|false`.
  public static var placeholder: String { "true|false" }
  /// `true` and `false`.
  public static var allArguments: [String] { ["true", "false"] }
}
