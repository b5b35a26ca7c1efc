/// Why embeddings cannot be judged.
public struct EvaluationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of failure, for programs.
  public enum Code: Sendable, Equatable {
    /// Counts that must agree do not.
    case sizeMismatch
    /// There are fewer pairs than folds, or none at all.
    case tooFewPairs
    /// The number of folds is below two.
    case invalidFolds
  }

  /// The kind of failure.
  public let code: Code
  /// What was given, what was expected, what to do.
  public let message: String

  /// The message.
  public var description: String { message }
}
