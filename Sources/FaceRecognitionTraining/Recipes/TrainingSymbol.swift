import Formats
import Inference

/// The symbol that the reference saves with `ckpt_embedding=False`: the network with its classification layer, margin and
/// loss, as its `get_symbol` builds it.
struct TrainingSymbol {
  /// What stands behind the embedding.
  enum Loss: Equatable {
    case softmax(hasBias: Bool)
    case margin(Margin)
  }

  let loss: Loss
  let classCount: Int
  let embeddingSize: Int
  /// N, by which the reported loss is divided.
  let batchSize: Int
  /// Whether the loss itself is an output (`ce_loss`).
  let reportsLoss: Bool
  /// `fc7_lr_mult` and `fc7_wd_mult`.
  let multipliers: (learningRate: Double, weightDecay: Double)

  /// A node that is not yet in a list.
  private final class Node {
    let op: String
    let name: String
    let attributes: [(String, String)]
    let inputs: [Node]
    /// Its place in the embedding's symbol, or in the list that is made.
    var index: Int?

    init(_ op: String, _ name: String, _ attributes: [(String, String)], _ inputs: [Node], index: Int? = nil) {
      (self.op, self.name, self.attributes, self.inputs, self.index) = (op, name, attributes, inputs, index)
    }
  }

  /// The names that MXNet gives to nodes without one: a word and a number of its own.
  private struct Names {
    private var next: [String: Int] = [:]

    init(_ nodes: [MXNetSymbol.Node]) {
      for node in nodes where !node.isVariable {
        let digits = node.name.reversed().prefix { $0.isNumber }
        guard !digits.isEmpty, let number = Int(String(digits.reversed())) else { continue }
        let word = String(node.name.dropLast(digits.count))
        next[word] = max(next[word] ?? 0, number + 1)
      }
    }

    mutating func callAsFunction(_ word: String) -> String {
      defer { next[word, default: 0] += 1 }
      return "\(word)\(next[word, default: 0])"
    }
  }

  /// The embedding's symbol with the rest behind it.
  func symbol(_ embedding: MXNetSymbol) throws(FormatError) -> MXNetSymbol {
    guard let head = embedding.heads.first else { return embedding }
    let output = Node("", embedding.nodes[head.node].name, [], [], index: head.node)
    var nodes = embedding.nodes
    let heads = self.heads(output, Names(embedding.nodes))
    for node in heads { append(node, &nodes) }
    return try MXNetSymbol(
      nodes: nodes, heads: heads.compactMap(\.index).map { MXNetSymbol.Entry(node: $0) },
      graphAttributes: embedding.graphAttributes)
  }

  /// Depth first, as MXNet lists nodes.
  private func append(_ node: Node, _ nodes: inout [MXNetSymbol.Node]) {
    guard node.index == nil else { return }
    for input in node.inputs { append(input, &nodes) }
    node.index = nodes.count
    nodes.append(
      MXNetSymbol.Node(
        op: node.op, name: node.name, attributes: node.attributes.map { MXNetSymbol.Attribute($0.0, $0.1) },
        inputs: node.inputs.compactMap(\.index).map { MXNetSymbol.Entry(node: $0) }))
  }

  private func heads(_ embedding: Node, _ names: Names) -> [Node] {
    var names = names
    func made(_ op: String, _ word: String, _ attributes: [(String, String)] = [], _ inputs: Node...) -> Node {
      Node(op, names(word), attributes, inputs)
    }
    func scalar(_ op: String, _ x: Node, _ value: Double) -> Node {
      made("_\(op)_scalar", "_\(op)scalar", [("scalar", PythonValue.float(value))], x)
    }
    func oneHot(_ on: Double) -> Node {
      made(
        "one_hot", "one_hot",
        [("depth", "\(classCount)"), ("off_value", "0.0"), ("on_value", PythonValue.float(on))], label)
    }
    let label = Node("null", "softmax_label", [], [])
    let weight = Node(
      "null", "fc7_weight",
      [
        ("__init__", "[\"normal\", {\"sigma\": 0.01}]"),
        ("__lr_mult__", PythonValue.float(multipliers.learningRate)),
        ("__shape__", "(\(classCount), \(embeddingSize))"),
        ("__wd_mult__", PythonValue.float(multipliers.weightDecay)),
      ], [])
    let units = ("num_hidden", "\(classCount)")
    var logits: Node
    switch loss {
    case .softmax(hasBias: true):
      let bias = Node("null", "fc7_bias", [("__lr_mult__", "2.0"), ("__wd_mult__", "0.0")], [])
      logits = Node("FullyConnected", "fc7", [units], [embedding, weight, bias])
    case .softmax(hasBias: false):
      logits = Node("FullyConnected", "fc7", [("no_bias", "True"), units], [embedding, weight])
    case .margin(let margin):
      let rows = made("L2Normalization", "l2normalization", [("mode", "instance")], weight)
      let normalised = Node("L2Normalization", "fc1n", [("mode", "instance")], [embedding])
      let scaled = scalar("mul", normalised, margin.scale)
      logits = Node("FullyConnected", "fc7", [("no_bias", "True"), units], [scaled, rows])
      if margin.m1 == 1 && margin.m2 == 0 {
        if margin.m3 != 0 {
          let shift = oneHot(margin.scale * margin.m3)
          logits = made("elemwise_sub", "_minus", [], logits, shift)
        }
      } else {
        let own = made("pick", "pick", [("axis", "1")], logits, label)
        var angle = made("arccos", "arccos", [], scalar("div", own, margin.scale))
        if margin.m1 != 1 { angle = scalar("mul", angle, margin.m1) }
        if margin.m2 > 0 { angle = scalar("plus", angle, margin.m2) }
        var moved = made("cos", "cos", [], angle)
        if margin.m3 > 0 { moved = scalar("minus", moved, margin.m3) }
        let difference = made("elemwise_sub", "_minus", [], scalar("mul", moved, margin.scale), own)
        let column = made("expand_dims", "expand_dims", [("axis", "1")], difference)
        let body = made("broadcast_mul", "broadcast_mul", [], oneHot(1), column)
        logits = made("elemwise_add", "_plus", [], logits, body)
      }
    }
    let stopped = made("BlockGrad", "blockgrad", [], embedding)
    var heads = [stopped, Node("SoftmaxOutput", "softmax", [("normalization", "valid")], [logits, label])]
    if reportsLoss {
      let logarithm = made("log", "log", [], made("SoftmaxActivation", "softmaxactivation", [], logits))
      let product = made("elemwise_mul", "_mul", [], logarithm, oneHot(-1))
      let sum = made("sum", "sum", [], product)
      let mean = made("_div_scalar", "_divscalar", [("scalar", "\(batchSize)")], sum)
      heads.append(made("BlockGrad", "blockgrad", [], mean))
    }
    return heads
  }
}
