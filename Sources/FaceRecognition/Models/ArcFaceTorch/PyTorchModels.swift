import Formats
import Inference

extension RecognitionNetwork {
  /// Makes the network of a `.pt` file of arcface_torch, for `ModelFile`: the names and shapes of its tensors tell which.
  public static let readPyTorch: @Sendable (_ path: String) throws(FormatError) -> NetworkGraph = {
    path throws(FormatError) in
    do {
      return try graph(of: try PyTorchFile(path: path))
    } catch let error as FormatError {
      throw error
    } catch {
      throw FormatError(.mismatch, "\(error)", path: path)
    }
  }
}
