internal import CTorch

/// Stochastic gradient descent in MXNet's form (`mx.optimizer.SGD`).
///
///     m ← momentum · m − lr · (rescale · g + wd · w)
///     w ← w + m
///
/// The learning rate sits inside the momentum buffer, so that after a drop the old momentum keeps the old scale. Weight
/// decay reaches every parameter, biases, γ, β and slopes as well: this is what the reference's scripts do.
/// .
public final class SGD {
  /// The momentum factor.
  public let momentum: Double
  /// Weight decay.
  public let weightDecay: Double
  /// What is updated, in the order of the network.
  public let parameters: [NamedTensor]
  /// The momentum buffers, one a parameter, zero at first.
  public let momenta: [Tensor]
  private let weights: [Tensor]
  private let decays: [Double]

  /// An optimizer with zero momentum.
  ///
  /// Parameters without a gradient stay as they are.
  public init(_ parameters: [NamedTensor], momentum: Double = 0.9, weightDecay: Double = 5e-4) {
    self.parameters = parameters
    self.momentum = momentum
    self.weightDecay = weightDecay
    weights = parameters.map(\.tensor)
    momenta = parameters.map { parameter in
      withoutGrad {
        let buffer = parameter.tensor.detached().cloned()
        buffer.fill(0)
        return buffer
      }
    }
    decays = parameters.map { _ in weightDecay }
  }

  /// One step with the gradients at hand; each is multiplied by `rescale` first.
  public func step(learningRate: Double, rescale: Double = 1) {
    let gradients = weights.map(\.grad)
    withHandles(weights) { w, count in
      withHandles(gradients) { g, _ in
        withHandles(momenta) { m, _ in
          call("sgd") { ct_sgd_mxnet(w, g, m, count, learningRate, momentum, decays, rescale, $0) }
        }
      }
    }
  }

  /// One step for a single weight whose gradient is at hand.
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

/// The first tensor that holds a NaN or an infinity; nil when all are finite.
public func firstNotFinite(_ tensors: [Tensor?]) -> Int? {
  let index = withHandles(tensors) { handles, count in
    call("isfinite") { ct_first_not_finite(handles, count, $0) }
  }
  return index < 0 ? nil : Int(index)
}

/// A learning rate that is multiplied by a factor at given steps (`--lr-steps`).
public struct StepSchedule: Sendable, Equatable {
  /// The rate before the first drop.
  public let base: Double
  /// The steps (counted from 1) after which the rate drops.
  public let steps: [Int]
  /// What it is multiplied by.
  public let factor: Double

  /// A schedule as the reference's: ×0.1 at each step of the list.
  public init(base: Double, steps: [Int], factor: Double = 0.1) {
    self.base = base
    self.steps = steps
    self.factor = factor
  }

  /// The rate for the update number `step` (counted from 1).
  ///
  /// The drop is made at the end of a step of the list, so the next one feels it. Multiplied step by step, as the
  /// reference does, so that the last digits agree.
  public func rate(step: Int) -> Double {
    var rate = base
    for drop in Set(steps) where drop < step && drop >= 1 { rate *= factor }
    return rate
  }
}
