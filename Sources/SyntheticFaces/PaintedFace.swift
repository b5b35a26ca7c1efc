import Imaging

/// A face as it was painted, to tell afterwards how much of it others cover: their faces, hair, clothes and what they hold.
struct PaintedFace {
  private let columns: Range<Int>
  private let rows: Range<Int>
  private let box: Rectangle
  private let pixels: [Light]

  /// - Parameter box: of a face that was painted last.
  init(_ canvas: Canvas, _ box: Rectangle) {
    self.box = box
    columns = Canvas.range(Float(box.x), Float(box.x + box.width), canvas.width)
    rows = Canvas.range(Float(box.y), Float(box.y + box.height), canvas.height)
    var pixels: [Light] = []
    pixels.reserveCapacity(columns.count * rows.count)
    for row in rows {
      for column in columns { pixels.append(canvas.pixels[row * canvas.width + column]) }
    }
    self.pixels = pixels
  }

  /// Which share of the face was painted over since, 0…1, of what lies in the image and in the ellipse that fills the box.
  func hiddenShare(on canvas: Canvas) -> Double {
    let (middleX, middleY) = (box.x + box.width / 2, box.y + box.height / 2)
    var (seen, hidden, index) = (0, 0, 0)
    for row in rows {
      for column in columns {
        defer { index += 1 }
        let (x, y) = ((Double(column) + 0.5 - middleX) / box.width, (Double(row) + 0.5 - middleY) / box.height)
        guard x * x + y * y <= 0.25 else { continue }
        seen += 1
        if canvas.pixels[row * canvas.width + column] != pixels[index] { hidden += 1 }
      }
    }
    return seen > 0 ? Double(hidden) / Double(seen) : 1
  }
}
