/// What is told by a path alone, without a look at the disk.
public enum FilePath {
  /// The folder that a file stands in: `.` for a bare name, `/` at the root.
  ///
  /// Foundation's `deletingLastPathComponent` ends the program on Linux where the path is one character.
  public static func folder(of path: String) -> String { splitPath(path).folder }
}
