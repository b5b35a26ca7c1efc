import FaceRecognition
import Formats
import Foundation
import Jobs
import Testing
import Torch
import Training

@testable import FaceRecognitionTraining

@Suite struct MemoryEstimateTests {
  private func estimate(_ settings: [String: String]) throws -> (MemoryEstimate, RecognitionConfiguration) {
    var c = RecognitionConfiguration(network: .y1, loss: .arcface, dataset: "emore")
    for (key, value) in settings { try c.set(key, value, from: "test") }
    try c.validate()
    let graph = try RecognitionNetwork.y1.graph()
    return (try MemoryEstimate(graph, c, UpdateSettings(c, TrainingOptions())), c)
  }

  @Test func followsWhatIsAsked() throws {
    let (plain, _) = try estimate(["num_classes": "85742"])
    #expect(plain.head == 2 * 4 * 85742 * 128 && plain.onDevice > plain.head + plain.activations)
    let (parts, _) = try estimate(["num_classes": "85742", "accumulate": "2"])
    #expect(parts.head == 2 * plain.head)
    let (double, _) = try estimate(["num_classes": "85742", "per_batch_size": "256"])
    #expect(double.activations == 2 * plain.activations && double.backbone == plain.backbone)
    let (cheap, _) = try estimate(["num_classes": "85742", "memonger": "true"])
    #expect(cheap.activations * 2 < plain.activations)
    let (half, _) = try estimate(["num_classes": "85742", "precision": "bfloat16"])
    #expect(half.activations * 2 == plain.activations)
    let (adam, _) = try estimate(["num_classes": "85742", "optimizer": "adamw"])
    #expect(adam.backbone * 3 == plain.backbone * 4)
    #expect(try #require(FreeMemory.bytes) > 1 << 20)
  }

  /// The estimate knows which heads never hold all logits.
  @Test(arguments: RecognitionLoss.allCases) func knowsHeadsInBlocks(_ loss: RecognitionLoss) throws {
    var c = RecognitionConfiguration(network: .y1, loss: loss, dataset: "emore")
    c.set("num_classes", .int(7))
    let head = loss.head(c, TrainingOptions(), Generator(seed: 1))
    #expect(((head as? CosineSoftmaxHead)?.runsInBlocks ?? false) == loss.runsInBlocks)
    let estimate = try MemoryEstimate(RecognitionNetwork.y1.graph(), c, UpdateSettings(c, TrainingOptions()))
    #expect((estimate.head == 0) == loss.isTriplet)
  }

  /// What does not fit is an error that says what to change; a billion identities overflow nothing.
  @Test func refusesWhatDoesNotFit() throws {
    let (huge, _) = try estimate(["num_classes": "9000000000000000", "per_batch_size": "4096"])
    #expect(throws: ConfigurationError.self) { _ = try huge.check(free: 1 << 40, allowsOversize: false) }
    #expect(huge.line(free: nil).contains("exabyte"))
    let (plain, _) = try estimate(["num_classes": "1000"])
    do {
      _ = try plain.check(free: 100 << 20, allowsOversize: false)
      Issue.record("a run that does not fit was accepted")
    } catch {
      #expect("\(error)".contains("--memonger") && "\(error)".contains("--accumulate 2"))
      #expect("\(error)".contains("--allow-oversize"))
    }
    #expect(try plain.check(free: 100 << 20, allowsOversize: true)?.contains("warning") == true)
    #expect(try plain.check(free: plain.onDevice + 1, allowsOversize: false)?.contains("warning") == true)
    #expect(try plain.check(free: 4 * plain.onDevice, allowsOversize: false) == nil)
    #expect(try plain.check(free: nil, allowsOversize: false) == nil)
  }
}

@Suite struct DataSwitchTests {
  private func read(
    _ data: TemporaryData, _ index: Int, _ augmentation: FaceRecordSource.Augmentation, position: UInt64 = 3
  ) throws -> [UInt8] {
    let source = try FaceRecordSource(
      FaceRecordFile(path: "\(data.folder)/train.rec"), imageSize: 112, classCount: 4, augmentation: augmentation)
    var pixels = [UInt8](repeating: 0, count: source.sampleSize)
    var random = CounterRandom(7, 0, position)
    let reader = try source.makeReader()
    _ = try pixels.withUnsafeMutableBufferPointer { try reader.read(index, into: $0, random: &random) }
    return pixels
  }

  /// Draws are functions of (seed, epoch, position); each switch changes what it should.
  @Test func augmentationsAreDrawnByPlace() throws {
    let data = try TemporaryData()
    let plain = try read(data, 5, .init(mirrors: false))
    for augmentation in [
      FaceRecordSource.Augmentation(mirrors: false, color: 1), .init(mirrors: false, color: 2),
      .init(mirrors: true, cutoff: 40, color: 2),
    ] {
      var seen: Set<[UInt8]> = []
      for position in 0..<6 {
        let once = try read(data, 5, augmentation, position: UInt64(position))
        #expect(try once == read(data, 5, augmentation, position: UInt64(position)))
        seen.insert(once)
      }
      #expect(seen.count == 6 && !seen.contains(plain))
    }
  }

  /// The three changes of MXNet's ColorJitterAug by hand.
  @Test func colourChangesFollowTheirFormulas() {
    let pixels: [Float] = [10, 20, 30, 200, 100, 50]
    let grey: [Float] = [0.299 * 10 + 0.587 * 20 + 0.114 * 30, 0.299 * 200 + 0.587 * 100 + 0.114 * 50]
    var x = pixels
    ColorAugmenter.brightness(&x, 1.1)
    #expect(zip(x, pixels).allSatisfy { abs($0 - 1.1 * $1) < 1e-4 })
    x = pixels
    ColorAugmenter.contrast(&x, 0.9)
    #expect(zip(x, pixels).allSatisfy { abs($0 - (0.9 * $1 + 0.1 * (grey[0] + grey[1]) / 2)) < 1e-4 })
    x = pixels
    ColorAugmenter.saturation(&x, 1.125)
    for i in 0..<6 { #expect(abs(x[i] - (1.125 * pixels[i] - 0.125 * grey[i / 3])) < 1e-4) }
  }

  /// The jitter stays within an eighth thrice over and never wraps around.
  @Test func colourJitterIsBounded() throws {
    let augmenter = try ColorAugmenter(size: 112)
    for position in 0..<8 {
      var pixels = (0..<3 * 112 * 112).map { UInt8(truncatingIfNeeded: $0 / 149) }
      let before = pixels
      var random = CounterRandom(1, UInt64(position))
      try pixels.withUnsafeMutableBufferPointer { try augmenter.apply(to: $0, compresses: false, &random) }
      for (a, b) in zip(pixels, before) {
        #expect(abs(Int(a) - Int(b)) <= 112)
        if b > 240 { #expect(a > 150) }
        if b < 10 { #expect(a < 70) }
      }
    }
  }

  @Test func identitiesWithFewImagesAreLeftOut() throws {
    let data = try TemporaryData()
    let writer = try FaceRecordWriter(path: "\(data.folder)/train.rec")
    for who in 0..<4 {
      for image in 0..<(2 + 3 * who) { try writer.append(label: who, encoded: TemporaryData.picture(who, image)) }
    }
    try writer.commit()
    let file = try FaceRecordFile(path: "\(data.folder)/train.rec")
    let source = try FaceRecordSource(file, imageSize: 112, classCount: 4, minimumImages: 5)
    #expect(source.count == 5 + 8 + 11 && source.identityCount == 3)
    let reader = try source.makeReader()
    var labels: Set<Int64> = []
    var pixels = [UInt8](repeating: 0, count: source.sampleSize)
    for index in 0..<source.count {
      var random = CounterRandom(0)
      labels.insert(try pixels.withUnsafeMutableBufferPointer { try reader.read(index, into: $0, random: &random) })
    }
    #expect(labels == [1, 2, 3])
  }

  /// Every sample once an epoch, chunk after chunk, another order each epoch, the same whatever the threads.
  @Test func chunksAreShuffledWholeAndWithin() throws {
    let data = try TemporaryData()
    let file = try FaceRecordFile(path: "\(data.folder)/train.rec")
    let size = try file.offset(at: 5) - file.offset(at: 0)
    let source = try FaceRecordSource(file, imageSize: 112, classCount: 4, chunkBytes: size)
    #expect(source.chunks.count > 3 && source.chunks.count < 16)
    #expect(source.chunks.flatMap { Array($0) } == Array(0..<32))
    let order = SampleOrder(seed: 9, count: 32, chunks: source.chunks)
    for epoch in 0..<2 {
      let samples = order.permutation(epoch: epoch).map(Int.init)
      #expect(samples.sorted() == Array(0..<32))
      var start = 0
      for chunk in order.chunkOrder(epoch: epoch) {
        #expect(Set(samples[start..<start + chunk.count]) == Set(chunk))
        start += chunk.count
      }
    }
    #expect(order.permutation(epoch: 0) != order.permutation(epoch: 1))
    #expect(order.chunkOrder(epoch: 0) != order.chunkOrder(epoch: 1) || source.chunks.count < 3)

    var batches: Set<[[Int64]]> = []
    for threads in [1, 3] {
      let loader = try BatchLoader(source, .init(batchSize: 4, seed: 9, threads: threads))
      batches.insert(
        try (0..<16).map { _ in
          let batch = try loader.next()
          defer { loader.recycle(batch) }
          return batch.labels
        })
    }
    #expect(batches.count == 1)
  }
}

@Suite struct PublishedConfigurationTests {
  private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "configs")

  static var files: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter { $0.hasSuffix(".json") }
      .sorted()
  }

  /// Every file starts with its launch line, names only known keys, and makes a configuration that holds.
  @Test(arguments: PublishedConfigurationTests.files) func parses(_ name: String) throws {
    let path = Self.folder.appending(path: name).path
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let first = text.split(separator: "\n").dropFirst().first ?? ""
    #expect(first.hasPrefix("  \"_launch\": \"") && first.contains("insightface train --config configs/\(name)"))
    let names = try RecognitionConfiguration.names(file: path)
    #expect(Set(names.keys) == ["network", "loss", "dataset"])
    let network = RecognitionNetwork(rawValue: names["network"] ?? "")
    let loss = RecognitionLoss(rawValue: names["loss"] ?? "")
    var c = RecognitionConfiguration(
      network: network ?? .y1, loss: loss ?? .arcface, dataset: names["dataset"] ?? "")
    try c.merge(file: path)
    if network != nil && loss != nil { try c.validate() } else { try c.validateRecipe() }
    // Without a verification set no accuracy is ever the highest: only ckpt 2 saves.
    #expect(!c.strings("val_targets").isEmpty || c.int("ckpt") == 2)
    if c.int("num_epoch") > 0 { _ = try c.learningRates(batchesPerEpoch: 1000, warmup: 0) }
  }

  @Test func filesAreThere() {
    #expect(Self.files.count >= 20 && Self.files.contains("mission-1-r100-arcface.json"))
  }
}
