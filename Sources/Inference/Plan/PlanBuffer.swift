import CKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Aligned float32 memory that lives as long as someone refers to it.
///
/// Sendable without lock: weights are written once before they are shared, a workspace belongs to one caller at a time.
final class PlanBuffer: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Float>
  let count: Int

  /// Memory for `count` numbers; its contents are not set.
  init(uninitialized count: Int) throws(GraphError) {
    let (bytes, overflow) = max(1, count).multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
    var raw: UnsafeMutableRawPointer?
    guard count >= 0, !overflow, posix_memalign(&raw, 64, bytes) == 0, let raw else { throw Self.noMemory(count) }
    pointer = raw.bindMemory(to: Float.self, capacity: max(1, count))
    self.count = count
  }

  /// Zeros.
  convenience init(zeros count: Int) throws(GraphError) {
    try self.init(uninitialized: count)
    pointer.update(repeating: 0, count: count)
  }

  /// A copy of these numbers.
  convenience init(_ values: [Float]) throws(GraphError) {
    try self.init(uninitialized: values.count)
    values.withUnsafeBufferPointer { if let base = $0.baseAddress { pointer.update(from: base, count: $0.count) } }
  }

  deinit { free(pointer) }

  static func noMemory(_ count: Int) -> GraphError {
    GraphError(
      .tooLarge, message: "there is no memory for \(count) numbers", advice: "use smaller images or a smaller batch")
  }
}

/// Tap offsets as the kernels take them.
final class PlanTaps: @unchecked Sendable {
  let rows: UnsafeMutablePointer<Int32>
  let columns: UnsafeMutablePointer<Int32>
  let count: Int

  init(rows: [Int], columns: [Int]) {
    count = rows.count
    self.rows = .allocate(capacity: max(1, count))
    self.columns = .allocate(capacity: max(1, count))
    for index in 0..<count {
      self.rows[index] = Int32(clamping: rows[index])
      self.columns[index] = Int32(clamping: columns[index])
    }
  }

  deinit {
    rows.deallocate()
    columns.deallocate()
  }
}
