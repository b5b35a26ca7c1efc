import Glibc

func currentTime() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_REALTIME, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// The machine's name with everything but letters, digits, dots and dashes replaced, fit for a file name.
func hostName() -> String {
  var buffer = [UInt8](repeating: 0, count: 256)
  let result = buffer.withUnsafeMutableBytes { bytes in
    guard let start = bytes.baseAddress else { return Int32(-1) }
    return gethostname(start.assumingMemoryBound(to: CChar.self), bytes.count - 1)
  }
  guard result == 0 else { return "localhost" }
  let name = buffer.prefix { $0 != 0 }.map { byte -> UInt8 in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"):
      return byte
    default: return UInt8(ascii: "_")
    }
  }
  return name.isEmpty ? "localhost" : String(decoding: name, as: UTF8.self)
}

func joinPath(_ folder: String, _ name: String) -> String {
  folder.isEmpty ? name : folder.hasSuffix("/") ? folder + name : folder + "/" + name
}

/// Makes a folder and those above it; one that is already there is fine.
func makeFolders(_ path: String) throws(EventLogError) {
  if path.isEmpty { return }
  var prefix = path.hasPrefix("/") ? "/" : ""
  for part in path.split(separator: "/") {
    prefix += part
    if mkdir(prefix, 0o755) != 0 && errno != EEXIST {
      let number = errno
      // An unwritable or read-only parent may still hold the folder.
      var status = stat()
      if stat(prefix, &status) != 0 {
        throw .system(.cannotOpen, path: prefix, doing: "make the log folder", errno: number)
      }
    }
    prefix += "/"
  }
  var status = stat()
  if stat(path, &status) != 0 { throw .system(.cannotOpen, path: path, doing: "open the log folder", errno: errno) }
  if status.st_mode & S_IFMT != S_IFDIR {
    throw EventLogError(code: .cannotOpen, path: path, offset: nil, message: "is a file; the log needs a folder")
  }
}

/// The names in a folder, sorted; none where the folder does not exist.
func fileNames(in folder: String) throws(EventLogError) -> [String] {
  guard let directory = opendir(folder.isEmpty ? "." : folder) else {
    if errno == ENOENT { return [] }
    throw .system(.cannotOpen, path: folder, doing: "list the folder", errno: errno)
  }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
      pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names.sorted()
}

/// Asks the system to put a folder's entries on the disk, so that a rename survives a power cut.
func syncFolder(_ folder: String) {
  let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  if descriptor >= 0 {
    fsync(descriptor)
    close(descriptor)
  }
}
