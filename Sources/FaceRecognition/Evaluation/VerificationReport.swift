import Charts

/// How well a threshold on the distance of two embeddings tells whether two images show one person.
public struct VerificationReport: Codable, Sendable, Equatable {
  /// A point of the receiver operating characteristic.
  public struct ROCPoint: Codable, Sendable, Equatable {
    /// The false accept rate: the share of pairs of different people with a distance below the threshold.
    public var far: Double
    /// The true accept rate: the share of pairs of one person with a distance below the threshold.
    public var tar: Double
    /// The threshold on the squared L2 distance of normalised embeddings.
    public var threshold: Double
  }

  /// The true accept rate at a chosen false accept rate.
  public struct ValidationRate: Codable, Sendable, Equatable {
    /// The mean over the folds of the true accept rate (VAL).
    public var rate: Double
    /// Its population standard deviation over the folds.
    public var deviation: Double
    /// The false accept rate reached on the judged folds, on average.
    public var far: Double
    /// The false accept rate asked for.
    public var farTarget: Double
    /// The threshold that each fold was judged with; 0 where the rate asked for was never reached.
    public var foldThresholds: [Double]
  }

  /// The number of pairs.
  public var pairCount: Int
  /// How many of them show one person.
  public var positivePairCount: Int
  /// The mean over the folds of the share of pairs judged rightly, in [0, 1].
  public var accuracy: Double
  /// Its population standard deviation over the folds.
  public var accuracyDeviation: Double
  /// The accuracy of each fold with the threshold chosen on the others.
  public var foldAccuracies: [Double]
  /// The threshold of each fold, as a squared distance.
  public var foldThresholds: [Double]
  /// The smallest threshold on the squared distance, in steps of 0.01, with the highest accuracy over all pairs.
  public var bestThreshold: Double
  /// The same threshold on the cosine of the two embeddings: 1 − `bestThreshold` / 2.
  public var bestThresholdCosine: Double
  /// VAL at the false accept rate asked for; nil where `validationAbsence` says why.
  public var validation: ValidationRate?
  /// Why there is no VAL: a fold without pairs of one class, where the reference divides by zero.
  public var validationAbsence: String?
  /// The exact curve over all pairs from (0, 0) on, without points inside its straight stretches; empty where a class
  /// is missing.
  public var roc: [ROCPoint]
  /// The area under that curve; nil where a class is missing.
  public var auc: Double?
  /// The rate at which false accepts and false rejects are equal; nil where a class is missing.
  public var eer: Double?
  /// The mean L2 norm of the embeddings before normalising; nil where none is finite.
  public var xNorm: Double?
  /// What is wrong with the embeddings, if anything, in sentences.
  public var warnings: [String]

  /// A plot of one or more curves over a logarithmic false accept rate.
  ///
  /// - Parameters:
  ///   - title: the heading.
  ///   - reports: the curves by name; those without one (a class is missing) show in the legend only.
  public static func rocChart(title: String, _ reports: [(name: String, report: VerificationReport)]) -> LineChart {
    var lowest = 0.1
    for (_, report) in reports {
      let negativeCount = report.pairCount - report.positivePairCount
      while negativeCount > 0 && lowest * Double(negativeCount) > 1.0001 { lowest /= 10 }
    }
    let series = reports.map { name, report in
      // A logarithmic axis has no zero: the rate reached without any false accept stands at the left edge.
      let start = report.roc.last { $0.far == 0 }.map { [LineChart.Point(x: lowest, y: $0.tar)] } ?? []
      return LineChart.Series(
        name: name, points: start + report.roc.filter { $0.far > 0 }.map { LineChart.Point(x: $0.far, y: $0.tar) })
    }
    return LineChart(
      title: title, xLabel: "false accept rate", yLabel: "true accept rate", xScale: .log, xRange: lowest...1,
      yRange: 0...1, series: series)
  }
}

/// The reports of a network that saw every image twice: as it is, and mirrored.
public struct FlipVerificationReport: Codable, Sendable, Equatable {
  /// Judged on the embeddings of the images as they are, where the reference prints zeros.
  public var original: VerificationReport
  /// Judged on the sums of both embeddings, normalised after adding: the reference's Accuracy-Flip.
  public var flip: VerificationReport
  /// The mean L2 norm over the embeddings of both copies before adding (XNorm); nil where none is finite.
  public var xNorm: Double?
}
