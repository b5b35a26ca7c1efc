import Inference

extension GraphBuilder {
  /// Turns a network's last map into the embedding as `net_output` says: `get_fc1` of the reference's symbol_utils.py.
  ///
  /// [N, C, H, W] → [N, D]. Batch normalisations have ε = 2e-5 but for the one behind GDC's convolution (1e-3).
  ///
  /// - Parameter depthwiseChannels: channels of the convolutions of GDC and SFC, which the reference leaves at 512 for all
  ///   networks but its MNASNets.
  mutating func embedding(_ x: Value, _ settings: NetworkSettings, depthwiseChannels: Int = 512) -> Value {
    switch settings.output {
    case .e: projected(dropout(headNorm("bn1", x, settings), rate: 0.4), settings)
    case .f: fullyConnected("fc1", dropout(headNorm("bn1", x, settings), rate: 0.4), units: settings.embeddingSize)
    case .g: fullyConnected("fc1", headNorm("bn1", x, settings), units: settings.embeddingSize)
    case .h: fullyConnected("fc1", x, units: settings.embeddingSize)
    case .i, .fc: projected(headNorm("bn1", x, settings), settings)
    case .j: projected(x, settings)
    case .gap: averaged(x, settings)
    case .gdc: globalDepthwise(x, settings, depthwiseChannels)
    case .gnap: normAwarePooled(x, settings)
    case .sfc: separable(x, settings, depthwiseChannels)
    }
  }

  private mutating func headNorm(_ name: String, _ x: Value, _ settings: NetworkSettings) -> Value {
    batchNorm(name, x, epsilon: 2e-5, momentum: settings.momentum)
  }

  /// Fully connected, then normalised with γ held at 1.
  private mutating func projected(_ x: Value, _ settings: NetworkSettings) -> Value {
    let y = fullyConnected("pre_fc1", x, units: settings.embeddingSize)
    return batchNorm("fc1", y, epsilon: 2e-5, momentum: settings.momentum, fixGamma: true)
  }

  private mutating func averaged(_ x: Value, _ settings: NetworkSettings) -> Value {
    let y = activation("relu1", headNorm("bn1", x, settings), settings.activation)
    let pool = add(.pooling(.init(.average, kernel: 7, isGlobal: true)), [y], named: "pool1")
    return projected(flatten(pool), settings)
  }

  /// A depthwise convolution that sees the whole map takes the place of the global average (arXiv 1804.07573).
  private mutating func globalDepthwise(_ x: Value, _ settings: NetworkSettings, _ channels: Int) -> Value {
    let y = convolution("conv_6dw7_7_conv2d", x, filters: channels, kernel: 7, groups: channels, bias: false)
    return projected(batchNorm("conv_6dw7_7_batchnorm", y, momentum: settings.momentum), settings)
  }

  /// Every place of the map is scaled to the mean norm of all places before they are averaged.
  ///
  /// The mean runs over the whole batch, as the reference computes it: one image's embedding depends on the others that
  /// it is embedded with. Momentum is 0.9 whatever the settings say, also as in the reference.
  private mutating func normAwarePooled(_ x: Value, _ settings: NetworkSettings) -> Value {
    var channels = 512
    var y = x
    if settings.embeddingSize > channels {
      channels = settings.embeddingSize
      y = convolution("convx", y, filters: channels, kernel: 1, bias: false)
      y = activation("convx_relu", batchNorm("convx_bn", y, epsilon: 2e-5), settings.activation)
    }
    y = batchNorm("bn6f", y, epsilon: 2e-5, fixGamma: true)
    let norms = activation(sum(multiply(y, y), axes: [1], keepsDimensions: true), .squareRoot)
    let factors = divide(mean(norms), norms, broadcasting: true)
    y = multiply(y, tile(factors, [1, channels, 1, 1]))
    y = add(.pooling(.init(.average, kernel: 7, isGlobal: true)), [y])
    if settings.embeddingSize < channels {
      y = batchNorm("bn6w", y, epsilon: 2e-5, fixGamma: true)
      y = fullyConnected("pre_fc1", y, units: settings.embeddingSize)
    } else {
      y = flatten(y)
    }
    return batchNorm("fc1", y, epsilon: 2e-5, fixGamma: true)
  }

  /// A separable convolution of stride 2 before the fully connected layer.
  private mutating func separable(_ x: Value, _ settings: NetworkSettings, _ channels: Int) -> Value {
    var y = headNorm("bn1", x, settings)
    y = convolution("convf", y, filters: channels, kernel: 3, stride: 2, pad: 1, groups: channels, bias: false)
    y = activation("reluf", headNorm("bnf", y, settings), settings.activation)
    y = convolution("convf2", y, filters: channels, kernel: 1)
    y = activation("reluf2", headNorm("bnf2", y, settings), settings.activation)
    return projected(y, settings)
  }

  /// Pixels as the reference's networks scale them: (x − 127.5) / 128.
  mutating func scaledPixels(_ x: Value) -> Value { multiply(subtract(x, 127.5), 0.0078125) }
}
