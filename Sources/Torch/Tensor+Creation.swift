internal import CTorch

extension Tensor {
  /// A tensor filled with one value.
  public static func full(_ shape: [Int], _ value: Double, dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    withSizes(shape) { sizes, rank in
      tensor("full") { ct_full(sizes, rank, value, dtype.rawValue, device.c, $0) }
    }
  }

  /// Zeros.
  public static func zeros(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    full(shape, 0, dtype: dtype, device: device)
  }

  /// Ones.
  public static func ones(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) -> Tensor {
    full(shape, 1, dtype: dtype, device: device)
  }

  /// Memory that is not set to anything yet.
  public static func empty(
    _ shape: [Int], dtype: DType = .float32, device: Device = .cpu, format: MemoryFormat = .contiguous
  ) -> Tensor {
    withSizes(shape) { sizes, rank in
      tensor("empty") { ct_empty(sizes, rank, dtype.rawValue, device.c, format.rawValue, $0) }
    }
  }

  /// A CPU tensor from values in C order; their number must be the product of the shape.
  public convenience init<Element: TensorElement>(_ values: [Element], shape: [Int]) {
    self.init(owning: values.withUnsafeBytes { Tensor.copied($0, shape: shape, dtype: Element.dtype) })
  }

  /// A CPU tensor that copies raw bytes in C order.
  public convenience init(bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType) {
    self.init(owning: Tensor.copied(bytes, shape: shape, dtype: dtype))
  }

  /// A 1-D CPU tensor.
  public convenience init<Element: TensorElement>(_ values: [Element]) {
    self.init(values, shape: [values.count])
  }

  /// start, start + step, … below end.
  public static func arange(
    _ start: Double = 0, _ end: Double, step: Double = 1, dtype: DType = .float32, device: Device = .cpu
  ) -> Tensor {
    tensor("arange") { ct_arange(start, end, step, dtype.rawValue, device.c, $0) }
  }

  private static func copied(_ bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType) -> OpaquePointer {
    let made = withSizes(shape) { sizes, rank in
      tensor("tensor from values") {
        ct_from_bytes(bytes.baseAddress, Int64(bytes.count), sizes, rank, dtype.rawValue, $0)
      }
    }
    guard let handle = ct_retain(made.handle) else { preconditionFailure("a tensor lost its handle") }
    return handle
  }

  /// Fills the tensor in place with N(mean, deviation²).
  @discardableResult
  public func fillNormal(mean: Double = 0, deviation: Double, _ generator: Generator) -> Tensor {
    call("normal", [self]) { ct_normal_(handle, mean, deviation, generator.handle, $0) }
    return self
  }

  /// Fills the tensor in place with U[low, high).
  @discardableResult
  public func fillUniform(_ low: Double, _ high: Double, _ generator: Generator) -> Tensor {
    call("uniform", [self]) { ct_uniform_(handle, low, high, generator.handle, $0) }
    return self
  }

  /// Sets every element.
  public func fill(_ value: Double) {
    withoutGrad { call("fill", [self]) { ct_fill(handle, value, $0) } }
  }
}

/// A seedable source of random numbers: mt19937 on the CPU, Philox on CUDA, as in PyTorch.
public final class Generator: @unchecked Sendable {
  let handle: OpaquePointer

  /// Starts the sequence of `seed`.
  public init(seed: UInt64, device: Device = .cpu) {
    guard let made = call("generator", [], { ct_generator(seed, device.c, $0) }) else {
      preconditionFailure("no generator on \(device)")
    }
    handle = made
  }

  deinit { ct_generator_release(handle) }

  /// The whole state, to be stored and set again: uint8, 1-D.
  public var state: Tensor {
    get { tensor("generator state") { ct_generator_state(handle, $0) } }
    set { call("generator state", [newValue]) { ct_generator_set_state(handle, newValue.handle, $0) } }
  }
}
