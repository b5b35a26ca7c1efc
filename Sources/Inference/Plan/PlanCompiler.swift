import CKernels

/// Lays the layers of one input size out in a workspace and makes the calls that run them.
struct PlanCompiler {
  let lowering: Lowering
  let parameters: [String: [Float]]
  let weights: PackedWeights
  let options: InferencePlan.Options
  /// Samples that the workspace has room for.
  let capacity: Int
  let workers: Int
  /// Names of the graph's inputs in order.
  let inputNames: [String]

  /// The finished calls.
  private(set) var steps: [PlanStep] = []
  private(set) var places: [PlanPlace]
  /// Floats of the workspace.
  private(set) var arenaCount = 0
  /// An input that is written with a border for the one convolution that reads it.
  private(set) var borders: [Int: NetworkGraph.Padding] = [:]

  /// Convolutions that write into the concatenation which alone reads them: its layer, and the first of its channels.
  private(set) var joined: [Int: (concat: Int, channel: Int)] = [:]

  private var active: [(range: Range<Int>, last: Int)] = []
  private var position = 0

  init(
    _ lowering: Lowering, parameters: [String: [Float]], weights: PackedWeights, options: InferencePlan.Options,
    capacity: Int, workers: Int, inputNames: [String]
  ) throws(GraphError) {
    self.lowering = lowering
    self.parameters = parameters
    self.weights = weights
    self.options = options
    self.capacity = capacity
    self.workers = workers
    self.inputNames = inputNames
    places = [PlanPlace](repeating: .arena(0), count: lowering.layers.count)
    findBorders()
    findJoined()
    let last = lastReads()
    var begun: Set<Int> = []
    for (position, index) in lowering.order.enumerated() {
      self.position = position
      let layer = lowering.layers[index]
      active.removeAll { $0.last < position }
      if case .constant(let name) = layer.kind {
        places[index] = .constant(try constant(name, layer))
        continue
      }
      // A concatenation has its place from its first part on.
      let owner = joined[index]?.concat ?? index
      if begun.insert(owner).inserted {
        places[owner] = .arena(try allocate(try outputCount(owner), until: last[owner] ?? position))
      }
      if let (concat, channel) = joined[index], case .arena(let start) = places[concat] {
        places[index] = .arena(start + channel)
      }
      let step = try self.step(index)
      steps.append(PlanStep(layer.name, step))
    }
  }

  func layer(_ index: Int) -> Layer { lowering.layers[index] }

  /// The sizes of a layer's output for a batch.
  func sizes(_ index: Int, batch: Int) -> [Int] { Self.sizes(layer(index).shape, batch: batch) }

  static func sizes(_ shape: NetworkGraph.Shape, batch: Int) -> [Int] { shape.sizes(batch: batch) ?? [] }

  /// Room for temporary numbers of the step at hand.
  mutating func scratch(_ count: Int) throws(GraphError) -> Int { try allocate(count, until: position) }

  // MARK: The workspace

  private func lastReads() -> [Int: Int] {
    var last: [Int: Int] = [:]
    for (position, index) in lowering.order.enumerated() {
      for read in layer(index).reads { last[read] = position }
    }
    for output in lowering.outputs { last[output] = .max }
    return last
  }

  private func outputCount(_ index: Int) throws(GraphError) -> Int {
    var sizes = sizes(index, batch: capacity)
    if let border = borders[index] {
      sizes[2] += border.top + border.bottom
      sizes[3] += border.left + border.right
    }
    var count = 1
    for size in sizes {
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow, product <= options.maximumWorkspaceBytes / 4 else { throw tooLarge(index) }
      count = product
    }
    return count
  }

  private func tooLarge(_ index: Int) -> GraphError {
    GraphError(
      .tooLarge, node: layer(index).name,
      message: "the workspace would have more than \(options.maximumWorkspaceBytes >> 20) MiB",
      advice: "use smaller images or a smaller batch, or raise maximumWorkspaceBytes")
  }

  /// The lowest gap of `count` floats among what is in use until step `last`.
  private mutating func allocate(_ count: Int, until last: Int) throws(GraphError) -> Int {
    // Whole cache lines, and one more: vector loads may look past the end.
    let size = (count + 31) / 16 * 16
    var start = 0
    for piece in active.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
      if piece.range.lowerBound >= start + size { break }
      start = max(start, piece.range.upperBound)
    }
    guard start + size <= options.maximumWorkspaceBytes / 4 else { throw tooLarge(lowering.order[position]) }
    active.append((start..<start + size, last))
    arenaCount = max(arenaCount, start + size)
    return start
  }

  private func constant(_ name: String, _ layer: Layer) throws(GraphError) -> PlanBuffer {
    let sizes = Self.sizes(layer.shape, batch: 1)
    guard let values = parameters[name], values.count == sizes.reduce(1, *) else {
      throw GraphError(.missingWeight, node: layer.name, message: "there is no \"\(name)\" of shape \(layer.shape)")
    }
    let (source, buffer) = (try PlanBuffer(values), try PlanBuffer(uninitialized: values.count))
    PlanLayout.copy(
      sizes, from: source.pointer, PlanLayout.plainStrides(sizes), to: buffer.pointer, PlanLayout.strides(sizes),
      order: Array(sizes.indices))
    return buffer
  }

  /// An image of few channels is read by whole rows of a window, which must then not cross the border: it gets a border
  /// of its own.
  private mutating func findBorders() {
    var readers: [Int: [Int]] = [:]
    for index in lowering.order { for read in layer(index).reads { readers[read, default: []].append(index) } }
    for index in lowering.order {
      guard case .input = layer(index).kind, layer(index).shape.rank == 4, !lowering.outputs.contains(index),
        let reader = readers[index]?.first, readers[index]?.count == 1, layer(reader).epilogue.residual != index,
        case .product(let product) = layer(reader).kind, product.before == nil,
        case .convolution(let convolution) = product.node.operation, convolution.groups == 1,
        convolution.dilation == 1, convolution.kernel.width > 1, let channels = layer(index).shape[1].fixed,
        channels <= 4, convolution.kernel.width * channels <= 64
      else { continue }
      borders[index] = convolution.pad
    }
  }

  private mutating func findJoined() {
    var reads: [Int: Int] = [:]
    for index in lowering.order { for read in layer(index).reads { reads[read, default: 0] += 1 } }
    for index in lowering.order {
      guard case .operation(let node) = layer(index).kind, case .concat(let axis) = node.operation,
        layer(index).shape.rank == 4, axis == 1 || axis == -3
      else { continue }
      var channel = 0
      for part in layer(index).inputs {
        if case .product(let product) = layer(part).kind, case .convolution = product.node.operation,
          layer(part).epilogue.residual == nil, reads[part] == 1, !lowering.outputs.contains(part)
        {
          joined[part] = (index, channel)
        }
        channel += sizes(part, batch: 1)[1]
      }
    }
  }

  /// Floats from one pixel of a layer's output to the next.
  func pixelStep(_ index: Int) -> Int { sizes(joined[index]?.concat ?? index, batch: 1)[1] }

  // MARK: Steps

  private mutating func step(_ index: Int) throws(GraphError) -> (PlanRun) -> Void {
    let layer = layer(index)
    switch layer.kind {
    case .constant: return { _ in }
    case .input(let affine): return try importStep(index, layer, affine)
    case .product(let product): return try productStep(index, layer, product)
    case .affine(let affine, let axis): return try affineStep(index, layer, affine, axis: axis)
    case .attention(let pattern): return try attentionStep(index, layer, pattern)
    case .operation(let node): return try operationStep(index, layer, node)
    }
  }

  private func importStep(_ index: Int, _ layer: Layer, _ affine: ChannelAffine?) throws(GraphError) -> (PlanRun) ->
    Void
  {
    let (shape, place) = (layer.shape, places[index])
    guard let number = inputNames.firstIndex(of: layer.name) else {
      throw GraphError(.unknownName, node: layer.name, message: "is not an input")
    }
    guard shape.rank == 4 else {
      return { run in
        guard case .floats(let source) = run.sources[number] else { return }
        place.pointer(run).update(from: source, count: Self.sizes(shape, batch: run.batch).reduce(1, *))
      }
    }
    let border = borders[index] ?? 0
    let channels = sizes(index, batch: 1)[1]
    let whole = (affine ?? .uniform(1, 0)).expanded(to: channels)
    let scale = try PlanBuffer(whole.scale.map { Float($0) })
    let shift = try PlanBuffer(whole.shift.map { Float($0) })
    let ofImages = (options.imagePreprocessing?.then(whole) ?? whole).expanded(to: channels)
    let imageScale = try PlanBuffer(ofImages.scale.map { Float($0) })
    let imageShift = try PlanBuffer(ofImages.shift.map { Float($0) })
    let isReversed = options.imagesAreReversed
    return { run in
      let sizes = Self.sizes(shape, batch: run.batch)
      var form = ck_import(
        batch: Int64(sizes[0]), channels: Int64(sizes[1]), height: Int64(sizes[2]), width: Int64(sizes[3]),
        top: Int64(border.top), left: Int64(border.left), bottom: Int64(border.bottom), right: Int64(border.right),
        scale: UnsafePointer(scale.pointer), shift: UnsafePointer(shift.pointer))
      switch run.sources[number] {
      case .floats(let source): ck_import_floats(&form, source, place.pointer(run), run.parallel)
      case .bytes(let source):
        (form.scale, form.shift) = (UnsafePointer(imageScale.pointer), UnsafePointer(imageShift.pointer))
        ck_import_bytes(&form, source, isReversed ? 1 : 0, place.pointer(run), run.parallel)
      }
    }
  }

  private func affineStep(
    _ index: Int, _ layer: Layer, _ affine: ChannelAffine?, axis: Int
  ) throws(GraphError) -> (PlanRun) -> Void {
    let (shape, input, target) = (layer.shape, places[layer.inputs[0]], places[index])
    let residual = layer.epilogue.residual.map { places[$0] }
    let channels = shape.rank == 0 ? 1 : sizes(index, batch: capacity)[axis]
    let epilogue = try PlanEpilogue(layer.epilogue, count: channels) { $0 }
    let whole = affine?.expanded(to: channels)
    let scale = try whole.map { whole throws(GraphError) in try PlanBuffer(whole.scale.map { Float($0) }) }
    let shift = try whole.map { whole throws(GraphError) in try PlanBuffer(whole.shift.map { Float($0) }) }
    return { run in
      let sizes = Self.sizes(shape, batch: run.batch)
      let lines = sizes.isEmpty ? (outer: 1, count: 1, inner: 1) : PlanLayout.lines(sizes, axis: axis)
      var form = epilogue.value(bias: nil)
      ck_affine(
        input.pointer(run), Int64(lines.outer), Int64(lines.count), Int64(lines.inner), scale?.pointer, shift?.pointer,
        &form, residual?.pointer(run), target.pointer(run), run.parallel)
      withExtendedLifetime(epilogue) {}
    }
  }
}

/// An epilogue with its slopes in memory.
final class PlanEpilogue: @unchecked Sendable {
  private let activation: LayerEpilogue.Activation?
  private let addsFirst: Bool
  private let slope: PlanBuffer?

  /// - Parameters:
  ///   - count: length of the padded arrays.
  ///   - place: where the value of a channel stands in them, for the channels there are.
  init(_ epilogue: LayerEpilogue, count: Int, channels: Int? = nil, place: (Int) -> Int) throws(GraphError) {
    activation = epilogue.activation
    addsFirst = epilogue.addsFirst
    guard case .slope(let slopes)? = epilogue.activation else {
      slope = nil
      return
    }
    let buffer = try PlanBuffer(zeros: Int(ck_padded_channels(Int64(count))))
    for channel in 0..<(channels ?? count) {
      buffer.pointer[place(channel)] = slopes.count == 1 ? slopes[0] : slopes[channel]
    }
    slope = buffer
  }

  func value(bias: PlanBuffer?) -> ck_epilogue {
    var value = ck_epilogue()
    value.bias = bias.map { UnsafePointer($0.pointer) }
    value.slope = slope.map { UnsafePointer($0.pointer) }
    value.residual_first = addsFirst ? 1 : 0
    switch activation {
    case nil: value.activation = Int32(ck_activation_none)
    case .relu: value.activation = Int32(ck_activation_relu)
    case .slope: value.activation = Int32(ck_activation_slope)
    case .clip(let low, let high):
      value.activation = Int32(ck_activation_clip)
      (value.low, value.high) = (low, high)
    }
    return value
  }
}
