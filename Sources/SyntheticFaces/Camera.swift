import Glibc
import Imaging

/// What the camera does to the light: exposure, tone, blur, noise.
struct Camera {
  var gain: Light
  var bend: Float
  var contrast: Float
  var blur: Float
  var noise: Float
  var gray: Bool
  var vignette: Float
  var seed: UInt64
  var quality: Int

  init(_ random: inout KeyedRandom, _ difficulty: Difficulty) {
    let stops = min(max(random.normal() * difficulty.exposure - 0.15, -2), 1.1)
    let exposure = Float(exp2(Double(stops)))
    let warmth = random.normal() * 0.22 * difficulty.colourCast
    let tint = random.normal() * 0.1 * difficulty.colourCast
    gain = Light(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth), 1)
    bend = min(max(random.normal() * difficulty.toneCurve, -0.9), 0.9)
    contrast = random.uniform(-0.3, 0.9) * difficulty.toneCurve
    blur = random.chance(0.5) ? random.uniform(0, difficulty.blur) : 0
    noise = random.chance(0.7) ? random.uniform(0, difficulty.noise) / 255 : 0
    gray = random.chance(difficulty.gray)
    vignette = random.uniform(0, 0.35) * difficulty.lightContrast
    quality = min(Int(random.uniform(Float(min(difficulty.lowestQuality, 96)), 97)), 96)
    seed = random.bits()
  }

  /// Sets the exposure half-way towards the skin, as a camera that meters the face does.
  mutating func meter(_ skin: Light) {
    let level = skin.x * 0.3 + skin.y * 0.59 + skin.z * 0.11
    let factor = (0.4 / max(level, 0.02)).squareRoot()
    gain *= Light(factor, factor, factor, 1)
  }

  /// Develops the canvas to 8 bits.
  ///
  /// - Parameter blurScale: pixels to a pixel of the 112×112 crop, so that blur looks alike at every size.
  func develop(_ canvas: Canvas, into output: UnsafeMutableBufferPointer<UInt8>, blurScale: Float = 1) {
    if blur * blurScale > 0.15 { soften(canvas, radius: min(blur * blurScale, 8)) }
    let scaleX = 2 / Float(canvas.width)
    let scaleY = 2 / Float(canvas.height)
    let one = Light(repeating: 1)
    let black = Light(repeating: 0)
    let highest = Light(repeating: 1.6)
    let white = Light(repeating: 255)
    var state = seed
    // Two triangular draws from 64 bits; the factor makes their standard deviation 1.
    let noiseScale = noise * 2.449_489_7 / 65_536
    for row in 0..<canvas.height {
      let line = canvas.pixels + row * canvas.width
      let v = Float(row) * scaleY - 1
      for column in 0..<canvas.width {
        let u = Float(column) * scaleX - 1
        let dim = 1 - vignette * (u * u + v * v) * 0.5
        var value = line[column] * gain * dim
        value.replace(with: black, where: value .< black)
        value.replace(with: highest, where: value .> highest)
        value = value.squareRoot()
        // Bright parts roll off instead of clipping hard.
        value = value * (one * 1.12 - value * 0.19)
        value = value + bend * value * (one - value)
        value = value + contrast * value * (one - value) * (value * 2 - one)
        if gray {
          let level = value.x * 0.299 + value.y * 0.587 + value.z * 0.114
          value = Light(repeating: level)
        }
        if noise > 0 {
          state = state &+ 0x9e37_79b9_7f4a_7c15
          var bits = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
          bits ^= bits >> 27
          let a = Float(bits & 0xffff) - Float(bits >> 16 & 0xffff)
          let b = Float(bits >> 32 & 0xffff) - Float(bits >> 48)
          value += Light(a * 0.85 + b * 0.5, a * 0.85, a * 0.85 - b * 0.5, 0) * noiseScale
        }
        value = value * 255 + 0.5
        value.replace(with: black, where: value .< black)
        value.replace(with: white, where: value .> white)
        let index = 3 * (row * canvas.width + column)
        output[index] = UInt8(value.x)
        output[index + 1] = UInt8(value.y)
        output[index + 2] = UInt8(value.z)
      }
    }
  }

  /// A blur of about the given radius by repeated passes of three taps.
  private func soften(_ canvas: Canvas, radius: Float) {
    let passes = max(1, Int((radius * radius / 0.6).rounded(.up)))
    let side = min(radius * radius / Float(2 * passes), 0.33)
    let middle = 1 - 2 * side
    let (width, height) = (canvas.width, canvas.height)
    for _ in 0..<passes {
      for row in 0..<height {
        let line = canvas.pixels + row * width
        var before = line[0]
        for column in 0..<width {
          let own = line[column]
          let after = line[min(column + 1, width - 1)]
          line[column] = own * middle + (before + after) * side
          before = own
        }
      }
      // Rows are walked together, so that the vertical pass stays in cache.
      let above = UnsafeMutablePointer<Light>.allocate(capacity: width)
      above.initialize(from: canvas.pixels, count: width)
      defer { above.deallocate() }
      for row in 0..<height {
        let line = canvas.pixels + row * width
        let below = canvas.pixels + min(row + 1, height - 1) * width
        for column in 0..<width {
          let own = line[column]
          line[column] = own * middle + (above[column] + below[column]) * side
          above[column] = own
        }
      }
    }
  }
}
