import Inference

/// A run of steps between two points at which one value, or two, are alive.
struct Segment: Equatable {
  /// The steps.
  let steps: Range<Int>
  /// The nodes whose values enter.
  let inputs: [Int]
  /// The nodes whose values leave; one that enters and is needed further on is among them.
  let outputs: [Int]

  /// The elements an image that each step makes.
  static func costs(
    _ graph: NetworkGraph, _ steps: [TrainableNetwork.Step]
  ) throws(GraphError) -> [Int] {
    let shapes = try graph.inferShapes()
    return steps.map { step in
      shapes[NetworkGraph.Value(node: step.output)].sizes(batch: 1)?.reduce(1, *) ?? 0
    }
  }

  /// The segments with the lowest peak; none where the network has several inputs or outputs, or no cut.
  static func cut(_ graph: NetworkGraph, _ steps: [TrainableNetwork.Step]) -> [Segment] {
    let inputs = graph.nodes.indices.filter { if case .input = graph.nodes[$0].operation { true } else { false } }
    guard inputs.count == 1, graph.outputs.count == 1, !steps.isEmpty, let costs = try? costs(graph, steps),
      let shapes = try? graph.inferShapes()
    else { return [] }
    func size(_ value: NetworkGraph.Value) -> Int { shapes[value].sizes(batch: 1)?.reduce(1, *) ?? 0 }
    var alive: Set<Int> = [inputs[0]]
    var pieces: [Piece] = []
    var piece = Piece()
    for (index, step) in steps.enumerated() {
      alive.insert(step.output)
      alive.subtract(step.lastUses)
      piece.made += costs[index]
      for value in graph.nodes[step.node].inputs {
        piece.largest = max(piece.largest, size(value))
      }
      // Two: between the layers of a unit the shortcut's value lives on.
      if alive.count <= 2 {
        (piece.end, piece.outputs) = (index + 1, alive.sorted())
        piece.leaving = piece.outputs.reduce(0) { $0 + size(.init(node: $1)) }
        pieces.append(piece)
        piece = Piece()
      }
    }
    guard pieces.count > 1, pieces.last?.end == steps.count, pieces.last?.outputs == [graph.outputs[0].node] else {
      return []
    }
    // The lowest limit that can be kept; the whole as one segment keeps the highest.
    var low = 0
    var high = pieces.reduce(0) { $0 + $1.made } + (pieces.map(\.largest).max() ?? 0)
    while low < high {
      let limit = low + (high - low) / 2
      if ends(pieces, limit) == nil { low = limit + 1 } else { high = limit }
    }
    guard let ends = ends(pieces, low), ends.count > 1 else { return [] }
    var segments: [Segment] = []
    var (first, entering) = (0, inputs)
    for end in ends {
      segments.append(Segment(steps: first..<pieces[end].end, inputs: entering, outputs: pieces[end].outputs))
      (first, entering) = (pieces[end].end, pieces[end].outputs)
    }
    return segments
  }

  /// The steps between two neighbouring cuts; sizes are elements an image.
  private struct Piece {
    /// The step behind the last.
    var end = 0
    /// The nodes whose values leave.
    var outputs: [Int] = []
    /// The size of those values.
    var leaving = 0
    /// The sum of all values made.
    var made = 0
    /// The largest value that a step takes: on the way back something as large comes and goes.
    var largest = 0
  }

  /// The last piece of each segment such that no segment, with all values kept at cuts before it, needs more than `limit`, and
  /// that the sum of kept values is least; nil where there are none.
  ///
  /// A segment's way back begins when everything behind it is gone, so that only earlier cuts count.
  private static func ends(_ pieces: [Piece], _ limit: Int) -> [Int]? {
    // What is kept at the cuts up to one, at least, and the cut before it.
    var kept = [Int?](repeating: nil, count: pieces.count + 1)
    var before = [Int](repeating: 0, count: pieces.count + 1)
    kept[0] = 0
    for cut in 1...pieces.count {
      var (made, largest) = (0, 0)
      for start in (0..<cut).reversed() {
        made += pieces[start].made
        largest = max(largest, pieces[start].largest)
        guard made + largest <= limit else { break }
        guard let sum = kept[start], sum + made + largest <= limit else { continue }
        let total = sum + pieces[cut - 1].leaving
        if total < kept[cut] ?? .max { (kept[cut], before[cut]) = (total, start) }
      }
    }
    guard kept[pieces.count] != nil else { return nil }
    var ends: [Int] = []
    var cut = pieces.count
    while cut > 0 {
      ends.append(cut - 1)
      cut = before[cut]
    }
    return ends.reversed()
  }
}
