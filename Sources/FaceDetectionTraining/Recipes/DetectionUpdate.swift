import FaceDetection
import Torch
import Training

/// One update of a detector: forward, loss, backward, SGD.
final class DetectionUpdate {
  /// What a batch gave.
  struct Result {
    let parts: MultiTaskLoss.Parts
    /// The Euclidean norm of the gradient before clipping.
    let gradientNorm: Double
  }

  private let model: DetectorNetwork
  private let loss: any DetectionObjective
  private let layout: SampleLayout
  private let clipNorm: Double
  private let device: Device
  let optimizer: any Optimizer

  init(_ model: DetectorNetwork, _ loss: any DetectionObjective, _ layout: SampleLayout, _ c: DetectionConfiguration) {
    self.model = model
    self.loss = loss
    self.layout = layout
    clipNorm = c.clipNorm
    device = c.device
    let parameters = model.network.parameters
    optimizer =
      switch c.optimizer {
      case .mxnetSGD: SGD(parameters, momentum: c.momentum, weightDecay: c.weightDecay)
      case .sgd: SGD(parameters, momentum: c.momentum, weightDecay: c.weightDecay, form: .torch)
      case .adamw: AdamW(parameters, weightDecay: c.weightDecay)
      }
  }

  /// One update from N samples.
  ///
  /// - Throws: `DetectionTrainingError` before any weight is touched where loss or gradient is not finite.
  func callAsFunction(_ batch: LoadedBatch, learningRate: Double) throws -> Result {
    let (outputs, parts, gradients) = try forward(batch)
    guard parts.total.isFinite else { throw DetectionTrainingError("the loss became \(parts.total)") }
    // Σ output · gradient has the gradients wanted, and one way back serves all heads.
    var sum: Tensor?
    for (output, values) in zip(outputs, gradients) {
      let product = (output * Tensor(values, shape: output.shape).to(nil, device)).sum()
      sum = sum.map { $0 + product } ?? product
    }
    sum?.backward()
    let slopes = model.network.parameters.map(\.tensor.grad)
    let norm = totalNorm(slopes)
    guard norm.isFinite else {
      model.network.clearGradients()
      throw DetectionTrainingError("the gradient became \(norm)")
    }
    let clip = clipNorm > 0 ? min(1, clipNorm / (norm + 1e-6)) : 1
    optimizer.step(gradients: slopes, learningRate: learningRate, rescale: clip)
    model.network.clearGradients()
    return Result(parts: parts, gradientNorm: norm)
  }

  /// The loss of N samples as the network stands, with its running statistics; nothing changes.
  func loss(of batch: LoadedBatch) throws -> MultiTaskLoss.Parts {
    model.network.setTraining(false)
    defer { model.network.setTraining(true) }
    return try withoutGrad { try forward(batch).parts }
  }

  private func forward(
    _ batch: LoadedBatch
  ) throws -> (outputs: [Tensor], parts: MultiTaskLoss.Parts, gradients: [[Float]]) {
    let count = batch.labels.count
    let bytes = UnsafeRawBufferPointer(batch.pixels.bytes)
    let samples = (0..<count).map { index in
      layout.read(
        UnsafeRawBufferPointer(rebasing: bytes[index * layout.sampleSize..<(index + 1) * layout.sampleSize]))
    }
    let outputs = model.network.outputs(of: images(bytes, samples.map(\.colours)))
    let expected = loss.shapes(count)
    guard outputs.map(\.shape) == expected else {
      throw DetectionTrainingError("the network gives \(outputs.map(\.shape)) where \(expected) was expected")
    }
    let (parts, gradients) = loss.evaluate(outputs.map { $0.detached().floats }, samples.map(\.faces))
    return (outputs, parts, gradients)
  }

  /// [N, 3, S, S] float32, colours changed.
  private func images(_ bytes: UnsafeRawBufferPointer, _ colours: [ColourMap]) -> Tensor {
    let (count, size) = (colours.count, layout.imageSize)
    let used = UnsafeRawBufferPointer(rebasing: bytes[..<(count * layout.sampleSize)])
    var pixels = Tensor(bytes: used, shape: [count, layout.sampleSize], dtype: .uint8)
      .narrowed(1, start: 0, count: layout.pixelBytes).contiguous().to(nil, device).to(.float32)
      .reshaped([count, size * size, 3])
    if colours.contains(where: { $0 != .identity }) {
      // Pixels are rows here, so the matrices are transposed.
      let matrices = colours.flatMap { map in
        (0..<9).map { map.values[3 * ($0 % 3) + $0 / 3] }
      }
      let offsets = colours.flatMap { $0.values[9...] }
      pixels =
        pixels.matmul(Tensor(matrices, shape: [count, 3, 3]).to(nil, device))
        + Tensor(offsets, shape: [count, 1, 3]).to(nil, device)
    }
    return pixels.reshaped([count, size, size, 3]).permuted([0, 3, 1, 2])
  }
}
