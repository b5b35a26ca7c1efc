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
    lightContrast: Float, exposure: Float, colourCast: Float, toneCurve: Float, occlusion: Float, glasses: Float,
    blur: Float, noise: Float, hairVariation: Float, gray: Float, lowestQuality: Int
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
    self.occlusion = occlusion
    self.glasses = glasses
    self.blur = blur
    self.noise = noise
    self.hairVariation = hairVariation
    self.gray = gray
    self.lowestQuality = lowestQuality
  }

  /// The default data: raw pixels verify at about 0.65, a small network trained briefly passes 0.95.
  public static let standard = Difficulty(
    yaw: 8, pitch: 5, rollJitter: 2, scaleJitter: 0.025, shiftJitter: 1.1, expression: 0.6, lightContrast: 0.7,
    exposure: 0.6, colourCast: 0.5, toneCurve: 0.35, occlusion: 0.03, glasses: 0.08, blur: 0.7, noise: 5,
    hairVariation: 0.45, gray: 0, lowestQuality: 70)

  /// Nothing but the face itself: frontal, even light, sharp.
  ///
  /// For looking at identities.
  public static let studio = Difficulty(
    yaw: 0, pitch: 0, rollJitter: 0, scaleJitter: 0, shiftJitter: 0, expression: 0, lightContrast: 0.25, exposure: 0,
    colourCast: 0, toneCurve: 0, occlusion: 0, glasses: 0, blur: 0, noise: 0, hairVariation: 0, gray: 0,
    lowestQuality: 95)
}
