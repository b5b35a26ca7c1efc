import Testing

@testable import Imaging

@Suite struct GeometryTests {
  static let sizes = [("up", 112, 131), ("down", 31, 20), ("mixed", 150, 29), ("thin", 1, 1), ("half", 37, 29)]

  @Test(arguments: sizes)
  func bilinearEqualsOpenCV(name: String, width: Int, height: Int) throws {
    let image = try Fixtures.image("source.png").resized(width: width, height: height)
    #expect(try largestDifference(image, Fixtures.image("linear-\(name).png")) == 0)
  }

  @Test func bilinearHalvingEqualsOpenCV() throws {
    let image = try Fixtures.image("even.png").resized(width: 32, height: 20)
    #expect(try largestDifference(image, Fixtures.image("linear-even.png")) == 0)
  }

  @Test(arguments: sizes)
  func bicubicEqualsOpenCV(name: String, width: Int, height: Int) throws {
    let image = try Fixtures.image("source.png").resized(width: width, height: height, interpolation: .bicubic)
    let expected = try Fixtures.image("cubic-\(name).png")
    #expect(largestDifference(image, expected) == 0)
  }

  @Test(arguments: ["inside", "turned", "small", "large", "shift"])
  func warpEqualsOpenCV(name: String) throws {
    let transforms: [String: SimilarityTransform] = [
      "inside": .init(a: 0.9, b: 0.25, tx: 12.3, ty: 4.7), "turned": .init(a: -0.6, b: 0.9, tx: 60.25, ty: 30.5),
      "small": .init(a: 0.31, b: -0.07, tx: 40.1, ty: 50.9), "large": .init(a: 3.7, b: 0.4, tx: -90.6, ty: -70.2),
      "shift": .init(a: 1, b: 0, tx: -3.5, ty: 2.25),
    ]
    let transform = try #require(transforms[name])
    let image = try Fixtures.image("source.png").warped(transform, width: 112, height: 112)
    #expect(try largestDifference(image, Fixtures.image("warp-\(name).png")) == 0)
  }

  @Test func warpingFarOutsideIsBlack() throws {
    let source = try Fixtures.image("source.png")
    let far = try source.warped(.init(a: 1e-7, b: 0, tx: 1e9, ty: -1e9), width: 5, height: 4)
    #expect(far.pixels.allSatisfy { $0 == 0 })
    let nothing = SimilarityTransform(a: 0, b: 0, tx: 0, ty: 0)
    #expect(
      imageError { () throws(ImageError) in try source.warped(nothing, width: 5, height: 5) }?.kind == .sizeMismatch)
    let notANumber = SimilarityTransform(a: .nan, b: 0, tx: 0, ty: 0)
    #expect(
      imageError { () throws(ImageError) in try source.warped(notANumber, width: 5, height: 5) }?.kind == .sizeMismatch)
  }

  @Test func resizeShortFollowsTheShorterSide() throws {
    let wide = try Image(width: 250, height: 120).resizedShort(112)
    #expect(wide.width == 233)
    #expect(wide.height == 112)
    let tall = try Image(width: 120, height: 250).resizedShort(112)
    #expect(tall.width == 112)
    #expect(tall.height == 233)
    let cropped = try wide.centreCropped(width: 112, height: 112)
    #expect(cropped.width == 112 && cropped.height == 112)
    #expect(imageError { () throws(ImageError) in try wide.resizedShort(0) }?.kind == .sizeMismatch)
    #expect(imageError { () throws(ImageError) in try wide.resizedShort(.max) }?.kind == .sizeMismatch)
    #expect(
      imageError { () throws(ImageError) in try wide.centreCropped(width: 234, height: 1) }?.kind == .sizeMismatch)
  }

  @Test func croppingTakesTheRightPixels() throws {
    let source = try Fixtures.image("source.png")
    let part = try source.cropped(x: 10, y: 20, width: 7, height: 5)
    #expect(part.colour(x: 0, y: 0) == source.colour(x: 10, y: 20))
    #expect(part.colour(x: 6, y: 4) == source.colour(x: 16, y: 24))
    #expect(part.colour(x: 7, y: 4) == nil)
  }

  @Test(arguments: [(75, 58), (20, 14), (1, 3)])
  func flippingMirrorsAndReturns(width: Int, height: Int) throws {
    let source = try Fixtures.image("source.png").resized(width: width, height: height)
    let flipped = source.flippedHorizontally()
    for y in 0..<height {
      for x in 0..<width { #expect(flipped.colour(x: x, y: y) == source.colour(x: width - 1 - x, y: y)) }
    }
    #expect(flipped.flippedHorizontally() == source)
  }

  @Test func similarityRecoversAKnownTransform() throws {
    let truth = SimilarityTransform(a: 1.7, b: -0.4, tx: 12, ty: -30)
    let found = try SimilarityTransform(from: FaceTemplate.arcFace112, to: FaceTemplate.arcFace112.map(truth.apply))
    #expect(abs(found.a - truth.a) < 1e-12 && abs(found.b - truth.b) < 1e-12)
    #expect(abs(found.tx - truth.tx) < 1e-10 && abs(found.ty - truth.ty) < 1e-10)
    let back = try #require(truth.inverse)
    let point = back.apply(truth.apply(Point(3, 4)))
    #expect(abs(point.x - 3) < 1e-12 && abs(point.y - 4) < 1e-12)
  }

  @Test func similarityEqualsUmeyama() throws {
    // Points that no similarity fits exactly.
    let points = [Point(30.1, 60.2), Point(70.9, 48.8), Point(55, 75.5), Point(45.3, 99.1), Point(80.2, 90.7)]
    let found = try SimilarityTransform(from: points, to: FaceTemplate.arcFace112)
    let expected = UmeyamaGolden.transform
    #expect(abs(found.a - expected.a) < 1e-9 && abs(found.b - expected.b) < 1e-9)
    #expect(abs(found.tx - expected.tx) < 1e-7 && abs(found.ty - expected.ty) < 1e-7)
  }

  @Test func degenerateLandmarksAreErrors() {
    let same = [Point](repeating: Point(5, 5), count: 5)
    #expect(
      imageError { () throws(ImageError) in try SimilarityTransform(from: same, to: FaceTemplate.arcFace112) } != nil)
    let infinite = [Point(.infinity, 0), Point(1, 1), Point(2, 2), Point(3, 3), Point(4, 4)]
    #expect(
      imageError { () throws(ImageError) in
        try SimilarityTransform(from: infinite, to: FaceTemplate.arcFace112)
      } != nil)
    #expect(
      imageError { () throws(ImageError) in try SimilarityTransform(from: [Point(1, 2)], to: [Point(1, 2)]) } != nil)
    #expect(imageError { () throws(ImageError) in try FaceTemplate.arcFace(size: 100) } != nil)
  }

  @Test func aFaceOnTheTemplateAlignsToItself() throws {
    let image = try Fixtures.image("colour444.expected.png")
    #expect(try image.alignedFace(landmarks: FaceTemplate.arcFace112) == image)
  }
}
