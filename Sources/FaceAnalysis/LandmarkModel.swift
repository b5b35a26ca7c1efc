import FaceDetection
import Imaging
import Inference

/// Finds many points of a face, 106 with `2d106det`: the package's `landmark.py`.
///
/// Threads may share one.
public struct LandmarkModel: Sendable {
  /// How many points it finds.
  public let count: Int
  /// That OpenVINO runs the network, and why; nil where this project's own plan does.
  public var note: String? { runner.note }

  private let runner: any ImageRunner
  private let size: Int

  /// A model of a network with its preprocessing: one square image in, 2 · count numbers out, −1…1 over the square.
  ///
  /// - Throws: `GraphError` where the network is none of that kind.
  public init(_ graph: NetworkGraph) throws(GraphError) {
    guard let size = graph.imageSize, size.height == size.width, graph.preprocessing != nil,
      let length = try graph.embeddingLength(), length > 0, length % 2 == 0
    else {
      throw GraphError(
        .shape, message: "a landmark network takes a square image and gives pairs of numbers, this one does not")
    }
    self.size = size.height
    count = length / 2
    runner = try InferencePlan(graph)
  }

  /// A model of a network that OpenVINO runs.
  ///
  /// - Throws: `GraphError` where the network is none of that kind.
  public init(_ network: OpenVINONetwork) throws(GraphError) {
    let shape = network.inputShape
    guard shape.count == 4, let size = shape[2], size == shape[3] else {
      throw GraphError(.shape, message: "a landmark network takes a square image, this one does not")
    }
    let black = [UInt8](repeating: 0, count: 3 * size * size)
    let length = try network.run(images: black, count: 1, height: size, width: size)[0].elements.count
    guard length > 0, length % 2 == 0 else {
      throw GraphError(.shape, message: "a landmark network gives pairs of numbers, this one \(length) numbers")
    }
    self.size = size
    count = length / 2
    runner = network
  }

  /// The points of the face in a box, in pixels of the image.
  ///
  /// The box is scaled so that its longer side takes two thirds of the square that the network sees.
  ///
  /// - Returns: nil for a box without extent.
  /// - Throws: `GraphError`.
  public func points(in image: Image, box: BoundingBox) throws(GraphError) -> [Point]? {
    let longer = max(box.right - box.left, box.bottom - box.top)
    guard longer > 0, longer.isFinite else { return nil }
    let (side, scale) = (Double(size), Double(size) / (longer * 1.5))
    let transform = SimilarityTransform(
      a: scale, b: 0, tx: side / 2 - (box.left + box.right) / 2 * scale,
      ty: side / 2 - (box.top + box.bottom) / 2 * scale)
    guard let crop = try? image.warped(transform, width: size, height: size), let inverse = transform.inverse else {
      return nil
    }
    let values = try runner.run(images: crop.pixels, count: 1, height: size, width: size)[0].elements
    guard values.count == 2 * count else {
      throw GraphError(.shape, message: "\(values.count) numbers came for \(count) points")
    }
    let half = Double(size / 2)
    return (0..<count).map {
      inverse.apply(Point((Double(values[2 * $0]) + 1) * half, (Double(values[2 * $0 + 1]) + 1) * half))
    }
  }
}
