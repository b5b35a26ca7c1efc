import FaceRecognition
import Jobs
import Torch
import Training

/// Embeds images with a network of the training side, in evaluation mode.
public struct NetworkEmbedder {
  private let network: TrainableNetwork
  private let device: Device
  private let imageSize: Int
  /// Seconds spent in the network so far.
  public private(set) var secondsInNetwork = 0.0

  /// An embedder; the network is left in the mode in which it was found.
  public init(_ network: TrainableNetwork, device: Device, imageSize: Int) {
    self.network = network
    self.device = device
    self.imageSize = imageSize
  }

  /// Embeddings [N · D] of N images of uint8 RGB [N, S, S, 3], and of the mirrored images.
  public mutating func callAsFunction(
    _ pixels: UnsafeBufferPointer<UInt8>, _ count: Int
  ) throws -> (original: [Float], flipped: [Float]) {
    try evaluating(pixels, count) { network, images in
      (network(images).floats, network(images.flipped(3)).floats)
    }
  }

  /// Embeddings [N · D] of N images of uint8 RGB [N, S, S, 3].
  public mutating func original(_ pixels: UnsafeBufferPointer<UInt8>, _ count: Int) throws -> [Float] {
    try evaluating(pixels, count) { network, images in network(images).floats }
  }

  private mutating func evaluating<Result>(
    _ pixels: UnsafeBufferPointer<UInt8>, _ count: Int, _ body: (TrainableNetwork, Tensor) -> Result
  ) throws -> Result {
    let begin = seconds()
    defer { secondsInNetwork += seconds() - begin }
    let wasTraining = network.isTraining
    network.setTraining(false)
    defer { network.setTraining(wasTraining) }
    return try withoutGrad {
      try Torch.catching {
        body(
          network,
          Tensor(
            bytes: UnsafeRawBufferPointer(pixels), shape: [count, imageSize, imageSize, 3], dtype: .uint8
          ).to(nil, device).permuted([0, 3, 1, 2]))
      }
    }
  }
}
