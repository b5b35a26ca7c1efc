import Foundation
import Torch

@testable import FaceRecognitionTraining

/// `Tests/Fixtures/training/margin-heads.json`, made by `scripts/fixtures/heads.py`.
struct MarginHeadsGolden: Decodable {
  struct Step: Decodable { let loss: Double, embeddings: [Double], weight: [Double] }
  struct Case: Decodable { let name: String, steps: [Step], memory: [String: Double] }
  struct Triplet: Decodable { let name: String, alpha: Double, loss: Double, embeddings: [Double] }
  struct Mining: Decodable {
    struct Pair: Decodable {
      let anchor: Int, positive: Int, candidates: [Int]
      init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        anchor = try list.decode(Int.self)
        positive = try list.decode(Int.self)
        candidates = try list.decode([Int].self)
      }
    }
    let alpha: Double, max_ap: Double, sizes: [Int], pairs: [Pair]
  }
  let batch: Int, classes: Int, embedding: Int, seed: UInt64
  let labels: [[Int64]], pulls: [Double], norms: [[Double]]
  let heads: [Case], triplets: [Triplet], mining: [Mining]

  func settings(_ dtype: DType) -> HeadSettings {
    HeadSettings(
      classCount: classes, embeddingSize: embedding, momentum: 0.9, weightDecay: 5e-4, device: .cpu,
      generator: Generator(seed: 1), dtype: dtype)
  }

  /// The head of a case.
  func head(_ name: String, _ dtype: DType, marginGradient: MarginGradient = .straightThrough) -> CosineSoftmaxHead? {
    let s = settings(dtype)
    switch name {
    case "sphereface": return SphereFaceHead(s, marginGradient: marginGradient)
    case "sphereface-m3-exact": return SphereFaceHead(s, margin: 3.2, marginGradient: .exact)
    case "curricularface": return CurricularFaceHead(s)
    case "magface": return MagFaceHead(s)
    case "adaface": return AdaFaceHead(s)
    case "elasticface-arc": return ElasticFaceHead(s, kind: .arc, seed: seed)
    case "elasticface-cos": return ElasticFaceHead(s, kind: .cos, seed: seed)
    case "elasticface-arc-plus": return ElasticFaceHead(s, kind: .arc, deviation: 0.0175, plus: true, seed: seed)
    case "elasticface-cos-plus": return ElasticFaceHead(s, kind: .cos, deviation: 0.025, plus: true, seed: seed)
    case "subcenter-arcface": return MarginSoftmaxHead(s, margin: Margin(m2: 0.5), subCenters: 3)
    case "arcface": return MarginSoftmaxHead(s, margin: Margin(m2: 0.5))
    case "combined-margin": return CombinedMarginHead(s, marginGradient: marginGradient)
    case "combined-margin-filter": return CombinedMarginHead(s, threshold: 0.3, marginGradient: marginGradient)
    case "combined-margin-cosface-filter": return CombinedMarginHead(s, margin: Margin(m3: 0.4), threshold: 0.2)
    default: return nil
    }
  }

  /// The inputs of a batch: embeddings [N, D] and weight [K · C, D].
  func inputs(_ batch: Int, rows: Int, _ dtype: DType) -> (embeddings: Tensor, weight: Tensor) {
    let weight = Hashed.tensor("margin-heads/weight", [rows, embedding], .init(kind: "symmetric", a: 1, b: 0)).to(
      .float64)
    let noise = Hashed.tensor(
      "margin-heads/noise/\(batch)", [self.batch, embedding], .init(kind: "symmetric", a: 0.3, b: 0)
    ).to(.float64)
    let first = Self.normalised(weight).indexSelected(0, Tensor(labels[batch].map { $0 * Int64(rows / classes) }))
    let pulled = Self.normalised(first * Tensor(pulls, shape: [self.batch, 1]) + noise)
    return ((pulled * Tensor(norms[batch], shape: [self.batch, 1])).to(dtype), weight.to(dtype))
  }

  static func normalised(_ x: Tensor) -> Tensor { x / x.norm(1, keepDim: true) }

  static func error(_ made: Tensor?, _ golden: [Double]) -> Double {
    guard let values = made?.array(of: Double.self), values.count == golden.count else { return .infinity }
    let difference = zip(values, golden).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    return (difference / max(1e-300, golden.reduce(0) { $0 + $1 * $1 })).squareRoot()
  }
}
