import Inference

extension GraphBuilder {
  /// MobileNet v1 (arXiv 1704.04861) with a quarter of the channels, named as MXNet's model zoo names it.
  ///
  /// - Returns: the last maps of strides 4, 8, 16 and 32: 32, 64, 128 and 256 channels.
  mutating func mobileNet025(_ input: Value) -> FeatureMaps {
    var index = 0
    func block(_ builder: inout GraphBuilder, _ x: Value, filters: Int, kernel: Int, stride: Int, groups: Int) -> Value
    {
      let prefix = "mobilenet0_"
      let convolution = builder.add(
        .convolution(
          .init(
            filters: filters, kernel: .init(kernel), stride: .init(stride), pad: .init(.init(kernel / 2)),
            groups: groups, bias: false)), [x], named: "\(prefix)conv\(index)_fwd",
        parameters: ["\(prefix)conv\(index)_weight"])
      let norm = "\(prefix)batchnorm\(index)"
      let normalised = builder.add(
        .batchNorm(.init(epsilon: 1e-5, momentum: 0.9, fixGamma: false, axis: 1)), [convolution], named: norm + "_fwd",
        parameters: ["_gamma", "_beta", "_running_mean", "_running_var"].map { norm + $0 })
      let result = builder.relu(normalised, named: "\(prefix)relu\(index)_fwd")
      index += 1
      return result
    }
    var x = block(&self, input, filters: 8, kernel: 3, stride: 2, groups: 1)
    var stride = 2
    var features: FeatureMaps = [:]
    // Depthwise 3×3 and pointwise 1×1 in turn; a stride of 2 begins the next map.
    let pairs = [
      (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2),
      (256, 1),
    ]
    for (filters, step) in pairs {
      // The depthwise convolution of a step already has the smaller size, so the map before it is the last of its stride.
      if step == 2 { features[stride] = x }
      stride *= step
      x = block(&self, x, filters: channels(of: x), kernel: 3, stride: step, groups: channels(of: x))
      x = block(&self, x, filters: filters, kernel: 1, stride: 1, groups: 1)
    }
    features[stride] = x
    return features
  }
}
