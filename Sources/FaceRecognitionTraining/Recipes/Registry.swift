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
}
