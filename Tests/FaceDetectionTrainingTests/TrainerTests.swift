import FaceDetection
import Formats
import Foundation
import Imaging
import Inference
import Testing
import Torch

@testable import FaceDetectionTraining

@Suite(.serialized) struct TrainerTests {
  @Test func lossFallsAndTheCheckpointDetects() throws {
    try Fixtures.withFolder { folder in
      var c = Fixtures.scenes("\(folder)/model/mnet", steps: 24)
      c.schedule.base = 0.02
      c.heldOutScenes = 4
      c.evaluateEvery = 24
      c.frequent = 1
      let losses = try Fixtures.losses(c)
      let (first, last) = (losses.prefix(5).reduce(0, +), losses.suffix(5).reduce(0, +))
      #expect(last < 0.8 * first, "\(first) → \(last)")
      let graph = try NetworkGraph.importing(
        MXNetSymbol.read(path: "\(c.prefix)-symbol.json"),
        weights: MXNetParameters(path: "\(c.prefix)-0000.params").entries,
        options: .init(inputShapes: ["data": .images(channels: 3, height: 64, width: 64)])
      ).graph
      #expect(graph.outputs.count == 9)
      let detector = FaceDetector(runner: try graph.makeRunner(), configuration: .reference(.net3))
      _ = try detector.detect(try Image(width: 100, height: 80))
      let log = try String(contentsOfFile: "\(c.prefix)-train.log", encoding: .utf8)
      #expect(log.contains("AP@0.5"))
      #expect(log.contains("landmark="))
    }
  }

  @Test(arguments: [OptimizerKind.mxnetSGD, .adamw]) func resumeIsBitForBit(_ optimizer: OptimizerKind) throws {
    try Fixtures.withFolder { folder in
      var one = Fixtures.scenes("\(folder)/whole", steps: 7)
      one.optimizer = optimizer
      let whole = try Fixtures.losses(one)
      var part = Fixtures.scenes("\(folder)/part", steps: 4)
      part.optimizer = optimizer
      let first = try Fixtures.losses(part)
      part.maxSteps = 7
      part.resumes = true
      part.decodeThreads = 1
      let second = try Fixtures.losses(part)
      #expect(first + second == whole)
      let weights = try ["whole", "part"].map {
        try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)-0000.params"))
      }
      #expect(weights[0] == weights[1])
      let rows = try ["whole", "part"].map {
        try String(contentsOfFile: "\(folder)/\($0)-history.csv", encoding: .utf8)
      }
      #expect(rows[0] == rows[1])
      // Another batch size would be another run.
      part.batchSize = 3
      #expect { try DetectionTrainer(part) } throws: { "\($0)".contains("per_batch_size") }
    }
  }

  @Test func photosTrainAndBadOnesAreSkipped() throws {
    try Fixtures.withFolder { folder in
      try Fixtures.writeScenes(folder)
      try Data("no photo".utf8).write(to: URL(fileURLWithPath: "\(folder)/images/a/3.jpg"))
      var c = Fixtures.scenes("\(folder)/run", steps: 3)
      c.data = .folder(folder)
      #expect(try Fixtures.losses(c).count == 3)
      let log = try String(contentsOfFile: "\(folder)/run-train.log", encoding: .utf8)
      #expect(log.contains("skipped sample") && log.contains("3.jpg"))
      c.isStrict = true
      #expect { try Fixtures.losses(c) } throws: { "\($0)".contains("3.jpg") }
    }
  }

  @Test(.enabled(if: Fixtures.hasData("retinaface-mnet25/mnet.25-0000.params"), "the original checkpoint is not here"))
  func fineTunesTheOriginal() throws {
    try Fixtures.withFolder { folder in
      var c = Fixtures.scenes("\(folder)/tuned", steps: 2)
      c.pretrained = Fixtures.dataFolder + "/retinaface-mnet25/mnet.25"
      c.schedule.base = 1e-3
      let losses = try Fixtures.losses(c)
      #expect(losses.allSatisfy { $0.isFinite })
      let (before, after) = (
        try MXNetParameters(path: "\(c.pretrained ?? "")-0000.params"),
        try MXNetParameters(path: "\(folder)/tuned-0000.params")
      )
      // The first layers stay, the heads move.
      let fixed = "arg:mobilenet0_conv0_weight"
      let head = "arg:face_rpn_bbox_pred_stride8_weight"
      #expect(before[fixed]?.floats() == after[fixed]?.floats())
      #expect(before[head] != nil && before[head]?.floats() != after[head]?.floats())
    }
  }

  @Test func aStartThatFailsLeavesTheEarlierRunAsItWas() throws {
    try Fixtures.withFolder { folder in
      func files() throws -> [String: Data] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder).filter { !isFolder("\(folder)/\($0)") }
        return try Dictionary(
          uniqueKeysWithValues: names.map { ($0, try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)"))) })
      }
      var c = Fixtures.scenes("\(folder)/run", steps: 2)
      _ = try Fixtures.losses(c)
      let before = try files()
      try #require(before.keys.contains("run-state.safetensors") && before.keys.contains { $0.contains("tfevents") })
      c.pretrained = "\(folder)/nothing"
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("nothing-0000.params") }
      c.pretrained = nil
      c.validation = "\(folder)/no-photos"
      for resumes in [false, true] {
        c.resumes = resumes
        #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("no-photos") }
      }
      #expect(try files() == before)

      c.validation = nil
      let history = "\(folder)/run-history.csv"
      let text = try String(contentsOfFile: history, encoding: .utf8)
      try text.replacingOccurrences(of: "\n1,", with: "\n99999999999999999999,")
        .write(toFile: history, atomically: true, encoding: .utf8)
      let damaged = try files()
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("run-history.csv, line 2") }
      #expect(try files() == damaged)
    }
  }

  @Test func schedulesFollowTheReference() {
    var schedule = DetectionSchedule()
    schedule.shape = .epochs([1, 2, 3, 4, 5, 55, 68, 80])
    schedule.base = 0.001
    let (rate, last) = schedule.rates(imageCount: 1001, batchSize: 8, total: 0)
    #expect(last == 80 * 1001 / 8)
    #expect(rate(125) == 0.001)
    #expect(rate(126) == 0.001 * 1.5849)
    #expect(abs(rate(1000) - 0.01) < 1e-5)
    #expect(abs(rate(80 * 1001 / 8) - 1e-4) < 1e-6)
    schedule.shape = .epochs([1, 2, 3, 4, 5])
    #expect(abs(schedule.rates(imageCount: 80, batchSize: 8, total: 0).rate(1000) - 0.001 * 0.001) < 1e-12)
  }

  @Test func settingsAreChecked() throws {
    try Fixtures.withFolder { folder in
      var c = Fixtures.scenes("\(folder)/x", steps: 1)
      c.imageSize = 100
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("multiple of 32") }
      c = Fixtures.scenes("\(folder)/x", steps: 1)
      c.schedule.base = -1
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("--lr") }
      c = Fixtures.scenes("\(folder)/x", steps: 0)
      c.schedule.shape = .updates(.cosine, warmup: 0)
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("--max-steps") }
      c = Fixtures.scenes("\(folder)/x", steps: 1)
      c.pretrained = "\(folder)/nothing"
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("nothing-0000.params") }
    }
  }
}
