/// The network description of an MXNet checkpoint, `prefix-symbol.json`: a list of nodes in topological order.
///
/// Weights are variables, that is nodes whose operator is `null`; their values live in the `.params` file under the
/// same names. This type knows the file and its rules, not what the operators mean.
public struct MXNetSymbol: Sendable, Hashable {
  /// One output of a node, as another node or a head refers to it.
  public struct Entry: Sendable, Hashable {
    /// Index into `nodes`.
    public var node: Int
    /// Which of the node's outputs.
    public var output: Int
    /// How often the variable has been mutated before this use; 1 for the running statistics of a batch norm, else 0.
    public var version: Int

    /// Refers to an output of a node.
    public init(node: Int, output: Int = 0, version: Int = 0) {
      self.node = node
      self.output = output
      self.version = version
    }
  }

  /// A named string; every operator parameter is stored as text, `"(3, 3)"` or `"True"`.
  public struct Attribute: Sendable, Hashable {
    /// The parameter's name; names in double underscores (`__lr_mult__`) are hints, not operator parameters.
    public var key: String
    /// The value as Python prints it.
    public var value: String

    /// Names a value.
    public init(_ key: String, _ value: String) {
      self.key = key
      self.value = value
    }
  }

  /// An operator applied to its inputs, or a variable.
  public struct Node: Sendable, Hashable {
    /// The operator's registered name; `null` for a variable.
    public var op: String
    /// The node's name; for a variable the name of the weight or input.
    public var name: String
    /// Operator parameters and hints, in file order; written sorted by key, as MXNet does.
    public var attributes: [Attribute]
    /// What the node consumes: data first, then weights, then running statistics.
    public var inputs: [Entry]
    /// Nodes that must run before this one although nothing flows between them; almost always empty.
    public var controlDependencies: [Int]
    /// How many outputs the operator has, hidden ones included; nil where the file did not tell.
    public var outputCount: Int?

    /// Makes a node.
    public init(
      op: String, name: String, attributes: [Attribute] = [], inputs: [Entry] = [], controlDependencies: [Int] = [],
      outputCount: Int? = nil
    ) {
      self.op = op
      self.name = name
      self.attributes = attributes
      self.inputs = inputs
      self.controlDependencies = controlDependencies
      self.outputCount = outputCount
    }

    /// Whether the node is a weight or an input rather than an operator.
    public var isVariable: Bool { op == "null" }

    /// The value of an attribute, nil where the node has none of that key.
    public subscript(key: String) -> String? {
      attributes.first { $0.key == key }?.value
    }
  }

  /// A typed attribute of the whole graph; `mxnet_version` is one.
  public enum GraphAttribute: Sendable, Hashable {
    case int(Int)
    case string(String)
    /// Any other type: its name and its value as JSON text, kept as it was.
    case other(type: String, json: String)
  }

  /// A graph attribute under its name.
  public struct NamedGraphAttribute: Sendable, Hashable {
    /// The attribute's name.
    public var name: String
    /// The attribute's value.
    public var value: GraphAttribute

    /// Names a graph attribute.
    public init(_ name: String, _ value: GraphAttribute) {
      self.name = name
      self.value = value
    }
  }

  /// All nodes; inputs refer to earlier ones only.
  public private(set) var nodes: [Node]
  /// The outputs of the network.
  public private(set) var heads: [Entry]
  /// Attributes of the graph, in file order.
  public var graphAttributes: [NamedGraphAttribute]

  /// The version of MXNet that new symbols claim, 1.9.1.
  public static let writtenVersion = 10901

  /// Makes a symbol and checks its references.
  ///
  /// Throws: `FormatError.corrupt` where an input does not refer to an earlier node, a head or control dependency to
  /// any node, an output index is beyond the node's outputs, or a variable has inputs.
  public init(
    nodes: [Node], heads: [Entry],
    graphAttributes: [NamedGraphAttribute] = [
      NamedGraphAttribute("mxnet_version", .int(MXNetSymbol.writtenVersion))
    ]
  ) throws(FormatError) {
    self.nodes = nodes
    self.heads = heads
    self.graphAttributes = graphAttributes
    if let problem = Self.firstProblem(nodes: nodes, heads: heads) {
      throw FormatError(.corrupt, problem.message)
    }
  }

  /// Indices of the variables, which the file lists as `arg_nodes`.
  public var argumentNodes: [Int] { nodes.indices.filter { nodes[$0].isVariable } }

  /// The MXNet version that wrote the symbol, as major · 10000 + minor · 100 + patch; nil for MXNet before 0.9.
  public var mxnetVersion: Int? {
    for attribute in graphAttributes where attribute.name == "mxnet_version" {
      if case .int(let version) = attribute.value { return version }
    }
    return nil
  }

  /// How many outputs a node has, hidden ones included: what the file said, else what MXNet 1.9.1 gives its operator.
  public func outputCount(of node: Int) -> Int {
    nodes[node].outputCount ?? Self.defaultOutputCount(of: nodes[node])
  }

  /// Output counts of the operators that have more than one.
  private static func defaultOutputCount(of node: Node) -> Int {
    switch node.op {
    case "BatchNorm": 3
    case "Dropout", "L2Normalization": 2
    case "LeakyReLU": node["act_type"] == "rrelu" ? 2 : 1
    // The second output is the workspace of the oneDNN kernel, present for max pooling only, which is the default.
    case "Pooling": node["pool_type"] ?? "max" == "max" ? 2 : 1
    default: 1
    }
  }

  /// Something wrong with the references, and in which node or head.
  struct Problem {
    enum Place {
      case node(Int)
      case head(Int)
    }
    var place: Place
    var message: String
  }

  /// Checks all references; nil where they are sound.
  static func firstProblem(nodes: [Node], heads: [Entry]) -> Problem? {
    func problem(with entry: Entry, limit: Int, what: String) -> String? {
      guard entry.node >= 0, entry.node < nodes.count else {
        return "\(what) refers to node \(entry.node), but there are \(nodes.count) nodes"
      }
      guard entry.node < limit else {
        return "\(what) refers to node \(entry.node) (\"\(nodes[entry.node].name)\"), which does not come before it"
      }
      // Without the file's own word an unknown operator may have any number of outputs, within reason.
      let isKnown = nodes[entry.node].outputCount != nil || nodes[entry.node].isVariable
      let outputs = isKnown ? nodes[entry.node].outputCount ?? 1 : 1 << 16
      guard entry.output >= 0, entry.output < outputs else {
        return "\(what) refers to output \(entry.output) of node \"\(nodes[entry.node].name)\", which has \(outputs)"
      }
      guard entry.version >= 0 else { return "\(what) has the negative version \(entry.version)" }
      return nil
    }
    for (index, node) in nodes.enumerated() {
      let label = "node \(index) (\(node.op) \"\(node.name)\")"
      if node.isVariable, !node.inputs.isEmpty {
        return Problem(place: .node(index), message: "\(label) is a variable and yet has inputs")
      }
      if let count = node.outputCount, count < 1 || count > 1 << 16 {
        return Problem(place: .node(index), message: "\(label) claims \(count) outputs")
      }
      for (slot, entry) in node.inputs.enumerated() {
        if let message = problem(with: entry, limit: index, what: "input \(slot) of \(label)") {
          return Problem(place: .node(index), message: message)
        }
      }
      for dependency in node.controlDependencies where dependency < 0 || dependency >= index {
        return Problem(
          place: .node(index), message: "\(label) waits for node \(dependency), which does not come before it")
      }
    }
    guard !heads.isEmpty else { return Problem(place: .head(0), message: "the symbol has no heads, so no output") }
    for (index, entry) in heads.enumerated() {
      if let message = problem(with: entry, limit: nodes.count, what: "head \(index)") {
        return Problem(place: .head(index), message: message)
      }
    }
    return nil
  }
}
