/// Random numbers as a function of a key: no state is shared, so that neither threads nor ranks change a draw.
///
/// The generator is SplitMix64 (Steele, Lea, Flood 2014) started at a hash of the key.
public struct CounterRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// The sequence of one key, such as (seed, epoch, position).
  public init(_ key: UInt64...) {
    state = 0x9E37_79B9_7F4A_7C15
    for part in key { state = Self.mixed(state ^ part &+ 0x9E37_79B9_7F4A_7C15) }
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    return Self.mixed(state)
  }

  /// The next number in 0 ..< bound, without bias worth mentioning (2⁻³² for bounds below 2³²).
  public mutating func next(below bound: Int) -> Int {
    Int(next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// The elements in a drawn order (Fisher–Yates), the same with every version of the standard library.
  public mutating func shuffled<Element>(_ elements: some Sequence<Element>) -> [Element] {
    var elements = Array(elements)
    for i in stride(from: elements.count - 1, to: 0, by: -1) { elements.swapAt(i, next(below: i + 1)) }
    return elements
  }

  private static func mixed(_ x: UInt64) -> UInt64 {
    var z = x
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
