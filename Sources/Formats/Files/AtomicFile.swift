import Glibc

/// A file that appears whole or not at all.
///
/// Bytes go to a temporary name in the same folder (`.name.….part`); ``commit()`` syncs them, renames the file over the
/// old one and syncs the folder. Until then, whatever stood at the path stays as it was. A file that is not committed is
/// removed; one that a killed program left behind is removed by the next writer of the same path.
public final class AtomicFile {
  /// The path that ``commit()`` makes.
  public let path: String
  /// How many bytes were written so far.
  public private(set) var byteCount = 0

  private let target: String
  private let temporary: String
  private var descriptor: Int32
  private var isFinished = false
  private var failure: FormatError?
  private let buffer: UnsafeMutableRawBufferPointer
  private var buffered = 0

  /// Opens a temporary file beside `path`.
  ///
  /// Throws `.notFound` where the folder does not exist.
  public convenience init(path: String) throws(FormatError) {
    // A link is written through, as opening it for writing would do.
    var target = path
    if let resolved = realpath(path, nil) {
      target = String(cString: resolved)
      free(resolved)
    }
    let (folder, name) = splitPath(target)
    guard !name.isEmpty, name != ".", name != ".." else {
      throw FormatError(.unsupported, "a file name is expected, this names a folder", path: path)
    }
    var status = stat()
    let exists = stat(target, &status) == 0
    guard !exists || status.st_mode & S_IFMT == S_IFREG else {
      throw FormatError(.unsupported, "something that is not a regular file stands here", path: path)
    }
    removeAbandoned(folder: folder, name: name)
    let (temporary, descriptor) = try openTemporary(folder: folder, name: name, path: path)
    if exists { fchmod(descriptor, status.st_mode & 0o777) }
    self.init(path: path, target: target, temporary: temporary, descriptor: descriptor)
  }

  /// For tests, which hand in a temporary file of their own.
  init(path: String, target: String, temporary: String, descriptor: Int32) {
    self.path = path
    self.target = target
    self.temporary = temporary
    self.descriptor = descriptor
    buffer = .allocate(byteCount: 1 << 18, alignment: 64)
  }

  deinit {
    cancel()
    buffer.deallocate()
  }

  /// Writes a whole file at once, atomically.
  public static func write(_ bytes: some Sequence<UInt8>, to path: String) throws(FormatError) {
    let file = try AtomicFile(path: path)
    try file.write(contentsOf: bytes)
    try file.commit()
  }

  /// Throws what writing a file at `path` would throw at once, for want of a folder or of rights, and changes nothing: before
  /// hours of work whose result goes there.
  public static func check(_ path: String) throws(FormatError) { try AtomicFile(path: path).cancel() }

  /// Appends `bytes`.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
    if let failure { throw failure }
    guard !isFinished else { throw FormatError(.io, "the file is already closed", path: path) }
    if bytes.count > buffer.count - buffered { try flush() }
    if bytes.count >= buffer.count {
      try writeThrough(bytes)
    } else {
      UnsafeMutableRawBufferPointer(rebasing: buffer[buffered...]).copyMemory(from: bytes)
      buffered += bytes.count
    }
    byteCount += bytes.count
  }

  /// Appends `bytes`.
  public func write(contentsOf bytes: some Sequence<UInt8>) throws(FormatError) {
    var outcome: FormatError?
    let direct: Void? = bytes.withContiguousStorageIfAvailable { storage in
      do throws(FormatError) { try write(UnsafeRawBufferPointer(storage)) } catch { outcome = error }
    }
    if direct == nil {
      let copy = Array(bytes)
      try copy.withRawBytes { (buffer) throws(FormatError) in try write(buffer) }
    }
    if let outcome { throw outcome }
  }

  /// Brings what was written to the disk, under the temporary name: from here on a full disk cannot keep ``commit()`` from
  /// succeeding.
  public func sync() throws(FormatError) {
    if let failure { throw failure }
    guard !isFinished else { throw FormatError(.io, "the file is already closed", path: path) }
    try flush()
    guard fsync(descriptor) == 0 else { throw fail(.system(errno, "syncing to the disk", path: path)) }
  }

  /// Puts the file in its place: afterwards the path holds all bytes written, even after a loss of power.
  public func commit() throws(FormatError) {
    try sync()
    // Renamed before it is closed: the lock that marks the temporary file as ours goes with the descriptor.
    guard rename(temporary, target) == 0 else { throw fail(.system(errno, "renaming into place", path: path)) }
    isFinished = true
    close(descriptor)
    descriptor = -1
    try syncFolder(splitPath(target).folder, path: path)
  }

  /// Removes what was written; the old file, if any, stays.
  ///
  /// Does nothing after ``commit()``.
  public func cancel() {
    guard !isFinished else { return }
    isFinished = true
    unlink(temporary)
    close(descriptor)
    descriptor = -1
  }

  private func fail(_ error: FormatError) -> FormatError {
    failure = error
    cancel()
    return error
  }

  private func flush() throws(FormatError) {
    let pending = UnsafeRawBufferPointer(rebasing: buffer[..<buffered])
    buffered = 0
    try writeThrough(pending)
  }

  private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      let put = Glibc.write(descriptor, base + done, bytes.count - done)
      if put < 0 {
        if errno == EINTR { continue }
        throw fail(.system(errno, "writing", path: path))
      }
      done += put
    }
  }
}

/// Makes sure that a rename or removal inside `folder` survives a loss of power.
func syncFolder(_ folder: String, path: String) throws(FormatError) {
  let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { throw .system(errno, "opening its folder to sync it", path: path) }
  defer { close(descriptor) }
  // Some network file systems cannot sync a folder and say EINVAL; there is nothing more to be done there.
  guard fsync(descriptor) == 0 || errno == EINVAL else { throw .system(errno, "syncing its folder", path: path) }
}

private let partSuffix = ".part"

private func partPrefix(_ name: String) -> String {
  // File names end at 255 bytes; the number and suffix need some of them.
  "." + String(decoding: name.utf8.prefix(200), as: UTF8.self) + "."
}

/// Makes a file `.name.….part` in `folder`, open for writing, that ``removeAbandoned(folder:name:)`` leaves alone as long as
/// its descriptor is open.
///
/// `path` is the file that errors name. Throws `.io` or `.notFound`.
public func openTemporary(
  folder: String, name: String, path: String
) throws(FormatError) -> (temporary: String, descriptor: Int32) {
  for _ in 0..<100 {
    let tag = String(UInt64.random(in: .min ... .max), radix: 36)
    let temporary = folder + "/" + partPrefix(name) + tag + partSuffix
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    if descriptor < 0 {
      if errno == EEXIST || errno == EINTR { continue }
      throw .system(errno, "creating a file in \(folder)", path: path)
    }
    // The lock says that the writer lives. Another writer may have taken the new file for an abandoned one just before
    // the lock was there; then it has no name any more and the next one is tried.
    while flock(descriptor, LOCK_EX) != 0 && errno == EINTR {}
    var status = stat()
    if fstat(descriptor, &status) == 0, status.st_nlink > 0 { return (temporary, descriptor) }
    close(descriptor)
  }
  throw FormatError(.io, "no temporary name could be made in \(folder)", path: path)
}

/// Removes temporary files of `name` in `folder` whose writers are gone (their locks went with them).
public func removeAbandoned(folder: String, name: String) {
  guard let listing = opendir(folder) else { return }
  defer { closedir(listing) }
  let prefix = partPrefix(name)
  while let entry = readdir(listing) {
    let found = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    guard found.hasPrefix(prefix), found.hasSuffix(partSuffix) else { continue }
    let tag = found.utf8.dropFirst(prefix.utf8.count).dropLast(partSuffix.utf8.count)
    guard !tag.isEmpty, !tag.contains(UInt8(ascii: ".")) else { continue }
    let file = folder + "/" + found
    let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { continue }
    if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(file) }
    close(descriptor)
  }
}
