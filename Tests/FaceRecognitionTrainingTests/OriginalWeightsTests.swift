import FaceRecognition
import Foundation
import Testing
import Torch

@testable import FaceRecognitionTraining

private let data =
  ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
  ?? URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appending(path: "shared/data").path
private let isPresent = FileManager.default.fileExists(atPath: "\(data)/mobilefacenet-y1/model-0000.params")

@Suite struct OriginalWeightsTests {
  /// InsightFace's own y1 checkpoint on real faces: every one of the 200 embeddings that MXNet made points the same way.
  @Test(.enabled(if: isPresent, "needs the original y1 checkpoint in $INSIGHTFACE_TEST_DATA"))
  func embeddingsEqualMXNets() throws {
    // A .npy file of version 1: magic, header length, a Python dictionary, then float32 in C order.
    let npy = try Data(contentsOf: URL(filePath: "\(data)/mobilefacenet-y1/mxnet_embeddings_first200.npy"))
    let start = 10 + Int(npy[8]) + 256 * Int(npy[9])
    let header = String(decoding: npy[10..<start], as: UTF8.self)
    try #require(header.contains("'<f4'") && header.contains("(200, 128)") && header.contains("'fortran_order': False"))
    let expected = npy.withUnsafeBytes { raw in
      (0..<200 * 128).map { raw.loadUnaligned(fromByteOffset: start + 4 * $0, as: Float.self) }
    }
    let network = try Checkpoint(CheckpointLocation("\(data)/mobilefacenet-y1", epoch: 0)).network()
    let images = try VerificationImages(path: "\(data)/lfw-faces/lfw.bin", imageSize: 112)
    var embedder = NetworkEmbedder(network, device: .cpu, imageSize: 112)
    var made: [Float] = []
    _ = try images.embeddings(
      batchSize: 40,
      embed: { pixels, count in
        let batch = try embedder(pixels, count)
        made += batch.original
        return batch
      }, progress: { $0 < 200 })
    try #require(made.count == expected.count)
    for row in 0..<200 {
      var (dot, a, b) = (0.0, 0.0, 0.0)
      for i in row * 128..<(row + 1) * 128 {
        let (x, y) = (Double(made[i]), Double(expected[i]))
        dot += x * y
        a += x * x
        b += y * y
      }
      #expect(dot / (a * b).squareRoot() >= 0.99999, "image \(row)")
    }
  }
}
