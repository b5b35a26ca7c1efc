import Torch

extension MarginSoftmaxHead {
  /// The fused step: the weight is updated block by block, its gradient never exists as a whole.
  public func step(_ embeddings: Tensor, _ labels: Tensor, learningRate: Double) -> HeadResult {
    guard runsInBlocks(embeddings) else {
      let result = composed(embeddings, labels)
      update(learningRate: learningRate)
      return result
    }
    return blocked(
      embeddings, labels,
      to: .step(
        momentum: weightMomentum, learningRate: learningRate, momentumFactor: optimizer.momentum,
        weightDecay: optimizer.weightDecay))
  }

  /// Whether there is a kernel for these tensors: float32 on the CPU.
  func runsInBlocks(_ embeddings: Tensor) -> Bool {
    embeddings.device.isCPU && weight.device.isCPU && embeddings.dtype == .float32 && weight.dtype == .float32
  }

  /// The same loss and gradients as `composed`, in blocks of classes: twice the products with the weight instead of a
  /// matrix [N, K] of logits, and of its exponentials, and of its gradients.
  func blocked(
    _ embeddings: Tensor, _ labels: Tensor, to destination: MarginSoftmaxStep.Destination
  ) -> HeadResult {
    withoutGrad {
      let x = NormalizedRows(embeddings)
      let own = NormalizedRows(weight.indexSelected(0, labels))
      let cosine = (x.rows * own.rows).sum(1, keepDim: true)
      let (moved, slope) = applyMargin(cosine)
      let step = MarginSoftmaxStep(
        x: x.rows.contiguous(), labels: labels, target: (moved * margin.scale).reshaped([-1]),
        slope: (slope * margin.scale).reshaped([-1]), weight: weight, scale: margin.scale, epsilon: 1e-10,
        to: destination)
      return HeadResult(
        loss: step.losses.mean(), correct: step.best.equals(labels).to(.float32).sum(),
        embeddingGradient: x.gradient(step.otherGradient + own.rows * step.ownGradient.unsqueezed(1)))
    }
  }
}
