import Arguments
import Jobs

extension ArgumentBinder {
  /// An option that takes a number from `least` on.
  mutating func count(_ value: inout Int, _ name: String, from least: Int = 1, help: String) throws(UsageError) {
    let range = least...1_000_000_000
    try option(
      &value, name, value: "N", help: help, expected: "a number from \(least) on", where: { range.contains($0) })
  }
}

extension CounterRandom {
  /// A number in −bound ..< bound, uniform.
  mutating func uniform(_ bound: Float) -> Float {
    bound * (Float(next() >> 40) * (2 / 16_777_216) - 1)
  }
}
