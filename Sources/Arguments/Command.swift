#if compiler(>=6.2)
  /// What makes a command's type usable from every thread, where the compiler asks for it.
  public typealias CommandMetatype = SendableMetatype
#else
  /// Earlier compilers take every type to be usable from every thread.
  public typealias CommandMetatype = Any
#endif

/// One subcommand: its arguments and what it does.
///
/// ```swift
/// struct InfoCommand: Command {
///   static let name = "info", summary = "Describe a data set."
///   var path = ""
///   mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
///     try arguments.positional(&path, "file", help: "a record file")
///   }
///   mutating func run() throws { … }
/// }
/// ```
public protocol Command: CommandMetatype {
  /// The word that calls it.
  static var name: String { get }
  /// One sentence for the list of commands.
  static var summary: String { get }
  /// Further paragraphs for its own help; empty for none.
  static var discussion: String { get }
  /// A command with every property at its default.
  init()
  /// Declares the arguments, one call of the binder for each; see `ArgumentBinder`.
  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError)
  /// Does the work.
  ///
  /// `UsageError` ends the program with status 64, `ExitCode` with its own, any other error with 1 after its
  /// description has been written to standard error.
  mutating func run() throws
}

extension Command {
  /// No further paragraphs.
  public static var discussion: String { "" }
}

/// A command with subcommands: `dataset` in `insightface dataset pack`.
public struct CommandGroup: Sendable {
  /// The word that calls it.
  public let name: String
  /// One sentence for the list of commands.
  public let summary: String
  /// Further paragraphs for its own help.
  public let discussion: String
  /// Its subcommands in the order of the help.
  public let commands: [CommandTree]

  /// A group of these commands.
  public init(name: String, summary: String, discussion: String = "", commands: [CommandTree]) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    self.commands = commands
  }
}

/// A command that another program carries out: all its arguments, `--help` among them, are handed over as they are.
public struct ForwardedCommand: Sendable {
  /// The word that calls it.
  public let name: String
  /// One sentence for the list of commands.
  public let summary: String
  /// Hands the arguments over and gives the exit status.
  public let run: @Sendable ([String]) throws -> Int32

  /// A command carried out by `run`.
  public init(name: String, summary: String, run: @escaping @Sendable ([String]) throws -> Int32) {
    self.name = name
    self.summary = summary
    self.run = run
  }
}

/// What a word on the command line can stand for.
public enum CommandTree: Sendable {
  /// A command of its own.
  case command(any Command.Type)
  /// A command with subcommands.
  case group(CommandGroup)
  /// A command of another program.
  case forwarded(ForwardedCommand)

  /// The word that calls it.
  public var name: String {
    switch self {
    case .command(let type): return type.name
    case .group(let group): return group.name
    case .forwarded(let command): return command.name
    }
  }

  /// One sentence for the list of commands.
  public var summary: String {
    switch self {
    case .command(let type): return type.summary
    case .group(let group): return group.summary
    case .forwarded(let command): return command.summary
    }
  }
}

extension Command {
  /// What the command declares.
  static func specifications() throws(UsageError) -> [ArgumentSpecification] {
    var command = Self()
    var binder = ArgumentBinder()
    try command.bind(&binder)
    return binder.specifications
  }

  /// The command with its properties set from matched arguments, and what to note.
  static func bound(_ matched: MatchedArguments) throws(UsageError) -> (command: Self, notes: [String]) {
    var command = Self()
    var binder = ArgumentBinder(matched)
    try command.bind(&binder)
    return (command, binder.notes)
  }
}
