import FaceDetection
import Formats
import Foundation
import Imaging
import Jobs
import Training

/// Photos with labelled faces in a folder: the reference's layout (`label.txt`, `images/`) or the official one of WIDER FACE
/// (`wider_face_train_bbx_gt.txt`, `WIDER_train/images/`).
public struct LabelledPhotos: Sendable {
  /// The label file.
  public let labelPath: String
  /// The folder that the labels' paths start from.
  public let imageFolder: String
  /// What the labels say.
  public let labels: FaceLabels

  /// Finds labels and images in a folder; looked for are those of the `split`, `train` or `val`.
  ///
  /// - Throws: `FormatError`: `.notFound` naming what was looked for, or what reading the labels throws.
  public init(folder: String, split: String = "train") throws(FormatError) {
    func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
    let reference = ["\(folder)/label.txt", "\(folder)/\(split)/label.txt"]
    let official = ["", "/wider_face_split"].map { "\(folder)\($0)/wider_face_\(split)_bbx_gt.txt" }
    guard let labelPath = (reference + official).first(where: exists) else {
      throw FormatError(
        .notFound, "the folder holds no labels", path: folder,
        advice: "expected is label.txt with images/, or wider_face_\(split)_bbx_gt.txt with WIDER_\(split)/images/")
    }
    let beside = FilePath.folder(of: labelPath)
    let candidates = ["\(beside)/images", "\(folder)/WIDER_\(split)/images", "\(folder)/images"]
    guard let imageFolder = candidates.first(where: exists) else {
      throw FormatError(
        .notFound, "there is no folder of images beside the labels", path: labelPath,
        advice: "expected is one of \(candidates.joined(separator: ", "))")
    }
    self.labelPath = labelPath
    self.imageFolder = imageFolder
    labels =
      labelPath.hasSuffix("_bbx_gt.txt")
      ? try FaceLabels.readWider(path: labelPath) : try FaceLabels.readRetinaFace(path: labelPath)
  }

  /// The photo of an entry.
  func path(_ image: FaceLabels.Image) -> String { "\(imageFolder)/\(image.path)" }
}

/// Labelled photos as training samples; with mirroring each photo stands there twice, as in the reference.
struct PhotoSource: SampleSource {
  let layout: SampleLayout
  let augmentation: any SampleAugmentation
  let mirrors: Bool
  private let photos: LabelledPhotos
  private let images: [FaceLabels.Image]

  /// Four times as many as the fullest photo of WIDER FACE has; every sample of a batch has room for the most.
  private static let faceLimit = 8192

  /// A source over the photos that have faces.
  ///
  /// - Throws: `FormatError` `.mismatch` where none has, `.corrupt` where one has more than 8192.
  init(
    _ photos: LabelledPhotos, imageSize: Int, augmentation: any SampleAugmentation, mirrors: Bool
  ) throws(FormatError) {
    self.photos = photos
    self.augmentation = augmentation
    self.mirrors = mirrors
    // Faces that cannot be judged teach nothing.
    images = photos.labels.images.map { image in
      FaceLabels.Image(path: image.path, faces: image.faces.filter { !$0.isInvalid })
    }.filter { !$0.faces.isEmpty }
    guard !images.isEmpty else {
      throw FormatError(.mismatch, "no photo has a face", path: photos.labelPath, advice: "name another --dataset")
    }
    let most = images.map(\.faces.count).max() ?? 1
    guard most <= Self.faceLimit else {
      throw FormatError(
        .corrupt, "a photo has \(most) faces, more than \(Self.faceLimit)", path: photos.labelPath,
        advice: "check that this is the file meant, whole and unchanged")
    }
    layout = SampleLayout(imageSize: imageSize, faceCapacity: most)
  }

  var count: Int { images.count * (mirrors ? 2 : 1) }
  var sampleSize: Int { layout.sampleSize }
  /// Photos with faces.
  var photoCount: Int { images.count }

  func makeReader() -> any SampleReader { Reader(self) }

  private final class Reader: SampleReader {
    private let source: PhotoSource
    init(_ source: PhotoSource) { self.source = source }

    func read(_ index: Int, into pixels: UnsafeMutableBufferPointer<UInt8>, random: inout CounterRandom) throws -> Int64
    {
      let entry = source.images[index % source.images.count]
      let image = try Image.read(path: source.photos.path(entry), turnsUpright: true)
      let faces = entry.faces.compactMap { $0.clipped(width: image.width, height: image.height) }.map {
        TrainingFace($0)
      }
      var draws = DrawSequence(random)
      let result = source.augmentation.apply(
        image, faces, mirrors: index >= source.images.count, size: source.layout.imageSize, random: &draws, into: pixels
      )
      random = draws.source
      source.layout.write(result.faces, result.colours, to: UnsafeMutableRawBufferPointer(pixels))
      return Int64(result.faces.count)
    }
  }
}
