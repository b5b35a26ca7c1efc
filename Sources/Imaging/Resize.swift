/// How values between pixels are computed.
public enum Interpolation: String, Sendable, CaseIterable {
  /// From the 2×2 nearest pixels: OpenCV's `INTER_LINEAR`.
  case bilinear
  /// From the 4×4 nearest pixels with a = −0.75: OpenCV's `INTER_CUBIC`.
  case bicubic
}

extension Image {
  /// The image at another size, with OpenCV's arithmetic for 8-bit images (11-bit fixed-point weights).
  ///
  /// Bilinear equals `INTER_LINEAR`, including its 2×2 average when both sides are halved; bicubic equals `INTER_CUBIC` as
  /// MXNet's `imresize` computes it (an OpenCV built with Intel IPP computes bicubic in float: up to one grey level away).
  ///
  /// - Throws: `ImageError`: `sizeMismatch` for a side below 1, `tooLarge`.
  public func resized(
    width newWidth: Int, height newHeight: Int, interpolation: Interpolation = .bilinear
  ) throws(ImageError) -> Image {
    let count = try Image.checkedCount(width: newWidth, height: newHeight)
    if newWidth == width, newHeight == height { return self }
    if interpolation == .bilinear, width == 2 * newWidth, height == 2 * newHeight { return halved(newWidth, newHeight) }
    let columns = Taps(
      source: width, target: newWidth, step: 1 / (Double(newWidth) / Double(width)), interpolation, clampsWeights: true)
    let rows = Taps(
      source: height, target: newHeight, step: 1 / (Double(newHeight) / Double(height)), interpolation,
      clampsWeights: false)
    return resampled(count, newWidth, newHeight, columns, rows, interpolation)
  }

  /// The image scaled by a factor, sides rounded to the nearest even: OpenCV's `resize` with `fx` and `fy` in place of a
  /// size, where one pixel of the result stands for exactly 1 / factor pixels of the source.
  ///
  /// - Throws: `ImageError`: `sizeMismatch` for a factor that is not positive and finite or leaves no pixel, `tooLarge`.
  public func resized(
    by factor: Double, interpolation: Interpolation = .bilinear
  ) throws(ImageError) -> Image {
    let columnCount = (Double(width) * factor).rounded(.toNearestOrEven)
    let rowCount = (Double(height) * factor).rounded(.toNearestOrEven)
    guard factor > 0, columnCount >= 1, rowCount >= 1 else {
      throw ImageError(
        .sizeMismatch, message: "an image of \(width)×\(height) cannot be scaled by \(factor)",
        advice: "use a positive factor that leaves at least one pixel")
    }
    guard columnCount <= Double(Image.defaultPixelLimit), rowCount <= Double(Image.defaultPixelLimit) else {
      throw ImageError(
        .tooLarge, message: "an image of \(width)×\(height) scaled by \(factor) is too large", advice: "use less")
    }
    let (newWidth, newHeight) = (Int(columnCount), Int(rowCount))
    let count = try Image.checkedCount(width: newWidth, height: newHeight)
    if factor == 1 { return self }
    if interpolation == .bilinear, factor == 0.5 { return halved(newWidth, newHeight) }
    let columns = Taps(source: width, target: newWidth, step: 1 / factor, interpolation, clampsWeights: true)
    let rows = Taps(source: height, target: newHeight, step: 1 / factor, interpolation, clampsWeights: false)
    return resampled(count, newWidth, newHeight, columns, rows, interpolation)
  }

  private func resampled(
    _ count: Int, _ newWidth: Int, _ newHeight: Int, _ columns: Taps, _ rows: Taps, _ interpolation: Interpolation
  ) -> Image {
    let taps = interpolation == .bilinear ? 2 : 4
    let rowLength = 3 * newWidth
    let result = [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
      // The horizontal pass of a source row is kept until the output leaves it behind.
      let cache = UnsafeMutablePointer<Int32>.allocate(capacity: taps * rowLength)
      defer { cache.deallocate() }
      var held = [Int](repeating: -1, count: taps)
      var slots = [Int](repeating: 0, count: taps)
      pixels.withUnsafeBufferPointer { source in
        for y in 0..<newHeight {
          var used = 0
          for tap in 0..<taps {
            let row = rows.index[taps * y + tap]
            if let slot = held.firstIndex(of: row) {
              slots[tap] = slot
              used |= 1 << slot
            } else {
              slots[tap] = -1
            }
          }
          for tap in 0..<taps where slots[tap] < 0 {
            let row = rows.index[taps * y + tap]
            if let slot = held.firstIndex(of: row) {
              slots[tap] = slot
              continue
            }
            let slot = (0..<taps).first { used & (1 << $0) == 0 } ?? 0
            used |= 1 << slot
            held[slot] = row
            slots[tap] = slot
            let line = source.baseAddress.map { $0 + 3 * width * row }
            guard let line else { continue }
            Image.filterRow(line, cache + slot * rowLength, columns, taps, newWidth)
          }
          let weights = (0..<taps).map { rows.weight[taps * y + $0] }
          let target = rowLength * y
          if taps == 2 {
            let first = cache + slots[0] * rowLength
            let second = cache + slots[1] * rowLength
            for x in 0..<rowLength {
              let low = (weights[0] &* (first[x] >> 4)) >> 16
              let high = (weights[1] &* (second[x] >> 4)) >> 16
              output[target + x] = UInt8(clamping: (low &+ high &+ 2) >> 2)
            }
          } else {
            let line0 = cache + slots[0] * rowLength
            let line1 = cache + slots[1] * rowLength
            let line2 = cache + slots[2] * rowLength
            let line3 = cache + slots[3] * rowLength
            let (w0, w1, w2, w3) = (Int64(weights[0]), Int64(weights[1]), Int64(weights[2]), Int64(weights[3]))
            for x in 0..<rowLength {
              let sum = w0 &* Int64(line0[x]) &+ w1 &* Int64(line1[x]) &+ w2 &* Int64(line2[x]) &+ w3 &* Int64(line3[x])
              output[target + x] = UInt8(clamping: (sum &+ (1 << 21)) >> 22)
            }
          }
        }
      }
      initialized = count
    }
    return Image(unchecked: newWidth, newHeight, result)
  }

  /// The image scaled so that its shorter side has `size` pixels, the longer one rounded down: `resize_short` of MXNet,
  /// whose default is bicubic.
  ///
  /// - Throws: `ImageError`: `sizeMismatch` for a size below 1, `tooLarge`.
  public func resizedShort(_ size: Int, interpolation: Interpolation = .bicubic) throws(ImageError) -> Image {
    let (long, overflow) = size.multipliedReportingOverflow(by: max(width, height))
    guard size >= 1, !overflow else {
      throw ImageError(
        .sizeMismatch, message: "a short side of \(size) pixels cannot be", advice: "pass a size from 1 on")
    }
    return height > width
      ? try resized(width: size, height: long / width, interpolation: interpolation)
      : try resized(width: long / height, height: size, interpolation: interpolation)
  }

  /// The middle `width`×`height` of the image; the odd pixel stays at the right and bottom.
  ///
  /// - Throws: `ImageError` of kind `sizeMismatch` when the image is smaller.
  public func centreCropped(width newWidth: Int, height newHeight: Int) throws(ImageError) -> Image {
    try cropped(x: (width - newWidth) / 2, y: (height - newHeight) / 2, width: newWidth, height: newHeight)
  }

  /// A part of the image.
  ///
  /// - Throws: `ImageError` of kind `sizeMismatch` when the part does not lie inside.
  public func cropped(
    x left: Int, y top: Int, width newWidth: Int, height newHeight: Int
  ) throws(ImageError) -> Image {
    guard newWidth > 0, newHeight > 0, newWidth <= width, newHeight <= height, left >= 0, top >= 0,
      left <= width - newWidth, top <= height - newHeight
    else {
      throw ImageError(
        .sizeMismatch,
        message: "a part of \(newWidth)×\(newHeight) at (\(left), \(top)) does not lie in \(width)×\(height)",
        advice: "resize the image first")
    }
    var result: [UInt8] = []
    result.reserveCapacity(3 * newWidth * newHeight)
    for y in top..<top + newHeight {
      let start = 3 * (y * width + left)
      result.append(contentsOf: pixels[start..<start + 3 * newWidth])
    }
    return Image(unchecked: newWidth, newHeight, result)
  }

  /// The image mirrored left to right.
  public func flippedHorizontally() -> Image {
    var copy = self
    copy.flipHorizontally()
    return copy
  }

  /// Mirrors the image left to right in place.
  public mutating func flipHorizontally() {
    let (columns, rows) = (width, height)
    pixels.withUnsafeMutableBufferPointer { Image.flipHorizontally($0, width: columns, height: rows) }
  }

  /// Mirrors `3 * width * height` interleaved values in place; a smaller buffer is left alone.
  public static func flipHorizontally(_ pixels: UnsafeMutableBufferPointer<UInt8>, width: Int, height: Int) {
    guard width > 0, height > 0, pixels.count / 3 / width >= height, let base = pixels.baseAddress else { return }
    for y in 0..<height {
      var left = base + 3 * width * y
      var right = left + 3 * (width - 1)
      while left < right {
        let (red, green, blue) = (left[0], left[1], left[2])
        left[0] = right[0]
        left[1] = right[1]
        left[2] = right[2]
        right[0] = red
        right[1] = green
        right[2] = blue
        left += 3
        right -= 3
      }
    }
  }

  /// The 2×2 average; an odd last column or row, where the result has one for it, averages what there is.
  private func halved(_ newWidth: Int, _ newHeight: Int) -> Image {
    let count = 3 * newWidth * newHeight
    let result = [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
      pixels.withUnsafeBufferPointer { source in
        for y in 0..<newHeight {
          for x in 0..<newWidth {
            for channel in 0..<3 {
              let index = 3 * (2 * y * width + 2 * x) + channel
              guard 2 * x + 1 < width, 2 * y + 1 < height else {
                let across = 2 * x + 1 < width ? index + 3 : 2 * y + 1 < height ? index + 3 * width : index
                let mean = Float(UInt32(source[index]) + UInt32(source[across])) / 2
                output[3 * (y * newWidth + x) + channel] = UInt8(mean.rounded(.toNearestOrEven))
                continue
              }
              let below = index + 3 * width
              let sum =
                UInt32(source[index]) + UInt32(source[index + 3]) + UInt32(source[below]) + UInt32(source[below + 3])
              output[3 * (y * newWidth + x) + channel] = UInt8(truncatingIfNeeded: (sum + 2) >> 2)
            }
          }
        }
      }
      initialized = count
    }
    return Image(unchecked: newWidth, newHeight, result)
  }

  private static func filterRow(
    _ source: UnsafePointer<UInt8>, _ output: UnsafeMutablePointer<Int32>, _ columns: Taps, _ taps: Int, _ width: Int
  ) {
    columns.index.withUnsafeBufferPointer { index in
      columns.weight.withUnsafeBufferPointer { weight in
        for x in 0..<width {
          var red: Int32 = 0
          var green: Int32 = 0
          var blue: Int32 = 0
          for tap in taps * x..<taps * x + taps {
            let pixel = source + 3 * index[tap]
            red &+= Int32(pixel[0]) &* weight[tap]
            green &+= Int32(pixel[1]) &* weight[tap]
            blue &+= Int32(pixel[2]) &* weight[tap]
          }
          output[3 * x] = red
          output[3 * x + 1] = green
          output[3 * x + 2] = blue
        }
      }
    }
  }
}

/// For every target position the source positions and their weights, in units of 1/2048.
private struct Taps {
  var index: [Int] = []
  var weight: [Int32] = []

  init(source: Int, target: Int, step: Double, _ interpolation: Interpolation, clampsWeights: Bool) {
    for position in 0..<target {
      var fraction = Float((Double(position) + 0.5) * step - 0.5)
      var start = Int(fraction.rounded(.down))
      fraction -= Float(start)
      switch interpolation {
      case .bilinear:
        // OpenCV zeroes the fraction at the border for columns, and repeats the border row for rows.
        if clampsWeights, start < 0 {
          start = 0
          fraction = 0
        }
        if clampsWeights, start >= source - 1 {
          start = source - 1
          fraction = 0
        }
        append(start, 1 - fraction, source)
        append(start + 1, fraction, source)
      case .bicubic:
        let a: Float = -0.75
        let x = fraction
        let outer = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
        let near = ((a + 2) * x - (a + 3)) * x * x + 1
        let far = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
        append(start - 1, outer, source)
        append(start, near, source)
        append(start + 1, far, source)
        append(start + 2, 1 - outer - near - far, source)
      }
    }
  }

  private mutating func append(_ position: Int, _ value: Float, _ source: Int) {
    index.append(min(max(position, 0), source - 1))
    weight.append(Int32((value * 2048).rounded(.toNearestOrEven)))
  }
}
