import FaceDetection
import Imaging

/// A face as a network learns it: a box and, where they are known, five landmarks, in pixels of the training image.
public struct TrainingFace: Sendable, Equatable {
  /// Left, top, right, bottom; both corners lie inside.
  public var box: SIMD4<Float>
  /// x and y of left eye, right eye, nose tip, left and right mouth corner as seen; nil where they are unknown, which gives
  /// no loss.
  public var landmarks: [SIMD2<Float>]?

  /// A face of its parts; other than five landmarks count as none.
  public init(box: SIMD4<Float>, landmarks: [SIMD2<Float>]? = nil) {
    self.box = box
    self.landmarks = landmarks?.count == 5 ? landmarks : nil
  }

  /// A face of a label.
  init(_ face: LabelledFace) {
    self.init(
      box: SIMD4(Float(face.box.left), Float(face.box.top), Float(face.box.right), Float(face.box.bottom)),
      landmarks: face.landmarks?.map { SIMD2(Float($0.point.x), Float($0.point.y)) })
  }

  /// The face in the mirrored image: eyes and corners of the mouth change places.
  func mirrored(width: Int) -> TrainingFace { mirrored(about: Float(width) - 1) }

  /// The face with x turned into `last` − x.
  func mirrored(about last: Float) -> TrainingFace {
    var face = self
    face.box = SIMD4(last - box[2], box[1], last - box[0], box[3])
    if let points = landmarks {
      face.landmarks = [1, 0, 2, 4, 3].map { SIMD2(last - points[$0].x, points[$0].y) }
    }
    return face
  }

  /// The face after scaling by a factor and moving the origin.
  func moved(scale: Float, origin: SIMD2<Float>) -> TrainingFace {
    TrainingFace(
      box: box * scale - SIMD4(origin.x, origin.y, origin.x, origin.y),
      landmarks: landmarks.map { $0.map { $0 * scale - origin } })
  }
}

/// How the colours of an image are changed: rgb ↦ M · rgb + c, in floating point, neither rounded nor clipped.
public struct ColourMap: Sendable, Equatable {
  /// M, row by row, then c: 12 numbers.
  public var values: [Float]

  /// Everything stays as it is.
  public static let identity = ColourMap(values: [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])

  private var matrix: [SIMD3<Double>]
  private var offset: SIMD3<Double>

  init(values: [Float]) {
    self.values = values
    let v = values.map(Double.init)
    matrix = [SIMD3(v[0], v[1], v[2]), SIMD3(v[3], v[4], v[5]), SIMD3(v[6], v[7], v[8])]
    offset = SIMD3(v[9], v[10], v[11])
  }

  /// The weights of R, G and B in a grey value.
  ///
  /// The reference gives those of R to B and the other way round.
  private static let grey = SIMD3(0.114, 0.587, 0.299)

  /// What the reference's `color_aug` does: brightness, and with `isWide` contrast and saturation too in a drawn order, each
  /// by a factor from 1 ± `strength`.
  ///
  /// - Parameters:
  ///   - mean: of R, G and B over the image, 0…255.
  ///   - uniform: draws from 0 ..< 1.
  static func jittered(
    strength: Double, isWide: Bool, mean: SIMD3<Double>, random: inout DrawSequence
  ) -> ColourMap {
    var map = identity
    let kinds = isWide ? random.shuffled([0, 1, 2]) : [0]
    for kind in kinds {
      let alpha = 1 + (2 * random.uniform() - 1) * strength
      let luma = map.matrix.indices.reduce(0.0) { sum, row in
        sum + grey[row] * ((map.matrix[row] * mean).sum() + map.offset[row])
      }
      let rows = map.matrix
      let greyRow = grey[0] * rows[0] + grey[1] * rows[1] + grey[2] * rows[2]
      let greyOffset = (grey * map.offset).sum()
      for row in 0..<3 {
        map.matrix[row] *= alpha
        map.offset[row] *= alpha
        if kind == 1 { map.offset[row] += (1 - alpha) * luma }
        if kind == 2 {
          map.matrix[row] += (1 - alpha) * greyRow
          map.offset[row] += (1 - alpha) * greyOffset
        }
      }
    }
    map.values = (map.matrix.flatMap { [$0.x, $0.y, $0.z] } + [map.offset.x, map.offset.y, map.offset.z]).map {
      Float($0)
    }
    return map
  }
}
