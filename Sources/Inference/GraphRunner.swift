/// A tensor of 32-bit floats in C order, as networks take and give it.
public struct FloatTensor: Sendable, Hashable {
  /// Dimensions, outermost first.
  public let shape: [Int]
  /// Elements in C order.
  public let elements: [Float]

  /// A tensor of its parts.
  ///
  /// - Throws: `GraphError.shape` unless the shape has as many elements as are given.
  public init(shape: [Int], elements: [Float]) throws(GraphError) {
    var count = 1
    for size in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow, size >= 0 else {
        throw GraphError(.shape, message: "a tensor cannot have shape \(shape)")
      }
      count = product
    }
    guard count == elements.count else {
      throw GraphError(.shape, message: "a tensor of shape \(shape) has \(count) elements, not \(elements.count)")
    }
    self.init(checked: shape, elements)
  }

  init(checked shape: [Int], _ elements: [Float]) {
    self.shape = shape
    self.elements = elements
  }
}

/// Something that runs a network: what detectors and embedders stand on, so that the way it is run can be exchanged.
public protocol GraphRunner: Sendable {
  /// The names of the outputs, in the order in which `run(_:)` gives them.
  var outputNames: [String] { get }
  /// What to know of how the network is run; nil where it is this project's own plan that runs it.
  var note: String? { get }

  /// Runs a network of one input.
  ///
  /// - Parameter input: (N, C, H, W) of any size that the network's operations accept.
  /// - Returns: the network's outputs in order.
  /// - Throws: `GraphError` where the shape does not fit or a tensor would be too large.
  func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor]
}

extension GraphRunner {
  /// Nothing.
  public var note: String? { nil }
}

/// A runner that takes images as they are, and does to them what the network's preprocessing says.
public protocol ImageRunner: GraphRunner {
  /// Threads of one call.
  var threads: Int { get }

  /// Runs the network on images.
  ///
  /// - Parameters:
  ///   - images: uint8 RGB [N, height, width, 3], image after image.
  ///   - count: N.
  /// - Returns: the network's outputs in order.
  /// - Throws: `GraphError` where the bytes are not N images, or the network does not take them.
  func run(
    images: UnsafeRawBufferPointer, count: Int, height: Int, width: Int
  ) throws(GraphError) -> [FloatTensor]
}

extension ImageRunner {
  /// Runs the network on the images of an array.
  ///
  /// - Throws: as on a buffer.
  public func run(images: [UInt8], count: Int, height: Int, width: Int) throws(GraphError) -> [FloatTensor] {
    let result = images.withUnsafeBytes { bytes in
      Result { () throws(GraphError) in try run(images: bytes, count: count, height: height, width: width) }
    }
    return try result.get()
  }
}

extension InferencePlan: ImageRunner {
  /// The names of the network's outputs.
  public var outputNames: [String] { graph.outputNames }
}

extension NaiveExecutor: GraphRunner {
  /// The names of the network's outputs.
  public var outputNames: [String] { graph.outputNames }

  /// Runs a network of one input in double precision.
  ///
  /// - Throws: as `run(_:outputs:)`, and `.invalid` for a network of several inputs.
  public func run(_ input: FloatTensor) throws(GraphError) -> [FloatTensor] {
    let inputs = graph.inputs
    guard inputs.count == 1, let tensor = Tensor(shape: input.shape, elements: input.elements.map(Double.init)) else {
      throw GraphError(.invalid, message: "a network of one input is expected, this one has \(inputs.count)")
    }
    var outputs: [FloatTensor] = []
    for output in try run([inputs[0].name: tensor]) {
      outputs.append(try FloatTensor(shape: output.shape, elements: output.elements.map { Float($0) }))
    }
    return outputs
  }
}

extension NetworkGraph {
  /// The fastest way here to run this network.
  ///
  /// - Throws: `GraphError` where shapes do not fit or weights are missing.
  public func makeRunner() throws(GraphError) -> any GraphRunner { try InferencePlan(self) }
}
