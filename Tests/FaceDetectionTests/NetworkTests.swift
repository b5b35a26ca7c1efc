import Formats
import Imaging
import Inference
import Testing

@testable import FaceDetection

@Suite struct NetworkTests {
  struct Tensor: Decodable, Sendable {
    var shape: [Int]
    var elements: [Float]
  }

  struct Sample: Decodable, Sendable, CustomTestStringConvertible {
    var name: String
    var parameters: [Parameter]
    var outputs: [Tensor]?
    var testDescription: String { name }
  }

  struct Parameter: Decodable, Sendable {
    var name: String
    var shape: [Int]

    init(from decoder: any Decoder) throws {
      var container = try decoder.unkeyedContainer()
      name = try container.decode(String.self)
      shape = try container.decode([Int].self)
    }
  }

  static let samples = (try? Fixtures.decode("symbols.json", as: [Sample].self)) ?? []

  @Test func allSamplesAreThere() { #expect(Self.samples.map(\.name) == ["mnet", "resnet50", "resnet152"]) }

  @Test(arguments: samples)
  func currentNetworksEqualTheReference(_ sample: Sample) throws {
    let backbone = try #require(RetinaFaceNetwork.Backbone(rawValue: sample.name))
    var graph = try RetinaFaceNetwork(backbone: backbone, pyramid: .current).graph(height: 33, width: 40)
    let parameters = try graph.parameters()
    if sample.parameters.count == 1 {
      #expect([parameters.count, parameters.reduce(0) { $0 + $1.count }] == sample.parameters[0].shape)
      return
    }
    let shapes = Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.shape) })
    #expect(shapes == Dictionary(uniqueKeysWithValues: sample.parameters.map { ($0.name, $0.shape) }))
    guard backbone == .mobileNet025 || Fixtures.isSlow, let outputs = sample.outputs else { return }
    for (index, parameter) in sample.parameters.enumerated() {
      let count = parameter.shape.reduce(1, *)
      let fan = parameter.shape.count > 1 ? parameter.shape.dropFirst().reduce(1, *) : 1
      let values = hashed(count, tensor: index, salt: 7).map { value -> Float in
        if parameter.name == "bn_data_gamma" { return 1 }
        if parameter.name.hasSuffix("_var") || parameter.name.hasSuffix("_gamma") { return value + 0.5 }
        return (value - 0.5) * Float((12 / Double(fan)).squareRoot())
      }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, floats: values)
    }
    let input = try FloatTensor(
      shape: [1, 3, 33, 40], elements: hashed(3 * 33 * 40, tensor: 99, salt: 7).map { $0 - 0.5 })
    let found = try NaiveExecutor(graph).run(input)
    #expect(found.map(\.shape) == outputs.map(\.shape))
    for (tensor, expected) in zip(found, outputs) {
      let scale = expected.elements.reduce(0) { max($0, abs($1)) }
      for (value, number) in zip(tensor.elements, expected.elements) { #expect(abs(value - number) <= 2e-4 * scale) }
    }
  }

  @Test(.enabled(if: Fixtures.hasData("retinaface-mnet25"), "no checkpoint"))
  func originalCheckpointHasTheReleasedStructure() throws {
    let original = try Fixtures.originalGraph()
    let graph = try RetinaFaceNetwork(backbone: .mobileNet025).graph()
    #expect(graph.hasSameStructure(as: try original.ordered()))
    #expect(try original.matchWeights(to: graph).isComplete)
  }

  @Test func releasedResNetHasItsNames() throws {
    let graph = try RetinaFaceNetwork(backbone: .resNet50).graph()
    // Shapes as the published checkpoint's conversions list them.
    let shapes = Dictionary(uniqueKeysWithValues: try graph.parameters().map { ($0.name, $0.shape) })
    #expect(shapes["ssh_m1_red_conv_weight"] == [256, 256, 1, 1])
    #expect(shapes["ssh_c2_lateral_weight"] == [256, 512, 1, 1])
    #expect(shapes["ssh_m3_det_context_conv3_2_weight"] == [128, 128, 3, 3])
    #expect(shapes["face_rpn_landmark_pred_stride8_weight"] == [20, 512, 1, 1])
    #expect(graph.outputs.count == 9)
  }

  @Test func fivefoldPyramidHasHeadsAtAllStrides() throws {
    let network = RetinaFaceNetwork(
      backbone: .mobileNet025, pyramid: .current, strides: [64, 32, 16, 8, 4], anchors: 3)
    let graph = try network.graph(height: 64, width: 96)
    let shapes = try graph.inferShapes().outputs
    let outputs = graph.outputs.map { shapes[$0.node].sizes(batch: 1) }
    for (level, stride) in network.strides.enumerated() {
      let rows = (64 + stride - 1) / stride
      let columns = (96 + stride - 1) / stride
      #expect(outputs[3 * level] == [1, 6, rows, columns])
      #expect(outputs[3 * level + 2] == [1, 30, rows, columns])
    }
    #expect(throws: GraphError.self) {
      try RetinaFaceNetwork(backbone: .mobileNet025, strides: [64, 32, 16, 8, 4]).graph()
    }
    #expect(throws: GraphError.self) {
      try RetinaFaceNetwork(backbone: .mobileNet025, pyramid: .current, strides: [8, 16]).graph()
    }
  }

  @Test func portNetworksHaveThePortsParameters() throws {
    let graph = try PyTorchRetinaFace().graph(height: 50, width: 70)
    let names = Set(try graph.parameters().map(\.name))
    #expect(names.contains("body.stage1.1.4.running_var") && names.contains("ssh3.conv7x7_3.1.bias"))
    let priors = [(7, 9), (4, 5), (2, 3)].reduce(0) { $0 + 2 * $1.0 * $1.1 }
    let shapes = try graph.inferShapes().outputs
    #expect(
      graph.outputs.map { shapes[$0.node].sizes(batch: 1) } == [[1, priors, 4], [1, priors, 2], [1, priors, 10]])
    // As torchvision's resnet50 without its classifier, and the port's pyramid and heads, have them.
    #expect(try PyTorchRetinaFace(backbone: .resNet50).graph().parameterCount() > 23_000_000)
  }
}
