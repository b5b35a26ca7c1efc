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
    /// What files made of it are called, without their ending: its stem, unless other photos of the list have the same one.
    ///
    /// Photos that clash keep their ending (`a.jpg`, `a.png`), and where that does not tell them apart either, all get a number
    /// made of where they lie (`a.jpg~1q8f…`). Two photos never share a name. Neither the order of the list nor who else
    /// clashes has a part in it, so that a later run, over more photos too, does not take one's file for another's.
    public internal(set) var outputName: String

    init(path: String, relativePath: String) {
      self.path = path
      self.relativePath = relativePath
      outputName = ""
      outputName = stem
    }

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
    Self.nameOutputs(&photos)
  }

  private static func nameOutputs(_ photos: inout [Photo]) {
    var levels = [Int](repeating: 0, count: photos.count)
    while true {
      var counts: [String: Int] = [:]
      for photo in photos { counts[photo.outputName, default: 0] += 1 }
      // Those left at the last level are one file that was named twice.
      let clashing = photos.indices.filter { levels[$0] < 2 && counts[photos[$0].outputName, default: 0] > 1 }
      guard !clashing.isEmpty else { return }
      for index in clashing {
        levels[index] += 1
        let photo = photos[index]
        photos[index].outputName = photo.relativePath + (levels[index] == 1 ? "" : "~" + placeNumber(photo.path))
      }
    }
  }

  /// The FNV-1a hash of a file's path without links and dots.
  private static func placeNumber(_ path: String) -> String {
    var place = path
    if let resolved = realpath(path, nil) {
      place = String(cString: resolved)
      free(resolved)
    }
    let hash = place.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    return String(hash, radix: 36)
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
