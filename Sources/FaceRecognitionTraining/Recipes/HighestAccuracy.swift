import Formats
import Jobs
import Training

/// The reference's rule of what counts as the best so far: the accuracy on the last verification set; on a tie the sum
/// over all sets, where the sum is noted only on ties.
struct HighestAccuracy: Equatable {
  /// The best accuracy on the last set.
  private(set) var last = 0.0
  private var sum = 0.0

  init() {}

  init(_ state: TrainingState.Reader) throws(FormatError) {
    last = Double(try state.note("highest_last")) ?? 0
    sum = Double(try state.note("highest_sum")) ?? 0
  }

  func note(in notes: inout [String: String]) {
    notes["highest_last"] = "\(last)"
    notes["highest_sum"] = "\(sum)"
  }

  /// Takes up the accuracies of all sets; true when this is the best so far.
  mutating func update(_ accuracies: [Double]) -> Bool {
    guard let accuracy = accuracies.last, accuracy >= last else { return false }
    let score = accuracies.reduce(0, +)
    var isHighest = true
    if accuracy == last {
      isHighest = score >= sum
      if isHighest { sum = score }
    }
    last = accuracy
    return isHighest
  }
}
