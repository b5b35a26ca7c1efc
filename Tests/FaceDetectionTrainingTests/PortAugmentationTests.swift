import Foundation
import Imaging
import Jobs
import Testing

@testable import FaceDetectionTraining

@Suite struct PortAugmentationTests {
  private func apply(
    _ augmentation: PortAugmentation, _ image: Image, _ faces: [TrainingFace], seed: Int, size: Int = 96
  ) -> (faces: [TrainingFace], pixels: [UInt8]) {
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * size * size)
    defer { memory.deallocate() }
    var random = DrawSequence(CounterRandom(UInt64(seed)))
    let result = augmentation.apply(image, faces, mirrors: false, size: size, random: &random, into: memory)
    #expect(result.colours == PortAugmentation.input)
    return (result.faces, Array(memory))
  }

  @Test func cutsKeepFacesWhereTheyAre() throws {
    var image = try Image(width: 200, height: 120)
    image.withPixels { pixels in
      for y in 40..<70 { for x in 130..<160 { for k in 0..<3 { pixels[3 * (y * 200 + x) + k] = 255 } } }
    }
    // The eyes lie at the upper corners, so that mirroring without changing their places would show.
    let face = TrainingFace(
      box: SIMD4(130, 40, 160, 70),
      landmarks: [SIMD2(132, 42), SIMD2(158, 42), SIMD2(145, 55), SIMD2(135, 65), SIMD2(155, 65)])
    var widths: Set<Int> = []
    for seed in 0..<40 {
      let (faces, pixels) = apply(PortAugmentation(distortsColours: false), image, [face], seed: seed)
      let moved = try #require(faces.first)
      let bright = (0..<96 * 96).filter { pixels[3 * $0] > 127 }
      let (columns, rows) = (bright.map { Float($0 % 96) }, bright.map { Float($0 / 96) })
      for (places, low, high) in [(columns, moved.box[0], moved.box[2]), (rows, moved.box[1], moved.box[3])] {
        // A pixel of the photo is several here.
        #expect(abs((places.min() ?? -99) - low) <= 2 && abs((places.max() ?? -99) + 1 - high) <= 2, "\(seed)")
      }
      let eyes = try #require(moved.landmarks)
      #expect(eyes[0].x < eyes[1].x && eyes[3].x < eyes[4].x)
      widths.insert(Int(moved.box[2] - moved.box[0]))
    }
    #expect(widths.count > 1, "the share of the side is drawn")
  }

  @Test func photosWithoutAWholeFaceInASquareArePadded() throws {
    // A face wider than any square of the shorter side.
    var image = try Image(width: 200, height: 50)
    image.withPixels { pixels in for index in pixels.indices { pixels[index] = 200 } }
    let face = TrainingFace(box: SIMD4(20, 5, 180, 45))
    let augmentation = PortAugmentation(distortsColours: false, mirrors: false)
    let (faces, pixels) = apply(augmentation, image, [face], seed: 3, size: 100)
    #expect(faces == [face.moved(scale: 0.5, origin: .zero)])
    #expect(Array(pixels[3 * (10 * 100 + 50)..<3 * (10 * 100 + 50) + 3]) == [200, 200, 200])
    #expect(Array(pixels[3 * (90 * 100 + 50)..<3 * (90 * 100 + 50) + 3]) == [123, 117, 104])
  }

  /// The square is what the reference makes; here it would be 10 GiB.
  @Test func panoramasArePaddedWithoutTheirSquare() throws {
    func peak() throws -> Int {
      let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
      return try #require(line.split(separator: " ").dropFirst().first.flatMap { Int($0) }) << 10
    }
    let before = try peak()
    for (width, height) in [(10000, 20), (20, 10000), (60000, 20), (20, 60000)] {
      var image = try Image(width: width, height: height)
      image.withPixels { pixels in for index in pixels.indices { pixels[index] = 200 } }
      // Wider or higher than any square of the shorter side.
      let face = TrainingFace(box: SIMD4(0, 0, min(Float(width), 5000), min(Float(height), 5000)))
      let augmentation = PortAugmentation(distortsColours: false, mirrors: false)
      let (faces, pixels) = apply(augmentation, image, [face], seed: 1, size: 40)
      #expect(faces == [face.moved(scale: 40 / Float(max(width, height)), origin: .zero)])
      #expect(pixels.suffix(3) == [123, 117, 104])
    }
    #expect(try peak() - before < 4 << 30)
  }

  @Test(arguments: Resampling.allCases) func paddingIsThatOfAWholeSquare(method: Resampling) {
    for (width, height, size) in [(50, 9, 32), (9, 50, 32), (7, 4, 64), (4, 7, 64), (49, 50, 20), (50, 49, 50)] {
      let side = max(width, height)
      let border: [UInt8] = [123, 117, 104]
      let source = (0..<3 * width * height).map { UInt8(($0 * 37) % 251) }
      let square = (0..<3 * side * side).map { index in
        let (x, y) = (index / 3 % side, index / 3 / side)
        return x < width && y < height ? source[3 * (y * width + x) + index % 3] : border[index % 3]
      }
      for mirrors in [false, true] {
        let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * size * size)
        defer { memory.deallocate() }
        method.resize(square, side: side, to: size, mirrors: mirrors, into: memory)
        let whole = Array(memory)
        method.resize(
          source, width: width, height: height, border: border, to: size, mirrors: mirrors, into: memory)
        #expect(Array(memory) == whole, "\(width)×\(height) to \(size)")
      }
    }
  }

  @Test func everyWayOfResizingKeepsWhatIsFlat() {
    for method in Resampling.allCases {
      for (side, size) in [(7, 7), (5, 64), (100, 33), (64, 32)] {
        let taps = method.taps(side, to: size)
        #expect(taps.weights.allSatisfy { abs($0.reduce(0, +) - 1) < 1e-5 }, "\(method)")
        let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * size * size)
        defer { memory.deallocate() }
        let source = (0..<3 * side * side).map { UInt8([10, 130, 250][$0 % 3]) }
        method.resize(source, side: side, to: size, mirrors: false, into: memory)
        #expect((0..<3 * size * size).allSatisfy { memory[$0] == [10, 130, 250][$0 % 3] }, "\(method) \(side) \(size)")
      }
    }
    // A picture brought to its own size is itself.
    let source = (0..<3 * 64).map { UInt8($0) }
    for method in Resampling.allCases {
      let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * 64)
      defer { memory.deallocate() }
      method.resize(source, side: 8, to: 8, mirrors: false, into: memory)
      #expect(Array(memory) == source, "\(method)")
    }
  }

  /// Values of OpenCV's cvtColor.
  @Test func huesAreThoseOfOpenCV() {
    let known: [([UInt8], (Int, Int, Int))] = [
      ([255, 0, 0], (0, 255, 255)), ([0, 255, 0], (60, 255, 255)), ([0, 0, 255], (120, 255, 255)),
      ([255, 255, 0], (30, 255, 255)), ([128, 128, 128], (0, 0, 128)), ([200, 100, 50], (10, 191, 200)),
      ([10, 20, 200], (118, 242, 200)),
    ]
    for (colour, expected) in known {
      let found = ColourDistortion.hsv(colour[0], colour[1], colour[2])
      #expect(found == expected, "\(colour)")
    }
    for red in stride(from: 0, through: 255, by: 15) {
      for green in stride(from: 0, through: 255, by: 15) {
        for blue in stride(from: 0, through: 255, by: 15) {
          let back = ColourDistortion.rgb(ColourDistortion.hsv(UInt8(red), UInt8(green), UInt8(blue)))
          let worst = max(abs(Int(back.0) - red), abs(Int(back.1) - green), abs(Int(back.2) - blue))
          #expect(worst <= 5, "\(red) \(green) \(blue)")
        }
      }
    }
  }

  @Test func coloursVary() {
    let source = (0..<300).map { UInt8($0 % 251) }
    var seen: Set<[UInt8]> = []
    for seed in 0..<12 {
      var random = DrawSequence(CounterRandom(UInt64(seed)))
      var pixels = source
      ColourDistortion(&random).apply(&pixels)
      seen.insert(pixels)
    }
    #expect(seen.count > 6)
    var dark = ColourDistortion()
    dark.brightness = -32
    var pixels: [UInt8] = [10, 100, 200]
    dark.apply(&pixels)
    #expect(abs(Int(pixels[0])) <= 1 && abs(Int(pixels[1]) - 68) <= 1 && abs(Int(pixels[2]) - 168) <= 1)
  }
}
