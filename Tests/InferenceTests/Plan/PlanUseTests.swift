import CKernels
import Formats
import Foundation
import Synchronization
import Testing

@testable import Inference

/// Sizes, threads, memory, images, and the original weights.
@Suite(.serialized) struct PlanUseTests {
  private static func small() throws -> NetworkGraph {
    var g = GraphBuilder(input: "data", channels: 3, height: 20, width: 24)
    var x = g.multiply(g.subtract(g.input, 127.5), 0.0078125)
    x = g.prelu("act1", g.batchNorm("bn1", g.convolution("conv1", x, filters: 16, kernel: 3, stride: 2, pad: 1)))
    x = g.add(g.convolution("conv2", x, filters: 16, kernel: 3, pad: 1), x)
    x = g.upsampleNearest(x, scale: 2)
    return try g.finish(x, preprocessing: .insideGraph(height: 20, width: 24, embeddingLength: nil))
      .withRandomWeights(9)
  }

  @Test func anySizeOfAFullyConvolutionalNetwork() throws {
    let graph = try Self.small()
    for size in [[20, 24], [1, 1], [33, 7], [8, 64]] {
      try expectPlanEqualsDefinition(graph, randomInput(graph, batch: 2, seed: 1, sizes: size), "\(size)")
    }
  }

  @Test func layoutsOfManySizesAreBounded() throws {
    var options = InferencePlan.Options()
    options.keptSizes = 2
    let plan = try InferencePlan(Self.small(), options: options)
    let bytes = { (height: Int, width: Int) in
      (0..<height * width * 3).map { UInt8(truncatingIfNeeded: $0 &* 37) }
    }
    let first = try plan.run(images: bytes(10, 12), count: 1, height: 10, width: 12)
    for size in 1..<30 { _ = try plan.run(images: bytes(size, 5), count: 1, height: size, width: 5) }
    #expect(plan.keptSizeCount <= 2)
    #expect(try plan.run(images: bytes(10, 12), count: 1, height: 10, width: 12) == first)
  }

  @Test func imagesAreTheSameAsTheirNumbers() throws {
    var graph = try Self.small()
    for (colour, isInside) in [(Preprocessing.ColourOrder.rgb, true), (.bgr, true), (.rgb, false), (.bgr, false)] {
      graph.preprocessing = Preprocessing(
        colourOrder: colour, height: 20, width: 24, mean: [10, 20, 30], scale: [0.5, 0.25, 2], isInsideGraph: isInside)
      let plan = try InferencePlan(graph)
      var random = TestRandom(3)
      let pixels = (0..<3 * 20 * 24 * 3).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      var numbers = [Float](repeating: 0, count: pixels.count)
      for n in 0..<3 {
        for c in 0..<3 {
          let source = colour == .bgr ? 2 - c : c
          for i in 0..<480 {
            var value = Float(pixels[(n * 480 + i) * 3 + source])
            if !isInside { value = (value - [10, 20, 30][c]) * [0.5, 0.25, 2][c] }
            numbers[(n * 3 + c) * 480 + i] = value
          }
        }
      }
      let a = try plan.run(images: pixels, count: 3, height: 20, width: 24)[0]
      let b = try plan.run(InferencePlan.Tensor(shape: [3, 3, 20, 24], elements: numbers))[0]
      #expect(a.shape == b.shape)
      #expect(relativeError(a.elements, b.elements.map { Double($0) }) < 1e-5)
    }
  }

  @Test func wrongInputsAreRefused() throws {
    let plan = try InferencePlan(Self.small())
    func code(_ body: () throws(GraphError) -> [InferencePlan.Tensor]) -> GraphError.Code? {
      do throws(GraphError) {
        _ = try body()
        return nil
      } catch { return error.code }
    }
    #expect(code { () throws(GraphError) in try plan.run([:]) } == .unknownName)
    #expect(
      code { () throws(GraphError) in try plan.run(images: [1, 2, 3], count: 1, height: 20, width: 24) } == .shape)
    #expect(
      code { () throws(GraphError) in try plan.run(images: [1, 2, 3], count: Int.max, height: 1 << 40, width: 3) }
        == .shape)
    #expect(
      code { () throws(GraphError) in
        try plan.run(.init(shape: [1, 2, 20, 24], elements: [Float](repeating: 0, count: 960)))
      } == .mismatch)
    #expect(code { () throws(GraphError) in try plan.run(.init(shape: [0, 3, 20, 24], elements: [])) } != nil)
    #expect(code { () throws(GraphError) in try plan.run(.init(shape: [2], elements: [1])) } == .shape)
    var options = InferencePlan.Options()
    options.maximumWorkspaceBytes = 10_000
    let tight = try InferencePlan(Self.small(), options: options)
    #expect(
      code { () throws(GraphError) in
        try tight.run(images: [UInt8](repeating: 0, count: 1440), count: 1, height: 20, width: 24)
      } == .tooLarge)
    var graph = try Self.small()
    graph.weights["conv1_weight"] = nil
    #expect(throws: GraphError.self) { try InferencePlan(graph) }
  }

  /// Many callers at once, fewer workspaces than callers.
  @Test func callersShareAPlan() throws {
    var options = InferencePlan.Options()
    options.maximumConcurrentRuns = 2
    options.threads = 2
    let plan = try InferencePlan(Self.small(), options: options)
    let images = (0..<4 * 1440).map { UInt8(truncatingIfNeeded: $0 &* 61 ^ ($0 >> 3)) }
    let expected = try plan.run(images: images, count: 4, height: 20, width: 24)
    let failures = Mutex(0)
    DispatchQueue.concurrentPerform(iterations: 64) { index in
      let count = 1 + index % 4
      let made = try? plan.run(images: Array(images.prefix(count * 1440)), count: count, height: 20, width: 24)
      let part = expected[0].elements.count / 4 * count
      if made?[0].elements != Array(expected[0].elements.prefix(part)) { failures.withLock { $0 += 1 } }
    }
    #expect(failures.withLock { $0 } == 0)
  }

  /// A loop of two workers runs on two threads: each waits for the other, which on one thread would never end.
  @Test func twoThreadsRun() throws {
    let pool = ThreadPool.shared(2)
    try #require(pool.workers == 2)
    struct State {
      var arrived = 0
      var threads: Set<UInt> = []
    }
    let state = Mutex(State())
    let deadline = Date().addingTimeInterval(20)
    pool.forEach(2) { _, _ in
      state.withLock {
        $0.arrived += 1
        $0.threads.insert(UInt(pthread_self()))
      }
      while state.withLock({ $0.arrived }) < 2, Date() < deadline { usleep(100) }
    }
    #expect(state.withLock { $0.threads.count } == 2)
  }

  @Test func everyPieceIsDoneOnce() {
    for workers in 1...4 {
      let pool = ThreadPool.shared(workers)
      for count in [0, 1, 2, 3, 17, 1000] {
        let done = Mutex([Int](repeating: 0, count: count))
        for _ in 0..<20 { pool.forEach(count) { index, _ in done.withLock { $0[index] += 1 } } }
        #expect(done.withLock { $0.allSatisfy { $0 == 20 } })
      }
    }
  }

  // MARK: Whole networks

  @Test(.timeLimit(.minutes(3)))
  func mobileFaceNetIsEqual() throws {
    let graph = try MobileFaceNetGraph.y1.graph(preprocessing: .insideGraph(embeddingLength: 128)).withRandomWeights(1)
    var random = TestRandom(5)
    let pixels = (0..<37632).map { _ in Double(random.below(256)) }
    let image = try #require(NaiveExecutor.Tensor(shape: [1, 3, 112, 112], elements: pixels))
    try expectPlanEqualsDefinition(graph, ["data": image])
  }

  private static let hasCheckpoint = Fixtures.hasData("mobilefacenet-y1/model-0000.params")

  @Test(.enabled(if: hasCheckpoint, "the y1 checkpoint is looked for in $INSIGHTFACE_TEST_DATA or ../shared/data"))
  func theOriginalCheckpointComputesWhatMXNetDoes() throws {
    let prefix = Fixtures.dataFolder + "/mobilefacenet-y1/model"
    let graph = try NetworkGraph.importing(
      MXNetSymbol.read(path: prefix + "-symbol.json"), weights: MXNetParameters(path: prefix + "-0000.params").entries
    ).graph
    let expected = try JSONDecoder().decode([[Double]].self, from: Data(Fixtures.text("embeddings-y1.json").utf8))
    var pixels: [UInt8] = []
    for number in expected.indices {
      for y in 0..<112 {
        for x in 0..<112 {
          for c in 0..<3 {
            pixels.append(UInt8(truncatingIfNeeded: 31 * x + 17 * y + 57 * c + x * y * (number + 1) / 8))
          }
        }
      }
    }
    let made = try InferencePlan(graph).run(images: pixels, count: expected.count, height: 112, width: 112)[0]
    #expect(made.shape == [expected.count, 128])
    for (number, row) in expected.enumerated() {
      #expect(relativeError(Array(made.elements[number * 128..<(number + 1) * 128]), row) < 2e-5)
    }
  }
}
