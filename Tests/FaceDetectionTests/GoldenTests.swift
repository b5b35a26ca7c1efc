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
}
