/// A setting that cannot be used, or a run that cannot go on.
public struct DetectionTrainingError: Error, CustomStringConvertible, Sendable {
  /// What was given, what was expected, what to do.
  public let description: String

  /// An error with its explanation.
  public init(_ description: String) { self.description = description }
}
