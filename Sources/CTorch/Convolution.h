// Convolutions of the training path: Winograd's form where it is faster, else LibTorch's.
#ifndef CTORCH_CONVOLUTION_H
#define CTORCH_CONVOLUTION_H

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace border {

struct Window {
  std::vector<int64_t> stride, padding, dilation;
  int64_t groups;
};

/// A new tensor of this shape whose order in memory is N, H, W, C, whatever its ambiguous strides say.
at::Tensor emptyChannelsLast(at::IntArrayRef sizes, const at::TensorOptions &options);

/// [N, C, H, W] with weight [F, C / groups, kh, kw] -> [N, F, H', W']; not differentiable.
at::Tensor convolution(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                       const Window &w);

struct ConvolutionGradients {
  at::Tensor input, weight, bias;
};

/// The gradients of `convolution` for that of its result; weight's and bias's where they are asked for.
ConvolutionGradients convolutionGradients(const at::Tensor &gradient, const at::Tensor &x, const at::Tensor &weight,
                                          const at::Tensor &bias, const Window &w, bool needsWeight, bool needsBias);

}  // namespace border
#endif
