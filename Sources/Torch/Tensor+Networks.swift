internal import CTorch

extension Tensor {
  /// The matrix product, batched over leading dimensions.
  public func matmul(_ other: Tensor) -> Tensor {
    tensor("matmul", [self, other]) { ct_matmul(handle, other.handle, $0) }
  }

  /// x Wᵀ + b for x [N, I], W [O, I], b [O].
  public func linear(_ weight: Tensor, bias: Tensor? = nil) -> Tensor {
    tensor("linear", [self, weight]) { ct_linear(handle, weight.handle, bias?.handle, $0) }
  }

  /// A 2-D convolution of x [N, C, H, W] with W [O, C / groups, kH, kW] and b [O].
  ///
  /// The output has ⌊(H + 2·padding − dilation·(k − 1) − 1) / stride⌋ + 1 rows.
  public func conv2d(
    _ weight: Tensor, bias: Tensor? = nil, stride: (Int, Int) = (1, 1), padding: (Int, Int) = (0, 0),
    dilation: (Int, Int) = (1, 1), groups: Int = 1
  ) -> Tensor {
    tensor("conv2d", [self, weight]) {
      ct_conv2d(
        handle, weight.handle, bias?.handle, [Int64(stride.0), Int64(stride.1)], [Int64(padding.0), Int64(padding.1)],
        [Int64(dilation.0), Int64(dilation.1)], Int64(groups), $0)
    }
  }

  /// The transpose of a convolution: x [N, C, H, W], W [C, O / groups, kH, kW], b [O].
  ///
  /// The output has (H − 1) · stride − 2·padding + dilation·(k − 1) + outputPadding + 1 rows.
  public func convTranspose2d(
    _ weight: Tensor, bias: Tensor? = nil, stride: (Int, Int) = (1, 1), padding: (Int, Int) = (0, 0),
    outputPadding: (Int, Int) = (0, 0), dilation: (Int, Int) = (1, 1), groups: Int = 1
  ) -> Tensor {
    tensor("conv_transpose2d", [self, weight]) {
      ct_conv_transpose2d(
        handle, weight.handle, bias?.handle, [Int64(stride.0), Int64(stride.1)], [Int64(padding.0), Int64(padding.1)],
        [Int64(outputPadding.0), Int64(outputPadding.1)], Int64(groups), [Int64(dilation.0), Int64(dilation.1)], $0)
    }
  }

  /// Rows and columns of a constant around the image [N, C, H, W]; negative numbers cut.
  public func padded(top: Int, bottom: Int, left: Int, right: Int, value: Double = 0) -> Tensor {
    tensor("pad", [self]) { ct_pad2d(handle, [Int64(left), Int64(right), Int64(top), Int64(bottom)], value, $0) }
  }

  /// Every pixel of [N, C, H, W] repeated `scale` times in both directions.
  public func upsampledNearest(_ scale: Int) -> Tensor {
    tensor("upsample_nearest2d", [self]) { ct_upsample_nearest2d(handle, Int64(scale), $0) }
  }

  /// The largest value in each window: rows, columns.
  public func maxPool2d(
    kernel: (Int, Int), stride: (Int, Int), padding: (Int, Int) = (0, 0), ceil: Bool = false
  ) -> Tensor {
    tensor("max_pool2d", [self]) {
      ct_max_pool2d(
        handle, [Int64(kernel.0), Int64(kernel.1)], [Int64(stride.0), Int64(stride.1)],
        [Int64(padding.0), Int64(padding.1)], ceil, $0)
    }
  }

  /// The mean of each window: rows, columns.
  public func avgPool2d(
    kernel: (Int, Int), stride: (Int, Int), padding: (Int, Int) = (0, 0), ceil: Bool = false, countPadding: Bool = true
  ) -> Tensor {
    tensor("avg_pool2d", [self]) {
      ct_avg_pool2d(
        handle, [Int64(kernel.0), Int64(kernel.1)], [Int64(stride.0), Int64(stride.1)],
        [Int64(padding.0), Int64(padding.1)], ceil, countPadding, $0)
    }
  }

  /// exp(x) / Σ exp(x) over a dimension.
  public func softmax(_ dim: Int = -1) -> Tensor {
    tensor("softmax", [self]) { ct_softmax(handle, Int64(dim), false, $0) }
  }

  /// The logarithm of the softmax, computed without overflow.
  public func logSoftmax(_ dim: Int = -1) -> Tensor {
    tensor("log_softmax", [self]) { ct_softmax(handle, Int64(dim), true, $0) }
  }

  /// The mean over rows of −log softmax(logits)[label]: logits [N, K], labels int64 [N].
  public func crossEntropy(_ labels: Tensor) -> Tensor {
    tensor("cross_entropy", [self, labels]) { ct_cross_entropy(handle, labels.handle, $0) }
  }

  /// x > 0 ? x : slope · x, slope [C] over dim 1 or [1].
  public func prelu(_ slope: Tensor) -> Tensor {
    tensor("prelu", [self, slope]) { ct_prelu(handle, slope.handle, $0) }
  }

  /// x · Φ(x), exact.
  public func gelu() -> Tensor { tensor("gelu", [self]) { ct_gelu(handle, $0) } }

  /// (x − mean) / √(variance + eps) · γ + β over the last dimension, biased variance.
  ///
  /// - Parameters: gamma, beta: [D]; x: […, D].
  public func layerNorm(gamma: Tensor, beta: Tensor, eps: Double) -> Tensor {
    tensor("layer_norm", [self, gamma]) { ct_layer_norm(handle, gamma.handle, beta.handle, eps, $0) }
  }

  /// Each element zeroed with probability `rate`, the rest divided by 1 − rate.
  public func dropout(_ rate: Double, _ generator: Generator) -> Tensor {
    tensor("dropout", [self]) { ct_dropout(handle, rate, generator.handle, $0) }
  }

  /// Rows (along `dim`) divided by their Euclidean norm.
  ///
  /// MXNet's L2Normalization adds 1e-10 under the root; a row of zeros stays zero and its gradient finite.
  public func normalized(_ dim: Int = 1, eps: Double = 1e-10) -> Tensor {
    self * ((self * self).sum(dim, keepDim: true) + eps).rsqrt()
  }

  /// Batch normalisation over dim 1, fused with PReLU when a slope is given.
  ///
  /// Training normalises with the batch's mean and biased variance and, if `updatesStatistics`, moves the running
  /// statistics as MXNet's CPU kernel does on every device: running = momentum · running + (1 − momentum) · batch, with
  /// the biased variance.
  ///
  /// - Parameters: gamma, beta, mean, variance, slope: [C]; x: [N, C] or [N, C, H, W]. With `composed` LibTorch's own
  ///   operations run one after another, on the CPU too: what the fused kernel is compared with.
  public func batchNorm(
    gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, slope: Tensor? = nil, training: Bool,
    updatesStatistics: Bool = true, momentum: Double = 0.9, eps: Double, composed: Bool = false
  ) -> Tensor {
    tensor("batch_norm", [self, gamma]) {
      ct_batch_norm(
        handle, gamma.handle, beta.handle, mean.handle, variance.handle, slope?.handle, training, updatesStatistics,
        momentum, eps, composed, $0)
    }
  }

  /// `batchNorm`, then a convolution of the result; see both for the parameters.
  ///
  /// On the CPU the normalised tensor is not kept for the backward pass but computed again: a network stores one tensor a
  /// layer instead of two. With `sparing` a large one is computed a few images at a time on the way back; the weight's
  /// gradient is then a sum of parts.
  public func normalizedConv2d(
    gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, slope: Tensor? = nil, training: Bool,
    updatesStatistics: Bool = true, momentum: Double = 0.9, eps: Double, weight: Tensor, bias: Tensor? = nil,
    stride: (Int, Int) = (1, 1), padding: (Int, Int) = (0, 0), dilation: (Int, Int) = (1, 1), groups: Int = 1,
    sparing: Bool = false
  ) -> Tensor {
    tensor("normalized_conv2d", [self, gamma, weight]) {
      ct_norm_conv2d(
        handle, gamma.handle, beta.handle, mean.handle, variance.handle, slope?.handle, training, updatesStatistics,
        momentum, eps, weight.handle, bias?.handle, [Int64(stride.0), Int64(stride.1)],
        [Int64(padding.0), Int64(padding.1)], [Int64(dilation.0), Int64(dilation.1)], Int64(groups), sparing, $0)
    }
  }
}
