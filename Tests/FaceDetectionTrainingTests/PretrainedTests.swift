import FaceDetection
import Formats
import Foundation
import Imaging
import Inference
import Testing
import Torch

@testable import FaceDetectionTraining

/// Runs that start from other files, and runs of the larger networks.
@Suite(.serialized) struct PretrainedTests {
  /// The weights of a backbone as an ImageNet checkpoint of MXNet holds them, with a classifier.
  private func writeBackbone(_ network: DetectionNetwork, _ prefix: String) throws -> [String: [Float]] {
    let graph = try network.network(.current, .net3).graph(height: 64, width: 64)
    var entries: [(name: String, tensor: StoredTensor)] = []
    var weights: [String: [Float]] = [:]
    for (place, parameter) in try graph.parameters().enumerated() {
      let name = parameter.name
      let isBackbone =
        network == .mnet
        ? name.hasPrefix("mobilenet0_")
        : ["bn_data", "conv0", "bn0", "stage", "bn1"].contains { name.hasPrefix($0) }
      guard isBackbone else { continue }
      let fan = Float(max(1, parameter.shape.dropFirst().reduce(1, *)))
      let values = (0..<parameter.count).map { index -> Float in
        let draw = Float((index &* 7919 &+ place &* 104_729) % 2001) / 1000 - 1
        return parameter.shape.count > 1 ? draw / fan.squareRoot() : 1 + 0.1 * draw
      }
      weights[name] = values
      entries.append(
        ((parameter.isAuxiliary ? "aux:" : "arg:") + name, try StoredTensor(shape: parameter.shape, floats: values)))
    }
    entries.append(("arg:fc1_weight", try StoredTensor(shape: [10, 4], floats: [Float](repeating: 1, count: 40))))
    try MXNetParameters(entries: entries).write(to: "\(prefix)-0000.params")
    return weights
  }

  @Test(arguments: [DetectionNetwork.mnet, .resnet])
  func backbonesOfImageNetAreTaken(_ network: DetectionNetwork) throws {
    try Fixtures.withFolder { folder in
      let weights = try writeBackbone(network, "\(folder)/backbone")
      #expect(weights.count > 100)
      var c = Fixtures.scenes("\(folder)/run", steps: 1)
      c.network = network
      c.batchSize = 2
      c.pretrained = "\(folder)/backbone"
      c.schedule.base = 1e-12
      c.weightDecay = 0
      #expect(try Fixtures.losses(c).allSatisfy(\.isFinite))
      let saved = try MXNetParameters(path: "\(folder)/run-0000.params")
      for (name, values) in weights where !name.contains("_mean") && !name.contains("_var") {
        let own = try #require(saved["arg:\(name)"]).floats()
        // γ of the data's normalisation is held at 1, whatever the file says.
        if name == "bn_data_gamma" { continue }
        #expect(zip(own, values).allSatisfy { abs($0 - $1) < 1e-6 }, "\(name)")
      }
      let log = try String(contentsOfFile: "\(folder)/run-train.log", encoding: .utf8)
      #expect(log.contains("a backbone: \(weights.count) tensors loaded"), "\(log)")
      #expect(log.contains("start anew (") && log.contains("1 of the file are not used"), "\(log)")
    }
  }

  /// A checkpoint fixes the first layers: a run that began without one must not go on with one, nor the other way round.
  @Test(arguments: [false, true]) func fixedLayersArePartOfAState(startsPretrained: Bool) throws {
    try Fixtures.withFolder { folder in
      _ = try writeBackbone(.mnet, "\(folder)/backbone")
      var c = Fixtures.scenes("\(folder)/run", steps: 1)
      c.batchSize = 2
      c.schedule.base = 1e-6
      c.pretrained = startsPretrained ? "\(folder)/backbone" : nil
      #expect(try Fixtures.losses(c).count == 1)
      c.maxSteps = 2
      c.resumes = true
      var other = c
      other.pretrained = startsPretrained ? nil : "\(folder)/backbone"
      let error = #expect(throws: FormatError.self) { try DetectionTrainer(other) }
      #expect(error?.code == .mismatch && error?.message.contains("fixed_parameters") == true)
      #expect(error?.advice?.contains("--pretrained") == true)
      #expect(try Fixtures.losses(c).count == 1)
    }
  }

  @Test(.enabled(if: Fixtures.isSlow, "set INSIGHTFACE_SLOW_TESTS=1")) func resNetTrainsAndSaves() throws {
    try Fixtures.withFolder { folder in
      var c = Fixtures.scenes("\(folder)/run", steps: 2)
      c.network = .resnet
      c.batchSize = 2
      c.schedule.base = 1e-3
      #expect(try Fixtures.losses(c).allSatisfy(\.isFinite))
      let graph = try NetworkGraph.importing(
        MXNetSymbol.read(path: "\(c.prefix)-symbol.json"),
        weights: MXNetParameters(path: "\(c.prefix)-0000.params").entries,
        options: .init(inputShapes: ["data": .images(channels: 3, height: 64, width: 64)])
      ).graph
      #expect(graph.outputs.count == 9)
      // At a rate of 1e-3 two steps leave no number that is none.
      #expect(graph.weights.values.allSatisfy { $0.floats().allSatisfy(\.isFinite) })
    }
  }

  // MARK: The PyTorch port

  private func portRun(_ prefix: String, steps: Int) -> DetectionConfiguration {
    var c = Fixtures.scenes(prefix, steps: steps)
    c.network = .portMobile
    c.optimizer = .sgd
    c.schedule.base = 0.01
    return c
  }

  @Test func thePortLearnsAndItsFileDetects() throws {
    try Fixtures.withFolder { folder in
      var c = portRun("\(folder)/model/port", steps: 30)
      c.heldOutScenes = 3
      c.evaluateEvery = 30
      c.probeBatches = 2
      let losses = try Fixtures.losses(c)
      let log = try String(contentsOfFile: "\(c.prefix)-train.log", encoding: .utf8)
      let probes = log.split(separator: "\n").filter { $0.contains("]loss: ") }.compactMap { line in
        line.split(separator: " ").dropFirst().first.flatMap { Double($0) }
      }
      #expect(probes.count == 2 && log.contains("AP@0.5"), "\(log)")
      let (first, last) = (losses.prefix(5).reduce(0, +), losses.suffix(5).reduce(0, +))
      #expect(last < 0.9 * first, "\(first) → \(last)")
      let graph = try PyTorchRetinaFace.load(path: "\(c.prefix).pth")
      let detector = FaceDetector(runner: try graph.makeRunner(), configuration: .pyTorch)
      _ = try detector.detect(try Image(width: 100, height: 80))
      let other = try ModelFile(reading: "\(c.prefix).safetensors")
      #expect(other.graph.isPyTorchRetinaFace)
      #expect(other.graph.weights["ClassHead.0.conv1x1.bias"] == graph.weights["ClassHead.0.conv1x1.bias"])
    }
  }

  @Test func thePortResumesBitForBit() throws {
    try Fixtures.withFolder { folder in
      let whole = try Fixtures.losses(portRun("\(folder)/whole", steps: 5))
      let first = try Fixtures.losses(portRun("\(folder)/part", steps: 3))
      var rest = portRun("\(folder)/part", steps: 5)
      rest.resumes = true
      #expect(try first + Fixtures.losses(rest) == whole)
      let files = try ["whole", "part"].map { try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0).pth")) }
      #expect(files[0] == files[1])
    }
  }

  @Test func thePortStartsFromItsOwnFileOrFromABackbone() throws {
    try Fixtures.withFolder { folder in
      _ = try Fixtures.losses(portRun("\(folder)/first", steps: 1))
      var c = portRun("\(folder)/second", steps: 1)
      c.pretrained = "\(folder)/first.pth"
      c.schedule.base = 1e-12
      _ = try Fixtures.losses(c)
      let log = try String(contentsOfFile: "\(folder)/second-train.log", encoding: .utf8)
      #expect(log.contains("RetinaFace of the PyTorch port: ") && log.contains(" 0 start anew"), "\(log)")
      let (before, after) = (
        try PyTorchRetinaFace.load(path: "\(folder)/first.pth"),
        try PyTorchRetinaFace.load(path: "\(folder)/second.pth")
      )
      let name = "BboxHead.1.conv1x1.weight"
      #expect(before.weights[name] != nil && before.weights[name]?.floats() == after.weights[name]?.floats())
      // A backbone as the port's own ImageNet file names it, with a classifier.
      var backbone: [(name: String, tensor: StoredTensor)] = []
      for (name, tensor) in try before.stateDictionary() where name.hasPrefix("body.") {
        backbone.append(("module." + name.dropFirst(5), tensor))
      }
      backbone.append(("module.fc.bias", try StoredTensor(shape: [3], floats: [1, 2, 3])))
      try PyTorchFile.write(backbone, to: "\(folder)/backbone.pth")
      c.prefix = "\(folder)/third"
      c.pretrained = "\(folder)/backbone.pth"
      _ = try Fixtures.losses(c)
      let text = try String(contentsOfFile: "\(folder)/third-train.log", encoding: .utf8)
      #expect(text.contains("a backbone: ") && text.contains("; 1 of the file are not used"), "\(text)")
      // Another network's weights are refused.
      c.network = .portResNet50
      c.pretrained = "\(folder)/first.pth"
      #expect { try DetectionTrainer(c) } throws: { "\($0)".contains("does not fit") }
    }
  }

  @Test(.enabled(if: Fixtures.isSlow, "set INSIGHTFACE_SLOW_TESTS=1")) func thePortsResNetTrains() throws {
    try Fixtures.withFolder { folder in
      var c = portRun("\(folder)/run", steps: 1)
      c.network = .portResNet50
      c.batchSize = 2
      c.imageSize = 72
      #expect(try Fixtures.losses(c).allSatisfy(\.isFinite))
      _ = try PyTorchRetinaFace.load(path: "\(folder)/run.pth")
    }
  }
}
