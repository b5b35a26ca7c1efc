/// Why a gallery does not take or find faces.
public enum GalleryError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Embeddings of another network, which do not compare: what the gallery holds, what came.
  case otherModel(gallery: String, given: String)
  /// An embedding of another length: what the gallery holds, what came.
  case length(expected: Int, found: Int)
  /// An embedding that is not finite or not of length 1.
  case notNormalised(name: String)
  /// A name that cannot stand in a file: empty, or with a line break.
  case name(String)
  /// An option out of its range.
  case option(String)
  /// There is no memory for the products.
  case noMemory

  /// One line for a person.
  public var description: String {
    switch self {
    case .otherModel(let gallery, let given):
      "the gallery was made with another recognition network or other options (\(gallery), not \(given)): enroll anew, or "
        + "name the network it was made with"
    case .length(let expected, let found): "an embedding has \(found) numbers, the gallery's have \(expected)"
    case .notNormalised(let name): "the embedding of \"\(name)\" is not finite or not of length 1"
    case .name(let name): "\"\(name)\" cannot be a name: it is empty or holds a line break"
    case .option(let message): message
    case .noMemory: "there is no memory for the products: search fewer faces at a time"
    }
  }
}
