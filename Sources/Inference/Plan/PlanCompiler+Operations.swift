import CKernels
import Formats

extension PlanCompiler {
  /// Operations that no product takes in.
  mutating func operationStep(
    _ index: Int, _ layer: Layer, _ node: NetworkGraph.Node
  ) throws(GraphError) -> (PlanRun) -> Void {
    let operation = node.operation
    let inference = ShapeInference(node: layer.name, operation: operation)
    let shape = layer.shape
    let target = places[index]
    let inputs = layer.inputs.map { (place: places[$0], shape: self.layer($0).shape) }
    guard let first = inputs.first else { return try literalStep(layer, node, target) }
    switch operation {
    case .scalar(let scalar):
      switch scalar.kind {
      case .divideInto: return unary(first.place, target, shape, ck_unary_divide_into, scalar.value)
      case .maximum: return unary(first.place, target, shape, ck_unary_maximum, scalar.value)
      case .minimum: return unary(first.place, target, shape, ck_unary_minimum, scalar.value)
      default: break
      }
    case .activation(let activation):
      switch activation {
      case .sigmoid: return unary(first.place, target, shape, ck_unary_sigmoid, 0)
      case .tanh: return unary(first.place, target, shape, ck_unary_tanh, 0)
      case .softplus: return unary(first.place, target, shape, ck_unary_softplus, 0)
      case .softsign: return unary(first.place, target, shape, ck_unary_softsign, 0)
      case .gelu: return unary(first.place, target, shape, ck_unary_gelu, 0)
      case .squareRoot: return unary(first.place, target, shape, ck_unary_square_root, 0)
      case .elu(let slope): return unary(first.place, target, shape, ck_unary_elu, slope)
      default: break
      }
    case .elementwise(let elementwise): return binary(elementwise.kind, inputs, target, shape)
    case .pooling(let pooling): return pool(pooling, first, target, shape)
    case .softmax(let axis):
      let axis = try inference.resolve(axis: axis, rank: shape.rank)
      return { run in
        let lines = PlanLayout.lines(Self.sizes(shape, batch: run.batch), axis: axis)
        ck_softmax(
          first.place.pointer(run), Int64(lines.outer), Int64(lines.count), Int64(lines.inner), target.pointer(run),
          run.parallel)
      }
    case .layerNorm(let norm): return try layerNormStep(index, layer, node, norm)
    case .matmul(let transposesSecond): return try matmulStep(index, layer, transposesSecond: transposesSecond)
    case .l2Normalize(let normalize):
      return { run in
        let lines = Self.lines(normalize.mode, Self.sizes(shape, batch: run.batch))
        ck_l2_normalize(
          first.place.pointer(run), Int64(lines.outer), Int64(lines.count), Int64(lines.inner), normalize.epsilon,
          target.pointer(run))
      }
    case .flatten, .reshape: return try reshape(first, index, target, shape)
    case .transpose(let permutation):
      let order = permutation.isEmpty ? Array((0..<shape.rank).reversed()) : permutation
      return { run in
        let sizes = Self.sizes(shape, batch: run.batch)
        let own = PlanLayout.strides(Self.sizes(first.shape, batch: run.batch))
        Self.gather(first.place.pointer(run), order.map { own[$0] }, target.pointer(run), sizes)
      }
    case .concat(let axis):
      let axis = try inference.resolve(axis: axis, rank: shape.rank)
      let isThere = layer.inputs.map { joined[$0] != nil }
      return { run in
        let strides = PlanLayout.strides(Self.sizes(shape, batch: run.batch))
        var offset = 0
        for (input, isThere) in zip(inputs, isThere) {
          let sizes = Self.sizes(input.shape, batch: run.batch)
          defer { offset += sizes[axis] * strides[axis] }
          if isThere { continue }
          PlanLayout.copy(
            sizes, from: input.place.pointer(run), PlanLayout.strides(sizes), to: target.pointer(run) + offset, strides,
            order: PlanLayout.order(sizes.count))
        }
      }
    case .slice(let slice):
      return { run in
        let sizes = Self.sizes(first.shape, batch: run.batch)
        guard let (axis, range) = try? inference.range(slice, of: NetworkGraph.Shape(fixed: sizes)) else { return }
        let strides = PlanLayout.strides(sizes)
        Self.gather(
          first.place.pointer(run) + range.lowerBound * strides[axis], strides, target.pointer(run),
          Self.sizes(shape, batch: run.batch))
      }
    case .crop(let crop):
      let window = try inference.cropWindow(
        crop, image: first.shape, like: inputs.count > 1 ? inputs[1].shape : nil)
      return { run in
        let strides = PlanLayout.strides(Self.sizes(first.shape, batch: run.batch))
        Self.gather(
          first.place.pointer(run) + window.rows.lowerBound * strides[2] + window.columns.lowerBound * strides[3],
          strides, target.pointer(run), Self.sizes(shape, batch: run.batch))
      }
    case .upsampleNearest(let scale): return upsample(scale, first, target)
    default: break
    }
    return try literalStep(layer, node, target)
  }

  /// An operation that has no kernel runs as the literal executor defines it: slow, but no network stays outside.
  private func literalStep(
    _ layer: Layer, _ node: NetworkGraph.Node, _ target: PlanPlace
  ) throws(GraphError) -> (PlanRun) -> Void {
    let inputs = layer.inputs.map { (place: places[$0], shape: self.layer($0).shape) }
    var nodes = inputs.enumerated().map { number, input in
      NetworkGraph.Node(name: "input \(number)", operation: .input(input.shape))
    }
    var single = node
    single.inputs = nodes.indices.map { NetworkGraph.Value(node: $0) }
    nodes.append(single)
    var graph = try NetworkGraph(nodes: nodes, outputs: [NetworkGraph.Value(node: nodes.count - 1)])
    for parameter in try graph.parameters() {
      guard let values = parameters[parameter.name],
        let tensor = try? StoredTensor(shape: parameter.shape, floats: values)
      else {
        throw GraphError(
          .mismatch, node: node.name, operation: node.operation.name,
          message: "needs weight \"\(parameter.name)\" in shape \(parameter.shape)")
      }
      graph.weights[parameter.name] = tensor
    }
    let executor = try NaiveExecutor(graph)
    for shape in inputs.map(\.shape) + [layer.shape]
    where Self.sizes(shape, batch: capacity).reduce(1, *) > NaiveExecutor.maximumElements {
      throw GraphError(
        .tooLarge, node: node.name, operation: node.operation.name,
        message: "has no kernel yet and takes tensors of at most \(NaiveExecutor.maximumElements) elements")
    }
    let shape = layer.shape
    return { run in
      var tensors: [String: NaiveExecutor.Tensor] = [:]
      for (number, input) in inputs.enumerated() {
        let sizes = Self.sizes(input.shape, batch: run.batch)
        var plain = [Float](repeating: 0, count: sizes.reduce(1, *))
        plain.withUnsafeMutableBufferPointer { buffer in
          guard let base = buffer.baseAddress else { return }
          PlanLayout.copy(
            sizes, from: input.place.pointer(run), PlanLayout.strides(sizes), to: base, PlanLayout.plainStrides(sizes),
            order: Array(sizes.indices))
        }
        tensors["input \(number)"] = NaiveExecutor.Tensor(shape: sizes, elements: plain.map(Double.init))
      }
      let sizes = Self.sizes(shape, batch: run.batch)
      // Shapes and weights are checked above; what is left to fail must not pass for a result.
      let result = try? executor.run(tensors).first
      let plain =
        result?.elements.map { Float($0) } ?? [Float](repeating: .nan, count: sizes.reduce(1, *))
      plain.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress, buffer.count == sizes.reduce(1, *) else { return }
        PlanLayout.copy(
          sizes, from: base, PlanLayout.plainStrides(sizes), to: target.pointer(run), PlanLayout.strides(sizes),
          order: PlanLayout.order(sizes.count))
      }
    }
  }

  private typealias Input = (place: PlanPlace, shape: NetworkGraph.Shape)

  private func unary(
    _ source: PlanPlace, _ target: PlanPlace, _ shape: NetworkGraph.Shape, _ kind: Int,
    _ value: Double
  ) -> (PlanRun) -> Void {
    let kind = Int32(kind)
    return { run in
      let count = Self.sizes(shape, batch: run.batch).reduce(1, *)
      ck_unary(kind, source.pointer(run), Int64(count), Float(value), target.pointer(run), run.parallel)
    }
  }

  private func binary(
    _ kind: NetworkGraph.Operation.Elementwise.Kind, _ inputs: [Input], _ target: PlanPlace, _ shape: NetworkGraph.Shape
  ) -> (PlanRun) -> Void {
    let code: Int32
    switch kind {
    case .add: code = Int32(ck_add)
    case .subtract: code = Int32(ck_subtract)
    case .multiply: code = Int32(ck_multiply)
    case .divide: code = Int32(ck_divide)
    case .maximum: code = Int32(ck_maximum)
    case .minimum: code = Int32(ck_minimum)
    }
    return { run in
      let sizes = Self.sizes(shape, batch: run.batch)
      let order = PlanLayout.order(sizes.count)
      func steps(_ input: Input) -> [Int64] {
        let own = Self.sizes(input.shape, batch: run.batch)
        let strides = PlanLayout.strides(own)
        let missing = sizes.count - own.count
        return order.map { axis in
          axis < missing || own[axis - missing] == 1 ? 0 : Int64(strides[axis - missing])
        }
      }
      ck_strided_binary(
        code, inputs[0].place.pointer(run), steps(inputs[0]), inputs[1].place.pointer(run), steps(inputs[1]),
        target.pointer(run), order.map { Int64(sizes[$0]) }, Int32(order.count))
    }
  }

  private func pool(
    _ p: NetworkGraph.Operation.Pooling, _ input: Input, _ target: PlanPlace, _ shape: NetworkGraph.Shape
  ) -> (PlanRun) -> Void {
    { run in
      let (from, to) = (Self.sizes(input.shape, batch: run.batch), Self.sizes(shape, batch: run.batch))
      let kernel = p.isGlobal ? NetworkGraph.Extent(height: from[2], width: from[3]) : p.kernel ?? 1
      let stride = p.isGlobal ? 1 : p.stride
      let pad = p.isGlobal ? 0 : p.pad
      var form = ck_pooling()
      (form.batch, form.height, form.width) = (Int64(from[0]), Int64(from[2]), Int64(from[3]))
      (form.channels, form.out_height, form.out_width) = (Int64(from[1]), Int64(to[2]), Int64(to[3]))
      (form.kernel_y, form.kernel_x) = (Int64(kernel.height), Int64(kernel.width))
      (form.step_y, form.step_x) = (Int64(stride.height), Int64(stride.width))
      (form.top, form.left, form.bottom, form.right) = (
        Int64(pad.top), Int64(pad.left), Int64(pad.bottom), Int64(pad.right)
      )
      switch p.kind {
      case .max: form.kind = Int32(ck_pool_max)
      case .average: form.kind = Int32(ck_pool_average)
      case .sum: form.kind = Int32(ck_pool_sum)
      }
      form.counts_padding = p.countsPadding ? 1 : 0
      ck_pool_images(&form, input.place.pointer(run), target.pointer(run), run.parallel)
    }
  }

  private mutating func reshape(
    _ input: Input, _ index: Int, _ target: PlanPlace, _ shape: NetworkGraph.Shape
  ) throws(GraphError) -> (PlanRun) -> Void {
    // Between two images the elements pass through C order.
    let needsScratch = input.shape.rank == 4 && shape.rank == 4
    let temporary = needsScratch ? try scratch(sizes(index, batch: capacity).reduce(1, *)) : 0
    return { run in
      let (from, to) = (Self.sizes(input.shape, batch: run.batch), Self.sizes(shape, batch: run.batch))
      let (source, end) = (input.place.pointer(run), target.pointer(run))
      let plain = needsScratch ? run.arena + temporary : end
      if shape.rank != 4 || needsScratch {
        PlanLayout.copy(
          from, from: source, PlanLayout.strides(from), to: plain, PlanLayout.plainStrides(from),
          order: Array(from.indices))
      }
      if shape.rank == 4 {
        PlanLayout.copy(
          to, from: needsScratch ? plain : source, PlanLayout.plainStrides(to), to: end, PlanLayout.strides(to),
          order: PlanLayout.order(4))
      }
    }
  }

  private func upsample(_ scale: Int, _ input: Input, _ target: PlanPlace) -> (PlanRun) -> Void {
    { run in
      let sizes = Self.sizes(input.shape, batch: run.batch).map { Int64($0) }
      ck_upsample_nearest(
        input.place.pointer(run), sizes[0], sizes[2], sizes[3], sizes[1], Int64(scale), target.pointer(run),
        run.parallel)
    }
  }

  /// Collects elements into a dense tensor.
  private static func gather(
    _ source: UnsafePointer<Float>, _ strides: [Int], _ target: UnsafeMutablePointer<Float>, _ sizes: [Int]
  ) {
    PlanLayout.copy(
      sizes, from: source, strides, to: target, PlanLayout.strides(sizes), order: PlanLayout.order(sizes.count))
  }

  /// Elements before, along and after what a normalisation sums over.
  private static func lines(
    _ mode: NetworkGraph.Operation.L2Normalize.Mode, _ sizes: [Int]
  ) -> (outer: Int, count: Int, inner: Int) {
    switch mode {
    case .instance: (sizes[0], sizes.dropFirst().reduce(1, *), 1)
    case .channel: PlanLayout.lines(sizes, axis: 1)
    case .spatial where sizes.count == 4: (sizes[0], sizes[2] * sizes[3], sizes[1])
    case .spatial: (sizes[0] * sizes[1], sizes.dropFirst(2).reduce(1, *), 1)
    }
  }
}
