/// An ONNX model as its file holds it: operators by name, tensors, no judgement of what they mean.
///
/// Format: `onnx/onnx.proto` of onnx/onnx, by hand. Subgraphs, sparse tensors, training information and functions are
/// not kept; an attribute that holds one is `.other`.
public struct ONNXModel: Sendable, Equatable {
  /// A set of operators with its version; the empty domain is ONNX's own.
  public struct OperatorSet: Sendable, Hashable {
    /// Whose operators.
    public var domain: String
    /// Which version.
    public var version: Int

    /// A set of operators.
    public init(domain: String = "", version: Int) {
      self.domain = domain
      self.version = version
    }
  }

  /// A named text that travels with the model.
  public struct Property: Sendable, Hashable {
    /// The name.
    public var key: String
    /// The text.
    public var value: String

    /// A named text.
    public init(_ key: String, _ value: String) {
      self.key = key
      self.value = value
    }
  }

  /// Version of the file format.
  public var irVersion: Int
  /// The operators that the nodes are of.
  public var operatorSets: [OperatorSet]
  /// The program that wrote the file.
  public var producerName: String
  /// That program's version.
  public var producerVersion: String
  /// Texts that travel with the model (`metadata_props`).
  public var metadata: [Property]
  /// The network.
  public var graph: ONNXGraph

  /// A model of its parts.
  public init(
    irVersion: Int, operatorSets: [OperatorSet], producerName: String, producerVersion: String = "",
    metadata: [Property] = [], graph: ONNXGraph
  ) {
    self.irVersion = irVersion
    self.operatorSets = operatorSets
    self.producerName = producerName
    self.producerVersion = producerVersion
    self.metadata = metadata
    self.graph = graph
  }

  /// The text under `key` in the metadata, the last one where it occurs twice.
  public subscript(metadata key: String) -> String? { metadata.last { $0.key == key }?.value }

  /// The version of ONNX's own operators; nil where the file does not say.
  public var opset: Int? { operatorSets.last { $0.domain.isEmpty || $0.domain == "ai.onnx" }?.version }
}

/// The network of an ONNX model: nodes in topological order over named tensors.
public struct ONNXGraph: Sendable, Equatable {
  /// The graph's name.
  public var name: String
  /// The operators.
  public var nodes: [ONNXNode]
  /// Constant tensors by name.
  public var initializers: [ONNXTensor]
  /// What goes in; old files list the initializers here too.
  public var inputs: [ONNXValueInfo]
  /// What comes out.
  public var outputs: [ONNXValueInfo]

  /// A graph of its parts.
  public init(
    name: String, nodes: [ONNXNode], initializers: [ONNXTensor], inputs: [ONNXValueInfo], outputs: [ONNXValueInfo]
  ) {
    self.name = name
    self.nodes = nodes
    self.initializers = initializers
    self.inputs = inputs
    self.outputs = outputs
  }
}

/// One operator with the names of the tensors that it takes and gives; an empty name stands for one left out.
public struct ONNXNode: Sendable, Equatable {
  /// The node's name, perhaps empty.
  public var name: String
  /// The operator.
  public var op: String
  /// Whose operator; empty for ONNX's own.
  public var domain: String
  /// Tensors taken.
  public var inputs: [String]
  /// Tensors given.
  public var outputs: [String]
  /// Attributes by name.
  public var attributes: [ONNXAttribute]

  /// A node of its parts.
  public init(
    _ op: String, name: String, domain: String = "", inputs: [String], outputs: [String],
    attributes: [ONNXAttribute] = []
  ) {
    self.op = op
    self.name = name
    self.domain = domain
    self.inputs = inputs
    self.outputs = outputs
    self.attributes = attributes
  }

  /// The attribute called `name`.
  public subscript(name: String) -> ONNXAttribute.Value? { attributes.last { $0.name == name }?.value }
}

/// A named setting of an operator.
public struct ONNXAttribute: Sendable, Equatable {
  /// What an attribute holds.
  public enum Value: Sendable, Equatable {
    case float(Float)
    case int(Int)
    case string(String)
    case tensor(StoredTensor)
    case floats([Float])
    case ints([Int])
    case strings([String])
    /// Something that is not kept (a subgraph, a sparse tensor, a type), by ONNX's number for its kind.
    case other(kind: Int)
  }

  /// The name.
  public var name: String
  /// What it holds.
  public var value: Value

  /// A named setting.
  public init(_ name: String, _ value: Value) {
    self.name = name
    self.value = value
  }
}

/// A named constant tensor.
public struct ONNXTensor: Sendable, Equatable {
  /// The name.
  public var name: String
  /// Shape, element type and bytes.
  public var tensor: StoredTensor

  /// A named tensor.
  public init(_ name: String, _ tensor: StoredTensor) {
    self.name = name
    self.tensor = tensor
  }
}

/// Name, element type and shape of a tensor that goes into or comes out of a graph.
public struct ONNXValueInfo: Sendable, Equatable {
  /// A dimension.
  public enum Dimension: Sendable, Hashable {
    /// A number.
    case size(Int)
    /// A name for a number that is known when the network runs.
    case symbol(String)
    /// Nothing is said.
    case unknown
  }

  /// The name.
  public var name: String
  /// The element type; nil where unknown here or not a tensor.
  public var type: StoredType?
  /// The dimensions; nil where the file does not tell.
  public var shape: [Dimension]?

  /// A description of its parts.
  public init(_ name: String, type: StoredType?, shape: [Dimension]?) {
    self.name = name
    self.type = type
    self.shape = shape
  }
}

extension StoredType {
  /// The number of the element type in `TensorProto.DataType`.
  public var onnxCode: Int {
    switch self {
    case .f32: 1
    case .u8: 2
    case .i8: 3
    case .i32: 6
    case .i64: 7
    case .bool: 9
    case .f16: 10
    case .f64: 11
    case .bf16: 16
    }
  }

  /// The element type with this number; nil for one that is not read.
  public init?(onnxCode code: Int) {
    guard let type = StoredType.allCases.first(where: { $0.onnxCode == code }) else { return nil }
    self = type
  }
}
