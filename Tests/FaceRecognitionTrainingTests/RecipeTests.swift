import FaceRecognition
import Formats
import Foundation
import Jobs
import Testing
import Torch

@testable import FaceRecognitionTraining
@testable import Training

private struct Stop: Error {}

@Suite(.serialized) struct RecipeTests {
  private func run(
    _ data: TemporaryData, _ settings: [String: String], loss: RecognitionLoss = .arcface,
    options: TrainingOptions = .oneThread, observer: @escaping (TrainingStep) throws -> Void = { _ in }
  ) throws -> RecognitionTrainer {
    let small = Self.small.merging(settings) { $1 }
    let trainer = try RecognitionTrainer(data.configuration(small, loss: loss), options, observer: observer)
    _ = try trainer.run()
    return trainer
  }

  /// The least that is y1.
  private static let small = ["net_blocks": "1,1,1,1", "per_batch_size": "2", "emb_size": "32"]

  private func log(_ data: TemporaryData, _ loss: String = "arcface") throws -> String {
    try String(contentsOfFile: "\(data.models)/y1-\(loss)-tiny/train.log", encoding: .utf8)
  }

  private func difference(_ a: Tensor, _ b: Tensor) -> Double { (a - b).abs().max().item }

  /// Every optimizer, with parts, clipping, a schedule and half precision, goes on bit for bit after a kill.
  @Test(arguments: [
    ["optimizer": "sgd", "schedule": "polynomial", "warmup_steps": "2", "accumulate": "2", "per_batch_size": "2"],
    ["optimizer": "adamw", "schedule": "cosine", "clip_norm": "5", "lr": "0.001", "memonger": "true"],
    ["optimizer": "mxnet-sgd", "clip_norm": "1", "clip_head": "true", "accumulate": "2"],
    ["is_shuffled_rec": "true", "data_color": "2", "data_cutoff": "30", "freeze_backbone": "2"],
  ]) func everyRecipeGoesOnBitForBit(_ recipe: [String: String]) throws {
    let whole = try TemporaryData()
    let settings = recipe.merging(["max_steps": "4"]) { $1 }
    _ = try run(whole, settings)
    let cut = try TemporaryData()
    var options = TrainingOptions.oneThread
    options.stateEvery = 1
    #expect(throws: Stop.self) {
      _ = try run(cut, settings, options: options) { if $0.step == 3 { throw Stop() } }
    }
    options.resumes = true
    _ = try run(cut, settings, options: options)
    #expect(try cut.text("history.csv") == whole.text("history.csv"))
    let states = try [whole, cut].map { try Safetensors(path: "\($0.runFolder)/state.safetensors") }
    for tensor in states[0].tensors {
      #expect(try states[0].tensor(named: tensor.name) == states[1].tensor(named: tensor.name), "\(tensor.name)")
    }
    #expect(states[0].tensors.count == states[1].tensors.count)
    // Another recipe does not take that state up.
    if recipe["optimizer"] != nil {
      var other = settings
      other["optimizer"] = recipe["optimizer"] == "sgd" ? "adamw" : "sgd"
      #expect(throws: FormatError.self) { _ = try run(cut, other, options: options) }
    }
  }

  /// With a frozen backbone (no batch statistics) two parts of four images are one batch of eight.
  @Test func partsAreALargerBatch() throws {
    let data = try TemporaryData()
    let base = ["max_steps": "2", "freeze_backbone": "2", "optimizer": "sgd", "data_rand_mirror": "true"]
    let large = try run(data, base.merging(["per_batch_size": "8"]) { $1 })
    let parts = try run(data, base.merging(["per_batch_size": "4", "accumulate": "2"]) { $1 })
    #expect(try log(data).contains("beyond the reference") && log(data).contains("2 parts of 4 images"))
    let (a, b) = (large.head.parameters[0].tensor, parts.head.parameters[0].tensor)
    #expect(difference(a, b) < 1e-6 * a.abs().max().item)
    // And the backbone has not moved.
    let fresh = try RecognitionTrainer(data.configuration(Self.small), .oneThread)
    for (moved, start) in zip(
      parts.network.parameters + parts.network.buffers, fresh.network.parameters + fresh.network.buffers)
    {
      #expect(moved.tensor.floats == start.tensor.floats, "\(moved.name)")
    }
    #expect(difference(b, fresh.head.parameters[0].tensor) > 0)
  }

  /// Without decay and momentum a clipped update is as long as rate · norm, over the backbone alone.
  @Test func clippingBoundsTheUpdate() throws {
    let data = try TemporaryData()
    let settings = ["max_steps": "1", "optimizer": "sgd", "mom": "0", "wd": "0", "lr": "0.5", "clip_norm": "0.01"]
    let start = try RecognitionTrainer(data.configuration(Self.small.merging(settings) { $1 }), .oneThread)
    let before = (start.network.parameters + start.head.parameters).map { $0.tensor.detached().cloned() }
    _ = try start.run()
    let moves = withoutGrad { zip(start.network.parameters, before).map { $0.tensor - $1 } }
    #expect(abs(totalNorm(moves) - 0.5 * 0.01) < 1e-5)
    let head = withoutGrad { start.head.parameters[0].tensor - before[before.count - 1] }
    #expect(totalNorm([head]) > 0.5 * 0.01)
  }

  /// An infinity that gets into a weight, a gradient or a statistic is named before anything is updated, and the state on
  /// the disk is the last good one.
  @Test(arguments: ["conv_2_dw_conv2d_weight", "res_3_block0_conv_sep_batchnorm_gamma", "fc7_weight"])
  func infinitiesAreNamed(_ name: String) throws {
    let data = try TemporaryData()
    var options = TrainingOptions.oneThread
    options.stateEvery = 1
    let target = Holder()
    let trainer = try RecognitionTrainer(data.configuration(Self.small), options) { step in
      guard step.step == 2 else { return }
      target.tensor?.withMutableBytes { $0.storeBytes(of: Float.infinity, as: Float.self) }
    }
    target.tensor = (trainer.network.parameters + trainer.head.parameters).first { $0.name == name }?.tensor
    do {
      _ = try trainer.run()
      Issue.record("an infinity in \(name) was not seen")
    } catch let error as ConfigurationError {
      #expect("\(error)".contains(name) && "\(error)".contains("step"), "\(error)")
    }
    let state = try TrainingState.Reader(path: "\(data.runFolder)/state.safetensors")
    #expect(try state.integer("step") == 1)
    for tensor in state.names { #expect(firstNotFinite([try state.tensor(tensor)]) == nil) }
    options.resumes = true
    _ = try run(data, [:], options: options)
  }

  private final class Holder { var tensor: Tensor? }

  /// Half precision learns as float32 does; a float16 update that overflows is left out and the scale halved.
  @Test(arguments: ["float32", "bfloat16", "float16"]) func halfPrecisionLearns(_ precision: String) throws {
    Torch.threadCount = 1
    var c = RecognitionConfiguration(network: .y1, loss: .softmax, dataset: "none")
    for (key, value) in [("precision", precision), ("memonger", "true"), ("wd", "0")] {
      try c.set(key, value, from: "test")
    }
    let settings = UpdateSettings(c, TrainingOptions())
    let network = try TrainableNetwork(
      residualGraph(size: 16, channels: [8, 16], units: [1, 1], embedding: 16, dropout: 0))
    let generator = Generator(seed: 1)
    Initializer.xavierGaussianOut.initialize(network, generator)
    let head = SoftmaxHead(
      classCount: 4, embeddingSize: 16, hasBias: true, momentum: 0.9, weightDecay: 0, device: .cpu,
      generator: generator)
    let update = Update(network, head, settings)
    let pixels = PixelBuffer(count: 8 * 3 * 16 * 16)
    for i in pixels.bytes.indices {
      // Four patterns, two images of each, with noise.
      var random = CounterRandom(UInt64(i))
      pixels.bytes[i] = UInt8((i / 1536 + 1) * (i % 768) % 200 + random.next(below: 50))
    }
    let batch = LoadedBatch(position: BatchPosition(), pixels: pixels, labels: [0, 0, 1, 1, 2, 2, 3, 3])
    let losses = try (1...12).map {
      try update(batch, imageSize: 16, step: $0, learningRate: 0.1).loss
    }
    let (first, last): (Double, Double) = (losses.prefix(3).reduce(0, +), losses.suffix(3).reduce(0, +))
    #expect(last < first / 2, "\(losses)")
    guard precision == "float16" else { return }
    var notes: [String: String] = [:]
    update.note(in: &notes)
    #expect(notes["gradient_scaler"] == "65536.0 12")
    // Weights so large that their gradients overflow once scaled: nothing moves, the scale is halved.
    let weight = try #require(head.parameters.first?.tensor)
    weight.scale(by: 1e5)
    let wrong = LoadedBatch(position: BatchPosition(), pixels: pixels, labels: [1, 1, 2, 2, 3, 3, 0, 0])
    let before = (network.parameters + head.parameters).map(\.tensor.floats)
    let result = try update(wrong, imageSize: 16, step: 13, learningRate: 0.1)
    #expect(!result.moved && update.scaler?.scale == 32768)
    #expect((network.parameters + head.parameters).map(\.tensor.floats) == before)
  }

  /// What a fine-tune starts its head from, and what the log says of it.
  @Test func headsStartAsTold() throws {
    let data = try TemporaryData()
    _ = try run(data, ["max_steps": "2", "verbose": "2", "ckpt": "2", "ckpt_embedding": "false"], loss: .cosface)
    let from = "\(data.models)/y1-cosface-tiny,1"
    let saved = try Checkpoint(CheckpointLocation(from, epoch: 1))
    let stored = try #require(saved.others["fc7_weight"])
    func start(_ head: String, _ more: [String: String] = [:]) throws -> Tensor {
      let settings = Self.small.merging(["pretrained": from, "head": head]) { $1 }.merging(more) { $1 }
      return try RecognitionTrainer(data.configuration(settings), .oneThread).head.parameters[0].tensor
    }
    #expect(try start("keep").floats == stored.floats())
    #expect(try log(data).contains("head: fc7_weight [4, 32] from the checkpoint"))
    #expect(try start("random").floats != stored.floats())
    #expect(try log(data).contains("left aside"))

    let means = try start("class-mean")
    #expect(try log(data).contains("4 of 4 identities start from the mean"))
    // The same by hand, over all images of an identity.
    let file = try FaceRecordFile(path: "\(data.folder)/train.rec")
    let source = try FaceRecordSource(file, imageSize: 112, classCount: 4, augmentation: .init(mirrors: false))
    let network = try saved.network()
    network.setTraining(false)
    let reader = try source.makeReader()
    var sums = [[Double]](repeating: [Double](repeating: 0, count: 32), count: 4)
    for index in 0..<source.count {
      var pixels = [UInt8](repeating: 0, count: source.sampleSize)
      let label = try pixels.withUnsafeMutableBufferPointer { buffer in
        var random = CounterRandom(0)
        return Int(try reader.read(index, into: buffer, random: &random))
      }
      let row = withoutGrad {
        network(Tensor(pixels, shape: [1, 112, 112, 3]).permuted([0, 3, 1, 2])).floats.map(Double.init)
      }
      let length = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      for column in 0..<32 { sums[label][column] += row[column] / length }
    }
    let rows = means.floats
    for label in 0..<4 {
      let row = rows[label * 32..<label * 32 + 32].map(Double.init)
      let (a, b) = (row.reduce(0) { $0 + $1 * $1 }, sums[label].reduce(0) { $0 + $1 * $1 })
      let dot = zip(row, sums[label]).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(dot / (a * b).squareRoot() > 0.99999)
      // As long as a random row is: 0.01 · √32.
      #expect(abs(a.squareRoot() - 0.01 * 32.0.squareRoot()) < 0.02)
    }
  }

  /// The symbol with head and loss is MXNet's, node by node.
  @Test(arguments: ["softmax", "arcface", "cosface", "combined", "nsoftmax"])
  func wholeSymbolsAreTheReferences(_ name: String) throws {
    let file = TrainingGolden.folder.appending(path: "symbol-heads.json")
    let document = try #require(JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
    let golden = try #require(document[name] as? [String: Any])
    let first = try #require(golden["first"] as? Int)
    let loss: TrainingSymbol.Loss =
      switch name {
      case "softmax": .softmax(hasBias: true)
      case "arcface": .margin(Margin(m2: 0.5))
      case "cosface": .margin(Margin(m3: 0.35))
      case "combined": .margin(Margin(m1: 0.9, m2: 0.4, m3: 0.15))
      default: .margin(Margin())
      }
    var graph = try RecognitionNetwork.y1.graph()
    graph.preprocessing = nil
    let made = try TrainingSymbol(
      loss: loss, classCount: 20, embeddingSize: 128, batchSize: 8, reportsLoss: true, multipliers: (1, 1)
    ).symbol(graph.mxnetSymbol())
    let parsed = try JSONSerialization.jsonObject(with: Data(made.json().utf8)) as? [String: Any]
    let nodes = try #require(parsed?["nodes"] as? [[String: Any]])
    let expected = try #require(golden["nodes"] as? [[String: Any]])
    #expect(nodes.count == first + expected.count)
    for (a, b) in zip(nodes[first...], expected) {
      #expect(NSDictionary(dictionary: a) == NSDictionary(dictionary: b), "\(a) \(b)")
    }
    #expect(NSArray(array: parsed?["heads"] as? [Any] ?? []) == NSArray(array: golden["heads"] as? [Any] ?? []))
  }

  /// A checkpoint of another network is refused with the name of the one that fits.
  @Test func theNetworkThatFitsIsProposed() throws {
    let data = try TemporaryData()
    let y1 = ["net_blocks": "1,4,6,2", "emb_size": "128"]
    _ = try run(data, y1.merging(["max_steps": "1", "verbose": "1", "ckpt": "2"]) { $1 })
    var c = RecognitionConfiguration(network: .y2, loss: .arcface, dataset: "tiny")
    for (key, value) in [
      ("dataset_path", data.folder), ("models_root", data.models), ("per_batch_size", "4"), ("max_steps", "1"),
      ("pretrained", "\(data.models)/y1-arcface-tiny,1"),
    ] { try c.set(key, value, from: "test") }
    do {
      _ = try RecognitionTrainer(c, .oneThread)
      Issue.record("y1's weights went into y2")
    } catch let error as ConfigurationError {
      #expect("\(error)".contains("--network y1") && "\(error)".contains("--allow-missing"), "\(error)")
    }
    var lenient = TrainingOptions.oneThread
    lenient.allowMissing = true
    _ = try RecognitionTrainer(c, lenient).run()
  }
}
