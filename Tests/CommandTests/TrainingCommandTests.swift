import Foundation
import Testing

/// Whether the training program stands beside the other one.
private let canTrain = program.map { FileManager.default.isExecutableFile(atPath: "\($0)-train") } ?? false

private let trainingMissing: Comment = "insightface-train is not beside the test bundle: swift build"

@Suite(.enabled(if: canTrain, trainingMissing), .serialized) struct TrainingCommandTests {
  /// Four drawn people, and the words of a run on them.
  private func prepared(_ scratch: Scratch) throws -> [String] {
    let synth = try insightface(
      "dataset", "synth", "--output", "\(scratch.path)/data", "--identities", "4", "--images", "4", "--pairs", "0",
      "--held-out", "2")
    try #require(synth.status == 0, "\(synth.errors)")
    return [
      "train", "--network", "y1", "--loss", "arcface", "--dataset", "tiny", "--dataset-path", "\(scratch.path)/data",
      "--models-root", "\(scratch.path)/models", "--per-batch-size", "4", "--lr", "0.01", "--threads", "1", "--device",
      "cpu",
    ]
  }

  @Test func `Help and errors speak of the command that was typed`() throws {
    let help = try insightface("train", "--help")
    #expect(help.status == 0 && help.output.contains("Usage: insightface train "), "\(help.output.prefix(300))")
    let wrong = try insightface("train", "--per-batchsize", "3")
    #expect(wrong.status == 64 && wrong.errors.contains("--per-batch-size?"), "\(wrong.errors)")
    #expect(wrong.errors.contains("See 'insightface train --help'"), "\(wrong.errors)")
    let key = try insightface("train", "--network", "y1", "--set", "loss_m22=1")
    #expect(key.status == 1 && key.errors.contains("did you mean 'loss_m2'?"), "\(key.errors)")
  }

  @Test func `A GPU that is not there is an error that names the CPU`() throws {
    let run = try insightface("train", "--network", "y1", "--device", "cuda:99")
    #expect(run.status == 1 && run.errors.contains("--device cpu"), "\(run.errors)")
  }

  @Test func `A verification set that refers to code is refused and runs nothing`() throws {
    let scratch = try Scratch()
    let words = try prepared(scratch)
    let train = try insightface(words + ["--max-steps", "1", "--verbose", "1", "--ckpt", "2"])
    #expect(train.status == 0, "\(train.errors)")
    let evil = try scratch.put(
      "\u{80}\u{2}](cos\nsystem\nU".unicodeScalars.map { UInt8($0.value) }
        + [UInt8("touch \(scratch.path)/pwned".utf8.count)]
        + Array("touch \(scratch.path)/pwned\u{85}Re]\u{88}a\u{86}.".unicodeScalars.map { UInt8($0.value) }),
      "evil.bin")
    let run = try insightface(
      "verify", "--model", "\(scratch.path)/models/y1-arcface-tiny,1", "--bin", evil, "--device", "cpu")
    #expect(run.status == 1 && run.errors.contains("os.system") && run.errors.contains("evil.bin"), "\(run.errors)")
    #expect(!scratch.exists("pwned"))
  }

  @Test func `A disk that fills up while the state is saved leaves no half of one`() throws {
    let scratch = try Scratch()
    let words = try prepared(scratch)
    let folder = "models/y1-arcface-tiny"
    // A state takes about 8 MB.
    let run = try insightface(words + ["--max-steps", "4", "--state-every", "2"], limit: 4096)
    #expect(run.status == 1 && run.errors.contains("state.safetensors"), "\(run.errors)")
    #expect(run.errors.contains("free some space"), "\(run.errors)")
    #expect(scratch.files(folder).allSatisfy { !$0.contains("safetensors") }, "\(scratch.files(folder))")

    // With a whole state there, it stays as it was, and the run goes on from it.
    #expect(try insightface(words + ["--max-steps", "2", "--state-every", "2"]).status == 0)
    let state = try scratch.bytes("\(folder)/state.safetensors")
    let again = try insightface(words + ["--max-steps", "4", "--resume"], limit: 4096)
    #expect(again.status == 1, "\(again.errors)")
    #expect(try scratch.bytes("\(folder)/state.safetensors") == state)
    let resumed = try insightface(words + ["--max-steps", "4", "--resume"])
    #expect(resumed.status == 0 && resumed.errors.contains("resumed after step 2"), "\(resumed.errors)")
  }

  @Test(arguments: [SIGINT, SIGTERM]) func `A signal saves the state, and a resume goes on`(_ signal: Int32) throws {
    let scratch = try Scratch()
    let words = try prepared(scratch)
    let folder = "models/y1-arcface-tiny"
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["--default-signal=INT,TERM", try #require(program)] + words + ["--frequent", "1"]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    // Without --max-steps it runs until it is told to stop; the log says when it trains.
    let deadline = Date().addingTimeInterval(60)
    while Date() < deadline, process.isRunning {
      if scratch.exists("\(folder)/train.log"),
        String(decoding: try scratch.bytes("\(folder)/train.log"), as: UTF8.self).contains("Speed:")
      {
        break
      }
      usleep(20_000)
    }
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 128 + signal)
    let log = String(decoding: try scratch.bytes("\(folder)/train.log"), as: UTF8.self)
    #expect(log.contains("note: signal \(signal): the state is saved after step"), "\(log.suffix(300))")
    let rows = String(decoding: try scratch.bytes("\(folder)/history.csv"), as: UTF8.self).split(separator: "\n")
    let step = rows.count - 1
    let resumed = try insightface(words + ["--resume", "--max-steps", "\(step + 2)"])
    #expect(resumed.status == 0 && resumed.errors.contains("resumed after step \(step) "), "\(resumed.errors)")
    let after = String(decoding: try scratch.bytes("\(folder)/history.csv"), as: UTF8.self).split(separator: "\n")
    #expect(after.count == rows.count + 2 && Array(after.prefix(rows.count)) == rows)
  }
}
