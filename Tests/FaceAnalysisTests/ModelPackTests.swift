import FaceDetection
import FaceRecognition
import Formats
import Foundation
import Imaging
import Inference
import Testing

@testable import FaceAnalysis

/// Networks in the form of the insightface package's packs, and what its own code gives with them.
@Suite struct ModelPackTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/packs").path

  struct Expected: Decodable {
    struct Case: Decodable {
      var photo: String
      var boxes: [[Double]]
      var points: [[[Double]]]
    }
    var detections: [Case]
    var embedding: [Double]
    var box: [Double]
    var landmarks: [[Double]]
  }

  static func expected() throws -> Expected {
    try JSONDecoder().decode(Expected.self, from: Data(contentsOf: URL(fileURLWithPath: folder + "/expected.json")))
  }

  @Test func `Files find their places by what goes in and comes out`() throws {
    let pack = try ModelPack(Self.folder)
    #expect(pack.detector?.path == Self.folder + "/det_small.onnx")
    #expect(pack.recognizer?.path == Self.folder + "/w600k_small.onnx")
    #expect(pack.landmarks?.path == Self.folder + "/2d106det.onnx")
    #expect(pack.passedOver.isEmpty)
    #expect(pack.landmarks?.scalesInside == true && pack.recognizer?.scalesInside == false)
  }

  @Test func `SCRFD finds what the package finds`() throws {
    let pack = try ModelPack(Self.folder)
    let detector = try FaceDetector.load(try #require(pack.detector), inputSide: 160)
    for expected in try Self.expected().detections {
      let image = try Image.read(path: "\(Self.folder)/\(expected.photo)")
      let found = try detector.detect(image)
      #expect(found.count == expected.boxes.count, "\(expected.photo)")
      // Scores that nearly tie may change places.
      for (box, points) in zip(expected.boxes, expected.points) {
        let near = found.min {
          abs($0.box.left - box[0]) + abs($0.box.top - box[1]) + abs($0.box.right - box[2])
            < abs($1.box.left - box[0]) + abs($1.box.top - box[1]) + abs($1.box.right - box[2])
        }
        let match = try #require(near)
        let corners = [match.box.left, match.box.top, match.box.right, match.box.bottom]
        #expect(zip(corners, box).allSatisfy { abs($0 - $1) < 0.02 }, "\(corners) \(box)")
        #expect(abs(Double(match.score) - box[4]) < 1e-4)
        #expect(zip(match.landmarks, points).allSatisfy { abs($0.x - $1[0]) < 0.02 && abs($0.y - $1[1]) < 0.02 })
      }
    }
    // Several photos at once give what each gives alone.
    let images = try ["photo0.png", "photo2.png"].map { try Image.read(path: "\(Self.folder)/\($0)") }
    #expect(try detector.detect(images) == images.map { try detector.detect($0) })
    #expect(throws: DetectionError.self) { try detector.detect(Image(width: 4000, height: 1)) }
  }

  @Test func `The recognition network sees pixels scaled by 1 / 127.5`() throws {
    let image = try Image.read(path: Self.folder + "/photo2.png").cropped(x: 20, y: 20, width: 112, height: 112)
    let embedder = try #require(try FaceAnalysis.load(pack: ModelPack(Self.folder), inputSide: 160).embedder)
    let embedding = try embedder.embed(images: [image])[0]
    let expected = try Self.expected().embedding
    #expect(embedding.count == expected.count)
    #expect(zip(embedding, expected).allSatisfy { abs(Double($0) - $1) < 1e-4 })
  }

  @Test func `Landmarks are those of the package`() throws {
    let expected = try Self.expected()
    let analysis = try FaceAnalysis.load(pack: ModelPack(Self.folder), inputSide: 160)
    let model = try #require(analysis.landmarkModel)
    #expect(model.count == 106)
    let box = BoundingBox(
      left: expected.box[0], top: expected.box[1], right: expected.box[2], bottom: expected.box[3])
    let image = try Image.read(path: Self.folder + "/photo2.png")
    let points = try #require(try model.points(in: image, box: box))
    let errors = zip(points, expected.landmarks).map { max(abs($0.x - $1[0]), abs($0.y - $1[1])) }
    #expect(try #require(errors.max()) < 0.02, "\(errors.max() ?? 0)")
    #expect(try model.points(in: image, box: BoundingBox(left: 3, top: 3, right: 3, bottom: 3)) == nil)
    let face = try #require(try analysis.faces(in: image).first)
    #expect(face.denseLandmarks.count == 106 && face.json.contains("\"landmark_2d_106\":[["))
  }

  @Test func `What is no pack is an error that says what to do`() throws {
    #expect(throws: FormatError.self) { try ModelPack("no-such-pack") }
    let folder = FileManager.default.temporaryDirectory.path + "/pack-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try makeFolders(folder)
    #expect(throws: FormatError.self) { try ModelPack(folder) }
    try FileManager.default.copyItem(atPath: Self.folder + "/2d106det.onnx", toPath: folder + "/2d106det.onnx")
    #expect(throws: FaceAnalysisError.self) { try FaceAnalysis.load(pack: ModelPack(folder)) }
    try Data("no model".utf8).write(to: URL(fileURLWithPath: folder + "/det.onnx"))
    #expect(throws: FormatError.self) { try ModelPack(folder) }
  }

  @Test func `A pack with a network for enormous images is refused`() throws {
    let folder = FileManager.default.temporaryDirectory.path + "/pack-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try makeFolders(folder)
    for name in ["det_small", "w600k_small"] {
      var model = try ONNXModel(path: "\(Self.folder)/\(name).onnx")
      let path = "\(folder)/\(name).onnx"
      for side in [1 << 16, 1 << 40, Int.max - 15] {
        model.graph.inputs[0].shape = [.size(1), .size(3), .size(side), .size(side)]
        try Data(model.serialized()).write(to: URL(fileURLWithPath: path))
        let error = #expect(throws: FormatError.self) { try ModelPack(folder) }
        #expect(error?.code == .tooLarge && error?.path == path)
      }
      try FileManager.default.removeItem(atPath: path)
    }
  }

  @Test func `The README shows the example as it is compiled`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().path
    let example = try String(contentsOfFile: root + "/Examples/FaceAnalysisExample/main.swift", encoding: .utf8)
    for name in ["README.md", "README.zh-CN.md"] {
      #expect(
        try String(contentsOfFile: "\(root)/\(name)", encoding: .utf8).contains("```swift\n\(example)```"), "\(name)")
    }
  }
}
