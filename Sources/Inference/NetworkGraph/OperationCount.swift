#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

extension NetworkGraph {
  /// Floating-point operations of one sample, counted as the reference does (`common/flops_counter.py`).
  ///
  /// Only convolutions, fully connected layers and products of matrices count. A convolution costs 2 · C · kH · kW
  /// operations for each output element, one less without bias, the whole divided by the groups and rounded down; so a
  /// depthwise layer is counted a little too low, and published figures depend on it.
  ///
  /// - Throws: `GraphError` as `inferShapes()`.
  public func operationCount() throws(GraphError) -> Int {
    let shapes = try inferShapes()
    var total = 0.0
    for index in depthFirstOrder() {
      let node = nodes[index]
      switch node.operation {
      case .convolution(let convolution):
        let input = shapes[node.inputs[0]]
        let output = shapes.outputs[index]
        guard let channels = input[1].fixed, let rows = output[2].fixed, let columns = output[3].fixed else { continue }
        // In floating point like the reference, whose division by the groups is a true one.
        let taps = 2 * Double(channels) * Double(convolution.kernel.height) * Double(convolution.kernel.width)
        let elements = Double(convolution.filters) * Double(rows) * Double(columns)
        total += ((convolution.bias ? taps : taps - 1) * elements / Double(convolution.groups)).rounded(.down)
      case .fullyConnected(let layer):
        let depth = shapes.parameters[index][0][1]
        let cost = 2 * Double(depth) * Double(layer.units) - (layer.bias ? 0 : Double(layer.units))
        // A layer that transforms the last axis alone does so for every token.
        let rows = shapes.outputs[index].dimensions.dropFirst().dropLast().compactMap(\.fixed)
        total += rows.reduce(cost) { $0 * Double($1) }
      case .matmul:
        let depth = shapes[node.inputs[0]].dimensions.last?.fixed ?? 1
        let elements = shapes.outputs[index].dimensions.dropFirst().compactMap(\.fixed)
        total += elements.reduce(2 * Double(depth) - 1) { $0 * Double($1) }
      default: continue
      }
    }
    guard let count = Int(exactly: total.rounded()) else {
      throw GraphError(.tooLarge, message: "the network needs more operations than can be counted")
    }
    return count
  }

  /// An operation count as the reference prints it: `439.8M`.
  public static func formatted(operationCount: Int) -> String {
    for (unit, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")] where Double(operationCount) >= unit {
      return oneDecimal(Double(operationCount) / unit) + letter
    }
    return oneDecimal(Double(operationCount))
  }

  /// C's `%.1f`, whose rounding Python shares.
  private static func oneDecimal(_ number: Double) -> String {
    var buffer = [CChar](repeating: 0, count: 64)
    let length = withVaList([number]) { vsnprintf(&buffer, buffer.count, "%.1f", $0) }
    return String(decoding: buffer.prefix(max(0, Int(length))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
