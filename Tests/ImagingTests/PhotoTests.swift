import Foundation
import Testing

@testable import Imaging

/// What photos bring: EXIF orientation, WebP, hostile headers, borders.
@Suite struct PhotoTests {
  static let borders: [(String, Border)] = [
    ("constant", .constant(Colour(250, 140, 30))), ("replicate", .replicate), ("reflect", .reflect),
    ("reflect101", .reflect101), ("wrap", .wrap),
  ]

  @Test(arguments: borders)
  func warpBordersEqualOpenCV(name: String, border: Border) throws {
    let transform = SimilarityTransform(a: 0.31, b: -0.07, tx: 40.1, ty: 50.9)
    let image = try Fixtures.image("source.png").warped(transform, width: 96, height: 112, border: border)
    #expect(try largestDifference(image, Fixtures.image("border-\(name).png")) == 0)
  }

  @Test(arguments: [Border.reflect, .reflect101, .wrap, .replicate], [1, 2, 5])
  func bordersStayInside(border: Border, length: Int) {
    for position in -23...23 { #expect((0..<length).contains(border.position(position, length))) }
  }

  @Test(arguments: [0.5, 0.37, 1.7])
  func scalingByAFactorEqualsOpenCV(factor: Double) throws {
    let image = try Fixtures.image("source.png").resized(by: factor)
    #expect(try largestDifference(image, Fixtures.image("factor-\(factor).png")) == 0)
  }

  @Test func aPipeIsNoPhoto() throws {
    let path = NSTemporaryDirectory() + "pipe-\(UUID().uuidString).jpg"
    try #require(mkfifo(path, 0o600) == 0)
    defer { unlink(path) }
    // Whoever waits for a writer gets one, late: the test fails then and does not hang.
    DispatchQueue.global().asyncAfter(deadline: .now() + 20) { close(open(path, O_WRONLY | O_NONBLOCK)) }
    let began = ContinuousClock.now
    let error = imageError { () throws(ImageError) in try Image.read(path: path) }
    #expect(error?.kind == .system && error?.path == path && error?.message == "not a regular file")
    #expect(began.duration(to: .now) < .seconds(15))
  }

  @Test func impossibleFactorsAreErrors() throws {
    let source = try Fixtures.image("source.png")
    for factor in [0, -1, .nan, .infinity, 1e-9, 1e300] {
      #expect(imageError { () throws(ImageError) in try source.resized(by: factor) } != nil)
    }
  }

  @Test(arguments: Orientation.allCases)
  func orientationsAreAppliedAsOpenCVDoes(orientation: Orientation) throws {
    let bytes = try Fixtures.bytes("orientation-\(orientation.rawValue).jpg")
    let header = try bytes.withUnsafeBytesTyped { raw throws(ImageError) in try JPEGHeader(raw) }
    #expect(header.orientation == orientation)
    let image = try Image.decode(bytes, turnsUpright: true)
    #expect(try largestDifference(image, Fixtures.image("orientation-\(orientation.rawValue).png")) == 0)
    // Unasked, the picture stays as it is stored.
    #expect(try Image.decode(bytes).width == 23)
  }

  @Test func damagedOrientationsAreIgnored() throws {
    let bytes = try Fixtures.bytes("orientation-6.jpg")
    let start = try #require((0..<bytes.count - 4).first { bytes[$0..<$0 + 4].elementsEqual(Array("Exif".utf8)) })
    for position in start..<start + 32 {
      for value: UInt8 in [0, 1, 0x7f, 0xff] {
        var damaged = bytes
        damaged[position] = value
        #expect(try Image.decode(damaged, turnsUpright: true).pixels.count == 3 * 23 * 17)
      }
    }
  }

  @Test(
    .enabled(if: ImageLibraries.webP != nil, "libwebp is not installed"), arguments: ["lossy", "lossless", "alpha"])
  func webPEqualsOpenCV(name: String) throws {
    let image = try Fixtures.image("\(name).webp")
    #expect(try largestDifference(image, Fixtures.image("\(name).webp.png")) == 0)
  }

  @Test(.enabled(if: ImageLibraries.webP != nil, "libwebp is not installed"))
  func badWebPIsAnError() throws {
    let bytes = try Fixtures.bytes("lossy.webp")
    #expect(imageError { () throws(ImageError) in try Image.decode(Array(bytes.dropLast(50))) }?.kind == .truncated)
    let animated = try Fixtures.bytes("animated.webp")
    #expect(imageError { () throws(ImageError) in try Image.decode(animated) }?.kind == .unsupported)
    #expect(imageError { () throws(ImageError) in try Image.decode(bytes, pixelLimit: 100) }?.kind == .tooLarge)
    for position in stride(from: 12, to: min(120, bytes.count), by: 1) {
      var damaged = bytes
      damaged[position] ^= 0x55
      _ = imageError { () throws(ImageError) in try Image.decode(damaged) }
    }
  }

  @Test func hugeHeadersTakeNoMemory() throws {
    // A JPEG whose frame header says 30,000×30,000, and a PNG of that size.
    var jpeg = try Fixtures.bytes("colour420.jpg")
    let frame = try #require((0..<jpeg.count - 9).first { jpeg[$0] == 0xff && jpeg[$0 + 1] == 0xc0 })
    for (offset, value) in [(5, 0x75), (6, 0x30), (7, 0x75), (8, 0x30)] { jpeg[frame + offset] = UInt8(value) }
    #expect(imageError { () throws(ImageError) in try Image.decode(jpeg) }?.kind == .tooLarge)
    #expect(
      imageError { () throws(ImageError) in try Image.decode(jpeg, pixelLimit: 1_000_000_000) }?.kind == .truncated)
    let png = try Image(width: 2, height: 2).png()
    var huge = png
    for (offset, value) in [(16, 0), (17, 0), (18, 0x75), (19, 0x30), (20, 0), (21, 0), (22, 0x75), (23, 0x30)] {
      huge[offset] = UInt8(value)
    }
    #expect(imageError { () throws(ImageError) in try Image.decode(huge) } != nil)
  }

  @Test func textNamedJPEGIsAnUnknownFormat() {
    let text = Array("this is a letter, not a photo\n".utf8)
    #expect(imageError { () throws(ImageError) in try Image.decode(text) }?.kind == .unknownFormat)
  }

  @Test func narrowTemplateLacksTheShift() throws {
    let narrow = try FaceTemplate.arcFace(width: 96, height: 112)
    #expect(abs(narrow[0].x - 30.2946) < 1e-9 && narrow[0].y == 51.6963)
    #expect(imageError { () throws(ImageError) in try FaceTemplate.arcFace(width: 112, height: 96) } != nil)
    let wide = try FaceTemplate.arcFace(size: 256)
    #expect(abs(wide[4].x - (70.7299 * 2 + 16)) < 1e-9)
  }
}
