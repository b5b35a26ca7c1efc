import Formats
import Foundation
import Testing

@testable import Inference

/// Numbers that look random and are the same everywhere.
struct TestRandom {
  private var state: UInt64

  init(_ seed: Int) { state = UInt64(truncatingIfNeeded: seed) &* 0x9e37_79b9_7f4a_7c15 &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }

  /// In −1 … 1.
  mutating func signed() -> Float { Float(Int64(bitPattern: next()) >> 40) / Float(1 << 23) }

  mutating func floats(_ count: Int) -> [Float] { (0..<count).map { _ in signed() } }
}

extension NetworkGraph {
  /// Random weights of a sensible size.
  func withRandomWeights(_ seed: Int) throws -> NetworkGraph {
    var graph = self
    for (number, parameter) in try parameters().enumerated() {
      var random = TestRandom(seed &* 1000 &+ number)
      var values = random.floats(parameter.count)
      switch parameter.role {
      case .movingVariance: values = values.map { abs($0) + 0.5 }
      case .gamma: values = values.map { $0 + 1.2 }
      case .weight:
        let depth = parameter.shape.dropFirst().reduce(1, *)
        values = values.map { $0 * Float(2 / Double(depth).squareRoot()) }
      default: break
      }
      graph.weights[parameter.name] = try StoredTensor(shape: parameter.shape, floats: values)
    }
    return graph
  }
}

/// Runs a network both ways and expects the same numbers.
func expectPlanEqualsDefinition(
  _ graph: NetworkGraph, _ inputs: [String: NaiveExecutor.Tensor], threads: [Int] = [1, 2], within: Double = 1e-4,
  _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let expected = try NaiveExecutor(graph).run(inputs)
  let tensors = try inputs.mapValues {
    try InferencePlan.Tensor(shape: $0.shape, elements: $0.elements.map { Float($0) })
  }
  var first: [InferencePlan.Tensor]?
  for count in threads {
    var options = InferencePlan.Options()
    options.threads = count
    let made = try InferencePlan(graph, options: options).run(tensors)
    try #require(made.count == expected.count, comment, sourceLocation: sourceLocation)
    for (a, b) in zip(made, expected) {
      try #require(a.shape == b.shape, comment, sourceLocation: sourceLocation)
      #expect(relativeError(a.elements, b.elements) <= within, comment, sourceLocation: sourceLocation)
    }
    if let first { #expect(first == made, "threads change the result", sourceLocation: sourceLocation) }
    first = made
  }
}

/// The largest difference in terms of the largest number; infinite where one is not a number and the other is.
func relativeError(_ a: [Float], _ b: [Double]) -> Double {
  let largest = b.reduce(1e-6) { $1.isFinite ? max($0, abs($1)) : $0 }
  var worst = 0.0
  for (x, y) in zip(a, b) {
    if Double(x) == y || (x.isNaN && y.isNaN) { continue }
    let difference = abs(Double(x) - y)
    worst = difference.isNaN ? .infinity : max(worst, difference / largest)
  }
  return worst
}

func randomInput(_ graph: NetworkGraph, batch: Int, seed: Int, sizes: [Int]? = nil) throws
  -> [String: NaiveExecutor.Tensor]
{
  var inputs: [String: NaiveExecutor.Tensor] = [:]
  for (number, input) in graph.inputs.enumerated() {
    var shape = try #require(input.shape.sizes(batch: batch))
    if let sizes, shape.count == 4 { shape[2...3] = sizes[0...1] }
    var random = TestRandom(seed + 77 * number)
    inputs[input.name] = NaiveExecutor.Tensor(
      shape: shape, elements: random.floats(shape.reduce(1, *)).map { Double($0) })
  }
  return inputs
}
