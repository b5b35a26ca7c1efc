import Formats
import Glibc

/// Photos of files and folders, in the byte order of their paths.
public struct PhotoList: Sendable {
  /// A photo.
  public struct Photo: Sendable, Equatable {
    /// Where it lies.
    public var path: String
    /// Its path below the folder that was named; its name where it was named itself.
    public var relativePath: String

    /// The relative path without its ending.
    public var stem: String {
      let name = relativePath
      guard let dot = name.lastIndex(of: "."), !name[dot...].contains("/") else { return name }
      return String(name[..<dot])
    }
  }

  /// The photos.
  public var photos: [Photo]

  /// Endings of photos; the case does not matter.
  ///
  /// What a file holds is told by its content.
  public static let endings = [".jpg", ".jpeg", ".png", ".webp"]

  /// The photos of these files and of these folders and all below them; a file counts whatever its ending.
  ///
  /// - Throws: `FormatError`: `.notFound` for a path where nothing is or a folder without photos, `.io`.
  public init(_ paths: [String]) throws(FormatError) {
    photos = []
    for path in paths {
      guard isFolder(path) else {
        guard fileExists(path) else { throw FormatError(.notFound, "no file or folder is here", path: path) }
        photos.append(Photo(path: path, relativePath: path.split(separator: "/").last.map(String.init) ?? path))
        continue
      }
      let root = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
      var found: [String] = []
      try Self.collect(root, "", depth: 0, &found)
      guard !found.isEmpty else {
        throw FormatError(
          .notFound, "the folder holds no photos", path: path,
          advice: "photos end in \(Self.endings.joined(separator: ", "))")
      }
      photos += found.map { Photo(path: root + "/" + $0, relativePath: $0) }
    }
  }

  private static func collect(
    _ root: String, _ below: String, depth: Int, _ found: inout [String]
  ) throws(FormatError) {
    // A link that leads back into its own folder would have no end.
    guard depth < 64 else { throw FormatError(.tooLarge, "folders are nested more than 64 deep", path: root) }
    let folder = below.isEmpty ? root : root + "/" + below
    guard let listing = opendir(folder) else {
      throw FormatError(.io, "the folder cannot be read: \(String(cString: strerror(errno)))", path: folder)
    }
    var names: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    closedir(listing)
    for name in names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      let path = below.isEmpty ? name : below + "/" + name
      if isFolder(root + "/" + path) {
        try collect(root, path, depth: depth + 1, &found)
      } else if endings.contains(where: { name.lowercased().hasSuffix($0) }) {
        found.append(path)
      }
    }
  }
}
