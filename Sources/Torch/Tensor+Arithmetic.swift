internal import CTorch

extension Tensor {
  private func binary(_ op: Int, _ other: Tensor) -> Tensor {
    tensor("elementwise", [self, other]) { ct_binary(Int32(op), handle, other.handle, $0) }
  }
  private func binary(_ op: Int, _ other: Double) -> Tensor {
    tensor("elementwise", [self]) { ct_binary_scalar(Int32(op), handle, other, $0) }
  }
  private func unary(_ op: Int) -> Tensor { tensor("elementwise", [self]) { ct_unary(Int32(op), handle, $0) } }
  private func reduced(_ op: Int, _ dim: Int?, _ keep: Bool) -> Tensor {
    tensor("reduction", [self]) { ct_reduce(Int32(op), handle, dim.map(Int64.init) ?? Int64(ct_all_dims), keep, $0) }
  }

  /// Elementwise sum with broadcasting.
  public static func + (a: Tensor, b: Tensor) -> Tensor { a.binary(ct_add, b) }
  /// Elementwise difference with broadcasting.
  public static func - (a: Tensor, b: Tensor) -> Tensor { a.binary(ct_sub, b) }
  /// Elementwise product with broadcasting.
  public static func * (a: Tensor, b: Tensor) -> Tensor { a.binary(ct_mul, b) }
  /// Elementwise quotient with broadcasting.
  public static func / (a: Tensor, b: Tensor) -> Tensor { a.binary(ct_div, b) }
  /// A number added to each element.
  public static func + (a: Tensor, b: Double) -> Tensor { a.binary(ct_add, b) }
  /// A number taken from each element.
  public static func - (a: Tensor, b: Double) -> Tensor { a.binary(ct_sub, b) }
  /// Each element times a number.
  public static func * (a: Tensor, b: Double) -> Tensor { a.binary(ct_mul, b) }
  /// Each element by a number.
  public static func / (a: Tensor, b: Double) -> Tensor { a.binary(ct_div, b) }
  /// A number times each element.
  public static func * (a: Double, b: Tensor) -> Tensor { b * a }
  /// A number minus each element.
  public static func - (a: Double, b: Tensor) -> Tensor { -b + a }
  /// Each element negated.
  public static prefix func - (a: Tensor) -> Tensor { a.unary(ct_neg) }

  /// Elementwise larger one.
  public func maximum(_ other: Tensor) -> Tensor { binary(ct_maximum, other) }
  /// Elementwise smaller one.
  public func minimum(_ other: Tensor) -> Tensor { binary(ct_minimum, other) }
  /// Elementwise comparison, bool.
  public func equals(_ other: Tensor) -> Tensor { binary(ct_eq, other) }
  /// Elementwise comparison with a number, bool.
  public func equals(_ other: Double) -> Tensor { binary(ct_eq, other) }
  /// Elementwise comparison, bool.
  public static func .> (a: Tensor, b: Tensor) -> Tensor { a.binary(ct_gt, b) }
  /// Elementwise comparison with a number, bool.
  public static func .> (a: Tensor, b: Double) -> Tensor { a.binary(ct_gt, b) }
  /// Elementwise comparison with a number, bool.
  public static func .< (a: Tensor, b: Double) -> Tensor { a.binary(ct_lt, b) }
  /// Elementwise comparison with a number, bool.
  public static func .>= (a: Tensor, b: Double) -> Tensor { a.binary(ct_ge, b) }

  /// e to the power of each element.
  public func exp() -> Tensor { unary(ct_exp) }
  /// The natural logarithm.
  public func log() -> Tensor { unary(ct_log) }
  /// The square root.
  public func sqrt() -> Tensor { unary(ct_sqrt) }
  /// 1 / square root.
  public func rsqrt() -> Tensor { unary(ct_rsqrt) }
  /// The absolute value.
  public func abs() -> Tensor { unary(ct_abs) }
  /// The cosine of radians.
  public func cos() -> Tensor { unary(ct_cos) }
  /// The sine of radians.
  public func sin() -> Tensor { unary(ct_sin) }
  /// The angle in [0, π] of a cosine in [-1, 1]; NaN outside.
  public func acos() -> Tensor { unary(ct_acos) }
  /// max(x, 0).
  public func relu() -> Tensor { unary(ct_relu) }
  /// 1 / (1 + exp(-x)).
  public func sigmoid() -> Tensor { unary(ct_sigmoid) }
  /// The hyperbolic tangent.
  public func tanh() -> Tensor { unary(ct_tanh) }
  /// Bool: neither NaN nor infinite.
  public func isFinite() -> Tensor { unary(ct_isfinite) }
  /// Each element to the power of `exponent`.
  public func pow(_ exponent: Double) -> Tensor { tensor("pow", [self]) { ct_pow(handle, exponent, $0) } }
  /// Each element held within [low, high]; the gradient outside is 0.
  public func clamped(_ low: Double, _ high: Double) -> Tensor {
    tensor("clamp", [self]) { ct_clamp(handle, low, high, $0) }
  }
  /// Elements of `a` where the condition (bool) holds, of `b` elsewhere.
  public static func select(_ condition: Tensor, _ a: Tensor, _ b: Tensor) -> Tensor {
    tensor("where", [condition, a, b]) { ct_where(condition.handle, a.handle, b.handle, $0) }
  }

  /// The sum over one dimension, or over all.
  public func sum(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_sum, dim, keepDim) }
  /// The mean over one dimension, or over all.
  public func mean(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_mean, dim, keepDim) }
  /// The largest element.
  public func max(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_amax, dim, keepDim) }
  /// The smallest element.
  public func min(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_amin, dim, keepDim) }
  /// The index of the largest element, int64.
  public func argmax(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_argmax, dim, keepDim) }
  /// True where every element is (bool tensors).
  public func all(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor { reduced(ct_all, dim, keepDim) }
  /// The variance; biased (divided by n) unless `unbiased`.
  public func variance(_ dim: Int? = nil, unbiased: Bool = false, keepDim: Bool = false) -> Tensor {
    tensor("variance", [self]) { ct_variance(handle, dim.map(Int64.init) ?? Int64(ct_all_dims), unbiased, keepDim, $0) }
  }
  /// The Euclidean norm.
  public func norm(_ dim: Int? = nil, keepDim: Bool = false) -> Tensor {
    tensor("norm", [self]) { ct_norm(handle, dim.map(Int64.init) ?? Int64(ct_all_dims), keepDim, $0) }
  }
  /// The k largest entries of a dimension and their indices (int64), in descending order.
  public func topk(_ k: Int, dim: Int = -1) -> (values: Tensor, indices: Tensor) {
    var order: OpaquePointer?
    let values = tensor("topk", [self]) { ct_topk(handle, Int64(k), Int64(dim), &order, $0) }
    guard let order else { return (values, values) }
    return (values, Tensor(owning: order))
  }

  /// In place: self += factor * other.
  public func add(_ other: Tensor, times factor: Double = 1) {
    withoutGrad { call("add_", [self, other]) { ct_add_(handle, other.handle, factor, $0) } }
  }
  /// In place: self *= factor.
  public func scale(by factor: Double) { withoutGrad { call("mul_", [self]) { ct_mul_(handle, factor, $0) } } }
}
