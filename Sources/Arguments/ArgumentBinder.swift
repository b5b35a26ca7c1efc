/// Binds a command's properties to the arguments of the command line.
///
/// A command calls it in `bind(_:)`, one call per argument. The same calls serve three ends: at first they only
/// describe the arguments, for help and shell completion and so that the command line can be told apart; then they set
/// the properties. The value that a property has before is its default, and help shows it. `bind(_:)` must make the
/// same calls every time.
///
/// Names are given with their dashes, `"--per-batch-size"`, `"-j"`. On the command line underscores and dashes within a
/// name are alike, and the beginning of a name that fits no other option is enough, as with Python's argparse.
public struct ArgumentBinder {
  /// What has been declared so far.
  private(set) var specifications: [ArgumentSpecification] = []
  private let matched: MatchedArguments?
  private var section = "Options"
  /// What to tell about options that were given and have no effect.
  private(set) var notes: [String] = []

  /// A binder that only describes.
  init() { matched = nil }

  /// A binder that sets the properties.
  init(_ matched: MatchedArguments) { self.matched = matched }

  /// Begins a section of the help; the options declared next stand under its title.
  public mutating func section(_ title: String) { section = title }

  /// Binds a switch.
  ///
  /// - Parameters:
  ///   - target: becomes true where the flag is given; `--name=false` makes it false.
  ///   - names: one or more names.
  ///   - negatable: whether `--no-name` is an option too and makes it false.
  ///   - help: what it does.
  public mutating func flag(
    _ target: inout Bool, _ names: String..., negatable: Bool = false, help: String
  ) throws(UsageError) {
    let negated =
      negatable ? names.filter { $0.hasPrefix("--") }.map { "--no-" + $0.dropFirst(2) } : []
    let given = declare(
      ArgumentSpecification(
        kind: .flag, names: names, negatedNames: negated, help: help, defaultText: target ? "on" : nil,
        section: section))
    for occurrence in given {
      guard let text = occurrence.value else {
        target = !occurrence.isNegated
        continue
      }
      guard !occurrence.isNegated, let value = Bool(argument: text) else {
        throw UsageError("\(occurrence.written) is a flag: '\(text)' is not \(Bool.expectation)")
      }
      target = value
    }
  }

  /// Binds an option with one value; given several times, the last counts.
  ///
  /// - Parameters:
  ///   - target: its value before is the default.
  ///   - names: one or more names.
  ///   - value: the word for the value in help; the type's own where nil.
  ///   - required: whether leaving it out is an error; help then shows no default.
  ///   - help: what it does.
  ///   - expected: what `isValid` asks for, to finish a sentence: `a number above 0`.
  ///   - isValid: whether a value that is right in type is acceptable.
  public mutating func option<Value: ArgumentValue>(
    _ target: inout Value, _ names: String..., value: String? = nil, required: Bool = false, help: String,
    expected: String? = nil, where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let text = target.argumentText
    let given = declare(
      ArgumentSpecification(
        kind: .option, names: names, valueName: value ?? Value.placeholder, help: help,
        defaultText: required || text.isEmpty ? nil : text, choices: Value.allArguments, section: section,
        minimumCount: required ? 1 : 0))
    for occurrence in given { target = try parse(occurrence, expected, isValid) }
  }

  /// Binds an option that may be absent: nil where it is not given, unless the property had a value before.
  public mutating func option<Value: ArgumentValue>(
    _ target: inout Value?, _ names: String..., value: String? = nil, help: String, expected: String? = nil,
    where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let given = declare(
      ArgumentSpecification(
        kind: .option, names: names, valueName: value ?? Value.placeholder, help: help,
        defaultText: target?.argumentText, choices: Value.allArguments, section: section))
    for occurrence in given { target = try parse(occurrence, expected, isValid) as Value }
  }

  /// Binds an option with a list of values: given several times, or once with a separator between the values.
  ///
  /// - Parameters:
  ///   - target: its values before are the default and go away with the first value given.
  ///   - separator: cuts one text into several values: `,` for `--lr-steps 100000,160000`; nil for none.
  public mutating func option<Value: ArgumentValue>(
    _ target: inout [Value], _ names: String..., value: String? = nil, separator: Character? = nil, help: String,
    expected: String? = nil, where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let text = target.map(\.argumentText).joined(separator: separator.map { String($0) } ?? " ")
    let given = declare(
      ArgumentSpecification(
        kind: .option, names: names, valueName: value ?? Value.placeholder, help: help,
        defaultText: text.isEmpty ? nil : text, choices: separator == nil ? Value.allArguments : [], section: section,
        isRepeatable: separator == nil))
    var values: [Value] = []
    for occurrence in given {
      let whole = occurrence.value ?? ""
      let texts =
        separator.map { separator in
          whole.split(separator: separator).map { part in
            String(part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
          }
        } ?? [whole]
      for text in texts {
        values.append(
          try parse(.init(written: occurrence.written, value: text, isNegated: false), expected, isValid))
      }
    }
    if !given.isEmpty { target = values }
  }

  /// Takes an option that users of the reference have in their scripts and that has no effect here.
  ///
  /// Where it is given, a note on standard error says so, once.
  ///
  /// - Parameters:
  ///   - names: one or more names.
  ///   - value: the word for its value; nil where it takes none.
  ///   - reason: why it has no effect, in one clause.
  public mutating func ignoredOption(_ names: String..., value: String?, reason: String) {
    let given = declare(
      ArgumentSpecification(
        kind: .ignored(reason: reason), names: names, valueName: value, help: "no effect: \(reason)",
        section: "Options without effect", isRepeatable: false))
    if let first = given.first { notes.append("note: \(first.written) has no effect: \(reason)") }
  }

  /// Binds an argument by its place.
  ///
  /// - Parameters:
  ///   - target: its value before is the default where the argument is not required.
  ///   - name: the word for it in help.
  ///   - required: whether leaving it out is an error.
  public mutating func positional<Value: ArgumentValue>(
    _ target: inout Value, _ name: String, required: Bool = true, help: String, expected: String? = nil,
    where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let text = target.argumentText
    let given = declare(
      ArgumentSpecification(
        kind: .positional, names: [name], help: help, defaultText: required || text.isEmpty ? nil : text,
        choices: Value.allArguments, section: "Arguments", minimumCount: required ? 1 : 0))
    for occurrence in given { target = try parse(occurrence, expected, isValid) }
  }

  /// Binds an argument by its place that may be left out.
  public mutating func positional<Value: ArgumentValue>(
    _ target: inout Value?, _ name: String, help: String, expected: String? = nil,
    where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let given = declare(
      ArgumentSpecification(
        kind: .positional, names: [name], help: help, defaultText: target?.argumentText,
        choices: Value.allArguments, section: "Arguments"))
    for occurrence in given { target = try parse(occurrence, expected, isValid) as Value }
  }

  /// Binds all arguments that no other place takes; at most one such call per command.
  ///
  /// - Parameters:
  ///   - target: becomes what is given; unchanged where nothing is.
  ///   - name: the word for one of them in help.
  ///   - minimumCount: how many there must be.
  public mutating func positionals<Value: ArgumentValue>(
    _ target: inout [Value], _ name: String, minimumCount: Int = 0, help: String, expected: String? = nil,
    where isValid: ((Value) -> Bool)? = nil
  ) throws(UsageError) {
    let text = target.map(\.argumentText).joined(separator: " ")
    let given = declare(
      ArgumentSpecification(
        kind: .rest, names: [name], help: help, defaultText: text.isEmpty ? nil : text,
        choices: Value.allArguments, section: "Arguments", isRepeatable: true, minimumCount: minimumCount))
    var values: [Value] = []
    for occurrence in given { values.append(try parse(occurrence, expected, isValid)) }
    if !values.isEmpty { target = values }
  }

  /// Notes the specification and gives what the command line holds for it.
  private mutating func declare(_ specification: ArgumentSpecification) -> [MatchedArguments.Occurrence] {
    let names = specification.names + specification.negatedNames
    precondition(
      !names.isEmpty && (specification.isPositional || names.allSatisfy { $0.hasPrefix("-") }),
      "option names begin with dashes: \(names)")
    precondition(
      specification.isPositional
        || specifications.allSatisfy { other in
          other.isPositional
            || !(other.names + other.negatedNames).contains { name in
              names.contains { normalised($0) == normalised(name) }
            }
        }, "an option name is declared twice: \(names)")
    let index = specifications.count
    specifications.append(specification)
    guard let matched else { return [] }
    precondition(index < matched.occurrences.count, "bind(_:) declared other arguments than before: \(names)")
    return matched.occurrences[index]
  }

  private func parse<Value: ArgumentValue>(
    _ occurrence: MatchedArguments.Occurrence, _ expected: String?, _ isValid: ((Value) -> Bool)?
  ) throws(UsageError) -> Value {
    let text = occurrence.value ?? ""
    guard let value = Value(argument: text), isValid?(value) ?? true else {
      let hint = nearestName(to: text, among: Value.allArguments).map { "; did you mean \($0)?" } ?? ""
      throw UsageError(
        "\(occurrence.written): '\(text)' is not valid; expected \(expected ?? Value.expectation)\(hint)")
    }
    return value
  }
}
