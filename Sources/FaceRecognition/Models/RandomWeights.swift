import Formats
import Inference

extension NetworkGraph {
  /// The network with weights drawn so that the signal keeps its size through any depth: for timing runtimes and comparing
  /// their numbers before anything is trained.
  ///
  /// Weights are uniform with the variance 1 / fan-in, slopes lie within 3 % of one, and normalisations whose result is
  /// added to another have a small γ, so that sums of many units do not grow. Large tensors repeat their first 16411
  /// elements. The same seed gives the same weights on every machine.
  ///
  /// - Throws: `GraphError` where shapes do not fit.
  public func withRandomWeights(seed: UInt64) throws(GraphError) -> NetworkGraph {
    var graph = self
    var summed: Set<String> = []
    for node in nodes where node.operation == .elementwise(.init(.add)) {
      for input in node.inputs { summed.formUnion(nodes[input.node].parameters) }
    }
    var fixed: Set<String> = []
    for node in nodes {
      if case .batchNorm(let norm) = node.operation, norm.fixGamma { fixed.insert(node.parameters[0]) }
    }
    for parameter in try parameters() {
      var (offset, spread) = Self.range(of: parameter, isSummed: summed.contains(parameter.name))
      if fixed.contains(parameter.name) { (offset, spread) = (1, 0) }
      let period = Self.uniform(parameter.name, seed, min(parameter.count, 16411)).map { offset + spread * $0 }
      let part = period.withUnsafeBytes { Array($0) }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(4 * parameter.count)
      while bytes.count < 4 * parameter.count { bytes += part.prefix(4 * parameter.count - bytes.count) }
      do {
        graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, dtype: .f32, bytes: bytes)
      } catch {
        throw GraphError(.tooLarge, message: error.message)
      }
    }
    return graph
  }

  /// The least value of a tensor and how far the others lie above it.
  private static func range(of parameter: Parameter, isSummed: Bool) -> (offset: Float, spread: Float) {
    // The reference's `bn_data` takes pixels as they are, 0 … 255.
    let isRaw = parameter.name.hasPrefix("bn_data_moving")
    switch parameter.role {
    case .gamma: return isSummed ? (0.2, 0.2) : (1, 0.3)
    case .movingVariance: return isRaw ? (5000, 1000) : (0.9, 0.4)
    case .movingMean: return isRaw ? (120, 10) : (-0.1, 0.2)
    case .slope: return (0.97, 0.06)
    case .beta, .bias: return (-0.2, 0.4)
    case .value: return (-0.5, 1)
    case .weight:
      let bound = (3 / Float(max(1, parameter.shape.dropFirst().reduce(1, *)))).squareRoot()
      return (-bound, 2 * bound)
    }
  }

  /// Numbers in 0 ..< 1 by splitmix64 from the FNV-1a hash of a name.
  private static func uniform(_ name: String, _ seed: UInt64, _ count: Int) -> [Float] {
    let start = name.utf8.reduce(0xCBF2_9CE4_8422_2325 ^ seed) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    return (0..<count).map { index in
      var z = start &+ UInt64(index + 1) &* 0x9E37_79B9_7F4A_7C15
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return Float((z ^ (z >> 31)) >> 40) * 0x1p-24
    }
  }
}
