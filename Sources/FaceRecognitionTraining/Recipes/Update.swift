import FaceRecognition
import Formats
import Jobs
import Torch
import Training

/// A number that is not one: where it was seen first.
struct NotFinite: Error {
  /// What it was seen in, such as "the loss", with its value.
  let what: String
  /// The first tensor that holds one.
  let tensor: String?
}

/// One update of backbone and head: forward, head, backward, clipping, optimizers.
///
/// Every recipe shares it; where batches come from and what is logged is not its business.
///
/// Parts of a batch (`accumulate`) go through one after the other and the mean of their gradients is taken, so that n parts
/// of N images move the weights as a batch of n · N does (batch normalisation sees N at a time). The head updates itself
/// (`Head.step`) where nothing needs its whole gradient first: with MXNet's SGD, one part, and no clipping of the head.
final class Update {
  /// What a batch gave.
  struct Result {
    /// The mean loss.
    let loss: Double
    /// How many have their own class as the best.
    let correct: Double
    /// The Euclidean norm of the backbone's gradient before clipping; nil while it is frozen.
    let gradientNorm: Double?
    /// False where half precision overflowed and the weights stayed.
    let moved: Bool
  }

  private let network: TrainableNetwork
  private let head: any Head
  private let settings: UpdateSettings
  private let optimizer: any Optimizer
  /// nil: the head updates itself.
  private let headOptimizer: (any Optimizer)?
  private(set) var scaler: GradientScaler?

  init(_ network: TrainableNetwork, _ head: any Head, _ settings: UpdateSettings) {
    self.network = network
    self.head = head
    self.settings = settings
    optimizer = settings.optimizer(network.parameters, nil)
    headOptimizer = settings.headUpdatesItself ? nil : settings.optimizer(head.parameters, head.momenta)
    scaler = settings.precision == .float16 ? GradientScaler() : nil
  }

  /// One update from images [n · N, S, S, 3] uint8 and labels [n · N], whose draws come from (seed, step).
  ///
  /// - Throws: `NotFinite` before any weight is touched, but for those of a head that updates itself where the loss is finite
  ///   and the backbone's gradient is not.
  func callAsFunction(_ batch: LoadedBatch, imageSize: Int, step: Int, learningRate: Double) throws -> Result {
    let parts = settings.parts
    let count = batch.labels.count / parts
    let isFrozen = step <= settings.frozenSteps
    var draws = CounterRandom(settings.seed, UInt64(step))
    var (losses, corrects): ([Tensor], [Tensor]) = ([], [])
    var headGradients: [Tensor?] = []
    for part in 0..<parts {
      let bytes = count * 3 * imageSize * imageSize
      let slice = UnsafeRawBufferPointer(batch.pixels.bytes)[part * bytes..<(part + 1) * bytes]
      let images = Tensor(
        bytes: UnsafeRawBufferPointer(rebasing: slice), shape: [count, imageSize, imageSize, 3], dtype: .uint8
      ).to(nil, settings.device).permuted([0, 3, 1, 2])
      let labels = Tensor(Array(batch.labels[part * count..<(part + 1) * count])).to(nil, settings.device)
      network.dropoutKey = draws.next()
      let result: HeadResult
      if isFrozen {
        result = headStep(frozenEmbeddings(images), labels, learningRate)
      } else {
        let pass = network.pass(images, settings.pass)
        result = headStep(pass.output, labels, learningRate)
        let gradient = scaler.map { result.embeddingGradient * $0.scale } ?? result.embeddingGradient
        pass.backward(gradient)
      }
      losses.append(result.loss)
      corrects.append(result.correct)
      if headOptimizer != nil { headGradients = Self.sum(headGradients, head.gradients) }
    }
    let loss = losses.map(\.item).reduce(0, +) / Double(parts)
    let correct = corrects.map(\.item).reduce(0, +)
    guard loss.isFinite else {
      let weights = network.parameters + network.buffers + head.parameters + head.buffers
      throw NotFinite(what: "the loss became \(loss)", tensor: nameOfNotFinite(in: weights))
    }
    let gradients = network.parameters.map(\.tensor.grad)
    let factor = 1 / (Double(parts) * (scaler?.scale ?? 1))
    let norm = isFrozen ? nil : totalNorm(gradients) * factor
    if let norm, !norm.isFinite {
      network.clearGradients()
      guard var scaler, scaler.scale > 1e-3 else {
        let named = zip(network.parameters, gradients).compactMap { name, gradient in
          gradient.map { NamedTensor(name.name, $0) }
        }
        throw NotFinite(what: "the gradient became \(norm)", tensor: nameOfNotFinite(in: named))
      }
      scaler.update(finite: false)
      self.scaler = scaler
      return Result(loss: loss, correct: correct, gradientNorm: norm, moved: false)
    }
    if norm != nil { scaler?.update(finite: true) }
    let headFactor = 1 / Double(parts)
    let clip = clipFactor(norm, headGradients, headFactor)
    if norm != nil { optimizer.step(gradients: gradients, learningRate: learningRate, rescale: factor * clip) }
    network.clearGradients()
    if let headOptimizer {
      headOptimizer.step(
        gradients: headGradients, learningRate: learningRate,
        rescale: headFactor * (settings.clipsHead ? clip : 1))
    } else if !fusesHead {
      head.update(learningRate: learningRate)
    }
    return Result(loss: loss, correct: correct, gradientNorm: norm, moved: true)
  }

  /// Whether the head may move its weights before the backbone's gradient is known: not where half precision may overflow.
  private var fusesHead: Bool { headOptimizer == nil && scaler == nil }

  private func headStep(_ embeddings: Tensor, _ labels: Tensor, _ learningRate: Double) -> HeadResult {
    fusesHead
      ? head.step(embeddings, labels, learningRate: learningRate) : head.backward(embeddings, labels)
  }

  /// Embeddings of a backbone that does not learn: with running statistics and without dropout, as in use.
  private func frozenEmbeddings(_ images: Tensor) -> Tensor {
    network.setTraining(false)
    defer { network.setTraining(true) }
    return withoutGrad {
      withAutocast(settings.precision, settings.device) { network(images) }.to(.float32)
    }
  }

  /// `clip_grad_norm_` of PyTorch: max / (norm + 1e-6), at most 1.
  private func clipFactor(_ norm: Double?, _ headGradients: [Tensor?], _ headFactor: Double) -> Double {
    guard let limit = settings.clipNorm else { return 1 }
    var total = norm ?? 0
    if settings.clipsHead {
      let other = totalNorm(headGradients) * headFactor
      total = (total * total + other * other).squareRoot()
    }
    return min(1, limit / (total + 1e-6))
  }

  private func nameOfNotFinite(in named: [NamedTensor]) -> String? {
    firstNotFinite(named.map(\.tensor)).map { named[$0].name }
  }

  private static func sum(_ sums: [Tensor?], _ gradients: [Tensor?]) -> [Tensor?] {
    guard !sums.isEmpty else { return gradients }
    return zip(sums, gradients).map { sum, gradient in
      guard let sum, let gradient else { return sum ?? gradient }
      return withoutGrad { sum + gradient }
    }
  }

  // MARK: State

  /// Everything that the next update depends on.
  var stateTensors: [NamedTensor] {
    let headState =
      headOptimizer?.state ?? zip(head.parameters, head.momenta).map { NamedTensor("momentum:\($0.name)", $1) }
    return network.parameters + network.buffers + head.parameters + head.buffers + optimizer.state + headState
  }

  func note(in notes: inout [String: String]) {
    notes["optimizer_steps"] = "\(optimizer.stepCount) \(headOptimizer?.stepCount ?? 0)"
    if let scaler { notes["gradient_scaler"] = "\(scaler.scale) \(scaler.steady)" }
  }

  func restore(_ state: TrainingState.Reader) throws {
    try state.restore(stateTensors)
    let steps = (state.notes["optimizer_steps"] ?? "").split(separator: " ").compactMap { Int($0) }
    if steps.count == 2 {
      optimizer.stepCount = steps[0]
      headOptimizer?.stepCount = steps[1]
    }
    let scale = (state.notes["gradient_scaler"] ?? "").split(separator: " ").compactMap { Double($0) }
    if scaler != nil, scale.count == 2, scale[0] > 0, let steady = Int(exactly: scale[1]) {
      scaler = GradientScaler(scale: scale[0], steady: steady)
    }
  }
}

/// How weights are updated, as the configuration says it.
struct UpdateSettings {
  let kind: OptimizerKind
  let momentum: Double
  let weightDecay: Double
  let betas: (Double, Double)
  let epsilon: Double
  /// Parts of a batch whose gradients are averaged.
  let parts: Int
  /// The largest norm of the gradient; nil: any.
  let clipNorm: Double?
  /// Whether the norm is that of backbone and head together, and both are clipped.
  let clipsHead: Bool
  let frozenSteps: Int
  let precision: DType
  let recomputes: Bool
  let seed: UInt64
  let device: Device

  init(_ c: RecognitionConfiguration, _ options: TrainingOptions) {
    kind = OptimizerKind(rawValue: c.string("optimizer")) ?? .mxnetSGD
    (momentum, weightDecay) = (c.double("mom"), c.double("wd"))
    betas = (c.double("adam_beta1"), c.double("adam_beta2"))
    epsilon = c.double("adam_eps")
    parts = c.int("accumulate")
    clipNorm = c.double("clip_norm") > 0 ? c.double("clip_norm") : nil
    clipsHead = c.bool("clip_head") && c.double("clip_norm") > 0
    frozenSteps = c.int("freeze_backbone")
    precision = c.precision
    recomputes = c.bool("memonger")
    seed = options.seed
    device = options.device
  }

  var pass: TrainableNetwork.PassOptions { .init(precision: precision, recomputes: recomputes) }

  /// Whether nothing needs the head's whole gradient before it is applied.
  var headUpdatesItself: Bool { kind == .mxnetSGD && parts == 1 && !clipsHead }

  /// Why it leaves its fused update; nil where it does not.
  var reasonForHeadOptimizer: String? {
    if headUpdatesItself { return nil }
    if kind != .mxnetSGD { return "--optimizer \(kind.rawValue)" }
    return parts > 1 ? "--accumulate \(parts)" : "clip_head"
  }

  func optimizer(_ parameters: [NamedTensor], _ buffers: [Tensor]?) -> any Optimizer {
    switch kind {
    case .mxnetSGD: SGD(parameters, momentum: momentum, weightDecay: weightDecay, momenta: buffers)
    case .sgd: SGD(parameters, momentum: momentum, weightDecay: weightDecay, form: .torch, momenta: buffers)
    case .adamw:
      AdamW(
        parameters, beta1: betas.0, beta2: betas.1, epsilon: epsilon, weightDecay: weightDecay, firstMoments: buffers)
    }
  }
}
