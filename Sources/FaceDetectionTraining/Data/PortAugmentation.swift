import Imaging

/// What happens to a photo on its way into training in the PyTorch port (data/data_augment.py).
///
/// A square of a drawn share of the shorter side is cut where it holds a whole face; where none is found the photo is
/// padded to a square. Colours are varied, half of the samples mirrored, and one of five ways of resizing is drawn. What
/// is left to the device is the order B, G, R and the mean.
struct PortAugmentation: SampleAugmentation, Equatable {
  /// Side of the square in shares of the shorter side; one is drawn.
  var cropScales = [0.3, 0.45, 0.6, 0.8, 1]
  /// Whether colours are varied.
  var distortsColours = true
  /// Whether half of the samples are mirrored.
  var mirrors = true

  /// B, G, R minus (104, 117, 123) of R, G, B.
  static let input = ColourMap(values: [0, 0, 1, 0, 1, 0, 1, 0, 0, -104, -117, -123])
  /// The mean as R, G, B, with which photos are padded.
  private static let padding: [UInt8] = [123, 117, 104]
  private static let attempts = 250

  /// A square of a photo, and the faces in it.
  private struct Cut {
    var left = 0
    var top = 0
    var width: Int
    var height: Int
    var faces: [TrainingFace]
  }

  func apply(
    _ image: Image, _ faces: [TrainingFace], mirrors _: Bool, size: Int, random: inout DrawSequence,
    into pixels: UnsafeMutableBufferPointer<UInt8>
  ) -> (faces: [TrainingFace], colours: ColourMap) {
    let cut = cut(image, faces, &random)
    let side = max(cut.width, cut.height)
    var part: [UInt8] = []
    part.reserveCapacity(3 * cut.width * cut.height)
    image.pixels.withUnsafeBufferPointer { source in
      for y in cut.top..<cut.top + cut.height {
        let start = 3 * (y * image.width + cut.left)
        part.append(contentsOf: source[start..<start + 3 * cut.width])
      }
    }
    if distortsColours { ColourDistortion(&random).apply(&part) }
    let isMirrored = mirrors && random.index(below: 2) == 1
    let method = Resampling.allCases[random.index(below: Resampling.allCases.count)]
    method.resize(
      part, width: cut.width, height: cut.height, border: Self.padding, to: size, mirrors: isMirrored, into: pixels)
    let kept = isMirrored ? cut.faces.map { $0.mirrored(about: Float(side)) } : cut.faces
    return (kept.map { $0.moved(scale: Float(size) / Float(side), origin: .zero) }, Self.input)
  }

  private func cut(_ image: Image, _ faces: [TrainingFace], _ random: inout DrawSequence) -> Cut {
    let short = min(image.width, image.height)
    for _ in 0..<Self.attempts {
      let side = max(1, Int(cropScales[random.index(below: cropScales.count)] * Double(short)))
      let left = image.width == side ? 0 : random.index(below: image.width - side)
      let top = image.height == side ? 0 : random.index(below: image.height - side)
      let (low, high) = (SIMD2(Float(left), Float(top)), SIMD2(Float(left + side), Float(top + side)))
      let holdsOne = faces.contains { face in
        let box = face.box
        return box[0] >= low.x && box[1] >= low.y && box[2] <= high.x && box[3] <= high.y
          && (box[2] - box[0]) * (box[3] - box[1]) >= 1
      }
      guard holdsOne else { continue }
      let kept = faces.filter { face in
        let centre = SIMD2(face.box[0] + face.box[2], face.box[1] + face.box[3]) / 2
        return centre.x > low.x && centre.y > low.y && centre.x < high.x && centre.y < high.y
      }
      guard !kept.isEmpty else { continue }
      return Cut(
        left: left, top: top, width: side, height: side,
        faces: kept.map { $0.moved(scale: 1, origin: low).limited(to: Float(side)) })
    }
    return Cut(width: image.width, height: image.height, faces: faces)
  }
}

extension TrainingFace {
  /// Box and landmarks moved into a square of this side.
  fileprivate func limited(to side: Float) -> TrainingFace {
    var face = self
    face.box.clamp(lowerBound: .zero, upperBound: SIMD4(repeating: side))
    face.landmarks = landmarks.map { points in
      points.map { $0.clamped(lowerBound: .zero, upperBound: SIMD2(repeating: side)) }
    }
    return face
  }
}
