/// How alike two embeddings of length 1 are.
public struct FaceSimilarity: Sendable, Equatable {
  /// Cosine of the angle between them, −1…1.
  public var cosine: Double

  /// The similarity of two embeddings; nil where their lengths differ or they are empty.
  public init?(_ first: [Float], _ second: [Float]) {
    guard first.count == second.count, !first.isEmpty else { return nil }
    cosine = zip(first, second).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
  }

  /// Squared Euclidean distance, 0…4: the measure of the reference's evaluation.
  public var squaredDistance: Double { max(0, 2 - 2 * cosine) }
}
