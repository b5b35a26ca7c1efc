import Inference

/// Layers under the names that MXNet's Gluon gives them: the prefix of the block, the kind, a counter, `_fwd`.
///
/// Batch normalisations have Gluon's ε = 1e-5 and momentum 0.9, a PReLU one slope for all channels.
struct GluonScope {
  /// Before every name, with its underscore.
  let prefix: String
  private var counters: [String: Int] = [:]

  init(_ prefix: String) { self.prefix = prefix }

  typealias Value = GraphBuilder.Value

  private mutating func name(_ kind: String) -> String {
    let count = counters[kind, default: 0]
    counters[kind] = count + 1
    return "\(prefix)\(kind)\(count)"
  }

  /// Convolution without bias, padded to keep the map's size at stride 1.
  mutating func convolution(
    _ g: inout GraphBuilder, _ x: Value, _ filters: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let name = name("conv")
    let convolution = GraphBuilder.Operation.Convolution(
      filters: filters, kernel: .init(kernel), stride: .init(stride), pad: .init(.init(kernel / 2)), groups: groups,
      bias: false)
    return g.add(.convolution(convolution), [x], named: "\(name)_fwd", parameters: ["\(name)_weight"])
  }

  mutating func batchNorm(_ g: inout GraphBuilder, _ x: Value) -> Value {
    let name = name("batchnorm")
    return g.add(
      .batchNorm(.init(epsilon: 1e-5)), [x], named: "\(name)_fwd",
      parameters: ["gamma", "beta", "running_mean", "running_var"].map { "\(name)_\($0)" })
  }

  mutating func activation(_ g: inout GraphBuilder, _ x: Value, _ kind: ActivationKind) -> Value {
    switch kind {
    case .prelu:
      let name = name("prelu")
      return g.add(.prelu(shared: true), [x], named: "\(name)_fwd", parameters: ["\(name)_alpha"])
    case .relu: return g.activation(x, .relu, named: name("relu") + "_fwd")
    case .sigmoid: return g.activation(x, .sigmoid, named: name("sigmoid") + "_fwd")
    case .tanh: return g.activation(x, .tanh, named: name("tanh") + "_fwd")
    }
  }

  mutating func maxPool(_ g: inout GraphBuilder, _ x: Value, kernel: Int, stride: Int, pad: Int) -> Value {
    g.maxPool(x, kernel: .init(kernel), stride: .init(stride), pad: .init(.init(pad)), named: name("pool") + "_fwd")
  }

  mutating func averagePool(_ g: inout GraphBuilder, _ x: Value, kernel: Int, stride: Int) -> Value {
    g.averagePool(x, kernel: .init(kernel), stride: .init(stride), named: name("pool") + "_fwd")
  }

  mutating func dropout(_ g: inout GraphBuilder, _ x: Value, rate: Double) -> Value {
    g.dropout(x, rate: rate, named: name("dropout") + "_fwd")
  }

  /// Operators that are no layers are named without `_fwd`.
  mutating func concat(_ g: inout GraphBuilder, _ tensors: [Value]) -> Value {
    g.concat(tensors, named: name("concat"))
  }

  mutating func add(_ g: inout GraphBuilder, _ a: Value, _ b: Value) -> Value {
    g.add(a, b, named: name("elemwise_add"))
  }
}
