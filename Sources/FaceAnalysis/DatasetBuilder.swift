import FaceDetection
import FaceRecognition
import Formats
import Glibc
import Imaging

/// Makes a data set of photos in identity folders: finds the main face of each, aligns it, packs the crops.
///
/// Crops lie in `OUTPUT/crops/NAME/PHOTO.jpg` (`PhotoList.Photo.outputName`). Each appears whole or not at all, so that a build that
/// was stopped goes on where it was; `OUTPUT/crops/settings.txt` tells what they were made with, and a build with other settings is refused.
public struct DatasetBuilder: Sendable {
  /// Finds and aligns the faces; its crop size is that of the data set.
  public var analysis: FaceAnalysis
  /// What else decides what the crops are, such as the detector's name: written to settings.txt.
  public var settings: String
  /// The JPEG quality of the crops, 1 to 100.
  public var quality = 95

  /// A builder.
  public init(analysis: FaceAnalysis, settings: String) {
    self.analysis = analysis
    self.analysis.embedder = nil
    self.analysis.landmarkModel = nil
    self.analysis.detection.selection = .central(1)
    self.settings = settings
  }

  /// Why a photo gave no crop.
  public struct Drop: Sendable, Equatable {
    /// The photo.
    public let path: String
    /// Why: no face, or what is wrong with the file.
    public let reason: String
  }

  /// What became of the photos.
  public struct Crops: Sendable {
    /// Crops by identity: those of this and of earlier runs.
    public internal(set) var list = ImageList(identities: [])
    /// Photos that gave none.
    public internal(set) var drops: [Drop] = []
    /// Crops that were there before.
    public internal(set) var presentCount = 0
  }

  /// Cuts the crops of all photos `NAME/…` below a folder; those of a folder that stand in none of its folders are dropped.
  ///
  /// - Parameters:
  ///   - source: a folder of identity folders.
  ///   - output: the data set's folder.
  ///   - progress: called before each photo with the number done and the number in all.
  /// - Throws: `FormatError` where photos cannot be listed, `output` is `source`, crops cannot be written, or earlier crops have
  ///   other settings;
  ///   `FaceAnalysisError` where the network fails. Photos that cannot be read are drops, not errors.
  public func crops(
    of source: String, to output: String, progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> Crops {
    let folder = "\(output)/crops"
    let photos = try PhotoList([source], outputs: [output, folder]).photos
    try makeFolders(folder)
    try checkSettings(folder)
    var crops = Crops()
    var people: [String: [String]] = [:]
    var order: [String] = []
    for (done, photo) in photos.enumerated() {
      progress(done, photos.count)
      guard let slash = photo.relativePath.firstIndex(of: "/") else {
        crops.drops.append(Drop(path: photo.path, reason: "stands in no identity folder"))
        continue
      }
      let name = String(photo.relativePath[..<slash])
      guard !name.utf8.contains(where: { $0 == 10 || $0 == 13 }) else {
        crops.drops.append(Drop(path: photo.path, reason: "the identity's name holds a line break"))
        continue
      }
      let target = "\(folder)/\(photo.outputName).jpg"
      if fileExists(target) {
        crops.presentCount += 1
      } else if let reason = try write(photo.path, to: target) {
        crops.drops.append(Drop(path: photo.path, reason: reason))
        continue
      }
      if people[name] == nil { order.append(name) }
      people[name, default: []].append(target)
    }
    crops.list = ImageList(identities: order.map { .init(name: $0, paths: people[$0] ?? []) })
    return crops
  }

  /// Cuts one crop; gives the reason where there is none.
  private func write(_ path: String, to target: String) throws -> String? {
    let image: Image
    do throws(ImageError) {
      image = try Image.read(path: path, turnsUpright: true)
    } catch {
      return error.message
    }
    let faces: [Face]
    do throws(FaceAnalysisError) {
      faces = try analysis.faces(in: image)
    } catch {
      // What is wrong with one photo's size stops nothing; what is wrong with the network stops all.
      guard case .detection(let detection) = error, detection.kind == .image else { throw error }
      return detection.description
    }
    guard let crop = faces.first?.crop else { return "no face" }
    try makeFolders(FilePath.folder(of: target))
    try AtomicFile.write(try crop.jpeg(quality: quality), to: target)
    return nil
  }

  private func checkSettings(_ folder: String) throws(FormatError) {
    let path = "\(folder)/settings.txt"
    let size = analysis.cropSize
    let text = "\(settings), \(size.width)×\(size.height), quality \(quality)\n"
    guard fileExists(path) else { return try AtomicFile.write(text.utf8, to: path) }
    let file = try MappedFile(path: path)
    guard file.withBytes({ $0.elementsEqual(text.utf8) }) else {
      throw FormatError(
        .mismatch, "the crops here were made with other settings than \(text.dropLast())", path: path,
        advice: "name another folder, or remove this one's crops")
    }
  }
}
