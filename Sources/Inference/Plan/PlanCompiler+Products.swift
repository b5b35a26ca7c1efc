import CKernels

extension PlanCompiler {
  /// One pass of a product: which taps, and which output pixels.
  private struct Pass {
    var kernelTaps: [(row: Int, column: Int)]
    var offsets: [(row: Int, column: Int)]
    var form: PackedProduct.Form = .direct
    /// First output pixel, distance between output pixels, and how many.
    var first = (row: 0, column: 0)
    var distance = NetworkGraph.Extent(1)
    var size: NetworkGraph.Extent
    var step = NetworkGraph.Extent(1)
    /// The kernel's rows are read whole: channels of a tap.
    var mergesRows = false
    var name: String
  }

  mutating func productStep(
    _ index: Int, _ layer: Layer, _ product: Layer.Product
  ) throws(GraphError) -> (PlanRun) -> Void {
    switch product.node.operation {
    case .convolution(let convolution): return try convolutionStep(index, layer, product, convolution)
    case .deconvolution(let deconvolution): return try deconvolutionStep(index, layer, product, deconvolution)
    case .fullyConnected(let connected): return try connectedStep(index, layer, product, connected)
    default:
      throw GraphError(.unsupported, node: layer.name, operation: product.node.operation.name, message: "is no product")
    }
  }

  private mutating func convolutionStep(
    _ index: Int, _ layer: Layer, _ product: Layer.Product, _ c: NetworkGraph.Operation.Convolution
  ) throws(GraphError) -> (PlanRun) -> Void {
    let input = sizes(layer.inputs[0], batch: capacity)
    let output = sizes(index, batch: capacity)
    let shape = ProductShape(
      groups: c.groups, channels: input[1] / c.groups, filters: c.filters / c.groups, kernel: c.kernel)
    let border = borders[layer.inputs[0]]
    var taps: [(row: Int, column: Int)] = []
    for row in 0..<c.kernel.height { for column in 0..<c.kernel.width { taps.append((row, column)) } }
    var pass = Pass(
      kernelTaps: taps,
      offsets: taps.map { ($0.row * c.dilation.height - c.pad.top, $0.column * c.dilation.width - c.pad.left) },
      size: NetworkGraph.Extent(height: output[2], width: output[3]), step: c.stride, name: "")
    if border != nil {
      pass.mergesRows = true
      pass.offsets = (0..<c.kernel.height).map { ($0, 0) }
    } else if shape.isDepthwise {
      pass.form = .depthwise
    } else if let tile = winogradTile(c, shape, output) {
      pass.form = .winograd(tile)
    }
    return try step([pass], index, layer, product, shape)
  }

  /// The tile of Winograd's form that is expected to be faster than the direct form, if one is.
  ///
  /// Times are counted in floating-point operations at the speed of the inner loop. What a transform costs for each tile
  /// and channel was measured; reading a byte of weights from memory costs about eight operations.
  private func winogradTile(
    _ c: NetworkGraph.Operation.Convolution, _ shape: ProductShape, _ output: [Int]
  ) -> Int? {
    guard options.usesWinograd, c.kernel == 3, c.stride == 1, c.dilation == 1, c.groups == 1, shape.channels >= 16,
      shape.filters >= 16
    else { return nil }
    func cost(points: Int, rows: Int, transform: Double) -> Double {
      let products = 2.0 * Double(points) * Double((rows + 5) / 6 * 6) * Double(shape.channels * shape.filters)
      return products + transform * Double(rows) * Double(shape.channels + shape.filters)
        + 8 * 4 * Double(points * shape.channels * shape.filters)
    }
    func tiles(_ size: Int) -> Int { output[0] * ((output[2] + size - 1) / size) * ((output[3] + size - 1) / size) }
    let direct = cost(points: 9, rows: output[0] * output[2] * output[3], transform: 0)
    let choices: [(tile: Int, cost: Double)] = [
      (2, cost(points: 16, rows: tiles(2), transform: 184)), (4, cost(points: 36, rows: tiles(4), transform: 870)),
    ]
    guard let best = choices.min(by: { $0.cost < $1.cost }), best.cost < 0.9 * direct else { return nil }
    return best.tile
  }

  /// A transposed convolution is a plain one for each remainder of the output position by the stride.
  private mutating func deconvolutionStep(
    _ index: Int, _ layer: Layer, _ product: Layer.Product, _ d: NetworkGraph.Operation.Deconvolution
  ) throws(GraphError) -> (PlanRun) -> Void {
    let input = sizes(layer.inputs[0], batch: capacity)
    let output = sizes(index, batch: capacity)
    let shape = ProductShape(
      groups: d.groups, channels: input[1] / d.groups, filters: d.filters / d.groups, kernel: d.kernel)
    func line(_ phase: Int, _ kernel: Int, _ stride: Int, _ pad: Int, _ dilation: Int) -> [(tap: Int, offset: Int)] {
      (0..<kernel).compactMap { tap in
        let place = phase + pad - tap * dilation
        return place % stride == 0 ? (tap, place / stride) : nil
      }
    }
    var passes: [Pass] = []
    for row in 0..<min(d.stride.height, output[2]) {
      for column in 0..<min(d.stride.width, output[3]) {
        let rows = line(row, d.kernel.height, d.stride.height, d.pad.top, d.dilation.height)
        let columns = line(column, d.kernel.width, d.stride.width, d.pad.left, d.dilation.width)
        var pass = Pass(
          kernelTaps: [], offsets: [], first: (row, column), distance: d.stride,
          size: NetworkGraph.Extent(
            height: (output[2] - row + d.stride.height - 1) / d.stride.height,
            width: (output[3] - column + d.stride.width - 1) / d.stride.width), name: "phase \(row),\(column)")
        for y in rows {
          for x in columns {
            pass.kernelTaps.append((y.tap, x.tap))
            pass.offsets.append((y.offset, x.offset))
          }
        }
        if shape.isDepthwise { pass.form = .depthwise }
        passes.append(pass)
      }
    }
    return try step(passes, index, layer, product, shape)
  }

  private mutating func connectedStep(
    _ index: Int, _ layer: Layer, _ product: Layer.Product, _ f: NetworkGraph.Operation.FullyConnected
  ) throws(GraphError) -> (PlanRun) -> Void {
    let input = layer.inputs[0]
    let inputShape = self.layer(input).shape
    let inputSizes = sizes(input, batch: capacity)
    let depth = f.flatten ? inputSizes.dropFirst().reduce(1, *) : inputSizes[inputSizes.count - 1]
    let shape = ProductShape(groups: 1, channels: depth, filters: f.units, kernel: 1)
    // Without merging, rows of images do not lie along the last axis: they are brought into C order and back.
    let isMoved = !f.flatten && inputShape.rank == 4
    let outputShape = layer.shape
    let scratchIn = isMoved ? try scratch(inputSizes.reduce(1, *)) : 0
    let scratchOut = isMoved ? try scratch(sizes(index, batch: capacity).reduce(1, *)) : 0
    if isMoved, layer.epilogue.residual != nil {
      throw GraphError(.unsupported, node: layer.name, message: "adds images to a product along their last axis")
    }
    let packed = try weights.product(product.key + "|c\(product.mergedChannels ?? 0)") { () throws(GraphError) in
      try product.packed(shape, taps: [(0, 0)], form: .direct, parameters: parameters)
    }
    let epilogue = try PlanEpilogue(layer.epilogue, count: shape.paddedCount, channels: f.units) { $0 }
    let (source, target) = (places[input], places[index])
    let residual = layer.epilogue.residual.map { places[$0] }
    let taps = PlanTaps(rows: [0], columns: [0])
    let padding = try PlanBuffer(zeros: depth)
    return { run in
      let sizes = Self.sizes(inputShape, batch: run.batch)
      let rows = sizes.reduce(1, *) / depth
      var from = source.pointer(run)
      var to = target.pointer(run)
      if isMoved {
        let moved = run.arena + scratchIn
        PlanLayout.copy(
          sizes, from: from, PlanLayout.strides(sizes), to: moved, PlanLayout.plainStrides(sizes),
          order: Array(sizes.indices))
        (from, to) = (moved, run.arena + scratchOut)
      }
      var form = ck_convolution()
      form.batch = 1
      (form.in_height, form.in_width, form.in_pixel) = (Int64(rows), 1, Int64(depth))
      (form.groups, form.channels, form.filters) = (1, Int64(depth), Int64(f.units))
      (form.out_height, form.out_width) = (Int64(rows), 1)
      (form.out_row, form.out_pixel) = (Int64(f.units), Int64(f.units))
      (form.step_y, form.step_x, form.taps) = (1, 1, 1)
      (form.tap_y, form.tap_x) = (UnsafePointer(taps.rows), UnsafePointer(taps.columns))
      form.weights = UnsafePointer(packed.weights.pointer)
      form.padding = UnsafePointer(padding.pointer)
      form.epilogue = epilogue.value(bias: packed.bias)
      ck_convolve(&form, from, residual?.pointer(run), to, run.parallel)
      if isMoved {
        let sizes = Self.sizes(outputShape, batch: run.batch)
        PlanLayout.copy(
          sizes, from: to, PlanLayout.plainStrides(sizes), to: target.pointer(run), PlanLayout.strides(sizes),
          order: PlanLayout.order(sizes.count))
      }
      withExtendedLifetime((taps, padding, epilogue)) {}
    }
  }

  /// The call for all passes of a convolution.
  private mutating func step(
    _ passes: [Pass], _ index: Int, _ layer: Layer, _ product: Layer.Product, _ shape: ProductShape
  ) throws(GraphError) -> (PlanRun) -> Void {
    let input = layer.inputs[0]
    let border = borders[input] ?? 0
    let (inputShape, outputShape) = (self.layer(input).shape, layer.shape)
    let epilogue = try PlanEpilogue(
      layer.epilogue, count: shape.paddedCount, channels: shape.groups * shape.filters
    ) { channel in
      shape.isDepthwise ? channel : channel / shape.filters * shape.paddedFilters + channel % shape.filters
    }
    let channels = shape.groups * shape.channels
    let pixel = pixelStep(index)
    let padding = try PlanBuffer(
      product.before?.padding(channels) ?? [Float](repeating: 0, count: channels))
    var calls: [(pass: Pass, taps: PlanTaps, packed: PackedProduct)] = []
    for var pass in passes {
      if pass.kernelTaps.isEmpty {
        // No input reaches these outputs: one tap that is always outside, with a weight of zero.
        pass.offsets = [(-(1 << 30), 0)]
      }
      let key = "\(product.key)|\(pass.form)|\(pass.name)"
      let packed = try weights.product(key) { () throws(GraphError) in
        if pass.kernelTaps.isEmpty { return try Self.packedNothing(product, shape, pass.form, parameters) }
        return try product.packed(shape, taps: pass.kernelTaps, form: pass.form, parameters: parameters)
      }
      calls.append((pass, PlanTaps(rows: pass.offsets.map(\.row), columns: pass.offsets.map(\.column)), packed))
    }

    func form(_ call: (pass: Pass, taps: PlanTaps, packed: PackedProduct), batch: Int) -> ck_convolution {
      let (from, to) = (Self.sizes(inputShape, batch: batch), Self.sizes(outputShape, batch: batch))
      let pass = call.pass
      var form = ck_convolution()
      form.batch = Int64(from[0])
      form.in_height = Int64(from[2] + border.top + border.bottom)
      form.in_width = Int64(from[3] + border.left + border.right)
      form.in_pixel = Int64(channels)
      form.groups = Int64(shape.groups)
      form.channels = Int64(pass.mergesRows ? shape.channels * shape.kernel.width : shape.channels)
      form.filters = Int64(shape.filters)
      (form.out_height, form.out_width) = (Int64(pass.size.height), Int64(pass.size.width))
      form.out_image = Int64(pixel * to[2] * to[3])
      form.out_row = Int64(pixel * to[3] * pass.distance.height)
      form.out_pixel = Int64(pixel * pass.distance.width)
      (form.step_y, form.step_x) = (Int64(pass.step.height), Int64(pass.step.width))
      form.taps = Int64(call.taps.count)
      (form.tap_y, form.tap_x) = (UnsafePointer(call.taps.rows), UnsafePointer(call.taps.columns))
      form.weights = UnsafePointer(call.packed.weights.pointer)
      form.padding = UnsafePointer(padding.pointer)
      form.epilogue = epilogue.value(bias: call.packed.bias)
      return form
    }

    var scratchOffset = 0
    if let first = calls.first, case .winograd(let tile) = first.pass.form {
      // Fewer samples or workers may choose another form of its loops, so the largest need counts.
      var most = 0
      for batch in Set([1, capacity, (capacity + 1) / 2]) {
        for workers in Set([1, workers]) {
          var form = form(first, batch: batch)
          most = max(most, Int(ck_winograd_scratch_size(Int32(tile), &form, Int32(workers))))
        }
      }
      scratchOffset = try scratch(most)
    }
    let (source, target) = (places[input], places[index])
    let residual = layer.epilogue.residual.map { places[$0] }
    return { run in
      let from = UnsafePointer(source.pointer(run))
      for call in calls {
        var form = form(call, batch: run.batch)
        let start = (call.pass.first.row * Self.sizes(outputShape, batch: 1)[3] + call.pass.first.column) * pixel
        let to = target.pointer(run) + start
        let added = residual.map { $0.pointer(run) + start }
        switch call.pass.form {
        case .direct: ck_convolve(&form, from, added, to, run.parallel)
        case .depthwise: ck_convolve_depthwise(&form, from, added, to, run.parallel)
        case .winograd(let tile):
          ck_winograd(Int32(tile), &form, from, added, to, run.arena + scratchOffset, run.parallel)
        }
      }
      withExtendedLifetime((padding, epilogue)) {}
    }
  }

  /// Weights of zero for one tap, and the bias.
  private static func packedNothing(
    _ product: Layer.Product, _ shape: ProductShape, _ form: PackedProduct.Form, _ parameters: [String: [Float]]
  ) throws(GraphError) -> PackedProduct {
    let size =
      form == .depthwise
      ? shape.paddedCount : Int(ck_packed_size(1, Int64(shape.channels), Int64(shape.filters))) * shape.groups
    let own = product.node.parameters.count > 1 ? parameters[product.node.parameters[1]] : nil
    let bias = try shape.padded { channel in
      Float(
        Double(own?[channel] ?? 0) * (product.after?.scale(channel) ?? 1) + (product.after?.shift(channel) ?? 0))
    }
    return PackedProduct(weights: try PlanBuffer(zeros: size), bias: bias)
  }
}
