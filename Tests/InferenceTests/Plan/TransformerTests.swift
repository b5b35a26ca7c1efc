import CKernels
import Testing

@testable import Inference

/// Kernels of transformers against the literal executor.
@Suite(.serialized) struct TransformerTests {
  /// What a test changes about attention.
  enum Variant: CaseIterable {
    case plain, unscaled, ownProjections, dropout
    /// No single layer: weights that are read twice, a softmax along the other axis, a shared transpose.
    case weightsAreOutput, otherAxis, valuesAreOutput
  }

  /// One unit of a transformer over the positions of an image.
  private func graph(_ variant: Variant, heads: Int, depth: Int, side: NetworkGraph.Extent) throws -> NetworkGraph {
    var g = GraphBuilder(input: "data", channels: 5, height: side.height, width: side.width)
    let width = heads * depth
    var x = g.convolution("patches", g.input, filters: width, kernel: 1)
    x = g.transpose(g.reshape(x, [0, 0, -1]), [0, 2, 1])
    x = g.add(x, g.parameter("position", shape: [1, side.height * side.width, width]), broadcasting: true)
    let masked = g.add(.tokenMask(ratio: 0.1), [x], named: "masking")
    let y = g.layerNorm("norm", masked)
    let qkv = g.fullyConnected("qkv", y, units: 3 * width, bias: false, flatten: false)
    let parts = (0..<3).map { index in
      let part =
        variant == .ownProjections
        ? g.fullyConnected("part\(index)", y, units: width, flatten: false)
        : g.slice(qkv, axis: 2, begin: index * width, end: (index + 1) * width)
      return g.transpose(g.reshape(part, [0, 0, .size(heads), -1]), [0, 2, 1, 3])
    }
    var weights = g.matmul(parts[0], parts[1], transposesSecond: true)
    if variant != .unscaled { weights = g.divide(g.multiply(weights, 2), 3) }
    weights = g.softmax(weights, axis: variant == .otherAxis ? 2 : -1)
    if variant == .dropout { weights = g.dropout(weights, rate: 0.3) }
    let mixed = g.reshape(g.transpose(g.matmul(weights, parts[2]), [0, 2, 1, 3]), [0, 0, -1])
    var z = g.fullyConnected("proj", mixed, units: width, flatten: false)
    z = g.add(masked, g.dropPath(z, rate: 0.2))
    z = g.activation(g.fullyConnected("fc1", z, units: 7, flatten: false), .gelu)
    z = g.add(.tokenRestore, [z, masked], named: "restoring")
    var outputs = [g.fullyConnected("last", g.flatten(z), units: 3)]
    if variant == .weightsAreOutput { outputs.append(weights) }
    if variant == .valuesAreOutput { outputs.append(parts[2]) }
    return try g.finish(outputs).withRandomWeights(heads)
  }

  @Test(arguments: Variant.allCases)
  func attentionIsOneLayerAndEqual(_ variant: Variant) throws {
    // One token; fewer and more rows than are held at a time; depths and token numbers beside the width of a panel.
    for (heads, depth, side) in [(1, 1, [1, 1]), (2, 16, [3, 5]), (3, 5, [7, 9]), (4, 19, [8, 7])]
      as [(Int, Int, NetworkGraph.Extent)]
    {
      let graph = try graph(variant, heads: heads, depth: depth, side: side)
      var parameters: [String: [Float]] = [:]
      for (name, tensor) in graph.weights { parameters[name] = tensor.floats() }
      let shapes = try graph.inferShapes(inputShapes: [
        "data": .images(channels: 5, height: side.height, width: side.width)
      ])
      let lowering = try Lowering(graph, shapes: shapes, parameters: parameters)
      let fused = lowering.order.count { if case .attention = lowering.layers[$0].kind { true } else { false } }
      switch variant {
      case .weightsAreOutput, .otherAxis, .valuesAreOutput: #expect(fused == 0)
      default: #expect(fused == 1)
      }
      for batch in [1, 3] {
        try expectPlanEqualsDefinition(
          graph, randomInput(graph, batch: batch, seed: heads), within: 2e-5, "\(variant) \(heads)×\(depth) on \(side)")
      }
    }
  }

  /// Tensors of every rank, whose order in memory differs between images and the others.
  @Test func productsOfMatricesAreEqual() throws {
    let shapes: [[Int]] = [[], [3], [2, 3], [2, 2, 3]]
    for dimensions in shapes {
      for transposes in [false, true] {
        for (rows, depth, columns) in [(1, 1, 1), (7, 5, 3), (13, 33, 18), (50, 8, 40)] {
          var g = GraphBuilder()
          let a = g.addInput(
            "a", NetworkGraph.Shape([.n] + (dimensions.dropFirst(0) + [rows, depth]).map { .fixed($0) }))
          let second = transposes ? [columns, depth] : [depth, columns]
          let b = g.addInput("b", NetworkGraph.Shape([.n] + (dimensions + second).map { .fixed($0) }))
          let graph = try g.finish(g.matmul(a, b, transposesSecond: transposes))
          for batch in [1, 2] {
            try expectPlanEqualsDefinition(
              graph, randomInput(graph, batch: batch, seed: rows), within: 1e-5,
              "\(dimensions) \(rows)×\(depth)×\(columns) \(transposes)")
          }
        }
      }
    }
    // Rank 2: N is a side of the matrix itself.
    for transposes in [false, true] {
      var g = GraphBuilder()
      let a = g.addInput("a", [.n, 9])
      let b = g.parameter("b", shape: transposes ? [21, 9] : [9, 21])
      let graph = try g.finish(g.matmul(a, b, transposesSecond: transposes)).withRandomWeights(1)
      for batch in [1, 11] { try expectPlanEqualsDefinition(graph, randomInput(graph, batch: batch, seed: 1)) }
      var mixing = GraphBuilder()
      let c = mixing.addInput("a", [.n, 9])
      let mixed = try mixing.finish(mixing.matmul(c, c, transposesSecond: true))
      for batch in [1, 11] { try expectPlanEqualsDefinition(mixed, randomInput(mixed, batch: batch, seed: 1)) }
    }
  }

  /// Along every axis, with lines shorter and longer than a vector, small and large enough to be shared by threads.
  @Test(arguments: ["native", "portable"])
  func normsAndFunctionsAreEqual(_ set: String) throws {
    ck_force_portable(set == "portable" ? 1 : 0)
    defer { ck_force_portable(0) }
    for sizes in [[1, 1], [3, 5], [16, 8], [37, 19], [100, 85], [3, 5, 11], [24, 30, 17], [2, 3, 4, 9]] {
      for axis in 1...sizes.count {
        var g = GraphBuilder()
        let x = g.addInput("x", NetworkGraph.Shape([.n] + sizes.map { .fixed($0) }))
        let wide = g.multiply(x, 20)
        let norm = g.layerNorm("norm", g.add(x, 3), epsilon: 1e-6, axis: axis)
        let graph = try g.finish([
          g.softmax(x, axis: axis), g.softmax(wide, axis: axis - sizes.count - 1), norm, g.activation(wide, .gelu),
          g.activation(g.multiply(x, x), .squareRoot),
        ]).withRandomWeights(axis)
        try expectPlanEqualsDefinition(
          graph, randomInput(graph, batch: 2, seed: axis), within: 1e-5, "\(sizes) along \(axis)")
      }
    }
  }

  /// Numbers beyond all bounds stay what they are where they are, and do not touch other lines.
  @Test func softmaxOfExtremesIsThatOfTheDefinition() throws {
    var g = GraphBuilder()
    let x = g.addInput("x", [.n, 4, 11])
    let graph = try g.finish(g.softmax(x))
    var elements = [Double](repeating: 0, count: 44)
    for index in elements.indices { elements[index] = Double(index % 11) * 0.1 }
    elements[2] = 1e4
    elements[11 + 10] = -1e4
    elements[22 + 3] = -.infinity
    elements[33 + 5] = .nan
    let tensor = try #require(NaiveExecutor.Tensor(shape: [1, 4, 11], elements: elements))
    // One thread: two results with NaN in them are not equal.
    try expectPlanEqualsDefinition(graph, ["x": tensor], threads: [1])
  }
}
