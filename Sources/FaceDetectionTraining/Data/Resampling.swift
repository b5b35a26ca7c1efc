import Glibc

/// The five ways in which OpenCV resizes, of which the PyTorch port draws one a sample.
enum Resampling: Int, CaseIterable {
  case linear, cubic, area, nearest, lanczos

  /// Source positions and weights of each target position; the weights of one add up to 1.
  struct Taps {
    var first: [Int] = []
    var weights: [[Float]] = []
  }

  /// The taps for bringing `count` source positions to `size` target positions.
  func taps(_ count: Int, to size: Int) -> Taps {
    let scale = Double(count) / Double(size)
    var taps = Taps()
    for index in 0..<size {
      let place = (Double(index) + 0.5) * scale - 0.5
      let floor = Int(place.rounded(.down))
      let fraction = place - Double(floor)
      switch self {
      case .nearest:
        taps.first.append(min(count - 1, Int(Double(index) * scale)))
        taps.weights.append([1])
      case .linear:
        taps.first.append(floor)
        taps.weights.append([Float(1 - fraction), Float(fraction)])
      case .cubic:
        taps.first.append(floor - 1)
        taps.weights.append((0..<4).map { Float(Self.cubic(Double($0) - 1 - fraction)) })
      case .lanczos:
        let raw = (0..<8).map { Self.lanczos(Double($0) - 3 - fraction) }
        let sum = raw.reduce(0, +)
        taps.first.append(floor - 3)
        taps.weights.append(raw.map { Float($0 / sum) })
      case .area where scale >= 1:
        let (low, high) = (Double(index) * scale, Double(index + 1) * scale)
        let (first, last) = (Int(low), min(count, max(Int(low) + 1, Int(high.rounded(.up)))))
        let covered = (first..<last).map { max(0, min(high, Double($0 + 1)) - max(low, Double($0))) }
        let sum = max(covered.reduce(0, +), 1e-12)
        taps.first.append(first)
        taps.weights.append(covered.map { Float($0 / sum) })
      case .area:
        let first = Int(Double(index) * scale)
        let right = max(0, Double(index + 1) - Double(first + 1) / scale)
        let weight = Float(right - right.rounded(.down))
        taps.first.append(first)
        taps.weights.append([1 - weight, weight])
      }
    }
    return taps
  }

  /// Keys' cubic with OpenCV's slope of −0.75.
  private static func cubic(_ x: Double) -> Double {
    let (a, d) = (-0.75, x.magnitude)
    if d <= 1 { return ((a + 2) * d - (a + 3)) * d * d + 1 }
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0
  }

  private static func lanczos(_ x: Double) -> Double {
    if x.magnitude < 1e-9 { return 1 }
    guard x.magnitude < 4 else { return 0 }
    let angle = Double.pi * x
    return 4 * sin(angle) * sin(angle / 4) / (angle * angle)
  }

  /// Brings a square of RGB pixels to S × S; pixels beyond the edge are those at it.
  ///
  /// - Parameter mirrors: mirror the result.
  func resize(
    _ source: [UInt8], side: Int, to size: Int, mirrors: Bool, into pixels: UnsafeMutableBufferPointer<UInt8>
  ) {
    resize(source, width: side, height: side, border: [0, 0, 0], to: size, mirrors: mirrors, into: pixels)
  }

  /// Brings an RGB image, padded to a square at its right or below, to S × S; pixels beyond the edge are those at it.
  ///
  /// The square is never made: that of a panorama would take gigabytes.
  ///
  /// - Parameters:
  ///   - border: the colour of the padding.
  ///   - mirrors: mirror the result.
  func resize(
    _ source: [UInt8], width: Int, height: Int, border: [UInt8], to size: Int, mirrors: Bool,
    into pixels: UnsafeMutableBufferPointer<UInt8>
  ) {
    let side = max(width, height)
    let taps = taps(side, to: size)
    // One column stands for all of the padding's.
    let columns = min(width + 1, side)
    var row = [Float](repeating: 0, count: 3 * columns)
    source.withUnsafeBufferPointer { source in
      row.withUnsafeMutableBufferPointer { row in
        for y in 0..<size {
          if taps.first[y] >= height, height < side {
            for index in 0..<3 * size { pixels[3 * y * size + index] = border[index % 3] }
            continue
          }
          row.update(repeating: 0)
          for (offset, weight) in taps.weights[y].enumerated() {
            let place = min(max(taps.first[y] + offset, 0), side - 1)
            let taken = place < height ? 3 * width : 0
            let start = place * 3 * width
            for x in 0..<taken { row[x] += weight * Float(source[start + x]) }
            for x in taken..<3 * columns { row[x] += weight * Float(border[x % 3]) }
          }
          for x in 0..<size {
            var (red, green, blue) = (Float(0), Float(0), Float(0))
            let weights = taps.weights[x]
            for offset in weights.indices {
              let place = 3 * min(max(taps.first[x] + offset, 0), columns - 1)
              red += weights[offset] * row[place]
              green += weights[offset] * row[place + 1]
              blue += weights[offset] * row[place + 2]
            }
            let target = 3 * (y * size + (mirrors ? size - 1 - x : x))
            pixels[target] = UInt8(min(255, max(0, red + 0.5)))
            pixels[target + 1] = UInt8(min(255, max(0, green + 0.5)))
            pixels[target + 2] = UInt8(min(255, max(0, blue + 0.5)))
          }
        }
      }
    }
  }
}
