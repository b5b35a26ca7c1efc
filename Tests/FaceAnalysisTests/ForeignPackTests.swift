import FaceDetection
import FaceRecognition
import Formats
import Foundation
import Imaging
import Inference
import Testing

@testable import FaceAnalysis

/// The packs' networks with an operator put in that is not known here and changes nothing: what OpenVINO makes of them must be
/// what the package's own code made of the networks as they were.
@Suite struct ForeignPackTests {
  static let isInstalled = (try? OpenVINO.installed()) != nil
  static let advice: Comment = "OpenVINO is not installed: scripts/bootstrap --openvino, or $INSIGHTFACE_OPENVINO"
  static let names = ["det_small.onnx", "w600k_small.onnx", "2d106det.onnx"]

  /// A folder with the pack; `Shrink` with λ = 0 stands behind the inputs of the named files.
  private func pack(shrinking: [String]) throws -> String {
    let folder = FileManager.default.temporaryDirectory.path + "/pack-\(UUID().uuidString)"
    try makeFolders(folder)
    for name in Self.names {
      var model = try ONNXModel(path: "\(ModelPackTests.folder)/\(name)")
      if shrinking.contains(name) {
        let input = try #require(model.graph.inputs.first).name
        for index in model.graph.nodes.indices {
          model.graph.nodes[index].inputs = model.graph.nodes[index].inputs.map { $0 == input ? "shrunk" : $0 }
        }
        model.graph.nodes.insert(
          ONNXNode(
            "Shrink", name: "odd_one", inputs: [input], outputs: ["shrunk"],
            attributes: [ONNXAttribute("lambd", .float(0)), ONNXAttribute("bias", .float(0))]), at: 0)
      }
      try model.write(to: "\(folder)/\(name)")
    }
    return folder
  }

  @Test(.enabled(if: isInstalled, advice)) func `A pack that is not known runs through OpenVINO`() throws {
    let folder = try pack(shrinking: Self.names)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let analysis = try FaceAnalysis.load(pack: ModelPack(folder), inputSide: 160)
    #expect(analysis.notes.count == 3)
    for (note, name) in zip(analysis.notes, Self.names) {
      #expect(note.contains(name) && note.contains("OpenVINO") && note.contains("Shrink (\"odd_one\")"), "\(note)")
    }
    let known = try FaceAnalysis.load(pack: ModelPack(ModelPackTests.folder), inputSide: 160)
    #expect(known.notes.isEmpty)

    let expected = try ModelPackTests.expected()
    for sample in expected.detections {
      let image = try Image.read(path: "\(ModelPackTests.folder)/\(sample.photo)")
      let (found, own) = (try analysis.detector.detect(image), try known.detector.detect(image))
      #expect(found.count == sample.boxes.count)
      for detection in found {
        let near = own.filter {
          abs($0.score - detection.score) < 1e-4 && abs($0.box.left - detection.box.left) < 0.02
            && abs($0.box.top - detection.box.top) < 0.02 && abs($0.box.right - detection.box.right) < 0.02
            && abs($0.box.bottom - detection.box.bottom) < 0.02
        }
        #expect(!near.isEmpty, "\(detection)")
      }
    }
    let image = try Image.read(path: ModelPackTests.folder + "/photo2.png")
    let crop = try image.cropped(x: 20, y: 20, width: 112, height: 112)
    let embedder = try #require(analysis.embedder)
    #expect(embedder.embeddingLength == expected.embedding.count && embedder.height == 112)
    // Three at once: the batch is open.
    for embedding in try embedder.embed(images: [crop, crop, crop]) {
      #expect(zip(embedding, expected.embedding).allSatisfy { abs(Double($0) - $1) < 1e-4 })
    }
    let model = try #require(analysis.landmarkModel)
    let box = BoundingBox(
      left: expected.box[0], top: expected.box[1], right: expected.box[2], bottom: expected.box[3])
    let points = try #require(try model.points(in: image, box: box))
    #expect(points.count == 106)
    #expect(zip(points, expected.landmarks).allSatisfy { abs($0.x - $1[0]) < 0.02 && abs($0.y - $1[1]) < 0.02 })
    // Embeddings of one way and the other are not taken for each other's.
    #expect(embedder.fingerprint != known.embedder?.fingerprint)
  }

  @Test(.enabled(if: isInstalled, advice)) func `A single file of that kind becomes an embedder`() throws {
    let folder = try pack(shrinking: ["w600k_small.onnx"])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let path = folder + "/w600k_small.onnx"
    let image = try Image.read(path: ModelPackTests.folder + "/photo2.png")
      .cropped(x: 20, y: 20, width: 112, height: 112)
    let embedder = try FaceEmbedder.load(path, preprocessing: .arcFaceTorch)
    #expect(embedder.note?.contains("Shrink") == true)
    let expected = try ModelPackTests.expected().embedding
    #expect(zip(try embedder.embed(images: [image])[0], expected).allSatisfy { abs(Double($0) - $1) < 1e-4 })
    let error = #expect(throws: FaceAnalysisError.self) { try FaceEmbedder.load(path) }
    #expect(error?.description.contains("--preprocessing") == true)
  }

  @Test func `Without OpenVINO the file, the operator and the remedy are named`() throws {
    let folder = try pack(shrinking: ["w600k_small.onnx"])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try makeFolders(folder + "/none")
    let error = #expect(throws: FaceAnalysisError.self) {
      try FaceAnalysis.load(pack: ModelPack(folder), inputSide: 160, openVINO: folder + "/none")
    }
    let text = error?.description ?? ""
    for part in [folder + "/w600k_small.onnx", "Shrink", "odd_one", "bootstrap --openvino", folder + "/none"] {
      #expect(text.contains(part), "\(part) in \(text)")
    }
    // What is known still works.
    let analysis = try FaceAnalysis.load(
      pack: ModelPack(folder), embeds: false, inputSide: 160, openVINO: folder + "/none")
    #expect(analysis.landmarkModel != nil)
  }
}
