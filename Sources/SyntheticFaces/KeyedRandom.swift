import Glibc

/// A random stream that is a pure function of its keys: the same keys give the same numbers on any thread, in any order.
///
/// The generator is splitmix64 (Steele, Lea and Flood 2014); every key is mixed in through its finaliser.
struct KeyedRandom {
  private var state: UInt64

  /// What a stream is for; two purposes never share numbers.
  enum Purpose: UInt64 {
    case identity = 1
    case appearance
    case background
    case noise
    case scene
  }

  init(seed: UInt64, _ purpose: Purpose, _ first: Int = 0, _ second: Int = 0) {
    state = KeyedRandom.mix(seed ^ 0x5851_f42d_4c95_7f2d)
    state = KeyedRandom.mix(state ^ purpose.rawValue &* 0x9e37_79b9_7f4a_7c15)
    state = KeyedRandom.mix(state ^ UInt64(bitPattern: Int64(first)))
    state = KeyedRandom.mix(state ^ UInt64(bitPattern: Int64(second)) &* 0xd134_2543_de82_ef95)
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  mutating func bits() -> UInt64 {
    let value = KeyedRandom.mix(state)
    state = state &+ 0x9e37_79b9_7f4a_7c15
    return value
  }

  /// Uniform in [0, 1).
  mutating func uniform() -> Float {
    Float(bits() >> 40) * 0x1p-24
  }

  /// Uniform in [low, high).
  mutating func uniform(_ low: Float, _ high: Float) -> Float {
    low + (high - low) * uniform()
  }

  /// Nearly normal with mean 0 and standard deviation 1, never beyond ±3.5: the sum of four uniforms.
  mutating func normal() -> Float {
    (uniform() + uniform() + uniform() + uniform() - 2) * 1.732_050_8
  }

  mutating func chance(_ probability: Float) -> Bool {
    uniform() < probability
  }

  /// Uniform in 0..<count; `count` is at least 1.
  mutating func index(_ count: Int) -> Int {
    min(Int(uniform() * Float(count)), count - 1)
  }

  mutating func pick<Element>(_ options: [Element]) -> Element {
    options[index(options.count)]
  }
}

/// A 32-bit hash of a lattice point, for textures.
@inline(__always)
func latticeHash(_ x: Int32, _ y: Int32, _ seed: UInt32) -> UInt32 {
  var hash = UInt32(bitPattern: x) &* 0x9e37_79b1 ^ UInt32(bitPattern: y) &* 0x85eb_ca77 ^ seed
  hash ^= hash >> 15
  hash = hash &* 0x2c1b_3c6d
  hash ^= hash >> 12
  hash = hash &* 0x297a_2d39
  return hash ^ hash >> 15
}

/// The largest whole number not above a value of moderate size.
@inline(__always)
func wholeBelow(_ value: Float) -> Int32 {
  let clamped = min(max(value, -1e9), 1e9)
  let whole = Int32(clamped)
  return Float(whole) > clamped ? whole - 1 : whole
}

/// Value noise in [0, 1] with unit lattice distance.
@inline(__always)
func valueNoise(_ x: Float, _ y: Float, _ seed: UInt32) -> Float {
  let column = wholeBelow(x)
  let row = wholeBelow(y)
  let u = smooth(x - Float(column))
  let v = smooth(y - Float(row))
  // The four corners side by side; one multiplication each is random enough for a texture.
  let first = UInt32(bitPattern: column) &* 0x9e37_79b1
  let top = UInt32(bitPattern: row) &* 0x85eb_ca77 ^ seed
  let second = first &+ 0x9e37_79b1
  let bottom = UInt32(bitPattern: row &+ 1) &* 0x85eb_ca77 ^ seed
  var hash = SIMD4(first ^ top, second ^ top, first ^ bottom, second ^ bottom)
  hash ^= hash &>> 15
  hash = hash &* 0x2c1b_3c6d
  hash ^= hash &>> 13
  let corners = SIMD4<Float>(SIMD4<Int32>(truncatingIfNeeded: hash &>> 8)) * (1.0 / 16_777_216)
  let above = corners.x + (corners.y - corners.x) * u
  let below = corners.z + (corners.w - corners.z) * u
  return above + (below - above) * v
}

/// 0 below 0, 1 above 1, a smooth step between.
@inline(__always)
func smooth(_ value: Float) -> Float {
  let t = min(max(value, 0), 1)
  return t * t * (3 - 2 * t)
}

@inline(__always)
func clamp01(_ value: Float) -> Float {
  min(max(value, 0), 1)
}

/// base to the power of exponent, for positive bases.
func power(_ base: Float, _ exponent: Float) -> Float {
  Float(pow(Double(base), Double(exponent)))
}
