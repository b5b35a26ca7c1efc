import Glibc

/// What varies from image to image: a pure function of (seed, identity, index).
struct FaceAppearance {
  enum Glasses {
    case round, square, dark
  }

  enum Occluder {
    case hand, scarf, mask, object
  }

  var pose: HeadPose
  var roll: Float
  var scale: Float
  var shiftX: Float
  var shiftY: Float

  var smile: Float
  var mouthOpen: Float
  var browRaise: Float
  var lid: Float
  var gazeX: Float
  var gazeY: Float

  /// Direction to the light in head coordinates: right, down, towards the camera; length 1.
  var lightDirection: SIMD3<Float>
  var lightColour: Light
  var ambientColour: Light
  var wrap: Float
  var reliefStrength: Float

  /// Normal of a shadow's edge across the face, its place, softness (face units) and the light left behind it.
  var shadowNormal: SIMD2<Float>
  var shadowPlace: Float
  var shadowSoftness: Float
  var shadowLight: Float

  var glasses: Glasses?
  var glassesColour: Light
  var occluder: Occluder?
  var occluderColour: Light
  var occluderX: Float
  var occluderAngle: Float

  var hairShade: Float
  var hairGloss: Float
  var fringe: Float
  var clothes: Light
  var stubble: Float
  var texture: UInt32

  init(_ random: inout KeyedRandom, _ difficulty: Difficulty) {
    let degree = Float.pi / 180
    func limited(_ value: Float, _ limit: Float) -> Float { min(max(value, -limit), limit) }
    pose = HeadPose(
      yaw: limited(random.normal() * difficulty.yaw, 40) * degree,
      pitch: limited(random.normal() * difficulty.pitch, 22) * degree)
    roll = random.normal() * difficulty.rollJitter * degree
    scale = 1 + random.normal() * difficulty.scaleJitter
    shiftX = random.normal() * difficulty.shiftJitter
    shiftY = random.normal() * difficulty.shiftJitter

    let strength = difficulty.expression
    smile = random.uniform(-1.2, 4.2) * strength
    mouthOpen = random.chance(0.35) ? random.uniform(0.5, 6) * strength : 0
    browRaise = random.normal() * 1.2 * strength
    lid = 1 - (random.chance(0.05) ? random.uniform(0.4, 0.8) : random.uniform(0, 0.25)) * strength
    gazeX = random.normal() * 0.9 * strength
    gazeY = random.normal() * 0.4 * strength

    let azimuth = Double(random.uniform(-1.35, 1.35)) * Double(min(1, difficulty.lightContrast * 1.4))
    let elevation = Double(random.uniform(-0.35, 1.0)) * Double(min(1, difficulty.lightContrast * 1.4))
    lightDirection = SIMD3(
      Float(sin(azimuth) * cos(elevation)), Float(-sin(elevation)), Float(cos(azimuth) * cos(elevation)))
    let warmth = random.normal() * 0.30 * difficulty.colourCast
    let tint = random.normal() * 0.12 * difficulty.colourCast
    let coolness = random.normal() * 0.30 * difficulty.colourCast
    let contrast = random.uniform(0.35, 1) * difficulty.lightContrast
    let key = 0.35 + 1.0 * contrast
    let fill = 0.95 - 0.80 * contrast
    lightColour = Light(key * (1 + warmth), key * (1 + tint), key * (1 - warmth), 1)
    ambientColour = Light(fill * (1 + coolness), fill * (1 - tint), fill * (1 - coolness), 1)
    wrap = random.uniform(0.05, 0.4)
    reliefStrength = random.uniform(0.7, 1.3)

    let shadowAngle = Double(random.uniform(0, 2 * Float.pi))
    shadowNormal = SIMD2(Float(cos(shadowAngle)), Float(sin(shadowAngle)))
    shadowPlace = random.uniform(-24, 34)
    shadowSoftness = random.uniform(3, 26)
    let shadowDraw = random.uniform()
    let shadowDepth = random.uniform(0.3, 0.75)
    shadowLight = shadowDraw < difficulty.shadow ? 1 - shadowDepth : 1

    let glassesDraw = random.uniform()
    let darkDraw = random.uniform()
    let shapeDraw = random.chance(0.5)
    glasses = glassesDraw < difficulty.glasses ? (darkDraw < 0.2 ? .dark : shapeDraw ? .round : .square) : nil
    let frames = [shown(0.08, 0.08, 0.09), shown(0.35, 0.2, 0.1), shown(0.6, 0.55, 0.4), shown(0.45, 0.1, 0.12)]
    glassesColour = random.pick(frames)
    let occluderDraw = random.uniform()
    let kinds: [Occluder] = [.hand, .scarf, .mask, .object]
    let kind = random.pick(kinds)
    occluder = occluderDraw < difficulty.occlusion ? kind : nil
    occluderColour = shown(random.uniform(0.1, 0.95), random.uniform(0.1, 0.95), random.uniform(0.1, 0.95))
    occluderX = random.uniform(-1, 1)
    occluderAngle = random.uniform(-0.6, 0.6)

    hairShade = 1 + random.uniform(-0.3, 0.4) * difficulty.hairVariation
    hairGloss = random.uniform(0, 0.5)
    fringe = random.normal() * 2.2 * difficulty.hairVariation
    clothes = shown(random.uniform(0.05, 0.95), random.uniform(0.05, 0.95), random.uniform(0.05, 0.95))
    stubble = random.uniform(-0.15, 0.15) * difficulty.hairVariation
    texture = UInt32(truncatingIfNeeded: random.bits())
  }
}

/// Turn of the head about the vertical and the horizontal axis.
struct HeadPose {
  let sinYaw: Float
  let cosYaw: Float
  let sinPitch: Float
  let cosPitch: Float

  init(yaw: Float, pitch: Float) {
    sinYaw = Float(sin(Double(yaw)))
    cosYaw = Float(cos(Double(yaw)))
    sinPitch = Float(sin(Double(pitch)))
    cosPitch = Float(cos(Double(pitch)))
  }

  /// Where a point of the face lands in the plane of the picture, in face units.
  ///
  /// The face is the front of an ellipsoid with half axes 50, 66 and 40; `raised` lifts the point off it.
  func project(_ x: Float, _ y: Float, raised: Float = 0) -> SIMD2<Float> {
    let square = max(0.06, 1 - (x / 50) * (x / 50) - (y / 66) * (y / 66))
    let z = 40 * square.squareRoot() + raised
    let turned = z * cosYaw - x * sinYaw
    return SIMD2(x * cosYaw + z * sinYaw, y * cosPitch + turned * sinPitch)
  }
}
