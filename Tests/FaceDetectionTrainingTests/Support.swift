import FaceDetection
import Formats
import Foundation
import Imaging
import SyntheticFaces
import Testing

@testable import FaceDetectionTraining

/// Files of the tests, and real data where it lies.
enum Fixtures {
  static var root: URL {
    var url = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { url.deleteLastPathComponent() }
    return url
  }

  /// The folder of real checkpoints and photos.
  static var dataFolder: String {
    ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
      ?? root.appendingPathComponent("../shared/data").standardized.path
  }

  static let isSlow = ProcessInfo.processInfo.environment["INSIGHTFACE_SLOW_TESTS"] == "1"

  static func hasData(_ name: String) -> Bool { FileManager.default.fileExists(atPath: dataFolder + "/" + name) }

  static func golden(_ name: String) throws -> Safetensors {
    try Safetensors(path: root.appendingPathComponent("Tests/Fixtures/detection-training/\(name)").path)
  }

  /// A folder of its own, removed after.
  static func withFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("detection-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path)
  }

  /// Six scenes in the reference's layout.
  static func writeScenes(_ folder: String) throws {
    try FileManager.default.createDirectory(atPath: "\(folder)/images/a", withIntermediateDirectories: true)
    let generator = FaceGenerator(seed: 3)
    var text = ""
    for index in 0..<6 {
      let scene = try generator.scene(index: index, width: 200, height: 160, faces: 1...4)
      try scene.image.write(path: "\(folder)/images/a/\(index).jpg")
      text += "# a/\(index).jpg\n"
      for face in scene.faces {
        let points = face.landmarks5.map { "\($0.x) \($0.y) 0.0" }.joined(separator: " ")
        text += "\(face.box.x) \(face.box.y) \(face.box.width) \(face.box.height) \(points) 0.1\n"
      }
    }
    try text.write(toFile: "\(folder)/label.txt", atomically: true, encoding: .utf8)
  }

  /// The loss of every step of a run, which must come to its end.
  static func losses(_ configuration: DetectionConfiguration) throws -> [Double] {
    var losses: [Double] = []
    let trainer = try DetectionTrainer(configuration) { losses.append($0.loss.total) }
    #expect(try trainer.run() == .finished)
    return losses
  }

  /// A tiny run on scenes: mnet, 64 pixels.
  static func scenes(_ prefix: String, steps: Int) -> DetectionConfiguration {
    var c = DetectionConfiguration(data: .scenes(SceneSettings(size: 64, faces: 1...3, seed: 7), perEpoch: 12))
    c.prefix = prefix
    c.imageSize = 64
    c.batchSize = 4
    c.maxSteps = steps
    c.threads = 1
    c.decodeThreads = 2
    c.heldOutScenes = 0
    c.schedule.shape = .updates(.steps([100]), warmup: 0)
    return c
  }
}
