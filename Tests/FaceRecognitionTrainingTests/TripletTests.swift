import Formats
import Foundation
import Testing
import Torch
import Training

@testable import FaceRecognitionTraining

@Suite struct TripletTests {
  let golden: MarginHeadsGolden

  init() throws { golden = try TrainingGolden.read("margin-heads") }

  @Test(arguments: ["triplet", "atriplet"]) func lossEqualsTheReferencesFormula(name: String) throws {
    let expected = try #require(golden.triplets.first { $0.name == name })
    for dtype in [DType.float64, .float32] {
      let x = Hashed.tensor("margin-heads/triplets", [12, 16], .init(kind: "symmetric", a: 2, b: 0)).to(.float64)
      x[4].copy(from: x[0] * 0.4 + x[4] * 0.3)
      x[9].copy(from: x[1] * 0.9 + x[9] * 0.05)
      let head = TripletHead(name == "triplet" ? .squared : .angular, alpha: expected.alpha, dtype: dtype)
      let result = head.backward(x.to(dtype), Tensor([Int64](repeating: 0, count: 12)))
      let bound = dtype == .float64 ? 1e-9 : 2e-5
      #expect(abs(result.loss.item - expected.loss) <= bound)
      let error = MarginHeadsGolden.error(result.embeddingGradient, expected.embeddings)
      #expect(error <= bound, "\(dtype): \(error)")
      #expect(result.correct.item.isNaN)
    }
  }

  /// Equal and opposite faces, and faces of length 0, in every type.
  @Test func staysFiniteAtTheEnds() {
    let x = Tensor([3, 0, 1, 0, 0, 0, 3, 0, -1, 0, 1, 1, 3, 0, -1, 0, 0, 0] as [Float], shape: [9, 2])
    for distance in [TripletHead.Distance.squared, .angular] {
      for dtype in [DType.float32, .float16, .bfloat16] {
        let result = TripletHead(distance, alpha: 0.3).backward(x.to(dtype), Tensor([Int64](repeating: 0, count: 9)))
        #expect(result.loss.item.isFinite && firstNotFinite([result.embeddingGradient]) == nil)
      }
    }
  }

  private func bag(_ mining: MarginHeadsGolden.Mining) -> (embeddings: Tensor, identities: [Int]) {
    let identities = mining.sizes.enumerated().flatMap { Array(repeating: $0.offset, count: $0.element) }
    let rule = Hashed.Rule(kind: "symmetric", a: 1, b: 0)
    let raw = Hashed.tensor("margin-heads/bag", [identities.count, 6], rule).to(.float64)
    let centers = Tensor.concatenated(
      mining.sizes.indices.map { Hashed.tensor("margin-heads/identity/\($0)", [1, 6], rule) }
    ).to(.float64)
    return (raw + centers.indexSelected(0, Tensor(identities.map { Int64($0) })) * 1.2, identities)
  }

  /// Pairs and candidates are those of the reference's loops; what is drawn is one of them.
  @Test func miningFindsTheReferencesCandidates() throws {
    for mining in golden.mining {
      let (embeddings, identities) = bag(mining)
      let miner = TripletMiner(alpha: mining.alpha, largestPositive: mining.max_ap, seed: 3)
      var found: [[Int]: [Int]] = [:]
      miner.forEachPair(embeddings, identities, []) { anchor, positive, isCandidate in
        let candidates = isCandidate.indices.filter { isCandidate[$0] == 1 }
        if !candidates.isEmpty { found[[anchor, positive]] = candidates }
      }
      let expected = Dictionary(uniqueKeysWithValues: mining.pairs.map { ([$0.anchor, $0.positive], $0.candidates) })
      #expect(found == expected)
      let triplets = miner.triplets(embeddings, identities: identities, bag: 0)
      #expect(triplets.count == expected.count)
      for t in triplets { #expect(expected[[t.anchor, t.positive]]?.contains(t.negative) == true) }
      #expect(triplets == miner.triplets(embeddings, identities: identities, bag: 0))
      // Another bag draws anew; rows that could not be read appear nowhere.
      if mining.max_ap == 0 { #expect(triplets != miner.triplets(embeddings, identities: identities, bag: 1)) }
      let some = triplets[0]
      let without = miner.triplets(
        embeddings, identities: identities, excluded: [some.anchor, some.negative], bag: 0)
      for t in without {
        #expect(Set([t.anchor, t.positive, t.negative]).isDisjoint(with: [some.anchor, some.negative]))
      }
    }
  }

  /// More rows than are held at once: the same as pair by pair.
  @Test func blocksDoNotShow() {
    let count = 700
    let x = Hashed.tensor("margin-heads/large-bag", [count, 4], .init(kind: "symmetric", a: 1, b: 0))
    let identities = (0..<count).map { $0 / 7 }
    let rows = MarginHeadsGolden.normalised(x.to(.float64)).array(of: Double.self)
    func distance(_ i: Int, _ j: Int) -> Double {
      (0..<4).reduce(0) { $0 + (rows[4 * i + $1] - rows[4 * j + $1]) * (rows[4 * i + $1] - rows[4 * j + $1]) }
    }
    var pairs = 0
    TripletMiner(alpha: 0.05, largestPositive: 0, seed: 1).forEachPair(x, identities, []) { a, p, isCandidate in
      pairs += 1
      guard pairs % 40 == 0 else { return }
      let ap = distance(a, p)
      for n in 0..<count {
        let an = distance(a, n)
        let expected = identities[a] != identities[n] && an > ap && an - ap < 0.05
        #expect((isCandidate[n] == 1) == expected || abs(an - ap) < 1e-12 || abs(an - ap - 0.05) < 1e-12)
      }
    }
    #expect(pairs == 100 * 21)
  }

  private func settings(_ steps: Int) -> [String: String] {
    [
      "max_steps": "\(steps)", "per_batch_size": "6", "triplet_bag_size": "8", "images_per_identity": "2",
      "lr": "0.005", "triplet_alpha": "1", "frequent": "1",
    ]
  }

  /// A run that is cut off within a mined sequence, or after it, goes on bit for bit; the log has the reference's lines,
  /// without an accuracy.
  @Test func aKilledRunGoesOnBitForBit() throws {
    struct Stop: Error {}
    let loss = RecognitionLoss.triplet
    let whole = try TemporaryData()
    var options = TrainingOptions.oneThread
    _ = try RecognitionTrainer(whole.configuration(settings(4), loss: loss), options).run()
    let folder = "/y1-triplet-tiny"
    func text(_ data: TemporaryData, _ file: String) throws -> String {
      try String(contentsOfFile: data.models + folder + "/" + file, encoding: .utf8)
    }
    let log = try text(whole, "train.log")
    #expect(log.contains("eval 8 images.. 0\n") && log.contains("found triplets") && log.contains("seq len"))
    #expect(log.contains("\tlossvalue=") && !log.contains("acc="))
    #expect(log.components(separatedBy: "seq len").count >= 3, "more than one mining")
    #expect(try text(whole, "history.csv").contains("\n3,1,0,"), "an epoch of two batches")

    for killedAfter in [1, 2] {
      let cut = try TemporaryData()
      options.resumes = false
      options.stateEvery = 1
      #expect(throws: Stop.self) {
        _ = try RecognitionTrainer(cut.configuration(settings(4), loss: loss), options) {
          if $0.step == killedAfter + 1 { throw Stop() }
        }.run()
      }
      options.resumes = true
      _ = try RecognitionTrainer(cut.configuration(settings(4), loss: loss), options).run()
      #expect(try text(cut, "history.csv") == text(whole, "history.csv"), "killed after \(killedAfter)")
      let (a, b) = try (
        Safetensors(path: whole.models + folder + "/state.safetensors"),
        Safetensors(path: cut.models + folder + "/state.safetensors")
      )
      #expect(a.tensors.map(\.name) == b.tensors.map(\.name))
      for tensor in a.tensors {
        #expect(try a.tensor(named: tensor.name) == b.tensor(named: tensor.name), "\(tensor.name)")
      }
    }
  }

  @Test func wrongSettingsAreNamed() throws {
    let data = try TemporaryData()
    for (key, value) in [("per_batch_size", "8"), ("images_per_identity", "1"), ("triplet_alpha", "1.5")] {
      var wrong = settings(1)
      wrong[key] = value
      do {
        _ = try RecognitionTrainer(data.configuration(wrong, loss: .triplet), TrainingOptions.oneThread)
        Issue.record("\(key)=\(value) was accepted")
      } catch let error as ConfigurationError {
        #expect("\(error)".contains("\(key)=\(value)"))
      }
    }
    // Nothing semi-hard can be found within no margin: an end with advice, not an endless search.
    var barren = settings(1)
    barren["triplet_alpha"] = "0"
    let trainer = try RecognitionTrainer(data.configuration(barren, loss: .triplet), TrainingOptions.oneThread)
    #expect(throws: LoaderError.self) { _ = try trainer.run() }
  }
}
