import Torch

extension CosineSoftmaxHead {
  /// The fused step: the weight is updated block by block, its gradient never exists as a whole.
  public func step(_ embeddings: Tensor, _ labels: Tensor, learningRate: Double) -> HeadResult {
    guard runsInBlocks else {
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

  /// Whether there is a kernel for this head: float32 on the CPU, one centre an identity.
  var runsInBlocks: Bool {
    allowsBlocks && movesOwnOnly && subCenters.count == 1 && weight.device.isCPU && weight.dtype == .float32
  }

  /// The same loss and gradients as `composed`, in blocks of identities: twice the products with the weight instead of a
  /// matrix [N, K] of logits, and of its exponentials, and of its gradients.
  func blocked(
    _ embeddings: Tensor, _ labels: Tensor, to destination: MarginSoftmaxStep.Destination
  ) -> HeadResult {
    withoutGrad {
      let raw = embeddings.to(weight.dtype)
      let x = NormalizedRows(raw)
      let own = NormalizedRows(weight.indexSelected(0, labels))
      let cosine = (x.rows * own.rows).sum(1, keepDim: true)
      let made = logits(Cosines(all: cosine, own: cosine, column: labels.unsqueezed(1), embeddings: raw))
      let step = MarginSoftmaxStep(
        x: x.rows.contiguous(), labels: labels, target: (made.own * scale).reshaped([-1]).contiguous(),
        slope: (made.ownSlope * scale).reshaped([-1]).contiguous(), weight: weight, scale: scale, epsilon: 1e-10,
        to: destination)
      let ownGradient = step.ownGradient.unsqueezed(1)
      var loss = step.losses.mean()
      var toEmbeddings = x.gradient(step.otherGradient + own.rows * (ownGradient * made.ownSlope * scale))
      if let slope = made.ownNormSlope { toEmbeddings = toEmbeddings + x.rows * (ownGradient * slope * scale) }
      if let penalty = made.penalty {
        loss = loss + penalty.loss
        toEmbeddings = toEmbeddings + x.rows * penalty.gradient
      }
      return HeadResult(
        loss: loss, correct: step.best.equals(labels).to(.float32).sum(), embeddingGradient: toEmbeddings)
    }
  }
}
