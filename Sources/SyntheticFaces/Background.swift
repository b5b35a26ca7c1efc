/// What stands behind the faces: one of several kinds of picture, a function of the random stream alone.
enum Background {
  static func paint(_ canvas: Canvas, _ random: inout KeyedRandom, strength: Float) {
    func colour(_ random: inout KeyedRandom) -> Light {
      // Square roots push the levels towards black and white, where they weigh most.
      let draw = random.uniform(-1, 1)
      let level = 0.5 + 0.5 * strength * (draw < 0 ? -1 : 1) * abs(draw).squareRoot()
      let spread = random.uniform(0, 0.5) * strength
      var light = shown(
        clamp01(level + random.uniform(-spread, spread)), clamp01(level + random.uniform(-spread, spread)),
        clamp01(level + random.uniform(-spread, spread)))
      light.w = 0
      return light
    }
    let first = colour(&random)
    let second = colour(&random)
    let third = colour(&random)
    let kind = random.index(5)
    let seed = UInt32(truncatingIfNeeded: random.bits())
    let slopeX = random.uniform(-1.6, 1.6)
    let slopeY = random.uniform(-1.6, 1.6)
    let offset = random.uniform(0.25, 0.75)
    let frequency = random.uniform(1.5, 8)
    let scaleX = 1 / Float(canvas.width)
    let scaleY = 1 / Float(canvas.height)
    for row in 0..<canvas.height {
      let line = canvas.pixels + row * canvas.width
      let v = Float(row) * scaleY
      for column in 0..<canvas.width {
        let u = Float(column) * scaleX
        let ramp = clamp01(0.5 + (u - 0.5) * slopeX + (v - 0.5) * slopeY)
        var tone = mix(first, second, ramp)
        switch kind {
        case 0:
          break
        case 1:
          tone = mix(tone, third, valueNoise(u * frequency, v * frequency, seed))
        case 2:
          // A room: a wall, a floor, an edge between.
          if v + slopeX * 0.3 * (u - 0.5) > offset { tone = third }
          tone = dimmed(tone, 0.85 + 0.3 * valueNoise(u * 14, v * 14, seed))
        case 3:
          // Upright stripes: shelves, curtains, houses.
          let stripe = u * frequency + slopeX
          let cell = wholeBelow(stripe)
          let share = Float(latticeHash(cell, 0, seed) >> 8) / 16_777_216
          tone = mix(tone, third, share)
        default:
          // Leaves and lights.
          let coarse = valueNoise(u * frequency, v * frequency, seed)
          let fine = valueNoise(u * frequency * 3.1, v * frequency * 3.1, seed ^ 9)
          tone = mix(tone, third, smooth((coarse * 0.65 + fine * 0.35 - 0.42) * 5))
        }
        line[column] = tone
      }
    }
  }
}
