import Charts

/// WIDER FACE's evaluation: average precision over 1000 score thresholds, as the PyTorch port's `widerface_evaluate` computes it.
///
/// Scores are brought to 0…1 over all images first. A detection of a face that does not count in a setting, or of no
/// face at overlap 0.5, is as the protocol says: left out, or wrong.
public struct WiderEvaluation: Sendable {
  /// Precision and recall at one threshold.
  public struct CurvePoint: Sendable, Equatable {
    /// Detections at or above this normalised score are counted.
    public var threshold: Double
    /// Right detections among those counted; 0 where there are none.
    public var precision: Double
    /// Right detections among the faces that count.
    public var recall: Double
  }

  /// What comes out in one setting.
  public struct Result: Sendable {
    /// `easy`, `medium`, `hard`.
    public var setting: String
    /// 0…1; nil where no face counts.
    public var averagePrecision: Double?
    /// Faces that count.
    public var faceCount: Int
    /// The highest threshold first.
    public var curve: [CurvePoint]
  }

  /// By setting.
  public var results: [Result]
  /// Images judged.
  public var imageCount: Int

  /// How many thresholds the scores are cut at.
  public static let thresholdCount = 1000

  /// Judges detections.
  ///
  /// - Parameters:
  ///   - detections: by `event/name`, each image's in the order of its file, the surest first as all detectors write them.
  ///   - truth: what they are compared with; images without detections count as images where nothing was found, so
  ///     restrict it to judge a part.
  ///   - overlap: from which on a detection is of a face.
  public init(detections: [String: [Detection]], truth: WiderGroundTruth, overlap: Double = 0.5) {
    var (lowest, highest) = (1.0, 0.0)
    for list in detections.values {
      for detection in list {
        lowest = min(lowest, Double(detection.score))
        highest = max(highest, Double(detection.score))
      }
    }
    self.init(
      detections.mapValues { $0.map { ($0.box, Double($0.score)) } }, truth, overlap, lowest...max(lowest, highest))
  }

  /// As the other form, for detections whose scores are held in double precision, as text files have them.
  public init(results detections: [String: [WiderResults.Face]], truth: WiderGroundTruth, overlap: Double = 0.5) {
    var (lowest, highest) = (1.0, 0.0)
    for list in detections.values {
      for face in list {
        lowest = min(lowest, face.score)
        highest = max(highest, face.score)
      }
    }
    self.init(detections.mapValues { $0.map { ($0.box, $0.score) } }, truth, overlap, lowest...max(lowest, highest))
  }

  private init(
    _ detections: [String: [(BoundingBox, Double)]], _ truth: WiderGroundTruth, _ overlap: Double,
    _ range: ClosedRange<Double>
  ) {
    let count = Self.thresholdCount
    let thresholds = (1...count).map { 1 - Double($0) / Double(count) }
    let difference = range.upperBound - range.lowerBound
    results = []
    imageCount = truth.images.count
    for (index, setting) in truth.settings.enumerated() {
      var proposals = [Int](repeating: 0, count: count)
      var found = [Int](repeating: 0, count: count)
      var faceCount = 0
      for image in truth.images {
        let counted = image.counted.indices.contains(index) ? image.counted[index] : []
        faceCount += counted.count
        guard !image.boxes.isEmpty, let list = detections[image.key], !list.isEmpty else { continue }
        let progress = Self.progress(list.map(\.0), image.boxes, counted: Set(counted), overlap)
        // Where all scores are equal none is lower than another, and all count at every threshold.
        let scores = list.map { difference > 0 ? ($0.1 - range.lowerBound) / difference : 1 }
        for (threshold, last) in Self.lastPlaces(scores, thresholds).enumerated() {
          guard let last else { continue }
          proposals[threshold] += progress[last].proposals
          found[threshold] += progress[last].found
        }
      }
      let curve = (0..<count).map {
        CurvePoint(
          threshold: thresholds[$0], precision: proposals[$0] > 0 ? Double(found[$0]) / Double(proposals[$0]) : 0,
          recall: faceCount > 0 ? Double(found[$0]) / Double(faceCount) : 0)
      }
      results.append(
        Result(
          setting: setting, averagePrecision: faceCount > 0 ? Self.averagePrecision(curve) : nil, faceCount: faceCount,
          curve: curve))
    }
  }

  /// How many faces that count are found, and how many detections are counted, up to each detection.
  private static func progress(
    _ detections: [BoundingBox], _ faces: [BoundingBox], counted: Set<Int>, _ threshold: Double
  ) -> [(found: Int, proposals: Int)] {
    var isFound = [Bool](repeating: false, count: faces.count)
    var (found, proposals) = (0, 0)
    return detections.map { detection in
      var (best, bestOverlap) = (0, -1.0)
      for (index, face) in faces.enumerated() {
        let overlap = detection.overlap(face)
        if overlap > bestOverlap { (best, bestOverlap) = (index, overlap) }
      }
      var isProposal = true
      if bestOverlap >= threshold {
        if !counted.contains(best) {
          isProposal = false
        } else if !isFound[best] {
          isFound[best] = true
          found += 1
        }
      }
      if isProposal { proposals += 1 }
      return (found, proposals)
    }
  }

  /// For each threshold the last place whose score reaches it.
  private static func lastPlaces(_ scores: [Double], _ thresholds: [Double]) -> [Int?] {
    var last = [Int?](repeating: nil, count: thresholds.count)
    for (index, score) in scores.enumerated() {
      // Thresholds fall; the first one that the score reaches is found by halving.
      var (low, high) = (0, thresholds.count)
      while low < high {
        let middle = (low + high) / 2
        if score >= thresholds[middle] { high = middle } else { low = middle + 1 }
      }
      if low < thresholds.count { last[low] = max(last[low] ?? 0, index) }
    }
    for index in last.indices.dropFirst() {
      last[index] = [last[index - 1], last[index]].compactMap(\.self).max()
    }
    return last
  }

  /// The area under the curve with precision made falling, as PASCAL VOC computes it since 2010.
  private static func averagePrecision(_ curve: [CurvePoint]) -> Double {
    let recall = [0] + curve.map(\.recall) + [1]
    var precision = [0] + curve.map(\.precision) + [0]
    for index in stride(from: precision.count - 1, to: 0, by: -1) {
      precision[index - 1] = max(precision[index - 1], precision[index])
    }
    var sum = 0.0
    for index in 0..<recall.count - 1 where recall[index + 1] != recall[index] {
      sum += (recall[index + 1] - recall[index]) * precision[index + 1]
    }
    return sum
  }

  /// Precision over recall, a line a setting.
  public func chart(title: String = "WIDER FACE") -> LineChart {
    LineChart(
      title: title, xLabel: "recall", yLabel: "precision", xRange: 0...1, yRange: 0...1,
      series: results.map { result in
        let precision = result.averagePrecision.map { " (AP \(LabelText.plain($0, digits: 4)))" } ?? ""
        return LineChart.Series(
          name: result.setting + precision,
          points: result.curve.filter { $0.recall > 0 }.map { LineChart.Point(x: $0.recall, y: $0.precision) })
      })
  }
}
