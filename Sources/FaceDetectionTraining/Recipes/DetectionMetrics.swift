import Jobs

/// The parts of the loss and the norm of the gradient over the batches since the last line of the log.
struct DetectionMetrics: Sendable, Equatable {
  private var sum = MultiTaskLoss.Parts()
  private var norm = 0.0
  private var batches = 0

  mutating func add(_ parts: MultiTaskLoss.Parts, gradientNorm: Double) {
    norm += gradientNorm
    sum.classes += parts.classes
    sum.boxes += parts.boxes
    sum.landmarks += parts.landmarks
    sum.judged += parts.judged
    sum.right += parts.right
    sum.positives += parts.positives
    batches += 1
  }

  mutating func reset() { self = DetectionMetrics() }

  /// Means by name.
  var means: [(name: String, value: Double)] {
    let count = Double(max(1, batches))
    return [
      ("class", sum.classes / count), ("box", sum.boxes / count), ("landmark", sum.landmarks / count),
      ("acc", Double(sum.right) / Double(max(1, sum.judged))), ("positives", Double(sum.positives) / count),
      ("gradient", norm / count),
    ]
  }

  /// For a line of the log.
  var text: String { means.map { "\t\($0.name)=\(fixed($0.value, 6))" }.joined() }

  /// In a form that a saved state can hold.
  var saved: String {
    "\(sum.classes) \(sum.boxes) \(sum.landmarks) \(norm) \(sum.judged) \(sum.right) \(sum.positives) \(batches)"
  }

  /// Takes up what `saved` gave.
  mutating func restore(_ text: String) {
    let words = text.split(separator: " ")
    let (numbers, counts) = (words.prefix(4).compactMap { Double($0) }, words.dropFirst(4).compactMap { Int($0) })
    guard numbers.count == 4, counts.count == 4 else { return }
    (sum.classes, sum.boxes, sum.landmarks, norm) = (numbers[0], numbers[1], numbers[2], numbers[3])
    (sum.judged, sum.right, sum.positives, batches) = (counts[0], counts[1], counts[2], counts[3])
  }
}
