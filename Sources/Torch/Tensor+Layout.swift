internal import CTorch

extension Tensor {
  /// The tensor with another element type and on another device; itself when nothing changes.
  public func to(_ dtype: DType? = nil, _ device: Device? = nil) -> Tensor {
    let type = dtype ?? self.dtype
    let place = device ?? self.device
    return tensor("to", [self]) { ct_to(handle, type.rawValue, place.c, $0) }
  }

  /// The tensor with its elements in the given order in memory.
  public func contiguous(_ format: MemoryFormat = .contiguous) -> Tensor {
    tensor("contiguous", [self]) { ct_contiguous_as(handle, format.rawValue, $0) }
  }

  /// A copy.
  public func cloned() -> Tensor { tensor("clone", [self]) { ct_clone(handle, $0) } }

  /// The same elements, outside of the recorded computation.
  public func detached() -> Tensor { tensor("detach", [self]) { ct_detach(handle, $0) } }

  /// Overwrites the elements in place; shapes must agree, type, device and order in memory may differ.
  public func copy(from source: Tensor) {
    precondition(shape == source.shape, "copy: \(source.shape) into \(shape)")
    withoutGrad { call("copy", [self, source]) { ct_copy(handle, source.handle, $0) } }
  }

  /// Puts the elements on another device, in place.
  public func move(to device: Device) {
    guard self.device != device else { return }
    let moved = detached().to(nil, device)
    call("move", [self]) { ct_set_data(handle, moved.handle, $0) }
  }

  /// The elements in another shape; one size may be -1.
  public func reshaped(_ shape: [Int]) -> Tensor {
    withSizes(shape) { sizes, rank in tensor("reshape", [self]) { ct_reshape(handle, sizes, rank, $0) } }
  }

  /// The dimensions in another order.
  public func permuted(_ order: [Int]) -> Tensor {
    withSizes(order) { sizes, rank in tensor("permute", [self]) { ct_permute(handle, sizes, rank, $0) } }
  }

  /// Two dimensions exchanged.
  public func transposed(_ a: Int = -2, _ b: Int = -1) -> Tensor {
    tensor("transpose", [self]) { ct_transpose(handle, Int64(a), Int64(b), $0) }
  }

  /// The dimensions `from ... to` as one, in C order.
  public func flattened(from: Int = 1, to: Int = -1) -> Tensor {
    tensor("flatten", [self]) { ct_flatten(handle, Int64(from), Int64(to), $0) }
  }

  /// `count` entries of a dimension from `start` on, as a view.
  public func narrowed(_ dim: Int, start: Int, count: Int) -> Tensor {
    tensor("narrow", [self]) { ct_narrow(handle, Int64(dim), Int64(start), Int64(count), $0) }
  }

  /// One entry of a dimension, which disappears.
  public func selected(_ dim: Int, _ index: Int) -> Tensor {
    tensor("select", [self]) { ct_select(handle, Int64(dim), Int64(index), $0) }
  }

  /// The first dimension's entry.
  public subscript(index: Int) -> Tensor { selected(0, index) }

  /// A range of the first dimension.
  public subscript(range: Range<Int>) -> Tensor { narrowed(0, start: range.lowerBound, count: range.count) }

  /// The entries of a dimension that `index` (int64, 1-D) names.
  public func indexSelected(_ dim: Int, _ index: Tensor) -> Tensor {
    tensor("index_select", [self, index]) { ct_index_select(handle, Int64(dim), index.handle, $0) }
  }

  /// out[i][j] = self[i][index[i][j]] for dim 1.
  public func gathered(_ dim: Int, _ index: Tensor) -> Tensor {
    tensor("gather", [self, index]) { ct_gather(handle, Int64(dim), index.handle, $0) }
  }

  /// A copy with self[i][index[i][j]] = source[i][j] for dim 1.
  public func scattered(_ dim: Int, _ index: Tensor, _ source: Tensor) -> Tensor {
    tensor("scatter", [self, index, source]) { ct_scatter(handle, Int64(dim), index.handle, source.handle, $0) }
  }

  /// A copy with self[i][index[i][j]] += source[i][j] for dim 1.
  public func scatterAdded(_ dim: Int, _ index: Tensor, _ source: Tensor) -> Tensor {
    tensor("scatter_add", [self, index, source]) {
      ct_scatter_add(handle, Int64(dim), index.handle, source.handle, $0)
    }
  }

  /// A dimension of size 1 inserted.
  public func unsqueezed(_ dim: Int) -> Tensor { tensor("unsqueeze", [self]) { ct_unsqueeze(handle, Int64(dim), $0) } }

  /// A dimension of size 1 removed.
  public func squeezed(_ dim: Int) -> Tensor { tensor("squeeze", [self]) { ct_squeeze(handle, Int64(dim), $0) } }

  /// Dimensions of size 1 repeated without a copy; -1 keeps a size.
  public func expanded(_ shape: [Int]) -> Tensor {
    withSizes(shape) { sizes, rank in tensor("expand", [self]) { ct_expand(handle, sizes, rank, $0) } }
  }

  /// One dimension reversed.
  public func flipped(_ dim: Int) -> Tensor { tensor("flip", [self]) { ct_flip(handle, Int64(dim), $0) } }

  /// Tensors joined along a dimension.
  public static func concatenated(_ tensors: [Tensor], dim: Int = 0) -> Tensor {
    withHandles(tensors) { handles, count in tensor("concat", tensors) { ct_concat(handles, count, Int64(dim), $0) } }
  }

  /// Tensors joined along a new dimension.
  public static func stacked(_ tensors: [Tensor], dim: Int = 0) -> Tensor {
    withHandles(tensors) { handles, count in tensor("stack", tensors) { ct_stack(handles, count, Int64(dim), $0) } }
  }
}
