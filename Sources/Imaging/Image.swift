/// An RGB image: uint8, H×W×3 in row order, origin at the top left.
public struct Image: Sendable, Equatable {
  /// Columns.
  public let width: Int
  /// Rows.
  public let height: Int
  /// Interleaved R, G, B, row by row; the count is always `3 * width * height`.
  public internal(set) var pixels: [UInt8]

  /// The most pixels that an image may have unless a caller says otherwise: 100 million, 300 MB as RGB.
  public static let defaultPixelLimit = 100_000_000

  /// An image from its pixels.
  ///
  /// - Parameter pixels: `3 * width * height` values, interleaved R, G, B, rows from the top.
  /// - Throws: `ImageError` of kind `sizeMismatch` when a side is not positive or the count is another.
  public init(width: Int, height: Int, pixels: [UInt8]) throws(ImageError) {
    let count = try Image.checkedCount(width: width, height: height)
    guard pixels.count == count else {
      throw ImageError(
        .sizeMismatch, message: "\(pixels.count) values for an image of \(width)×\(height), which has \(count)",
        advice: "pass 3 × width × height values")
    }
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// An image of one colour.
  ///
  /// - Throws: `ImageError` of kind `sizeMismatch` or `tooLarge` for a size that cannot be.
  public init(width: Int, height: Int, fill: Colour = .black) throws(ImageError) {
    let count = try Image.checkedCount(width: width, height: height)
    self.init(
      unchecked: width, height,
      [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        var index = 0
        while index < count {
          buffer[index] = fill.red
          buffer[index + 1] = fill.green
          buffer[index + 2] = fill.blue
          index += 3
        }
        initialized = count
      })
  }

  /// A black image of a size that the caller knows to be possible; a side below 1 counts as 1.
  ///
  /// `package` because only code that fixes the size itself may skip the checks.
  package init(uncheckedWidth width: Int, height: Int) {
    let (columns, rows) = (max(1, width), max(1, height))
    self.init(unchecked: columns, rows, [UInt8](repeating: 0, count: 3 * columns * rows))
  }

  /// The caller has checked that the count fits.
  init(unchecked width: Int, _ height: Int, _ pixels: [UInt8]) {
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// `3 * width * height`, or an error when a side is not positive or the pixels exceed the limit.
  static func checkedCount(
    width: Int, height: Int, limit: Int = Image.defaultPixelLimit
  ) throws(ImageError) -> Int {
    guard width > 0, height > 0 else {
      throw ImageError(
        .sizeMismatch, message: "an image of \(width)×\(height) cannot be", advice: "both sides must be at least 1")
    }
    let (area, overflow) = width.multipliedReportingOverflow(by: height)
    guard !overflow, area <= limit, area <= Int.max / 3 else {
      throw ImageError(
        .tooLarge, message: "an image of \(width)×\(height) exceeds the limit of \(limit) pixels",
        advice: "scale it down first, or raise the pixel limit")
    }
    return area * 3
  }

  /// The colour at column `x`, row `y`; nil outside.
  public func colour(x: Int, y: Int) -> Colour? {
    guard x >= 0, y >= 0, x < width, y < height else { return nil }
    let index = 3 * (y * width + x)
    return Colour(pixels[index], pixels[index + 1], pixels[index + 2])
  }

  /// Calls `body` with the pixels for writing: `3 * width * height` values.
  public mutating func withPixels<Result>(_ body: (UnsafeMutableBufferPointer<UInt8>) -> Result) -> Result {
    pixels.withUnsafeMutableBufferPointer { body($0) }
  }
}

/// An RGB colour, 8 bits a channel.
public struct Colour: Sendable, Equatable, Hashable {
  /// Red, 0…255.
  public var red: UInt8
  /// Green, 0…255.
  public var green: UInt8
  /// Blue, 0…255.
  public var blue: UInt8

  /// A colour from its channels.
  public init(_ red: UInt8, _ green: UInt8, _ blue: UInt8) {
    self.red = red
    self.green = green
    self.blue = blue
  }

  /// (0, 0, 0).
  public static let black = Colour(0, 0, 0)
  /// (255, 255, 255).
  public static let white = Colour(255, 255, 255)
}

/// A place in an image, in pixels: x to the right, y down; (0, 0) is the centre of the top-left pixel.
public struct Point: Sendable, Equatable, Hashable {
  /// Column.
  public var x: Double
  /// Row.
  public var y: Double

  /// A point from its coordinates.
  public init(_ x: Double, _ y: Double) {
    self.x = x
    self.y = y
  }
}

/// An upright rectangle in an image, in pixels; the right and bottom edges are `x + width`, `y + height`.
public struct Rectangle: Sendable, Equatable, Hashable {
  /// Left edge.
  public var x: Double
  /// Top edge.
  public var y: Double
  /// Extent to the right, not negative.
  public var width: Double
  /// Extent down, not negative.
  public var height: Double

  /// A rectangle from its corner and extent.
  public init(x: Double, y: Double, width: Double, height: Double) {
    self.x = x
    self.y = y
    self.width = width
    self.height = height
  }

  /// The smallest rectangle around the points; nil when there are none.
  public init?(around points: some Sequence<Point>) {
    var left = Double.infinity
    var top = Double.infinity
    var right = -Double.infinity
    var bottom = -Double.infinity
    for point in points {
      left = min(left, point.x)
      right = max(right, point.x)
      top = min(top, point.y)
      bottom = max(bottom, point.y)
    }
    guard left <= right, top <= bottom else { return nil }
    self.init(x: left, y: top, width: right - left, height: bottom - top)
  }

  /// Area of the intersection over area of the union, 0…1; 0 when both are empty.
  public func intersectionOverUnion(_ other: Rectangle) -> Double {
    let overlap = intersection(other)
    let union = width * height + other.width * other.height - overlap
    return union > 0 ? overlap / union : 0
  }

  /// Which share of the smaller rectangle lies in the other one, 0…1; 0 when one is empty.
  public func intersectionOverSmaller(_ other: Rectangle) -> Double {
    let smaller = min(width * height, other.width * other.height)
    return smaller > 0 ? intersection(other) / smaller : 0
  }

  private func intersection(_ other: Rectangle) -> Double {
    let overlapWidth = max(0, min(x + width, other.x + other.width) - max(x, other.x))
    let overlapHeight = max(0, min(y + height, other.y + other.height) - max(y, other.y))
    return overlapWidth * overlapHeight
  }
}
