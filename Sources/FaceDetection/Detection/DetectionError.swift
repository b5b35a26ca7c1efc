import Imaging
import Inference

/// Why faces could not be looked for.
public struct DetectionError: Error, Sendable, CustomStringConvertible {
  /// The class of the failure.
  public enum Kind: String, Sendable, CaseIterable {
    /// The network could not be run.
    case network
    /// The network's outputs are not those that the configuration describes.
    case outputs
    /// The image could not be scaled, or is too large.
    case image
    /// An option is out of its range.
    case option
  }

  /// The class of the failure.
  public var kind: Kind
  /// What is wrong.
  public var message: String
  /// What to do about it; nil where nothing is known.
  public var advice: String?

  /// An error of its parts.
  public init(_ kind: Kind, _ message: String, advice: String? = nil) {
    self.kind = kind
    self.message = message
    self.advice = advice
  }

  init(_ error: GraphError) { self.init(.network, error.description) }
  init(_ error: ImageError) { self.init(.image, error.description) }

  /// One line for a person.
  public var description: String { advice.map { "\(message) (\($0))" } ?? message }
}
