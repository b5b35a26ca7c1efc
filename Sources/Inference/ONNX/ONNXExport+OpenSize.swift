extension NetworkGraph {
  /// The shapes for images of more rows and columns than declared, for telling what depends on their size.
  ///
  /// - Throws: `GraphError.unsupported` where no input is an image, or where the network takes one size only.
  func shapesAtAnotherSize(than shapes: Shapes) throws(GraphError) -> Shapes {
    var larger: [String: Shape] = [:]
    for input in inputs where input.shape.rank == 4 {
      guard let height = input.shape[2].fixed, let width = input.shape[3].fixed else { continue }
      larger[input.name] = [input.shape[0], input.shape[1], .fixed(height + 96), .fixed(width + 160)]
    }
    let advice = "write it with its height and width fixed"
    guard !larger.isEmpty else {
      throw GraphError(
        .unsupported, message: "no input is an image, so there is no height and width to leave open", advice: advice)
    }
    let other: Shapes
    do throws(GraphError) {
      other = try inferShapes(inputShapes: larger)
    } catch {
      throw GraphError(
        .unsupported, message: "the network takes images of one size only: \(error.message)", advice: advice)
    }
    guard other.parameters == shapes.parameters else {
      throw GraphError(
        .unsupported, message: "the network has weights that fit one size of images only", advice: advice)
    }
    return other
  }
}

// Operators whose constants would fix the size of the images.
extension ONNXExport {
  /// Whether a node gives another shape for images of another size.
  func opensSize(_ index: Int) -> Bool {
    otherShapes.map { $0.outputs[index] != shapes.outputs[index] } ?? false
  }

  /// The target of a Reshape in ONNX's own words: 0 keeps a dimension, −1 is what is left.
  func openTarget(_ node: NetworkGraph.Node) throws(GraphError) -> [Int] {
    guard case .reshape(let targets) = node.operation else { throw unsupported(node, "is no reshape") }
    var numbers: [Int] = []
    for target in targets {
      switch target {
      case .size(let size): numbers.append(size)
      case .keep: numbers.append(0)
      case .infer: numbers.append(-1)
      case .keepRest, .merge, .split:
        throw unsupported(node, "reshapes in a way that is written for one size of images alone")
      }
    }
    return numbers
  }

  /// A window of the size of another tensor, which is measured when the network runs.
  mutating func openCrop(
    _ crop: Operation.Crop, _ node: NetworkGraph.Node, _ x: [String]
  ) throws(GraphError) {
    guard crop.size == nil, x.count == 2, !crop.isCentered, crop.offset == 0 else {
      throw unsupported(node, "cuts a window that is written for one size of images alone")
    }
    let zeros = try integers([0, 0], node, "starts")
    let axes = try integers([2, 3], node, "axes")
    let shape = step("Shape", node, "like", [x[1]])
    let bounds = (try integers([2], node, "first"), try integers([4], node, "last"))
    let ends = step("Slice", node, "ends", [shape, bounds.0, bounds.1])
    add("Slice", node.name, [x[0], zeros, ends, axes])
  }
}
