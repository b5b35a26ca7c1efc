import Glibc
import Imaging
import Testing

@testable import SyntheticFaces

@Suite struct FaceGeneratorTests {
  let generator = FaceGenerator(seed: 5)

  @Test func theSameKeysGiveTheSameBytes() throws {
    let other = FaceGenerator(seed: 5)
    let encoder = try JPEGEncoder()
    for (identity, index) in [(0, 0), (3, 1), (1_000_000, 7), (-4, -9), (.max, .min)] {
      let first = generator.crop(identity: identity, index: index)
      #expect(first == other.crop(identity: identity, index: index))
      #expect(first.width == 112 && first.height == 112)
      #expect(
        try generator.jpeg(identity: identity, index: index)
          == other.jpeg(identity: identity, index: index, encoder: encoder))
    }
    #expect(generator.crop(identity: 3, index: 1) != generator.crop(identity: 3, index: 2))
    #expect(generator.crop(identity: 3, index: 1) != generator.crop(identity: 4, index: 1))
    #expect(generator.crop(identity: 3, index: 1) != FaceGenerator(seed: 6).crop(identity: 3, index: 1))
  }

  @Test func threadsAndOrderDoNotMatter() {
    final class Work {
      let share: UnsafeMutableBufferPointer<Image?>
      let generator: FaceGenerator
      let first: Int
      init(_ share: UnsafeMutableBufferPointer<Image?>, _ generator: FaceGenerator, _ first: Int) {
        self.share = share
        self.generator = generator
        self.first = first
      }
    }
    // Each thread writes its own slots only; they are read after all have ended.
    let slots = UnsafeMutableBufferPointer<Image?>.allocate(capacity: 24)
    slots.initialize(repeating: nil)
    defer {
      slots.deinitialize()
      slots.deallocate()
    }
    var threads: [pthread_t] = []
    for first in 0..<3 {
      var thread = pthread_t()
      let work = Unmanaged.passRetained(Work(slots, generator, first))
      let status = pthread_create(
        &thread, nil,
        { raw in
          guard let raw else { return nil }
          let work = Unmanaged<Work>.fromOpaque(raw).takeRetainedValue()
          // Backwards, so that the order differs from the one below.
          for slot in stride(from: work.first + 21, through: work.first, by: -3) {
            work.share[slot] = work.generator.crop(identity: slot / 4, index: slot % 4)
          }
          return nil
        }, work.toOpaque())
      #expect(status == 0)
      if status == 0 { threads.append(thread) } else { work.release() }
    }
    for thread in threads { pthread_join(thread, nil) }
    for slot in 0..<24 { #expect(slots[slot] == generator.crop(identity: slot / 4, index: slot % 4)) }
  }

  /// The data set must stay the same from build to build and from machine to machine; a mean colour tells without being
  /// upset by the last bit of a sine.
  @Test(arguments: SyntheticGolden.means)
  func picturesStayTheSame(golden: SyntheticGolden.Mean) {
    let image = FaceGenerator(seed: 1).crop(identity: golden.identity, index: golden.index)
    var sums = [0, 0, 0]
    for (position, value) in image.pixels.enumerated() { sums[position % 3] += Int(value) }
    let means = sums.map { Double($0) / 12544 }
    for channel in 0..<3 { #expect(abs(means[channel] - golden.rgb[channel]) < 0.5, "\(golden) is \(means)") }
  }

  @Test func landmarksOfCropsMeetTheTemplate() {
    let frontal = FaceGenerator(seed: 5, difficulty: .studio)
    for identity in 0..<50 {
      for (point, expected) in zip(frontal.cropLandmarks(identity: identity, index: 0), FaceTemplate.arcFace112) {
        #expect(hypot(point.x - expected.x, point.y - expected.y) < 7, "identity \(identity)")
      }
      var sum = 0.0
      for index in 0..<4 {
        for (point, expected) in zip(generator.cropLandmarks(identity: identity, index: index), FaceTemplate.arcFace112)
        {
          sum += hypot(point.x - expected.x, point.y - expected.y)
        }
      }
      #expect(sum / 20 < 8, "identity \(identity)")
    }
  }

  @Test func eyesAreWhereTheLandmarksSay() {
    // In even light the pupil is far darker than the white of the eye beside it.
    let studio = FaceGenerator(seed: 5, difficulty: .studio)
    var found = 0
    for identity in 0..<30 {
      let image = studio.crop(identity: identity, index: 0)
      for eye in studio.cropLandmarks(identity: identity, index: 0).prefix(2) {
        func level(_ dx: Int) -> Int {
          let colour = image.colour(x: Int(eye.x.rounded()) + dx, y: Int(eye.y.rounded()))
          return colour.map { Int($0.red) + Int($0.green) + Int($0.blue) } ?? 0
        }
        if level(0) + 60 < max(level(5), level(-5), level(6), level(-6)) { found += 1 }
      }
    }
    #expect(found >= 48, "\(found) of 60")
  }

  @Test func absurdDifficultiesDoNotCrash() {
    var difficulty = Difficulty.standard
    difficulty.yaw = .infinity
    difficulty.exposure = .nan
    difficulty.colourCast = 1e30
    difficulty.blur = 1e9
    difficulty.noise = -3
    difficulty.scaleJitter = -1e20
    difficulty.lowestQuality = .min
    let image = FaceGenerator(seed: 1, difficulty: difficulty).crop(identity: 0, index: 0)
    #expect(image.pixels.count == 3 * 112 * 112)
  }

  @Test func contactSheetHoldsEveryCrop() throws {
    let sheet = try generator.contactSheet(identities: 2..<4, images: 0..<3)
    #expect(sheet.width == 3 * 116 + 4)
    #expect(try sheet.cropped(x: 4 + 116, y: 4, width: 112, height: 112) == generator.crop(identity: 2, index: 1))
    #expect(throws: ImageError.self) { try generator.contactSheet(identities: 0..<0, images: 0..<3) }
  }
}

@Suite struct SyntheticDifficultyTests {
  /// Accuracy of the best threshold on the cosine of raw pixels, over as many pairs of one as of two people.
  private func accuracy(_ vectors: [[[Float]]], pairs: Int) -> Double {
    func dot(_ a: [Float], _ b: [Float]) -> Float {
      a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
          var sums = SIMD8<Float>.zero
          for index in stride(from: 0, to: a.count - 7, by: 8) {
            for lane in 0..<8 { sums[lane] += a[index + lane] * b[index + lane] }
          }
          return sums.sum()
        }
      }
    }
    var state = KeyedRandom(seed: 77, .scene)
    var scores: [(Float, Bool)] = []
    for number in 0..<pairs {
      let isSame = number % 2 == 0
      let first = state.index(vectors.count)
      let second = isSame ? first : (first + 1 + state.index(vectors.count - 1)) % vectors.count
      let picture = state.index(vectors[first].count)
      let other =
        isSame
        ? (picture + 1 + state.index(vectors[first].count - 1)) % vectors[first].count
        : state.index(vectors[second].count)
      scores.append((dot(vectors[first][picture], vectors[second][other]), isSame))
    }
    scores.sort { $0.0 > $1.0 }
    var correct = pairs / 2
    var best = correct
    for score in scores {
      correct += score.1 ? 1 : -1
      best = max(best, correct)
    }
    return Double(best) / Double(pairs)
  }

  /// Unit vectors of the pixels, averaged over 2×2 blocks to be quick; the accuracy hardly changes by it.
  private func vector(_ image: Image, centred: Bool) -> [Float] {
    let half = (try? image.resized(width: 56, height: 56)) ?? image
    var values = half.pixels.map(Float.init)
    if centred {
      let mean = values.reduce(0, +) / Float(values.count)
      for index in values.indices { values[index] -= mean }
    }
    var square: Float = 0
    for value in values { square += value * value }
    let scale = 1 / max(1e-6, square.squareRoot())
    for index in values.indices { values[index] *= scale }
    return values
  }

  @Test func rawPixelsVerifyPoorly() {
    let generator = FaceGenerator(seed: 1)
    var plain: [[[Float]]] = []
    var centred: [[[Float]]] = []
    for identity in 50_000..<50_060 {
      let images = (0..<6).map { generator.crop(identity: identity, index: $0) }
      plain.append(images.map { vector($0, centred: false) })
      centred.append(images.map { vector($0, centred: true) })
    }
    let best = max(accuracy(plain, pairs: 2000), accuracy(centred, pairs: 2000))
    #expect(best < 0.75)
    // Below this nothing of the person would be left to see.
    #expect(best > 0.58)
  }

  @Test func withoutNuisanceRawPixelsTellPeopleApart() {
    // The identities themselves must lie far apart: only what varies between pictures makes them hard.
    let generator = FaceGenerator(seed: 1, difficulty: .studio)
    let vectors = (0..<60).map { identity in
      (0..<3).map { vector(generator.crop(identity: identity, index: $0), centred: true) }
    }
    #expect(accuracy(vectors, pairs: 1000) > 0.9)
  }
}

@Suite struct SceneTests {
  @Test func scenesAreDeterministicAndFull() throws {
    let generator = FaceGenerator(seed: 9)
    let scene = try generator.scene(index: 4, width: 320, height: 240, faces: 2...5)
    let again = try generator.scene(index: 4, width: 320, height: 240, faces: 2...5)
    #expect(scene.image == again.image)
    #expect(scene.image.width == 320 && scene.image.height == 240)
    #expect((1...5).contains(scene.faces.count))
    #expect(try generator.scene(index: 5, width: 320, height: 240, faces: 2...5).image != scene.image)
    #expect(try generator.scene(index: 4, width: 64, height: 64, faces: 0...0).faces.isEmpty)
  }

  @Test func noFaceHidesAnother() throws {
    let generator = FaceGenerator(seed: 3)
    for index in 0..<20 {
      let boxes = try generator.scene(index: index, width: 160, height: 160, faces: 8...8).faces.map(\.box)
      for (number, box) in boxes.enumerated() {
        #expect(boxes[..<number].allSatisfy { $0.intersectionOverSmaller(box) < 0.1 })
      }
    }
  }

  @Test func landmarksLieInsideTheBoxAndInOrder() throws {
    let generator = FaceGenerator(seed: 9)
    var seen = 0
    for index in 0..<12 {
      let scene = try generator.scene(index: index, width: 400, height: 300, faces: 1...6)
      for face in scene.faces {
        seen += 1
        #expect(face.landmarks5.count == 5)
        #expect(face.landmarks68.count == 68)
        let margin = 0.15 * face.box.width
        for point in face.landmarks68 + face.landmarks5 {
          #expect(point.x > face.box.x - margin && point.x < face.box.x + face.box.width + margin)
          #expect(point.y > face.box.y - margin && point.y < face.box.y + face.box.height + margin)
        }
        let centre = Point(face.box.x + face.box.width / 2, face.box.y + face.box.height / 2)
        #expect(centre.x > 0 && centre.x < 400 && centre.y > 0 && centre.y < 300)
        // The two schemes agree: eyes, nose and mouth corners.
        let eye = face.landmarks68[36..<42]
        let middle = Point(eye.map(\.x).reduce(0, +) / 6, eye.map(\.y).reduce(0, +) / 6)
        let unit = face.box.width / 90
        #expect(hypot(middle.x - face.landmarks5[0].x, middle.y - face.landmarks5[0].y) < 4 * unit)
        #expect(
          hypot(face.landmarks68[48].x - face.landmarks5[3].x, face.landmarks68[48].y - face.landmarks5[3].y) < 5 * unit
        )
        #expect(
          hypot(face.landmarks68[54].x - face.landmarks5[4].x, face.landmarks68[54].y - face.landmarks5[4].y) < 5 * unit
        )
        // Turned upright, left is left of right and brows are above eyes above mouth.
        #expect(face.landmarks5[0].x < face.landmarks5[1].x)
        #expect(face.landmarks5[0].y < face.landmarks5[3].y)
        #expect(face.landmarks68[19].y < face.landmarks68[37].y)
        #expect(face.landmarks68[8].y > face.landmarks68[57].y)
      }
    }
    #expect(seen > 15)
  }

  @Test func aFaceOfASceneAlignsToACrop() throws {
    // Aligning by the landmarks must bring the eyes to the template: dark pupils at its eye points.
    let generator = FaceGenerator(seed: 9, difficulty: .studio)
    var aligned = 0
    var dark = 0
    for index in 0..<24 {
      let scene = try generator.scene(index: index, width: 500, height: 500, faces: 1...2)
      for face in scene.faces where face.box.width > 90 {
        aligned += 1
        let crop = try scene.image.alignedFace(landmarks: face.landmarks5)
        func level(_ x: Double, _ y: Double) -> Int {
          crop.colour(x: Int(x), y: Int(y)).map { Int($0.red) + Int($0.green) + Int($0.blue) } ?? 0
        }
        let eyes = FaceTemplate.arcFace112.prefix(2)
        let around = eyes.map { eye in
          (-4...4).flatMap { dx in (-4...4).map { level(eye.x + Double(dx), eye.y + Double($0)) } }
        }
        if around.allSatisfy({ ($0.max() ?? 0) - ($0.min() ?? 0) > 150 }) { dark += 1 }
      }
    }
    #expect(aligned >= 3)
    #expect(dark == aligned)
  }

  @Test func impossibleScenesAreErrors() {
    let generator = FaceGenerator(seed: 9)
    #expect(throws: ImageError.self) { try generator.scene(index: 0, width: 0, height: 100, faces: 1...1) }
    #expect(throws: ImageError.self) { try generator.scene(index: 0, width: .max, height: .max, faces: 1...1) }
    #expect(throws: ImageError.self) { try generator.scene(index: 0, width: 16384, height: 16384, faces: 1...1) }
    #expect(throws: ImageError.self) { try generator.scene(index: 0, width: 100, height: 100, faces: -1...1) }
    #expect(throws: ImageError.self) { try generator.scene(index: 0, width: 100, height: 100, faces: 0...5000) }
    #expect(throws: ImageError.self) {
      try generator.scene(index: 0, width: 100, height: 100, faces: 1...1, identities: 0)
    }
  }
}
