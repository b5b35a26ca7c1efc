/// Judges embeddings on pairs of face images, as the reference's `recognition/arcface_mxnet/verification.py` does.
///
/// The pairs are cut into contiguous folds as scikit-learn's `KFold` cuts them. Each fold is judged with the threshold
/// (0, 0.01 … 3.99 on the squared distance of normalised embeddings; a pair is accepted when strictly below) that is
/// the first with the highest accuracy on all other folds. Results equal the reference's to the last bit; instead of
/// 400 + 4000 walks through all pairs for each fold, distances are put into one histogram per fold and counted by
/// prefix sums, O(N · D + N log N).
///
/// VAL: on the other folds, the threshold is looked up where the false accept rate reaches the target, with a line
/// between the neighbouring steps of 0.001 (SciPy's `interp1d`, kind `slinear`). The rate stays level over many steps;
/// like SciPy up to 1.4, which still took such duplicates, the last step with a rate not above the target is where the
/// line begins. Where the target equals the highest rate, and that rate is level too, that SciPy gives 0, and so does
/// this.
public struct VerificationEvaluator: Sendable {
  /// The number of folds, 2 or more.
  public var folds: Int
  /// The false accept rate that VAL is given for.
  public var farTarget: Double

  /// An evaluator with ten folds and a false accept rate of 1e-3 unless told otherwise.
  public init(folds: Int = 10, farTarget: Double = 1e-3) {
    self.folds = folds
    self.farTarget = farTarget
  }

  /// Judges one embedding per image.
  ///
  /// - Parameters:
  ///   - embeddings: 2N × D, not normalised; rows 2i and 2i + 1 are pair i.
  ///   - isSame: N answers: whether the pair shows one person.
  /// - Throws: `EvaluationError` where the counts do not fit or there are fewer pairs than folds. Embeddings that are
  ///   not finite do not throw: their pairs are never accepted, and the report's warnings name them.
  public func evaluate(embeddings: EmbeddingMatrix, isSame: [Bool]) throws(EvaluationError) -> VerificationReport {
    try check(embeddings, isSame)
    return report([embeddings], isSame)
  }

  /// Judges two embeddings per image: of the image as it is, and of its mirror image.
  ///
  /// - Parameters:
  ///   - original: 2N × D, not normalised; rows 2i and 2i + 1 are pair i.
  ///   - flipped: the same of the mirrored images.
  ///   - isSame: N answers: whether the pair shows one person.
  /// - Throws: `EvaluationError` as `evaluate(embeddings:isSame:)`, and where the two matrices differ in size.
  public func evaluate(
    original: EmbeddingMatrix, flipped: EmbeddingMatrix, isSame: [Bool]
  ) throws(EvaluationError) -> FlipVerificationReport {
    try check(original, isSame)
    guard original.rows == flipped.rows, original.columns == flipped.columns else {
      throw EvaluationError(
        code: .sizeMismatch,
        message: "embeddings of the images are \(original.rows) × \(original.columns), "
          + "those of the mirrored images \(flipped.rows) × \(flipped.columns); they must be equal in size")
    }
    let originalReport = report([original], isSame)
    let flippedHealth = embeddingHealth(flipped)
    let norms = [(embeddingHealth(original)), flippedHealth].compactMap { health in
      health.meanNorm.map { (mean: $0, count: Double(health.rowCount - health.nonFiniteRowCount)) }
    }
    let count = norms.reduce(0) { $0 + $1.count }
    return FlipVerificationReport(
      original: originalReport, flip: report([original, flipped], isSame),
      xNorm: count > 0 ? norms.reduce(0) { $0 + $1.mean * $1.count } / count : nil)
  }

  private func check(_ embeddings: EmbeddingMatrix, _ isSame: [Bool]) throws(EvaluationError) {
    guard embeddings.rows % 2 == 0, embeddings.rows / 2 == isSame.count else {
      throw EvaluationError(
        code: .sizeMismatch,
        message: "\(isSame.count) pairs need \(2 * isSame.count) embeddings, two after each other for each pair; "
          + "there are \(embeddings.rows)")
    }
    guard folds >= 2 else {
      throw EvaluationError(code: .invalidFolds, message: "\(folds) folds: at least 2 are needed")
    }
    guard isSame.count >= folds else {
      throw EvaluationError(
        code: .tooFewPairs,
        message: "\(isSame.count) pairs cannot be cut into \(folds) folds; use more pairs or fewer folds")
    }
  }

  private func report(_ copies: [EmbeddingMatrix], _ isSame: [Bool]) -> VerificationReport {
    let distances = PairDistances.squared(copies)
    let health = embeddingHealth(copies)
    var report = Self.judge(distances: distances, isSame: isSame, folds: folds, farTarget: farTarget)
    report.xNorm = health.meanNorm
    report.warnings = health.warnings
    if let warning = Self.indifferenceWarning(report, distances) { report.warnings.append(warning) }
    return report
  }

  /// Explains an accuracy that comes from giving every pair the same answer.
  private static func indifferenceWarning(_ report: VerificationReport, _ distances: [Double]) -> String? {
    let acceptedCount = distances.reduce(0) { $0 + ($1 < report.bestThreshold ? 1 : 0) }
    guard acceptedCount == 0 || acceptedCount == report.pairCount else { return nil }
    let positives = report.positivePairCount
    guard positives > 0 && positives < report.pairCount else { return nil }
    return "no threshold does better than one answer for all: every pair is called "
      + "\(acceptedCount == 0 ? "different" : "the same") at the best threshold, and the accuracy is only the share of "
      + "such pairs (\(acceptedCount == 0 ? report.pairCount - positives : positives) of \(report.pairCount))."
  }
}

// MARK: - Counting

/// How many pairs of each class fall between neighbouring thresholds i · step.
private struct Histogram {
  let step: Double
  let thresholdCount: Int
  /// Entry i: pairs accepted at threshold i but not at i − 1; the entry behind the last threshold: never accepted.
  var same: [Int]
  var different: [Int]

  init(step: Double, thresholdCount: Int) {
    self.step = step
    self.thresholdCount = thresholdCount
    same = [Int](repeating: 0, count: thresholdCount + 1)
    different = same
  }

  mutating func add(_ distance: Double, isSame: Bool) {
    // The first threshold strictly above the distance. The quotient may be off by one; the thresholds themselves
    // decide.
    var index = thresholdCount
    if distance < Double(thresholdCount) * step {
      index = max(0, min(thresholdCount, Int(distance / step)))
      while index > 0 && distance < Double(index - 1) * step { index -= 1 }
      while index < thresholdCount && !(distance < Double(index) * step) { index += 1 }
    }
    if isSame { same[index] += 1 } else { different[index] += 1 }
  }

  mutating func add(_ other: Histogram) {
    for index in same.indices {
      same[index] += other.same[index]
      different[index] += other.different[index]
    }
  }

  /// The pairs that are in `self` and not in `part`.
  func without(_ part: Histogram) -> Histogram {
    var rest = self
    for index in same.indices {
      rest.same[index] -= part.same[index]
      rest.different[index] -= part.different[index]
    }
    return rest
  }

  /// The first threshold with the most right answers.
  var bestThresholdIndex: Int {
    var right = different.reduce(0, +)
    var best = (index: 0, right: -1)
    for index in 0..<thresholdCount {
      right += same[index] - different[index]
      if right > best.right { best = (index, right) }
    }
    return best.index
  }

  /// The number of right answers at a threshold.
  func rightCount(at index: Int) -> Int {
    same[...index].reduce(0, +) + different[(index + 1)...].reduce(0, +)
  }

  /// The threshold at which the false accept rate reaches `target`; needs a pair of different people.
  func threshold(atFalseAcceptRate target: Double) -> Double {
    let total = Double(different.reduce(0, +))
    var accepted = 0
    var rates: [Double] = []
    rates.reserveCapacity(thresholdCount)
    for index in 0..<thresholdCount {
      accepted += different[index]
      rates.append(Double(accepted) / total)
    }
    guard let highest = rates.last, highest >= target else { return 0 }
    // The last interval that begins at or below the target; the operations are those of SciPy's spline of degree one.
    let above = rates.firstIndex { $0 > target } ?? thresholdCount
    let index = min(max(above - 1, 0), thresholdCount - 2)
    let (left, right) = (rates[index], rates[index + 1])
    if left == right { return 0 }
    let weight = 1 / (right - left)
    return Double(index) * step * (weight * (right - target)) + Double(index + 1) * step * (weight * (target - left))
  }
}

extension VerificationEvaluator {
  /// Judges distances; everything of the report but what needs the embeddings themselves.
  ///
  /// - Parameters:
  ///   - distances: N squared distances; NaN is never accepted.
  ///   - isSame: N answers.
  ///   - folds: 2…N.
  static func judge(
    distances: [Double], isSame: [Bool], folds: Int, farTarget: Double
  ) -> VerificationReport {
    let ranges = foldRanges(count: distances.count, folds: folds)
    func histograms(step: Double, thresholdCount: Int) -> (folds: [Histogram], all: Histogram) {
      var all = Histogram(step: step, thresholdCount: thresholdCount)
      let parts = ranges.map { range in
        var part = Histogram(step: step, thresholdCount: thresholdCount)
        for index in range { part.add(distances[index], isSame: isSame[index]) }
        all.add(part)
        return part
      }
      return (parts, all)
    }

    let coarse = histograms(step: 0.01, thresholdCount: 400)
    var foldAccuracies: [Double] = []
    var foldThresholds: [Double] = []
    for (range, part) in zip(ranges, coarse.folds) {
      let index = coarse.all.without(part).bestThresholdIndex
      foldThresholds.append(Double(index) * 0.01)
      foldAccuracies.append(Double(part.rightCount(at: index)) / Double(range.count))
    }
    let accuracy = PairDistances.meanAndDeviation(foldAccuracies)
    let bestThreshold = Double(coarse.all.bestThresholdIndex) * 0.01

    let absence = validationAbsence(ranges: ranges, isSame: isSame)
    var validation: VerificationReport.ValidationRate?
    if absence == nil {
      let fine = histograms(step: 0.001, thresholdCount: 4000)
      var rates: [Double] = []
      var falseRates: [Double] = []
      var thresholds: [Double] = []
      for (range, part) in zip(ranges, fine.folds) {
        let threshold = fine.all.without(part).threshold(atFalseAcceptRate: farTarget)
        var accepted = (same: 0, different: 0)
        var total = (same: 0, different: 0)
        for index in range {
          let isAccepted = distances[index] < threshold ? 1 : 0
          if isSame[index] {
            accepted.same += isAccepted
            total.same += 1
          } else {
            accepted.different += isAccepted
            total.different += 1
          }
        }
        rates.append(Double(accepted.same) / Double(total.same))
        falseRates.append(Double(accepted.different) / Double(total.different))
        thresholds.append(threshold)
      }
      let rate = PairDistances.meanAndDeviation(rates)
      validation = .init(
        rate: rate.mean, deviation: rate.deviation, far: PairDistances.meanAndDeviation(falseRates).mean,
        farTarget: farTarget, foldThresholds: thresholds)
    }

    let curve = Curve(distances: distances, isSame: isSame)
    return VerificationReport(
      pairCount: distances.count, positivePairCount: isSame.reduce(0) { $0 + ($1 ? 1 : 0) },
      accuracy: accuracy.mean, accuracyDeviation: accuracy.deviation, foldAccuracies: foldAccuracies,
      foldThresholds: foldThresholds, bestThreshold: bestThreshold, bestThresholdCosine: 1 - bestThreshold / 2,
      validation: validation, validationAbsence: absence, roc: curve.points, auc: curve.area, eer: curve.equalErrorRate,
      xNorm: nil, warnings: [])
  }

  /// Contiguous folds; the first `count % folds` hold one pair more, as scikit-learn's `KFold` has it.
  static func foldRanges(count: Int, folds: Int) -> [Range<Int>] {
    var start = 0
    return (0..<folds).map { fold in
      let end = start + count / folds + (fold < count % folds ? 1 : 0)
      defer { start = end }
      return start..<end
    }
  }

  /// Names the folds that lack a class, or whose other folds do.
  private static func validationAbsence(ranges: [Range<Int>], isSame: [Bool]) -> String? {
    let total = isSame.reduce(0) { $0 + ($1 ? 1 : 0) }
    if total == 0 { return "VAL needs pairs of one person, and this set has none." }
    if total == isSame.count { return "VAL needs pairs of different people, and this set has none." }
    var lacking: [String] = []
    for (number, range) in ranges.enumerated() {
      let same = isSame[range].reduce(0) { $0 + ($1 ? 1 : 0) }
      if same == 0 { lacking.append("fold \(number + 1) has no pair of one person") }
      if same == range.count { lacking.append("fold \(number + 1) has no pair of different people") }
      if same == total { lacking.append("only fold \(number + 1) has pairs of one person") }
      if range.count - same == isSame.count - total {
        lacking.append("only fold \(number + 1) has pairs of different people")
      }
    }
    guard let first = lacking.first else { return nil }
    let more = lacking.count > 1 ? " (and \(lacking.count - 1) more of the kind)" : ""
    return "VAL needs both classes in each of the \(ranges.count) contiguous folds: \(first)\(more). "
      + "Order the pairs so that the classes alternate, or use fewer folds."
  }
}

/// The exact receiver operating characteristic of distances.
private struct Curve {
  private(set) var points: [VerificationReport.ROCPoint] = []
  private(set) var area: Double?
  private(set) var equalErrorRate: Double?

  init(distances: [Double], isSame: [Bool]) {
    let sameTotal = isSame.reduce(0) { $0 + ($1 ? 1 : 0) }
    let differentTotal = isSame.count - sameTotal
    if sameTotal == 0 || differentTotal == 0 { return }
    let order = distances.indices.filter { !distances[$0].isNaN }.sorted { distances[$0] < distances[$1] }
    var same = 0
    var different = 0
    var doubledArea = 0.0
    points.append(.init(far: 0, tar: 0, threshold: order.first.map { distances[$0] } ?? 0))
    var before = (same: 0, different: 0)
    func close(threshold: Double?) {
      let step = (same: same - before.same, different: different - before.different)
      doubledArea += Double(step.different) * Double(same + before.same)
      let from = Double(before.different) / Double(differentTotal) + Double(before.same) / Double(sameTotal) - 1
      let to = Double(different) / Double(differentTotal) + Double(same) / Double(sameTotal) - 1
      if equalErrorRate == nil && to >= 0 {
        let part = to > from ? -from / (to - from) : 0
        equalErrorRate = (Double(before.different) + part * Double(step.different)) / Double(differentTotal)
      }
      if let threshold {
        let point = VerificationReport.ROCPoint(
          far: Double(different) / Double(differentTotal), tar: Double(same) / Double(sameTotal), threshold: threshold)
        // A point between two of the same height, or two of the same rate, says nothing.
        if points.count >= 2 {
          let (a, b) = (points[points.count - 2], points[points.count - 1])
          if (a.far == b.far && b.far == point.far) || (a.tar == b.tar && b.tar == point.tar) { points.removeLast() }
        }
        points.append(point)
      }
      before = (same, different)
    }
    var position = 0
    while position < order.count {
      let distance = distances[order[position]]
      while position < order.count, distances[order[position]] == distance {
        if isSame[order[position]] { same += 1 } else { different += 1 }
        position += 1
      }
      // Accepting means strictly below.
      close(threshold: distance.nextUp)
    }
    if order.count < distances.count {
      // Pairs without a distance come last together; no threshold accepts them.
      same = sameTotal
      different = differentTotal
      close(threshold: nil)
    }
    area = doubledArea / (2 * Double(sameTotal) * Double(differentTotal))
  }
}
