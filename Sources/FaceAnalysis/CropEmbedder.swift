import Imaging
import Inference

/// Turns the crops of photos into embeddings with whatever runs a recognition network.
///
/// Safe to be shared between threads.
public struct CropEmbedder: Sendable {
  /// What runs the network.
  public let runner: any GraphRunner
  /// What the network expects.
  public let preprocessing: Preprocessing
  /// Whether each face is looked at mirrored too and both embeddings are added, as the reference's verification does.
  public var mirrors: Bool
  /// The most faces that go through the network at once.
  public var batchSize: Int

  /// An embedder of a network and its description.
  public init(runner: any GraphRunner, preprocessing: Preprocessing, mirrors: Bool = false, batchSize: Int = 16) {
    self.runner = runner
    self.preprocessing = preprocessing
    self.mirrors = mirrors
    self.batchSize = max(1, batchSize)
  }

  /// The embeddings of aligned faces, each of Euclidean length 1.
  ///
  /// - Parameter faces: crops of the network's size (`preprocessing.width` × `preprocessing.height`).
  /// - Throws: `GraphError`: `.shape` for a crop of another size, `.invalid` where the network gives something else than one
  ///   vector a face or numbers that are not finite, and what running it throws.
  public func embeddings(_ faces: [Image]) throws(GraphError) -> [[Float]] {
    var result: [[Float]] = []
    for start in stride(from: 0, to: faces.count, by: batchSize) {
      let batch = Array(faces[start..<min(start + batchSize, faces.count)])
      var vectors = try run(batch)
      if mirrors {
        let mirrored = try run(batch.map { $0.flippedHorizontally() })
        vectors = zip(vectors, mirrored).map { zip($0, $1).map { $0 + $1 } }
      }
      for vector in vectors { result.append(try Self.normalised(vector)) }
    }
    return result
  }

  private func run(_ faces: [Image]) throws(GraphError) -> [[Float]] {
    let (width, height) = (preprocessing.width, preprocessing.height)
    let plane = width * height
    var elements = [Float](repeating: 0, count: faces.count * 3 * plane)
    let isBGR = preprocessing.colourOrder == .bgr
    for (index, face) in faces.enumerated() {
      guard face.width == width, face.height == height else {
        throw GraphError(
          .shape, message: "a face of \(face.width)×\(face.height) where the network takes \(width)×\(height)",
          advice: "align the faces to that size")
      }
      for channel in 0..<3 {
        let source = isBGR ? 2 - channel : channel
        let place = (values: preprocessing.mean.count, scales: preprocessing.scale.count)
        let mean = preprocessing.isInsideGraph ? 0 : Float(preprocessing.mean[place.values == 3 ? channel : 0])
        let scale = preprocessing.isInsideGraph ? 1 : Float(preprocessing.scale[place.scales == 3 ? channel : 0])
        let target = (3 * index + channel) * plane
        face.pixels.withUnsafeBufferPointer { pixels in
          for pixel in 0..<plane { elements[target + pixel] = (Float(pixels[3 * pixel + source]) - mean) * scale }
        }
      }
    }
    let outputs = try runner.run(FloatTensor(shape: [faces.count, 3, height, width], elements: elements))
    guard let output = outputs.first, output.shape.first == faces.count, !faces.isEmpty else {
      throw GraphError(
        .invalid, message: "the network gives shape \(outputs.first?.shape ?? []) for \(faces.count) faces",
        advice: "use a network that gives one embedding a face")
    }
    let length = output.elements.count / faces.count
    return (0..<faces.count).map { Array(output.elements[$0 * length..<($0 + 1) * length]) }
  }

  private static func normalised(_ vector: [Float]) throws(GraphError) -> [Float] {
    let norm = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    guard norm.isFinite, norm > 0 else {
      throw GraphError(
        .invalid, message: "an embedding of length \(norm)", advice: "the network's weights are damaged or untrained")
    }
    return vector.map { Float(Double($0) / norm) }
  }
}

/// How alike two embeddings of length 1 are.
public struct FaceSimilarity: Sendable, Equatable {
  /// Cosine of the angle between them, −1…1.
  public var cosine: Double

  /// The similarity of two embeddings; nil where their lengths differ or they are empty.
  public init?(_ first: [Float], _ second: [Float]) {
    guard first.count == second.count, !first.isEmpty else { return nil }
    cosine = zip(first, second).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
  }

  /// Squared Euclidean distance, 0…4: the measure of the reference's evaluation.
  public var squaredDistance: Double { max(0, 2 - 2 * cosine) }
}
