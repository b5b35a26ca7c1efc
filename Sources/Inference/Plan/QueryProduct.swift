import CKernels

/// A few vectors packed to be multiplied with many: the product that search in a gallery is.
///
/// The many stay where they are, row after row; nothing of them is copied. Each sum has one fixed order of additions, whatever
/// the number of rows in a call.
public struct QueryProduct: Sendable {
  /// The number of packed vectors, Q.
  public let count: Int
  /// Their length, D.
  public let length: Int

  private let weights: PlanBuffer
  private let bias: PlanBuffer
  private let padding: PlanBuffer

  /// Packs vectors.
  ///
  /// - Parameters:
  ///   - queries: float32 [Q, D], row-major, 1 ≤ Q ≤ 4096.
  ///   - length: D, at least 1.
  /// - Throws: `GraphError.shape` where the numbers are not Q vectors, `.tooLarge` without memory.
  public init(_ queries: [Float], length: Int) throws(GraphError) {
    guard length > 0, !queries.isEmpty, queries.count % length == 0, queries.count / length <= 4096 else {
      throw GraphError(.shape, message: "\(queries.count) numbers are not 1 to 4096 vectors of \(length)")
    }
    count = queries.count / length
    self.length = length
    weights = try PlanBuffer(uninitialized: Int(ck_packed_size(1, Int64(length), Int64(count))))
    bias = try PlanBuffer(zeros: Int(ck_padded_channels(Int64(count))))
    padding = try PlanBuffer(zeros: length)
    let (filters, target) = (Int64(count), weights.pointer)
    queries.withUnsafeBufferPointer { buffer in
      if let base = buffer.baseAddress { ck_pack_weights(base, 1, Int64(length), filters, target) }
    }
  }

  /// The products of all pairs, on the calling thread: `products`[row · Q + query] = rows[row] · queries[query].
  ///
  /// - Parameters:
  ///   - rows: float32 [N, D], row-major.
  ///   - products: float32 with room for N · Q.
  /// - Throws: `GraphError.shape` where the numbers are not whole rows or there is no room.
  public func multiply(
    _ rows: UnsafeBufferPointer<Float>, into products: UnsafeMutableBufferPointer<Float>
  ) throws(GraphError) {
    let n = rows.count / length
    let (room, overflow) = n.multipliedReportingOverflow(by: count)
    guard rows.count % length == 0, !overflow, products.count >= room, n <= 1 << 30 else {
      throw GraphError(
        .shape, message: "\(rows.count) numbers are not rows of \(length), or there is no room for their products")
    }
    guard n > 0, let from = rows.baseAddress, let to = products.baseAddress else { return }
    var form = ck_convolution()
    form.batch = 1
    (form.in_height, form.in_width, form.in_pixel) = (Int64(n), 1, Int64(length))
    (form.groups, form.channels, form.filters) = (1, Int64(length), Int64(count))
    (form.out_height, form.out_width) = (Int64(n), 1)
    (form.out_image, form.out_row, form.out_pixel) = (Int64(room), Int64(count), Int64(count))
    (form.step_y, form.step_x, form.taps) = (1, 1, 1)
    form.weights = UnsafePointer(weights.pointer)
    form.padding = UnsafePointer(padding.pointer)
    form.epilogue.bias = UnsafePointer(bias.pointer)
    var tap: Int32 = 0
    withUnsafePointer(to: &tap) { tap in
      (form.tap_y, form.tap_x) = (tap, tap)
      ck_convolve(&form, from, nil, to, ck_pool_parallel(nil))
    }
  }
}
