import Foundation
import Imaging
import Inference
import Testing

@testable import FaceRecognition

private let data =
  ProcessInfo.processInfo.environment["INSIGHTFACE_TEST_DATA"]
  ?? URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appending(path: "shared/data").path
private let isPresent = FileManager.default.fileExists(atPath: "\(data)/mobilefacenet-y1/model-0000.params")

@Suite struct FaceEmbedderTests {
  private static func embedder() throws -> FaceEmbedder {
    try FaceEmbedder(CheckpointLocation("\(data)/mobilefacenet-y1", epoch: 0))
  }

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
    let embedder = try Self.embedder()
    #expect(embedder.embeddingLength == 128 && embedder.width == 112 && embedder.height == 112)
    let images = try VerificationImages(path: "\(data)/lfw-faces/lfw.bin", imageSize: 112)
    var made: [Float] = []
    _ = try images.embeddings(
      batchSize: 40,
      embed: { pixels, count in
        let batch = try embedder.embed(pixels: pixels, count: count, isMirrored: false)
        made += batch
        return (batch, batch)
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

  @Test(.enabled(if: isPresent, "needs the original y1 checkpoint in $INSIGHTFACE_TEST_DATA"))
  func batchesAndMirrorsAreConsistent() throws {
    let embedder = try Self.embedder()
    let faces = try (0..<5).map { number in
      try Image(
        width: 112, height: 112, pixels: (0..<37632).map { UInt8(truncatingIfNeeded: $0 &* (31 + number) ^ ($0 >> 5)) })
    }
    let together = try embedder.embed(images: faces)
    for (face, vector) in zip(faces, together) { #expect(try embedder.embed(images: [face]) == [vector]) }
    // The mirror image of the mirror image is the image.
    let mirrored = try faces.map { face in
      var pixels = face.pixels
      for row in 0..<112 {
        for column in 0..<112 {
          for c in 0..<3 {
            pixels[(row * 112 + column) * 3 + c] = face.pixels[(row * 112 + 111 - column) * 3 + c]
          }
        }
      }
      return try Image(width: 112, height: 112, pixels: pixels)
    }
    let others = try embedder.embed(images: mirrored)
    let sums = try embedder.embed(images: faces, mirror: .sum)
    for index in faces.indices {
      #expect(zip(together[index], others[index]).map { $0 + $1 } == sums[index])
      #expect(together[index] != others[index])
    }
    for vector in try embedder.embed(images: faces, mirror: .sum, isNormalised: true) {
      #expect(abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
    }
    #expect(try embedder.embed(images: []).isEmpty)
    #expect(throws: GraphError.self) { try embedder.embed(images: [Image(width: 100, height: 112)]) }
    #expect(throws: GraphError.self) { try embedder.embed(pixels: [1, 2], count: 1) }
  }

  @Test func whatIsNoFaceNetworkIsRefused() throws {
    var g = GraphBuilder(input: "data", channels: 1, height: 4, width: 4)
    let grey = try g.finish(g.flatten(g.input))
    #expect(throws: GraphError.self) { try FaceEmbedder(grey) }
    var h = GraphBuilder(input: "data", channels: 3, height: 4, width: 4)
    let map = try h.finish(h.relu(h.input))
    #expect(throws: GraphError.self) { try FaceEmbedder(map) }
    #expect(throws: (any Error).self) { try FaceEmbedder(CheckpointLocation("/nowhere/model", epoch: 1)) }
  }

  /// A network that gives an output of the same shape whatever it is given.
  private struct Stubborn: ImageRunner {
    var shape: [Int]?
    var threads: Int { 1 }
    var outputNames: [String] { shape == nil ? [] : ["embedding"] }

    func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
      guard let shape else { return [] }
      return [try FloatTensor(shape: shape, elements: [Float](repeating: 1, count: shape.reduce(1, *)))]
    }

    func run(
      images: UnsafeRawBufferPointer, count: Int, height: Int, width: Int
    ) throws(GraphError) -> [FloatTensor] { try run(FloatTensor(shape: [0], elements: [])) }
  }

  @Test func whatDoesNotFitIsAnErrorAndNoTrap() throws {
    func embedder(_ shape: [Int]?, side: Int = 4) throws(GraphError) -> FaceEmbedder {
      try FaceEmbedder(
        runner: Stubborn(shape: shape), height: side, width: side, embeddingLength: nil, fingerprint: "none")
    }
    #expect(try embedder([1, 8, 1, 1]).embeddingLength == 8 && embedder([1, 1]).embeddingLength == 1)
    for shape in [nil, [], [1, 0], [0, 8], [2, 8], [1, 8, 2], [1, 2 << 20]] as [[Int]?] {
      #expect { try embedder(shape) } throws: { ($0 as? GraphError)?.code == .shape }
    }
    // An image of these sizes cannot be held, nor its bytes counted.
    for side in [0, -1, 5000, 1 << 40, .max] {
      #expect { try embedder([1, 8], side: side) } throws: { ($0 as? GraphError)?.code == .shape }
    }
    for side in [0, 5000] {
      #expect(throws: GraphError.self) {
        var g = GraphBuilder(input: "data", channels: 3, height: side, width: side)
        _ = try FaceEmbedder(g.finish(g.flatten(g.globalAveragePool(g.input))))
      }
    }
    // It gives one embedding whatever the number of faces.
    let one = try embedder([1, 8])
    let face = try Image(width: 4, height: 4)
    for mirror in FaceEmbedder.Mirror.allCases {
      #expect(try one.embed(images: [face], mirror: mirror).map(\.count) == [8])
      #expect { try one.embed(images: [face, face], mirror: mirror) } throws: { ($0 as? GraphError)?.code == .shape }
      for count in [-1, 0, 1, 3, .max] {
        #expect(throws: GraphError.self) {
          try one.embed(pixels: [UInt8](repeating: 0, count: 96), count: count, mirror: mirror)
        }
      }
    }
    #expect(throws: GraphError.self) { try one.embed(images: [Image(width: 4, height: 5)]) }
  }
}
