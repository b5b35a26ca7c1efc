internal import CTorch

/// An n-dimensional array of LibTorch.
///
/// Shapes are written with letters: N images, C channels, H rows, W columns, D embedding length, K classes. 4-D tensors
/// have the logical shape [N, C, H, W] whatever their order in memory.
///
/// `@unchecked Sendable`: the handle is an atomically counted reference that never changes. As in LibTorch itself, the
/// contents are not guarded: a tensor that is written (in place, by an optimizer) belongs to one thread at a time.
public final class Tensor: @unchecked Sendable {
  let handle: OpaquePointer

  /// Takes ownership of one reference.
  init(owning handle: OpaquePointer) { self.handle = handle }

  deinit { ct_release(handle) }

  /// The size of each dimension.
  public var shape: [Int] {
    let rank = Int(ct_rank(handle))
    return withUnsafeTemporaryAllocation(of: Int64.self, capacity: Swift.max(rank, 1)) { sizes in
      if let base = sizes.baseAddress { ct_sizes(handle, base) }
      return (0..<rank).map { Int(sizes[$0]) }
    }
  }

  /// The number of dimensions.
  public var rank: Int { Int(ct_rank(handle)) }

  /// The number of elements.
  public var count: Int { Int(ct_count(handle)) }

  /// The type of the elements.
  public var dtype: DType {
    guard let type = DType(rawValue: ct_dtype(handle)) else {
      preconditionFailure("a tensor of an element type that this library does not use: \(ct_dtype(handle))")
    }
    return type
  }

  /// Where the elements live.
  public var device: Device { Device(ct_device_of(handle)) }

  /// True when the elements lie in the given order without gaps.
  public func isContiguous(_ format: MemoryFormat = .contiguous) -> Bool {
    ct_is_contiguous(handle, format.rawValue)
  }

  /// The one element of a tensor as a number; waits for the device.
  public var item: Double { call("item", [self]) { ct_item(handle, $0) } }

  /// A copy of all elements in the logical order (C order), converted to `Element`.
  public func array<Element: TensorElement>(of type: Element.Type = Element.self) -> [Element] {
    let source = detached().to(Element.dtype, .cpu).contiguous()
    return [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      if count > 0 {
        UnsafeMutableRawBufferPointer(buffer).copyMemory(
          from: UnsafeRawBufferPointer(start: ct_data(source.handle), count: count * MemoryLayout<Element>.stride))
      }
      initialized = count
    }
  }

  /// All elements as Float, in C order.
  public var floats: [Float] { array() }

  /// Reads the bytes of a contiguous CPU tensor in place.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    let source = device.isCPU && isContiguous() ? self : detached().to(dtype, .cpu).contiguous()
    return try withExtendedLifetime(source) {
      try body(UnsafeRawBufferPointer(start: ct_data(source.handle), count: count * dtype.size))
    }
  }

  /// Writes the bytes of a CPU tensor in place, in the order in which they lie in memory.
  public func withMutableBytes<Result>(_ body: (UnsafeMutableRawBufferPointer) throws -> Result) rethrows -> Result {
    precondition(device.isCPU, "withMutableBytes: a tensor on \(device)")
    return try body(UnsafeMutableRawBufferPointer(start: ct_data(handle), count: count * dtype.size))
  }
}

extension Tensor: CustomStringConvertible {
  /// Shape, type and device; the values of a small tensor.
  public var description: String {
    let values = count <= 16 ? " \(floats)" : ""
    return "Tensor(shape: \(shape), \(dtype), \(device))\(values)"
  }
}

/// The sizes as C wants them.
@inline(__always)
func withSizes<Result>(_ sizes: [Int], _ body: (UnsafePointer<Int64>?, Int32) -> Result) -> Result {
  withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(sizes.count, 1)) { buffer in
    for (i, size) in sizes.enumerated() { buffer[i] = Int64(size) }
    return body(UnsafePointer(buffer.baseAddress), Int32(sizes.count))
  }
}

/// The handles of several tensors as C wants them; nil where there is none.
func withHandles<Result>(_ tensors: [Tensor?], _ body: (UnsafePointer<OpaquePointer?>?, Int32) -> Result) -> Result {
  let handles = tensors.map { $0?.handle }
  return withExtendedLifetime(tensors) {
    handles.withUnsafeBufferPointer { body($0.baseAddress, Int32($0.count)) }
  }
}
