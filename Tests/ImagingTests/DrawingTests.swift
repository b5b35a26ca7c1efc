import Testing

@testable import Imaging

@Suite struct DrawingTests {
  let red = Colour(255, 0, 0)

  private func count(_ image: Image, _ colour: Colour) -> Int {
    var total = 0
    for y in 0..<image.height {
      for x in 0..<image.width where image.colour(x: x, y: y) == colour { total += 1 }
    }
    return total
  }

  @Test func lines() throws {
    var image = try Image(width: 20, height: 10)
    image.drawLine(from: Point(2, 3), to: Point(12, 3), red)
    #expect(count(image, red) == 11)
    image.drawLine(from: Point(5, 0), to: Point(5, 9), red)
    #expect(count(image, red) == 20)
    #expect(image.colour(x: 5, y: 9) == red)
  }

  @Test func whatLiesOutsideIsLeftOut() throws {
    var image = try Image(width: 20, height: 10)
    image.drawLine(from: Point(-1e12, 5), to: Point(1e12, 5), red)
    #expect(count(image, red) == 20)
    image.drawLine(from: Point(.nan, 5), to: Point(3, .infinity), red)
    image.drawLine(from: Point(-50, -50), to: Point(-20, -1), red)
    image.drawRectangle(Rectangle(x: -100, y: -100, width: 300, height: 300), red)
    image.fillRectangle(Rectangle(x: 1e300, y: 0, width: 1e300, height: 5), red)
    image.fillCircle(centre: Point(-40, 3), radius: 10, red)
    image.drawText("FAR", x: .max - 2, y: .min, red)
    image.paste(image, x: .max, y: 4)
    image.paste(image, x: -1000, y: -1000)
    #expect(count(image, red) == 20)
  }

  @Test func shapes() throws {
    var image = try Image(width: 20, height: 10)
    image.fillRectangle(Rectangle(x: 2, y: 2, width: 4, height: 3), red)
    #expect(count(image, red) == 12)
    image.drawRectangle(Rectangle(x: 10, y: 2, width: 4, height: 3), red)
    #expect(count(image, red) == 12 + 14)
    var disc = try Image(width: 41, height: 41)
    disc.fillCircle(centre: Point(20, 20), radius: 15, red)
    #expect(abs(count(disc, red) - 707) < 15)
  }

  @Test func textDrawsDistinctLegibleGlyphs() throws {
    func glyph(_ text: String, scale: Int = 1) throws -> Image {
      var image = try Image(width: 6 * scale, height: 8 * scale)
      image.drawText(text, x: 0, y: 0, red, scale: scale)
      return image
    }
    let all = try "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".map { try glyph(String($0)).pixels }
    #expect(Set(all).count == 36)
    #expect(try glyph("a") == glyph("A"))
    #expect(count(try glyph("1"), red) * 9 == count(try glyph("1", scale: 3), red))
    #expect(count(try glyph("é"), red) > 0)
  }

  @Test func contactSheet() throws {
    let images = try (0..<5).map { try Image(width: 10, height: 8, fill: Colour(UInt8($0 + 1), 0, 0)) }
    let sheet = try ContactSheet.compose(images, columns: 3, gap: 2)
    #expect(sheet.width == 3 * 12 + 2)
    #expect(sheet.height == 2 * 10 + 2)
    #expect(sheet.colour(x: 2, y: 2) == Colour(1, 0, 0))
    #expect(sheet.colour(x: 14, y: 12) == Colour(5, 0, 0))
    #expect(sheet.colour(x: 26, y: 12) == .white)
    let captioned = try ContactSheet.compose(images, columns: 2, captions: ["7"])
    #expect(count(captioned, .black) > 5)
    #expect(imageError { () throws(ImageError) in try ContactSheet.compose([], columns: 3) }?.kind == .empty)
    #expect(imageError { () throws(ImageError) in try ContactSheet.compose(images, columns: 0) }?.kind == .sizeMismatch)
    #expect(try ContactSheet.compose(images, columns: .max).width == 5 * 14 + 4)
  }
}
