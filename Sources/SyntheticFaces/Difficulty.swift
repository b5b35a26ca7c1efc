/// How strongly images of one identity differ, and how often they are disturbed.
///
/// Identity lives in local cues (colours of iris, brow, lip and hair relative to the skin, proportions, marks); the
/// values here govern what varies from image to image and so what a network must learn to ignore. Light, exposure, colour
/// cast and background decide how far comparing raw pixels gets; pose, expression, occlusion and blur decide how hard the
/// task is for a trained network.
public struct Difficulty: Sendable, Equatable {
  /// Standard deviation of the yaw, degrees.
  public var yaw: Float
  /// Standard deviation of the pitch, degrees.
  public var pitch: Float
  /// Standard deviation of the roll that remains after alignment, degrees.
  public var rollJitter: Float
  /// Standard deviation of the relative scale error after alignment.
  public var scaleJitter: Float
  /// Standard deviation of the shift after alignment, in pixels of a 112×112 crop.
  public var shiftJitter: Float
  /// Strength of mouth, brow and lid movement; 0 is a still face, 1 the whole range.
  public var expression: Float
  /// Share of directed light, 0 (flat) … 1 (one lamp in the dark).
  public var lightContrast: Float
  /// Standard deviation of the exposure, in stops.
  public var exposure: Float
  /// Strength of the colour temperature and tint of the light; 0 is always white.
  public var colourCast: Float
  /// Standard deviation of the tone curve's bend.
  public var toneCurve: Float
  /// Probability that the edge of a shadow crosses the face.
  public var shadow: Float
  /// Contrast and saturation of what stands behind the face, 0…1.
  public var background: Float
  /// Probability of a hand, a scarf, a mask or an object before the face.
  public var occlusion: Float
  /// Probability of glasses; a fifth of them are dark.
  public var glasses: Float
  /// Largest blur radius, in pixels of a 112×112 crop.
  public var blur: Float
  /// Largest standard deviation of the sensor noise, in grey levels.
  public var noise: Float
  /// How much hair moves from image to image (length of the fringe, gloss, shade).
  public var hairVariation: Float
  /// Probability that an image is gray.
  public var gray: Float
  /// Lowest JPEG quality; the highest is 96.
  public var lowestQuality: Int

  /// A difficulty with every knob given.
  public init(
    yaw: Float, pitch: Float, rollJitter: Float, scaleJitter: Float, shiftJitter: Float, expression: Float,
    lightContrast: Float, exposure: Float, colourCast: Float, toneCurve: Float, shadow: Float,
    background: Float, occlusion: Float, glasses: Float, blur: Float, noise: Float, hairVariation: Float, gray: Float,
    lowestQuality: Int
  ) {
    self.yaw = yaw
    self.pitch = pitch
    self.rollJitter = rollJitter
    self.scaleJitter = scaleJitter
    self.shiftJitter = shiftJitter
    self.expression = expression
    self.lightContrast = lightContrast
    self.exposure = exposure
    self.colourCast = colourCast
    self.toneCurve = toneCurve
    self.shadow = shadow
    self.background = background
    self.occlusion = occlusion
    self.glasses = glasses
    self.blur = blur
    self.noise = noise
    self.hairVariation = hairVariation
    self.gray = gray
    self.lowestQuality = lowestQuality
  }

  /// The same with every knob finite and in the range that the renderer is made for.
  var limited: Difficulty {
    func limit(_ value: Float, _ high: Float) -> Float { value.isFinite ? min(max(value, 0), high) : 0 }
    return Difficulty(
      yaw: limit(yaw, 30), pitch: limit(pitch, 20), rollJitter: limit(rollJitter, 45),
      scaleJitter: limit(scaleJitter, 0.2), shiftJitter: limit(shiftJitter, 20), expression: limit(expression, 1),
      lightContrast: limit(lightContrast, 1), exposure: limit(exposure, 2), colourCast: limit(colourCast, 0.8),
      toneCurve: limit(toneCurve, 1), shadow: limit(shadow, 1), background: limit(background, 1),
      occlusion: limit(occlusion, 1), glasses: limit(glasses, 1), blur: limit(blur, 6), noise: limit(noise, 60),
      hairVariation: limit(hairVariation, 1), gray: limit(gray, 1), lowestQuality: min(max(lowestQuality, 1), 96))
  }

  /// The default data: raw pixels verify at 0.70 at best, MobileFaceNet passes 0.95 after 12,000 training images.
  public static let standard = Difficulty(
    yaw: 6, pitch: 3.5, rollJitter: 2, scaleJitter: 0.025, shiftJitter: 1.2, expression: 0.5, lightContrast: 0.7,
    exposure: 0.55, colourCast: 0.25, toneCurve: 0.3, shadow: 0.3, background: 1, occlusion: 0.02, glasses: 0.06,
    blur: 0.4, noise: 4, hairVariation: 0.3, gray: 0, lowestQuality: 75)

  /// Nothing but the face itself: frontal, even light, sharp; for looking at identities.
  public static let studio = Difficulty(
    yaw: 0, pitch: 0, rollJitter: 0, scaleJitter: 0, shiftJitter: 0, expression: 0, lightContrast: 0.25, exposure: 0,
    colourCast: 0, toneCurve: 0, shadow: 0, background: 0.3, occlusion: 0, glasses: 0, blur: 0, noise: 0,
    hairVariation: 0, gray: 0,
    lowestQuality: 95)
}
