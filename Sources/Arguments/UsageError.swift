/// What is wrong with a command line, in one sentence for the person who typed it.
public struct UsageError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The sentence: what was given, what was expected.
  public let message: String

  /// An error with this sentence.
  public init(_ message: String) { self.message = message }

  /// The sentence.
  public var description: String { message }
}

/// Thrown from `run()` to leave with an exit status and no further word.
public struct ExitCode: Error, Sendable, Equatable {
  /// The status that the process ends with.
  public let status: Int32

  /// An exit with this status.
  public init(_ status: Int32) { self.status = status }

  /// The status of wrong usage, EX_USAGE.
  public static let usage = ExitCode(64)
  /// The status of any other failure.
  public static let failure = ExitCode(1)
}

/// The name nearest to what was typed, for "did you mean": at most a third of its letters may be wrong; nil where none
/// is near.
///
/// Distance counts letters inserted, dropped, replaced or swapped with their neighbour. Dashes and underscores are
/// alike, and so are capitals and small letters.
public func nearestName(to typed: String, among names: some Sequence<String>) -> String? {
  let goal = comparable(typed)
  var best: (name: String, distance: Int)?
  for name in names {
    let candidate = comparable(name)
    let limit = max(1, max(goal.count, candidate.count) / 3)
    // Lengths further apart than the limit cannot be near; neither can anything the length of a whole file.
    guard abs(goal.count - candidate.count) <= limit, goal.count <= 200 else { continue }
    let distance = editDistance(goal, candidate)
    // A name of one or two letters is not "near" another that shares none with it.
    if distance <= limit && distance < max(goal.count, candidate.count) && distance < best?.distance ?? .max {
      best = (name, distance)
    }
  }
  if let best { return best.name }
  // What was typed may be the beginning of one name only.
  let extended = names.filter { goal.count >= 3 && comparable($0).starts(with: goal) }
  return extended.count == 1 ? extended[0] : nil
}

private func comparable(_ name: String) -> [Character] {
  Array(name.lowercased().drop { $0 == "-" }).map { $0 == "_" ? "-" : $0 }
}

/// Optimal string alignment distance.
func editDistance(_ left: [Character], _ right: [Character]) -> Int {
  var beforeLast: [Int] = []
  var last = Array(0...right.count)
  for i in 0..<left.count {
    var row = [i + 1]
    for j in 0..<right.count {
      var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
      if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
        cost = min(cost, beforeLast[j - 1] + 1)
      }
      row.append(cost)
    }
    beforeLast = last
    last = row
  }
  return last[right.count]
}
