/// A threshold on the cosine of two embeddings, and how often strangers pass it.
public struct MeasuredThreshold: Sendable, Equatable {
  /// The share of pairs of different people whose cosine reaches the threshold.
  public var falseAcceptRate: Double
  /// The share of pairs of one person whose cosine reaches it.
  public var trueAcceptRate: Double
  /// The threshold.
  public var cosine: Double

  /// InsightFace's released MobileFaceNet y1, embeddings of the images as they are.
  ///
  /// Measured on the 1,583 photos of 844 people in folds 1 and 2 of Labeled Faces in the Wild, main face found by the released
  /// mnet.25 and aligned: all 1,973 pairs of one person and all 1,250,180 pairs of different people.
  public static let mobileFaceNetY1: [MeasuredThreshold] = [
    MeasuredThreshold(falseAcceptRate: 0.01, trueAcceptRate: 0.996, cosine: 0.235),
    MeasuredThreshold(falseAcceptRate: 0.001, trueAcceptRate: 0.988, cosine: 0.321),
    MeasuredThreshold(falseAcceptRate: 0.0001, trueAcceptRate: 0.976, cosine: 0.391),
    MeasuredThreshold(falseAcceptRate: 0.00001, trueAcceptRate: 0.959, cosine: 0.442),
  ]
  /// The fingerprint of that network as its MXNet files hold it.
  public static let mobileFaceNetY1Fingerprint = "2c3eaf9b69eb5c0ac3493f22a269ba17"
}
