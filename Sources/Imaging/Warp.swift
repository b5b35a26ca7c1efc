/// A similarity transform of the plane: turn, uniform scale, shift.
///
/// (x, y) goes to (a·x − b·y + tx, b·x + a·y + ty); a = scale·cos, b = scale·sin of the turn.
public struct SimilarityTransform: Sendable, Equatable {
  /// Scale times cosine of the turn.
  public var a: Double
  /// Scale times sine of the turn.
  public var b: Double
  /// Shift to the right, pixels.
  public var tx: Double
  /// Shift down, pixels.
  public var ty: Double

  /// A transform from its four numbers.
  public init(a: Double, b: Double, tx: Double, ty: Double) {
    self.a = a
    self.b = b
    self.tx = tx
    self.ty = ty
  }

  /// The transform that changes nothing.
  public static let identity = SimilarityTransform(a: 1, b: 0, tx: 0, ty: 0)

  /// The least-squares similarity that takes `source` to `target` (Umeyama 1991, with scale, no mirroring).
  ///
  /// - Throws: `ImageError` of kind `sizeMismatch` when the counts differ, there are fewer than two points, the source
  ///   points coincide, or a coordinate is not finite.
  public init(from source: [Point], to target: [Point]) throws(ImageError) {
    guard source.count == target.count, source.count >= 2 else {
      throw ImageError(
        .sizeMismatch, message: "a similarity transform from \(source.count) to \(target.count) points cannot be",
        advice: "pass as many source as target points, at least two")
    }
    let count = Double(source.count)
    let sourceX = source.reduce(0) { $0 + $1.x } / count
    let sourceY = source.reduce(0) { $0 + $1.y } / count
    let targetX = target.reduce(0) { $0 + $1.x } / count
    let targetY = target.reduce(0) { $0 + $1.y } / count
    var dot = 0.0
    var cross = 0.0
    var spread = 0.0
    for (from, to) in zip(source, target) {
      let (x, y) = (from.x - sourceX, from.y - sourceY)
      let (u, v) = (to.x - targetX, to.y - targetY)
      dot += x * u + y * v
      cross += x * v - y * u
      spread += x * x + y * y
    }
    guard spread > 0, spread.isFinite, dot.isFinite, cross.isFinite else {
      throw ImageError(
        .sizeMismatch, message: "the points coincide or are not finite, so no transform follows from them",
        advice: "drop the face or its landmarks")
    }
    a = dot / spread
    b = cross / spread
    tx = targetX - (a * sourceX - b * sourceY)
    ty = targetY - (b * sourceX + a * sourceY)
  }

  /// Where the point goes.
  public func apply(_ point: Point) -> Point {
    Point(a * point.x - b * point.y + tx, b * point.x + a * point.y + ty)
  }

  /// The transform back; nil when the scale is zero or not finite.
  public var inverse: SimilarityTransform? {
    let square = a * a + b * b
    guard square > 0, square.isFinite else { return nil }
    let (c, d) = (a / square, -b / square)
    return SimilarityTransform(a: c, b: d, tx: -(c * tx - d * ty), ty: -(d * tx + c * ty))
  }
}

/// Where the five landmarks of a face lie in an aligned crop.
public enum FaceTemplate {
  /// Left eye, right eye, nose tip, left and right mouth corner (left as seen in the image) in the 112×112 crop that ArcFace
  /// trains on.
  public static let arcFace112: [Point] = [
    Point(38.2946, 51.6963), Point(73.5318, 51.5014), Point(56.0252, 71.7366), Point(41.5493, 92.3655),
    Point(70.7299, 92.2041),
  ]

  /// The template scaled to a square crop of `size` pixels.
  ///
  /// Multiples of 112 scale it; multiples of 128 scale it and shift it by 8 pixels in 128, as InsightFace does.
  /// - Throws: `ImageError` of kind `sizeMismatch` for another size.
  public static func arcFace(size: Int) throws(ImageError) -> [Point] {
    try arcFace(width: size, height: size)
  }

  /// The template for a crop of 96×112, which lacks the shift of 8 pixels to the right, or for a square one.
  ///
  /// - Throws: `ImageError` of kind `sizeMismatch` for another size.
  public static func arcFace(width: Int, height: Int) throws(ImageError) -> [Point] {
    if width == 96, height == 112 { return arcFace112.map { Point($0.x - 8, $0.y) } }
    let size = width == height ? width : 0
    guard size > 0, size % 112 == 0 || size % 128 == 0 else {
      throw ImageError(
        .sizeMismatch, message: "there is no face template for \(width)×\(height)",
        advice: "use a square of a multiple of 112 or of 128, or 96×112")
    }
    let scale = size % 112 == 0 ? Double(size) / 112 : Double(size) / 128
    let shift = size % 112 == 0 ? 0 : 8 * scale
    return arcFace112.map { Point($0.x * scale + shift, $0.y * scale) }
  }
}

extension Image {
  /// The aligned crop of a face: the similarity from its five landmarks to the ArcFace template, bilinear, black outside.
  ///
  /// - Parameters:
  ///   - landmarks: left eye, right eye, nose tip, left and right mouth corner, in pixels of this image.
  ///   - size: side of the crop, a multiple of 112 or of 128.
  ///   - border: what lies outside of the image.
  /// - Throws: `ImageError` of kind `sizeMismatch` for other than five finite, distinct points or another size.
  public func alignedFace(
    landmarks: [Point], size: Int = 112, border: Border = .constant(.black)
  ) throws(ImageError) -> Image {
    try alignedFace(landmarks: landmarks, width: size, height: size, border: border)
  }

  /// The aligned crop of a face at a size that the template has: a square, or 96×112.
  ///
  /// - Throws: as the other form.
  public func alignedFace(
    landmarks: [Point], width newWidth: Int, height newHeight: Int, border: Border = .constant(.black)
  ) throws(ImageError) -> Image {
    let transform = try SimilarityTransform(
      from: landmarks, to: FaceTemplate.arcFace(width: newWidth, height: newHeight))
    return try warped(transform, width: newWidth, height: newHeight, border: border)
  }

  /// The image under a similarity transform (`cv2.warpAffine`: bilinear, coordinates rounded to 1/32 pixel).
  ///
  /// - Parameters:
  ///   - transform: from this image's pixels to those of the result.
  ///   - border: what lies outside of the image.
  /// - Throws: `ImageError`: `sizeMismatch` for a transform that cannot be inverted or a side below 1, `tooLarge`.
  public func warped(
    _ transform: SimilarityTransform, width newWidth: Int, height newHeight: Int, border: Border = .constant(.black)
  ) throws(ImageError) -> Image {
    let count = try Image.checkedCount(width: newWidth, height: newHeight)
    guard let inverse = transform.inverse, inverse.tx.isFinite, inverse.ty.isFinite else {
      throw ImageError(
        .sizeMismatch, message: "the transform has no inverse", advice: "check the landmarks it was made from")
    }
    let columnsX = (0..<newWidth).map { Image.fixed(inverse.a * Double($0) * 1024) }
    let columnsY = (0..<newWidth).map { Image.fixed(inverse.b * Double($0) * 1024) }
    let result = [UInt8](unsafeUninitializedCapacity: count) { output, initialized in
      pixels.withUnsafeBufferPointer { source in
        for y in 0..<newHeight {
          let rowX = Image.fixed((-inverse.b * Double(y) + inverse.tx) * 1024) + 16
          let rowY = Image.fixed((inverse.a * Double(y) + inverse.ty) * 1024) + 16
          for x in 0..<newWidth {
            let fineX = (rowX + columnsX[x]) >> 5
            let fineY = (rowY + columnsY[x]) >> 5
            let target = 3 * (y * newWidth + x)
            sample(
              source, fineX >> 5, fineY >> 5, Int32(fineX & 31), Int32(fineY & 31), border, output, target)
          }
        }
      }
      initialized = count
    }
    return Image(unchecked: newWidth, newHeight, result)
  }

  @inline(__always)
  private func sample(
    _ source: UnsafeBufferPointer<UInt8>, _ x: Int, _ y: Int, _ fractionX: Int32, _ fractionY: Int32,
    _ border: Border, _ output: UnsafeMutableBufferPointer<UInt8>, _ target: Int
  ) {
    let weights = (
      (32 - fractionX) * (32 - fractionY), fractionX * (32 - fractionY), (32 - fractionX) * fractionY,
      fractionX * fractionY
    )
    if x >= 0, y >= 0, x < width - 1, y < height - 1 {
      let index = 3 * (y * width + x)
      let below = index + 3 * width
      for channel in 0..<3 {
        var sum = weights.0 * Int32(source[index + channel]) + weights.1 * Int32(source[index + 3 + channel])
        sum += weights.2 * Int32(source[below + channel]) + weights.3 * Int32(source[below + 3 + channel])
        output[target + channel] = UInt8(truncatingIfNeeded: (sum + 512) >> 10)
      }
      return
    }
    let (left, right) = (border.position(x, width), border.position(x + 1, width))
    let (above, under) = (border.position(y, height), border.position(y + 1, height))
    for channel in 0..<3 {
      var sum = weights.0 * value(source, left, above, channel, border)
      sum += weights.1 * value(source, right, above, channel, border)
      sum += weights.2 * value(source, left, under, channel, border)
      sum += weights.3 * value(source, right, under, channel, border)
      output[target + channel] = UInt8(truncatingIfNeeded: (sum + 512) >> 10)
    }
  }

  /// A channel of the pixel in a column and row that `Border.position` gave; negative ones are outside.
  @inline(__always)
  private func value(
    _ source: UnsafeBufferPointer<UInt8>, _ x: Int, _ y: Int, _ channel: Int, _ border: Border
  ) -> Int32 {
    if x >= 0, y >= 0 { return Int32(source[3 * (y * width + x) + channel]) }
    guard case .constant(let colour) = border else { return 0 }
    return Int32(channel == 0 ? colour.red : channel == 1 ? colour.green : colour.blue)
  }

  /// Rounded to the nearest even, saturated to 32 bits as OpenCV's fixed-point coordinates are.
  private static func fixed(_ value: Double) -> Int {
    Int(min(max(value.rounded(.toNearestOrEven), Double(Int32.min)), Double(Int32.max)))
  }
}
