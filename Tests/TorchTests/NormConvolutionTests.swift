import Testing
import Torch

/// Batch normalisation, PReLU and convolution as one operation against the three.
@Suite struct NormConvolutionTests {
  @Test(arguments: [(1, true), (4, true), (12, false), (1, false)], [true, false])
  func equalsTheThree(layer: (groups: Int, hasSlope: Bool), training: Bool) {
    let groups = layer.groups
    let generator = Generator(seed: 7)
    func random(_ shape: [Int], _ deviation: Double = 1) -> Tensor {
      let tensor = Tensor.empty(shape, format: shape.count == 4 ? .channelsLast : .contiguous)
      tensor.copy(from: Tensor.empty(shape).fillNormal(deviation: deviation, generator))
      return tensor
    }
    let values = [
      random([3, 12, 9, 7]), random([12], 0.5) + 1, random([12]), random([12], 0.2),
      random([8 * 3, 12 / groups, 3, 3], 0.2),
      random([24]),
    ]
    let upstream = random([3, 24, 5, 4])
    var results: [[[Float]]] = []
    for isFused in [true, false] {
      let leaves = values.map { $0.cloned() }
      for leaf in leaves { leaf.requiresGrad = true }
      let (mean, variance) = (Tensor.zeros([12]) + 0.1, Tensor.ones([12]) * 0.7)
      let (x, gamma, beta, slope, weight, bias) = (leaves[0], leaves[1], leaves[2], leaves[3], leaves[4], leaves[5])
      let y: Tensor
      if isFused {
        y = x.normalizedConv2d(
          gamma: gamma, beta: beta, mean: mean, variance: variance, slope: layer.hasSlope ? slope : nil,
          training: training, eps: 1e-3,
          weight: weight, bias: bias, stride: (2, 2), padding: (1, 1), groups: groups)
      } else {
        y = x.batchNorm(
          gamma: gamma, beta: beta, mean: mean, variance: variance, slope: layer.hasSlope ? slope : nil,
          training: training, eps: 1e-3
        ).conv2d(weight, bias: bias, stride: (2, 2), padding: (1, 1), groups: groups)
      }
      y.backward(upstream)
      results.append([y.floats, mean.floats, variance.floats] + leaves.map { $0.grad?.floats ?? [] })
    }
    for (fused, composed) in zip(results[0], results[1]) {
      #expect(fused.count == composed.count)
      #expect(zip(fused, composed).allSatisfy { abs($0 - $1) <= 1e-5 * (1 + abs($1)) })
    }
  }

  /// 3×3 convolutions of stride 1 that are large enough take Winograd's form on the CPU; LibTorch's in float64 is the reference.
  ///
  /// Odd sizes, channels that fill no vector, and weights in either order in memory.
  @Test(
    arguments: [(20, 18, 13, 9, 1), (16, 33, 8, 8, 0), (64, 64, 7, 7, 1), (24, 16, 5, 6, 2)], [false, true])
  func winogradEqualsTheDirectForm(
    size: (channels: Int, filters: Int, height: Int, width: Int, padding: Int), sparing: Bool
  ) {
    let (images, channels, filters) = (48, size.channels, size.filters)
    let generator = Generator(seed: 11)
    func random(_ shape: [Int], _ deviation: Double = 1) -> Tensor {
      let tensor = Tensor.empty(shape, format: shape.count == 4 && sparing ? .channelsLast : .contiguous)
      tensor.copy(from: Tensor.empty(shape).fillNormal(deviation: deviation, generator))
      return tensor
    }
    let x = random([images, channels, size.height, size.width])
    let weight = random([filters, channels, 3, 3], 0.2)
    let (gamma, beta) = (random([channels], 0.5) + 1, random([channels]))
    let upstream = random([
      images, filters, size.height + 2 * size.padding - 2, size.width + 2 * size.padding - 2,
    ])
    var results: [[[Double]]] = []
    for type in [DType.float32, .float64] {
      let leaves = [x, gamma, beta, weight].map { $0.to(type).cloned() }
      for leaf in leaves { leaf.requiresGrad = true }
      let (mean, variance) = (Tensor.zeros([channels]).to(type), Tensor.ones([channels]).to(type))
      let y: Tensor
      if type == .float32 {
        y = leaves[0].normalizedConv2d(
          gamma: leaves[1], beta: leaves[2], mean: mean, variance: variance, training: false, eps: 1e-3,
          weight: leaves[3], padding: (size.padding, size.padding), sparing: sparing)
      } else {
        y =
          ((leaves[0] / (1.0 + 1e-3).squareRoot()) * leaves[1].reshaped([1, channels, 1, 1])
          + leaves[2].reshaped([1, channels, 1, 1])).conv2d(leaves[3], padding: (size.padding, size.padding))
      }
      y.backward(upstream.to(type))
      results.append(([y] + leaves.map { $0.grad! }).map { $0.to(.float64).array() as [Double] })
    }
    for (own, exact) in zip(results[0], results[1]) {
      let norm = exact.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let error = zip(own, exact).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      #expect(own.count == exact.count)
      #expect(error <= 2e-6 * norm)
    }
  }
}
