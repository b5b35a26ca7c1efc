import Formats

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
  /// - Parameters:
  ///   - paths: files and folders.
  ///   - outputs: files and folders that will be written. What lies in such a folder is passed over, so that what an earlier
  ///     run wrote there is not taken for photos.
  /// - Throws: `FormatError`: `.notFound` for a path where nothing is or a folder without photos, `.mismatch` where an output
  ///   is a photo or the folder of one, `.unsupported` for a name that is not UTF-8, `.io`.
  public init(_ paths: [String], outputs: [String] = []) throws(FormatError) {
    photos = []
    for path in paths {
      guard isFolder(path) else {
        guard fileExists(path) else { throw FormatError(.notFound, "no file or folder is here", path: path) }
        try Self.refuse(outputs, asFolder: FilePath.folder(of: path))
        photos.append(Photo(path: path, relativePath: path.split(separator: "/").last.map(String.init) ?? path))
        continue
      }
      let root = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
      try Self.refuse(outputs, asFolder: root)
      var found: [String] = []
      try Self.collect(root, "", depth: 0, except: outputs.filter(isFolder), &found)
      guard !found.isEmpty else {
        throw FormatError(
          .notFound, "the folder holds no photos", path: path,
          advice: "photos end in \(Self.endings.joined(separator: ", "))")
      }
      photos += found.map { Photo(path: root + "/" + $0, relativePath: $0) }
    }
    for output in outputs where fileExists(output) && !isFolder(output) {
      guard let photo = photos.first(where: { isSameFile($0.path, output) }) else { continue }
      throw FormatError(
        .mismatch, "this is the photo \(photo.path), which would be written over", path: output,
        advice: "name another file for the output")
    }
  }

  private static func refuse(_ outputs: [String], asFolder folder: String) throws(FormatError) {
    for output in outputs where isFolder(output) && isSameFile(output, folder) {
      throw FormatError(
        .mismatch, "the output would be written among the photos and over some of them", path: output,
        advice: "name another folder; one inside this folder is fine")
    }
  }

  private static func collect(
    _ root: String, _ below: String, depth: Int, except outputs: [String], _ found: inout [String]
  ) throws(FormatError) {
    // A link that leads back into its own folder would have no end.
    guard depth < 64 else { throw FormatError(.tooLarge, "folders are nested more than 64 deep", path: root) }
    for entry in try folderEntries(below.isEmpty ? root : root + "/" + below) {
      let path = below.isEmpty ? entry.name : below + "/" + entry.name
      if entry.isFolder {
        guard !outputs.contains(where: { isSameFile($0, root + "/" + path) }) else { continue }
        try collect(root, path, depth: depth + 1, except: outputs, &found)
      } else if endings.contains(where: { entry.name.lowercased().hasSuffix($0) }) {
        found.append(path)
      }
    }
  }
}
