import Imaging

/// A face in a scene, with everything a detector or an aligner learns from.
public struct SceneFace: Sendable {
  /// Who; the same number names the same person in crops.
  public let identity: Int
  /// Upright box from the hairline to the chin, in pixels; it may reach over the edge of the image.
  public let box: Rectangle
  /// Left eye, right eye, nose tip, left and right mouth corner, as seen.
  public let landmarks5: [Point]
  /// The 68 points of the iBUG scheme: jaw 0–16, brows 17–26, nose 27–35, eyes 36–47, outer lips 48–59, inner lips 60–67.
  public let landmarks68: [Point]
}

/// A picture with faces in it.
public struct Scene: Sendable {
  /// The picture.
  public let image: Image
  /// The faces, from back to front.
  public let faces: [SceneFace]
}

extension FaceGenerator {
  /// The largest share of a face that other people may hide.
  private static let mostHidden = 0.25

  /// A whole scene; a pure function of (seed, index), the size and the number of faces.
  ///
  /// Faces have sides from 16 pixels to about half of the shorter side of the image, keep their centre inside, and at most
  /// a quarter of one is behind other people. Where no room is left for another face, fewer than asked for are drawn.
  ///
  /// - Parameters:
  ///   - index: which scene; any number.
  ///   - width: columns, 32…16384.
  ///   - height: rows, 32…16384.
  ///   - faces: how many faces, from 0 to 1000.
  ///   - identities: people are drawn from 0..<identities; at least 1.
  /// - Throws: `ImageError` of kind `sizeMismatch` when an argument is out of range, `tooLarge` when the image is.
  public func scene(
    index: Int, width: Int, height: Int, faces: ClosedRange<Int>, identities: Int = 100_000
  ) throws(ImageError) -> Scene {
    guard (32...16384).contains(width), (32...16384).contains(height) else {
      throw ImageError(
        .sizeMismatch, message: "a scene of \(width)×\(height) cannot be", advice: "use 32 to 16384 pixels a side")
    }
    guard faces.lowerBound >= 0, faces.upperBound <= 1000, identities >= 1 else {
      throw ImageError(
        .sizeMismatch, message: "a scene of \(faces) faces of \(identities) people cannot be",
        advice: "use 0 to 1000 faces and at least 1 identity")
    }
    // Checks the number of pixels before the canvas, which is larger, is made.
    guard width * height <= Image.defaultPixelLimit / 2 else {
      throw ImageError(
        .tooLarge, message: "a scene of \(width)×\(height) exceeds \(Image.defaultPixelLimit / 2) pixels",
        advice: "use a smaller size")
    }
    var random = KeyedRandom(seed: seed, .scene, index)
    var camera = Camera(&random, difficulty)
    let canvas = Canvas(width: width, height: height)
    defer { canvas.deallocate() }
    let beforeBackground = random
    Background.paint(canvas, &random, strength: difficulty.background)

    let count = faces.lowerBound + random.index(faces.upperBound - faces.lowerBound + 1)
    let shorter = Float(min(width, height))
    // The head is about 100 face units high; a face of 16 pixels or more is recognisable as one.
    let smallest: Float = 16.0 / 100
    let largest = max(smallest, shorter * 0.5 / 100)
    var placed: [(geometry: FaceGeometry, identity: Int, box: Rectangle)] = []
    for number in 0..<count {
      let identity = Int(random.bits() % UInt64(identities))
      var draw = KeyedRandom(seed: seed, .appearance, ~index, number)
      let appearance = FaceAppearance(&draw, difficulty)
      var geometry = FaceGeometry(FaceIdentity(seed: seed, identity: identity), appearance)
      for _ in 0..<30 {
        // Uniform in the logarithm, as a quotient of powers: small faces are as frequent as large ones.
        let share = random.uniform()
        let ratio = largest / smallest
        let unit = smallest * power(ratio, share)
        let turn = appearance.roll + random.normal() * 0.1
        let x = random.uniform(0.06, 0.94) * Float(width)
        let y = random.uniform(0.06, 0.94) * Float(height)
        geometry.place(x: x, y: y, unit: unit, turn: turn)
        // Of the smaller face: one that a larger one hides could not be found, and must not be among the labels.
        guard let box = geometry.box(), placed.allSatisfy({ $0.box.intersectionOverSmaller(box) < 0.1 }) else {
          continue
        }
        placed.append((geometry, identity, box))
        break
      }
    }
    // Larger faces are nearer and stand in front.
    placed.sort { $0.box.height < $1.box.height }
    // The camera meters the nearest face.
    if let nearest = placed.last { camera.meter(nearest.geometry.identity.skin) }
    var painted: [PaintedFace] = []
    for face in placed {
      FaceRenderer(canvas, face.geometry).paint()
      painted.append(PaintedFace(canvas, face.box))
    }
    // Nobody could find a face behind another one's hair or clothes: such a face leaves the scene, and its labels too.
    let visible = zip(placed, painted).filter { $1.hiddenShare(on: canvas) <= Self.mostHidden }.map { $0.0 }
    if visible.count < placed.count {
      placed = visible
      var again = beforeBackground
      Background.paint(canvas, &again, strength: difficulty.background)
      for face in placed { FaceRenderer(canvas, face.geometry).paint() }
    }
    let image = canvas.image { camera.develop(canvas, into: $0, blurScale: 1) }
    func points(_ source: [SIMD2<Float>]) -> [Point] { source.map { Point(Double($0.x), Double($0.y)) } }
    return Scene(
      image: image,
      faces: placed.map {
        SceneFace(
          identity: $0.identity, box: $0.box, landmarks5: points($0.geometry.fivePoints()),
          landmarks68: points($0.geometry.sixtyEightPoints()))
      })
  }

  /// A contact sheet: a row for each identity, a column for each picture, the identity's number under each.
  ///
  /// - Throws: `ImageError`: `empty` when a range is empty, `tooLarge`.
  public func contactSheet(identities: Range<Int>, images: Range<Int>) throws(ImageError) -> Image {
    var crops: [Image] = []
    var captions: [String] = []
    for identity in identities {
      for index in images {
        crops.append(crop(identity: identity, index: index))
        captions.append("ID \(identity) #\(index)")
      }
    }
    return try ContactSheet.compose(crops, columns: max(1, images.count), captions: captions)
  }
}
