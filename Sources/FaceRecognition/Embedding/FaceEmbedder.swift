import Formats
import Imaging
import Inference

/// Turns aligned faces into embeddings on the CPU.
///
/// Threads may share one. Results depend neither on the batch size nor on the number of threads.
///
/// ```swift
/// let embedder = try FaceEmbedder(CheckpointLocation("models/y1", epoch: 1))
/// let vectors = try embedder.embed(images: faces, mirror: .sum, isNormalised: true)
/// ```
public struct FaceEmbedder: Sendable {
  /// What becomes of the mirror image.
  public enum Mirror: String, Sendable, CaseIterable {
    /// It is not looked at.
    case none
    /// The embeddings of image and mirror image are added, as the reference's verification does.
    case sum
  }

  /// Numbers of an embedding, D.
  public let embeddingLength: Int
  /// Rows of a face.
  public let height: Int
  /// Columns of a face.
  public let width: Int
  /// Tells recognition networks apart, whose embeddings do not compare: `NetworkGraph.fingerprint`.
  public let fingerprint: String
  /// Threads of one call.
  public var threads: Int { runner.threads }
  /// That OpenVINO runs the network, and why; nil where this project's own plan does.
  public var note: String? { runner.note }

  private let runner: any ImageRunner
  /// Images that are mirrored and embedded at a time.
  private static let batchSize = 64

  /// An embedder of a network.
  ///
  /// - Parameters:
  ///   - graph: a network with its weights, one input (N, 3, height, width), first output (N, D); what its preprocessing
  ///     says is done to the images.
  ///   - threads: nil takes $INSIGHTFACE_THREADS, else the physical cores.
  /// - Throws: `GraphError` where the network is no embedder or lacks weights.
  public init(_ graph: NetworkGraph, threads: Int? = nil) throws(GraphError) {
    var options = InferencePlan.Options()
    options.threads = threads
    let inputs = graph.inputs
    guard inputs.count == 1, inputs[0].shape.rank == 4, inputs[0].shape[1] == 3,
      let height = inputs[0].shape[2].fixed, let width = inputs[0].shape[3].fixed
    else {
      throw GraphError(
        .shape, message: "a face network takes one batch of colour images, this one \(inputs.map(\.shape))")
    }
    let output = try graph.inferShapes()[graph.outputs[0]]
    let sizes = output.sizes(batch: 1) ?? []
    // Some networks leave an embedding of (N, D, 1, 1).
    guard let first = sizes.first, first == 1, output[0] == .n, let length = sizes.max(),
      length == sizes.reduce(1, *), length <= 1 << 20
    else {
      throw GraphError(.shape, message: "a face network gives one embedding a face, this one \(output)")
    }
    embeddingLength = length
    self.height = height
    self.width = width
    fingerprint = graph.fingerprint
    runner = try InferencePlan(graph, options: options)
  }

  /// An embedder of a network that OpenVINO runs.
  ///
  /// - Throws: `GraphError` where the network is no embedder.
  public init(_ network: OpenVINONetwork) throws(GraphError) {
    let shape = network.inputShape
    guard shape.count == 4, shape[1] ?? 3 == 3, let height = shape[2] ?? network.preprocessing?.height,
      let width = shape[3] ?? network.preprocessing?.width
    else {
      throw GraphError(
        .shape,
        message: "a face network takes one batch of colour images of one size, this one "
          + shape.map { $0.map(String.init) ?? "any" }.joined(separator: "×"))
    }
    self.height = height
    self.width = width
    fingerprint = network.fingerprint
    runner = network
    // Such files do not always tell the shapes of what they give.
    let black = [UInt8](repeating: 0, count: 3 * height * width)
    let output = try network.run(images: black, count: 1, height: height, width: width)[0]
    guard output.shape.first == 1, let length = output.shape.max(), length == output.elements.count, length <= 1 << 20
    else {
      throw GraphError(.shape, message: "a face network gives one embedding a face, this one \(output.shape)")
    }
    if let told = network.preprocessing?.embeddingLength, told != length {
      throw GraphError(.mismatch, message: "the embedding is said to have \(told) numbers, the network gives \(length)")
    }
    embeddingLength = length
  }

  /// An embedder of an MXNet checkpoint, its two files, or of a `.pt` file of arcface_torch.
  ///
  /// - Parameter network: whose weights a `.pt` file holds; nil recognises it by their names.
  /// - Throws: `FormatError` for the files, and where the network is no embedder.
  public init(_ location: CheckpointLocation, network: RecognitionNetwork? = nil, threads: Int? = nil) throws {
    let checkpoint = try Checkpoint(location, network: network)
    do {
      try self.init(checkpoint.graph, threads: threads)
    } catch {
      throw FormatError(.mismatch, "\(error)", path: location.symbolPath)
    }
  }

  /// Embeds faces.
  ///
  /// - Parameters:
  ///   - images: aligned faces of the network's size, RGB.
  ///   - mirror: what becomes of the mirror images.
  ///   - isNormalised: whether embeddings are brought to length 1.
  /// - Returns: an embedding of D numbers for each image.
  /// - Throws: `GraphError.shape` for an image of another size.
  public func embed(
    images: [Image], mirror: Mirror = .none, isNormalised: Bool = false
  ) throws(GraphError) -> [[Float]] {
    var result: [[Float]] = []
    result.reserveCapacity(images.count)
    var start = 0
    while start < images.count {
      let end = min(start + Self.batchSize, images.count)
      var pixels: [UInt8] = []
      pixels.reserveCapacity((end - start) * 3 * height * width)
      for index in start..<end {
        guard images[index].width == width, images[index].height == height else {
          throw GraphError(
            .shape,
            message:
              "image \(index) is \(images[index].width)×\(images[index].height), the network takes \(width)×\(height)",
            advice: "align the face first")
        }
        pixels += images[index].pixels
      }
      let values = try embed(pixels: pixels, count: end - start, mirror: mirror, isNormalised: isNormalised)
      for row in 0..<end - start {
        result.append(Array(values[row * embeddingLength..<(row + 1) * embeddingLength]))
      }
      start = end
    }
    return result
  }

  /// Embeds faces of uint8 RGB [N, height, width, 3], image after image: N · D numbers.
  ///
  /// - Throws: `GraphError.shape` where the bytes are not N images.
  public func embed(
    pixels: [UInt8], count: Int, mirror: Mirror = .none, isNormalised: Bool = false
  ) throws(GraphError) -> [Float] {
    let result = pixels.withUnsafeBufferPointer { buffer in
      Result { () throws(GraphError) in
        var values = try embed(pixels: buffer, count: count, isMirrored: false)
        if mirror == .sum {
          for (index, value) in try embed(pixels: buffer, count: count, isMirrored: true).enumerated() {
            values[index] += value
          }
        }
        if isNormalised { normalise(&values) }
        return values
      }
    }
    return try result.get()
  }

  /// Embeds faces, or their mirror images: N · D numbers as the network gives them.
  ///
  /// - Throws: `GraphError.shape` where the bytes are not N images.
  public func embed(
    pixels: UnsafeBufferPointer<UInt8>, count: Int, isMirrored: Bool
  ) throws(GraphError) -> [Float] {
    let size = 3 * height * width
    guard count >= 0, pixels.count / size >= count else {
      throw GraphError(.shape, message: "\(pixels.count) bytes are not \(count) faces of \(width)×\(height)")
    }
    if count == 0 { return [] }
    if !isMirrored {
      return try runner.run(images: UnsafeRawBufferPointer(pixels), count: count, height: height, width: width)[0]
        .elements
    }
    var result: [Float] = []
    result.reserveCapacity(count * embeddingLength)
    var mirrored = [UInt8](repeating: 0, count: min(count, Self.batchSize) * size)
    var start = 0
    while start < count {
      let end = min(start + Self.batchSize, count)
      mirror(UnsafeBufferPointer(rebasing: pixels[start * size..<end * size]), into: &mirrored)
      result += try runner.run(images: mirrored, count: end - start, height: height, width: width)[0].elements
      start = end
    }
    return result
  }

  private func mirror(_ pixels: UnsafeBufferPointer<UInt8>, into target: inout [UInt8]) {
    let width = width
    target.withUnsafeMutableBufferPointer { target in
      for row in 0..<pixels.count / 3 / width {
        let start = row * width * 3
        for column in 0..<width {
          let (from, to) = (start + 3 * column, start + 3 * (width - 1 - column))
          target[to] = pixels[from]
          target[to + 1] = pixels[from + 1]
          target[to + 2] = pixels[from + 2]
        }
      }
    }
  }

  /// Brings each embedding to length 1; one of zeros stays.
  private func normalise(_ values: inout [Float]) {
    for row in 0..<values.count / embeddingLength {
      let range = row * embeddingLength..<(row + 1) * embeddingLength
      let sum = values[range].reduce(0.0) { $0 + Double($1) * Double($1) }
      guard sum > 0 else { continue }
      let scale = 1 / sum.squareRoot()
      for index in range { values[index] = Float(Double(values[index]) * scale) }
    }
  }
}
