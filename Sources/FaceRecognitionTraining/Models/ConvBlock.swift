import Torch

/// What stands behind a normalised convolution (`net_act`).
public enum ActivationKind: String, CaseIterable, Codable, Sendable {
  case prelu, relu, sigmoid, tanh
}

/// Convolution without bias, batch normalisation, activation: `Conv` and (without activation) `Linear` of the
/// reference's `fmobilefacenet.py`.
final class ConvBlock: Module {
  let conv: Conv2d
  let bn: BatchNorm
  let prelu: PReLU?
  let activation: ActivationKind?

  init(conv: Conv2d, bn: BatchNorm, prelu: PReLU?, activation: ActivationKind?) {
    self.conv = conv
    self.bn = bn
    self.prelu = prelu
    self.activation = activation
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let y = bn(conv(x), then: prelu)
    switch activation {
    case .relu: return y.relu()
    case .sigmoid: return y.sigmoid()
    case .tanh: return y.tanh()
    case .prelu, nil: return y
    }
  }

  /// Makes blocks that share a network's settings.
  struct Maker {
    let activation: ActivationKind
    let momentum: Double

    /// A block named as in the reference.
    ///
    /// The layers are `<name>_conv2d`, `<name>_batchnorm`, `<name>_relu`. Padding keeps the size unless it is given.
    func callAsFunction(
      _ name: String, _ inChannels: Int, _ outChannels: Int, kernel: Int, stride: Int = 1, padding: Int? = nil,
      groups: Int = 1, linear: Bool = false
    ) -> ConvBlock {
      ConvBlock(
        conv: Conv2d(
          "\(name)_conv2d", inChannels, outChannels, kernel: kernel, stride: stride, padding: padding ?? kernel / 2,
          groups: groups),
        bn: BatchNorm("\(name)_batchnorm", outChannels, eps: 1e-3, momentum: momentum),
        prelu: linear || activation != .prelu ? nil : PReLU("\(name)_relu", outChannels),
        activation: linear ? nil : activation)
    }
  }
}
