internal import CTorch

/// Moves weights along their gradients.
public protocol Optimizer: AnyObject {
  /// What is updated, in the order of the network.
  var parameters: [NamedTensor] { get }
  /// The tensors, beside the weights, on which the next step depends.
  var state: [NamedTensor] { get }
  /// Updates so far: part of the state as well.
  var stepCount: Int { get set }
  /// One step with gradients, one a parameter; each is multiplied by `rescale` first.
  ///
  /// A parameter whose gradient is nil stays as it is.
  func step(gradients: [Tensor?], learningRate: Double, rescale: Double)
}

extension Optimizer {
  /// One step with the gradients that `backward` has left at the parameters.
  public func step(learningRate: Double, rescale: Double = 1) {
    step(gradients: parameters.map(\.tensor.grad), learningRate: learningRate, rescale: rescale)
  }
}

/// The optimizers that can be chosen by name.
public enum OptimizerKind: String, CaseIterable, Codable, Sendable {
  /// Stochastic gradient descent as MXNet computes it.
  case mxnetSGD = "mxnet-sgd"
  /// Stochastic gradient descent as PyTorch computes it.
  case sgd
  /// Adam with decoupled weight decay.
  case adamw

  /// Tensors of state for each parameter.
  public var stateCount: Int { self == .adamw ? 2 : 1 }
}

/// Adam with decoupled weight decay (arXiv 1711.05101) in PyTorch's form.
///
///     w ← w · (1 − lr · wd);  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
///     w ← w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
public final class AdamW: Optimizer {
  /// What is updated, in the order of the network.
  public let parameters: [NamedTensor]
  /// t, updates so far.
  public var stepCount = 0
  private let beta1: Double
  private let beta2: Double
  private let epsilon: Double
  private let weights: [Tensor]
  private let first: [Tensor]
  private let second: [Tensor]
  private let decays: [Double]

  /// An optimizer whose moments are zero.
  ///
  /// - Parameter firstMoments: buffers to use, one a parameter and of its shape; new ones where nil.
  public init(
    _ parameters: [NamedTensor], beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
    weightDecay: Double = 1e-2, firstMoments: [Tensor]? = nil
  ) {
    self.parameters = parameters
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    weights = parameters.map(\.tensor)
    first = firstMoments ?? weights.map(zerosLike)
    second = weights.map(zerosLike)
    decays = parameters.map { _ in weightDecay }
  }

  /// Both moments, named as PyTorch does.
  public var state: [NamedTensor] {
    zip(parameters, first).map { NamedTensor("exp_avg:\($0.name)", $1) }
      + zip(parameters, second).map { NamedTensor("exp_avg_sq:\($0.name)", $1) }
  }

  /// One step with gradients, one a parameter; each is multiplied by `rescale` first.
  public func step(gradients: [Tensor?], learningRate: Double, rescale: Double) {
    stepCount += 1
    withHandles(weights) { w, count in
      withHandles(gradients) { g, _ in
        withHandles(first) { m, _ in
          withHandles(second) { v, _ in
            call("adamw") {
              ct_adamw(
                w, g, m, v, count, learningRate, beta1, beta2, epsilon, decays, rescale, Int64(stepCount), $0)
            }
          }
        }
      }
    }
  }
}

/// Zeros of the shape, type, layout and device of a tensor.
func zerosLike(_ tensor: Tensor) -> Tensor {
  withoutGrad {
    let zeros = tensor.detached().cloned()
    zeros.fill(0)
    return zeros
  }
}
