import FaceRecognition
import Torch

extension RecognitionNetwork {
  /// How the reference starts the network's weights.
  var initializer: Initializer {
    switch family {
    case "iresnet", "iresnet2060": .iresnet
    case "vit": .visionTransformer
    // arcface_torch's MobileFaceNet has Kaiming's rule over the output side, which is the same.
    case "fresnet", "fmobilefacenet", "mobilefacenet": .xavierGaussianOut
    default: .xavierUniformIn
    }
  }
}
