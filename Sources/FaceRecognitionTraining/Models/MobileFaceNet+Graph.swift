import Inference

extension MobileFaceNet {
  /// The network as a graph: what is exported, imported, and run without LibTorch.
  ///
  /// Node names are those of the reference's symbol, so that its checkpoints and ours are interchangeable.
  public func graph() throws(GraphError) -> NetworkGraph {
    let size = configuration.imageSize
    var g = GraphBuilder(channels: 3, height: size, width: size)
    var x = g.multiply(g.subtract(g.input, 127.5), 0.0078125)
    for layer in layers {
      switch layer {
      case .block(let block): x = block.add(to: &g, x)
      case .unit(let unit): x = unit.add(to: &g, x)
      }
    }
    let fc = g.fullyConnected(preFC1.name.text, x, units: embeddingSize)
    let embedding = g.batchNorm(fc1.name.text, fc, epsilon: fc1.eps, momentum: fc1.momentum, fixGamma: fc1.fixGamma)
    return try g.finish(
      [embedding], preprocessing: .insideGraph(height: size, width: size, embeddingLength: embeddingSize))
  }
}

extension ConvBlock {
  func add(to g: inout GraphBuilder, _ x: GraphBuilder.Value) -> GraphBuilder.Value {
    let shape = conv.weight.shape
    let y = g.convolution(
      conv.name.text, x, filters: shape[0], kernel: .init(height: shape[2], width: shape[3]),
      stride: .init(height: conv.stride.0, width: conv.stride.1),
      pad: .init(.init(height: conv.padding.0, width: conv.padding.1)), groups: conv.groups, bias: conv.bias != nil)
    let normalised = g.batchNorm(bn.name.text, y, epsilon: bn.eps, momentum: bn.momentum, fixGamma: bn.fixGamma)
    let name = activationName
    switch activation {
    case .prelu: return g.prelu(name, normalised)
    case .relu: return g.activation(normalised, .relu, named: name)
    case .sigmoid: return g.activation(normalised, .sigmoid, named: name)
    case .tanh: return g.activation(normalised, .tanh, named: name)
    case nil: return normalised
    }
  }

  /// `<name>_relu`, whatever the activation, as in the reference.
  private var activationName: String {
    prelu?.name.text ?? bn.name.text.replacing("_batchnorm", with: "_relu")
  }
}

extension Bottleneck {
  func add(to g: inout GraphBuilder, _ x: GraphBuilder.Value) -> GraphBuilder.Value {
    let y = project.add(to: &g, depthwise.add(to: &g, separate.add(to: &g, x)))
    return hasShortcut ? g.add(y, x) : y
  }
}
