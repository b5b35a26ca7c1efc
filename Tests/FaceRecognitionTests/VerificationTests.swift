import Charts
import Foundation
import Testing

@testable import FaceRecognition

/// 2N unit-like vectors whose pairs of one person lie close together.
private func embeddings(pairs: Int, columns: Int = 8, seed: UInt64 = 1) throws -> (EmbeddingMatrix, [Bool]) {
  var generator = TestGenerator(state: seed)
  var values: [Float] = []
  var isSame: [Bool] = []
  for pair in 0..<pairs {
    let first = (0..<columns).map { _ in Float.random(in: -1...1, using: &generator) }
    let same = pair % 2 == 0
    let second = first.map { number in
      same ? number + .random(in: -0.3...0.3, using: &generator) : .random(in: -1...1, using: &generator)
    }
    values += first + second
    isSame.append(same)
  }
  return (try EmbeddingMatrix(rows: 2 * pairs, columns: columns, values: values), isSame)
}

@Suite struct VerificationInputTests {
  @Test func `Sizes that do not fit are typed errors`() throws {
    let (matrix, isSame) = try embeddings(pairs: 12)
    let evaluator = VerificationEvaluator()
    #expect { try evaluator.evaluate(embeddings: matrix, isSame: Array(isSame.dropLast())) } throws: {
      ($0 as? EvaluationError)?.code == .sizeMismatch
    }
    #expect { try VerificationEvaluator(folds: 13).evaluate(embeddings: matrix, isSame: isSame) } throws: {
      ($0 as? EvaluationError)?.code == .tooFewPairs && "\($0)".contains("12 pairs cannot be cut into 13 folds")
    }
    #expect { try VerificationEvaluator(folds: 1).evaluate(embeddings: matrix, isSame: isSame) } throws: {
      ($0 as? EvaluationError)?.code == .invalidFolds
    }
    let empty = try EmbeddingMatrix(rows: 0, columns: 8, values: [])
    #expect { try evaluator.evaluate(embeddings: empty, isSame: []) } throws: {
      ($0 as? EvaluationError)?.code == .tooFewPairs
    }
    let (other, _) = try embeddings(pairs: 12, columns: 9)
    #expect { try evaluator.evaluate(original: matrix, flipped: other, isSame: isSame) } throws: {
      ($0 as? EvaluationError)?.code == .sizeMismatch
    }
    #expect(throws: EvaluationError.self) { try EmbeddingMatrix(rows: 2, columns: 3, values: [1]) }
    #expect(throws: EvaluationError.self) { try EmbeddingMatrix(rows: .max, columns: 2, values: []) }
    #expect(throws: EvaluationError.self) { try EmbeddingMatrix(rows: -1, columns: -1, values: [1]) }
  }

  @Test func `Sets of one class give an accuracy and say what is missing`() throws {
    let (matrix, isSame) = try embeddings(pairs: 20)
    for answer in [true, false] {
      let report = try VerificationEvaluator().evaluate(
        embeddings: matrix, isSame: isSame.map { _ in answer })
      #expect(report.accuracy > 0.5)
      #expect(report.validation == nil && report.auc == nil && report.eer == nil && report.roc.isEmpty)
      #expect(report.validationAbsence?.contains(answer ? "different people" : "one person") == true)
    }
    // Both classes, but the only pairs of different people in one fold: training on the others is impossible.
    let lone = (0..<20).map { $0 > 1 }
    let report = try VerificationEvaluator().evaluate(embeddings: matrix, isSame: lone)
    #expect(report.validationAbsence != nil && report.auc != nil)
  }

  @Test func `A report survives JSON`() throws {
    let (matrix, isSame) = try embeddings(pairs: 40)
    let report = try VerificationEvaluator().evaluate(original: matrix, flipped: matrix, isSame: isSame)
    let decoded = try JSONDecoder().decode(FlipVerificationReport.self, from: JSONEncoder().encode(report))
    #expect(decoded == report)
    // A sum of two equal vectors has the same direction.
    #expect(report.flip.foldAccuracies == report.original.foldAccuracies)
    #expect(report.original.accuracy > 0.8)
  }
}

@Suite struct EmbeddingHealthTests {
  @Test func `Healthy embeddings have no warning`() throws {
    let (matrix, isSame) = try embeddings(pairs: 40)
    let health = embeddingHealth(matrix)
    #expect(health.warnings.isEmpty && !health.isCollapsed && health.nonFiniteRowCount == 0)
    #expect(try VerificationEvaluator().evaluate(embeddings: matrix, isSame: isSame).warnings.isEmpty)
    // Means of the norms, by hand.
    let norms = (0..<matrix.rows).map { row in
      matrix.values[(row * 8)..<(row * 8 + 8)].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }
    #expect(abs((health.meanNorm ?? 0) - norms.reduce(0, +) / 80) < 1e-12)
  }

  @Test func `NaN and infinities are counted and named, and never accepted`() throws {
    let (matrix, isSame) = try embeddings(pairs: 40)
    var values = matrix.values
    values[5 * 8] = .nan
    values[70 * 8 + 3] = -.infinity
    let broken = try EmbeddingMatrix(rows: 80, columns: 8, values: values)
    let health = embeddingHealth(broken)
    #expect(health.nonFiniteRowCount == 2 && health.firstNonFiniteRows == [5, 70])
    let report = try VerificationEvaluator().evaluate(embeddings: broken, isSame: isSame)
    #expect(report.warnings.contains { $0.hasPrefix("embeddings not finite: 2 of 80") })
    #expect(try JSONEncoder().encode(report).count > 100)

    let all = try EmbeddingMatrix(rows: 80, columns: 8, values: .init(repeating: .nan, count: 640))
    let hopeless = try VerificationEvaluator().evaluate(original: all, flipped: all, isSame: isSame)
    #expect(hopeless.flip.accuracy == 0.5 && hopeless.xNorm == nil)
    #expect(hopeless.flip.warnings.contains { $0.contains("no threshold does better than one answer for all") })
    #expect(try JSONEncoder().encode(hopeless).count > 100)
    #expect(VerificationLog.xNorm("lfw", step: 1, hopeless.xNorm) == "[lfw][1]XNorm: nan")
  }

  @Test func `Collapsed embeddings are named and their accuracy explained`() throws {
    var generator = TestGenerator(state: 3)
    let isSame = (0..<40).map { $0 % 2 == 0 }
    let near = try EmbeddingMatrix(
      rows: 80, columns: 8, values: (0..<640).map { _ in 5 + .random(in: -0.01...0.01, using: &generator) })
    let report = try VerificationEvaluator().evaluate(embeddings: near, isSame: isSame)
    #expect(report.accuracy == 0.5)
    #expect(report.warnings.contains { $0.hasPrefix("embeddings collapsed:") })
    #expect(report.warnings.contains { $0.contains("20 of 40") })
    let zero = try EmbeddingMatrix(rows: 80, columns: 8, values: .init(repeating: 0, count: 640))
    let empty = try VerificationEvaluator().evaluate(embeddings: zero, isSame: isSame)
    #expect(empty.warnings.contains { $0.hasPrefix("embeddings collapsed: every one is zero") })
    #expect(empty.xNorm == 0)
    // Loosely alike is no collapse: an untrained network's embeddings look like this and still carry information.
    let loose = try EmbeddingMatrix(
      rows: 80, columns: 8, values: (0..<640).map { _ in 5 + .random(in: -1...1, using: &generator) })
    #expect(!embeddingHealth(loose).isCollapsed)
  }
}

@Suite struct VerificationLogTests {
  @Test func `Lines with and without a step`() throws {
    let (matrix, isSame) = try embeddings(pairs: 40)
    var report = try VerificationEvaluator().evaluate(embeddings: matrix, isSame: isSame)
    report.accuracy = 0.99383333333
    report.accuracyDeviation = 0.005874
    #expect(VerificationLog.accuracyFlip("lfw", step: 2000, report) == "[lfw][2000]Accuracy-Flip: 0.99383+-0.00587")
    #expect(VerificationLog.accuracy("cfp_fp", report) == "[cfp_fp]Accuracy: 0.99383+-0.00587")
    #expect(VerificationLog.xNorm("lfw", step: 2000, 22.1234562) == "[lfw][2000]XNorm: 22.123456")
    #expect(VerificationLog.accuracyHighest(step: 4000, 1) == "[4000]Accuracy-Highest: 1.00000")
    #expect(VerificationLog.maximum("lfw", 0.5) == "Max of [lfw] is 0.50000")
    let rate = VerificationReport.ValidationRate(
      rate: 0.98167, deviation: 0.015723, far: 0.0016667, farTarget: 1e-3, foldThresholds: [])
    #expect(VerificationLog.validationRate(rate) == "Validation rate: 0.98167+-0.01572 @ FAR=0.00167")
    #expect(fixedPoint(-.greatestFiniteMagnitude, decimals: 6).utf8.count == 317)
    #expect(fixedPoint(2.5, decimals: 0) == "2")
  }

  @Test func `The plot holds the curves`() throws {
    let (matrix, isSame) = try embeddings(pairs: 400)
    let report = try VerificationEvaluator().evaluate(embeddings: matrix, isSame: isSame)
    let chart = VerificationReport.rocChart(title: "ROC", [("lfw", report)])
    #expect(chart.xScale == .log)
    #expect(abs((chart.xRange?.lowerBound ?? 0) - 1e-3) < 1e-9)  // 200 pairs of different people
    let points = try #require(chart.series.first?.points)
    #expect(points.first?.x == chart.xRange?.lowerBound && points.last == .init(x: 1, y: 1))
    #expect(chart.svg().contains("lfw"))
  }
}

@Suite struct VerificationSpeedTests {
  @Test func `Six thousand pairs of 512 numbers are judged quickly`() throws {
    var generator = TestGenerator(state: 9)
    let rows = 12_000
    // Drawing six million numbers would take longer than judging them.
    let block = (0..<8191).map { _ in Float.random(in: -1...1, using: &generator) }
    let values = [Float](unsafeUninitializedCapacity: rows * 512) { buffer, count in
      for index in 0..<(rows * 512) { buffer[index] = block[index % 8191] }
      count = rows * 512
    }
    let matrix = try EmbeddingMatrix(rows: rows, columns: 512, values: values)
    let isSame = (0..<6000).map { $0 % 2 == 0 }
    let seconds = try ContinuousClock().measure {
      _ = try VerificationEvaluator().evaluate(embeddings: matrix, isSame: isSame)
    }
    print("6,000 pairs × 512 judged in \(seconds)")
    // Without optimisation and on a busy machine this still stays far below the reference's two seconds times ten.
    #expect(seconds < .seconds(20))
  }
}
