internal import CTorch

/// The first tensor that holds a NaN or an infinity; nil when all are finite.
public func firstNotFinite(_ tensors: [Tensor?]) -> Int? {
  let index = withHandles(tensors) { handles, count in
    call("isfinite") { ct_first_not_finite(handles, count, $0) }
  }
  return index < 0 ? nil : Int(index)
}

/// The Euclidean norm over all tensors together; NaN or infinite when one of them is not finite.
public func totalNorm(_ tensors: [Tensor?]) -> Double {
  withHandles(tensors) { handles, count in call("norm") { ct_total_norm(handles, count, $0) } }
}
