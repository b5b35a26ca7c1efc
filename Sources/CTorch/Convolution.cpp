// Convolutions of the training path: Winograd's form where it is faster, else LibTorch's.

#include "Convolution.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "Border.h"
#include "CKInference.h"
#include "Parallel.h"

namespace border {

at::Tensor emptyChannelsLast(at::IntArrayRef sizes, const at::TensorOptions &options) {
  return at::empty(sizes, options.memory_format(c10::MemoryFormat::ChannelsLast));
}

namespace {

/// Tiles of 2 x 2 outputs: results and gradients stay within 2e-6 of float64 by norm; 4 x 4 loses a digit.
constexpr int tile = 2;

/// Whether Winograd's form is expected to be faster for an output of this size. Costs are counted in operations at the speed of
/// the inner loop, as the inference plan counts them; the weights change with each step, so that their transform counts too.
bool isFaster(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t filters) {
  const double pairs = (double)channels * filters, rows = (double)images * height * width;
  const double tiles = (double)images * ((height + 1) / 2) * ((width + 1) / 2);
  const double direct = 18 * rows * pairs;
  const double winograd = 32 * tiles * pairs + 184 * tiles * (channels + filters) + (512 + 850) * pairs;
  return winograd < 0.9 * direct;
}

bool takesWinograd(const at::Tensor &x, const at::Tensor &weight, const Window &w) {
  const std::vector<int64_t> ones = {1, 1};
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && x.dim() == 4 &&
         x.numel() > 0 && weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 && w.groups == 1 &&
         w.stride == ones && w.dilation == ones && w.padding[0] <= 2 && w.padding[1] <= 2 && weight.size(0) >= 16 &&
         weight.size(1) >= 16 && weight.size(1) == x.size(1) && x.size(2) + 2 * w.padding[0] >= 3 &&
         x.size(3) + 2 * w.padding[1] >= 3 &&
         isFaster(x.size(0), x.size(2) + 2 * w.padding[0] - 2, x.size(3) + 2 * w.padding[1] - 2, x.size(1),
                  weight.size(0));
}

/// A convolution of x [N, C, H, W] that lies in the order N, H, W, C; it may not outlive `x`.
struct Winograd {
  const at::Tensor &x;
  ck_convolution c = {};
  int32_t top, left;
  ck_parallel parallel = parallelLoop();
  at::Tensor padding;

  Winograd(const at::Tensor &x, int64_t filters, int64_t paddingY, int64_t paddingX)
      : x(x), top((int32_t)-paddingY), left((int32_t)-paddingX) {
    c.batch = x.size(0), c.channels = x.size(1), c.in_height = x.size(2), c.in_width = x.size(3);
    c.in_pixel = x.size(1), c.groups = 1, c.filters = filters, c.step_y = 1, c.step_x = 1, c.taps = 9;
    c.out_height = c.in_height + 2 * paddingY - 2, c.out_width = c.in_width + 2 * paddingX - 2;
    c.out_pixel = filters, c.out_row = filters * c.out_width, c.out_image = c.out_row * c.out_height;
    c.tap_y = &top, c.tap_x = &left;
    padding = at::zeros({c.channels}, x.options().memory_format(c10::MemoryFormat::Contiguous));
    c.padding = padding.const_data_ptr<float>();
  }
  Winograd(const Winograd &) = delete;

  at::Tensor floats(int64_t count) const {
    return at::empty({count}, x.options().memory_format(c10::MemoryFormat::Contiguous));
  }

  /// The result, for weights that lie as `steps` says.
  at::Tensor result(const float *weights, ck_filter_steps steps) {
    at::Tensor packed = floats(ck_winograd_weights_size(tile, c.channels, c.filters));
    at::Tensor scratch = floats(ck_winograd_scratch_size(tile, &c, parallel.workers));
    ck_winograd_pack(tile, weights, steps, c.channels, c.filters, packed.mutable_data_ptr<float>(), parallel);
    c.weights = packed.const_data_ptr<float>();
    at::Tensor y = emptyChannelsLast({c.batch, c.filters, c.out_height, c.out_width}, x.options());
    ck_winograd(tile, &c, x.const_data_ptr<float>(), nullptr, y.mutable_data_ptr<float>(),
                scratch.mutable_data_ptr<float>(), parallel);
    return y;
  }

  /// The weights' gradient, laid out like `weight`, for that of the result in the order N, H, W, C.
  at::Tensor weightGradient(const at::Tensor &gradient, const at::Tensor &weight) {
    at::Tensor dw = at::empty_like(weight);
    at::Tensor scratch = floats(ck_winograd_weight_gradient_scratch_size(&c));
    ck_winograd_weight_gradient(&c, x.const_data_ptr<float>(), gradient.const_data_ptr<float>(),
                                dw.mutable_data_ptr<float>(), steps(dw), scratch.mutable_data_ptr<float>(), parallel);
    return dw;
  }

  static ck_filter_steps steps(const at::Tensor &weight) {
    const at::IntArrayRef s = weight.strides();
    return {s[0], s[1], s[2], s[3]};
  }
};

}  // namespace

at::Tensor convolution(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias,
                       const Window &w) {
  if (bias || !takesWinograd(x, weight, w))
    return at::conv2d(x, weight, bias, w.stride, w.padding, w.dilation, w.groups);
  const at::Tensor rows = x.contiguous(c10::MemoryFormat::ChannelsLast);
  return Winograd(rows, weight.size(0), w.padding[0], w.padding[1])
      .result(weight.const_data_ptr<float>(), Winograd::steps(weight));
}

ConvolutionGradients convolutionGradients(const at::Tensor &gradient, const at::Tensor &x, const at::Tensor &weight,
                                          const at::Tensor &bias, const Window &w, bool needsWeight, bool needsBias) {
  if (bias.defined() || !takesWinograd(x, weight, w)) {
    auto [dx, dw, db] = at::convolution_backward(
        gradient, x, weight, bias.defined() ? at::OptionalIntArrayRef(bias.sizes()) : at::OptionalIntArrayRef(),
        w.stride, w.padding, w.dilation, false, {0, 0}, w.groups, {true, needsWeight, needsBias});
    return {dx, dw, db};
  }
  const at::Tensor dy = gradient.contiguous(c10::MemoryFormat::ChannelsLast);
  // The input's gradient is a convolution of the result's with the weights turned round, channels and filters exchanged.
  const ck_filter_steps s = Winograd::steps(weight);
  ConvolutionGradients result;
  result.input = Winograd(dy, weight.size(1), 2 - w.padding[0], 2 - w.padding[1])
                     .result(weight.const_data_ptr<float>() + 2 * s.row + 2 * s.column,
                             {s.channel, s.filter, -s.row, -s.column});
  if (needsWeight) {
    const at::Tensor rows = x.contiguous(c10::MemoryFormat::ChannelsLast);
    result.weight = Winograd(rows, weight.size(0), w.padding[0], w.padding[1]).weightGradient(dy, weight);
  }
  return result;
}

}  // namespace border
