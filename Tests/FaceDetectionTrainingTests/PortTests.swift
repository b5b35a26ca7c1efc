import FaceDetection
import Formats
import Foundation
import Testing
import Torch

@testable import FaceDetectionTraining

/// Against the PyTorch port's own code: scripts/fixtures/detection_port.py.
@Suite struct PortTests {
  private static func values(_ count: Int, seed: Int) -> [Float] {
    (0..<count).map { index in
      let hashed = ((UInt64(index) + UInt64(seed * 1_000_003)) &* 2_654_435_761 &+ 12345) & 0xffff_ffff
      return Float(Double(hashed >> 8) / 4_194_304 - 2)
    }
  }

  private static func face(_ row: [Float]) -> TrainingFace {
    TrainingFace(
      box: SIMD4(row[0], row[1], row[2], row[3]),
      landmarks: row[14] > 0 ? (0..<5).map { SIMD2(row[4 + 2 * $0], row[5 + 2 * $0]) } : nil)
  }

  private static func faces(_ file: Safetensors) throws -> [[TrainingFace]] {
    try (0..<2).map { image in
      let numbers = try file.tensor(named: "faces.\(image)").floats()
      return stride(from: 0, to: numbers.count, by: 15).map { face(Array(numbers[$0..<$0 + 15])) }
    }
  }

  private static func result() throws -> (MultiBoxLoss, MultiBoxLoss.Result, [[TrainingFace]], Safetensors) {
    let file = try Fixtures.golden("port-targets.safetensors")
    let faces = try faces(file)
    let loss = MultiBoxLoss(imageSize: 160)
    let count = 2 * loss.priors.boxes.count
    let scores = zip(values(2 * count, seed: 1), values(2 * count, seed: 7)).map { $0 * $1 }
    let outputs = MultiBoxLoss.Outputs(
      boxes: values(4 * count, seed: 0), scores: scores, landmarks: values(10 * count, seed: 2))
    return (loss, loss(outputs, faces), faces, file)
  }

  @Test func matchesAndTargetsAreThoseOfThePort() throws {
    let (loss, result, faces, file) = try Self.result()
    #expect(loss.priors.boxes.count == 1050)
    let expected = try file.tensor(named: "labels").floats().map { Int8($0) }
    #expect(result.matches.flatMap(\.labels) == expected)
    let places = try file.tensor(named: "at").floats().map { Int($0) }
    let (boxes, landmarks) = (
      try file.tensor(named: "box").floats(), try file.tensor(named: "landmark").floats()
    )
    #expect(places.count == 2 * 192)
    for row in 0..<places.count / 2 {
      let (image, prior) = (places[2 * row], places[2 * row + 1])
      let face = faces[image][Int(result.matches[image].faces[prior])]
      let target = PriorMatching.encode(face.box / 160, loss.priors.boxes[prior])
      for k in 0..<4 { #expect(abs(target[k] - boxes[4 * row + k]) < 1e-4) }
      for (number, point) in (face.landmarks ?? []).enumerated() {
        let target = PriorMatching.encode(point / 160, loss.priors.boxes[prior])
        #expect(abs(target.x - landmarks[10 * row + 2 * number]) < 1e-4)
        #expect(abs(target.y - landmarks[10 * row + 2 * number + 1]) < 1e-4)
      }
    }
  }

  @Test func lossAndGradientsAreThoseOfThePort() throws {
    let (_, result, _, file) = try Self.result()
    let expected = try file.tensor(named: "losses").floats().map(Double.init)
    #expect(abs(result.parts.boxes - 2 * expected[0]) < 1e-4 * expected[0])
    #expect(abs(result.parts.classes - expected[1]) < 1e-4 * expected[1])
    #expect(abs(result.parts.landmarks - expected[2]) < 1e-4 * expected[2])
    #expect(result.parts.positives == 192)
    let golden = try Fixtures.golden("port-gradients.safetensors")
    let own = result.gradients
    for (name, values) in [("boxes", own.boxes), ("scores", own.scores), ("landmarks", own.landmarks)] {
      let expected = try golden.tensor(named: name).floats()
      #expect(expected.count == values.count)
      let worst = zip(expected, values).map { abs($0 - $1) }.max() ?? .infinity
      #expect(worst < 1e-6, "\(name): \(worst)")
      #expect(expected.contains { $0 != 0 })
    }
  }

  private struct NetworkGolden: Decodable {
    var losses: [Double]
    var faces: [[[Float]]]
    var gradients: [String: [Double]]
  }

  @Test func gradientsOfTheWholeNetworkAreThoseOfThePort() throws {
    let path = Fixtures.root.appendingPathComponent("Tests/Fixtures/detection-training/port-network.json")
    let golden = try JSONDecoder().decode(NetworkGolden.self, from: Data(contentsOf: path))
    let size = 64
    let model = try DetectorNetwork(port: PyTorchRetinaFace().graph(height: size, width: size))
    let parameters = model.network.parameters.sorted { $0.name < $1.name }
    #expect(Set(parameters.map(\.name)) == Set(golden.gradients.keys))
    withoutGrad {
      for (place, parameter) in parameters.enumerated() {
        let shape = parameter.tensor.shape
        var values = Self.values(shape.reduce(1, *), seed: place)
        if shape.count == 4 {
          let scale = Float((0.75 / Double(shape.dropFirst().reduce(1, *))).squareRoot())
          values = values.map { $0 * scale }
        } else {
          values = values.map { $0 * 0.1 + (parameter.name.hasSuffix(".weight") ? 1 : 0) }
        }
        parameter.tensor.copy(from: Tensor(values, shape: shape))
      }
    }
    let pixels = Self.values(2 * 3 * size * size, seed: 500).map { $0 * 60 }
    let outputs = model.network.outputs(of: Tensor(pixels, shape: [2, 3, size, size]))
    let loss = MultiBoxLoss(imageSize: size)
    #expect(outputs.map(\.shape) == loss.shapes(2))
    let (parts, gradients) = loss.evaluate(
      outputs.map { $0.detached().floats }, golden.faces.map { $0.map(Self.face) })
    for (own, expected) in zip([parts.boxes / 2, parts.classes, parts.landmarks], golden.losses) {
      #expect(abs(own - expected) < 1e-4 * expected, "\(own), \(expected)")
    }
    var sum: Tensor?
    for (output, values) in zip(outputs, gradients) {
      let product = (output * Tensor(values, shape: output.shape)).sum()
      sum = sum.map { $0 + product } ?? product
    }
    sum?.backward()
    // The heads of a stride without faces have none.
    #expect(golden.gradients.values.count { $0[0] > 0 } > 150)
    for (place, parameter) in parameters.enumerated() {
      let expected = try #require(golden.gradients[parameter.name])
      let own = try #require(parameter.tensor.grad).floats.map(Double.init)
      let norm = own.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let product = zip(own, Self.values(own.count, seed: place)).reduce(0) { $0 + $1.0 * Double($1.1) }
      #expect(abs(norm - expected[0]) <= 1e-3 * expected[0], "\(parameter.name): \(norm), \(expected[0])")
      #expect(
        abs(product - expected[1]) <= 1e-3 * expected[0] * Double(own.count).squareRoot(),
        "\(parameter.name): \(product), \(expected[1])")
    }
  }

  @Test func absurdFacesDoNotHarm() {
    let loss = MultiBoxLoss(imageSize: 64)
    let count = loss.priors.boxes.count
    let outputs = MultiBoxLoss.Outputs(
      boxes: Self.values(4 * count, seed: 0), scores: Self.values(2 * count, seed: 1),
      landmarks: Self.values(10 * count, seed: 2))
    let absurd = [
      TrainingFace(box: SIMD4(-.infinity, 0, .infinity, 10)), TrainingFace(box: SIMD4(.nan, 0, 1, 1)),
      TrainingFace(box: SIMD4(1e8, 1e8, 2e8, 2e8)), TrainingFace(box: SIMD4(50, 50, 20, 20)),
      TrainingFace(box: SIMD4(10, 10, 10, 10)), TrainingFace(box: SIMD4(1e6, 1e6, 1.1e6, 1.1e6)),
    ]
    for faces in [absurd, []] {
      let result = loss(outputs, [faces])
      #expect(result.parts.positives == 0 && result.parts.total == 0)
      #expect(result.gradients.scores.allSatisfy { $0 == 0 })
    }
    // Landmarks that are not known give no loss of theirs.
    let known = loss(outputs, [[TrainingFace(box: SIMD4(10, 10, 41, 41))]])
    #expect(known.parts.boxes > 0 && known.parts.classes > 0 && known.parts.landmarks == 0)
  }
}
