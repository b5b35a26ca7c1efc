/// What a command declares about one of its arguments.
struct ArgumentSpecification: Equatable {
  enum Kind: Equatable {
    case flag
    case option
    /// An option of the reference that is taken and has no effect; the reason says why.
    case ignored(reason: String)
    case positional
    case rest
  }

  let kind: Kind
  /// Names with their dashes; for positional arguments the one name shown in help.
  let names: [String]
  /// Names that turn a flag off.
  var negatedNames: [String] = []
  /// The word for the value in help; nil for a flag.
  var valueName: String?
  let help: String
  var defaultText: String?
  var choices: [String] = []
  let section: String
  var isRepeatable = false
  /// For `rest`, how many there must be.
  var minimumCount = 0

  var isRequired: Bool { minimumCount > 0 }
  var isPositional: Bool { kind == .positional || kind == .rest }
  var takesValue: Bool { !isPositional && valueName != nil }

  /// The name that messages use: the longest.
  var displayName: String {
    names.reduce("") { $1.utf8.count > $0.utf8.count ? $1 : $0 }
  }
}

/// Option names with their underscores as dashes.
func normalised(_ name: some StringProtocol) -> String {
  String(name.map { $0 == "_" ? "-" : $0 })
}

/// The arguments of a command line, told apart by a command's specifications.
struct MatchedArguments {
  struct Occurrence {
    /// The option as it was typed, for messages.
    let written: String
    let value: String?
    let isNegated: Bool
  }

  enum Outcome {
    case matched(MatchedArguments)
    case help
    case version
  }

  /// For each specification, in its order, what was given for it.
  private(set) var occurrences: [[Occurrence]]

  /// Tells the arguments apart; values are not looked at yet.
  static func match(
    _ arguments: [String], _ specifications: [ArgumentSpecification]
  ) throws(UsageError) -> Outcome {
    var matcher = Matcher(specifications)
    do {
      if let request = try matcher.walk(arguments) { return request }
      return .matched(MatchedArguments(occurrences: try matcher.assigned()))
    } catch {
      // Who asks for help with a half-written command line gets help.
      let own = arguments.prefix { $0 != "--" }
      if own.contains("--help") || own.contains("-h") && matcher.isFree("-h") { return .help }
      throw error
    }
  }
}

private struct Matcher {
  private struct Target {
    /// The index of a specification; nil for `--help` and `--version`.
    let index: Int?
    var isNegated = false
  }

  private let specifications: [ArgumentSpecification]
  private var targets: [String: Target] = [:]
  private var occurrences: [[MatchedArguments.Occurrence]]
  private var positionals: [String] = []

  init(_ specifications: [ArgumentSpecification]) {
    self.specifications = specifications
    occurrences = specifications.map { _ in [] }
    for (index, specification) in specifications.enumerated() where !specification.isPositional {
      for name in specification.names { targets[normalised(name)] = Target(index: index) }
      for name in specification.negatedNames { targets[normalised(name)] = Target(index: index, isNegated: true) }
    }
    for name in ["--help", "-h", "--version"] where targets[name] == nil { targets[name] = Target(index: nil) }
  }

  /// Whether the command has no option of this name of its own.
  func isFree(_ name: String) -> Bool { targets[name].map { $0.index == nil } ?? true }

  /// Walks through the arguments; not nil where help or the version is asked for.
  mutating func walk(_ arguments: [String]) throws(UsageError) -> MatchedArguments.Outcome? {
    var index = 0
    var onlyPositionals = false
    while index < arguments.count {
      let argument = arguments[index]
      index += 1
      if onlyPositionals || !isOption(argument) {
        positionals.append(argument)
        continue
      }
      if argument == "--" {
        onlyPositionals = true
        continue
      }
      if !argument.hasPrefix("--") && targets[argument] == nil {
        try takeShort(argument, arguments, &index)
        continue
      }
      let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let (name, target) = try find(normalised(parts[0]), written: String(parts[0]))
      guard let specificationIndex = target.index else {
        if parts.count > 1 { throw UsageError("\(name) takes no value") }
        return name == "--version" ? .version : .help
      }
      var value = parts.count > 1 ? String(parts[1]) : nil
      if specifications[specificationIndex].takesValue && value == nil {
        value = try nextValue(name, specifications[specificationIndex], arguments, &index)
      }
      occurrences[specificationIndex].append(
        .init(written: name, value: value, isNegated: target.isNegated))
    }
    return nil
  }

  private func isOption(_ argument: String) -> Bool {
    guard argument.hasPrefix("-"), argument.utf8.count > 1 else { return false }
    // A negative number is a value, unless the command has digits for options.
    if Double(argument) != nil, targets[String(argument.prefix(2))] == nil { return false }
    return true
  }

  /// The option of a name, or of a beginning that fits one option only, as argparse takes it.
  private func find(_ name: String, written: String) throws(UsageError) -> (String, Target) {
    if let target = targets[name] { return (name, target) }
    let candidates = targets.keys.filter { name.utf8.count > 2 && $0.hasPrefix(name) }.sorted()
    if let first = candidates.first, let target = targets[first] {
      let isUnique = candidates.allSatisfy {
        targets[$0]?.index == target.index && targets[$0]?.isNegated == target.isNegated
      }
      if isUnique && (target.index != nil || candidates.count == 1) { return (first, target) }
      throw UsageError("option \(written) is ambiguous: it may be \(candidates.joined(separator: ", "))")
    }
    let hint = nearestName(to: written, among: targets.keys.sorted()).map { "; did you mean \($0)?" } ?? ""
    throw UsageError("unknown option \(written)\(hint)")
  }

  /// `-v`, `-j4`, `-j=4`, and several flags in one: `-qv`.
  private mutating func takeShort(
    _ argument: String, _ arguments: [String], _ index: inout Int
  ) throws(UsageError) {
    var rest = argument.dropFirst()
    while let letter = rest.popFirst() {
      let name = "-\(letter)"
      guard let target = targets[name], let specificationIndex = target.index else {
        throw UsageError(unknownShort(argument, name))
      }
      let specification = specifications[specificationIndex]
      if specification.takesValue {
        var value: String
        if rest.isEmpty {
          value = try nextValue(name, specification, arguments, &index)
        } else {
          value = String(rest)
          if value.hasPrefix("=") { value.removeFirst() }
        }
        occurrences[specificationIndex].append(.init(written: name, value: value, isNegated: false))
        return
      }
      if rest.first == "=" {
        occurrences[specificationIndex].append(
          .init(written: name, value: String(rest.dropFirst()), isNegated: target.isNegated))
        return
      }
      occurrences[specificationIndex].append(.init(written: name, value: nil, isNegated: target.isNegated))
    }
  }

  private func unknownShort(_ argument: String, _ name: String) -> String {
    // One dash in place of two is the likely slip.
    let bare = argument.prefix { $0 != "=" }
    if targets["-" + normalised(bare)] != nil { return "unknown option \(argument); did you mean -\(argument)?" }
    if argument.utf8.count > 2,
      let near = nearestName(to: String(bare), among: targets.keys.filter { $0.hasPrefix("--") }.sorted())
    {
      return "unknown option \(argument); did you mean \(near)?"
    }
    return argument == name ? "unknown option \(name)" : "unknown option \(name) in \(argument)"
  }

  private func nextValue(
    _ name: String, _ specification: ArgumentSpecification, _ arguments: [String], _ index: inout Int
  ) throws(UsageError) -> String {
    let wanted = "\(name) needs a value: \(name) <\(specification.valueName ?? "value")>"
    guard index < arguments.count else { throw UsageError(wanted) }
    let next = arguments[index]
    if isOption(next) {
      throw UsageError("\(wanted); found \(next) (write \(name)=\(next) if that is the value)")
    }
    index += 1
    return next
  }

  /// Gives the positional arguments to their specifications: required ones first served, the rest takes what is left.
  func assigned() throws(UsageError) -> [[MatchedArguments.Occurrence]] {
    var result = occurrences
    let wanted = specifications.enumerated().filter { $0.element.isPositional }
    var required = wanted.reduce(0) { $0 + $1.element.minimumCount }
    var next = 0
    for (index, specification) in wanted {
      required -= specification.minimumCount
      let available = max(positionals.count - next - required, 0)
      let count = specification.kind == .rest ? available : min(1, available)
      if count < specification.minimumCount {
        let several = specification.minimumCount > 1 ? " (at least \(specification.minimumCount))" : ""
        throw UsageError("missing argument <\(specification.displayName)>\(several): \(specification.help)")
      }
      for value in positionals[next..<(next + count)] {
        result[index].append(.init(written: "<\(specification.displayName)>", value: value, isNegated: false))
      }
      next += count
    }
    if next < positionals.count {
      throw UsageError("unexpected argument '\(positionals[next])'")
    }
    for (index, specification) in specifications.enumerated()
    where !specification.isPositional && specification.isRequired && result[index].isEmpty {
      throw UsageError(
        "missing option \(specification.displayName) <\(specification.valueName ?? "value")>: \(specification.help)")
    }
    return result
  }
}
