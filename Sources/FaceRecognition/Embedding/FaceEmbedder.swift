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
    try Self.checkFace(height: height, width: width)
    guard let first = graph.outputs.first else { throw GraphError(.shape, message: "the network has no output") }
    let output = try graph.inferShapes()[first]
    guard let length = output.sizes(batch: 1).flatMap(Self.length), output[0] == .n else {
      throw Self.noEmbedding("\(output)")
    }
    try self.init(
      runner: InferencePlan(graph, options: options), height: height, width: width, embeddingLength: length,
      fingerprint: graph.fingerprint)
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
    try self.init(
      runner: network, height: height, width: width, embeddingLength: nil, fingerprint: network.fingerprint)
    if let told = network.preprocessing?.embeddingLength, told != embeddingLength {
      throw GraphError(
        .mismatch, message: "the embedding is said to have \(told) numbers, the network gives \(embeddingLength)")
    }
  }

  /// An embedder of a runner; without a length, a black face tells it: files that others run do not always tell the shapes of
  /// what they give.
  init(
    runner: any ImageRunner, height: Int, width: Int, embeddingLength: Int?, fingerprint: String
  ) throws(GraphError) {
    try Self.checkFace(height: height, width: width)
    var length = embeddingLength
    if length == nil {
      let black = [UInt8](repeating: 0, count: 3 * height * width)
      let output = try runner.run(images: black, count: 1, height: height, width: width).first
      guard let output, let told = Self.length(output.shape) else {
        throw Self.noEmbedding(output.map { "\($0.shape)" } ?? "nothing")
      }
      length = told
    }
    guard let length, (1...Self.largestLength).contains(length) else {
      throw Self.noEmbedding("\(length ?? 0) numbers")
    }
    self.embeddingLength = length
    self.height = height
    self.width = width
    self.fingerprint = fingerprint
    self.runner = runner
  }

  private static let largestLength = 1 << 20
  private static let largestSide = 4096

  private static func checkFace(height: Int, width: Int) throws(GraphError) {
    guard (1...largestSide).contains(height), (1...largestSide).contains(width) else {
      throw GraphError(
        .shape, message: "the network takes faces of \(width)×\(height), sides of 1 to \(largestSide) are expected",
        advice: "export it with the size of its faces, such as 112×112")
    }
  }

  /// D of what a network gives for one face, (1, D); some leave (1, D, 1, 1).
  private static func length(_ sizes: [Int]) -> Int? {
    guard sizes.first == 1, sizes.count(where: { $0 != 1 }) <= 1,
      let length = sizes.first(where: { $0 != 1 }) ?? sizes.first
    else { return nil }
    return (1...largestLength).contains(length) ? length : nil
  }

  private static func noEmbedding(_ found: String) -> GraphError {
    GraphError(.shape, message: "a face network gives one embedding a face, this one \(found)")
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
    // Divided, because a count from elsewhere may be too large to multiply.
    guard count >= 0, pixels.count / size == count, pixels.count % size == 0 else {
      throw GraphError(.shape, message: "\(pixels.count) bytes are not \(count) faces of \(width)×\(height)")
    }
    if count == 0 { return [] }
    if !isMirrored {
      return try embeddings(
        runner.run(images: UnsafeRawBufferPointer(pixels), count: count, height: height, width: width), of: count)
    }
    var result: [Float] = []
    result.reserveCapacity(count * embeddingLength)
    var mirrored = [UInt8](repeating: 0, count: min(count, Self.batchSize) * size)
    var start = 0
    while start < count {
      let end = min(start + Self.batchSize, count)
      mirror(UnsafeBufferPointer(rebasing: pixels[start * size..<end * size]), into: &mirrored)
      result += try embeddings(
        runner.run(images: mirrored, count: end - start, height: height, width: width), of: end - start)
      start = end
    }
    return result
  }

  /// The numbers of the first output, as many as `count` faces have.
  private func embeddings(_ outputs: [FloatTensor], of count: Int) throws(GraphError) -> [Float] {
    guard let output = outputs.first, output.elements.count == count * embeddingLength else {
      throw GraphError(
        .shape,
        message: "the network gives \(outputs.first.map { "\($0.shape)" } ?? "nothing") for \(count) faces, "
          + "\(count)×\(embeddingLength) are expected",
        advice: "export it again for batches of any size")
    }
    return output.elements
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
