import Glibc
import Imaging

/// One face placed in a picture: its outline, and the maps from features to pixels.
struct FaceGeometry {
  let identity: FaceIdentity
  let appearance: FaceAppearance
  /// Face plane to pixels: x' = a·x − b·y + tx, y' = b·x + a·y + ty.
  var a: Float = 1
  var b: Float = 0
  var tx: Float = 0
  var ty: Float = 0

  /// Radius of the outline by direction, for the right and the left half; the index runs from straight up to straight down.
  private(set) var radii: [Float] = []
  static let directions = 64

  init(_ identity: FaceIdentity, _ appearance: FaceAppearance) {
    self.identity = identity
    self.appearance = appearance
    buildOutline()
  }

  // MARK: Outline

  private var chin: Float {
    (identity.chinY + appearance.mouthOpen * 0.7) * (1 - 0.25 * appearance.pose.sinPitch)
  }

  private mutating func buildOutline() {
    // Half widths by height, sampled once: powers are too dear to take in the search below.
    let top: Float = -72
    let widest: Float = 2
    let bottom = chin
    let steps = 96
    var widths = [Float](repeating: 0, count: steps + 1)
    for step in 0...steps {
      let y = top + (bottom - top) * Float(step) / Float(steps)
      if y < widest {
        let t = Double((widest - y) / (widest - top))
        widths[step] = identity.cheekWidth * Float(pow(max(0, 1 - pow(t, 2.4)), 0.48))
      } else {
        let t = Double((y - widest) / (bottom - widest))
        widths[step] =
          identity.cheekWidth * Float(pow(max(0, 1 - pow(t, Double(identity.jaw))), 1 / Double(identity.chinShape)))
      }
    }
    // The chin swings further than the crown when the head turns.
    let swing = appearance.pose.sinYaw * 15
    func inside(_ x: Float, _ y: Float) -> Bool {
      guard y > top, y < bottom else { return false }
      let place = (y - top) / (bottom - top) * Float(steps)
      let index = min(Int(place), steps - 1)
      let width = widths[index] + (widths[index + 1] - widths[index]) * (place - Float(index))
      let down = max(0, y) / bottom
      return abs(x - swing * down * down) < width
    }
    let count = FaceGeometry.directions
    radii = [Float](repeating: 0, count: 2 * (count + 1))
    for side in 0..<2 {
      for step in 0...count {
        let y = Float(step) / Float(count) * 2 - 1
        let x = (1 - abs(y)) * (side == 0 ? 1 : -1)
        let length = (x * x + y * y).squareRoot()
        var low: Float = 0
        var high: Float = 110
        for _ in 0..<12 {
          let middle = (low + high) / 2
          if inside(x / length * middle, y / length * middle) { low = middle } else { high = middle }
        }
        radii[side * (count + 1) + step] = (low + high) / 2
      }
    }
  }

  /// Distance of a point of the face plane from the middle, and of the outline in its direction.
  @inline(__always)
  static func radius(_ radii: UnsafeBufferPointer<Float>, _ x: Float, _ y: Float) -> SIMD2<Float> {
    let own = (x * x + y * y).squareRoot()
    let sum = abs(x) + abs(y) + 1e-6
    let place = (y / sum + 1) * 0.5 * Float(directions)
    let index = min(Int(place), directions - 1)
    let start = (x >= 0 ? 0 : directions + 1) + index
    let fraction = place - Float(index)
    return SIMD2(own, radii[start] + (radii[start + 1] - radii[start]) * fraction)
  }

  /// The outline's point in a direction of the face plane.
  private func outline(_ x: Float, _ y: Float) -> SIMD2<Float> {
    let polar = radii.withUnsafeBufferPointer { FaceGeometry.radius($0, x, y) }
    return SIMD2(x, y) * (polar.y / max(polar.x, 1e-6))
  }

  // MARK: Placement

  func pixel(_ point: SIMD2<Float>) -> SIMD2<Float> {
    SIMD2(a * point.x - b * point.y + tx, b * point.x + a * point.y + ty)
  }

  /// The face plane itself.
  var plane: Patch {
    Patch(centreX: tx, centreY: ty, f00: a, f01: -b, f10: b, f11: a)
  }

  /// The surface around a point of the face, foreshortened as the pose demands.
  func patch(_ x: Float, _ y: Float, raised: Float = 0, turn: Float = 0) -> Patch {
    let pose = appearance.pose
    let centre = pixel(pose.project(x, y, raised: raised))
    let step: Float = 2
    let alongX = (pose.project(x + step, y, raised: raised) - pose.project(x - step, y, raised: raised)) / (2 * step)
    let alongY = (pose.project(x, y + step, raised: raised) - pose.project(x, y - step, raised: raised)) / (2 * step)
    // Near the rim a feature would shrink to nothing; real ones stay visible from the side.
    let wide = max(alongX.x, 0.3)
    let high = max(alongY.y, 0.3)
    let c = Float(cos(Double(turn)))
    let s = Float(sin(Double(turn)))
    let j00 = wide * c + alongY.x * s
    let j01 = -wide * s + alongY.x * c
    let j10 = alongX.y * c + high * s
    let j11 = -alongX.y * s + high * c
    return Patch(
      centreX: centre.x, centreY: centre.y, f00: a * j00 - b * j10, f01: a * j01 - b * j11, f10: b * j00 + a * j10,
      f11: b * j01 + a * j11)
  }

  /// Places the face so that its five landmarks meet the ArcFace template of a 112×112 crop as well as a similarity can,
  /// then disturbs that by the image's jitter.
  mutating func alignToCrop() {
    (a, b, tx, ty) = (1, 0, 0, 0)
    let points = fivePoints().map { Point(Double($0.x), Double($0.y)) }
    let fit = (try? SimilarityTransform(from: points, to: FaceTemplate.arcFace112)) ?? .identity
    place(fit: fit, about: Point(56, 71.9))
  }

  /// Places the face with its middle at a pixel, `unit` pixels to a face unit, turned by `turn`.
  mutating func place(x: Float, y: Float, unit: Float, turn: Float) {
    a = unit * Float(cos(Double(turn)))
    b = unit * Float(sin(Double(turn)))
    tx = x
    ty = y
  }

  private mutating func place(fit: SimilarityTransform, about centre: Point) {
    let c = Double(appearance.scale) * cos(Double(appearance.roll))
    let s = Double(appearance.scale) * sin(Double(appearance.roll))
    a = Float(c * fit.a - s * fit.b)
    b = Float(s * fit.a + c * fit.b)
    let (x, y) = (fit.tx - centre.x, fit.ty - centre.y)
    tx = Float(c * x - s * y + centre.x) + appearance.shiftX
    ty = Float(s * x + c * y + centre.y) + appearance.shiftY
  }

  // MARK: Landmarks

  var mouthCornerY: Float { identity.mouthY - appearance.smile * 0.8 }
  var mouthHalf: Float { identity.mouthWidth + max(0, appearance.smile) * 0.55 - appearance.mouthOpen * 0.25 }
  var browY: Float { identity.eyeY - identity.browGap - appearance.browRaise }

  private func surface(_ x: Float, _ y: Float, raised: Float = 0) -> SIMD2<Float> {
    pixel(appearance.pose.project(x, y, raised: raised))
  }

  /// Left eye, right eye, nose tip, left and right mouth corner (left as seen), in pixels.
  func fivePoints() -> [SIMD2<Float>] {
    [
      surface(-identity.eyeX, identity.eyeY), surface(identity.eyeX, identity.eyeY),
      surface(0, identity.noseY, raised: noseRise), surface(-mouthHalf, mouthCornerY), surface(mouthHalf, mouthCornerY),
    ]
  }

  var noseRise: Float { 9 * identity.noseHeight }

  /// The 68 points of the iBUG scheme, in pixels: jaw, brows, nose, eyes, outer and inner lips.
  func sixtyEightPoints() -> [SIMD2<Float>] {
    var points: [SIMD2<Float>] = []
    points.reserveCapacity(68)
    for step in 0...16 {
      // From the left ear round the chin to the right ear.
      let angle = Double(step) / 16 * (Double.pi + 0.3) - 0.15
      points.append(pixel(outline(Float(-cos(angle)), Float(sin(angle)))))
    }
    for side: Float in [-1, 1] {
      for step in 0..<5 {
        let t = (Float(step) / 2 - 1) * identity.browLength
        let local = browCurve(t * side)
        points.append(surface(side * (identity.eyeX + 0.5) + t, browY + local))
      }
    }
    for step in 0..<4 {
      let share = Float(step) / 3
      let y = identity.eyeY + 1 + (identity.noseY - identity.eyeY - 1) * share
      points.append(surface(0, y, raised: noseRise * share))
    }
    for step in 0..<5 {
      let t = Float(step) / 2 - 1
      let rise = noseRise * (1 - abs(t)) * 0.7
      points.append(surface(t * identity.noseWidth, identity.noseY + 5.5 - abs(t) * 1.5, raised: rise))
    }
    for side: Float in [-1, 1] {
      let patch = eyePatch(side)
      let open = eyeHeights
      let places: [(Float, Float)] = [(-1, 0), (-0.4, -1), (0.4, -1), (1, 0), (0.4, 1), (-0.4, 1)]
      for (u, v) in places {
        let x = u * identity.eyeWidth
        let curve = 1 - u * u
        let y = v < 0 ? -open.upper * curve : v > 0 ? open.lower * curve : 0
        // The patch of the right eye is the mirror image of that of the left one.
        points.append(
          SIMD2(patch.centreX + patch.f00 * x + patch.f01 * y, patch.centreY + patch.f10 * x + patch.f11 * y))
      }
    }
    let mouth = mouthPatch
    func lip(_ t: Float, _ y: Float) {
      let x = t * mouthHalf
      points.append(SIMD2(mouth.centreX + mouth.f00 * x + mouth.f01 * y, mouth.centreY + mouth.f10 * x + mouth.f11 * y))
    }
    for t: Float in [-1, -0.6, -0.2, 0, 0.2, 0.6, 1] { lip(t, lips(t).top) }
    for t: Float in [0.6, 0.25, 0, -0.25, -0.6] { lip(t, lips(t).bottom) }
    for t: Float in [-0.92, -0.35, 0, 0.35, 0.92] { lip(t, lips(t).innerTop) }
    for t: Float in [0.35, 0, -0.35] { lip(t, lips(t).innerBottom) }
    return points
  }

  /// The upright box around outline and forehead, in pixels.
  func box() -> Rectangle? {
    var points: [Point] = []
    for step in 0..<48 {
      let angle = Double(step) / 48 * 2 * Double.pi
      var point = outline(Float(cos(angle)), Float(sin(angle)))
      // The box ends at the usual hairline, as annotators draw it, not at the crown.
      point.y = max(point.y, -46)
      let place = pixel(point)
      points.append(Point(Double(place.x), Double(place.y)))
    }
    return Rectangle(around: points)
  }

  // MARK: Shapes shared by painting and landmarks

  /// Height of the brow's middle line over its chord; x runs from the nose outwards.
  @inline(__always)
  func browCurve(_ x: Float) -> Float {
    let t = x / identity.browLength
    return identity.browArch * t * t - identity.browArch * 0.5 - identity.browAngle * x
  }

  func browPatch(_ side: Float) -> Patch {
    patch(side * (identity.eyeX + 0.5), browY)
  }

  /// Local x runs to the right in both eyes; the tilt lifts the outer corners.
  func eyePatch(_ side: Float) -> Patch {
    patch(side * identity.eyeX, identity.eyeY, turn: -side * identity.eyeTilt)
  }

  var eyeHeights: (upper: Float, lower: Float) {
    let height = identity.eyeWidth * identity.eyeOpen
    return (height * 1.15 * appearance.lid, height * 0.75 * (0.6 + 0.4 * appearance.lid))
  }

  var mouthPatch: Patch {
    patch(0, identity.mouthY, raised: 3)
  }

  /// The lips at t = x / half width, in mouth coordinates.
  @inline(__always)
  func lips(_ t: Float) -> (top: Float, innerTop: Float, innerBottom: Float, bottom: Float) {
    let square = t * t
    let arc = max(0, 1 - square)
    let line = -appearance.smile * 0.8 * square
    let notch = max(0, 1 - square * 20) * identity.cupid
    let open = appearance.mouthOpen
    let innerTop = line - open * 0.25 * arc
    let innerBottom = line + open * arc
    return (
      innerTop - identity.upperLip * arc * (1 - notch), innerTop, innerBottom, innerBottom + identity.lowerLip * arc
    )
  }
}
