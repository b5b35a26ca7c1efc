/// A colour in linear light: R, G, B, and in the fourth lane how much of the pixel belongs to a lit head.
typealias Light = SIMD4<Float>

/// A colour given as it appears (gamma 2), on a head.
@inline(__always)
func shown(_ red: Float, _ green: Float, _ blue: Float) -> Light {
  Light(red * red, green * green, blue * blue, 1)
}

/// Moves from one colour towards another.
@inline(__always)
func mix(_ from: Light, _ to: Light, _ share: Float) -> Light {
  from + (to - from) * share
}

/// Scales the colour and keeps the fourth lane.
@inline(__always)
func dimmed(_ colour: Light, _ factor: Float) -> Light {
  colour * Light(factor, factor, factor, 1)
}

/// An affine map from local coordinates of a feature to pixels, held as its inverse.
struct Patch {
  /// Pixel of the local origin.
  var centreX: Float
  var centreY: Float
  /// Local coordinates from pixels: the inverse of the 2×2 part.
  var m00: Float
  var m01: Float
  var m10: Float
  var m11: Float
  /// The 2×2 part itself, for bounds.
  var f00: Float
  var f01: Float
  var f10: Float
  var f11: Float
  /// Extent of a pixel in local units, for smooth edges.
  var pixel: Float

  init(centreX: Float, centreY: Float, f00: Float, f01: Float, f10: Float, f11: Float) {
    self.centreX = centreX
    self.centreY = centreY
    self.f00 = f00
    self.f01 = f01
    self.f10 = f10
    self.f11 = f11
    let determinant = f00 * f11 - f01 * f10
    let safe = abs(determinant) < 1e-6 ? 1e-6 : determinant
    m00 = f11 / safe
    m01 = -f01 / safe
    m10 = -f10 / safe
    m11 = f00 / safe
    pixel = 1 / abs(safe).squareRoot()
  }

  /// Share of a pixel inside a shape whose signed distance (negative inside) is given in local units.
  @inline(__always)
  func coverage(_ distance: Float) -> Float {
    clamp01(0.5 - distance / pixel)
  }

  /// The same with an edge that is `softness` local units wide, or a pixel where that is wider.
  @inline(__always)
  func coverage(_ distance: Float, softness: Float) -> Float {
    clamp01(0.5 - distance / max(pixel, softness))
  }
}

/// Linear-light pixels that features are painted on, with planes for what is computed once per face.
struct Canvas {
  let width: Int
  let height: Int
  let pixels: UnsafeMutablePointer<Light>
  /// Slopes that bumps add to the head's surface.
  let relief: UnsafeMutablePointer<SIMD2<Float>>
  /// Of the face being painted: a pixel's distance from its middle, and that of the outline in the same direction.
  let polar: UnsafeMutablePointer<SIMD2<Float>>

  init(width: Int, height: Int) {
    self.width = width
    self.height = height
    pixels = .allocate(capacity: width * height)
    pixels.initialize(repeating: .zero, count: width * height)
    relief = .allocate(capacity: width * height)
    relief.initialize(repeating: .zero, count: width * height)
    polar = .allocate(capacity: width * height)
    polar.initialize(repeating: .zero, count: width * height)
  }

  func deallocate() {
    pixels.deallocate()
    relief.deallocate()
    polar.deallocate()
  }

  /// Columns and rows that the local rectangle touches.
  func bounds(_ patch: Patch, x0: Float, x1: Float, y0: Float, y1: Float) -> (columns: Range<Int>, rows: Range<Int>) {
    let centreX = (x0 + x1) / 2
    let centreY = (y0 + y1) / 2
    let halfX = (x1 - x0) / 2
    let halfY = (y1 - y0) / 2
    let middleX = patch.centreX + patch.f00 * centreX + patch.f01 * centreY
    let middleY = patch.centreY + patch.f10 * centreX + patch.f11 * centreY
    let extentX = abs(patch.f00) * halfX + abs(patch.f01) * halfY + 1
    let extentY = abs(patch.f10) * halfX + abs(patch.f11) * halfY + 1
    return (
      Canvas.range(middleX - extentX, middleX + extentX, width),
      Canvas.range(middleY - extentY, middleY + extentY, height)
    )
  }

  static func range(_ low: Float, _ high: Float, _ limit: Int) -> Range<Int> {
    let first = Int(min(max(low, 0), Float(limit)))
    let last = Int(min(max(high + 1, 0), Float(limit)))
    return first..<max(first, last)
  }

  /// Calls `body` with the local coordinates of every pixel that the local rectangle may touch.
  @inline(__always)
  func paint(
    _ patch: Patch, x0: Float, x1: Float, y0: Float, y1: Float, _ body: (Float, Float, inout Light) -> Void
  ) {
    paintPolar(patch, x0: x0, x1: x1, y0: y0, y1: y1) { x, y, _, pixel in body(x, y, &pixel) }
  }

  /// The same with the pixel's entry in `polar`.
  @inline(__always)
  func paintPolar(
    _ patch: Patch, x0: Float, x1: Float, y0: Float, y1: Float,
    _ body: (Float, Float, SIMD2<Float>, inout Light) -> Void
  ) {
    let (columns, rows) = bounds(patch, x0: x0, x1: x1, y0: y0, y1: y1)
    for row in rows {
      let offsetY = Float(row) - patch.centreY
      let line = pixels + row * width
      let polarLine = polar + row * width
      for column in columns {
        let offsetX = Float(column) - patch.centreX
        let x = patch.m00 * offsetX + patch.m01 * offsetY
        let y = patch.m10 * offsetX + patch.m11 * offsetY
        guard x >= x0, x <= x1, y >= y0, y <= y1 else { continue }
        body(x, y, polarLine[column], &line[column])
      }
    }
  }

  /// Raises the relief by a rounded bump of the given height, in local units.
  func raise(_ patch: Patch, radiusX: Float, radiusY: Float, height: Float) {
    let (columns, rows) = bounds(patch, x0: -radiusX, x1: radiusX, y0: -radiusY, y1: radiusY)
    let scaleX = 1 / (radiusX * radiusX)
    let scaleY = 1 / (radiusY * radiusY)
    for row in rows {
      let offsetY = Float(row) - patch.centreY
      let line = relief + row * width
      for column in columns {
        let offsetX = Float(column) - patch.centreX
        let x = patch.m00 * offsetX + patch.m01 * offsetY
        let y = patch.m10 * offsetX + patch.m11 * offsetY
        let rest = 1 - x * x * scaleX - y * y * scaleY
        guard rest > 0 else { continue }
        let slope = 4 * height * rest
        line[column] += SIMD2(x * scaleX, y * scaleY) * slope
      }
    }
  }
}
