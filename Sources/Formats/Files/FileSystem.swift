import Glibc

/// Opens a regular file for reading and returns its descriptor and size in bytes.
///
/// Folders, pipes and devices are refused: the formats of this module need a size and positions.
func openRegularFile(_ path: String) throws(FormatError) -> (descriptor: Int32, byteCount: Int) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer before it could be refused.
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { throw .system(errno, "opening for reading", path: path) }
  var status = stat()
  guard fstat(descriptor, &status) == 0 else {
    let number = errno
    close(descriptor)
    throw .system(number, "reading the size", path: path)
  }
  guard status.st_mode & S_IFMT == S_IFREG else {
    close(descriptor)
    let isFolder = status.st_mode & S_IFMT == S_IFDIR
    throw FormatError(
      .unsupported, isFolder ? "this is a folder, a file is expected" : "this is not a regular file", path: path)
  }
  return (descriptor, Int(status.st_size))
}

/// Whether something stands at `path`.
public func fileExists(_ path: String) -> Bool {
  access(path, F_OK) == 0
}

/// The folder that holds `path`, and the last component.
func splitPath(_ path: String) -> (folder: String, name: String) {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
  let folder = String(path[..<slash])
  return (folder.isEmpty ? "/" : folder, String(path[path.index(after: slash)...]))
}

/// Removes a file; it is fine if there was none.
public func removeFile(_ path: String) throws(FormatError) {
  guard unlink(path) == 0 || errno == ENOENT else { throw .system(errno, "removing the old file", path: path) }
}

/// Gives a folder another name beside it, so that a loss of power does not undo it; a folder that is not empty is not replaced.
public func renameDurably(_ path: String, to target: String) throws(FormatError) {
  guard rename(path, target) == 0 else { throw .system(errno, "renaming \(path) to it", path: target) }
  try syncFolder(splitPath(target).folder, path: target)
}

/// The folder is made where it is not there, and those above it.
public func makeFolders(_ path: String) throws(FormatError) {
  var partial = path.hasPrefix("/") ? "/" : ""
  for part in path.split(separator: "/") {
    partial += (partial.isEmpty || partial.hasSuffix("/") ? "" : "/") + part
    guard mkdir(partial, 0o777) == 0 || errno == EEXIST else {
      throw FormatError(.io, "the folder cannot be made: \(String(cString: strerror(errno)))", path: partial)
    }
  }
  guard isFolder(path.isEmpty ? "." : path) else {
    throw FormatError(.unsupported, "a folder is expected, a file stands here", path: path)
  }
}

/// Whether a folder stands at `path`.
public func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

/// Whether two paths lead to one file or folder, through links too; false where either is not there.
public func isSameFile(_ a: String, _ b: String) -> Bool {
  var (first, second) = (stat(), stat())
  return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino
}

/// What stands in a folder, names in byte order, without hidden ones; links are followed.
///
/// - Throws: `FormatError`: `.notFound`, `.io`; `.unsupported` for a name that is not UTF-8, which no `String` can lead to.
public func folderEntries(_ path: String) throws(FormatError) -> [(name: String, isFolder: Bool)] {
  guard let listing = opendir(path) else {
    let reason = String(cString: strerror(errno))
    throw FormatError(
      errno == ENOENT || errno == ENOTDIR ? .notFound : .io, "the folder cannot be read: \(reason)", path: path,
      advice: "check the path")
  }
  defer { closedir(listing) }
  var entries: [(name: String, isFolder: Bool)] = []
  while true {
    errno = 0
    guard let entry = readdir(listing) else { break }
    let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
    guard bytes.first != UInt8(ascii: ".") else { continue }
    guard let name = String(validating: bytes, as: UTF8.self) else {
      throw FormatError(
        .unsupported, "the name `\(escaped(bytes))` here is not UTF-8", path: path,
        advice: "rename that file or folder; `convmv -f latin1 -t utf8 --notest` does so for many")
    }
    entries.append((name, isFolder("\(path)/\(name)")))
  }
  guard errno == 0 else {
    throw FormatError(.io, "the folder cannot be read: \(String(cString: strerror(errno)))", path: path)
  }
  return entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
}

/// A name as a shell takes it between `$'` and `'`: what is not printable ASCII as `\xE9`.
private func escaped(_ bytes: [UInt8]) -> String {
  bytes.map { byte in
    guard byte < 0x20 || byte > 0x7e else { return String(UnicodeScalar(byte)) }
    return "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
  }.joined()
}
