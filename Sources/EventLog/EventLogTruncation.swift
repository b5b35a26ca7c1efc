import Glibc

/// Cuts a run's log back to the step from which training goes on.
public enum EventLogTruncation {
  /// What cutting back did.
  public struct Summary: Sendable, Equatable {
    /// Paths of files that were rewritten without the later events.
    public var rewrittenFiles: [String] = []
    /// Paths of files that held nothing but later events and are gone.
    public var removedFiles: [String] = []
    /// Events dropped because their step lies after the given one.
    public var removedEventCount = 0
    /// Unreadable records or cut ends dropped.
    public var removedDamageCount = 0
    /// Copies of files with damage other than a cut end, kept under these paths.
    public var keptCopies: [String] = []
  }

  /// Drops every event after `step` from all event files of a folder, so that a resumed run records no step twice.
  ///
  /// Each file is replaced atomically (temporary file, sync, rename): a kill at any moment leaves the old or the new
  /// file. A cut record at the end of a file is dropped as well. A file that is damaged elsewhere is kept beside the
  /// new one under a name that TensorBoard passes over. No writer may have a file of the folder open.
  ///
  /// - Throws: `EventLogError` where a file cannot be read or written; the files not yet reached are as they were.
  @discardableResult
  public static func truncate(folder: String, afterStep step: Int64) throws(EventLogError) -> Summary {
    var summary = Summary()
    // What an earlier call left when it was killed. TensorBoard reads any name with "tfevents" in it, so these have
    // none.
    for name in try fileNames(in: folder) where name.hasPrefix(temporaryPrefix) {
      unlink(joinPath(folder, name))
    }
    for path in try EventReader.files(in: folder) {
      var laterCount = 0
      var keptValues = false
      let scan = try EventReader.forEachRecord(in: path) { _, event, _ throws(EventLogError) in
        if event.step > step {
          laterCount += 1
        } else if event.fileVersion == nil {
          keptValues = true
        }
      }
      if laterCount == 0 && scan.damage.isEmpty { continue }
      if scan.damage.contains(where: { $0.kind != .cutRecord }) {
        summary.keptCopies.append(try keepCopy(of: path, in: folder))
      }
      if keptValues {
        try rewrite(path, in: folder, upTo: step)
        summary.rewrittenFiles.append(path)
      } else {
        if unlink(path) != 0 { throw .system(.cannotWrite, path: path, doing: "remove the event file", errno: errno) }
        summary.removedFiles.append(path)
      }
      summary.removedEventCount += laterCount
      summary.removedDamageCount += scan.damage.count
    }
    if !summary.rewrittenFiles.isEmpty || !summary.removedFiles.isEmpty { syncFolder(folder) }
    return summary
  }

  private static let temporaryPrefix = ".event-log-rewrite-"

  private static func rewrite(_ path: String, in folder: String, upTo step: Int64) throws(EventLogError) {
    let temporary = joinPath(folder, "\(temporaryPrefix)\(getpid())")
    var mode: mode_t = 0o644
    var status = stat()
    if stat(path, &status) == 0 { mode = status.st_mode & 0o777 }
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    if descriptor < 0 { throw .system(.cannotOpen, path: temporary, doing: "create the file", errno: errno) }
    var finished = false
    defer {
      close(descriptor)
      if !finished { unlink(temporary) }
    }
    var waiting: [UInt8] = []
    _ = try EventReader.forEachRecord(in: path) { _, event, message throws(EventLogError) in
      if event.step > step { return }
      waiting += framed(message)
      if waiting.count >= 1 << 20 {
        try writeAll(waiting, to: descriptor, path: temporary)
        waiting.removeAll(keepingCapacity: true)
      }
    }
    try writeAll(waiting, to: descriptor, path: temporary)
    if fsync(descriptor) != 0 { throw .system(.cannotWrite, path: temporary, doing: "sync the file", errno: errno) }
    if rename(temporary, path) != 0 {
      throw .system(.cannotWrite, path: path, doing: "replace the event file", errno: errno)
    }
    finished = true
  }

  private static func writeAll(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(EventLogError) {
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        buffer.baseAddress.map { write(descriptor, $0 + written, buffer.count - written) } ?? 0
      }
      if count > 0 {
        written += count
      } else if count < 0 && errno != EINTR {
        throw .system(.cannotWrite, path: path, offset: written, doing: "write the file", errno: errno)
      }
    }
  }

  private static func keepCopy(of path: String, in folder: String) throws(EventLogError) -> String {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    let stem = "damaged-" + String(name.dropFirst("events.out.tfevents.".count))
    for number in 0..<1000 {
      let copy = joinPath(folder, number == 0 ? stem : "\(stem)-\(number)")
      if link(path, copy) == 0 { return copy }
      if errno != EEXIST { throw .system(.cannotWrite, path: copy, doing: "keep the damaged file", errno: errno) }
    }
    throw EventLogError(
      code: .cannotWrite, path: path, offset: nil, message: "too many damaged copies of this file; remove some")
  }
}
