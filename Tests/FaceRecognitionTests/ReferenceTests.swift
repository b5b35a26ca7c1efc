import Foundation
import Testing

@testable import FaceRecognition

/// A case of the committed fixture: embeddings and what the reference's verification.py gives on them.
struct ReferenceCase: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let offset: Int
  let copies: Int
  let rows: Int
  let columns: Int
  let folds: Int
  let same: String
  let xnorm: Double
  let dist: [Double]
  let val: Double?
  let val_std: Double?
  let far: Double?
  let val_thresholds: [Double]?
  let accuracies: [Double]
  let accuracy: Double
  let std: Double
  let thresholds: [Double]
  let tpr: [Double]
  let fpr: [Double]
  let lines: [String]

  var testDescription: String { name }
  var isSame: [Bool] { same.map { $0 == "1" } }

  func matrices() throws -> [EmbeddingMatrix] {
    let data = try Data(contentsOf: fixtures.appendingPathComponent("evaluation.f32"))
    return try (0..<copies).map { copy in
      let start = 4 * (offset + copy * rows * columns)
      let values = stride(from: start, to: start + 4 * rows * columns, by: 4).map { index in
        Float(bitPattern: (0..<4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32(data[index + $1]) })
      }
      return try EmbeddingMatrix(rows: rows, columns: columns, values: values)
    }
  }

  func report() throws -> VerificationReport {
    let matrices = try matrices()
    let evaluator = VerificationEvaluator(folds: folds)
    if matrices.count == 1 { return try evaluator.evaluate(embeddings: matrices[0], isSame: isSame) }
    return try evaluator.evaluate(original: matrices[0], flipped: matrices[1], isSame: isSame).flip
  }

  static let all: [ReferenceCase] =
    (try? JSONDecoder().decode(
      [ReferenceCase].self, from: Data(contentsOf: fixtures.appendingPathComponent("evaluation.json")))) ?? []
}

private let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Fixtures/evaluation")

@Suite struct ReferenceTests {
  @Test func `The fixture is there`() {
    #expect(ReferenceCase.all.count == 7)
  }

  @Test(arguments: ReferenceCase.all) func `Distances equal the reference's to the last bit`(_ item: ReferenceCase)
    throws
  {
    #expect(PairDistances.squared(try item.matrices()) == item.dist)
  }

  @Test(arguments: ReferenceCase.all) func `Accuracies and thresholds are the reference's`(_ item: ReferenceCase) throws
  {
    let report = try item.report()
    #expect(report.foldAccuracies == item.accuracies)
    #expect(report.foldThresholds == item.thresholds)
    #expect(report.accuracy == item.accuracy)
    #expect(report.accuracyDeviation == item.std)
    #expect(report.pairCount == item.rows / 2)
    #expect(report.bestThresholdCosine == 1 - report.bestThreshold / 2)
  }

  @Test(arguments: ReferenceCase.all) func `VAL is the reference's, or its absence explained`(_ item: ReferenceCase)
    throws
  {
    let report = try item.report()
    #expect(report.validation?.rate == item.val)
    #expect(report.validation?.deviation == item.val_std)
    #expect(report.validation?.far == item.far)
    #expect(report.validation?.foldThresholds == item.val_thresholds)
    #expect((report.validationAbsence == nil) == (item.val != nil))
    if item.val == nil {
      #expect(report.validationAbsence?.contains("fold 1 has no pair of different people") == true)
    }
  }

  @Test(arguments: ReferenceCase.all) func `The log lines are the reference's`(_ item: ReferenceCase) throws {
    let matrices = try item.matrices()
    let evaluator = VerificationEvaluator(folds: item.folds)
    let xNorm: Double?
    if matrices.count == 1 {
      xNorm = try evaluator.evaluate(embeddings: matrices[0], isSame: item.isSame).xNorm
    } else {
      xNorm = try evaluator.evaluate(original: matrices[0], flipped: matrices[1], isSame: item.isSame).xNorm
    }
    let report = try item.report()
    #expect(
      [
        VerificationLog.xNorm("lfw", step: 2000, xNorm), VerificationLog.accuracyFlip("lfw", step: 2000, report),
        VerificationLog.accuracyHighest(step: 2000, report.accuracy),
      ] == item.lines)
  }

  @Test func `The curve is the reference's at its thresholds`() throws {
    // With folds of equal make-up the reference's mean over folds is the rate over all pairs.
    for item in ReferenceCase.all where item.name.hasPrefix("mixed") {
      let report = try item.report()
      for (index, (tpr, fpr)) in zip(item.tpr, item.fpr).enumerated() {
        let threshold = Double(8 * index) * 0.01
        let accepted = zip(item.dist, item.isSame).filter { $0.0 < threshold }
        let tar = Double(accepted.count { $0.1 }) / Double(report.positivePairCount)
        #expect(abs(tar - tpr) < 1e-12)
        // The curve's vertices around the threshold enclose the rates.
        let below = report.roc.last { $0.threshold <= threshold }
        let above = report.roc.first { $0.threshold > threshold }
        #expect((below?.tar ?? 0) <= tpr + 1e-12 && (above?.tar ?? 1) >= tpr - 1e-12)
        #expect((below?.far ?? 0) <= fpr + 1e-12 && (above?.far ?? 1) >= fpr - 1e-12)
      }
    }
  }
}

/// The reference's procedure step by step: every threshold, every fold, every pair.
enum NaiveEvaluation {
  struct Result: Equatable {
    var accuracies: [Double] = []
    var thresholds: [Double] = []
    var rates: [Double] = []
    var falseRates: [Double] = []
    var rateThresholds: [Double] = []
  }

  static func counts(_ threshold: Double, _ indices: [Int], _ distances: [Double], _ isSame: [Bool]) -> [Int] {
    var counts = [0, 0, 0, 0]  // true accepts, false accepts, true rejects, false rejects
    for index in indices {
      if distances[index] < threshold { counts[isSame[index] ? 0 : 1] += 1 } else { counts[isSame[index] ? 3 : 2] += 1 }
    }
    return counts
  }

  static func run(_ distances: [Double], _ isSame: [Bool], folds: Int, farTarget: Double) -> Result {
    var result = Result()
    let n = distances.count
    var start = 0
    for fold in 0..<folds {
      let size = n / folds + (fold < n % folds ? 1 : 0)
      let test = Array(start..<(start + size))
      let train = Array(0..<start) + Array((start + size)..<n)
      start += size
      var best = (threshold: 0.0, accuracy: -1.0)
      for step in 0..<400 {
        let c = counts(Double(step) * 0.01, train, distances, isSame)
        let accuracy = Double(c[0] + c[2]) / Double(train.count)
        if accuracy > best.accuracy { best = (Double(step) * 0.01, accuracy) }
      }
      let c = counts(best.threshold, test, distances, isSame)
      result.thresholds.append(best.threshold)
      result.accuracies.append(Double(c[0] + c[2]) / Double(size))

      var rates: [Double] = []
      for step in 0..<4000 {
        let c = counts(Double(step) * 0.001, train, distances, isSame)
        rates.append(Double(c[1]) / Double(c[1] + c[2]))
      }
      var threshold = 0.0
      if rates[3999] >= farTarget {
        var left = 0
        for step in 0..<3999 where rates[step] <= farTarget { left = step }
        if rates[left] < rates[left + 1] {
          let w = 1 / (rates[left + 1] - rates[left])
          threshold = Double(left) * 0.001 * (w * (rates[left + 1] - farTarget))
          threshold += Double(left + 1) * 0.001 * (w * (farTarget - rates[left]))
        }
      }
      let v = counts(threshold, test, distances, isSame)
      result.rateThresholds.append(threshold)
      result.rates.append(Double(v[0]) / Double(v[0] + v[3]))
      result.falseRates.append(Double(v[1]) / Double(v[1] + v[2]))
    }
    return result
  }
}

/// A small generator whose draws do not change with the library.
struct TestGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

@Suite struct NaiveComparisonTests {
  @Test(arguments: 0..<8) func `Prefix counts equal the walk through all thresholds`(seed: Int) {
    var generator = TestGenerator(state: UInt64(seed))
    let count = 40 + Int.random(in: 0..<30, using: &generator)
    let folds = Int.random(in: 2...10, using: &generator)
    let isSame = (0..<count).map { ($0 + seed) % 2 == 0 }
    let distances = isSame.map { same -> Double in
      switch seed % 4 {
      // On the thresholds themselves, and one bit beside them.
      case 0:
        let threshold = Double(Int.random(in: 0...400, using: &generator)) * 0.01
        return [threshold, threshold.nextUp, max(0, threshold.nextDown)].randomElement(using: &generator) ?? 0
      case 1: return Double(Int.random(in: 0...4000, using: &generator)) * 0.001
      case 2: return same ? .random(in: 0...2, using: &generator) : .random(in: 1...4, using: &generator)
      default: return Int.random(in: 0..<5, using: &generator) == 0 ? .nan : .random(in: 0...4.2, using: &generator)
      }
    }
    for farTarget in [1e-3, 0.1, 0.5] {
      let expected = NaiveEvaluation.run(distances, isSame, folds: folds, farTarget: farTarget)
      let report = VerificationEvaluator.judge(
        distances: distances, isSame: isSame, folds: folds, farTarget: farTarget)
      #expect(report.foldAccuracies == expected.accuracies)
      #expect(report.foldThresholds == expected.thresholds)
      #expect(report.validation?.foldThresholds == expected.rateThresholds)
      #expect(report.validation?.rate == PairDistances.meanAndDeviation(expected.rates).mean)
      #expect(report.validation?.far == PairDistances.meanAndDeviation(expected.falseRates).mean)
    }
  }

  @Test(arguments: 0..<6) func `Area and equal error rate are those of the definition`(seed: Int) {
    var generator = TestGenerator(state: UInt64(seed + 100))
    let count = 80
    let isSame = (0..<count).map { _ in Bool.random(using: &generator) }
    let distances = isSame.map { same -> Double in
      let value = Double.random(in: 0...2, using: &generator) + (same ? 0 : 0.7)
      return seed % 2 == 0 ? value : (value * 8).rounded() / 8
    }
    let report = VerificationEvaluator.judge(distances: distances, isSame: isSame, folds: 10, farTarget: 1e-3)
    var wins = 0.0
    var comparisons = 0.0
    for (same, left) in zip(isSame, distances) where same {
      for (other, right) in zip(isSame, distances) where !other {
        wins += left < right ? 1 : left == right ? 0.5 : 0
        comparisons += 1
      }
    }
    #expect(abs((report.auc ?? 0) - wins / comparisons) < 1e-12)
    // Area under the thinned vertices is the same: nothing but straight stretches was left out.
    var area = 0.0
    for (a, b) in zip(report.roc, report.roc.dropFirst()) { area += (b.far - a.far) * (a.tar + b.tar) / 2 }
    #expect(abs(area - wins / comparisons) < 1e-12)
    #expect(report.roc.first?.far == 0 && report.roc.first?.tar == 0)
    #expect(report.roc.last?.far == 1 && report.roc.last?.tar == 1)
    // On the curve, the rate of false rejects equals the rate of false accepts.
    let eer = report.eer ?? -1
    let crossing = zip(report.roc, report.roc.dropFirst()).contains { a, b in
      guard a.far - 1e-12 <= eer, eer <= b.far + 1e-12 else { return false }
      let tars = a.far == b.far ? [a.tar, b.tar] : [a.tar + (b.tar - a.tar) * (eer - a.far) / (b.far - a.far)]
      return (tars.min() ?? 0) - 1e-9 <= 1 - eer && 1 - eer <= (tars.max() ?? 0) + 1e-9
    }
    #expect(crossing)
    // Every vertex gives the counts that its threshold gives.
    for point in report.roc.dropFirst() {
      let accepted = zip(distances, isSame).filter { $0.0 < point.threshold }
      #expect(point.tar == Double(accepted.count { $0.1 }) / Double(report.positivePairCount))
      #expect(point.far == Double(accepted.count { !$0.1 }) / Double(count - report.positivePairCount))
    }
  }
}
