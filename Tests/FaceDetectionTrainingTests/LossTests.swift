import FaceDetection
import Formats
import Testing

@testable import FaceDetectionTraining

/// Against MXNet's own operators: scripts/fixtures/detection_training.py.
@Suite struct LossTests {
  private static let size = 160
  private static let anchors = ReferenceNetwork.net3.levels

  private static func values(_ count: Int, seed: Int) -> [Float] {
    (0..<count).map { index in
      let hashed = ((UInt64(index) + UInt64(seed * 1_000_003)) &* 2_654_435_761 &+ 12345) & 0xffff_ffff
      return Float(Double(hashed >> 8) / 4_194_304 - 2)
    }
  }

  private static func heads(_ batch: Int) -> [MultiTaskLoss.Head] {
    anchors.enumerated().map { place, level in
      let side = size / level.stride
      let cells = batch * 2 * side * side
      return MultiTaskLoss.Head(
        scores: values(2 * cells, seed: 3 * place), boxes: values(4 * cells, seed: 3 * place + 1),
        landmarks: values(10 * cells, seed: 3 * place + 2))
    }
  }

  private static func faces(_ file: Safetensors) throws -> [[TrainingFace]] {
    try (0..<2).map { image in
      let numbers = try file.tensor(named: "faces.\(image)").floats()
      return stride(from: 0, to: numbers.count, by: 15).map { start in
        let row = Array(numbers[start..<start + 15])
        return TrainingFace(
          box: SIMD4(row[0], row[1], row[2], row[3]),
          landmarks: row[14] > 0 ? (0..<5).map { SIMD2(row[4 + 2 * $0], row[5 + 2 * $0]) } : nil)
      }
    }
  }

  @Test func targetsAreThoseOfTheReference() throws {
    let file = try Fixtures.golden("targets.safetensors")
    let faces = try Self.faces(file)
    let assigned = faces.map { AnchorAssignment($0, anchors: Self.anchors, imageSize: Self.size) }
    for (index, level) in Self.anchors.enumerated() {
      let expected = try file.tensor(named: "labels.\(level.stride)").floats().map { Int8($0) }
      #expect(assigned.flatMap { $0.levels[index].labels } == expected, "stride \(level.stride)")
      let places = try file.tensor(named: "at.\(level.stride)").floats().map { Int($0) }
      let boxes = try file.tensor(named: "box.\(level.stride)").floats()
      let landmarks = try file.tensor(named: "landmark.\(level.stride)").floats()
      #expect(places.count > 0)
      for row in 0..<places.count / 2 {
        let (image, anchor) = (places[2 * row], places[2 * row + 1])
        let own = assigned[image].levels[index]
        let plane = own.width * own.height
        let face = faces[image][Int(own.faces[anchor])]
        let box = MultiTaskLoss.box(level, anchor / plane, anchor % plane, width: own.width)
        let target = RegressionTarget.box(face.box, box)
        for k in 0..<4 { #expect(abs(target[k] - boxes[4 * row + k]) < 1e-6) }
        for (number, point) in (face.landmarks ?? []).enumerated() {
          let target = RegressionTarget.landmark(point, box)
          #expect(abs(target.x - landmarks[10 * row + 2 * number]) < 1e-6)
          #expect(abs(target.y - landmarks[10 * row + 2 * number + 1]) < 1e-6)
        }
      }
    }
  }

  @Test func lossAndGradientsAreThoseOfMXNet() throws {
    let (targets, gradients) = (
      try Fixtures.golden("targets.safetensors"), try Fixtures.golden("gradients.safetensors")
    )
    let loss = MultiTaskLoss(anchors: Self.anchors, imageSize: Self.size, landmarkWeight: 2.5)
    let result = loss(Self.heads(2), try Self.faces(targets))
    let expected = try targets.tensor(named: "losses").floats()
    #expect(abs(result.parts.classes - Double(expected[0])) < 1e-5)
    #expect(abs(result.parts.boxes - Double(expected[1])) < 1e-5)
    #expect(abs(result.parts.landmarks - Double(expected[2])) < 1e-5)
    for (index, level) in Self.anchors.enumerated() {
      let mined = try targets.tensor(named: "mined.\(level.stride)").floats().map { Int8($0) }
      #expect(result.labels[index] == mined)
      let own = result.gradients[index]
      for (name, values) in [("scores", own.scores), ("boxes", own.boxes), ("landmarks", own.landmarks)] {
        let golden = try gradients.tensor(named: "\(name).\(level.stride)").floats()
        #expect(golden.count == values.count)
        let worst = zip(golden, values).map { abs($0 - $1) }.max() ?? .infinity
        #expect(worst < 1e-6, "\(name) of stride \(level.stride): \(worst)")
        #expect(golden.contains { $0 != 0 })
      }
    }
  }

  @Test func unknownLandmarksAndImagesWithoutFacesGiveNoLossOfTheirs() {
    let loss = MultiTaskLoss(anchors: Self.anchors, imageSize: Self.size, landmarkWeight: 2)
    let result = loss(Self.heads(2), [[TrainingFace(box: SIMD4(10, 10, 41, 41))], []])
    #expect(result.parts.boxes > 0)
    #expect(result.parts.landmarks == 0)
    #expect(result.gradients.allSatisfy { $0.landmarks.allSatisfy { $0 == 0 } })
    let none = loss(Self.heads(1), [[]])
    #expect(none.parts.positives == 0 && none.parts.boxes == 0 && none.parts.classes > 0)
  }

  @Test func absurdBoxesDoNotHarm() {
    let faces = [
      TrainingFace(box: SIMD4(-.infinity, 0, .infinity, 10)), TrainingFace(box: SIMD4(.nan, 0, 1, 1)),
      TrainingFace(box: SIMD4(1e8, 1e8, 2e8, 2e8)), TrainingFace(box: SIMD4(50, 50, 20, 20)),
    ]
    let assigned = AnchorAssignment(faces, anchors: Self.anchors, imageSize: Self.size)
    #expect(assigned.levels.allSatisfy { $0.labels.allSatisfy { $0 <= 0 } })
  }
}
