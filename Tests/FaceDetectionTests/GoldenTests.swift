import Formats
import Foundation
import Imaging
import Inference
import Testing

@testable import FaceDetection

/// Whole detections against MXNet's and the PyTorch port's, on real photos.
@Suite struct GoldenTests {
  static let wider = Fixtures.dataFolder + "/wider"

  /// MXNet's detections as the reference's code gave them.
  static func expected(_ key: String) throws -> [Detection] {
    try WiderResults.read(path: "\(wider)/mxnet_mnet25_detections/\(key).txt").map { face in
      Detection(
        box: face.box, score: Float(face.score),
        landmarks: (0..<5).map { Point(face.rest[2 * $0], face.rest[2 * $0 + 1]) })
    }
  }

  /// Keys of the images, the smallest file first.
  static func keys() throws -> [String] {
    var sizes: [(Int, String)] = []
    for event in try FileManager.default.contentsOfDirectory(atPath: wider + "/images") {
      for file in try FileManager.default.contentsOfDirectory(atPath: wider + "/images/" + event) {
        let attributes = try FileManager.default.attributesOfItem(atPath: "\(wider)/images/\(event)/\(file)")
        sizes.append(((attributes[.size] as? Int) ?? 0, "\(event)/\(file.dropLast(4))"))
      }
    }
    return sizes.sorted { $0 < $1 }.map(\.1)
  }

  @Test(.enabled(if: Fixtures.hasData("wider") && Fixtures.isSlow, "slow, or no WIDER FACE"))
  func originalWeightsGiveMXNetsFaces() throws {
    let detector = FaceDetector(runner: try NaiveExecutor(Fixtures.originalGraph()), configuration: .reference())
    var (total, equal, surplus) = (0, 0, 0)
    let keys = try Self.keys()
    let count = Int(ProcessInfo.processInfo.environment["INSIGHTFACE_WIDER_IMAGES"] ?? "") ?? keys.count
    for key in keys.prefix(count) {
      let image = try Image.read(path: "\(Self.wider)/images/\(key).jpg")
      let found = try detector.detect(image, options: .init(scoreThreshold: 0.02))
      let expected = try Self.expected(key)
      let sure = expected.filter { $0.score > 0.1 }
      total += sure.count
      equal += matches(found, sure)
      surplus += abs(found.count - expected.count)
    }
    print("mnet.25: \(equal) of \(total) faces above 0.1 in \(min(count, keys.count)) images, counts off by \(surplus)")
    #expect(total > 0 && Double(equal) >= 0.99 * Double(total))
  }

  struct PortSample: Decodable {
    var image: String
    var boxes, landmarks: [Double]

    var detections: [Detection] {
      (0..<boxes.count / 5).map { index in
        let box = boxes[5 * index..<5 * index + 4].map { $0 }
        return Detection(
          box: BoundingBox(left: box[0], top: box[1], right: box[2], bottom: box[3]),
          score: Float(boxes[5 * index + 4]),
          landmarks: (0..<5).map { Point(landmarks[10 * index + 2 * $0], landmarks[10 * index + 2 * $0 + 1]) })
      }
    }
  }

  @Test(.enabled(if: Fixtures.hasData("wider") && Fixtures.isSlow, "slow, or no WIDER FACE"))
  func portsWeightsGiveItsFaces() throws {
    let graph = try PyTorchRetinaFace.load(
      path: Fixtures.dataFolder + "/retinaface-mnet25/pytorch_mobilenet0.25_Final.pth")
    let detector = FaceDetector(runner: try graph.makeRunner(), configuration: .pyTorch)
    let samples = try Fixtures.decode("pytorch-port.json", as: [PortSample].self)
    #expect(samples.count == 4)
    for sample in samples {
      let image = try Image.read(path: "\(Self.wider)/images/\(sample.image)")
      let found = try detector.detect(image, options: .init(scoreThreshold: 0.02))
      #expect(matches(found, sample.detections, score: 1e-4, landmark: 0.01) == sample.detections.count)
      #expect(found.filter { $0.score > 0.1 }.count == sample.detections.count)
    }
  }

  @Test(.enabled(if: Fixtures.hasData("retinaface-mnet25"), "no checkpoint"))
  func portsCheckpointIsRead() throws {
    let graph = try PyTorchRetinaFace.load(
      path: Fixtures.dataFolder + "/retinaface-mnet25/pytorch_mobilenet0.25_Final.pth")
    try graph.checkWeights()
    #expect(graph.weights.count == (try graph.parameters()).count)
    #expect(throws: FormatError.self) {
      try PyTorchRetinaFace.load(path: Fixtures.dataFolder + "/retinaface-mnet25/mnet.25-0000.params")
    }
  }
}
