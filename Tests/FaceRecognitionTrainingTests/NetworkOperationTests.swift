import Inference
import Jobs
import Testing
import Torch
import Training

/// Operations of a graph under LibTorch against the executor that follows their definitions.
@Suite struct NetworkOperationTests {
  private func graphs() throws -> [(String, NetworkGraph)] {
    func make(_ body: (inout GraphBuilder) -> GraphBuilder.Value) throws -> NetworkGraph {
      var g = GraphBuilder(channels: 4, height: 5, width: 3)
      return try g.finish(body(&g))
    }
    return [
      ("sum", try make { $0.sum($0.input) }),
      ("sum, kept", try make { $0.sum($0.input, keepsDimensions: true) }),
      ("sum of channels", try make { $0.sum($0.input, axes: [1], keepsDimensions: true) }),
      ("sum of pixels", try make { $0.sum($0.input, axes: [-1, 2]) }),
      ("sum of the batch", try make { $0.sum($0.input, axes: [0]) }),
      ("mean", try make { $0.mean($0.input) }),
      ("mean of several", try make { $0.mean($0.input, axes: [0, 3], keepsDimensions: true) }),
      ("root", try make { $0.activation($0.add($0.multiply($0.input, $0.input), 0.5), .squareRoot) }),
      ("tile", try make { $0.tile($0.input, [1, 3, 2, 1]) }),
      ("tile of one channel", try make { $0.tile($0.sum($0.input, axes: [1], keepsDimensions: true), [2, 3, 1, 1]) }),
      ("short tile", try make { $0.tile($0.input, [2]) }),
      ("long tile", try make { $0.tile($0.sum($0.input, axes: [1]), [2, 1, 2, 1]) }),
    ]
  }

  @Test func equalTheExecutor() throws {
    var random = CounterRandom(7, 1)
    let values = (0..<2 * 4 * 5 * 3).map { _ in Float(random.next(below: 2000)) / 1000 - 1 }
    let input = try #require(NaiveExecutor.Tensor(shape: [2, 4, 5, 3], elements: values.map(Double.init)))
    for (name, graph) in try graphs() {
      let expected = try NaiveExecutor(graph).run(["data": input])[0]
      let network = try TrainableNetwork(graph)
      for format in [MemoryFormat.contiguous, .channelsLast] {
        let x = Tensor(values, shape: [2, 4, 5, 3]).contiguous(format)
        x.requiresGrad = true
        let y = network(x)
        #expect(y.shape == expected.shape, "\(name)")
        let worst = zip(y.floats, expected.elements).map { abs(Double($0) - $1) }.max() ?? .infinity
        #expect(worst < 1e-5, "\(name): \(worst)")
        y.sum().backward()
        #expect(x.grad?.isFinite().all().item == 1, "\(name)")
      }
    }
  }

  @Test func whatDoesNotFitIsAnError() {
    var g = GraphBuilder(channels: 4, height: 5, width: 3)
    #expect(throws: GraphError.self) { try g.finish(g.sum(g.input, axes: [4])) }
    g = GraphBuilder(channels: 4, height: 5, width: 3)
    #expect(throws: GraphError.self) { try g.finish(g.sum(g.input, axes: [1, -3])) }
    g = GraphBuilder(channels: 4, height: 5, width: 3)
    #expect(throws: GraphError.self) { try g.finish(g.tile(g.input, [1, 0, 1, 1])) }
    g = GraphBuilder(channels: 4, height: 5, width: 3)
    #expect(throws: GraphError.self) {
      try g.finish(g.tile(g.input, [1 << 24, 1 << 24, 1 << 24, 1 << 24]))
    }
  }
}
