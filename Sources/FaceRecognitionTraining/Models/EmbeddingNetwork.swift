import Torch

/// A network that turns faces into embeddings.
public protocol EmbeddingNetwork: Module {
  /// D, the length of an embedding.
  var embeddingSize: Int { get }

  /// Embeddings [N, D] of RGB images [N, 3, H, W] with values 0 … 255.
  func callAsFunction(_ images: Tensor) -> Tensor
}
