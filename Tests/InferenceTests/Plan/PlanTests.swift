import CKernels
import Formats
import Foundation
import Testing

@testable import Inference

/// The plan against the literal executor: same graph, same numbers.
@Suite(.serialized) struct PlanTests {
  @Test(arguments: OperatorCase.all)
  func everyOperatorRuns(_ operation: OperatorCase) throws {
    try expectPlanEqualsDefinition(operation.graph(), operation.inputs, within: 2e-5)
  }

  struct ConvolutionCase: CustomTestStringConvertible, Sendable {
    var channels: Int
    var filters: Int
    var kernel: NetworkGraph.Extent
    var stride: NetworkGraph.Extent = 1
    var pad: NetworkGraph.Padding = 0
    var dilation: NetworkGraph.Extent = 1
    var groups = 1
    var size: NetworkGraph.Extent
    var batch = 1
    var testDescription: String {
      "\(channels)→\(filters) k\(kernel) s\(stride) p\(pad) d\(dilation) g\(groups) on \(batch)×\(size)"
    }
  }

  static let convolutions: [ConvolutionCase] = [
    .init(channels: 3, filters: 64, kernel: 3, stride: 2, pad: 1, size: [17, 13]),
    .init(channels: 3, filters: 10, kernel: 3, pad: 1, size: [5, 6], batch: 3),
    .init(channels: 1, filters: 5, kernel: 5, stride: 3, pad: [2, 1, 0, 3], size: [11, 9]),
    .init(channels: 16, filters: 16, kernel: 1, size: [1, 1]),
    .init(channels: 7, filters: 33, kernel: 1, size: [1, 19], batch: 2),
    .init(channels: 64, filters: 128, kernel: 1, size: [14, 14]),
    .init(channels: 20, filters: 40, kernel: 1, stride: 2, size: [9, 7]),
    .init(channels: 24, filters: 17, kernel: [7, 1], pad: [3, 0], size: [9, 4]),
    .init(channels: 8, filters: 12, kernel: 3, pad: 2, dilation: 2, groups: 4, size: [8, 10]),
    .init(channels: 6, filters: 12, kernel: 3, pad: 1, groups: 6, size: [6, 7]),
    .init(channels: 36, filters: 54, kernel: 3, stride: 2, pad: 1, groups: 2, size: [7, 7], batch: 2),
    // Depthwise: 3×3 of both strides, tails of channels and columns, others.
    .init(channels: 64, filters: 64, kernel: 3, pad: 1, groups: 64, size: [13, 11], batch: 2),
    .init(channels: 19, filters: 19, kernel: 3, stride: 2, pad: 1, groups: 19, size: [9, 15]),
    .init(channels: 5, filters: 5, kernel: 3, pad: 1, groups: 5, size: [1, 1]),
    .init(channels: 40, filters: 40, kernel: 7, groups: 40, size: [7, 7], batch: 2),
    .init(channels: 12, filters: 12, kernel: 3, stride: [1, 2], pad: 1, dilation: 2, groups: 12, size: [8, 9]),
    // Winograd's form where there are enough channels: odd sizes, tails, several samples.
    .init(channels: 32, filters: 32, kernel: 3, pad: 1, size: [28, 28]),
    .init(channels: 16, filters: 48, kernel: 3, pad: 1, size: [13, 9], batch: 2),
    .init(channels: 35, filters: 21, kernel: 3, size: [15, 18]),
    .init(channels: 64, filters: 64, kernel: 3, pad: [0, 1, 2, 1], size: [7, 7], batch: 5),
    .init(channels: 128, filters: 130, kernel: 3, pad: 1, size: [14, 14], batch: 2),
    .init(channels: 16, filters: 16, kernel: 3, pad: 1, size: [1, 3]),
  ]

  /// Each with every epilogue: bias, batch norm, activation, addition before and after.
  @Test(arguments: convolutions)
  func convolutionsAreFusedAndEqual(_ c: ConvolutionCase) throws {
    for variant in 0..<6 {
      var g = GraphBuilder(input: "data", channels: c.channels, height: c.size.height, width: c.size.width)
      var x = g.input
      if variant == 1 { x = g.batchNorm("before", x) }
      if variant == 5 { x = g.multiply(g.subtract(x, 0.3), 1.7) }
      func convolution(_ name: String) -> GraphBuilder.Value {
        g.convolution(
          name, x, filters: c.filters, kernel: c.kernel, stride: c.stride, pad: c.pad, dilation: c.dilation,
          groups: c.groups, bias: variant % 2 == 0)
      }
      var y = convolution("conv")
      if variant != 0 { y = g.batchNorm("after", y, fixGamma: variant == 3) }
      switch variant {
      case 1: y = g.prelu("act", y)
      case 2: y = g.relu(g.add(y, convolution("shortcut")))
      case 3: y = g.add(g.activation(y, .clip(minimum: -0.5, maximum: 0.7)), convolution("shortcut"))
      case 4: y = g.prelu("act", g.add(convolution("shortcut"), y), shared: true)
      case 5: y = g.add(y, y)
      default: break
      }
      let graph = try g.finish(y).withRandomWeights(variant)
      try expectPlanEqualsDefinition(graph, randomInput(graph, batch: c.batch, seed: variant), "variant \(variant)")
    }
  }

  @Test(arguments: ["portable", "wide"])
  func otherInstructionSetsComputeTheSame(_ name: String) throws {
    ck_force_portable(name == "wide" ? 2 : 1)
    defer { ck_force_portable(0) }
    for c in Self.convolutions {
      var g = GraphBuilder(input: "data", channels: c.channels, height: c.size.height, width: c.size.width)
      let y = g.convolution(
        "conv", g.input, filters: c.filters, kernel: c.kernel, stride: c.stride, pad: c.pad, dilation: c.dilation,
        groups: c.groups)
      let graph = try g.finish(g.prelu("act", y)).withRandomWeights(3)
      try expectPlanEqualsDefinition(graph, randomInput(graph, batch: c.batch, seed: 5), "\(c.testDescription)")
    }
  }

  @Test func deconvolutionsAreEqual() throws {
    typealias Case = (filters: Int, kernel: Int, stride: Int, pad: Int, extra: Int, groups: Int)
    let cases: [Case] = [
      (6, 3, 2, 1, 1, 1), (8, 2, 2, 0, 0, 8), (4, 4, 2, 1, 0, 2), (5, 2, 3, 0, 0, 1), (3, 3, 1, 1, 0, 1),
      (16, 5, 4, 2, 3, 1),
    ]
    for (number, d) in cases.enumerated() {
      for isNormalised in [false, true] {
        var g = GraphBuilder(input: "data", channels: 8, height: 5, width: 4)
        let x = isNormalised ? g.batchNorm("before", g.input) : g.input
        var y = g.deconvolution(
          "up", x, filters: d.filters, kernel: NetworkGraph.Extent(d.kernel), stride: NetworkGraph.Extent(d.stride),
          pad: NetworkGraph.Padding(NetworkGraph.Extent(d.pad)), outputPadding: NetworkGraph.Extent(d.extra),
          groups: d.groups, bias: isNormalised)
        if isNormalised { y = g.relu(g.batchNorm("after", y)) }
        let graph = try g.finish(y).withRandomWeights(number)
        try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 2, seed: number), "\(d)")
      }
    }
  }

  /// A scale of zero cannot be undone at the border: the batch norm stays where it is.
  @Test func aVanishingScaleIsNotFoldedIntoPadding() throws {
    var g = GraphBuilder(input: "data", channels: 4, height: 6, width: 5)
    let y = g.convolution("conv", g.batchNorm("before", g.relu(g.input)), filters: 8, kernel: 3, pad: 1)
    var graph = try g.finish(y).withRandomWeights(1)
    graph.weights["before_gamma"] = try StoredTensor(shape: [4], floats: [0, 1, 1e-30, 2])
    try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 1, seed: 2))
  }

  @Test func squeezeAndExcitationIsEqual() throws {
    var g = GraphBuilder(input: "data", channels: 24, height: 9, width: 7)
    let x = g.prelu("act", g.convolution("conv", g.input, filters: 24, kernel: 3, pad: 1))
    var s = g.globalAveragePool(x)
    s = g.relu(g.convolution("squeeze", s, filters: 6, kernel: 1))
    s = g.sigmoid(g.convolution("excite", s, filters: 24, kernel: 1))
    let y = g.add(g.multiply(x, s, broadcasting: true), g.input)
    let graph = try g.finish(y, s).withRandomWeights(1)
    try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 3, seed: 2))
  }

  /// The joints of RetinaFace: a concatenation that its parts write into and activate, a crop that takes nothing away.
  @Test(arguments: [2, 3])
  func jointsTakeNoStepsOfTheirOwn(kernel: Int) throws {
    var g = GraphBuilder(input: "data", channels: 5, height: 8, width: 12)
    let fine = g.relu(g.convolution("fine", g.input, filters: 20, kernel: 3, pad: 1))
    let coarse = g.relu(
      g.convolution("coarse", fine, filters: 20, kernel: kernel == 3 ? 3 : 2, stride: 2, pad: kernel == 3 ? 1 : 0))
    let lateral = g.relu(g.convolution("lateral", fine, filters: 20, kernel: 1))
    let sum = g.add(lateral, g.crop(g.upsampleNearest(coarse, scale: 2), like: lateral))
    // Winograd's form, the direct one and the depthwise one; one part is read by another layer too.
    let a = g.convolution("a", sum, filters: 17, kernel: 3, pad: 1)
    let b = g.convolution("b", sum, filters: 3, kernel: 1)
    let c = g.convolution("c", sum, filters: 20, kernel: 3, pad: 1, groups: 20)
    let joined = g.relu(g.concat([a, b, c]))
    let shared = g.convolution("shared", joined, filters: 6, kernel: 1)
    let whole = g.concat([shared, g.convolution("last", shared, filters: 2, kernel: 3, pad: 1)])
    let graph = try g.finish(joined, whole).withRandomWeights(kernel)
    for batch in [1, 3] { try expectPlanEqualsDefinition(graph, randomInput(graph, batch: batch, seed: 2)) }
    let image = try InferencePlan.Tensor(shape: [1, 5, 8, 12], elements: [Float](repeating: 0.5, count: 480))
    let steps = try InferencePlan(graph).stepSeconds(image, calls: 1).map(\.name)
    // The image, eight convolutions, the enlargement and two concatenations; no crop, addition or activation.
    #expect(steps.count == 1 + 8 + 3, "\(steps)")
  }

  @Test func fullyConnectedLayersFollowTheLayout() throws {
    for flattens in [true, false] {
      var g = GraphBuilder(input: "data", channels: 10, height: 4, width: 3)
      var x = g.batchNorm("norm", g.prelu("act", g.input))
      if flattens { x = g.flatten(g.dropout(x, rate: 0.4)) }
      x = g.batchNorm("fc1", g.fullyConnected("pre_fc1", x, units: 21), epsilon: 2e-5, fixGamma: true)
      let y = g.l2Normalize(g.fullyConnected("last", g.relu(x), units: 5, flatten: false))
      let graph = try g.finish(y).withRandomWeights(1)
      for batch in [1, 2, 7] { try expectPlanEqualsDefinition(graph, randomInput(graph, batch: batch, seed: 2)) }
    }
  }

  /// What mixes samples runs as one pass.
  @Test func samplesMayMix() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 4)
    let a = g.reshape(g.input, [-1, 6])
    let b = g.softmax(g.input, axis: 0)
    let c = g.transpose(g.relu(g.input), [1, 0, 2, 3])
    let graph = try g.finish([a, b, c])
    for batch in [1, 3, 4] { try expectPlanEqualsDefinition(graph, randomInput(graph, batch: batch, seed: batch)) }
  }

  @Test func constantsAndSeveralInputs() throws {
    var g = GraphBuilder()
    let a = g.addInput("a", .images(channels: 3, height: 4, width: 5))
    let b = g.addInput("b", [.n, 3])
    let anchors = g.parameter("anchors", shape: [1, 3, 4, 5])
    let x = g.multiply(g.add(a, anchors, broadcasting: true), g.reshape(b, [0, 3, 1, 1]), broadcasting: true)
    let graph = try g.finish(x, anchors, b).withRandomWeights(4)
    try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 3, seed: 1))
  }

  /// Networks drawn at random from convolutions, norms, activations, additions, poolings and joins.
  @Test(arguments: 0..<60)
  func drawnNetworksAreEqual(_ seed: Int) throws {
    var random = TestRandom(seed)
    let size = (4 + random.below(14), 4 + random.below(14))
    var g = GraphBuilder(input: "data", channels: [1, 3, 4, 8, 17, 32][random.below(6)], height: size.0, width: size.1)
    var values = [g.input]
    func pick() -> GraphBuilder.Value { values[max(0, values.count - 1 - random.below(3))] }
    for layer in 0..<12 {
      let x = pick()
      let channels = g.channels(of: x)
      let shape = try #require(g.shape(of: x)?.sizes(batch: 1))
      let y: GraphBuilder.Value
      switch random.below(11) {
      case 0, 1:
        let stride = shape[2] > 3 && shape[3] > 3 ? 1 + random.below(2) : 1
        y = g.convolution(
          "l\(layer)", x, filters: 1 + random.below(40), kernel: 3, stride: NetworkGraph.Extent(stride), pad: 1)
      case 2: y = g.convolution("l\(layer)", x, filters: 1 + random.below(40), kernel: 1, bias: false)
      case 3: y = g.convolution("l\(layer)", x, filters: channels, kernel: 3, pad: 1, groups: channels, bias: false)
      case 4, 5: y = g.batchNorm("l\(layer)", x, fixGamma: random.below(2) == 0)
      case 6: y = g.prelu("l\(layer)", x, shared: random.below(3) == 0)
      case 7: y = random.below(2) == 0 ? g.relu(x) : g.activation(x, .leakyRelu(slope: 0.1))
      case 8:
        let same = values.filter { g.shape(of: $0) == g.shape(of: x) }
        y = g.add(x, same[random.below(same.count)])
      case 9: y = shape[2] > 2 && shape[3] > 2 ? g.maxPool(x, kernel: 3, stride: 2, pad: 1) : g.sigmoid(x)
      default:
        let same = values.filter { g.shape(of: $0)?.dimensions.suffix(2) == g.shape(of: x)?.dimensions.suffix(2) }
        y = g.concat([x, same[random.below(same.count)]])
      }
      values.append(y)
    }
    let outputs = random.below(2) == 0 ? [values[values.count - 1]] : [values[values.count - 1], pick()]
    let graph = try g.finish(outputs).withRandomWeights(seed)
    try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 1 + random.below(3), seed: seed))
  }
}
