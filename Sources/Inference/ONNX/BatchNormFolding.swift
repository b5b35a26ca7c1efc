import Formats

extension NetworkGraph {
  /// The network with every batch normalisation that directly follows a convolution, a transposed convolution or a fully
  /// connected layer made part of that layer's weights.
  ///
  /// The merged layer bears the normalisation's name, its weight keeps its own; a bias that was not there before is called
  /// like the layer with `_bias`. A layer whose result or weight is used elsewhere too, and a normalisation that comes
  /// before a convolution, stay: padding would make the result differ at the border.
  ///
  /// - Throws: `GraphError` as `checkWeights()`.
  func foldingBatchNorm() throws(GraphError) -> NetworkGraph {
    try checkWeights()
    let shapes = try inferShapes()
    var uses = [Int](repeating: 0, count: nodes.count)
    for node in nodes { for input in node.inputs { uses[input.node] += 1 } }
    for output in outputs { uses[output.node] += 1 }
    var weightUses: [String: Int] = [:]
    for node in nodes { for name in node.parameters { weightUses[name, default: 0] += 1 } }

    var folded = nodes
    var weights = weights
    var names = Set(weights.keys)
    // The layer that a normalisation replaces becomes dead and falls out when the graph is ordered.
    for (index, node) in nodes.enumerated() {
      guard case .batchNorm(let batchNorm) = node.operation else { continue }
      let layerIndex = node.inputs[0].node
      var layer = folded[layerIndex]
      guard uses[layerIndex] == 1, layer.operation.absorbsBatchNorm(rank: shapes.outputs[layerIndex].rank, batchNorm),
        layer.parameters.allSatisfy({ weightUses[$0] == 1 }), let weightName = layer.parameters.first,
        let weight = weights[weightName]
      else { continue }
      let statistics = node.parameters.compactMap { weights[$0]?.floats().map(Double.init) }
      guard statistics.count == 4 else { continue }
      let oldBias = layer.parameters.count > 1 ? weights[layer.parameters[1]]?.floats() : nil
      let count = statistics[0].count
      var scale = [Double](repeating: 1, count: count)
      var bias = [Float](repeating: 0, count: count)
      for channel in 0..<count {
        let gamma = batchNorm.fixGamma ? 1 : statistics[0][channel]
        scale[channel] = gamma / (statistics[3][channel] + batchNorm.epsilon).squareRoot()
        let shift = Double(oldBias?[channel] ?? 0) - statistics[2][channel]
        bias[channel] = Float(shift * scale[channel] + statistics[1][channel])
      }
      if layer.parameters.count < 2 {
        var name = layer.name + ParameterRole.bias.suffix
        while !names.insert(name).inserted { name += "_folded" }
        layer.parameters.append(name)
        layer.operation = layer.operation.withBias
      }
      let scaled = Self.scaled(weight, layer.operation, scale)
      do {
        weights[weightName] = try StoredTensor(shape: weight.shape, floats: scaled)
        weights[layer.parameters[1]] = try StoredTensor(shape: [count], floats: bias)
      } catch {
        throw GraphError(.mismatch, node: node.name, message: error.message)
      }
      folded[index] = Node(
        name: node.name, operation: layer.operation, inputs: layer.inputs, parameters: layer.parameters)
    }
    var graph = try NetworkGraph(nodes: folded, outputs: outputs, preprocessing: preprocessing).ordered()
    for parameter in try graph.parameters() { graph.weights[parameter.name] = weights[parameter.name] }
    return graph
  }

  /// A layer's weight with each output channel multiplied by its factor.
  private static func scaled(_ weight: StoredTensor, _ operation: Operation, _ scale: [Double]) -> [Float] {
    var values = weight.floats()
    guard case .deconvolution(let d) = operation, weight.shape.count == 4 else {
      let length = values.count / max(1, scale.count)
      for index in values.indices { values[index] = Float(Double(values[index]) * scale[index / length]) }
      return values
    }
    // (C, filters / groups, kH, kW): the output channel depends on the group of the input channel.
    let (perGroup, taps) = (weight.shape[1], weight.shape[2] * weight.shape[3])
    let groupInputs = weight.shape[0] / d.groups
    for index in values.indices {
      let row = index / taps
      let channel = row / perGroup / groupInputs * perGroup + row % perGroup
      values[index] = Float(Double(values[index]) * scale[channel])
    }
    return values
  }
}

extension NetworkGraph.Operation {
  /// Whether a batch norm over the result's channels can become part of the weights.
  fileprivate func absorbsBatchNorm(rank: Int, _ batchNorm: BatchNorm) -> Bool {
    let axis = batchNorm.axis < 0 ? batchNorm.axis + rank : batchNorm.axis
    return switch self {
    case .convolution, .deconvolution: axis == 1
    case .fullyConnected: axis == rank - 1
    default: false
    }
  }

  fileprivate var withBias: NetworkGraph.Operation {
    switch self {
    case .convolution(var c):
      c.bias = true
      return .convolution(c)
    case .deconvolution(var d):
      d.bias = true
      return .deconvolution(d)
    case .fullyConnected(var f):
      f.bias = true
      return .fullyConnected(f)
    default: return self
    }
  }
}
