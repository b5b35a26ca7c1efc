internal import CTorch

/// Runs `body` without recording operations for `backward`.
///
/// The mode belongs to the thread: `body` must not suspend.
public func withoutGrad<Result>(_ body: () throws -> Result) rethrows -> Result {
  let before = ct_grad_enabled()
  ct_set_grad_enabled(false)
  defer { ct_set_grad_enabled(before) }
  return try body()
}

/// Runs `body` with convolutions and linear maps on `device` computed in `dtype`; weights stay what they are.
///
/// With float32 nothing changes. The mode belongs to the thread: `body` must not suspend.
public func withAutocast<Result>(_ dtype: DType, _ device: Device, _ body: () throws -> Result) rethrows -> Result {
  guard dtype != .float32 else { return try body() }
  call("autocast") { ct_set_autocast(device.c, dtype.rawValue, $0) }
  defer { call("autocast") { ct_set_autocast(device.c, DType.float32.rawValue, $0) } }
  return try body()
}

extension Tensor {
  /// Whether operations on this tensor are recorded.
  public var requiresGrad: Bool {
    get { ct_requires_grad(handle) }
    set { call("requires_grad", [self]) { ct_set_requires_grad(handle, newValue, $0) } }
  }

  /// What `backward` has added up here; nil before it ran.
  public var grad: Tensor? { ct_grad(handle).map { Tensor(owning: $0) } }

  /// Forgets the gradient.
  public func clearGrad() { ct_clear_grad(handle) }

  /// Adds ∂(Σ self · gradient)/∂leaf to the gradient of every leaf that requires one.
  ///
  /// `gradient` has the shape of this tensor; a scalar needs none.
  public func backward(_ gradient: Tensor? = nil) {
    call("backward", [self]) { ct_backward(handle, gradient?.handle, $0) }
  }

  /// Goes back from several tensors at once, after letting go of their values.
  ///
  /// Their memory is free on the way: the tensors must not be looked at afterwards.
  ///
  /// - Parameter gradients: one a tensor and of its shape.
  public static func backwardConsuming(_ tensors: [Tensor], _ gradients: [Tensor]) {
    precondition(tensors.count == gradients.count, "\(tensors.count) tensors, \(gradients.count) gradients")
    withHandles(tensors) { t, count in
      withHandles(gradients) { g, _ in
        call("backward", tensors) { ct_backward_consuming(t, g, count, $0) }
      }
    }
  }
}
