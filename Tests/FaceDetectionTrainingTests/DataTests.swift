import FaceDetection
import Formats
import Foundation
import Imaging
import Jobs
import Testing
import Training

@testable import FaceDetectionTraining

@Suite struct DataTests {
  @Test func mirroringSwapsSides() {
    let face = TrainingFace(
      box: SIMD4(10, 5, 30, 40),
      landmarks: [SIMD2(15, 15), SIMD2(25, 16), SIMD2(20, 22), SIMD2(16, 30), SIMD2(24, 31)])
    let mirrored = face.mirrored(width: 100)
    #expect(mirrored.box == SIMD4(69, 5, 89, 40))
    #expect(
      mirrored.landmarks == [SIMD2(74, 16), SIMD2(84, 15), SIMD2(79, 22), SIMD2(75, 31), SIMD2(83, 30)])
    #expect(mirrored.mirrored(width: 100) == face)
  }

  @Test func samplesSurviveTheirLayout() {
    let layout = SampleLayout(imageSize: 32, faceCapacity: 3)
    let faces = [
      TrainingFace(box: SIMD4(1, 2, 3, 4), landmarks: (0..<5).map { SIMD2(Float($0), 7) }),
      TrainingFace(box: SIMD4(-5, 2, 3.5, 4)),
    ]
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.sampleSize, alignment: 16)
    defer { memory.deallocate() }
    let colours = ColourMap(values: (0..<12).map { Float($0) })
    layout.write(faces, colours, to: memory)
    let read = layout.read(UnsafeRawBufferPointer(memory))
    #expect(read.faces == faces)
    #expect(read.colours.values == colours.values)
    layout.write(faces + faces, .identity, to: memory)
    #expect(layout.read(UnsafeRawBufferPointer(memory)).faces.count == 3)
  }

  /// The map of a whole image against the reference's steps, pixel by pixel.
  @Test func coloursChangeAsInTheReference() {
    let pixels: [SIMD3<Double>] = [SIMD3(10, 200, 30), SIMD3(90, 80, 250), SIMD3(0, 5, 100)]
    let mean = pixels.reduce(.zero, +) / 3
    var random = DrawSequence(CounterRandom(1, 2, 3))
    let map = ColourMap.jittered(strength: 0.4, isWide: true, mean: mean, random: &random)
    var again = DrawSequence(CounterRandom(1, 2, 3))
    var expected = pixels
    let grey = SIMD3(0.114, 0.587, 0.299)
    for kind in again.shuffled([0, 1, 2]) {
      let alpha = 1 + (2 * again.uniform() - 1) * 0.4
      let luma = expected.map { (grey * $0).sum() }
      switch kind {
      case 0: expected = expected.map { $0 * alpha }
      case 1: expected = expected.map { $0 * alpha + (1 - alpha) * luma.reduce(0, +) / 3 }
      default: expected = zip(expected, luma).map { $0 * alpha + (1 - alpha) * $1 }
      }
    }
    for (pixel, goal) in zip(pixels, expected) {
      for row in 0..<3 {
        let value =
          (0..<3).reduce(Double(map.values[9 + row])) { $0 + Double(map.values[3 * row + $1]) * pixel[$1] }
        #expect(abs(value - goal[row]) < 1e-3)
      }
    }
  }

  @Test func cutsKeepFacesWhereTheyAre() throws {
    // A white square on black is the face; after cutting and mirroring it lies where the box says.
    var image = try Image(width: 200, height: 120)
    image.withPixels { pixels in
      for y in 40..<70 { for x in 130..<160 { for k in 0..<3 { pixels[3 * (y * 200 + x) + k] = 255 } } }
    }
    let face = TrainingFace(box: SIMD4(130, 40, 159, 69))
    let augmentation = DetectionAugmentation(colourStrength: 0)
    let size = 96
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * size * size)
    defer { memory.deallocate() }
    for seed in 0..<20 {
      var random = DrawSequence(CounterRandom(UInt64(seed)))
      let result = augmentation.apply(
        image, [face], mirrors: seed % 2 == 1, size: size, random: &random, into: memory)
      guard let moved = result.faces.first else { continue }
      let bright = (0..<size * size).filter { memory[3 * $0] > 127 }
      let columns = bright.map { Float($0 % size) }
      let rows = bright.map { Float($0 / size) }
      let inside = SIMD4(max(0, moved.box[0]), max(0, moved.box[1]), min(95, moved.box[2]), min(95, moved.box[3]))
      // A pixel of the photo is several here, and the box counts whole ones.
      let slack = Float(96) / 36 + 1
      #expect(abs((columns.min() ?? -99) - inside[0]) <= slack)
      #expect(abs((columns.max() ?? -99) - inside[2]) <= slack)
      #expect(abs((rows.min() ?? -99) - inside[1]) <= slack)
      #expect(abs((rows.max() ?? -99) - inside[3]) <= slack)
    }
  }

  @Test func bothLayoutsAreRead() throws {
    try Fixtures.withFolder { folder in
      try Fixtures.writeScenes(folder)
      let photos = try LabelledPhotos(folder: folder)
      #expect(photos.labels.images.count == 6)
      let source = try PhotoSource(photos, imageSize: 64, augmentation: DetectionAugmentation(), mirrors: true)
      #expect(source.count == 12)
      try FileManager.default.createDirectory(
        atPath: "\(folder)/official/WIDER_train", withIntermediateDirectories: true)
      try FileManager.default.moveItem(atPath: "\(folder)/images", toPath: "\(folder)/official/WIDER_train/images")
      let text = "a/0.jpg\n2\n10 10 30 40 0 0 0 0 0 0\n50 50 20 20 0 0 0 1 0 0\na/1.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
      try text.write(
        toFile: "\(folder)/official/wider_face_train_bbx_gt.txt", atomically: true, encoding: .utf8)
      let official = try LabelledPhotos(folder: "\(folder)/official")
      let other = try PhotoSource(official, imageSize: 64, augmentation: DetectionAugmentation(), mirrors: false)
      #expect(other.count == 1)
      #expect(other.layout.faceCapacity == 1, "an invalid face is left out")
    }
  }

  @Test func loadingIsTheSameForAnyThreads() throws {
    try Fixtures.withFolder { folder in
      try Fixtures.writeScenes(folder)
      let source = try PhotoSource(
        LabelledPhotos(folder: folder), imageSize: 64, augmentation: DetectionAugmentation(), mirrors: true)
      func batches(_ threads: Int) throws -> [[UInt8]] {
        let loader = try BatchLoader(source, .init(batchSize: 4, seed: 9, threads: threads))
        defer { loader.stop() }
        return try (0..<4).map { _ in
          let batch = try loader.next()
          return (0..<4).flatMap { index in
            // What stands behind the last face is not written.
            let base = index * source.sampleSize
            let used = source.layout.pixelBytes + 52 + Int(batch.labels[index]) * 60
            return Array(batch.pixels.bytes[base..<base + used])
          }
        }
      }
      let (one, three) = (try batches(1), try batches(3))
      #expect(one == three)
      #expect(one[0] != one[1])
    }
  }

  @Test func badLabelsAreNamed() throws {
    try Fixtures.withFolder { folder in
      #expect { try LabelledPhotos(folder: folder) } throws: { "\($0)".contains("label.txt") }
      try "# a.jpg\n1 2 three 4\n".write(toFile: "\(folder)/label.txt", atomically: true, encoding: .utf8)
      #expect { try LabelledPhotos(folder: folder) } throws: { "\($0)".contains("images") }
      try FileManager.default.createDirectory(atPath: "\(folder)/images", withIntermediateDirectories: true)
      #expect { try LabelledPhotos(folder: folder) } throws: { "\($0)".contains("three") }
      let crowd = "# a.jpg\n" + String(repeating: "1 1 5 5\n", count: 8193)
      try crowd.write(toFile: "\(folder)/label.txt", atomically: true, encoding: .utf8)
      let crowded = try LabelledPhotos(folder: folder)
      #expect {
        try PhotoSource(crowded, imageSize: 64, augmentation: DetectionAugmentation(), mirrors: true)
      } throws: { "\($0)".contains("8193 faces") }
      try "# a.jpg\n10 10 0 0\n".write(toFile: "\(folder)/label.txt", atomically: true, encoding: .utf8)
      let photos = try LabelledPhotos(folder: folder)
      #expect(photos.labels.skipped.count == 1)
      #expect {
        try PhotoSource(photos, imageSize: 64, augmentation: DetectionAugmentation(), mirrors: true)
      } throws: { "\($0)".contains("no photo has a face") }
    }
  }
}
