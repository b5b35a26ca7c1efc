import Inference

/// RetinaFace as the widespread PyTorch port builds and names it (biubug6/Pytorch_Retinaface, models/).
///
/// Its weights do not fit the reference's network: leaky rectifiers, no bias under normalisation, other priors. Input:
/// BGR minus (104, 117, 123), any size. Outputs, over P priors: box deltas (N, P, 4), class probabilities (N, P, 2),
/// landmark deltas (N, P, 10); priors from stride 8 up, row by row, the smaller first.
public struct PyTorchRetinaFace: Sendable, Hashable {
  /// What computes the features.
  public enum Backbone: String, Sendable, Hashable, CaseIterable {
    /// MobileNet v1 with a quarter of its channels: `mobile0.25`.
    case mobileNet025 = "mobile0.25"
    /// torchvision's ResNet-50: `resnet50`.
    case resNet50 = "resnet50"
  }

  /// What computes the features.
  public var backbone: Backbone

  /// A network on this backbone.
  public init(backbone: Backbone = .mobileNet025) { self.backbone = backbone }

  /// The network without weights; parameters are called as in the port's state dictionary.
  ///
  /// - Throws: `GraphError` for a size that the network cannot take.
  public func graph(height: Int = 640, width: Int = 640) throws(GraphError) -> NetworkGraph {
    var g = GraphBuilder(input: "input0", channels: 3, height: height, width: width)
    let maps: [GraphBuilder.Value]
    let filters: Int
    switch backbone {
    case .mobileNet025: (maps, filters) = (g.portMobileNet(g.input), 64)
    case .resNet50: (maps, filters) = (g.portResNet50(g.input), 256)
    }
    let slope = filters <= 64 ? 0.1 : 0.0
    var lateral: [GraphBuilder.Value] = []
    for (index, map) in maps.enumerated() {
      lateral.append(g.portBlock("fpn.output\(index + 1)", map, filters: filters, kernel: 1, slope: slope))
    }
    let fromTop = g.upsampled("fpn.up3", lateral[2], like: lateral[1])
    let middle = g.portBlock("fpn.merge2", g.add(lateral[1], fromTop), filters: filters, kernel: 3, slope: slope)
    let fromMiddle = g.upsampled("fpn.up2", middle, like: lateral[0])
    let fine = g.portBlock("fpn.merge1", g.add(lateral[0], fromMiddle), filters: filters, kernel: 3, slope: slope)

    var heads: [[GraphBuilder.Value]] = [[], [], []]
    for (index, level) in [fine, middle, lateral[2]].enumerated() {
      let features = g.portContextModule("ssh\(index + 1)", level, filters: filters, slope: slope)
      for (kind, (name, width)) in [("BboxHead", 4), ("ClassHead", 2), ("LandmarkHead", 10)].enumerated() {
        let convolution = g.add(
          .convolution(.init(filters: 2 * width, kernel: 1, bias: true)), [features], named: "\(name).\(index).conv1x1",
          parameters: ["\(name).\(index).conv1x1.weight", "\(name).\(index).conv1x1.bias"])
        let rows = g.transpose(convolution, [0, 2, 3, 1], named: "\(name).\(index).permute")
        heads[kind].append(g.reshape(rows, [0, -1, .size(width)], named: "\(name).\(index).view"))
      }
    }
    let boxes = g.concat(heads[0], axis: 1, named: "bbox")
    let classes = g.softmax(g.concat(heads[1], axis: 1, named: "classifications"), axis: -1, named: "confidence")
    let landmarks = g.concat(heads[2], axis: 1, named: "landmark")
    return try g.finish(
      boxes, classes, landmarks,
      preprocessing: Preprocessing(
        colourOrder: .bgr, height: height, width: width, mean: [104, 117, 123], scale: [1], isInsideGraph: false))
  }
}

extension GraphBuilder {
  /// Convolution without bias, normalisation and, where a slope is given, a leaky rectifier: `name.0`, `name.1`, `name.2`.
  mutating func portBlock(
    _ name: String, _ x: Value, filters: Int, kernel: Int, stride: Int = 1, groups: Int = 1, first: Int = 0,
    slope: Double?
  ) -> Value {
    let convolution = portConvolution(
      "\(name).\(first)", x, filters: filters, kernel: kernel, stride: stride, groups: groups)
    let normalised = portNorm("\(name).\(first + 1)", convolution)
    guard let slope else { return normalised }
    return activation(normalised, slope == 0 ? .relu : .leakyRelu(slope: slope), named: "\(name).\(first + 2)")
  }

  /// Convolution without bias, padded by half its kernel.
  mutating func portConvolution(
    _ name: String, _ x: Value, filters: Int, kernel: Int, stride: Int = 1, groups: Int = 1
  ) -> Value {
    let convolution = Operation.Convolution(
      filters: filters, kernel: .init(kernel), stride: .init(stride), pad: .init(.init(kernel / 2)), groups: groups,
      bias: false)
    return add(.convolution(convolution), [x], named: name, parameters: [name + ".weight"])
  }

  /// Batch normalisation with PyTorch's constants and names.
  mutating func portNorm(_ name: String, _ x: Value) -> Value {
    let norm = Operation.BatchNorm(epsilon: 1e-5, momentum: 0.9, fixGamma: false, axis: 1)
    return add(
      .batchNorm(norm), [x], named: name,
      parameters: [".weight", ".bias", ".running_mean", ".running_var"].map { name + $0 })
  }

  /// The SSH context module.
  mutating func portContextModule(_ name: String, _ x: Value, filters: Int, slope: Double) -> Value {
    let field3 = portBlock(name + ".conv3X3", x, filters: filters / 2, kernel: 3, slope: nil)
    let reduced = portBlock(name + ".conv5X5_1", x, filters: filters / 4, kernel: 3, slope: slope)
    let field5 = portBlock(name + ".conv5X5_2", reduced, filters: filters / 4, kernel: 3, slope: nil)
    let deeper = portBlock(name + ".conv7X7_2", reduced, filters: filters / 4, kernel: 3, slope: slope)
    let field7 = portBlock(name + ".conv7x7_3", deeper, filters: filters / 4, kernel: 3, slope: nil)
    return relu(concat([field3, field5, field7], named: name + ".concat"), named: name + ".relu")
  }

  /// MobileNet v1 with a quarter of the channels: maps of strides 8, 16 and 32.
  mutating func portMobileNet(_ input: Value) -> [Value] {
    let slope = 0.1
    let stages: [[(filters: Int, stride: Int)]] = [
      [(8, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)],
      [(128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (128, 1)], [(256, 2), (256, 1)],
    ]
    var x = input
    var maps: [Value] = []
    for (stage, blocks) in stages.enumerated() {
      for (index, block) in blocks.enumerated() {
        let name = "body.stage\(stage + 1).\(index)"
        if stage == 0, index == 0 {
          x = portBlock(name, x, filters: block.filters, kernel: 3, stride: block.stride, slope: slope)
          continue
        }
        let width = channels(of: x)
        x = portBlock(name, x, filters: width, kernel: 3, stride: block.stride, groups: width, slope: slope)
        x = portBlock(name, x, filters: block.filters, kernel: 1, first: 3, slope: slope)
      }
      maps.append(x)
    }
    return maps
  }

  /// torchvision's ResNet-50 (v1.5, the stride in the 3×3 convolution): maps of strides 8, 16 and 32.
  mutating func portResNet50(_ input: Value) -> [Value] {
    var x = portConvolution("body.conv1", input, filters: 64, kernel: 7, stride: 2)
    x = relu(portNorm("body.bn1", x), named: "body.relu")
    x = maxPool(x, kernel: 3, stride: 2, pad: 1, named: "body.maxpool")
    var maps: [Value] = []
    for (stage, count) in [3, 4, 6, 3].enumerated() {
      let filters = 64 << stage
      for unit in 0..<count {
        let name = "body.layer\(stage + 1).\(unit)"
        let stride = unit == 0 && stage > 0 ? 2 : 1
        var body = portConvolution(name + ".conv1", x, filters: filters, kernel: 1)
        body = relu(portNorm(name + ".bn1", body), named: name + ".relu1")
        body = portConvolution(name + ".conv2", body, filters: filters, kernel: 3, stride: stride)
        body = relu(portNorm(name + ".bn2", body), named: name + ".relu2")
        body = portNorm(name + ".bn3", portConvolution(name + ".conv3", body, filters: 4 * filters, kernel: 1))
        if unit == 0 {
          let shortcut = portConvolution(name + ".downsample.0", x, filters: 4 * filters, kernel: 1, stride: stride)
          x = portNorm(name + ".downsample.1", shortcut)
        }
        x = relu(add(body, x, named: name + ".add"), named: name + ".relu3")
      }
      if stage > 0 { maps.append(x) }
    }
    return maps
  }
}
