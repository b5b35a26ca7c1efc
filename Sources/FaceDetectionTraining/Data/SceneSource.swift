import FaceDetection
import Imaging
import Jobs
import SyntheticFaces
import Training

/// Synthetic scenes: drawn when they are needed, or held out for evaluation.
public struct SceneSettings: Sendable, Equatable {
  /// Rows and columns of a scene.
  public var size: Int
  /// Faces of a scene.
  public var faces: ClosedRange<Int>
  /// What every scene is drawn from.
  public var seed: UInt64

  /// Settings.
  public init(size: Int, faces: ClosedRange<Int> = 1...8, seed: UInt64) {
    self.size = size
    self.faces = faces
    self.seed = seed
  }

  /// Scenes that training never sees: other people, other places.
  ///
  /// Boxes end at the edges of the image, as those of WIDER FACE do and those that a detector gives.
  public func heldOut(_ count: Int) throws(ImageError) -> (images: [Image], truth: WiderGroundTruth) {
    let generator = FaceGenerator(seed: seed ^ 0x6865_6C64_6F75_74)
    var images: [Image] = []
    var entries: [WiderGroundTruth.Image] = []
    for index in 0..<count {
      let scene = try generator.scene(index: index, width: size, height: size, faces: faces)
      images.append(scene.image)
      let boxes = scene.faces.map { BoundingBox($0.box, within: Double(size)) }
      entries.append(.init(event: "scenes", name: "\(index)", boxes: boxes, counted: [Array(boxes.indices)]))
    }
    return (images, WiderGroundTruth(settings: ["scenes"], images: entries))
  }
}

extension BoundingBox {
  /// What of a rectangle lies in an image of so many pixels a side.
  init(_ rectangle: Rectangle, within side: Double) {
    self.init(rectangle)
    (left, right) = (max(0, left), min(side - 1, right))
    (top, bottom) = (max(0, top), min(side - 1, bottom))
  }

  /// The corners of a rectangle.
  init(_ rectangle: Rectangle) {
    self.init(
      left: rectangle.x, top: rectangle.y, right: rectangle.x + rectangle.width, bottom: rectangle.y + rectangle.height)
  }
}

/// Synthetic scenes as training samples: every sample is a new scene, drawn by the key (seed, epoch, position).
struct SceneSource: SampleSource {
  let layout: SampleLayout
  let augmentation: any SampleAugmentation
  let count: Int
  let mirrors: Bool
  private let settings: SceneSettings
  private let generator: FaceGenerator

  /// - Parameter count: samples of an epoch.
  init(
    _ settings: SceneSettings, imageSize: Int, augmentation: any SampleAugmentation, count: Int, mirrors: Bool
  ) {
    self.settings = settings
    self.augmentation = augmentation
    self.count = count
    self.mirrors = mirrors
    generator = FaceGenerator(seed: settings.seed)
    layout = SampleLayout(imageSize: imageSize, faceCapacity: max(1, settings.faces.upperBound))
  }

  var sampleSize: Int { layout.sampleSize }

  func makeReader() -> any SampleReader { Reader(self) }

  private final class Reader: SampleReader {
    private let source: SceneSource
    init(_ source: SceneSource) { self.source = source }

    func read(_ index: Int, into pixels: UnsafeMutableBufferPointer<UInt8>, random: inout CounterRandom) throws -> Int64
    {
      var draws = DrawSequence(random)
      let (settings, size) = (source.settings, source.settings.size)
      let scene = try source.generator.scene(
        index: draws.index(below: 1 << 40), width: size, height: size, faces: settings.faces)
      let faces = scene.faces.map { face -> TrainingFace in
        let box = BoundingBox(face.box)
        return TrainingFace(
          box: SIMD4(Float(box.left), Float(box.top), Float(box.right), Float(box.bottom)),
          landmarks: face.landmarks5.map { SIMD2(Float($0.x), Float($0.y)) })
      }
      let mirrors = source.mirrors && draws.index(below: 2) == 1
      let result = source.augmentation.apply(
        scene.image, faces, mirrors: mirrors, size: source.layout.imageSize, random: &draws, into: pixels)
      random = draws.source
      source.layout.write(result.faces, result.colours, to: UnsafeMutableRawBufferPointer(pixels))
      return Int64(result.faces.count)
    }
  }
}
