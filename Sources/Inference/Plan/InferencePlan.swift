import CKernels
import Formats
import Jobs

/// Runs a network fast on the CPU: batch norms folded into weights, activations and additions fused, weights packed, buffers
/// laid out once.
///
/// A plan is a value that threads share: every call takes a workspace from a bounded pool. It takes any batch size and,
/// where the network allows, any image size; results do not depend on the number of threads.
///
/// ```swift
/// let plan = try InferencePlan(graph)
/// let embeddings = try plan.run(images: pixels, count: 32, height: 112, width: 112)[0]
/// ```
public struct InferencePlan: Sendable {
  /// How a plan runs.
  public struct Options: Sendable, Hashable {
    /// Threads of one call; nil takes $INSIGHTFACE_THREADS, else the physical cores.
    public var threads: Int?
    /// Calls that run at a time; others wait.
    public var maximumConcurrentRuns = 8
    /// The most memory that one call's workspace may take.
    public var maximumWorkspaceBytes = 4 << 30
    /// Workspaces up to this size are kept for the next call.
    public var keptWorkspaceBytes = 256 << 20
    /// Input sizes whose layout is kept.
    public var keptSizes = 8
    /// Whether 3×3 convolutions may be done in Winograd's form, which rounds differently (about 1e-5).
    public var usesWinograd = true

    /// Whether the network takes images as BGR; they come as RGB.
    var imagesAreReversed = false
    /// What turns pixel values into the input, in the network's order of channels; nil where the network does it.
    var imagePreprocessing: ChannelAffine?

    /// The defaults.
    public init() {}
  }

  /// What goes in and comes out.
  public typealias Tensor = FloatTensor

  /// The network.
  public let graph: NetworkGraph
  /// Threads of one call.
  public let threads: Int

  private let options: Options
  private let parameters: [String: [Float]]
  private let weights = PackedWeights()
  private let sizes: SizedPlanCache
  private let workspaces: WorkspacePool
  private let pool: ThreadPool
  private let isHeavy: Bool

  /// Samples of one pass where samples go to threads: what fits the cache.
  private static let lightCapacity = 1
  /// Samples of one pass where the weights are too many to be read for each sample anew.
  private static let heavyCapacity = 16

  /// Prepares a network.
  ///
  /// - Throws: `GraphError` where shapes do not fit, or weights are missing or of another shape.
  public init(_ graph: NetworkGraph, options: Options = Options()) throws(GraphError) {
    try graph.checkWeights()
    var options = options
    let graph = try graph.ordered()
    if let preprocessing = graph.preprocessing {
      options.imagesAreReversed = preprocessing.colourOrder == .bgr
      if !preprocessing.isInsideGraph { options.imagePreprocessing = try Self.affine(preprocessing) }
    }
    var parameters: [String: [Float]] = [:]
    var count = 0
    for parameter in try graph.parameters() {
      guard let tensor = graph.weights[parameter.name] else { continue }
      parameters[parameter.name] = tensor.floats()
      count += tensor.elementCount
    }
    self.parameters = parameters
    isHeavy = count > 4 << 20
    var structure = graph
    structure.weights = [:]
    self.graph = structure
    self.options = options
    pool = ThreadPool.shared(options.threads.map { max(1, $0) } ?? ThreadPool.defaultCount)
    threads = pool.workers
    sizes = SizedPlanCache(limit: max(1, options.keptSizes))
    workspaces = WorkspacePool(
      limit: max(1, options.maximumConcurrentRuns), keptCount: max(0, options.keptWorkspaceBytes / 4))
  }

  /// (pixel − mean) · scale as one step.
  private static func affine(_ preprocessing: Preprocessing) throws(GraphError) -> ChannelAffine {
    let (mean, scale) = (preprocessing.mean, preprocessing.scale)
    guard [1, 3].contains(mean.count), [1, 3].contains(scale.count) else {
      throw GraphError(
        .invalid, message: "preprocessing has \(mean.count) means and \(scale.count) scales, not one or three")
    }
    return ChannelAffine(scale: mean.map { _ in 1 }, shift: mean.map { -$0 })
      .then(ChannelAffine(scale: scale, shift: scale.map { _ in 0 }))
  }

  /// Input sizes whose layout is held.
  var keptSizeCount: Int { sizes.count }

  /// Runs the network on float32 tensors.
  ///
  /// - Parameter inputs: tensors by input name: (N, C, H, W) for images, in the shapes that the graph declares but for the
  ///   batch, or in others that every operation accepts. Values are what the network expects, after preprocessing
  ///   that it does not do itself.
  /// - Returns: the outputs in the graph's order.
  /// - Throws: `GraphError`: `.unknownName`, `.shape`, `.mismatch` where other input shapes would need other weights,
  ///   `.tooLarge` where the workspace would exceed its limit.
  public func run(_ inputs: [String: Tensor]) throws(GraphError) -> [Tensor] { try run(inputs, nil) }

  private func run(_ inputs: [String: Tensor], _ clock: StepClock?) throws(GraphError) -> [Tensor] {
    let declared = graph.inputs
    for name in inputs.keys.sorted() where !declared.contains(where: { $0.name == name }) {
      throw GraphError(
        .unknownName, message: "there is no input \"\(name)\"",
        advice: "the inputs are \(NetworkGraph.listing(declared.map(\.name)))")
    }
    var batch: Int?
    var shapes: [String: NetworkGraph.Shape] = [:]
    var tensors: [Tensor] = []
    for (name, shape) in declared {
      guard let tensor = inputs[name] else {
        throw GraphError(.unknownName, node: name, operation: "input", message: "no tensor is given for this input")
      }
      tensors.append(tensor)
      var given = NetworkGraph.Shape(fixed: tensor.shape)
      if let first = tensor.shape.first, shape.rank == given.rank, shape[0] == .n, first > 0,
        batch == nil || batch == first
      {
        batch = first
        given[0] = .n
      }
      shapes[name] = given
    }
    return try withPointers(of: tensors.map(\.elements)) { pointers throws(GraphError) in
      try run(shapes, batch: batch ?? 1, pointers.map { PlanRun.Source.floats($0) }, clock)
    }
  }

  /// Runs the network on the one tensor of its one input.
  ///
  /// - Throws: as `run(_:)` of several, and `.invalid` where the network has several inputs.
  public func run(_ input: Tensor) throws(GraphError) -> [Tensor] {
    let names = graph.inputs.map(\.name)
    guard names.count == 1 else {
      throw GraphError(.invalid, message: "the network has \(names.count) inputs: \(NetworkGraph.listing(names))")
    }
    return try run([names[0]: input])
  }

  /// Runs the network on images.
  ///
  /// Colour order, mean and scale are what the graph's preprocessing says; without one, values 0 … 255 go in as RGB.
  ///
  /// - Parameters:
  ///   - images: uint8 RGB [N, height, width, 3], image after image.
  ///   - count: N.
  /// - Returns: the outputs in the graph's order.
  /// - Throws: as `run(_:)` of tensors, and `.invalid` unless the network has one input of three channels.
  public func run(
    images: UnsafeRawBufferPointer, count: Int, height: Int, width: Int
  ) throws(GraphError) -> [Tensor] {
    let inputs = graph.inputs
    guard inputs.count == 1, inputs[0].shape.rank == 4, inputs[0].shape[1] == 3 else {
      throw GraphError(.invalid, message: "the network does not take one batch of colour images")
    }
    guard count >= 1, height >= 1, width >= 1, height <= NetworkGraph.Operation.largestNumber,
      width <= NetworkGraph.Operation.largestNumber, count <= NetworkGraph.Operation.largestNumber,
      let base = images.baseAddress, images.count / 3 / height / width >= count
    else {
      throw GraphError(
        .shape, node: inputs[0].name, operation: "input",
        message: "\(images.count) bytes are not \(count) images of \(width)×\(height)")
    }
    let shape: NetworkGraph.Shape = [.n, 3, .fixed(height), .fixed(width)]
    return try run([inputs[0].name: shape], batch: count, [.bytes(base.assumingMemoryBound(to: UInt8.self))])
  }

  /// How long each step of a run takes on one sample: where the time of a network goes.
  ///
  /// - Parameters:
  ///   - input: the tensor of the one input, of one sample.
  ///   - calls: runs to take the mean of, at least 1.
  /// - Returns: seconds by step, in the order in which they run; a step has the name of the layer that it ends with.
  /// - Throws: as `run(_:)`, and `.invalid` for several inputs or samples.
  public func stepSeconds(_ input: Tensor, calls: Int) throws(GraphError) -> [(name: String, seconds: Double)] {
    let inputs = graph.inputs
    guard inputs.count == 1, input.shape.first == 1, calls >= 1 else {
      throw GraphError(.invalid, message: "steps are timed for one input of one sample")
    }
    let clock = StepClock()
    for _ in 0..<calls { _ = try run([inputs[0].name: input], clock) }
    return clock.steps.map { ($0.name, $0.seconds / Double(calls)) }
  }

  // MARK: Passes

  private func run(
    _ shapes: [String: NetworkGraph.Shape], batch: Int, _ sources: [PlanRun.Source], _ clock: StepClock? = nil
  ) throws(GraphError) -> [Tensor] {
    let capacity = isHeavy ? min(batch, Self.heavyCapacity) : Self.lightCapacity
    let plan = try sizes.plan(shapes, batch: batch, capacity: capacity) { () throws(GraphError) in
      try SizedPlan(
        graph, inputShapes: shapes, batch: batch, parameters: parameters, weights: weights, options: options,
        capacity: capacity, workers: pool.workers)
    }
    let outputSizes = plan.outputs.map { PlanCompiler.sizes($0.shape, batch: batch) }
    let isShared = plan.isSplittable && plan.capacity < batch && !isHeavy
    let lanes = isShared ? min(pool.workers, batch) : 1
    let room = plan.arenaCount.multipliedReportingOverflow(by: lanes)
    guard !room.overflow, room.partialValue <= options.maximumWorkspaceBytes / 4 else {
      throw GraphError(.tooLarge, message: "the workspace would have more than \(options.maximumWorkspaceBytes) bytes")
    }
    let workspace = try workspaces.take(room.partialValue)
    defer { workspaces.giveBack(workspace) }
    var outputs = outputSizes.map { [Float](repeating: 0, count: $0.reduce(1, *)) }
    withMutablePointers(of: &outputs) { targets in
      let passes = Passes(
        plan: plan, batch: batch, sources: sources, targets: targets, workspace: workspace.pointer, clock: clock)
      if isShared && lanes > 1 {
        pool.forEach(passes.count) { index, worker in passes.run(index, lane: worker, ck_serial()) }
      } else {
        let parallel = pool.parallel
        for index in 0..<passes.count { passes.run(index, lane: 0, parallel) }
      }
    }
    return zip(outputSizes, outputs).map { Tensor(checked: $0, $1) }
  }

  /// The passes of one call.
  private struct Passes: @unchecked Sendable {
    let plan: SizedPlan
    let batch: Int
    let sources: [PlanRun.Source]
    let targets: [UnsafeMutablePointer<Float>]
    let workspace: UnsafeMutablePointer<Float>
    let clock: StepClock?

    var count: Int { plan.isSplittable ? (batch + plan.capacity - 1) / plan.capacity : 1 }

    func run(_ index: Int, lane: Int, _ parallel: ck_parallel) {
      let first = index * plan.capacity
      let size = plan.isSplittable ? min(plan.capacity, batch - first) : batch
      func sampleCount(_ shape: NetworkGraph.Shape) -> Int { PlanCompiler.sizes(shape, batch: 1).reduce(1, *) }
      let sources = zip(self.sources, plan.inputShapes).map { source, shape in
        let skipped = plan.isSplittable ? first * sampleCount(shape) : 0
        return switch source {
        case .floats(let pointer): PlanRun.Source.floats(pointer + skipped)
        case .bytes(let pointer): PlanRun.Source.bytes(pointer + skipped)
        }
      }
      let pass = PlanRun(
        arena: workspace + lane * plan.arenaCount, batch: size, parallel: parallel, sources: sources,
        clock: clock)
      plan.run(pass)
      for (number, target) in targets.enumerated() {
        let skipped = plan.isSplittable ? first * sampleCount(plan.outputs[number].shape) : 0
        plan.copyOutput(number, pass, to: target + skipped)
      }
    }
  }
}

/// Calls `body` with the addresses of several arrays.
private func withPointers<Result>(
  of arrays: [[Float]], _ body: ([UnsafePointer<Float>]) throws(GraphError) -> Result
) throws(GraphError) -> Result {
  func descend(_ pointers: [UnsafePointer<Float>]) throws(GraphError) -> Result {
    if pointers.count == arrays.count { return try body(pointers) }
    return try arrays[pointers.count].withUnsafeBufferPointer { buffer throws(GraphError) in
      // Tensors of no element have no address; they are refused before.
      guard let base = buffer.baseAddress else { return try body(pointers) }
      return try descend(pointers + [base])
    }
  }
  return try descend([])
}

/// Calls `body` with the addresses of several arrays to write to.
private func withMutablePointers(
  of arrays: inout [[Float]], _ body: ([UnsafeMutablePointer<Float>]) -> Void
) {
  func descend(_ index: Int, _ pointers: [UnsafeMutablePointer<Float>]) {
    if index == arrays.count { return body(pointers) }
    var own: [Float] = []
    swap(&own, &arrays[index])
    own.withUnsafeMutableBufferPointer { buffer in
      if let base = buffer.baseAddress { descend(index + 1, pointers + [base]) }
    }
    swap(&own, &arrays[index])
  }
  descend(0, [])
}
