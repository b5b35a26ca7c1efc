import Arguments
import FaceDetection
import FaceRecognition
import Formats
import Inference
import Jobs

/// `insightface-bench-plan network`: a network with drawn weights, whose speed is that of a trained one.
struct NetworkCommand: Command {
  static let name = "network"
  static let summary = "Write a network with drawn weights as an MXNet checkpoint"
  static let discussion = """
    The variances are those of He's initialisation, so that numbers stay in range through all layers.

      insightface-bench-plan network --network r50 --output models/r50
    """

  private var network = "y1"
  private var output = ""

  mutating func bind(_ b: inout ArgumentBinder) throws(UsageError) {
    try b.option(&network, "--network", value: "NAME", help: "a network, as `insightface flops` lists them, or mnet")
    try b.option(&output, "--output", value: "PREFIX", required: true, help: "prefix of both files")
  }

  mutating func run() throws {
    var graph: NetworkGraph
    if let known = RecognitionNetwork(rawValue: network) {
      graph = try known.graph()
    } else if let backbone = RetinaFaceNetwork.Backbone(rawValue: network) {
      graph = try RetinaFaceNetwork(backbone: backbone).graph()
    } else {
      throw UsageError("--network \(network): there is no such network")
    }
    for (index, parameter) in try graph.parameters().enumerated() {
      var random = CounterRandom(1, UInt64(index))
      let values: [Float]
      switch parameter.role {
      case .gamma, .movingVariance: values = [Float](repeating: 1, count: parameter.count)
      case .slope: values = [Float](repeating: 0.25, count: parameter.count)
      case .bias, .beta, .movingMean: values = (0..<parameter.count).map { _ in random.uniform(0.1) }
      case .weight, .value:
        // Variance 2 / inputs; that of a uniform draw is bound² / 3.
        let inputs = parameter.count / max(1, parameter.shape.first ?? 1)
        let bound = (6 / Float(max(1, inputs))).squareRoot()
        values = (0..<parameter.count).map { _ in random.uniform(bound) }
      }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, floats: values)
    }
    try ModelFile(graph: graph, format: .mxnet).write(to: output, as: .mxnet)
  }
}
