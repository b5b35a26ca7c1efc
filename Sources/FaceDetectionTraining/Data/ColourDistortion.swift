/// How the PyTorch port varies colours (data/data_augment.py, `_distort`): brightness by ±32, contrast and saturation by
/// 0.5…1.5, hue by ±36°, each in half of the samples, in 8-bit steps as OpenCV has them.
struct ColourDistortion {
  /// Added to every value.
  var brightness: Double?
  /// What every value is multiplied with.
  var contrast: Double?
  /// Whether contrast comes after the other two.
  var isContrastLast = false
  /// What the saturation is multiplied with.
  var saturation: Double?
  /// Added to the hue, in units of 2°.
  var hue: Int?

  /// Nothing changes.
  init() {}

  /// Draws a distortion.
  init(_ random: inout DrawSequence) {
    func half(_ random: inout DrawSequence) -> Bool { random.index(below: 2) == 1 }
    func uniform(_ low: Double, _ high: Double, _ random: inout DrawSequence) -> Double {
      low + (high - low) * random.uniform()
    }
    isContrastLast = !half(&random)
    if half(&random) { brightness = uniform(-32, 32, &random) }
    if !isContrastLast, half(&random) { contrast = uniform(0.5, 1.5, &random) }
    if half(&random) { saturation = uniform(0.5, 1.5, &random) }
    if half(&random) { hue = random.index(below: 37) - 18 }
    if isContrastLast, half(&random) { contrast = uniform(0.5, 1.5, &random) }
  }

  private static func table(_ factor: Double, _ offset: Double) -> [UInt8] {
    (0..<256).map { UInt8(min(255, max(0, Double($0) * factor + offset))) }
  }

  /// Changes RGB pixels.
  func apply(_ pixels: inout [UInt8]) {
    let identity = Self.table(1, 0)
    let light = brightness.map { Self.table(1, $0) } ?? identity
    let contrasts = contrast.map { Self.table($0, 0) } ?? identity
    let before = isContrastLast ? light : light.map { contrasts[Int($0)] }
    let after = isContrastLast ? contrasts : identity
    let saturations = saturation.map { Self.table($0, 0) } ?? identity
    let turn = hue ?? 0
    for place in stride(from: 0, to: pixels.count - 2, by: 3) {
      var colour = Self.hsv(
        before[Int(pixels[place])], before[Int(pixels[place + 1])], before[Int(pixels[place + 2])])
      colour.hue = (colour.hue + turn + 180) % 180
      colour.saturation = Int(saturations[colour.saturation])
      let (red, green, blue) = Self.rgb(colour)
      pixels[place] = after[Int(red)]
      pixels[place + 1] = after[Int(green)]
      pixels[place + 2] = after[Int(blue)]
    }
  }

  /// Hue 0…179 in units of 2°, saturation and value 0…255.
  typealias HSV = (hue: Int, saturation: Int, value: Int)

  static func hsv(_ red: UInt8, _ green: UInt8, _ blue: UInt8) -> HSV {
    let (r, g, b) = (Int(red), Int(green), Int(blue))
    let value = max(r, g, b)
    let range = value - min(r, g, b)
    guard range > 0 else { return (0, 0, value) }
    let sixth = value == r ? g - b : value == g ? b - r + 2 * range : r - g + 4 * range
    let hue = Int((30 * Double(sixth) / Double(range) + 0.5).rounded(.down))
    let saturation = Int((255 * Double(range) / Double(value) + 0.5).rounded(.down))
    return ((hue + 180) % 180, saturation, value)
  }

  static func rgb(_ colour: HSV) -> (UInt8, UInt8, UInt8) {
    let (saturation, value) = (Float(colour.saturation) / 255, Float(colour.value) / 255)
    let turn = Float(colour.hue) / 30
    let sector = Int(turn)
    let part = turn - Float(sector)
    func byte(_ x: Float) -> UInt8 { UInt8(min(255, max(0, (255 * x).rounded(.toNearestOrEven)))) }
    let full = byte(value)
    let low = byte(value * (1 - saturation))
    let falling = byte(value * (1 - saturation * part))
    let rising = byte(value * (1 - saturation * (1 - part)))
    switch sector {
    case 0: return (full, rising, low)
    case 1: return (falling, full, low)
    case 2: return (low, full, rising)
    case 3: return (low, falling, full)
    case 4: return (rising, low, full)
    default: return (full, low, falling)
    }
  }
}
