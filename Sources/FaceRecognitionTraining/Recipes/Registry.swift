/// The losses that can be trained with, by the reference's names.
public enum RecognitionLoss: String, CaseIterable, Codable, Sendable {
  /// Plain softmax with bias.
  case softmax
  /// Softmax over scaled cosines, no margin.
  case nsoftmax
  /// Additive angular margin, m2 = 0.5.
  case arcface
  /// Additive cosine margin, m3 = 0.35.
  case cosface
  /// m2 = 0.3 and m3 = 0.2.
  case combined
  /// Triplets of faces, mined semi-hard; squared distances.
  case triplet
  /// Triplets of faces, mined semi-hard; angles.
  case atriplet
  /// Multiplicative angular margin, m1 = 1.5.
  case sphereface
  /// Hard negatives count more as training goes on.
  case curricularface
  /// The margin grows with the embedding's length.
  case magface
  /// The margin turns with the embedding's length.
  case adaface
  /// Additive angular margin drawn anew for every sample.
  case elasticfaceArc = "elasticface-arc"
  /// Additive cosine margin drawn anew for every sample.
  case elasticfaceCos = "elasticface-cos"
  /// ArcFace with several centres for each identity.
  case subcenterArcface = "subcenter-arcface"
  /// `CombinedMarginLoss` of arcface_torch.
  case combinedMargin = "combined-margin"
}
