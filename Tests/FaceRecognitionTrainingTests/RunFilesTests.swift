import Formats
import Foundation
import Testing
import Training

@testable import FaceRecognitionTraining

/// The files that runs write beside their checkpoints.
@Suite struct RunFilesTests {
  static let header = "step,epoch,batch,lr,loss,correct\n"

  private func withFile<Result>(_ text: String?, _ body: (String) throws -> Result) throws -> Result {
    let path = NSTemporaryDirectory() + "run-file-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    if let text { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    return try body(path)
  }

  @Test func aHistoryKeepsTheStepsOfTheState() throws {
    let rows = (1...4).map { "\($0),0,\($0 - 1),0.1,\($0 == 3 ? "nan" : "1.5"),\($0 == 2 ? "" : "7")\n" }
    for (text, kept) in [
      (Self.header + rows.joined(), rows[..<2].joined()), (Self.header + rows[0], rows[0]),
      // What a crash leaves behind the last saved step.
      (Self.header + rows[..<2].joined() + "3,0,\0\0\0\n", rows[..<2].joined()),
      (Self.header + rows[0] + "2,0", rows[0]),
    ] {
      try withFile(text) { path in
        let history = try RunHistory(path: path, keptSteps: 2)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == text, "nothing is written before the run begins")
        try history.begin()
        try history.append(step: 3, position: BatchPosition(epoch: 1, batch: 0), rate: 0.5, loss: 2, correct: .nan)
        try history.flush()
        #expect(try String(contentsOfFile: path, encoding: .utf8) == Self.header + kept + "3,1,0,0.5,2.0,\n")
      }
    }
    try withFile(nil) { path in
      try RunHistory(path: path, keptSteps: 2).begin()
      #expect(try String(contentsOfFile: path, encoding: .utf8) == Self.header)
    }
  }

  @Test(arguments: [
    ("", 1), ("no history at all\n", 1), (header + "99999999999999999999,0,0,0.1,1.0,2\n", 2),
    (header + "1,0,0,0.1,1.0,2\n1,0,0,0.1,1.0,2\n", 3), (header + "1,0,0,0.1\n", 2), (header + "1,0,x,0.1,1.0,2\n", 2),
    (header + "1,0,0,0.1,1.0,2\n\n2,0,1,0.1,1.0,2\n", 3),
  ])
  func aDamagedHistoryIsAnError(_ text: String, line: Int) throws {
    try withFile(text) { (path) throws in
      #expect { try RunHistory(path: path, keptSteps: 2) } throws: { error in
        let error = error as? FormatError
        return error?.code == .corrupt && error?.line == line && error?.path == path && error?.advice != nil
      }
      #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
    }
  }

  @Test func aLogHoldsItsLinesUntilTheRunBegins() throws {
    for (length, kept) in [(0, ""), (4, "old\n"), (nil, "old\nlost\n")] as [(Int?, String)] {
      try withFile("old\nlost\n") { path in
        let log = RunLog(path: path, length: length)
        log.note("a line")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "old\nlost\n")
        try log.begin()
        log.out("another")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == kept + "a line\nanother\n")
        #expect(log.byteCount == kept.utf8.count + 15)
      }
    }
    #expect(throws: FormatError.self) { try RunLog(path: "/nowhere/log").begin() }
  }
}

@Suite(.serialized) struct FailedStartTests {
  private func files(_ folder: String) throws -> [String: Data] {
    try Dictionary(
      uniqueKeysWithValues: FileManager.default.contentsOfDirectory(atPath: folder).map {
        ($0, try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)")))
      })
  }

  /// Whatever ends a start before its first step, the earlier run can be taken up as if there had been none.
  @Test func theEarlierRunStaysAsItWas() throws {
    let data = try TemporaryData()
    var options = TrainingOptions.oneThread
    _ = try RecognitionTrainer(data.configuration(["max_steps": "2"]), options).run()
    let before = try files(data.runFolder)
    try #require(before.keys.contains("state.safetensors") && before.keys.contains { $0.contains("tfevents") })
    func fails(_ settings: [String: String] = [:], _ text: String) throws {
      #expect { try RecognitionTrainer(data.configuration(settings), options) } throws: { "\($0)".contains(text) }
      #expect(try files(data.runFolder) == before, "\(text)")
    }
    try fails(["pretrained": "/nowhere/model"], "/nowhere/model")
    let set = URL(fileURLWithPath: "\(data.folder)/lfw.bin")
    let whole = try Data(contentsOf: set)
    try whole.prefix(whole.count / 2).write(to: set)
    try fails([:], "lfw.bin")
    options.resumes = true
    try fails([:], "lfw.bin")
    try whole.write(to: set)

    let path = "\(data.runFolder)/history.csv"
    let history = try String(contentsOfFile: path, encoding: .utf8)
    let damaged = history.replacingOccurrences(of: "\n2,", with: "\n99999999999999999999,")
    try damaged.write(toFile: path, atomically: true, encoding: .utf8)
    #expect { try RecognitionTrainer(data.configuration(), options) } throws: {
      "\($0)".contains("history.csv, line 3")
    }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == damaged)
    try history.write(toFile: path, atomically: true, encoding: .utf8)
    #expect(try files(data.runFolder) == before)
    _ = try RecognitionTrainer(data.configuration(["max_steps": "3"]), options).run()
    #expect(try data.text("history.csv").hasPrefix(history))
  }
}
