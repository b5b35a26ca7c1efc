import Glibc

/// What went wrong with an event file: the file, where in it, and the system's own words.
public struct EventLogError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kind of failure, for programs.
  public enum Code: Sendable, Equatable {
    /// The folder or the file could not be opened, made or listed.
    case cannotOpen
    /// Bytes could not be read.
    case cannotRead
    /// Bytes could not be written, synced or renamed.
    case cannotWrite
    /// The writer has been closed.
    case closed
    /// An event is larger than a record may be.
    case tooLarge
  }

  /// The kind of failure.
  public let code: Code
  /// The path of the file or folder concerned.
  public let path: String
  /// The byte offset in that file, where one applies.
  public let offset: Int?
  /// What happened and what to do, one sentence.
  public let message: String

  /// The path, the offset and the message in one line.
  public var description: String {
    if let offset { return "\(path): at byte \(offset): \(message)" }
    return "\(path): \(message)"
  }

  static func system(_ code: Code, path: String, offset: Int? = nil, doing action: String, errno number: Int32) -> Self
  {
    EventLogError(
      code: code, path: path, offset: offset, message: "cannot \(action): \(String(cString: strerror(number)))")
  }
}
