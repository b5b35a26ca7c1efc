import Arguments
import FaceRecognitionTraining
import Foundation
import Torch

/// Decides where to compute, as the reference does from `CUDA_VISIBLE_DEVICES` and beyond it from `--device`.
///
/// A GPU that was asked for and is not there is an error, never a silent run on the CPU.
enum DeviceChoice {
  static func resolve(_ flag: String?) throws -> Device {
    let visible = ProcessInfo.processInfo.environment["CUDA_VISIBLE_DEVICES"]
    let asked = visible.map { !$0.allSatisfy(\.isWhitespace) && $0 != "-1" }
    if let flag {
      guard let device = Device(flag) else {
        throw ConfigurationError("--device \(flag): expected cpu, cuda or cuda:N")
      }
      guard let index = device.cudaIndex else { return device }
      let count = try cudaCount()
      guard index < count else { throw absent("--device \(flag)", count) }
      return device
    }
    guard let asked else {
      // Nobody said anything: a GPU if there is one.
      let count = (try? Device.loadCUDA()) ?? 0
      return count > 0 ? .cuda(0) : .cpu
    }
    guard asked else { return .cpu }
    let count = try cudaCount()
    guard count > 0 else { throw absent("CUDA_VISIBLE_DEVICES='\(visible ?? "")'", 0) }
    if count > 1 {
      note("note: \(count) GPUs are visible; this run uses the first (training on several is not available)")
    }
    return .cuda(0)
  }

  private static func cudaCount() throws -> Int {
    do {
      return try Device.loadCUDA()
    } catch {
      throw ConfigurationError("\(error). Without a GPU, train on the CPU: --device cpu (or CUDA_VISIBLE_DEVICES='')")
    }
  }

  private static func absent(_ wish: String, _ count: Int) -> ConfigurationError {
    ConfigurationError(
      "\(wish) asks for a GPU, and \(count == 0 ? "no usable one is" : "only \(count) are") here (LibTorch \(Torch.version)). "
        + "Train on the CPU with --device cpu (or CUDA_VISIBLE_DEVICES=''), or see `insightface doctor`")
  }

  static func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
