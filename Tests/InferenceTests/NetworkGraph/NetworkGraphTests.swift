import Formats
import Foundation
import Testing

@testable import Inference

/// Building, checking, importing: what fits, and what is refused with which words.
@Suite struct NetworkGraphTests {
  private typealias Attribute = MXNetSymbol.Attribute
  private typealias Node = MXNetSymbol.Node

  /// A symbol of `data`, further variables, and one operator over all of them.
  private static func symbol(
    _ op: String, _ attributes: [String: String], variables: [String] = [], name: String = "x"
  ) throws -> MXNetSymbol {
    var nodes = ([("data")] + variables).map { Node(op: "null", name: $0) }
    nodes.append(
      Node(
        op: op, name: name, attributes: attributes.map { Attribute($0.key, $0.value) },
        inputs: nodes.indices.map { MXNetSymbol.Entry(node: $0) }))
    return try MXNetSymbol(nodes: nodes, heads: [.init(node: nodes.count - 1)])
  }

  private static func importBare(
    _ symbol: MXNetSymbol, data: NetworkGraph.Shape = [.n, 4, 8, 8]
  ) throws -> NetworkGraph {
    try NetworkGraph.importing(symbol, options: .init(inputShapes: ["data": data], allowsMissingWeights: true)).graph
  }

  private func tensor(_ shape: [Int], _ value: Float = 0.5) throws -> StoredTensor {
    try StoredTensor(shape: shape, floats: [Float](repeating: value, count: shape.reduce(1, *)))
  }

  // MARK: Building

  @Test func theBuilderNamesAndShapes() throws {
    var g = GraphBuilder(input: "data", channels: 3, height: 20, width: 16)
    let stem = g.convolution("conv0", g.input, filters: 8, kernel: 3, stride: 2, pad: 1, bias: false)
    #expect(g.shape(of: stem) == [.n, 8, 10, 8])
    #expect(g.channels(of: stem) == 8)
    let pooled = g.maxPool(g.prelu("relu0", g.batchNorm("bn0", stem)), kernel: 2, stride: 2)
    let joined = g.concat([pooled, g.add(pooled, pooled)])
    let logits = g.fullyConnected("fc", g.flatten(joined), units: 5)
    let unused = g.relu(stem)
    _ = g.sigmoid(unused)
    let graph = try g.finish(g.softmax(logits))
    #expect(
      graph.nodes.map(\.name)
        == ["data", "conv0", "bn0", "relu0", "pooling0", "_plus0", "concat0", "flatten0", "fc", "softmax0"])
    #expect(try graph.inferShapes()[graph.outputs[0]] == [.n, 5])
    #expect(
      try graph.parameters().map { "\($0.name) \($0.shape) \($0.isAuxiliary)" } == [
        "conv0_weight [8, 3, 3, 3] false", "bn0_gamma [8] false", "bn0_beta [8] false", "bn0_moving_mean [8] true",
        "bn0_moving_var [8] true", "relu0_gamma [8] false", "fc_weight [5, 320] false", "fc_bias [5] false",
      ])
    #expect(try graph.parameterCount() == 216 + 5 * 8 + 1600 + 5)
    #expect(graph.outputNames == ["softmax0"])
  }

  @Test func theFirstMistakeIsKept() {
    var g = GraphBuilder(input: "data", channels: 3, height: 20, width: 16)
    let good = g.convolution("good", g.input, filters: 8, kernel: 3)
    let bad = g.convolution("bad", good, filters: 8, kernel: 40)
    #expect(g.shape(of: bad) == nil)
    let worse = g.convolution("worse", bad, filters: -8, kernel: 3)
    let error = #expect(throws: GraphError.self) { try g.finish(worse) }
    #expect(error?.node == "bad")
    #expect(error?.operation == "convolution")
    #expect(error?.code == .shape)
    #expect(error?.message.contains("(N, 8, 18, 14)") == true)
  }

  @Test func mistakesAreNamed() throws {
    typealias Build = (inout GraphBuilder) -> GraphBuilder.Value
    let cases: [(Build, GraphError.Code, String)] = [
      ({ $0.convolution("x", $0.input, filters: 8, kernel: 3, groups: 3) }, .invalid, "do not divide into 3 groups"),
      ({ $0.convolution("x", $0.input, filters: 9, kernel: 3, groups: 3) }, .shape, "4 input channels do not divide"),
      ({ $0.convolution("x", $0.input, filters: 8, kernel: [1, 2, 3]) }, .invalid, "kernel is 0"),
      ({ $0.convolution("x", $0.input, filters: 8, kernel: 3, stride: 0) }, .invalid, "stride is 0"),
      ({ $0.convolution("x", $0.input, filters: 8, kernel: 3, pad: [1, 2, 3]) }, .invalid, "pad is -1"),
      ({ $0.convolution("x", $0.flatten($0.input), filters: 8, kernel: 3) }, .shape, "needs images"),
      ({ $0.maxPool($0.input, kernel: 3, pad: 3) }, .invalid, "must be smaller than kernel"),
      ({ $0.maxPool($0.input, kernel: 30) }, .shape, "larger than the padded image"),
      ({ $0.add($0.input, $0.globalAveragePool($0.input)) }, .shape, "must be equal"),
      (
        { $0.add($0.input, $0.slice($0.input, axis: 1, begin: 0, end: 3), broadcasting: true) }, .shape,
        "cannot be broadcast"
      ),
      ({ $0.concat([$0.input, $0.flatten($0.input)]) }, .shape, "differ outside axis 1"),
      ({ $0.concat([]) }, .shape, "takes 1...1024 tensors"),
      ({ $0.concat([$0.input], axis: 4) }, .shape, "no axis 4"),
      ({ $0.reshape($0.input, [0, -1, 7]) }, .shape, "does not divide"),
      ({ $0.reshape($0.input, [-1, -1]) }, .invalid, "more than one dimension"),
      ({ $0.reshape($0.input, [0, 3]) }, .shape, "does not divide"),
      ({ $0.reshape($0.input, [0, 0, 0, 0, 0]) }, .shape, "keeps more dimensions"),
      ({ $0.transpose($0.input, [0, 0, 1, 2]) }, .invalid, "not a permutation"),
      ({ $0.transpose($0.input, [1, 0]) }, .shape, "does not fit"),
      ({ $0.slice($0.input, axis: 1, begin: 2, end: 2) }, .shape, "not inside axis 1"),
      ({ $0.slice($0.input, axis: 0, begin: 0, end: 1) }, .shape, "depends on the batch size"),
      ({ $0.crop($0.globalAveragePool($0.input), like: $0.input) }, .shape, "not inside"),
      ({ $0.upsampleNearest($0.input, scale: 0) }, .invalid, "scale is 0"),
      ({ $0.dropout($0.input, rate: 1) }, .invalid, "rate is 1.0"),
      ({ $0.multiply($0.input, .nan) }, .invalid, "the constant is nan"),
      ({ $0.batchNorm("x", $0.input, epsilon: -1) }, .invalid, "epsilon is -1.0"),
      (
        { $0.deconvolution("x", $0.input, filters: 4, kernel: 2, stride: 2, outputPadding: 2) }, .invalid,
        "smaller than"
      ),
      ({ $0.relu($0.input, named: "data") }, .invalid, "used twice"),
      ({ $0.parameter("x", shape: [1 << 20, 1 << 20]) }, .tooLarge, "more than"),
      ({ $0.relu(GraphBuilder.Value(node: 99)) }, .invalid, "another network"),
    ]
    for (build, code, message) in cases {
      var g = GraphBuilder(input: "data", channels: 4, height: 8, width: 8)
      let value = build(&g)
      let error = #expect(throws: GraphError.self) { try g.finish(value) }
      #expect(error?.code == code, "\(message): \(error.map(String.init(describing:)) ?? "")")
      #expect(error?.message.contains(message) == true, "\(message): \(error.map(String.init(describing:)) ?? "")")
      #expect(error?.node != nil)
    }
  }

  @Test func batchDimensionsAreSymbolic() throws {
    var g = GraphBuilder(input: "data", channels: 4, height: 6, width: 6)
    let merged = g.reshape(g.input, [.merge, .keepRest])
    let split = g.reshape(merged, [.split(-1, 4), .keep, .keep])
    let flat = g.reshape(g.input, [-1])
    #expect(g.shape(of: merged) == [.batch(4), 6, 6])
    #expect(g.shape(of: split) == [.n, 4, 6, 6])
    #expect(g.shape(of: flat) == [.batch(144)])
    #expect(g.shape(of: merged)?.description == "(4N, 6, 6)")
    #expect(g.shape(of: merged)?.sizes(batch: 5) == [20, 6, 6])
    let graph = try g.finish(split, flat)
    // Another input shape, here a larger image of one fixed batch.
    let shapes = try graph.inferShapes(inputShapes: ["data": [2, 4, 9, 7]])
    #expect(graph.outputs.map { shapes[$0] } == [[2, 4, 9, 7], [504]])
    let error = #expect(throws: GraphError.self) { try graph.inferShapes(inputShapes: ["dta": [2, 4, 9, 7]]) }
    #expect(error?.code == .unknownName)
  }

  @Test func unsoundGraphsAreRefused() throws {
    let input = NetworkGraph.Node(name: "data", operation: .input([.n, 4]))
    func relu(_ inputs: [Int], parameters: [String]? = nil, name: String = "r") -> NetworkGraph.Node {
      NetworkGraph.Node(
        name: name, operation: .activation(.relu), inputs: inputs.map { .init(node: $0) }, parameters: parameters)
    }
    let cases: [([NetworkGraph.Node], [Int], String)] = [
      ([input, relu([1])], [1], "does not come before it"),
      ([input, relu([-1])], [1], "does not come before it"),
      ([input, relu([])], [1], "takes 1...1 tensors"),
      ([input, relu([0], parameters: ["w"])], [1], "has 0 parameters"),
      ([input, relu([0], name: "data")], [1], "used twice"),
      ([input, relu([0], name: "")], [1], "has no name"),
      ([input], [], "no output"),
      ([input], [1], "an output refers to node 1"),
    ]
    for (nodes, outputs, message) in cases {
      let error = #expect(throws: GraphError.self) {
        try NetworkGraph(nodes: nodes, outputs: outputs.map { .init(node: $0) })
      }
      #expect(error?.message.contains(message) == true, "\(error.map(String.init(describing:)) ?? "")")
    }
  }

  @Test func deepNetworksDoNotExhaustTheStack() throws {
    var g = GraphBuilder(input: "data", channels: 1, height: 1, width: 1)
    var x = g.input
    for _ in 0..<20_000 { x = g.relu(x) }
    let graph = try g.finish(x)
    let again = try NetworkGraph.importing(graph.mxnetSymbol(), options: .init(inputShapes: ["data": [.n, 1, 1, 1]]))
    #expect(again.graph.nodes.count == 20_001)
  }

  // MARK: Weights

  @Test func weightsAreChecked() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 3)
    var graph = try g.finish(g.convolution("c", g.input, filters: 2, kernel: 1))
    let missing = #expect(throws: GraphError.self) { try graph.checkWeights() }
    #expect(missing?.code == .missingWeight)
    #expect(missing?.message.contains("c_weight, c_bias") == true)
    graph.weights = ["c_weight": try tensor([2, 2, 1, 1]), "c_bias": try tensor([3])]
    let mismatch = #expect(throws: GraphError.self) { try graph.checkWeights() }
    #expect(mismatch?.code == .mismatch)
    #expect(mismatch?.message.contains("[2], found [3]") == true)
    graph.weights["c_bias"] = try tensor([2])
    try graph.checkWeights()
    #expect(try graph.mxnetWeights().map(\.name) == ["arg:c_weight", "arg:c_bias"])
  }

  @Test func sharedNamesNeedOneShape() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 3)
    let convolution = NetworkGraph.Operation.convolution(.init(filters: 4, kernel: 1, bias: false))
    let first = g.add(convolution, [g.input], named: "a", parameters: ["w"])
    let second = g.add(convolution, [first], named: "b", parameters: ["w"])
    let error = #expect(throws: GraphError.self) { try g.finish(second) }
    #expect(error?.code == .shape)
    #expect(error?.node == "b")
    #expect(error?.message.contains("[4, 4, 1, 1]") == true)
  }

  @Test func weightsAreMatchedByPlaceWhereNamesDiffer() throws {
    func network(_ prefix: String) throws -> NetworkGraph {
      var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 3)
      let x = g.convolution("\(prefix)conv", g.input, filters: 2, kernel: 1)
      return try g.finish(g.batchNorm("\(prefix)bn", g.add(x, g.input)))
    }
    var source = try network("old_")
    for parameter in try source.parameters() {
      source.weights[parameter.name] = try tensor(parameter.shape, Float(source.weights.count))
    }
    source.weights["fc7_weight"] = try tensor([5, 2])
    let match = try source.matchWeights(to: network("new_"))
    #expect(match.leftover == ["fc7_weight"])
    #expect(match.missing.isEmpty && match.mismatched.isEmpty && !match.isComplete)
    #expect(match.weights["new_bn_moving_var"] == source.weights["old_bn_moving_var"])
    #expect(match.renamed.count == 6)
  }

  // MARK: Importing

  @Test func whatHasNoCounterpartIsNamed() throws {
    let cases: [(String, [String: String], [String], String)] = [
      ("ROIPooling", [:], [], "no counterpart"),
      ("Convolution", ["kernel": "(3, 3)", "num_filter": "4", "layout": "NHWC"], ["w", "b"], "layout = \"NHWC\""),
      ("Convolution", ["kernel": "(3, 3)", "num_filter": "4", "flavour": "1"], ["w", "b"], "attribute flavour"),
      ("Convolution", ["kernel": "(3,)", "num_filter": "4"], ["w", "b"], "only images of two dimensions"),
      ("Convolution", ["num_filter": "4"], ["w", "b"], "no kernel"),
      ("Convolution", ["kernel": "(3, 3)", "num_filter": "four"], ["w", "b"], "not an integer"),
      ("Convolution", ["kernel": "(3, 3", "num_filter": "4"], ["w", "b"], "not a tuple"),
      ("Convolution", ["kernel": "(3, 3)", "num_filter": "4", "no_bias": "maybe"], ["w"], "neither True nor False"),
      ("Convolution", ["kernel": "(3, 3)", "num_filter": "4"], ["w"], "takes 2 weights, not 1"),
      ("LeakyReLU", ["act_type": "rrelu"], [], "\"rrelu\" is not supported"),
      ("Activation", ["act_type": "mish"], [], "\"mish\" is not supported"),
      ("Pooling", ["pool_type": "lp", "kernel": "(2, 2)"], [], "\"lp\" is not supported"),
      ("UpSampling", ["sample_type": "bilinear", "scale": "2"], [], "only nearest"),
      ("Reshape", ["shape": "(0, -1)", "reverse": "True"], [], "reverse"),
      ("softmax", ["temperature": "2.0"], [], "temperature"),
      ("_plus_scalar", ["scalar": "inf"], [], "not a number"),
      ("SoftmaxOutput", [:], ["label"], "a softmax over all of"),
    ]
    for (op, attributes, variables, message) in cases {
      let symbol = try Self.symbol(op, attributes, variables: variables, name: "here")
      let error = #expect(throws: GraphError.self) { try Self.importBare(symbol) }
      #expect(error?.node == "here", "\(op)")
      #expect(error?.operation == op)
      #expect(error?.message.contains(message) == true, "\(error.map(String.init(describing:)) ?? "")")
    }
  }

  @Test func spellingsOfPython2AreRead() throws {
    let symbol = try Self.symbol(
      "Convolution", ["kernel": "(3L, 3L)", "num_filter": "4", "pad": "[1,1]", "no_bias": "1"], variables: ["w"])
    let graph = try Self.importBare(symbol)
    #expect(
      graph.node(named: "x")?.operation == .convolution(.init(filters: 4, kernel: 3, pad: 1, bias: false)))
    #expect(graph.node(named: "x")?.parameters == ["w"])
  }

  @Test func symbolsOfMXNet08AreImported() throws {
    let path = Fixtures.root.appendingPathComponent("Tests/Fixtures/mxnet-symbol/mxnet-0.8.json").path
    let graph = try Self.importBare(MXNetSymbol.read(path: path))
    #expect(graph.nodes.map(\.name) == ["data", "conv", "bn", "relu", "plus"])
    #expect(graph.auxiliaryNames() == ["bn_moving_mean", "bn_moving_var"])
    #expect(graph.nodes.last?.operation == .scalar(.init(.add, 1)))
  }

  /// A checkpoint saved with its head: cut at the embedding, the head's operators and weights do not matter.
  @Test func networksAreCutAtAnOutput() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 3)
    let body = try g.finish(g.batchNorm("fc1", g.fullyConnected("pre_fc1", g.input, units: 4), fixGamma: true))
    let symbol = try body.mxnetSymbol()
    let end = symbol.nodes.count
    var nodes = symbol.nodes
    nodes += [
      Node(op: "null", name: "fc7_weight"),
      Node(op: "L2Normalization", name: "fc7_w", inputs: [.init(node: end)]),
      Node(
        op: "FullyConnected", name: "fc7", attributes: [.init("num_hidden", "7"), .init("no_bias", "True")],
        inputs: [symbol.heads[0], .init(node: end + 1)]),
    ]
    let whole = try MXNetSymbol(nodes: nodes, heads: [.init(node: end + 2)])
    var weights: [(name: String, tensor: StoredTensor)] = try body.parameters().map {
      (($0.isAuxiliary ? "aux:" : "arg:") + $0.name, try tensor($0.shape))
    }
    weights.append(("arg:fc7_weight", try tensor([7, 4])))
    var options = MXNetImport.Options(inputShapes: ["data": [.n, 2, 3, 3]])
    let refused = #expect(throws: GraphError.self) {
      try NetworkGraph.importing(whole, weights: weights, options: options)
    }
    #expect(refused?.code == .unsupported)
    #expect(refused?.node == "fc7")

    options.outputs = ["fc1_output"]
    let imported = try NetworkGraph.importing(whole, weights: weights, options: options)
    #expect(imported.graph.hasSameStructure(as: body))
    #expect(imported.unusedWeights == ["fc7_weight"])
    // Stored as 0.5, computed as 1.
    #expect(imported.graph.weights["fc1_gamma"]?.floats() == [1, 1, 1, 1])
    #expect(imported.graph.weights["fc1_beta"]?.floats() == [0.5, 0.5, 0.5, 0.5])

    options.outputs = ["fc2_output"]
    let unknown = #expect(throws: GraphError.self) {
      try NetworkGraph.importing(whole, weights: weights, options: options)
    }
    #expect(unknown?.code == .unknownName)

    options.outputs = ["fc1"]
    let missing = #expect(throws: GraphError.self) {
      try NetworkGraph.importing(whole, weights: weights.filter { $0.name != "arg:pre_fc1_bias" }, options: options)
    }
    #expect(missing?.code == .missingWeight)
    #expect(missing?.message.contains("pre_fc1_bias") == true)
    let twice = #expect(throws: GraphError.self) {
      try NetworkGraph.importing(whole, weights: weights + weights, options: options)
    }
    #expect(twice?.message.contains("given twice") == true)
  }

  @Test func hiddenOutputsAreRefused() throws {
    var nodes = try Self.symbol("BatchNorm", [:], variables: ["g", "b", "m", "v"], name: "bn").nodes
    nodes.append(Node(op: "relu", name: "r", inputs: [.init(node: 5, output: 1)]))
    let error = #expect(throws: GraphError.self) {
      try Self.importBare(MXNetSymbol(nodes: nodes, heads: [.init(node: 6)]))
    }
    #expect(error?.node == "r")
    #expect(error?.message.contains("takes output 1") == true)
  }

  @Test func paddingThatMXNetCannotSayIsRefused() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 5, width: 5)
    let graph = try g.finish(g.convolution("c", g.input, filters: 2, kernel: 3, pad: [0, 0, 1, 1]))
    let error = #expect(throws: GraphError.self) { try graph.mxnetSymbol() }
    #expect(error?.code == .unsupported)
    #expect(error?.node == "c")
  }

  /// Random numbers, signs and words in place of attribute values: an error or a network, never a crash.
  @Test func strangeAttributesNeverCrash() throws {
    let words = [
      "", "0", "-1", "1", "2", "7", "16777216", "16777217", "9223372036854775807", "-9223372036854775808", "1e308",
      "nan", "True", "None", "()", "(0, 0)", "(1, 2)", "(2, 2)", "(-1, 3)", "(16777216, 16777216)", "(0, -1)",
      "(-4, -1, -1)", "(-3, -2)", "(-2, -2, -2)", "(3, 1, 0, 2)", "(-4, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0)", "channel",
      "max", "avg", "nearest", "prelu", "leaky", "full",
    ]
    var state: UInt64 = 7
    func random(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    var imported = 0
    for _ in 0..<40 {
      for operation in OperatorCase.all {
        let symbol = try MXNetSymbol.parse(Array(operation.symbol.utf8))
        var nodes = symbol.nodes
        for index in nodes.indices where !nodes[index].isVariable {
          for attribute in nodes[index].attributes.indices where random(3) == 0 {
            nodes[index].attributes[attribute].value = words[random(words.count)]
          }
        }
        guard
          let graph = try? NetworkGraph.importing(
            MXNetSymbol(nodes: nodes, heads: symbol.heads),
            options: .init(inputShapes: operation.inputShapes, allowsMissingWeights: true)
          ).graph
        else { continue }
        imported += 1
        _ = try graph.operationCount()
        _ = try graph.mxnetSymbol()
      }
    }
    #expect(imported > 500)
  }

  // MARK: Preprocessing

  @Test func preprocessingIsWrittenAndRead() throws {
    let values = [
      Preprocessing.insideGraph(embeddingLength: 512),
      Preprocessing(
        colourOrder: .bgr, height: 480, width: 640, mean: [104, 117, 123], scale: [1], isInsideGraph: false),
    ]
    for value in values { #expect(try Preprocessing(encoded: value.encoded) == value) }
    #expect(values[1].encoded == "colour=BGR;size=640x480;mean=104.0,117.0,123.0;scale=1.0;inside_graph=false")
    for (text, message) in [
      ("", "has no \"colour\""), ("colour=RGB;colour=RGB", "occurs twice"), ("tint=1", "unknown"), ("colour", "pair"),
      ("colour=GBR;size=1x1;mean=0;scale=1;inside_graph=true", "neither RGB nor BGR"),
      ("colour=RGB;size=1;mean=0;scale=1;inside_graph=true", "WIDTHxHEIGHT"),
      ("colour=RGB;size=0x1;mean=0;scale=1;inside_graph=true", "WIDTHxHEIGHT"),
      ("colour=RGB;size=1x1;mean=0,1;scale=1;inside_graph=true", "one or three"),
      ("colour=RGB;size=1x1;mean=nan;scale=1;inside_graph=true", "one or three"),
      ("colour=RGB;size=1x1;mean=0;scale=1;inside_graph=yes", "neither true nor false"),
      ("colour=RGB;size=1x1;mean=0;scale=1;inside_graph=true;embedding=-1", "not a length"),
    ] {
      let error = #expect(throws: GraphError.self) { try Preprocessing(encoded: text) }
      #expect(error?.message.contains(message) == true, "\(error.map(String.init(describing:)) ?? "") for \(text)")
    }
  }

  // MARK: Running

  @Test func theExecutorChecksWhatItIsGiven() throws {
    var g = GraphBuilder(input: "data", channels: 2, height: 3, width: 3)
    var graph = try g.finish(g.fullyConnected("f", g.relu(g.input, named: "r"), units: 1, bias: false))
    #expect(throws: GraphError.self) { try NaiveExecutor(graph) }
    graph.weights["f_weight"] = try tensor([1, 18], 1)
    let executor = try NaiveExecutor(graph)
    let ones = try #require(NaiveExecutor.Tensor(shape: [2, 2, 3, 3], elements: [Double](repeating: 1, count: 36)))
    #expect(try executor.run(["data": ones]).map(\.elements) == [[18, 18]])
    #expect(try executor.run(["data": ones], outputs: ["r", "f"]).map(\.shape) == [[2, 2, 3, 3], [2, 1]])
    #expect(throws: GraphError.self) { try executor.run([:]) }
    #expect(throws: GraphError.self) { try executor.run(["data": ones, "more": ones]) }
    #expect(throws: GraphError.self) { try executor.run(["data": ones], outputs: ["nowhere"]) }
    let larger = try #require(NaiveExecutor.Tensor(shape: [1, 2, 4, 4], elements: [Double](repeating: 1, count: 32)))
    let error = #expect(throws: GraphError.self) { try executor.run(["data": larger]) }
    #expect(error?.code == .mismatch)
    #expect(NaiveExecutor.Tensor(shape: [2, 2], elements: [1]) == nil)
    #expect(NaiveExecutor.Tensor(shape: [Int.max, 2], elements: []) == nil)
  }

  @Test func aFixedGammaIsOneWhateverIsStored() throws {
    var g = GraphBuilder()
    let x = g.addInput("data", [.n, 1])
    var graph = try g.finish(g.batchNorm("b", x, epsilon: 0, fixGamma: true))
    for parameter in try graph.parameters() { graph.weights[parameter.name] = try tensor([1], 4) }
    let two = try #require(NaiveExecutor.Tensor(shape: [1, 1], elements: [2]))
    // (2 − 4) / √4 · 1 + 4
    #expect(try NaiveExecutor(graph).run(["data": two]).map(\.elements) == [[3]])
  }

  private static let hasDetector = Fixtures.hasData("retinaface-mnet25/mnet.25-0000.params")

  /// A feature pyramid with upsampling, crops, concatenations, reshapes and softmax, and nine outputs.
  @Test(.enabled(if: hasDetector, "mnet.25 is looked for in $INSIGHTFACE_TEST_DATA or ../shared/data"))
  func theOriginalDetectorComputesWhatMXNetDoes() throws {
    let prefix = Fixtures.dataFolder + "/retinaface-mnet25/mnet.25"
    let imported = try NetworkGraph.importing(
      MXNetSymbol.read(path: prefix + "-symbol.json"),
      weights: MXNetParameters(path: prefix + "-0000.params").entries,
      options: .init(inputShapes: ["data": .images(channels: 3, height: 640, width: 640)]))
    #expect(imported.unusedWeights.isEmpty)
    #expect(imported.graph.preprocessing == nil)
    let expected = try JSONDecoder().decode(
      [OperatorCase.Tensor].self, from: Data(Fixtures.text("detections-mnet25.json").utf8))
    var pixels: [Double] = []
    for c in 0..<3 {
      for y in 0..<32 { for x in 0..<64 { pixels.append(Double((31 * x + 17 * y + 57 * c + x * y / 8) & 255)) } }
    }
    let image = try #require(NaiveExecutor.Tensor(shape: [1, 3, 32, 64], elements: pixels))
    let outputs = try NaiveExecutor(imported.graph).run(["data": image])
    #expect(imported.graph.outputNames.map { $0 + "_output" } == expected.map(\.name))
    for (output, expected) in zip(outputs, expected) {
      #expect(output.shape == expected.shape)
      let worst = zip(output.elements, expected.elements).map { abs($0 - $1) / max(1, abs($1)) }.max() ?? 1
      #expect(worst < 1e-5, "\(expected.name)")
    }
  }
}
