/// What is wrong with a network description, and at which node.
public struct GraphError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The kind of problem.
  public enum Code: Sendable, Hashable {
    /// A node refers to something that does not come before it, names clash, or a parameter is out of range.
    case invalid
    /// Shapes do not fit each other or the operation.
    case shape
    /// The operation, or this form of it, has no counterpart on the other side.
    case unsupported
    /// A weight is absent.
    case missingWeight
    /// A weight has another shape than the graph gives it.
    case mismatch
    /// A name that the graph does not know.
    case unknownName
    /// A tensor would be larger than this program allows.
    case tooLarge
    /// A library that runs networks is not installed, or failed.
    case library
  }

  /// The kind of problem.
  public var code: Code
  /// The node's name; nil where the problem is the graph's.
  public var node: String?
  /// The operation as the source of the graph spells it, `Convolution` or `convolution`.
  public var operation: String?
  /// What was expected and what was found.
  public var message: String
  /// What the user can do.
  public var advice: String?

  /// Makes an error.
  public init(
    _ code: Code, node: String? = nil, operation: String? = nil, message: String, advice: String? = nil
  ) {
    self.code = code
    self.node = node
    self.operation = operation
    self.message = message
    self.advice = advice
  }

  /// One line for a person.
  public var description: String {
    var text = ""
    if let node { text = "node \"\(node)\"" }
    if let operation { text += (text.isEmpty ? "" : " ") + "(\(operation))" }
    text += (text.isEmpty ? "" : ": ") + message
    if let advice { text += "; \(advice)" }
    return text
  }
}
