import Foundation
import Testing
import Torch

@testable import FaceRecognitionTraining

@Suite struct LossRegistryTests {
  @Test(arguments: RecognitionLoss.allCases) func everyLossHasItsKeysAndItsHead(loss: RecognitionLoss) throws {
    var c = RecognitionConfiguration(network: .y1, loss: loss, dataset: "emore")
    for (key, value) in loss.defaults {
      #expect(c[key] == value)
      try c.set(key, value.description.filter { $0 != "'" }, from: "--set")
      #expect(c[key] == value && c.dictionary.contains("'\(key)': \(value)"))
    }
    try c.set("num_classes", "7", from: "test")
    try c.validate()
    let head = loss.head(c, TrainingOptions(), Generator(seed: 1))
    #expect(head.parameters.count == head.momenta.count && head.parameters.count == head.gradients.count)
    if !loss.isTriplet {
      #expect(head.parameters[0].tensor.shape == [loss == .subcenterArcface ? 21 : 7, 128] && head.classCount == 7)
    }
    #expect(c.int("per_batch_size") == (loss.isTriplet ? 60 : 128) && c.int("batch_size") == c.int("per_batch_size"))
    #expect(c.double("lr") == (loss.isTriplet ? 0.05 : 0.1))
  }

  @Test func wrongValuesAndForeignKeysAreNamed() throws {
    for (loss, key, value) in [
      (RecognitionLoss.subcenterArcface, "loss_K", "0"), (.magface, "loss_u_a", "5"), (.sphereface, "loss_m1", "0.5"),
      (.adaface, "loss_t_alpha", "0"), (.elasticfaceCos, "loss_std", "-1"), (.combinedMargin, "loss_m1", "0.9"),
      (.combinedMargin, "interclass_filtering_threshold", "1"), (.arcface, "loss_name", "softmax"),
    ] {
      var c = RecognitionConfiguration(network: .y1, loss: loss, dataset: "x")
      try c.set(key, value, from: "test")
      do {
        try c.validate()
        Issue.record("\(loss) \(key)=\(value) was accepted")
      } catch { #expect("\(error)".contains(key)) }
    }
    var c = RecognitionConfiguration(network: .y1, loss: .magface, dataset: "x")
    do {
      try c.set("loss_l_margn", "1", from: "--set")
      Issue.record("an unknown key was accepted")
    } catch { #expect("\(error)".contains("'loss_l_margin'")) }
    var options = TrainingOptions()
    options.marginGradient = .exact
    #expect(throws: ConfigurationError.self) { try c.validateLoss(options) }
    options.marginGradient = nil
    options.marginWarmup = 5
    try c.validateLoss(options)
    #expect(throws: ConfigurationError.self) {
      try RecognitionConfiguration(network: .y1, loss: .triplet, dataset: "x").validateLoss(options)
    }
  }

  /// What a head remembers is part of a saved state and of a whole checkpoint: a cut run ends as a whole one.
  @Test(arguments: ["curricularface", "adaface", "elasticface-arc"])
  func stateHoldsWhatHeadsRemember(name: String) throws {
    struct Stop: Error {}
    let loss = try #require(RecognitionLoss(rawValue: name))
    var options = TrainingOptions.oneThread
    options.stateEvery = 1
    var states: [Data] = []
    for cutAfter in [9, 1] {
      let data = try TemporaryData()
      let settings = ["max_steps": "2"]
      options.resumes = false
      do {
        _ = try RecognitionTrainer(data.configuration(settings, loss: loss), options) {
          if $0.step == cutAfter + 1 { throw Stop() }
        }.run()
      } catch is Stop {}
      options.resumes = true
      let head = "\(data.models)/y1-\(name)-tiny"
      _ = try RecognitionTrainer(data.configuration(settings, loss: loss), options).run()
      states.append(try Data(contentsOf: URL(filePath: "\(head)/history.csv")))
      let state = try String(
        decoding: Data(contentsOf: URL(filePath: "\(head)/state.safetensors")).prefix(60_000), as: UTF8.self)
      #expect((name != "curricularface") || state.contains("\"fc7_t\""))
      #expect((name != "adaface") || state.contains("\"fc7_batch_std\""))
    }
    #expect(states[0] == states[1] && states[0].count > 60)
  }
}
