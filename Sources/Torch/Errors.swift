internal import CTorch
import Synchronization

/// What LibTorch reported: an allocation that failed, a device error, or a misuse inside a `Torch.catching` scope.
public struct TorchError: Error, CustomStringConvertible, Sendable {
  /// The operation that failed.
  public let operation: String
  /// LibTorch's own words.
  public let message: String
  /// True when memory ran out.
  public var isOutOfMemory: Bool {
    let text = message.lowercased()
    return ["out of memory", "not enough memory", "allocate memory", "bad_alloc"].contains { text.contains($0) }
  }

  /// The operation and the message.
  public var description: String { "\(operation): \(message)" }

  package init(operation: String, message: String) {
    self.operation = operation
    self.message = message
  }
}

/// The first error of a `Torch.catching` scope.
final class ErrorBox: Sendable {
  @TaskLocal static var current: ErrorBox?
  let first = Mutex<TorchError?>(nil)
}

/// Calls that concern the library as a whole.
public enum Torch {
  /// Runs `body` and throws the first error that LibTorch reports inside it, such as memory that ran out.
  ///
  /// Outside such a scope an error is a programming error and traps with the operation and the shapes. Inside, the
  /// operation that failed yields a placeholder of shape [1, 1, 1, 1], the code runs on to the end of the scope, and its
  /// result is discarded.
  public static func catching<Result>(_ body: () throws -> Result) throws -> Result {
    let box = ErrorBox()
    let result = Swift.Result { try ErrorBox.$current.withValue(box) { try body() } }
    if let error = box.first.withLock({ $0 }) { throw error }
    return try result.get()
  }

  /// LibTorch's version, such as "2.13.0+cpu".
  public static var version: String { String(cString: ct_version()) }

  /// The instruction set that LibTorch's own kernels chose, such as "AVX2".
  public static var cpuCapability: String { String(cString: ct_cpu_capability()) }

  /// The number of threads that a tensor operation may use.
  public static var threadCount: Int {
    get { Int(ct_threads()) }
    set { ct_set_threads(Int32(clamping: newValue)) }
  }

  /// How many threads really took part in one parallel loop of the project's own kernels.
  public static func threadsAtWork() -> Int { Int(ct_parallel_thread_count()) }

  /// Makes CUDA operations choose deterministic algorithms; CPU operations are deterministic for a thread count anyway.
  public static func useDeterministicAlgorithms(_ on: Bool) { ct_set_deterministic(on) }

  /// Keeps freed memory in the process, for a program that trains.
  ///
  /// A step frees and takes gigabytes; handed back, every page of them is cleared and mapped anew: a quarter of the time
  /// of a step. The process stays at its peak size.
  public static func keepFreedMemory() { ct_keep_freed_memory() }

  /// Hands large blocks of memory back to the system as soon as they are freed: the lowest peak.
  public static func returnFreedMemory() { ct_return_freed_memory() }
}

/// Runs a C call; what it reports traps, or is noted in the `Torch.catching` scope around it.
@inline(__always)
func call<Result>(
  _ operation: StaticString, _ tensors: @autoclosure () -> [Tensor] = [],
  _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var error: UnsafeMutablePointer<CChar>?
  let result = body(&error)
  if let error { fail(operation, tensors(), error) }
  return result
}

/// The same for a call that returns a tensor.
@inline(__always)
func tensor(
  _ operation: StaticString, _ tensors: @autoclosure () -> [Tensor] = [],
  _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> OpaquePointer?
) -> Tensor {
  var error: UnsafeMutablePointer<CChar>?
  if let handle = body(&error) { return Tensor(owning: handle) }
  if let error {
    fail(operation, tensors(), error)
  } else {
    note(TorchError(operation: "\(operation)", message: "no tensor came back"))
  }
  return placeholder()
}

@inline(never)
private func fail(_ operation: StaticString, _ tensors: [Tensor], _ error: UnsafeMutablePointer<CChar>) {
  let text = String(cString: error)
  ct_free_error(error)
  let shapes = tensors.map { "\($0.shape)" }.joined(separator: ", ")
  note(TorchError(operation: "\(operation)", message: shapes.isEmpty ? text : "\(text) (shapes \(shapes))"))
}

private func note(_ error: TorchError) {
  guard let box = ErrorBox.current else { preconditionFailure(error.description) }
  box.first.withLock { $0 = $0 ?? error }
}

private func placeholder() -> Tensor {
  var error: UnsafeMutablePointer<CChar>?
  let handle = ct_full([1, 1, 1, 1], 4, 0, Int32(ct_float32), ct_device(cuda: -1), &error)
  guard let handle else { preconditionFailure("no memory for a tensor of one element") }
  return Tensor(owning: handle)
}
