internal import CTorch

/// Where a tensor lives and is computed.
public struct Device: Hashable, Sendable, CustomStringConvertible {
  /// The CUDA device's index, or nil for the CPU.
  public let cudaIndex: Int?

  /// The CPU.
  public static let cpu = Device(cudaIndex: nil)

  /// A CUDA device, numbered among the visible ones (`CUDA_VISIBLE_DEVICES`).
  public static func cuda(_ index: Int) -> Device { Device(cudaIndex: index) }

  /// Reads "cpu", "cuda" (the first device) or "cuda:N"; nil for anything else.
  public init?(_ text: String) {
    if text == "cpu" {
      self = .cpu
    } else if text == "cuda" || text == "gpu" {
      self = .cuda(0)
    } else if text.hasPrefix("cuda:"), let index = Int(text.dropFirst(5)), (0..<128).contains(index) {
      self = .cuda(index)
    } else {
      return nil
    }
  }

  private init(cudaIndex: Int?) { self.cudaIndex = cudaIndex }

  /// "cpu" or "cuda:N".
  public var description: String { cudaIndex.map { "cuda:\($0)" } ?? "cpu" }

  /// True for the CPU.
  public var isCPU: Bool { cudaIndex == nil }

  /// Loads CUDA where it is installed and returns the number of devices; 0 without CUDA or without a GPU.
  ///
  /// - Throws: `TorchError` when the CUDA library is there but cannot be loaded; the message names what is missing.
  public static func loadCUDA() throws(TorchError) -> Int {
    var error: UnsafeMutablePointer<CChar>?
    let count = ct_cuda_load(&error)
    if let error {
      defer { ct_free_error(error) }
      throw TorchError(operation: "loading libtorch_cuda.so", message: String(cString: error))
    }
    return Int(count)
  }

  /// Free and total memory of a CUDA device in bytes; nil for the CPU or where it cannot be asked.
  public var memory: (free: Int, total: Int)? {
    guard let cudaIndex else { return nil }
    var free: Int64 = 0
    var total: Int64 = 0
    var error: UnsafeMutablePointer<CChar>?
    let known = ct_cuda_memory(Int32(cudaIndex), &free, &total, &error)
    ct_free_error(error)
    return known ? (Int(free), Int(total)) : nil
  }

  /// Waits until all work on the device is done.
  public func synchronize() {
    guard let cudaIndex else { return }
    call("synchronize") { ct_cuda_synchronize(Int32(cudaIndex), $0) }
  }

  var c: ct_device { ct_device(cuda: cudaIndex.map { Int32($0) } ?? -1) }

  init(_ device: ct_device) { self.init(cudaIndex: device.cuda < 0 ? nil : Int(device.cuda)) }
}

/// The type of a tensor's elements.
public enum DType: Int32, Sendable, CaseIterable {
  case uint8 = 0
  case int8 = 1
  case int32 = 3
  case int64 = 4
  case float16 = 5
  case float32 = 6
  case float64 = 7
  case bool = 11
  case bfloat16 = 15

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .uint8, .int8, .bool: 1
    case .float16, .bfloat16: 2
    case .int32, .float32: 4
    case .int64, .float64: 8
    }
  }
}

/// The order of a 4-D tensor [N, C, H, W] in memory.
public enum MemoryFormat: Int32, Sendable {
  /// N, C, H, W.
  case contiguous = 0
  /// N, H, W, C: the order of 4-D activations on the CPU.
  case channelsLast = 2
}

/// A Swift type that can be a tensor's element.
public protocol TensorElement: BitwiseCopyable {
  /// The element type it is stored as.
  static var dtype: DType { get }
}

extension UInt8: TensorElement {
  /// uint8.
  public static var dtype: DType { .uint8 }
}
extension Int32: TensorElement {
  /// int32.
  public static var dtype: DType { .int32 }
}
extension Int64: TensorElement {
  /// int64.
  public static var dtype: DType { .int64 }
}
extension Float: TensorElement {
  /// float32.
  public static var dtype: DType { .float32 }
}
extension Double: TensorElement {
  /// float64.
  public static var dtype: DType { .float64 }
}
