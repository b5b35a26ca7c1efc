import Formats

/// What a user says of the preprocessing of a file that does not tell.
public enum PreprocessingChoice: Sendable, Hashable {
  /// The InsightFace networks of MXNet: RGB, pixels 0 to 255 go in, the network computes (x − 127.5) / 128 itself.
  case insightFace
  /// arcface_torch: RGB, (x − 127.5) / 127.5 before the network.
  case arcFaceTorch
  /// Anything else, in full.
  case exact(Preprocessing)

  /// The words for the choices that need no numbers.
  public static let words = ["insightface", "arcface-torch"]

  /// Reads a word of `words` or `Preprocessing.encoded`.
  ///
  /// - Throws: `GraphError.invalid` for anything else.
  public init(text: String) throws(GraphError) {
    switch text {
    case "insightface": self = .insightFace
    case "arcface-torch": self = .arcFaceTorch
    default:
      do {
        self = .exact(try Preprocessing(encoded: text))
      } catch {
        throw GraphError(
          .invalid, message: error.message,
          advice: "say \(Self.words.joined(separator: " or ")), or "
            + "colour=RGB;size=112x112;mean=127.5;scale=0.0078125;inside_graph=false;embedding=512")
      }
    }
  }

  /// The preprocessing of a network, whose input and output give size and length.
  func preprocessing(of graph: NetworkGraph) throws(GraphError) -> Preprocessing {
    if case .exact(let preprocessing) = self { return preprocessing }
    return try preprocessing(size: graph.imageSize, embeddingLength: graph.embeddingLength())
  }

  /// The preprocessing of a network that takes images of a size.
  func preprocessing(
    size: NetworkGraph.Extent?, embeddingLength length: Int?
  ) throws(GraphError) -> Preprocessing {
    if case .exact(let preprocessing) = self { return preprocessing }
    guard let size else {
      throw GraphError(
        .invalid, message: "the network does not take images of a fixed size, so it has no preprocessing of that kind",
        advice: "say the preprocessing in full, with the size")
    }
    var preprocessing = Preprocessing.insideGraph(height: size.height, width: size.width, embeddingLength: length)
    if self == .arcFaceTorch {
      preprocessing.scale = [1 / 127.5]
      preprocessing.isInsideGraph = false
    }
    return preprocessing
  }
}

extension NetworkGraph {
  /// Height and width of the first input; nil where it is no image.
  public var imageSize: Extent? {
    guard let shape = inputs.first?.shape, shape.rank == 4, let height = shape[2].fixed, let width = shape[3].fixed
    else { return nil }
    return Extent(height: height, width: width)
  }

  /// The length of the vector that the network gives; nil where it gives something else.
  ///
  /// - Throws: `GraphError` as `inferShapes()`.
  public func embeddingLength() throws(GraphError) -> Int? {
    guard outputs.count == 1 else { return nil }
    let shape = try inferShapes()[outputs[0]]
    return shape.rank == 2 ? shape[1].fixed : nil
  }

  /// The network with a scaling that was done before it done by itself, in the way of the InsightFace networks of MXNet,
  /// so that it takes pixels 0 to 255.
  ///
  /// Nothing changes where the scaling is inside already, is none, differs between channels, or is not known.
  func withScalingInside() throws(GraphError) -> NetworkGraph {
    guard var preprocessing, !preprocessing.isInsideGraph, preprocessing.mean.count == 1,
      preprocessing.scale.count == 1, preprocessing.mean != [0] || preprocessing.scale != [1], inputs.count == 1,
      let start = nodes.firstIndex(where: { if case .input = $0.operation { true } else { false } })
    else { return self }
    func unique(_ stem: String) -> String {
      var name = "\(stem)0"
      var number = 0
      while node(named: name) != nil {
        number += 1
        name = "\(stem)\(number)"
      }
      return name
    }
    // Both new nodes follow the input; everything behind it moves by two.
    func moved(_ value: Value) -> Value {
      value.node < start ? value : Value(node: value.node + 2)
    }
    var changed = Array(nodes[...start])
    changed.append(
      Node(
        name: unique("_minusscalar"), operation: .scalar(.init(.subtract, preprocessing.mean[0])),
        inputs: [Value(node: start)]))
    changed.append(
      Node(
        name: unique("_mulscalar"), operation: .scalar(.init(.multiply, preprocessing.scale[0])),
        inputs: [Value(node: start + 1)]))
    for node in nodes[(start + 1)...] {
      var node = node
      node.inputs = node.inputs.map(moved)
      changed.append(node)
    }
    preprocessing.isInsideGraph = true
    return try NetworkGraph(
      nodes: changed, outputs: outputs.map(moved), weights: weights, preprocessing: preprocessing)
  }
}
