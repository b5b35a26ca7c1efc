extension Image {
  /// Draws a line from one point to the other, one pixel wide; what lies outside is left out.
  public mutating func drawLine(from start: Point, to end: Point, _ colour: Colour) {
    guard let (first, last) = clip(start, end) else { return }
    let steps = max(abs(last.x - first.x), abs(last.y - first.y)).rounded(.up)
    let count = max(1, Int(steps))
    for step in 0...count {
      let share = Double(step) / Double(count)
      set(
        Int((first.x + (last.x - first.x) * share).rounded()), Int((first.y + (last.y - first.y) * share).rounded()),
        colour)
    }
  }

  /// Draws the outline of a rectangle, one pixel wide.
  public mutating func drawRectangle(_ rectangle: Rectangle, _ colour: Colour) {
    let corners = [
      Point(rectangle.x, rectangle.y), Point(rectangle.x + rectangle.width, rectangle.y),
      Point(rectangle.x + rectangle.width, rectangle.y + rectangle.height),
      Point(rectangle.x, rectangle.y + rectangle.height),
    ]
    for index in 0..<4 { drawLine(from: corners[index], to: corners[(index + 1) % 4], colour) }
  }

  /// Fills a rectangle: the pixels from `x` to below `x + width`, `y` to below `y + height`, rounded.
  public mutating func fillRectangle(_ rectangle: Rectangle, _ colour: Colour) {
    let columns = span(rectangle.x, rectangle.x + rectangle.width - 1, width)
    let rows = span(rectangle.y, rectangle.y + rectangle.height - 1, height)
    for y in rows {
      for x in columns { set(x, y, colour) }
    }
  }

  /// Fills a circle.
  public mutating func fillCircle(centre: Point, radius: Double, _ colour: Colour) {
    guard radius.isFinite, radius >= 0 else { return }
    for y in span(centre.y - radius, centre.y + radius, height) {
      for x in span(centre.x - radius, centre.x + radius, width) {
        let (dx, dy) = (Double(x) - centre.x, Double(y) - centre.y)
        if dx * dx + dy * dy <= radius * radius + 0.25 { set(x, y, colour) }
      }
    }
  }

  /// Writes text in a built-in 5×7 font; letters appear as capitals, a character without a picture as a box.
  ///
  /// - Parameters:
  ///   - text: one line; each character takes `6 * scale` columns.
  ///   - x: left edge of the first character.
  ///   - y: top edge.
  ///   - scale: pixels per dot, at least 1.
  public mutating func drawText(_ text: String, x: Int, y: Int, _ colour: Colour, scale: Int = 1) {
    guard scale >= 1, scale <= 1024 else { return }
    // Columns count in Double, so that a text of any length at any place cannot overflow.
    var left = Double(x)
    for scalar in text.unicodeScalars {
      if left > Double(width) { return }
      let glyph = Font.glyph(scalar)
      if left > Double(-6 * scale) {
        for column in 0..<5 {
          for row in 0..<7 where glyph[column] >> UInt8(row) & 1 == 1 {
            fillRectangle(
              Rectangle(
                x: left + Double(column * scale), y: Double(y) + Double(row * scale), width: Double(scale),
                height: Double(scale)), colour)
          }
        }
      }
      left += Double(6 * scale)
    }
  }

  /// Copies another image onto this one with its top-left corner at (x, y); what lies outside is left out.
  public mutating func paste(_ other: Image, x: Int, y: Int) {
    let (left, leftOverflow) = x.addingReportingOverflow(other.width)
    let (top, topOverflow) = y.addingReportingOverflow(other.height)
    guard !leftOverflow, !topOverflow else { return }
    let columns = max(x, 0)..<max(max(x, 0), min(left, width))
    let rows = max(y, 0)..<max(max(y, 0), min(top, height))
    guard !columns.isEmpty else { return }
    for row in rows {
      let from = 3 * ((row - y) * other.width + columns.lowerBound - x)
      let to = 3 * (row * width + columns.lowerBound)
      pixels.replaceSubrange(to..<to + 3 * columns.count, with: other.pixels[from..<from + 3 * columns.count])
    }
  }

  @inline(__always)
  private mutating func set(_ x: Int, _ y: Int, _ colour: Colour) {
    guard x >= 0, y >= 0, x < width, y < height else { return }
    let index = 3 * (y * width + x)
    pixels[index] = colour.red
    pixels[index + 1] = colour.green
    pixels[index + 2] = colour.blue
  }

  /// Whole positions from `low` to `high` that lie in 0..<limit; none when not finite.
  private func span(_ low: Double, _ high: Double, _ limit: Int) -> Range<Int> {
    guard low.isFinite, high.isFinite else { return 0..<0 }
    let first = Int(min(max(low.rounded(), 0), Double(limit)))
    let last = Int(min(max(high.rounded(), -1), Double(limit - 1)))
    return first..<max(first, last + 1)
  }

  /// The part of the segment inside the image with a pixel's margin (Liang and Barsky), so that a far end costs nothing.
  private func clip(_ start: Point, _ end: Point) -> (Point, Point)? {
    guard start.x.isFinite, start.y.isFinite, end.x.isFinite, end.y.isFinite else { return nil }
    let (dx, dy) = (end.x - start.x, end.y - start.y)
    var low = 0.0
    var high = 1.0
    let edges = [
      (-dx, start.x + 1), (dx, Double(width) - start.x), (-dy, start.y + 1), (dy, Double(height) - start.y),
    ]
    for (direction, distance) in edges {
      if direction == 0 {
        if distance < 0 { return nil }
      } else if direction < 0 {
        low = max(low, distance / direction)
      } else {
        high = min(high, distance / direction)
      }
    }
    guard low <= high else { return nil }
    return (
      Point(start.x + dx * low, start.y + dy * low), Point(start.x + dx * high, start.y + dy * high)
    )
  }
}

/// Images side by side in a grid, for looking at many at once.
public enum ContactSheet {
  /// Composes a grid, filled row by row.
  ///
  /// - Parameters:
  ///   - images: at least one; each is placed at the top left of its cell, cells have the largest size.
  ///   - columns: cells a row, at least 1.
  ///   - captions: text under the images, by position; missing ones are left out. Cells grow only when there are captions.
  ///   - gap: pixels between cells and around the sheet.
  ///   - background: colour of the gaps.
  /// - Throws: `ImageError`: `empty` without images, `sizeMismatch` for no columns or a negative gap, `tooLarge`.
  public static func compose(
    _ images: [Image], columns: Int, captions: [String] = [], gap: Int = 4, background: Colour = .white
  ) throws(ImageError) -> Image {
    guard !images.isEmpty else {
      throw ImageError(.empty, message: "a contact sheet needs images", advice: "pass at least one")
    }
    guard columns >= 1, gap >= 0, gap <= 4096 else {
      throw ImageError(
        .sizeMismatch, message: "a contact sheet of \(columns) columns and gap \(gap) cannot be",
        advice: "use at least 1 column and a gap of 0…4096")
    }
    let cellWidth = images.reduce(0) { max($0, $1.width) }
    let imageHeight = images.reduce(0) { max($0, $1.height) }
    let cellHeight = imageHeight + (captions.isEmpty ? 0 : 10)
    let used = min(columns, images.count)
    let rows = (images.count + used - 1) / used
    let (across, overflowAcross) = used.multipliedReportingOverflow(by: cellWidth + gap)
    let (down, overflowDown) = rows.multipliedReportingOverflow(by: cellHeight + gap)
    guard !overflowAcross, !overflowDown, across < Int.max / 2, down < Int.max / 2 else {
      throw ImageError(.tooLarge, message: "the contact sheet is too large", advice: "pass fewer images")
    }
    var sheet = try Image(width: across + gap, height: down + gap, fill: background)
    for (index, image) in images.enumerated() {
      let x = gap + index % used * (cellWidth + gap)
      let y = gap + index / used * (cellHeight + gap)
      sheet.paste(image, x: x, y: y)
      if index < captions.count {
        let fitting = String(captions[index].prefix(max(1, (cellWidth + 1) / 6)))
        sheet.drawText(fitting, x: x, y: y + imageHeight + 2, .black)
      }
    }
    return sheet
  }
}
