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
  private let loss: MultiTaskLoss
  private let layout: SampleLayout
  private let clipNorm: Double
  private let device: Device
  let optimizer: any Optimizer

  init(_ model: DetectorNetwork, _ loss: MultiTaskLoss, _ layout: SampleLayout, _ c: DetectionConfiguration) {
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
    let count = batch.labels.count
    let bytes = UnsafeRawBufferPointer(batch.pixels.bytes)
    let samples = (0..<count).map { index in
      layout.read(
        UnsafeRawBufferPointer(rebasing: bytes[index * layout.sampleSize..<(index + 1) * layout.sampleSize]))
    }
    let outputs = model.network.outputs(of: images(bytes, samples.map(\.colours)))
    let heads = try self.heads(outputs, count)
    let result = loss(heads, samples.map(\.faces))
    guard result.parts.total.isFinite else {
      throw DetectionTrainingError("the loss became \(result.parts.total)")
    }
    // Σ output · gradient has the gradients wanted, and one way back serves all heads.
    var sum: Tensor?
    for (index, gradient) in result.gradients.enumerated() {
      for (place, values) in [gradient.scores, gradient.boxes, gradient.landmarks].enumerated() {
        let output = outputs[3 * index + place]
        let product = (output * Tensor(values, shape: output.shape).to(nil, device)).sum()
        sum = sum.map { $0 + product } ?? product
      }
    }
    sum?.backward()
    let gradients = model.network.parameters.map(\.tensor.grad)
    let norm = totalNorm(gradients)
    guard norm.isFinite else {
      model.network.clearGradients()
      throw DetectionTrainingError("the gradient became \(norm)")
    }
    let clip = clipNorm > 0 ? min(1, clipNorm / (norm + 1e-6)) : 1
    optimizer.step(gradients: gradients, learningRate: learningRate, rescale: clip)
    model.network.clearGradients()
    return Result(parts: result.parts, gradientNorm: norm)
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

  private func heads(_ outputs: [Tensor], _ count: Int) throws -> [MultiTaskLoss.Head] {
    try model.anchors.enumerated().map { index, level in
      let side = (layout.imageSize + level.stride - 1) / level.stride
      let values = try [2, 4, 10].enumerated().map { place, width in
        let output = outputs[3 * index + place]
        let expected = [count, width * level.boxes.count, side, side]
        guard output.shape == expected else {
          throw DetectionTrainingError(
            "stride \(level.stride): the network gives \(output.shape) where \(expected) was expected")
        }
        return output.detached().floats
      }
      return MultiTaskLoss.Head(scores: values[0], boxes: values[1], landmarks: values[2])
    }
  }
}
