/// The nodes that together are attention: softmax(scale · Q Kᵀ) V for each head, heads merged.
///
/// Q, K and V are the whole or a slice of tokens (N, L, W), taken apart into (N, heads, L, depth) by a reshape and a transpose;
/// the result goes the same way back.
struct AttentionPattern {
  /// Q, K or V in the tokens that it comes from.
  struct Part {
    /// The node that gives the tokens.
    var node: Int
    /// Where the slice begins in a token.
    var offset: Int
    /// Length of a token, W.
    var width: Int
  }
  var heads: Int
  var depth: Int
  /// Number of tokens, L.
  var tokens: Int
  var scale = 1.0
  /// Q, K, V; their tokens are of one length.
  var parts: [Part] = []

  /// The pattern that ends with a node; nil where there is none.
  ///
  /// - Parameter isExclusive: whether a node's value is used once.
  init?(endingAt index: Int, in graph: NetworkGraph, shapes: NetworkGraph.Shapes, isExclusive: [Bool]) {
    let walk = Walk(graph: graph, shapes: shapes, isExclusive: isExclusive)
    guard case .reshape = graph.nodes[index].operation, shapes.outputs[index].rank == 3,
      let transposed = walk.source(index), walk.isHeadTranspose(transposed), let mixed = walk.source(transposed),
      graph.nodes[mixed].operation == .matmul(transposesSecond: false), let softmax = walk.source(mixed, 0),
      case .softmax(let axis) = graph.nodes[softmax].operation, axis == -1 || axis == 3, let v = walk.source(mixed, 1),
      var weights = walk.source(softmax)
    else { return nil }
    let merged = shapes.outputs[index]
    let split = shapes.outputs[mixed]
    guard split.rank == 4, split[0] == merged[0], let heads = split[1].fixed, let tokens = split[2].fixed,
      let depth = split[3].fixed, merged[1].fixed == tokens, merged[2].fixed == heads * depth
    else { return nil }
    (self.heads, self.tokens, self.depth) = (heads, tokens, depth)
    while case .scalar(let scalar) = graph.nodes[weights].operation, let affine = scalar.affine, affine.offset == 0,
      let next = walk.source(weights)
    {
      scale *= affine.scale
      weights = next
    }
    guard graph.nodes[weights].operation == .matmul(transposesSecond: true), let q = walk.source(weights, 0),
      let k = walk.source(weights, 1)
    else { return nil }
    for node in [q, k, v] {
      guard let part = walk.part(node, [split[0], .fixed(heads), .fixed(tokens), .fixed(depth)]) else { return nil }
      parts.append(part)
    }
    guard Set(parts.map(\.width)).count == 1 else { return nil }
  }

  private struct Walk {
    let graph: NetworkGraph
    let shapes: NetworkGraph.Shapes
    let isExclusive: [Bool]

    /// The node that an input comes from, past what does nothing; nil where another node reads it too.
    func source(_ index: Int, _ input: Int = 0) -> Int? {
      guard graph.nodes[index].inputs.indices.contains(input) else { return nil }
      var node = graph.nodes[index].inputs[input].node
      while isExclusive[node] {
        switch graph.nodes[node].operation {
        case .dropout, .dropPath, .identity: node = graph.nodes[node].inputs[0].node
        default: return node
        }
      }
      return nil
    }

    func isHeadTranspose(_ index: Int) -> Bool {
      graph.nodes[index].operation == .transpose(permutation: [0, 2, 1, 3])
    }

    /// Follows (N, heads, L, depth) back to the tokens.
    func part(_ index: Int, _ shape: NetworkGraph.Shape) -> Part? {
      guard isHeadTranspose(index), shapes.outputs[index] == shape, let reshape = source(index),
        case .reshape = graph.nodes[reshape].operation, let input = graph.nodes[reshape].inputs.first?.node,
        let heads = shape[1].fixed, let depth = shape[3].fixed
      else { return nil }
      let whole = shapes.outputs[input]
      guard whole.rank == 3, whole[0] == shape[0], whole[1] == shape[2], whole[2].fixed == heads * depth else {
        return nil
      }
      guard case .slice(let slice) = graph.nodes[input].operation, isExclusive[input] else {
        return Part(node: input, offset: 0, width: heads * depth)
      }
      let base = graph.nodes[input].inputs[0].node
      let inference = ShapeInference(node: graph.nodes[input].name, operation: graph.nodes[input].operation)
      guard let (axis, range) = try? inference.range(slice, of: shapes.outputs[base]), axis == 2,
        let width = shapes.outputs[base][2].fixed
      else { return Part(node: input, offset: 0, width: heads * depth) }
      return Part(node: base, offset: range.lowerBound, width: width)
    }
  }
}
