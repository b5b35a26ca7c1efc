import CKernels

/// What transformers have beside products with weights.
extension PlanCompiler {
  mutating func attentionStep(
    _ index: Int, _ layer: Layer, _ pattern: AttentionPattern
  ) throws(GraphError) -> (PlanRun) -> Void {
    let (heads, depth, tokens) = (pattern.heads, pattern.depth, pattern.tokens)
    let width = pattern.parts[0].width
    func form(batch: Int) -> ck_attention {
      ck_attention(
        batch: Int64(batch), tokens: Int64(tokens), heads: Int64(heads), depth: Int64(depth), in_token: Int64(width),
        out_token: Int64(heads * depth), scale: Float(pattern.scale))
    }
    var largest = form(batch: capacity)
    let temporary = try scratch(Int(ck_attention_scratch_size(&largest, Int32(workers))))
    let parts = zip(layer.inputs, pattern.parts).map { (place: places[$0], offset: $1.offset) }
    let (target, shape) = (places[index], layer.shape)
    return { run in
      var form = form(batch: Self.sizes(shape, batch: run.batch)[0])
      ck_attend(
        &form, parts[0].place.pointer(run) + parts[0].offset, parts[1].place.pointer(run) + parts[1].offset,
        parts[2].place.pointer(run) + parts[2].offset, target.pointer(run), run.arena + temporary, run.parallel)
    }
  }

  mutating func matmulStep(
    _ index: Int, _ layer: Layer, transposesSecond: Bool
  ) throws(GraphError) -> (PlanRun) -> Void {
    let inputs = layer.inputs.map { (place: places[$0], shape: self.layer($0).shape) }
    let (target, shape) = (places[index], layer.shape)
    func form(batch: Int) -> ck_product {
      let a = Self.sizes(inputs[0].shape, batch: batch)
      let b = Self.sizes(inputs[1].shape, batch: batch)
      let out = Self.sizes(shape, batch: batch)
      let rank = out.count
      var product = ck_product()
      (product.rows, product.columns) = (Int64(out[rank - 2]), Int64(out[rank - 1]))
      product.depth = Int64(a[rank - 1])
      // Images alone have another order than C: their matrices lie one in the other.
      (product.groups, product.matrices) =
        rank == 4 ? (Int64(out[0]), Int64(out[1])) : (Int64(out.dropLast(2).reduce(1, *)), 1)
      func matrices(_ sizes: [Int]) -> ck_matrices {
        let strides = PlanLayout.strides(sizes)
        return ck_matrices(
          group: Int64(rank == 4 ? strides[0] : sizes[rank - 2] * sizes[rank - 1]),
          matrix: Int64(rank == 4 ? strides[1] : 0), row: Int64(strides[rank - 2]), column: Int64(strides[rank - 1]))
      }
      (product.a, product.b, product.out) = (matrices(a), matrices(b), matrices(out))
      if transposesSecond { swap(&product.b.row, &product.b.column) }
      return product
    }
    var largest = form(batch: capacity)
    let temporary = try scratch(Int(ck_matmul_scratch_size(&largest, Int32(workers))))
    return { run in
      var form = form(batch: run.batch)
      ck_matmul(
        &form, inputs[0].place.pointer(run), inputs[1].place.pointer(run), target.pointer(run), run.arena + temporary,
        run.parallel)
    }
  }

  func layerNormStep(
    _ index: Int, _ layer: Layer, _ node: NetworkGraph.Node, _ norm: NetworkGraph.Operation.LayerNorm
  ) throws(GraphError) -> (PlanRun) -> Void {
    let (source, target, shape) = (places[layer.inputs[0]], places[index], layer.shape)
    let axis = try ShapeInference(node: layer.name, operation: node.operation).resolve(
      axis: norm.axis, rank: shape.rank)
    let count = sizes(index, batch: capacity)[axis]
    let values = try node.parameters.map { name throws(GraphError) -> PlanBuffer in
      guard let values = parameters[name], values.count == count else {
        throw GraphError(
          .mismatch, node: node.name, operation: node.operation.name,
          message: "needs weight \"\(name)\" of \(count) elements")
      }
      return try PlanBuffer(values)
    }
    return { run in
      let lines = PlanLayout.lines(Self.sizes(shape, batch: run.batch), axis: axis)
      ck_layer_norm(
        source.pointer(run), Int64(lines.outer), Int64(lines.count), Int64(lines.inner), norm.epsilon,
        values[0].pointer, values[1].pointer, target.pointer(run), run.parallel)
    }
  }
}
