/// Why an image could not be read, made or written.
///
/// `description` is one line fit for a log: path and offset where known, what is wrong, what to do.
public struct ImageError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The class of the failure, for code that counts or branches; people read `message`.
  public enum Kind: String, Sendable, CaseIterable {
    /// There are no bytes at all.
    case empty
    /// The bytes begin like no image format known here.
    case unknownFormat
    /// The format is known, this variant of it is not.
    case unsupported
    /// The data end before the image does.
    case truncated
    /// The data contradict the format.
    case corrupt
    /// The image is larger than the limit, or claims more pixels than its bytes can hold.
    case tooLarge
    /// An image or a buffer does not have the size that was asked for.
    case sizeMismatch
    /// Compression failed.
    case encoding
    /// The operating system refused to read or write.
    case system
  }

  /// The class of the failure.
  public var kind: Kind
  /// The file that holds the image, where known.
  public var path: String?
  /// Byte offset of the image in that file (for a record), or of the bad byte in the image, where known.
  public var offset: UInt64?
  /// What is wrong.
  public var message: String
  /// What to do about it.
  public var advice: String

  /// An error with everything that is known about it.
  public init(_ kind: Kind, path: String? = nil, offset: UInt64? = nil, message: String, advice: String) {
    self.kind = kind
    self.path = path
    self.offset = offset
    self.message = message
    self.advice = advice
  }

  /// The same error with the place it came from, for a caller that knows the file and the record's offset.
  public func located(path: String, offset: UInt64? = nil) -> ImageError {
    var copy = self
    copy.path = path
    if let offset { copy.offset = offset }
    return copy
  }

  /// One line: place, message, advice.
  public var description: String {
    var line = ""
    if let path { line += "\(path): " }
    if let offset { line += "offset \(offset): " }
    return "\(line)\(message) (\(advice))"
  }
}
