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
}
