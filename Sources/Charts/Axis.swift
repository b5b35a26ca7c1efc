import Glibc

/// The range that an axis shows and its ticks.
struct Axis {
  struct Tick: Equatable {
    let value: Double
    let label: String
  }

  let scale: LineChart.Scale
  /// The ends of the axis, in data values; lower < upper.
  let lower: Double
  let upper: Double
  private(set) var ticks: [Tick] = []
  private(set) var minorTicks: [Double] = []

  /// - Parameters:
  ///   - range: what to show; that of `values`, widened to whole ticks, where nil or unusable.
  ///   - values: finite data values, positive on a logarithmic axis.
  ///   - tickGoal: about how many ticks there is room for.
  init(scale: LineChart.Scale, range: ClosedRange<Double>?, values: [Double], tickGoal: Int) {
    self.scale = scale
    let goal = max(tickGoal, 2)
    let usable = range.flatMap { range in
      range.lowerBound.isFinite && range.upperBound.isFinite && (scale == .linear || range.lowerBound > 0)
        ? (range.lowerBound, range.upperBound) : nil
    }
    var low = usable?.0 ?? values.min() ?? (scale == .log ? 0.1 : 0)
    var high = usable?.1 ?? values.max() ?? 1
    switch scale {
    case .linear:
      // Sums and differences below must not overflow.
      low = min(max(low, -1e300), 1e300)
      high = min(max(high, -1e300), 1e300)
      let size = max(abs(low), abs(high))
      if high - low <= size * 1e-12 || high - low < 1e-290 {
        let margin = size < 1e-280 ? 1 : size * 0.1
        low -= margin
        high += margin
      }
      let step = TickStep(span: high - low, goal: goal)
      if usable == nil {
        low = (low / step.value).rounded(.down) * step.value
        high = (high / step.value).rounded(.up) * step.value
      }
      let first = (low / step.value - 1e-9).rounded(.up)
      let last = (high / step.value + 1e-9).rounded(.down)
      var index = first
      while index <= last, ticks.count < 200 {
        ticks.append(Tick(value: index * step.value, label: step.label(index)))
        index += 1
      }
    case .log:
      low = min(max(low, 1e-300), 1e300)
      high = min(max(high, 1e-300), 1e300)
      if high / low < 1.0001 {
        low /= 10
        high *= 10
      }
      // Values such as 1e-3 must count as whole decades whatever the last bit of their logarithm.
      let firstDecade = Int(usable == nil ? (log10(low) + 1e-9).rounded(.down) : (log10(low) - 1e-9).rounded(.up))
      let lastDecade = Int(usable == nil ? (log10(high) - 1e-9).rounded(.up) : (log10(high) + 1e-9).rounded(.down))
      if usable == nil {
        low = Self.power(firstDecade)
        high = Self.power(lastDecade)
      }
      let every = max(1, (lastDecade - firstDecade + goal - 1) / goal)
      if lastDecade >= firstDecade {
        for decade in stride(from: firstDecade, through: lastDecade, by: every) {
          ticks.append(Tick(value: Self.power(decade), label: decimalLabel(digits: 1, exponent: decade)))
        }
      }
      if every == 1 {
        for decade in (firstDecade - 1)...max(lastDecade, firstDecade) {
          for digit in 2...9 {
            let value = Double(digit) * Self.power(decade)
            guard value > low && value < high else { continue }
            minorTicks.append(value)
            // Within one decade there would be a tick or none: name the digits too.
            if ticks.count < 2 && [2, 5].contains(digit) && lastDecade <= firstDecade {
              ticks.append(Tick(value: value, label: decimalLabel(digits: digit, exponent: decade)))
            }
          }
        }
      }
    }
    lower = low
    upper = high
  }

  /// Where a value lies between the axis' ends, 0 at the lower.
  func fraction(_ value: Double) -> Double {
    switch scale {
    case .linear: return value / (upper - lower) - lower / (upper - lower)
    case .log: return (log10(value) - log10(lower)) / (log10(upper) - log10(lower))
    }
  }

  private static func power(_ exponent: Int) -> Double { pow(10, Double(exponent)) }
}

/// A tick distance of 1, 2 or 5 times a power of ten, kept as whole numbers so that labels are exact.
private struct TickStep {
  let mantissa: Int
  let exponent: Int
  let value: Double

  init(span: Double, goal: Int) {
    let raw = span / Double(goal)
    var exponent = Int(log10(raw).rounded(.down))
    let leading = raw / pow(10, Double(exponent))
    var mantissa = 10
    for candidate in [1, 2, 5] where leading <= Double(candidate) * (1 + 1e-9) {
      mantissa = candidate
      break
    }
    if mantissa == 10 {
      mantissa = 1
      exponent += 1
    }
    self.mantissa = mantissa
    self.exponent = exponent
    // Dividing by a whole power is exact where multiplying by its inverse is not.
    value = exponent < 0 ? Double(mantissa) / pow(10, Double(-exponent)) : Double(mantissa) * pow(10, Double(exponent))
  }

  func label(_ index: Double) -> String {
    guard abs(index) < 1e15 else { return "\(index * value)" }
    return decimalLabel(digits: Int(index) * mantissa, exponent: exponent)
  }
}

/// `digits` × 10^`exponent` in decimals where that stays short, else as `1.5e-7`.
func decimalLabel(digits: Int, exponent: Int) -> String {
  if digits == 0 { return "0" }
  var digits = digits
  var exponent = exponent
  while digits % 10 == 0 {
    digits /= 10
    exponent += 1
  }
  let sign = digits < 0 ? "-" : ""
  let text = String(digits.magnitude)
  let magnitude = text.count - 1 + exponent
  if magnitude < -4 || magnitude > 5 {
    let rest = text.dropFirst()
    return "\(sign)\(text.prefix(1))\(rest.isEmpty ? "" : "." + rest)e\(magnitude)"
  }
  if exponent >= 0 { return sign + text + String(repeating: "0", count: exponent) }
  let padded = String(repeating: "0", count: max(0, 1 - exponent - text.count)) + text
  return "\(sign)\(padded.dropLast(-exponent)).\(padded.suffix(-exponent))"
}
