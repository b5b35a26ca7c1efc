/// A threshold on the cosine of two embeddings, and how often strangers pass it.
public struct MeasuredThreshold: Sendable, Equatable {
  /// The share of pairs of different people whose cosine reaches the threshold.
  public var falseAcceptRate: Double
  /// The share of pairs of one person whose cosine reaches it.
  public var trueAcceptRate: Double
  /// The threshold.
  public var cosine: Double

  /// InsightFace's released MobileFaceNet y1, embeddings of the images as they are.
  public static let mobileFaceNetY1: [MeasuredThreshold] = [
    MeasuredThreshold(falseAcceptRate: 0.01, trueAcceptRate: 0, cosine: 0.25),
    MeasuredThreshold(falseAcceptRate: 0.001, trueAcceptRate: 0, cosine: 0.35),
    MeasuredThreshold(falseAcceptRate: 0.0001, trueAcceptRate: 0, cosine: 0.4),
    MeasuredThreshold(falseAcceptRate: 0.00001, trueAcceptRate: 0, cosine: 0.45),
  ]
  /// The fingerprint of that network.
  public static let mobileFaceNetY1Fingerprint = ""
}
