import Foundation
import Synchronization
import Testing

@testable import Arguments

/// What the commands below did.
private let journal = Mutex<[String]>([])

private struct PackCommand: Command {
  static let name = "pack"
  static let summary = "Pack a folder into a record file."
  var folder = ""
  var quality = 95
  var format = Format.jpeg

  enum Format: String, CaseIterable, ArgumentValue { case jpeg, png }

  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.positional(&folder, "folder", help: "a folder of identity folders")
    try arguments.option(&quality, "--quality", help: "the JPEG's quality: it's 'high'")
    try arguments.option(&format, "--format", "-f", help: "how images are stored")
  }

  mutating func run() throws { journal.withLock { $0.append("pack \(folder) \(quality)") } }
}

private struct FailCommand: Command {
  static let name = "fail"
  static let summary = "Fail in some way."
  var way = ""

  struct Broken: Error, CustomStringConvertible { let description = "train.rec: at byte 12: broken" }

  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.positional(&way, "way", help: "how")
    arguments.ignoredOption("--old", value: nil, reason: "it is old")
  }

  mutating func run() throws {
    switch way {
    case "usage": throw UsageError("--a and --b exclude each other")
    case "status": throw ExitCode(3)
    default: throw Broken()
    }
  }
}

private struct Run {
  var status: Int32
  var output = ""
  var errors = ""
}

private let tool = CommandLineTool(
  name: "insightface", version: "1.2.3", summary: "Face recognition.",
  commands: [
    .command(TrainCommand.self),
    .group(
      CommandGroup(
        name: "dataset", summary: "Make and look at data sets.", discussion: "Record files and bins.",
        commands: [.command(PackCommand.self), .command(FailCommand.self)])),
    .forwarded(
      ForwardedCommand(name: "quickstart", summary: "Elsewhere.") { arguments in
        journal.withLock { $0.append("quickstart \(arguments)") }
        return 7
      }),
  ])

private func run(_ arguments: String...) -> Run {
  var result = Run(status: -1)
  result.status = tool.main(arguments, output: { result.output += $0 }, errors: { result.errors += $0 })
  return result
}

@Suite(.serialized) struct CommandLineToolTests {
  @Test func `Commands are found at every level and run`() {
    journal.withLock { $0 = [] }
    #expect(run("dataset", "pack", "faces", "--quality", "90").status == 0)
    #expect(run("quickstart", "--help", "-x").status == 7)
    #expect(journal.withLock { $0 } == ["pack faces 90", "quickstart [\"--help\", \"-x\"]"])
  }

  @Test func `Errors go to standard error with the right status`() {
    let unknownOption = run("dataset", "pack", "--qualty", "1")
    #expect(unknownOption.status == 64 && unknownOption.output.isEmpty)
    #expect(
      unknownOption.errors
        == "error: unknown option --qualty; did you mean --quality?\nSee 'insightface dataset pack --help'.\n")
    #expect(run("dataset", "fail", "usage").status == 64)
    #expect(run("dataset", "fail", "usage").errors.hasPrefix("error: --a and --b exclude each other\n"))
    #expect(run("dataset", "fail", "status").status == 3 && run("dataset", "fail", "status").errors.isEmpty)
    let broken = run("dataset", "fail", "otherwise")
    #expect(broken.status == 1 && broken.errors == "error: train.rec: at byte 12: broken\n")
    #expect(run("dataset", "fail", "status", "--old").errors == "note: --old has no effect: it is old\n")
  }

  @Test func `Unknown commands name the nearest`() {
    let near = run("datset", "pack")
    #expect(near.status == 64 && near.errors.hasPrefix("error: unknown command 'datset'; did you mean 'dataset'?\n"))
    #expect(run("dataset", "pakc").errors.contains("did you mean 'pack'?"))
    #expect(run("dataset", "pakc").errors.contains("See 'insightface dataset --help'."))
    #expect(run("xyzzy").errors.contains("the commands are train, dataset, quickstart"))
    #expect(run("--quiet", "train").errors.contains("options stand behind it"))
    let none = run()
    #expect(none.status == 64 && none.output.isEmpty && none.errors.contains("Commands:"))
    #expect(run("dataset").status == 64)
  }

  @Test func `Version and help at every level`() {
    for arguments in [["--version"], ["train", "--version"], ["dataset", "--version"]] {
      var output = ""
      #expect(tool.main(arguments, output: { output += $0 }, errors: { _ in }) == 0)
      #expect(output == "insightface 1.2.3\n")
    }
    #expect(run("--help").output == run("help").output && run("-h").output == run("--help").output)
    #expect(run("dataset", "-h").output == run("help", "dataset").output)
    let pack = run("dataset", "pack", "--help")
    #expect(pack.status == 0 && pack.errors.isEmpty)
    #expect(pack.output == run("help", "dataset", "pack").output)
    #expect(pack.output == run("dataset", "help", "pack").output)
    // Even where the rest of the line is wrong.
    #expect(run("dataset", "pack", "--nonsense", "--help").output == pack.output)
    #expect(run("help", "datasets").status == 64)
  }

  @Test func `Help of the tool`() {
    #expect(
      run("--help").output == """
        Face recognition.

        Usage: insightface <command> ...

        Commands:
          train       Train an embedding network.
          dataset     Make and look at data sets.
          quickstart  Elsewhere.
          completion  Print a completion script for a shell.
          help        Describe the tool or a command.

        'insightface <command> --help' describes a command.

        """)
  }

  @Test func `Help of a command shows sections, values and defaults`() {
    #expect(
      run("train", "--help").output == """
        Train an embedding network.

        Usage: insightface train [options] [<target>] [<file> ...]

        Takes the flags that users of the reference know.

        Examples:

          insightface train --network y1 --loss arcface

        Arguments:
          <target>    what to judge on (default: lfw)
          <file> ...  further files

        Data and network:
              --dataset <text>  the data set's name (default: emore)
          -n, --network <name>  the backbone (one of: y1, y2, r50, r100, mnas05; default: y1)
              --backup <name>   another backbone (one of: y1, y2, r50, r100, mnas05)

        Optimiser:
              --lr <number>              start learning rate (default: 0.1)
              --lr-steps <number>        steps at which the learning rate falls (default:
                                         100000,160000,220000)
              --per-batch-size <number>  images per device and step (default: 128)

        Run:
              --models-root <folder>       where models are saved (default: ./models)
              --pretrained <prefix>        a model to start from
              --pretrained-epoch <number>  its epoch (default: 1)
              --seed <number>              seed of every random draw
              --set <key=value>            override one configuration key (repeatable)
          -r, --resume                     continue from the last state
              --mirror, --no-mirror        mirror half of the images (default: on)
          -q, --quiet                      say less
          -j, --threads <number>           threads (default: 0)
              --strict <true|false>        whether a broken record ends the run (default: false)

        Options without effect:
              --kvstore <type>  no effect: gradients are summed on the device
              --memonger        no effect: memory is planned anyway

        Help:
          -h, --help     show this help
              --version  show the version

        """)
  }
}

/// Whether a program is on the search path.
private func path(of program: String) -> String? {
  ["/bin/", "/usr/bin/", "/usr/local/bin/"].map { $0 + program }.first {
    FileManager.default.isExecutableFile(atPath: $0)
  }
}

private func shell(_ program: String, _ script: String) throws -> (status: Int32, output: String) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: program)
  process.arguments = ["-c", script]
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let data = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}

@Suite struct CompletionTests {
  @Test(.enabled(if: path(of: "bash") != nil, "needs bash")) func `Bash completes commands, options and values`() throws
  {
    let script = run("completion", "bash").output
    func complete(_ words: String...) throws -> [String] {
      let list = words.map { "'\($0)'" }.joined(separator: " ")
      let (status, output) = try shell(
        path(of: "bash") ?? "bash",
        "set -u\n\(script)\nCOMP_WORDS=(\(list)); COMP_CWORD=\(words.count - 1); _insightface; echo \"${COMPREPLY[@]-}\""
      )
      #expect(status == 0)
      return output.split(whereSeparator: \.isWhitespace).map { String($0) }
    }
    #expect(try complete("insightface", "") == ["train", "dataset", "quickstart", "completion", "help"])
    #expect(try complete("insightface", "da") == ["dataset"])
    #expect(try complete("insightface", "dataset", "") == ["pack", "fail"])
    #expect(try complete("insightface", "dataset", "pack", "--f") == ["--format"])
    #expect(try complete("insightface", "dataset", "pack", "--format", "") == ["jpeg", "png"])
    #expect(try complete("insightface", "dataset", "pack", "--format", "=") == ["jpeg", "png"])
    #expect(try complete("insightface", "dataset", "pack", "--format", "=", "p") == ["png"])
    #expect(try complete("insightface", "train", "-n", "y") == ["y1", "y2"])
    #expect(try complete("insightface", "train", "--no") == ["--no-mirror"])
    #expect(try complete("insightface", "completion", "") == ["bash", "zsh"])
    #expect(try complete("insightface", "train", "dataset", "pa").isEmpty)
  }

  @Test(.enabled(if: path(of: "zsh") != nil, "needs zsh")) func `Zsh completes commands, options and values`() throws {
    let script = run("completion", "zsh").output
    // The completion system's own functions are replaced by ones that print what they are given.
    func complete(_ words: String...) throws -> String {
      let list = words.map { "'\($0)'" }.joined(separator: " ")
      let (status, output) = try shell(
        path(of: "zsh") ?? "zsh",
        """
        compdef() { : }; compset() { : }; _files() { print -r files }; compadd() { shift; print -r -- "$@" }
        _describe() { local n=${@[-1]}; print -rl -- "${(P@)n}" }
        \(script)
        words=(\(list)); CURRENT=\(words.count); _insightface
        """)
      #expect(status == 0)
      return output
    }
    #expect(try complete("insightface", "").hasPrefix("train:Train an embedding network.\ndataset:Make"))
    #expect(try complete("insightface", "dataset", "pack", "-").contains("--quality:the JPEG's quality: it's 'high'\n"))
    #expect(try complete("insightface", "dataset", "pack", "--format", "") == "jpeg png\n")
    #expect(try complete("insightface", "dataset", "pack", "--format=") == "jpeg png\n")
    #expect(try complete("insightface", "train", "--dataset", "") == "files\n")
    #expect(try complete("insightface", "completion", "") == "bash zsh\n")
  }

  @Test func `A wrong shell is an error`() {
    let result = run("completion", "fish")
    #expect(result.status == 64 && result.errors.contains("<shell>: 'fish' is not valid; expected one of bash, zsh"))
  }
}
