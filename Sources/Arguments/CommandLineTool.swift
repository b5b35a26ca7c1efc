import Glibc

/// A program with subcommands: finds the command, binds its arguments, runs it, reports errors.
///
/// Besides its commands it has `help [command …]`, `completion bash|zsh`, `--help` and `--version`. Exit statuses: 0,
/// 64 for wrong usage, 1 for a command that failed, or what the command chose with `ExitCode`.
public struct CommandLineTool: Sendable {
  /// The program's name, as users type it.
  public let name: String
  /// The version that `--version` shows.
  public let version: String
  /// One sentence for the head of its help.
  public let summary: String
  /// Further paragraphs for its help.
  public let discussion: String
  /// The commands in the order of the help.
  public let commands: [CommandTree]
  /// The columns that help keeps to.
  public var helpWidth = 100

  /// A tool of these commands.
  public init(name: String, version: String, summary: String = "", discussion: String = "", commands: [CommandTree]) {
    self.name = name
    self.version = version
    self.summary = summary
    self.discussion = discussion
    self.commands = commands
  }

  /// Carries out a command line.
  ///
  /// - Parameters:
  ///   - arguments: without the program's own name.
  ///   - output: takes help, version and completion scripts; standard output unless told otherwise.
  ///   - errors: takes errors and notes; standard error unless told otherwise.
  /// - Returns: the status for the process to end with.
  public func main(
    _ arguments: [String], output: (String) -> Void = Self.writeOutput, errors: (String) -> Void = Self.writeError
  ) -> Int32 {
    let root = CommandGroup(name: name, summary: summary, discussion: discussion, commands: commands)
    return runGroup(root, path: name, arguments, output, errors)
  }

  /// Writes to standard output.
  public static func writeOutput(_ text: String) { writeAll(text, to: STDOUT_FILENO) }

  /// Writes to standard error.
  public static func writeError(_ text: String) { writeAll(text, to: STDERR_FILENO) }

  private static func writeAll(_ text: String, to descriptor: Int32) {
    // What the commands printed goes first.
    fflush(nil)
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        return
      }
    }
  }

  private var layout: HelpText { HelpText(width: helpWidth) }

  private func isRoot(_ path: String) -> Bool { path == name }

  private func runGroup(
    _ group: CommandGroup, path: String, _ arguments: [String], _ output: (String) -> Void, _ errors: (String) -> Void
  ) -> Int32 {
    guard let word = arguments.first else {
      errors(groupHelp(group, path: path))
      return ExitCode.usage.status
    }
    let rest = Array(arguments.dropFirst())
    if let command = find(word, in: group.commands) {
      return run(command, path: "\(path) \(command.name)", rest, output, errors)
    }
    switch word {
    case "--help", "-h":
      output(groupHelp(group, path: path))
      return 0
    case "--version":
      output("\(name) \(version)\n")
      return 0
    case "help":
      return showHelp(group, path: path, rest, output, errors)
    case "completion" where isRoot(path):
      return run(.command(CompletionCommand.self), path: "\(path) completion", rest, output, errors)
    default:
      return fail(unknown(word, in: group, path: path), path: path, errors)
    }
  }

  private func find(_ word: String, in commands: [CommandTree]) -> CommandTree? {
    commands.first { normalised($0.name) == normalised(word) && !word.hasPrefix("-") }
  }

  private func unknown(_ word: String, in group: CommandGroup, path: String) -> String {
    if word.hasPrefix("-") { return "unknown option \(word) before the command; options stand behind it" }
    let names = group.commands.map(\.name) + ["help"] + (isRoot(path) ? ["completion"] : [])
    if let near = nearestName(to: word, among: names) { return "unknown command '\(word)'; did you mean '\(near)'?" }
    return "unknown command '\(word)'; the commands are \(group.commands.map(\.name).joined(separator: ", "))"
  }

  private func fail(_ message: String, path: String, _ errors: (String) -> Void) -> Int32 {
    errors("error: \(message)\nSee '\(path) --help'.\n")
    return ExitCode.usage.status
  }

  private func run(
    _ tree: CommandTree, path: String, _ arguments: [String], _ output: (String) -> Void, _ errors: (String) -> Void
  ) -> Int32 {
    switch tree {
    case .group(let group):
      return runGroup(group, path: path, arguments, output, errors)
    case .forwarded(let command):
      return status(path: path, errors) { try command.run(arguments) }
    case .command(let type):
      return status(path: path, errors) { try runCommand(type, path: path, arguments, output, errors) }
    }
  }

  private func runCommand<Type: Command>(
    _ type: Type.Type, path: String, _ arguments: [String], _ output: (String) -> Void, _ errors: (String) -> Void
  ) throws -> Int32 {
    let specifications = try type.specifications()
    switch try MatchedArguments.match(arguments, specifications) {
    case .help:
      output(
        layout.command(
          path: path, summary: type.summary, discussion: type.discussion, specifications: specifications))
    case .version:
      output("\(name) \(version)\n")
    case .matched(let matched):
      var (command, notes) = try type.bound(matched)
      for note in notes { errors(note + "\n") }
      if let completion = command as? CompletionCommand {
        output(CompletionScript(toolName: name, nodes: try completionNodes()).script(for: completion.shell))
      } else {
        try command.run()
      }
    }
    return 0
  }

  private func status(path: String, _ errors: (String) -> Void, _ body: () throws -> Int32) -> Int32 {
    do {
      return try body()
    } catch let error as UsageError {
      return fail(error.message, path: path, errors)
    } catch let exit as ExitCode {
      return exit.status
    } catch {
      errors("error: \(error)\n")
      return ExitCode.failure.status
    }
  }

  private func groupHelp(_ group: CommandGroup, path: String) -> String {
    var commands = group.commands.map { (name: $0.name, summary: $0.summary) }
    if isRoot(path) {
      for (name, summary) in [
        (CompletionCommand.name, CompletionCommand.summary), ("help", "Describe the tool or a command."),
      ] where find(name, in: group.commands) == nil {
        commands.append((name, summary))
      }
    }
    return layout.group(path: path, summary: group.summary, discussion: group.discussion, commands: commands)
  }

  /// `help dataset pack` is `dataset pack --help`.
  private func showHelp(
    _ group: CommandGroup, path: String, _ words: [String], _ output: (String) -> Void, _ errors: (String) -> Void
  ) -> Int32 {
    guard let word = words.first, !word.hasPrefix("-") else {
      output(groupHelp(group, path: path))
      return 0
    }
    if let command = find(word, in: group.commands) {
      let rest = words.dropFirst()
      if case .group(let inner) = command {
        return showHelp(inner, path: "\(path) \(inner.name)", Array(rest), output, errors)
      }
      return run(command, path: "\(path) \(command.name)", Array(rest) + ["--help"], output, errors)
    }
    if isRoot(path) && word == CompletionCommand.name {
      return run(.command(CompletionCommand.self), path: "\(path) \(word)", ["--help"], output, errors)
    }
    return fail(unknown(word, in: group, path: path), path: path, errors)
  }

  private func completionNodes() throws(UsageError) -> [CompletionNode] {
    var nodes: [CompletionNode] = []
    func visit(_ commands: [CommandTree], path: String) throws(UsageError) {
      var names = commands.map { (name: $0.name, summary: $0.summary) }
      if path.isEmpty {
        for name in ["completion", "help"] where find(name, in: commands) == nil { names.append((name, "")) }
      }
      nodes.append(CompletionNode(path: path, commands: names, specifications: []))
      for command in commands {
        let inner = "\(path)/\(command.name)"
        switch command {
        case .group(let group): try visit(group.commands, path: inner)
        case .command(let type):
          nodes.append(CompletionNode(path: inner, commands: [], specifications: try type.specifications()))
        case .forwarded: nodes.append(CompletionNode(path: inner, commands: [], specifications: []))
        }
      }
    }
    try visit(commands, path: "")
    if find("completion", in: commands) == nil {
      nodes.append(
        CompletionNode(path: "/completion", commands: [], specifications: try CompletionCommand.specifications()))
    }
    return nodes
  }
}

/// The built-in `completion` command; the tool itself writes the script, for it knows the commands.
private struct CompletionCommand: Command {
  static let name = "completion"
  static let summary = "Print a completion script for a shell."
  static let discussion = "For this shell only:\n\n  source <(… completion bash)"
  var shell = CompletionShell.bash

  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.positional(&shell, "shell", help: "the shell that the script is for")
  }

  mutating func run() throws {}
}
