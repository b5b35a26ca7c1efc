import Torch

/// The cosines of a batch, as a loss sees them.
struct Cosines {
  /// cos θ between embeddings and identities [N, K].
  let all: Tensor
  /// cos θ of the own identity [N, 1].
  let own: Tensor
  /// The labels as a column, int64 [N, 1].
  let column: Tensor
  /// The embeddings [N, D] before they were normalised.
  let embeddings: Tensor

  /// ‖x‖ [N, 1].
  var norms: Tensor { embeddings.norm(1, keepDim: true) }
  /// A column of ones [N, 1].
  var ones: Tensor { .ones(own.shape, dtype: own.dtype, device: own.device) }
}

/// What a loss makes of the cosines: logits divided by the scale, and their derivatives.
struct MarginLogits {
  /// The values of all identities [N, K]; the own identity's entry is replaced by `own`.
  var all: Tensor
  /// Derivative of `all` by the cosine [N, K]; nil: 1.
  var slope: Tensor?
  /// The value of the own identity [N, 1].
  var own: Tensor
  /// Derivative of `own` by the own cosine [N, 1].
  var ownSlope: Tensor
  /// Derivative of `own` by ‖x‖ [N, 1], where the margin depends on it.
  var ownNormSlope: Tensor?
  /// A term of the norms alone: its mean over the batch, and its derivative by each ‖x‖ [N, 1].
  var penalty: (loss: Tensor, gradient: Tensor)?
}

/// How a cosine head's weight starts.
enum WeightStart {
  /// N(0, 0.01²).
  case normal
  /// Directions drawn from U(−1, 1)ᴰ, at length 1.
  case unitUniform
  /// Directions drawn from N(0, 1)ᴰ, at length 1.
  case unitNormal

  func weight(_ settings: HeadSettings, rows: Int) -> Tensor {
    let weight = Tensor.empty([rows, settings.embeddingSize])
    switch self {
    case .normal: return weight.fillNormal(deviation: 0.01, settings.generator)
    case .unitUniform: return NormalizedRows(weight.fillUniform(-1, 1, settings.generator)).rows
    case .unitNormal: return NormalizedRows(weight.fillNormal(deviation: 1, settings.generator)).rows
    }
  }
}

/// Cross entropy on scaled cosines: what all heads with a margin share.
///
/// With x̂ and ŵ the rows of embeddings [N, D] and weight [K, D] divided by their norms, cos θ = x̂ ŵᵀ [N, K]. A subclass says
/// in `logits` what becomes of the cosines and gives the derivatives; everything else (softmax, both normalisations,
/// SGD) is here. The arithmetic is float32 whatever the type of the embeddings, and so is the gradient handed back.
public class CosineSoftmaxHead: Head {
  /// K.
  public let classCount: Int
  /// The factor of all logits in force; a warm-up changes it from step to step.
  var scale: Double
  /// The step and the shares of margin and scale in force.
  private(set) var progress = HeadProgress(step: 1)
  private let fullScale: Double
  let subCenters: SubCenters
  let weight: Tensor
  let weightMomentum: Tensor
  let optimizer: HeadOptimizer
  var weightGradient: Tensor?
  /// Whether it may run in blocks of identities; if not, whole matrices are multiplied, to compare with.
  var allowsBlocks = true

  init(_ settings: HeadSettings, scale: Double, start: WeightStart = .normal, subCenters: Int = 1) {
    classCount = settings.classCount
    self.scale = scale
    fullScale = scale
    self.subCenters = SubCenters(count: subCenters, classCount: settings.classCount)
    let rows = settings.classCount * subCenters
    weight = start.weight(settings, rows: rows).to(settings.dtype, settings.device)
    weightMomentum = .zeros([rows, settings.embeddingSize], dtype: settings.dtype, device: settings.device)
    optimizer = HeadOptimizer(momentum: settings.momentum, weightDecay: settings.weightDecay)
  }

  /// Whether the loss leaves the cosines of all identities but the own as they are; it then runs in blocks of identities.
  var movesOwnOnly: Bool { false }

  /// The loss itself.
  ///
  /// In blocks of identities `all` is only the own column, and what becomes of it does not matter.
  func logits(_ cosines: Cosines) -> MarginLogits {
    MarginLogits(all: cosines.all, own: cosines.own, ownSlope: cosines.ones)
  }

  /// `fc7_weight`: [K, D], with C sub-centres [K · C, D].
  public var parameters: [NamedTensor] { [NamedTensor("fc7_weight", weight)] }
  /// The momentum buffer.
  public var momenta: [Tensor] { [weightMomentum] }
  /// What a loss remembers from step to step.
  public var buffers: [NamedTensor] { [] }
  /// ∂loss/∂W.
  public var gradients: [Tensor?] { [weightGradient] }

  /// Takes up step, margin and scale.
  public func prepare(_ progress: HeadProgress) {
    self.progress = progress
    scale = fullScale * progress.scaleShare
  }

  /// With g = ∂loss/∂cos [N, K]: ∂loss/∂x̂ = g ŵ and ∂loss/∂ŵ = gᵀ x̂, each taken through its normalisation; a loss that
  /// depends on ‖x‖ adds ∂loss/∂‖x‖ · x̂.
  ///
  /// On the CPU in blocks of identities where the loss allows it, see `blocked`.
  public func backward(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    guard runsInBlocks else { return composed(embeddings, labels) }
    let gradient = Tensor.empty(weight.shape)
    weightGradient = gradient
    return blocked(embeddings, labels, to: .gradient(gradient))
  }

  /// The same with whole matrices: the definition, and the path on other devices.
  func composed(_ embeddings: Tensor, _ labels: Tensor) -> HeadResult {
    withoutGrad {
      let raw = embeddings.to(weight.dtype)
      let (x, w) = (NormalizedRows(raw), NormalizedRows(weight))
      let column = labels.unsqueezed(1)
      let pooled = subCenters.pool(x.rows.linear(w.rows))
      let cosines = Cosines(
        all: pooled.cosine, own: pooled.cosine.gathered(1, column), column: column, embeddings: raw)
      let made = logits(cosines)
      var (loss, correct, gradient) = crossEntropy(made.all.scattered(1, column, made.own) * scale, labels)
      let ownGradient = gradient.gathered(1, column)
      if let slope = made.slope { gradient = gradient * slope }
      let g = subCenters.spread(gradient.scattered(1, column, ownGradient * made.ownSlope) * scale, pooled)
      weightGradient = w.gradient(g.transposed().matmul(x.rows))
      var toEmbeddings = x.gradient(g.matmul(w.rows))
      if let slope = made.ownNormSlope { toEmbeddings = toEmbeddings + x.rows * (ownGradient * slope * scale) }
      if let penalty = made.penalty {
        loss = loss + penalty.loss
        toEmbeddings = toEmbeddings + x.rows * penalty.gradient
      }
      return HeadResult(loss: loss, correct: correct, embeddingGradient: toEmbeddings)
    }
  }

  /// One step of SGD.
  public func update(learningRate: Double) {
    optimizer.step(weight, weightGradient, weightMomentum, learningRate)
    weightGradient = nil
  }
}

/// Rows divided by their norms, x̂ = x · r with r = (Σ x² + 1e-10)^(−1/2) (MXNet's `L2Normalization`), and the way back.
struct NormalizedRows {
  /// x̂.
  let rows: Tensor
  /// r [N, 1].
  let reciprocal: Tensor

  init(_ x: Tensor) {
    reciprocal = ((x * x).sum(1, keepDim: true) + 1e-10).rsqrt()
    rows = x * reciprocal
  }

  /// ∂/∂x from ∂/∂x̂: r · (g − x̂ (x̂ · g)).
  func gradient(_ g: Tensor) -> Tensor { (g - rows * (rows * g).sum(1, keepDim: true)) * reciprocal }
}

/// cos(factor · θ + shift) of a cosine [N, 1], and its derivative by the cosine: factor · sin(factor · θ + shift) / sin θ.
///
/// The cosine is held within ±(1 − 1e-7) where the angle is taken, and the derivative is taken there too, so that a face
/// that coincides with its class centre has a finite gradient (arccos alone has none).
func angularMargin(_ cosine: Tensor, factor: Double = 1, shift: Tensor) -> (cosine: Tensor, slope: Tensor) {
  let limit = 1 - 1e-7
  let theta = cosine.clamped(-limit, limit).acos()
  let moved = theta * factor + shift
  return (moved.cos(), moved.sin() * factor / theta.sin())
}

/// The same with one shift for all rows.
func angularMargin(_ cosine: Tensor, factor: Double = 1, shift: Double) -> (cosine: Tensor, slope: Tensor) {
  angularMargin(
    cosine, factor: factor, shift: .full(cosine.shape, shift, dtype: cosine.dtype, device: cosine.device))
}
