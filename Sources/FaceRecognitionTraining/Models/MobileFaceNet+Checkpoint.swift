import Inference

extension MobileFaceNet {
  /// The network that a checkpoint was made with, filled with its weights.
  ///
  /// Throws `ConfigurationError` when the checkpoint is of another network: it lists what does not fit.
  public static func matching(_ checkpoint: Checkpoint) throws -> MobileFaceNet {
    let configuration = try Configuration(of: checkpoint.graph)
    let network = MobileFaceNet(configuration)
    try network.load(checkpoint, graph: network.graph())
    return network
  }
}

extension MobileFaceNet.Configuration {
  /// Reads block counts, embedding length, activation and image size off a graph; what does not fit shows when the
  /// weights are matched.
  public init(of graph: NetworkGraph) throws {
    self.init()
    func count(_ stage: String) -> Int {
      graph.nodes.filter { $0.name.hasPrefix("\(stage)_block") && $0.name.hasSuffix("_conv_proj_conv2d") }.count
    }
    let counts = [count("res_2"), count("res_3"), count("res_4"), count("res_5")]
    guard counts.dropFirst().allSatisfy({ $0 > 0 }) else {
      throw ConfigurationError(
        "the checkpoint is not a MobileFaceNet of InsightFace (no res_3_block0…); networks that this program can run are "
          + RecognitionNetwork.allCases.map(\.rawValue).joined(separator: ", "))
    }
    // Without units at 56 pixels there is one plain depthwise convolution, which the reference writes as 1.
    blocks = [max(1, counts[0])] + counts.dropFirst()
    for node in graph.nodes {
      switch node.operation {
      case .fullyConnected(let layer): embeddingSize = layer.units
      case .batchNorm(let layer) where node.name == "conv_1_batchnorm": momentum = layer.momentum
      case .activation(.relu) where node.name == "conv_1_relu": activation = .relu
      case .activation(.sigmoid) where node.name == "conv_1_relu": activation = .sigmoid
      case .activation(.tanh) where node.name == "conv_1_relu": activation = .tanh
      default: continue
      }
    }
    if let size = graph.inputs.first?.shape.dimensions.last?.fixed { imageSize = size }
    guard (97...1024).contains(imageSize), (1...65536).contains(embeddingSize) else {
      throw ConfigurationError("the checkpoint wants images of \(imageSize) pixels and gives \(embeddingSize) numbers")
    }
  }
}
