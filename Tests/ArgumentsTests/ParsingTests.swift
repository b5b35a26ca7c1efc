import Testing

@testable import Arguments

enum Network: String, CaseIterable, ArgumentValue {
  case y1, y2, r50, r100
  case mnas05
}

/// A command with an argument of every kind, spelled as the reference's training script spells them.
struct TrainCommand: Command, Equatable {
  static let name = "train"
  static let summary = "Train an embedding network."
  static let discussion = """
    Takes the flags that users
    of the reference know.

    Examples:
      insightface train --network y1 --loss arcface
    """

  var dataset = "emore"
  var network = Network.y1
  var backup: Network?
  var learningRate = 0.1
  var steps = [100_000, 160_000, 220_000]
  var batchSize = 128
  var modelsRoot = "./models"
  var pretrained = ""
  var pretrainedEpoch = 1
  var seed: UInt64?
  var overrides: [String] = []
  var resume = false
  var mirror = true
  var quiet = false
  var threads = 0
  var strict: Bool = false
  var target = "lfw"
  var files: [String] = []

  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.positional(&target, "target", required: false, help: "what to judge on")
    try arguments.positionals(&files, "file", help: "further files")
    arguments.section("Data and network")
    try arguments.option(&dataset, "--dataset", help: "the data set's name")
    try arguments.option(&network, "--network", "-n", help: "the backbone")
    try arguments.option(&backup, "--backup", help: "another backbone")
    arguments.section("Optimiser")
    try arguments.option(
      &learningRate, "--lr", help: "start learning rate", expected: "a number above 0", where: { $0 > 0 })
    try arguments.option(&steps, "--lr-steps", separator: ",", help: "steps at which the learning rate falls")
    try arguments.option(&batchSize, "--per-batch-size", help: "images per device and step")
    arguments.section("Run")
    try arguments.option(&modelsRoot, "--models-root", value: "folder", help: "where models are saved")
    try arguments.option(&pretrained, "--pretrained", value: "prefix", help: "a model to start from")
    try arguments.option(&pretrainedEpoch, "--pretrained-epoch", help: "its epoch")
    try arguments.option(&seed, "--seed", help: "seed of every random draw")
    try arguments.option(&overrides, "--set", value: "key=value", help: "override one configuration key")
    try arguments.flag(&resume, "--resume", "-r", help: "continue from the last state")
    try arguments.flag(&mirror, "--mirror", negatable: true, help: "mirror half of the images")
    try arguments.flag(&quiet, "-q", "--quiet", help: "say less")
    try arguments.option(&threads, "-j", "--threads", help: "threads")
    try arguments.option(&strict, "--strict", help: "whether a broken record ends the run")
    arguments.ignoredOption("--kvstore", value: "type", reason: "gradients are summed on the device")
    arguments.ignoredOption("--memonger", value: nil, reason: "memory is planned anyway")
  }

  mutating func run() throws {}
}

private struct CopyCommand: Command {
  static let name = "copy"
  static let summary = "Copy."
  var model = ""
  var sources: [String] = []
  var target = ""
  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.option(&model, "--model", value: "prefix", required: true, help: "the model")
    try arguments.positionals(&sources, "source", minimumCount: 2, help: "what to copy")
    try arguments.positional(&target, "target", help: "where to")
  }
  mutating func run() throws {}
}

private struct OneCommand: Command {
  static let name = "one"
  static let summary = "One."
  var file: String?
  mutating func bind(_ arguments: inout ArgumentBinder) throws(UsageError) {
    try arguments.positional(&file, "file", help: "a file")
  }
  mutating func run() throws {}
}

private func parse(_ arguments: [String]) throws -> TrainCommand {
  let outcome = try MatchedArguments.match(arguments, try TrainCommand.specifications())
  guard case .matched(let matched) = outcome else { throw UsageError("help or version") }
  return try TrainCommand.bound(matched).command
}

private func message(_ arguments: String...) -> String {
  do {
    _ = try parse(arguments)
    return "no error"
  } catch { return "\(error)" }
}

@Suite struct ParsingTests {
  @Test func `Nothing given leaves the defaults`() throws {
    #expect(try parse([]) == TrainCommand())
  }

  @Test func `Options in all their spellings`() throws {
    var expected = TrainCommand()
    expected.batchSize = 64
    for spelling in [
      ["--per-batch-size", "64"], ["--per-batch-size=64"], ["--per_batch_size", "64"], ["--per_batch-size=64"],
      ["--per-batch", "64"], ["--per", "64"], ["--per-batch-size", "1", "--per-batch-size", "64"],
    ] { #expect(try parse(spelling) == expected) }
    expected = TrainCommand()
    expected.threads = 4
    for spelling in [["-j", "4"], ["-j4"], ["-j=4"], ["--threads=4"], ["--thr", "4"]] {
      #expect(try parse(spelling) == expected)
    }
    expected.quiet = true
    expected.resume = true
    #expect(try parse(["-qrj4"]) == expected)
    #expect(try parse(["-q", "-r", "-j", "4"]) == expected)
    // An exact name wins over a longer one that begins with it.
    #expect(try parse(["--pretrained", "a,1"]).pretrained == "a,1")
    #expect(try parse(["--pretrained-e", "3"]).pretrainedEpoch == 3)
  }

  @Test func `Values of every type`() throws {
    let command = try parse([
      "--network", "r50", "--backup=y2", "--lr", "5e-3", "--lr-steps", "10, 20,30", "--seed", "18446744073709551615",
      "--set", "loss_s=64", "--set=a=b=c", "--strict", "yes", "--models-root=", "--pretrained=--odd",
    ])
    #expect(command.network == .r50 && command.backup == .y2)
    #expect(command.learningRate == 0.005)
    #expect(command.steps == [10, 20, 30])
    #expect(command.seed == .max)
    #expect(command.overrides == ["loss_s=64", "a=b=c"])
    #expect(command.strict && command.modelsRoot.isEmpty && command.pretrained == "--odd")
  }

  @Test func `Flags and their negation`() throws {
    #expect(try parse(["--no-mirror"]).mirror == false)
    #expect(try parse(["--no-mirror", "--mirror"]).mirror)
    #expect(try parse(["--mirror=false"]).mirror == false)
    #expect(try parse(["--resume=on"]).resume)
    #expect(message("--resume=maybe") == "--resume is a flag: 'maybe' is not true or false")
    #expect(message("--no-mirror=true").contains("--no-mirror is a flag"))
  }

  @Test func `Places, two dashes and negative numbers`() throws {
    let command = try parse(["cfp_fp", "--quiet", "a", "-", "--", "--resume", "-x"])
    #expect(command.target == "cfp_fp" && command.quiet && !command.resume)
    #expect(command.files == ["a", "-", "--resume", "-x"])
    #expect(try parse(["-0.5"]).target == "-0.5")
    #expect(message("--per-batch-size", "-5") == "no error")
    #expect(try parse(["--per-batch-size", "-5"]).batchSize == -5)
  }

  @Test func `Errors name the option, the value and what was expected`() {
    #expect(message("--per-batch-size", "many") == "--per-batch-size: 'many' is not valid; expected a whole number")
    #expect(message("--per-batch-size", "1e3") == "--per-batch-size: '1e3' is not valid; expected a whole number")
    #expect(message("--per-batch-size", "99999999999999999999").contains("expected a whole number"))
    #expect(message("--lr=-1") == "--lr: '-1' is not valid; expected a number above 0")
    #expect(message("--lr", "nan") == "--lr: 'nan' is not valid; expected a number above 0")
    #expect(message("--seed", "-1").contains("'-1' is not valid; expected a whole number that is not negative"))
    #expect(
      message("--network", "r5O")
        == "--network: 'r5O' is not valid; expected one of y1, y2, r50, r100, mnas05; did you mean r50?")
    #expect(message("--lr-steps", "10,x").contains("--lr-steps: 'x' is not valid"))
    #expect(message("--strict", "perhaps").contains("expected true or false"))
  }

  @Test func `Unknown and incomplete options`() {
    #expect(message("--ntework", "y1") == "unknown option --ntework; did you mean --network?")
    #expect(message("--per-bach-size", "1") == "unknown option --per-bach-size; did you mean --per-batch-size?")
    #expect(message("--batchsize", "1").hasPrefix("unknown option --batchsize"))
    #expect(message("--zzzzzz") == "unknown option --zzzzzz")
    #expect(message("-network", "y1") == "-n: 'etwork' is not valid; expected one of y1, y2, r50, r100, mnas05")
    #expect(message("-dataset", "x") == "unknown option -dataset; did you mean --dataset?")
    #expect(message("-x") == "unknown option -x")
    #expect(message("-qx") == "unknown option -x in -qx")
    #expect(message("--pre", "x") == "option --pre is ambiguous: it may be --pretrained, --pretrained-epoch")
    #expect(message("--lr") == "--lr needs a value: --lr <number>")
    #expect(
      message("--dataset", "--lr", "1")
        == "--dataset needs a value: --dataset <text>; found --lr (write --dataset=--lr if that is the value)")
  }

  @Test func `Required arguments`() throws {
    func copy(_ arguments: [String]) throws -> CopyCommand {
      guard case .matched(let matched) = try MatchedArguments.match(arguments, try CopyCommand.specifications()) else {
        throw UsageError("help")
      }
      return try CopyCommand.bound(matched).command
    }
    let command = try copy(["a", "b", "--model", "m", "c", "d"])
    #expect(command.sources == ["a", "b", "c"] && command.target == "d")
    #expect(throws: UsageError("missing option --model <prefix>: the model")) { try copy(["a", "b", "c"]) }
    #expect(throws: UsageError("missing argument <source> (at least 2): what to copy")) {
      try copy(["--model=m", "a", "b"])
    }
    #expect(throws: UsageError.self) { try copy([]) }
  }

  @Test func `Too many arguments`() throws {
    #expect(throws: UsageError("unexpected argument 'b'")) {
      try MatchedArguments.match(["a", "b"], try OneCommand.specifications())
    }
  }

  @Test func `Options without effect are taken and noted once`() throws {
    let outcome = try MatchedArguments.match(
      ["--kvstore", "device", "--kvstore=local", "--memonger"], try TrainCommand.specifications())
    guard case .matched(let matched) = outcome else { throw UsageError("help") }
    let notes = try TrainCommand.bound(matched).notes
    #expect(
      notes == [
        "note: --kvstore has no effect: gradients are summed on the device",
        "note: --memonger has no effect: memory is planned anyway",
      ])
  }
}

@Suite struct NearestNameTests {
  @Test func `Edit distance`() {
    #expect(editDistance(Array("kitten"), Array("sitting")) == 3)
    #expect(editDistance(Array("ab"), Array("ba")) == 1)
    #expect(editDistance([], Array("abc")) == 3)
    #expect(editDistance(Array("abc"), []) == 3)
    #expect(editDistance([], []) == 0)
  }

  @Test func `Near names are found, far ones are not`() {
    let keys = ["num_classes", "net_blocks", "loss_s", "per_batch_size", "lr", "wd"]
    #expect(nearestName(to: "num-clases", among: keys) == "num_classes")
    #expect(nearestName(to: "LOSS_S", among: keys) == "loss_s")
    #expect(nearestName(to: "per_batch", among: keys) == "per_batch_size")
    #expect(nearestName(to: "xq", among: keys) == nil)
    #expect(nearestName(to: "", among: keys) == nil)
    #expect(nearestName(to: String(repeating: "x", count: 100_000), among: keys) == nil)
  }
}
