import Inference

extension GraphBuilder {
  /// ResNet v2 (arXiv 1603.05027) of bottleneck units, named as MXNet's ImageNet checkpoints name it.
  ///
  /// - Parameters:
  ///   - input: (N, 3, H, W).
  ///   - units: how many units each of the four stages has: 3, 4, 6, 3 for 50 layers.
  /// - Returns: the last maps of strides 4, 8, 16 and 32. But for the last they lie inside a unit, before the convolution
  ///   that halves the size, as the reference's search for the last layer of a size finds them: 128, 256, 512 and 2048
  ///   channels.
  mutating func resNetV2(_ input: Value, units: [Int]) -> FeatureMaps {
    func norm(_ builder: inout GraphBuilder, _ name: String, _ x: Value) -> Value {
      builder.batchNorm(name, x, epsilon: 2e-5)
    }
    var features: FeatureMaps = [:]
    var x = batchNorm("bn_data", input, epsilon: 2e-5, fixGamma: true)
    x = convolution("conv0", x, filters: 64, kernel: 7, stride: 2, pad: 3, bias: false)
    x = relu(norm(&self, "bn0", x), named: "relu0")
    x = maxPool(x, kernel: 3, stride: 2, pad: 1, named: "pooling0")
    var size = 4
    for (stage, count) in units.enumerated() {
      let filters = 256 << stage
      for unit in 0..<count {
        let name = "stage\(stage + 1)_unit\(unit + 1)"
        let stride = unit == 0 && stage > 0 ? 2 : 1
        let first = relu(norm(&self, name + "_bn1", x), named: name + "_relu1")
        var body = convolution(name + "_conv1", first, filters: filters / 4, kernel: 1, bias: false)
        body = relu(norm(&self, name + "_bn2", body), named: name + "_relu2")
        if stride == 2 {
          features[size] = body
          size *= 2
        }
        body = convolution(
          name + "_conv2", body, filters: filters / 4, kernel: 3, stride: .init(stride), pad: 1, bias: false)
        body = relu(norm(&self, name + "_bn3", body), named: name + "_relu3")
        body = convolution(name + "_conv3", body, filters: filters, kernel: 1, bias: false)
        let shortcut =
          unit == 0
          ? convolution(name + "_sc", first, filters: filters, kernel: 1, stride: .init(stride), bias: false) : x
        x = add(body, shortcut)
      }
    }
    features[size] = relu(norm(&self, "bn1", x), named: "relu1")
    return features
  }
}
