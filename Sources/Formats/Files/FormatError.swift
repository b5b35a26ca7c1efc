import Glibc

/// What is wrong with a file, where, and what to do about it.
///
/// Every reader and writer of this module throws this one type, so that a command can print any of them alike.
public struct FormatError: Error, CustomStringConvertible, Sendable, Equatable {
  /// The kind of trouble, for programs that react to it.
  public enum Code: String, Sendable {
    /// The operating system refused or failed an operation.
    case io
    /// The file or folder does not exist.
    case notFound
    /// The file ends before its content does.
    case truncated
    /// The bytes break the rules of the format.
    case corrupt
    /// A valid file that uses something this program does not read.
    case unsupported
    /// Two things that belong together do not fit (an index and its records, a shape and its bytes).
    case mismatch
    /// The file asks for code to be run; it was not.
    case unsafe
    /// The file asks for more memory than a file of its kind may need.
    case tooLarge
    /// No room is left on the device, or a quota or size limit was reached.
    case diskFull
  }

  /// The kind of trouble.
  public let code: Code
  /// What was found and what was expected.
  public let message: String
  /// The file in question.
  public let path: String?
  /// Where in the file, in bytes from its start.
  public let offset: Int?
  /// Where in a text file, counted from 1.
  public let line: Int?
  /// What the user can do.
  public let advice: String?

  /// An error of kind `code`.
  public init(
    _ code: Code, _ message: String, path: String? = nil, offset: Int? = nil, line: Int? = nil, advice: String? = nil
  ) {
    self.code = code
    self.message = message
    self.path = path
    self.offset = offset
    self.line = line
    self.advice = advice
  }

  /// `path, line 3, byte 128: message (advice)`.
  public var description: String {
    var place: [String] = []
    if let path { place.append(path) }
    if let line { place.append("line \(line)") }
    if let offset { place.append("byte \(offset)") }
    var text = place.isEmpty ? message : place.joined(separator: ", ") + ": " + message
    if let advice { text += " (\(advice))" }
    return text
  }
}

extension FormatError {
  /// The error for a failed system call: `number` is `errno` right after it, `action` says what was being done.
  static func system(_ number: Int32, _ action: String, path: String) -> FormatError {
    let reason = String(cString: strerror(number))
    switch number {
    case ENOSPC, EDQUOT, EFBIG:
      return FormatError(
        .diskFull, "\(action) failed: \(reason)", path: path,
        advice: "free some space or choose another folder; what stood there before is untouched")
    case ENOENT, ENOTDIR:
      return FormatError(.notFound, "\(action) failed: \(reason)", path: path, advice: "check the path")
    case EACCES, EPERM, EROFS:
      return FormatError(.io, "\(action) failed: \(reason)", path: path, advice: "check the permissions")
    default:
      return FormatError(.io, "\(action) failed: \(reason)", path: path)
    }
  }
}
