// Linear maps, convolutions, pooling, softmax.

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "Border.h"

using namespace border;

#define TENSOR(expression) return guard(error, [&] { return take(expression); })

static std::optional<at::Tensor> optional(ct_tensor_t t) {
  return t ? std::optional<at::Tensor>(wrap(t)) : std::nullopt;
}
static at::IntArrayRef pair(const int64_t values[2]) { return at::IntArrayRef(values, 2); }

extern "C" ct_tensor_t ct_matmul(ct_tensor_t a, ct_tensor_t b, char **error) { TENSOR(at::matmul(wrap(a), wrap(b))); }

extern "C" ct_tensor_t ct_linear(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, char **error) {
  TENSOR(at::linear(wrap(x), wrap(weight), optional(bias)));
}

extern "C" ct_tensor_t ct_gelu(ct_tensor_t x, char **error) { TENSOR(at::gelu(wrap(x), "none")); }

extern "C" ct_tensor_t ct_layer_norm(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, double eps, char **error) {
  TENSOR(at::layer_norm(wrap(x), wrap(gamma).sizes(), wrap(gamma), wrap(beta), eps));
}

extern "C" ct_tensor_t ct_conv2d(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, const int64_t stride[2],
                                 const int64_t padding[2], const int64_t dilation[2], int64_t groups, char **error) {
  TENSOR(at::conv2d(wrap(x), wrap(weight), optional(bias), pair(stride), pair(padding), pair(dilation), groups));
}

extern "C" ct_tensor_t ct_max_pool2d(ct_tensor_t x, const int64_t kernel[2], const int64_t stride[2],
                                     const int64_t padding[2], bool ceil, char **error) {
  TENSOR(at::max_pool2d(wrap(x), pair(kernel), pair(stride), pair(padding), {1, 1}, ceil));
}

extern "C" ct_tensor_t ct_avg_pool2d(ct_tensor_t x, const int64_t kernel[2], const int64_t stride[2],
                                     const int64_t padding[2], bool ceil, bool countPadding, char **error) {
  TENSOR(at::avg_pool2d(wrap(x), pair(kernel), pair(stride), pair(padding), ceil, countPadding));
}

extern "C" ct_tensor_t ct_conv_transpose2d(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, const int64_t stride[2],
                                           const int64_t padding[2], const int64_t outputPadding[2], int64_t groups,
                                           const int64_t dilation[2], char **error) {
  TENSOR(at::conv_transpose2d(wrap(x), wrap(weight), optional(bias), pair(stride), pair(padding), pair(outputPadding),
                              groups, pair(dilation)));
}

extern "C" ct_tensor_t ct_pad2d(ct_tensor_t x, const int64_t pad[4], double value, char **error) {
  TENSOR(at::constant_pad_nd(wrap(x), at::IntArrayRef(pad, 4), value));
}

extern "C" ct_tensor_t ct_upsample_nearest2d(ct_tensor_t x, int64_t scale, char **error) {
  return guard(error, [&] {
    at::Tensor image = wrap(x);
    int64_t size[2] = {image.size(2) * scale, image.size(3) * scale};
    return take(at::upsample_nearest2d(image, pair(size)));
  });
}

extern "C" ct_tensor_t ct_softmax(ct_tensor_t x, int64_t dim, bool logarithm, char **error) {
  TENSOR(logarithm ? at::log_softmax(wrap(x), dim) : at::softmax(wrap(x), dim));
}

extern "C" ct_tensor_t ct_cross_entropy(ct_tensor_t logits, ct_tensor_t labels, char **error) {
  TENSOR(at::cross_entropy_loss(wrap(logits), wrap(labels)));
}
