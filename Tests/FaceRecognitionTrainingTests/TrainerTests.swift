import EventLog
import Formats
import Foundation
import Jobs
import Testing
import Torch
import Training

@testable import FaceRecognitionTraining

extension TemporaryData {
  func configuration(
    _ settings: [String: String] = [:], loss: RecognitionLoss = .arcface
  ) throws -> RecognitionConfiguration {
    var c = RecognitionConfiguration(network: .y1, loss: loss, dataset: "tiny")
    let base = [
      "dataset_path": folder, "models_root": models, "per_batch_size": "4", "frequent": "2", "verbose": "1000",
      "max_steps": "6", "lr": "0.01",
    ]
    for (key, value) in base.merging(settings, uniquingKeysWith: { $1 }) { try c.set(key, value, from: "test") }
    return c
  }

  var runFolder: String { "\(models)/y1-arcface-tiny" }
  func text(_ name: String) throws -> String { try String(contentsOfFile: "\(runFolder)/\(name)", encoding: .utf8) }
}

extension TrainingOptions {
  /// Suites run side by side: a thread each, so that their teams do not wait for each other.
  static var oneThread: TrainingOptions {
    var options = TrainingOptions()
    options.threads = 1
    return options
  }
}

private struct Stop: Error {}

@Suite(.serialized) struct TrainerTests {
  /// A run that is cut off after any step (nothing is saved on the way out, as by kill −9) and resumed has, to the last
  /// bit, the losses and weights of one that was not; its history and events hold no step twice.
  @Test(arguments: [1, 4, 5]) func aKilledRunGoesOnBitForBit(killedAfter: Int) throws {
    let whole = try TemporaryData()
    var options = TrainingOptions.oneThread
    _ = try RecognitionTrainer(whole.configuration(), options).run()

    let cut = try TemporaryData()
    options.stateEvery = 2
    #expect(throws: Stop.self) {
      _ = try RecognitionTrainer(cut.configuration(), options) { if $0.step == killedAfter { throw Stop() } }.run()
    }
    options.resumes = true
    _ = try RecognitionTrainer(cut.configuration(), options).run()

    #expect(try cut.text("history.csv") == whole.text("history.csv"))
    let (a, b) = try (
      Safetensors(path: "\(whole.runFolder)/state.safetensors"), Safetensors(path: "\(cut.runFolder)/state.safetensors")
    )
    #expect(a.tensors.map(\.name) == b.tensors.map(\.name) && a.tensors.count > 300)
    for tensor in a.tensors {
      #expect(try a.tensor(named: tensor.name) == b.tensor(named: tensor.name), "\(tensor.name)")
    }
    let points = try EventReader.scalars(inFolder: cut.runFolder)["train/lossvalue"] ?? []
    #expect(points.map(\.step) == Array(Set(points.map(\.step))).sorted() && !points.isEmpty)
    // The same Speed lines, each once; only the speeds differ.
    func speedLines(_ data: TemporaryData) throws -> [Substring] {
      try data.text("train.log").split(separator: "\n").filter { $0.contains("Speed:") }.map {
        $0.prefix { $0 != "\t" }
      }
    }
    #expect(try speedLines(cut) == speedLines(whole))
  }

  @Test func lossesDoNotDependOnTheLoadersThreads() throws {
    let data = try TemporaryData()
    var histories: Set<String> = []
    for threads in [1, 3] {
      var options = TrainingOptions.oneThread
      options.decodeThreads = threads
      _ = try RecognitionTrainer(data.configuration(["max_steps": "3"]), options).run()
      histories.insert(try data.text("history.csv"))
    }
    #expect(histories.count == 1)
  }

  @Test func aCheckpointComesBackAndFillsAnotherRun() throws {
    let data = try TemporaryData()
    _ = try RecognitionTrainer(
      data.configuration(["max_steps": "2", "verbose": "2", "ckpt": "2"], loss: .softmax), TrainingOptions.oneThread
    ).run()
    let folder = "\(data.models)/y1-softmax-tiny"
    let log = try String(contentsOfFile: "\(folder)/train.log", encoding: .utf8)
    for line in [
      "Network FLOPs: 439.8M", "[lfw][2]XNorm: ", "[lfw][2]Accuracy-Flip: ", "[2]Accuracy-Highest: ", "saving 1",
    ] {
      #expect(log.contains(line))
    }
    let checkpoint = try Checkpoint(CheckpointLocation("\(folder),1", epoch: 7))
    #expect(checkpoint.location.parametersPath == "\(folder)/model-0001.params")
    let network = try checkpoint.network()
    let state = try Safetensors(path: "\(folder)/state.safetensors")
    for named in network.parameters + network.buffers {
      #expect(try named.tensor.floats == state.tensor(named: named.name).floats(), "\(named.name)")
    }
    // Fine-tuning takes it up; another network does not, unless told to.
    _ = try RecognitionTrainer(
      data.configuration(["pretrained": "\(folder),1", "max_steps": "1"]), TrainingOptions.oneThread
    ).run()
    #expect(throws: ConfigurationError.self) {
      _ = try RecognitionTrainer(
        data.configuration(["pretrained": "\(folder),1", "emb_size": "64"]), TrainingOptions.oneThread)
    }
    var lenient = TrainingOptions.oneThread
    lenient.allowMissing = true
    _ = try RecognitionTrainer(
      data.configuration(["pretrained": "\(folder),1", "emb_size": "64", "max_steps": "1"]), lenient
    ).run()
  }

  @Test func aStateOfAnotherRunIsRefused() throws {
    let data = try TemporaryData()
    _ = try RecognitionTrainer(data.configuration(["max_steps": "1"]), TrainingOptions.oneThread).run()
    var options = TrainingOptions.oneThread
    options.resumes = true
    options.seed = 5
    #expect(throws: FormatError.self) { _ = try RecognitionTrainer(data.configuration(), options) }
  }

  @Test func wrongClassCountsAreFoundBeforeTheFirstStep() throws {
    let data = try TemporaryData()
    #expect(throws: FormatError.self) {
      _ = try RecognitionTrainer(data.configuration(["num_classes": "3"]), TrainingOptions.oneThread)
    }
    // Without a property file the record file says it.
    try FileManager.default.removeItem(atPath: "\(data.folder)/property")
    _ = try RecognitionTrainer(data.configuration(["max_steps": "1"]), TrainingOptions.oneThread).run()
    try Property(classCount: 2, height: 112, width: 112).write(to: "\(data.folder)/property")
    do {
      _ = try RecognitionTrainer(data.configuration(), TrainingOptions.oneThread)
      Issue.record("a property file with too few classes was accepted")
    } catch let error as FormatError {
      #expect("\(error)".contains("4 identities") && "\(error)".contains("num_classes"))
    }
  }

  @Test func badRecordsAreCountedAndSkipped() throws {
    let data = try TemporaryData()
    let writer = try FaceRecordWriter(path: "\(data.folder)/train.rec")
    for who in 0..<4 {
      for image in 0..<8 {
        try writer.append(label: who, encoded: image == 3 ? [UInt8]() : TemporaryData.picture(who, image))
      }
    }
    try writer.commit()
    _ = try RecognitionTrainer(data.configuration(["max_steps": "8"]), TrainingOptions.oneThread).run()
    let log = try data.text("train.log")
    #expect(log.contains("warning: skipped sample") && log.contains("train.rec"))
    var strict = TrainingOptions.oneThread
    strict.isStrict = true
    #expect(throws: LoaderError.self) {
      _ = try RecognitionTrainer(data.configuration(["max_steps": "8"]), strict).run()
    }
  }

  /// Each kind of broken record at the head of an identity, where the check of the labels meets it first.
  @Test func everyKindOfBadRecordIsNamed() throws {
    let data = try TemporaryData()
    let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    let cmyk = try [UInt8](Data(contentsOf: fixtures.appendingPathComponent("Fixtures/imaging/cmyk.jpg")))
    let bad: [[UInt8]] = [[], cmyk, Array("no image".utf8), try Array(TemporaryData.picture(3, 0).prefix(900))]
    let writer = try FaceRecordWriter(path: "\(data.folder)/train.rec")
    for who in 0..<4 {
      for image in 0..<4 {
        try writer.append(label: who, encoded: image == 0 ? bad[who] : TemporaryData.picture(who, image))
      }
    }
    try writer.commit()
    // The length of the first record says less than a record's own header takes.
    var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(data.folder)/train.rec")))
    bytes[4] = 10
    try Data(bytes).write(to: URL(fileURLWithPath: "\(data.folder)/train.rec"))
    _ = try RecognitionTrainer(data.configuration(["max_steps": "8"]), TrainingOptions.oneThread).run()
    let log = try data.text("train.log")
    for reason in ["a record of 10 bytes", "149×112", "neither JPEG nor PNG", "ends early"] {
      #expect(log.contains(reason), "\(reason)")
    }
  }
}

@Suite struct ConfigurationTests {
  @Test func unknownKeysNameTheNearest() {
    var c = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "emore")
    do {
      try c.set("num_clases", "3", from: "--set")
      Issue.record("an unknown key was accepted")
    } catch {
      #expect("\(error)".contains("'num_classes'"))
    }
    #expect(throws: ConfigurationError.self) { try c.set("ckpt", "always", from: "--set") }
    #expect(throws: ConfigurationError.self) { try c.set("lr", "nan", from: "--set") }
  }

  @Test func printsAsPythonDoes() throws {
    var c = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "lfw")
    for (key, value) in [("per_batch_size", "16"), ("frequent", "4"), ("num_classes", "476"), ("lr", "0.1")] {
      try c.set(key, value, from: "test")
    }
    #expect(
      c.namespace(contextCount: 1)
        == "Namespace(dataset='lfw', network='y1', loss='arcface', models_root='./models', pretrained='', "
        + "pretrained_epoch=1, ckpt=3, verbose=2000, lr=0.1, lr_steps='100000,160000,220000', wd=0.0005, mom=0.9, "
        + "frequent=4, per_batch_size=16, kvstore='device', ctx_num=1, batch_size=16, rescale_threshold=0, "
        + "image_channel=3)")
    #expect(c.dictionary.hasPrefix("{'bn_mom': 0.9, 'workspace': 256, 'emb_size': 128, 'ckpt_embedding': True,"))
    #expect(c.dictionary.contains("'image_shape': (112, 112, 3)") && c.dictionary.contains("'data_cutoff': False"))
    #expect(PythonValue.float(0.1 * 0.1) == "0.010000000000000002" && PythonValue.float(1e-5) == "1e-05")
    #expect(PythonValue.float(64) == "64.0" && PythonValue.float(0.0001) == "0.0001")
  }

  @Test func everyKeyOfTheReferencesLogCanBeSet() throws {
    var c = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "emore")
    let keys = [
      "loss_m1", "loss_m2", "loss_m3", "net_act", "emb_size", "data_rand_mirror", "loss_name", "val_targets", "ce_loss",
      "net_input", "image_shape", "net_blocks", "fc7_lr_mult", "ckpt_embedding", "net_unit", "net_output",
      "count_flops",
      "num_workers", "batch_size", "memonger", "data_images_filter", "dataset", "num_classes", "fc7_no_bias", "loss",
      "data_color", "loss_s", "dataset_path", "data_cutoff", "net_se", "net_multiplier", "fc7_wd_mult", "network",
      "per_batch_size", "net_name", "workspace", "max_steps", "bn_mom",
    ]
    for key in keys {
      let value = try #require(c[key]?.description, "\(key)")
      try c.set(key, value.filter { $0 != "'" }, from: "--set")
    }
    try c.validate()
    for (key, value) in [
      ("data_color", "3"), ("accumulate", "0"), ("ckpt", "7"), ("net_act", "swish"), ("optimizer", "lion"),
      ("schedule", "exponential"), ("precision", "float8"), ("head", "best"), ("clip_norm", "-1"),
      ("shuffle_chunk", "0"),
    ] {
      var wrong = c
      try wrong.set(key, value, from: "--set")
      #expect(throws: ConfigurationError.self, "\(key)=\(value)") { try wrong.validate() }
    }
  }
}

@Suite struct SpeedometerTests {
  /// The lines of two epochs of five batches with frequent 2, as MXNet 1.9.1 prints them.
  @Test func linesAreTheReferences() {
    var meter = Speedometer(batchSize: 8, frequent: 2)
    var lines: [String] = []
    for epoch in 0..<2 {
      for batch in 0..<5 {
        meter.add(loss: Double(batch), correct: Double(batch))
        if let line = meter.line(epoch: epoch, batch: batch, now: Double(epoch * 10 + batch)) {
          lines.append(line.text)
        }
      }
      meter.reset()
    }
    #expect(
      lines == [
        "Epoch[0] Batch [0-2]\tSpeed: 8.00 samples/sec\tacc=0.125000\tlossvalue=1.000000",
        "Epoch[0] Batch [2-4]\tSpeed: 8.00 samples/sec\tacc=0.437500\tlossvalue=3.500000",
        "Epoch[1] Batch [0-2]\tSpeed: 8.00 samples/sec\tacc=0.125000\tlossvalue=1.000000",
        "Epoch[1] Batch [2-4]\tSpeed: 8.00 samples/sec\tacc=0.437500\tlossvalue=3.500000",
      ])
  }

  @Test func ordersAreAPureFunctionOfSeedAndEpoch() {
    let order = SampleOrder(seed: 7, count: 1000)
    #expect(order.permutation(epoch: 3) == order.permutation(epoch: 3))
    #expect(order.permutation(epoch: 3) != order.permutation(epoch: 4))
    #expect(order.permutation(epoch: 0).sorted() == (0..<1000).map { UInt32($0) })
    #expect(SampleOrder(seed: 8, count: 1000).permutation(epoch: 3) != order.permutation(epoch: 3))
  }
}
