import Torch

/// AdaFace: hard faces count more where the image is good, less where it is bad (Kim et al., arXiv 2204.00964).
///
/// The length of an embedding stands for the quality. With μ and σ its moving mean and deviation over batches,
///
///     ẑ = clip(h · (‖x‖ − μ) / (σ + 1e-3), −1, 1),  ‖x‖ held within [1e-3, 100] and not differentiated
///     own cosine → cos(clip(θ − m ẑ, 1e-3, π − 1e-3)) − (m + m ẑ)
///
/// all times s. μ and σ start at 20 and 100 and follow each batch before they are used: μ ← tα · mean + (1 − tα) · μ.
/// Cosines are held within ±(1 − 1e-3); beyond, their gradient is 0, as in the authors' code. m 0.4, h 0.333, s 64,
/// tα 0.01. A batch of one face has no deviation: σ stays.
final class AdaFaceHead: CosineSoftmaxHead {
  private let (margin, concentration, rate): (Double, Double, Double)
  private let mean: Tensor
  private let deviation: Tensor

  init(
    _ settings: HeadSettings, scale: Double = 64, margin: Double = 0.4, concentration: Double = 0.333,
    rate: Double = 0.01
  ) {
    (self.margin, self.concentration, self.rate) = (margin, concentration, rate)
    mean = .full([1], 20, dtype: settings.dtype, device: settings.device)
    deviation = .full([1], 100, dtype: settings.dtype, device: settings.device)
    super.init(settings, scale: scale, start: .unitUniform)
  }

  /// `fc7_batch_mean` [1], `fc7_batch_std` [1].
  override var buffers: [NamedTensor] {
    [NamedTensor("fc7_batch_mean", mean), NamedTensor("fc7_batch_std", deviation)]
  }

  override func logits(_ cosines: Cosines) -> MarginLogits {
    let eps = 1e-3
    let norms = cosines.norms.clamped(0.001, 100)
    follow(norms)
    let quality = ((norms - mean) / (deviation + eps) * concentration).clamped(-1, 1)
    let m = margin * progress.marginShare
    let limit = 1 - eps
    let all = cosines.all.clamped(-limit, limit)
    let own = cosines.own.clamped(-limit, limit)
    let theta = own.acos()
    let shifted = theta - quality * m
    let moved = shifted.clamped(eps, .pi - eps)
    // The derivatives of the two clamps.
    let passes = moved.equals(shifted).to(own.dtype) * own.equals(cosines.own).to(own.dtype)
    return MarginLogits(
      all: all, slope: all.equals(cosines.all).to(all.dtype), own: moved.cos() - (quality * m + m),
      ownSlope: moved.sin() / theta.sin() * passes)
  }

  private func follow(_ norms: Tensor) {
    mean.copy(from: mean * (1 - rate) + norms.mean() * rate)
    guard norms.count > 1 else { return }
    deviation.copy(from: deviation * (1 - rate) + norms.variance(unbiased: true).sqrt() * rate)
  }
}
