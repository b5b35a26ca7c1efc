import Formats

/// How a network is written as ONNX.
public struct ONNXExportOptions: Sendable, Hashable {
  /// The versions of ONNX's operators that can be written.
  public static let opsets = 13...21

  /// Version of ONNX's operators.
  public var opset: Int
  /// Whether batch normalisation behind a convolution or a fully connected layer becomes part of its weights.
  public var foldsBatchNorm: Bool
  /// Whether weights and arithmetic are in half precision; inputs and outputs stay in single.
  public var isHalfPrecision: Bool
  /// A note on the licence, which goes into the metadata.
  public var license: String?
  /// Whether the file takes images of any height and width, as a detector's should.
  public var opensSize: Bool

  /// Options; opset 13 is read by every runtime of the last years.
  public init(
    opset: Int = 13, foldsBatchNorm: Bool = false, isHalfPrecision: Bool = false, license: String? = nil,
    opensSize: Bool = false
  ) {
    self.opensSize = opensSize
    self.opset = opset
    self.foldsBatchNorm = foldsBatchNorm
    self.isHalfPrecision = isHalfPrecision
    self.license = license
  }
}

/// The keys under which a network's preprocessing stands in the metadata of an ONNX file.
enum ONNXMetadata {
  /// `Preprocessing.encoded`, what this program reads back.
  static let preprocessing = "insightface.preprocessing"
  static let colourOrder = "colour_order"
  static let inputSize = "input_size"
  static let inputMean = "input_mean"
  static let inputScale = "input_scale"
  static let scaling = "input_scaling"
  static let embeddingLength = "embedding_length"
  static let license = "license"

  /// The metadata for people and other programs.
  static func properties(_ preprocessing: Preprocessing?, license: String?) -> [ONNXModel.Property] {
    var properties: [ONNXModel.Property] = []
    if let preprocessing {
      properties = [
        .init(Self.preprocessing, preprocessing.encoded), .init(colourOrder, preprocessing.colourOrder.rawValue),
        .init(inputSize, "\(preprocessing.width)x\(preprocessing.height)"),
        .init(inputMean, preprocessing.mean.map { "\($0)" }.joined(separator: ",")),
        .init(inputScale, preprocessing.scale.map { "\($0)" }.joined(separator: ",")),
        .init(
          scaling,
          preprocessing.isInsideGraph
            ? "inside the network: feed pixels 0 to 255" : "before the network: feed (pixel - mean) * scale"),
      ]
      if let length = preprocessing.embeddingLength { properties.append(.init(embeddingLength, "\(length)")) }
    }
    if let license { properties.append(.init(Self.license, license)) }
    return properties
  }
}

extension NetworkGraph {
  /// The network with its weights as an ONNX model.
  ///
  /// Node and weight names are kept: the tensor that a node makes bears the node's name. The batch dimension is the
  /// symbol `N`, and with `opensSize` those of height and width of images are symbols too. Preprocessing goes into the
  /// metadata. Gamma of a batch norm that fixes it is written as 1.
  ///
  /// - Throws: `GraphError`: `.missingWeight`, `.mismatch` as `checkWeights()`, `.unsupported` naming the node that
  ///   ONNX has no operator for, `.tooLarge` for a weight beyond half precision's range.
  public func onnxModel(_ options: ONNXExportOptions = ONNXExportOptions()) throws(GraphError) -> ONNXModel {
    guard ONNXExportOptions.opsets.contains(options.opset) else {
      throw GraphError(
        .unsupported,
        message: "opset \(options.opset) cannot be written, only \(ONNXExportOptions.opsets.lowerBound) to "
          + "\(ONNXExportOptions.opsets.upperBound)")
    }
    let source = options.foldsBatchNorm ? try foldingBatchNorm() : self
    let graph = try source.ordered()
    try graph.checkWeights()
    let shapes = try graph.inferShapes()
    var export = ONNXExport(
      graph: graph, options: options, shapes: shapes,
      otherShapes: options.opensSize ? try graph.shapesAtAnotherSize(than: shapes) : nil)
    try export.run()
    // Each opset belongs to a version of the file format; newer ones would be refused by runtimes of its day.
    let irVersion = options.opset <= 14 ? 7 : options.opset <= 18 ? 8 : options.opset <= 20 ? 9 : 10
    return ONNXModel(
      irVersion: irVersion, operatorSets: [.init(version: options.opset)], producerName: "insightface",
      metadata: ONNXMetadata.properties(preprocessing, license: options.license),
      graph: ONNXGraph(
        name: "network", nodes: export.nodes, initializers: export.initializers, inputs: export.inputs,
        outputs: export.outputs))
  }
}

/// The walk over a graph that collects nodes and tensors.
struct ONNXExport {
  typealias Operation = NetworkGraph.Operation

  let graph: NetworkGraph
  let options: ONNXExportOptions
  let shapes: NetworkGraph.Shapes
  /// The shapes for larger images, where height and width stay open: what differs depends on them.
  let otherShapes: NetworkGraph.Shapes?

  var nodes: [ONNXNode] = []
  var initializers: [ONNXTensor] = []
  var inputs: [ONNXValueInfo] = []
  var outputs: [ONNXValueInfo] = []

  /// The name of the tensor of each graph node.
  private var tensorNames: [String] = []
  /// Every tensor name that is taken.
  private var taken: Set<String> = []
  /// Position of each initializer.
  private var initializerPlaces: [String: Int] = [:]

  init(
    graph: NetworkGraph, options: ONNXExportOptions, shapes: NetworkGraph.Shapes,
    otherShapes: NetworkGraph.Shapes? = nil
  ) {
    self.graph = graph
    self.options = options
    self.shapes = shapes
    self.otherShapes = otherShapes
  }

  /// The element type that the network computes in.
  var type: StoredType { options.isHalfPrecision ? .f16 : .f32 }

  mutating func run() throws(GraphError) {
    // The names that users see come first: inputs and nodes, then weights, then what is made up here.
    for node in graph.nodes {
      if case .parameter = node.operation { continue }
      taken.insert(node.name)
    }
    for (index, node) in graph.nodes.enumerated() {
      switch node.operation {
      case .input(let shape):
        inputs.append(
          ONNXValueInfo(node.name, type: .f32, shape: dimensions(shape, otherShapes?.outputs[index], of: "")))
        tensorNames.append(options.isHalfPrecision ? cast(node.name, to: .f16, suffix: "half") : node.name)
      case .parameter:
        tensorNames.append(try initializer(node.parameters[0], of: node, shape: nil))
      default:
        tensorNames.append(node.name)
        try append(node, index)
      }
    }
    for output in graph.outputs { try append(output: output) }
  }

  private mutating func append(output: NetworkGraph.Value) throws(GraphError) {
    let node = graph.nodes[output.node]
    guard !outputs.contains(where: { $0.name == node.name }) else {
      throw GraphError(.unsupported, node: node.name, message: "is an output twice, which ONNX does not allow")
    }
    switch node.operation {
    case .input, .parameter:
      // An output that no operation makes needs one, and with it a name of its own.
      let name = unique(node.name + "_output")
      let attributes = options.isHalfPrecision ? [ONNXAttribute("to", .int(StoredType.f32.onnxCode))] : []
      add(options.isHalfPrecision ? "Cast" : "Identity", name, [tensorNames[output.node]], attributes)
      outputs.append(ONNXValueInfo(name, type: .f32, shape: dimensions(shapes[output], otherShapes?[output], of: name)))
      return
    default: break
    }
    if options.isHalfPrecision {
      // The output keeps its name; what the network computes in half precision gets another.
      let inner = unique(node.name + "_half")
      for index in nodes.indices {
        nodes[index].inputs = nodes[index].inputs.map { $0 == node.name ? inner : $0 }
        nodes[index].outputs = nodes[index].outputs.map { $0 == node.name ? inner : $0 }
      }
      tensorNames[output.node] = inner
      add("Cast", unique(node.name + "_cast"), [inner], output: node.name, [.init("to", .int(StoredType.f32.onnxCode))])
    }
    outputs.append(
      ONNXValueInfo(
        node.name, type: .f32, shape: dimensions(shapes[output], otherShapes?[output], of: node.name)))
  }

  /// The dimensions as the file tells them: what depends on the images' size becomes a symbol, `height` and `width` of the
  /// input, `NAME_height`, `NAME_width` or `NAME_rows` of an output.
  private func dimensions(
    _ shape: NetworkGraph.Shape, _ other: NetworkGraph.Shape?, of output: String
  ) -> [ONNXValueInfo.Dimension] {
    shape.dimensions.enumerated().map { axis, dimension in
      switch dimension {
      case .fixed where other.map { $0.rank == shape.rank && $0[axis] != dimension } ?? false:
        let word = shape.rank == 4 && axis >= 2 ? ["height", "width"][axis - 2] : "rows"
        return .symbol(output.isEmpty ? word : "\(output)_\(word)")
      case .fixed(let size): return .size(size)
      case .batch: return .symbol(dimension.description)
      }
    }
  }

  // MARK: What operators are made with

  /// The tensors that a node takes.
  func operands(_ node: NetworkGraph.Node) -> [String] { node.inputs.map { tensorNames[$0.node] } }

  /// The shape of a node's first operand.
  func inputShape(_ node: NetworkGraph.Node) -> NetworkGraph.Shape { shapes[node.inputs[0]] }

  mutating func unique(_ wanted: String) -> String {
    var name = wanted
    var number = 1
    while !taken.insert(name).inserted {
      number += 1
      name = "\(wanted)_\(number)"
    }
    return name
  }

  /// Appends an operator; without `output`, its tensor bears the operator's name.
  @discardableResult
  mutating func add(
    _ op: String, _ name: String, _ inputs: [String], output: String? = nil, _ attributes: [ONNXAttribute] = []
  ) -> String {
    nodes.append(
      ONNXNode(op, name: name, inputs: inputs, outputs: [output ?? name], attributes: attributes))
    return output ?? name
  }

  /// Appends an operator in the middle of what one graph node becomes.
  mutating func step(
    _ op: String, _ node: NetworkGraph.Node, _ suffix: String, _ inputs: [String], _ attributes: [ONNXAttribute] = []
  ) -> String {
    add(op, unique("\(node.name)_\(suffix)"), inputs, attributes)
  }

  mutating func cast(_ tensor: String, to type: StoredType, suffix: String) -> String {
    add("Cast", unique("\(tensor)_\(suffix)"), [tensor], [.init("to", .int(type.onnxCode))])
  }

  /// A constant of 64-bit integers, as ONNX wants shapes and axes.
  mutating func integers(_ values: [Int], _ node: NetworkGraph.Node, _ suffix: String) throws(GraphError) -> String {
    var bytes: [UInt8] = []
    for value in values { withUnsafeBytes(of: Int64(value).littleEndian) { bytes += $0 } }
    return try constant(shape: [values.count], type: .i64, bytes, unique("\(node.name)_\(suffix)"))
  }

  /// A constant of floating-point numbers in the type the network computes in, or in `type`.
  mutating func numbers(
    _ values: [Double], shape: [Int], _ node: NetworkGraph.Node, _ suffix: String, type: StoredType? = nil
  ) throws(GraphError) -> String {
    let name = unique("\(node.name)_\(suffix)")
    let floats = values.map(Float.init)
    let type = type ?? self.type
    return try constant(shape: shape, type: type, try Self.encode(floats, type, name: name), name)
  }

  private mutating func constant(
    shape: [Int], type: StoredType, _ bytes: [UInt8], _ name: String
  ) throws(GraphError) -> String {
    initializerPlaces[name] = initializers.count
    initializers.append(ONNXTensor(name, try Self.tensor(shape: shape, dtype: type, bytes: bytes)))
    return name
  }

  /// A learned parameter as an initializer under its own name; `shape` views it otherwise, `values` replaces it.
  mutating func initializer(
    _ name: String, of node: NetworkGraph.Node, shape: [Int]?, values: [Float]? = nil
  ) throws(GraphError) -> String {
    guard let stored = graph.weights[name] else {
      throw GraphError(.missingWeight, node: node.name, message: "the weight \"\(name)\" is missing")
    }
    let bytes: [UInt8]
    if values == nil, stored.dtype == type {
      bytes = stored.bytes
    } else {
      bytes = try Self.encode(values ?? stored.floats(), type, name: name)
    }
    let tensor = try Self.tensor(shape: shape ?? stored.shape, dtype: type, bytes: bytes)
    // A weight that several nodes share is written once, unless they want it in different forms.
    if let place = initializerPlaces[name] {
      if initializers[place].tensor == tensor { return name }
      for other in initializers where other.name.hasPrefix(name + "_") && other.tensor == tensor { return other.name }
    }
    let unique = unique(name)
    initializerPlaces[unique] = initializers.count
    initializers.append(ONNXTensor(unique, tensor))
    return unique
  }

  static func tensor(shape: [Int], dtype: StoredType, bytes: [UInt8]) throws(GraphError) -> StoredTensor {
    do {
      return try StoredTensor(shape: shape, dtype: dtype, bytes: bytes)
    } catch {
      throw GraphError(.mismatch, message: error.message)
    }
  }

  static func encode(_ floats: [Float], _ type: StoredType, name: String) throws(GraphError) -> [UInt8] {
    guard type == .f16 else { return floats.withUnsafeBytes { Array($0) } }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(2 * floats.count)
    for float in floats {
      let half = Float16(float)
      guard half.isFinite || !float.isFinite else {
        throw GraphError(
          .tooLarge, message: "the weight \"\(name)\" holds \(float), which half precision cannot",
          advice: "fold the batch normalisations, or write single precision")
      }
      withUnsafeBytes(of: half.bitPattern.littleEndian) { bytes += $0 }
    }
    return bytes
  }
}
