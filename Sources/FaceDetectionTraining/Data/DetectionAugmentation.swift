import Imaging

/// What happens to a photo on its way into training (detection/retinaface/rcnn/io/image.py): a square of a drawn share of
/// the shorter side is cut where it holds the centre of a face, brought to S × S, and its colours are varied.
public struct DetectionAugmentation: Sendable, Equatable {
  /// Side of the square in shares of the shorter side; one is drawn.
  public var cropScales: [Double]
  /// How far brightness (contrast, saturation) may go from 1; 0 leaves colours as they are.
  public var colourStrength: Double
  /// Whether contrast and saturation vary too: `COLOR_MODE` 2.
  public var isColourWide: Bool

  /// As in the reference; `isColourWide` is off for `mnet`.
  public init(
    cropScales: [Double] = [0.3, 0.45, 0.6, 0.8, 1], colourStrength: Double = 0.125, isColourWide: Bool = true
  ) {
    self.cropScales = cropScales.isEmpty ? [1] : cropScales
    self.colourStrength = colourStrength
    self.isColourWide = isColourWide
  }

  /// How often a place is drawn until a square holds a face.
  private static let attempts = 25

  /// Cuts, scales, mirrors and colours an image.
  ///
  /// - Parameters:
  ///   - image: any size.
  ///   - faces: in its pixels.
  ///   - mirrors: mirror first.
  ///   - pixels: takes S × S × 3 values.
  /// - Returns: the faces whose centre lies in the square, in its pixels, and what is still to be done to the colours.
  func apply(
    _ image: Image, _ faces: [TrainingFace], mirrors: Bool, size: Int, random: inout DrawSequence,
    into pixels: UnsafeMutableBufferPointer<UInt8>
  ) -> (faces: [TrainingFace], colours: ColourMap) {
    let share = cropScales[random.index(below: cropScales.count)]
    let side = max(1, Int(Double(min(image.width, image.height)) * share))
    let factor = Double(size) / Double(side)
    // The size of the whole scaled image, of which the square is cut.
    let width = max(size, Int((Double(image.width) * factor).rounded(.toNearestOrEven)))
    let height = max(size, Int((Double(image.height) * factor).rounded(.toNearestOrEven)))
    let oriented = mirrors ? faces.map { $0.mirrored(width: image.width) } : faces
    var kept: [TrainingFace] = []
    var (left, top) = (0, 0)
    for _ in 0..<Self.attempts {
      top = random.index(below: height - size + 1)
      left = random.index(below: width - size + 1)
      kept = oriented.map { $0.moved(scale: Float(factor), origin: SIMD2(Float(left), Float(top))) }.filter { face in
        let centre = SIMD2(face.box[0] + face.box[2], face.box[1] + face.box[3]) / 2
        return centre.x >= 0 && centre.y >= 0 && centre.x < Float(size) && centre.y < Float(size)
      }
      if !kept.isEmpty { break }
    }
    let mean = Self.cut(
      image, mirrors: mirrors, factor: factor, left: left, top: top, size: size, into: pixels)
    guard colourStrength > 0 else { return (kept, .identity) }
    let colours = ColourMap.jittered(
      strength: colourStrength, isWide: isColourWide, mean: mean, random: &random)
    return (kept, colours)
  }

  /// Bilinear interpolation with pixel centres at halves, as OpenCV's, of the square alone; gives the mean colour.
  private static func cut(
    _ image: Image, mirrors: Bool, factor: Double, left: Int, top: Int, size: Int,
    into pixels: UnsafeMutableBufferPointer<UInt8>
  ) -> SIMD3<Double> {
    func taps(_ first: Int, _ count: Int, mirrored: Bool) -> [(low: Int, high: Int, weight: Float)] {
      (0..<size).map { index in
        let place = (Double(first + index) + 0.5) / factor - 0.5
        let floor = place.rounded(.down)
        let low = min(max(Int(floor), 0), count - 1)
        let high = min(max(Int(floor) + 1, 0), count - 1)
        let weight = Float(place - floor)
        return mirrored ? (count - 1 - low, count - 1 - high, weight) : (low, high, weight)
      }
    }
    let columns = taps(left, image.width, mirrored: mirrors)
    let rows = taps(top, image.height, mirrored: false)
    var sums = SIMD3<Double>.zero
    image.pixels.withUnsafeBufferPointer { source in
      for y in 0..<size {
        let (upper, lower) = (rows[y].low * image.width * 3, rows[y].high * image.width * 3)
        let down = rows[y].weight
        var rowSums = SIMD3<Int>.zero
        for x in 0..<size {
          let column = columns[x]
          for channel in 0..<3 {
            let (a, b) = (3 * column.low + channel, 3 * column.high + channel)
            let (p, q) = (Float(source[upper + a]), Float(source[upper + b]))
            let (r, s) = (Float(source[lower + a]), Float(source[lower + b]))
            let above = p + (q - p) * column.weight
            let below = r + (s - r) * column.weight
            let value = UInt8(min(255, max(0, above + (below - above) * down + 0.5)))
            pixels[3 * (y * size + x) + channel] = value
            rowSums[channel] += Int(value)
          }
        }
        sums += SIMD3(Double(rowSums.x), Double(rowSums.y), Double(rowSums.z))
      }
    }
    return sums / Double(size * size)
  }
}
