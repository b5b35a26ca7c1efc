internal import CTorch

/// Stochastic gradient descent with momentum, in MXNet's form or in PyTorch's.
///
///     MXNet:    m ← momentum · m − lr · (rescale · g + wd · w)     w ← w + m
///     PyTorch:  m ← momentum · m + (rescale · g + wd · w)          w ← w − lr · m
///
/// In MXNet's form the learning rate sits inside the momentum buffer, so that after a drop the old momentum keeps the old
/// scale. Weight decay reaches every parameter, biases, γ, β and slopes as well: this is what the reference's scripts do.
public final class SGD: Optimizer {
  /// Where the learning rate sits.
  public enum Form: Sendable {
    /// `mx.optimizer.SGD`: in the momentum buffer.
    case mxnet
    /// `torch.optim.SGD`: outside of it.
    case torch
  }

  /// The form of the update.
  public let form: Form
  /// The momentum factor.
  public let momentum: Double
  /// Weight decay.
  public let weightDecay: Double
  /// What is updated, in the order of the network.
  public let parameters: [NamedTensor]
  /// The momentum buffers, one a parameter, zero at first.
  public let momenta: [Tensor]
  /// Updates so far; they do not change the next one.
  public var stepCount = 0
  private let weights: [Tensor]
  private let decays: [Double]

  /// An optimizer with zero momentum.
  ///
  /// Parameters without a gradient stay as they are.
  ///
  /// - Parameter momenta: buffers to use, one a parameter and of its shape; new ones where nil.
  public init(
    _ parameters: [NamedTensor], momentum: Double = 0.9, weightDecay: Double = 5e-4, form: Form = .mxnet,
    momenta: [Tensor]? = nil
  ) {
    self.parameters = parameters
    self.momentum = momentum
    self.weightDecay = weightDecay
    self.form = form
    weights = parameters.map(\.tensor)
    self.momenta = momenta ?? weights.map(zerosLike)
    decays = parameters.map { _ in weightDecay }
  }

  /// The momentum buffers, `momentum:` before the parameter's name.
  public var state: [NamedTensor] {
    zip(parameters, momenta).map { NamedTensor("momentum:\($0.name)", $1) }
  }

  /// One step with gradients, one a parameter; each is multiplied by `rescale` first.
  public func step(gradients: [Tensor?], learningRate: Double, rescale: Double) {
    stepCount += 1
    withHandles(weights) { w, count in
      withHandles(gradients) { g, _ in
        withHandles(momenta) { m, _ in
          call("sgd") {
            switch form {
            case .mxnet: ct_sgd_mxnet(w, g, m, count, learningRate, momentum, decays, rescale, $0)
            case .torch: ct_sgd_torch(w, g, m, count, learningRate, momentum, decays, rescale, $0)
            }
          }
        }
      }
    }
  }

  /// One step for a single weight whose gradient is at hand, in MXNet's form.
  public static func step(
    weight: Tensor, gradient: Tensor, momentum buffer: Tensor, learningRate: Double, momentum: Double,
    weightDecay: Double
  ) {
    withHandles([weight]) { w, _ in
      withHandles([gradient]) { g, _ in
        withHandles([buffer]) { m, _ in
          call("sgd", [weight, gradient]) {
            ct_sgd_mxnet(w, g, m, 1, learningRate, momentum, [weightDecay], 1, $0)
          }
        }
      }
    }
  }
}
