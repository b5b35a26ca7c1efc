import Glibc
import Testing

@testable import Imaging

@Suite struct DecodingTests {
  @Test(arguments: ["colour420", "colour444", "progressive", "gray", "odd", "cmyk"])
  func jpegEqualsTheGolden(name: String) throws {
    let expected = try Fixtures.image("\(name).expected.png")
    let image = try Fixtures.image("\(name).jpg")
    #expect(image == expected)
    #expect(
      try decode(Fixtures.bytes("\(name).jpg"), width: expected.width, height: expected.height) == expected.pixels)
  }

  @Test(arguments: ["rgb8", "gray8", "palette", "alpha", "rgb16", "gray16", "bilevel"])
  func pngEqualsTheGolden(name: String) throws {
    let image = try Fixtures.image("\(name).png")
    #expect(image.width == 20)
    #expect(image.height == 14)
    #expect(try image.pixels == Fixtures.bytes("\(name).rgb"))
  }

  @Test func headersAreReadWithoutDecoding() throws {
    func header(_ name: String) throws -> JPEGHeader {
      try Fixtures.bytes(name).withUnsafeBytesTyped { raw throws(ImageError) in try JPEGDecoder().header(raw) }
    }
    let odd = try header("odd.jpg")
    #expect(odd.width == 61)
    #expect(odd.height == 47)
    #expect(odd.colourSpace == .yCbCr)
    #expect(!odd.isProgressive)
    #expect(try header("gray.jpg").colourSpace == .gray)
    #expect(try header("cmyk.jpg").colourSpace == .cmyk)
    #expect(try header("progressive.jpg").isProgressive)
  }

  @Test func noBytes() {
    #expect(imageError { () throws(ImageError) in try Image.decode([]) }?.kind == .empty)
    #expect(imageError { () throws(ImageError) in try decode([], width: 1, height: 1) }?.kind == .empty)
  }

  @Test func garbage() {
    let bytes = (0..<500).map { UInt8(truncatingIfNeeded: $0 * 37 + 11) }
    #expect(imageError { () throws(ImageError) in try Image.decode(bytes) }?.kind == .unknownFormat)
    #expect(imageError { () throws(ImageError) in try decode(bytes, width: 2, height: 2) }?.kind == .unknownFormat)
    let error = imageError { () throws(ImageError) in try Image.decode([0xff, 0xd8] + bytes) }
    #expect([.truncated, .corrupt].contains(error?.kind))
  }

  @Test(arguments: ["colour420.jpg", "progressive.jpg", "gray.jpg", "rgb8.png", "rgb16.png"])
  func everyTruncationIsAnError(name: String) throws {
    let bytes = try Fixtures.bytes(name)
    for count in stride(from: 0, to: bytes.count - 12, by: max(1, bytes.count / 97)) {
      let error = imageError { () throws(ImageError) in try Image.decode(Array(bytes[..<count])) }
      #expect(error != nil, "\(count) of \(bytes.count) bytes decoded")
    }
    let error = imageError { () throws(ImageError) in try Image.decode(Array(bytes[..<(bytes.count / 2)])) }
    #expect(error?.kind == .truncated, "\(String(describing: error))")
  }

  @Test func aTruncatedJPEGDecodesWhenAllowed() throws {
    let bytes = try Fixtures.bytes("colour420.jpg")
    let whole = try Image.decode(bytes)
    let half = try Image.decode(Array(bytes[..<(bytes.count / 2)]), allowTruncated: true)
    #expect(half.pixels[..<(3 * 112 * 16)] == whole.pixels[..<(3 * 112 * 16)])
    #expect(half.pixels != whole.pixels)
  }

  @Test func flippedBitsNeverCrash() throws {
    for name in ["colour420.jpg", "progressive.jpg", "cmyk.jpg", "palette.png", "rgb16.png"] {
      let bytes = try Fixtures.bytes(name)
      var state: UInt64 = 7
      for _ in 0..<200 {
        var copy = bytes
        for _ in 0..<3 {
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          copy[Int(state >> 33) % copy.count] ^= UInt8(1) << UInt8(state >> 20 & 7)
        }
        if let image = try? Image.decode(copy, pixelLimit: 1 << 20) {
          #expect(image.pixels.count == 3 * image.width * image.height)
        }
      }
    }
  }

  @Test func aHugeHeaderIsRefusedBeforeMemoryIsTaken() throws {
    var bytes = try Fixtures.bytes("colour420.jpg")
    let frame = try #require((0..<bytes.count - 1).first { bytes[$0] == 0xff && bytes[$0 + 1] == 0xc0 })
    for offset in [5, 7] {
      bytes[frame + offset] = UInt8(30_000 >> 8)
      bytes[frame + offset + 1] = UInt8(30_000 & 255)
    }
    #expect(imageError { () throws(ImageError) in try Image.decode(bytes) }?.kind == .tooLarge)
    // Under a limit that would admit it, 5 KB still cannot hold 900 million pixels.
    let error = imageError { () throws(ImageError) in try Image.decode(bytes, pixelLimit: 1_000_000_000) }
    #expect(error?.kind == .truncated)
  }

  @Test func anotherSizeThanExpectedIsAnError() throws {
    let bytes = try Fixtures.bytes("odd.jpg")
    let error = imageError { () throws(ImageError) in try decode(bytes, width: 112, height: 112) }
    #expect(error?.kind == .sizeMismatch)
    #expect(error?.message.contains("61×47") == true)
  }

  @Test func aFileErrorNamesThePath() {
    let error = imageError { () throws(ImageError) in try Image.read(path: "/nowhere/at-all.jpg") }
    #expect(error?.kind == .system)
    #expect(error?.description.hasPrefix("/nowhere/at-all.jpg: ") == true)
    #expect(imageError { () throws(ImageError) in try Image.read(path: "/tmp") }?.kind == .system)
  }

  @Test func pngRoundTripIsLossless() throws {
    let image = try Fixtures.image("source.png")
    #expect(try Image.decode(image.png()) == image)
    let dot = try Image(width: 1, height: 1, fill: Colour(1, 2, 3))
    #expect(try Image.decode(dot.png()) == dot)
  }

  @Test func jpegRoundTripIsClose() throws {
    let image = try Fixtures.image("colour444.expected.png")
    let encoder = try JPEGEncoder()
    let fine = try Image.decode(encoder.encode(image, quality: 98, subsampling: .full444))
    let coarse = try Image.decode(encoder.encode(image, quality: 20, subsampling: .quarter420))
    #expect(try #require(largestDifference(fine, image)) <= 12)
    #expect(try #require(largestDifference(coarse, image)) > 12)
    #expect(try encoder.encode(image, quality: 98).count > encoder.encode(image, quality: 20).count)
    let gray = try Image.decode(encoder.encode(image, subsampling: .gray))
    #expect(gray.pixels[0] == gray.pixels[1] && gray.pixels[1] == gray.pixels[2])
  }

  @Test func writingChoosesTheFormatByName() throws {
    let image = try Fixtures.image("source.png")
    let path = "/tmp/imaging-test-\(getpid()).png"
    defer { unlink(path) }
    try image.write(path: path)
    #expect(try Image.read(path: path) == image)
    #expect(imageError { () throws(ImageError) in try image.write(path: "/tmp/x.bmp") }?.kind == .unsupported)
    #expect(imageError { () throws(ImageError) in try image.write(path: "/nowhere/x.png") }?.kind == .system)
  }

  @Test func imagesOfImpossibleSizeAreErrors() {
    #expect(imageError { () throws(ImageError) in try Image(width: 0, height: 4) }?.kind == .sizeMismatch)
    #expect(imageError { () throws(ImageError) in try Image(width: .max, height: 4) }?.kind == .tooLarge)
    #expect(
      imageError { () throws(ImageError) in try Image(width: 2, height: 2, pixels: [0]) }?.kind == .sizeMismatch)
  }
}
