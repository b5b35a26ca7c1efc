// Batch normalisation with MXNet's running statistics, fused with PReLU on the CPU.

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "Border.h"
#include "Convolution.h"
#include "Parallel.h"

using namespace border;

namespace {

/// [N, C] or [N, C, H, W] as rows of channels: contiguous in the order N, H, W, C.
at::Tensor asRows(const at::Tensor &x) {
  return x.dim() == 4 ? x.contiguous(c10::MemoryFormat::ChannelsLast) : x.contiguous();
}

/// A new tensor like `x` (which asRows has laid out) with the same order in memory.
at::Tensor emptyRows(const at::Tensor &x) {
  return x.dim() == 4 ? emptyChannelsLast(x.sizes(), x.options()) : at::empty(x.sizes(), x.options());
}

const float *data(const at::Tensor &t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }

bool fits(const at::Tensor &x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.numel() > 0; }

struct Statistics {
  at::Tensor mean, variance;
};

Statistics statistics(const at::Tensor &rows) {
  const int64_t channels = rows.size(1);
  Statistics s{at::empty({channels}, rows.options()), at::empty({channels}, rows.options())};
  ck_channel_statistics(data(rows), rows.numel() / channels, channels, s.mean.mutable_data_ptr<float>(),
                        s.variance.mutable_data_ptr<float>(), parallelLoop());
  return s;
}

/// A normalisation with the statistics that it uses: y = prelu(x * scale + shift).
struct Normalisation {
  at::Tensor rows, mean, variance, scale, shift, slope;
  double eps;
  bool training;

  static Normalisation make(const at::Tensor &x, const at::Tensor &gamma, const at::Tensor &beta,
                            const std::optional<at::Tensor> &slope, const at::Tensor &mean, const at::Tensor &variance,
                            double eps, bool training) {
    at::Tensor scale = gamma.contiguous() * (variance + eps).rsqrt();
    return {asRows(x), mean, variance, scale, beta - mean * scale, slope ? slope->contiguous() : at::Tensor(), eps,
            training};
  }

  at::Tensor output() const {
    at::Tensor y = emptyRows(rows);
    const int64_t channels = rows.size(1);
    ck_affine_prelu(data(rows), rows.numel() / channels, channels, data(scale), data(shift), data(slope),
                    y.mutable_data_ptr<float>(), parallelLoop());
    return y;
  }

  void save(torch::autograd::AutogradContext *ctx, const at::Tensor &more = {}, const at::Tensor &bias = {}) const {
    ctx->save_for_backward({rows, mean, variance, scale, shift, slope, more, bias});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["training"] = training;
  }

  static Normalisation saved(torch::autograd::AutogradContext *ctx, const torch::autograd::variable_list &v) {
    return {v[0], v[1], v[2], v[3], v[4], v[5], ctx->saved_data["eps"].toDouble(), ctx->saved_data["training"].toBool()};
  }

  struct Gradients {
    at::Tensor x, gamma, beta, slope;
  };

  /// With `overwrites` the gradient's memory becomes that of the input's gradient: nobody else may hold it.
  Gradients backward(const at::Tensor &gradient, bool needsInput, bool overwrites = false) const {
    const int64_t channels = rows.size(1), count = rows.numel() / channels;
    at::Tensor dy = asRows(gradient);
    at::Tensor sumG = at::empty_like(mean), sumGX = at::empty_like(mean);
    at::Tensor gradSlope = slope.defined() ? at::empty_like(mean) : at::Tensor();
    ck_batch_norm_reduce(data(rows), data(dy), count, channels, data(mean), data(scale), data(shift), data(slope),
                         sumG.mutable_data_ptr<float>(), sumGX.mutable_data_ptr<float>(),
                         slope.defined() ? gradSlope.mutable_data_ptr<float>() : nullptr, parallelLoop());
    at::Tensor dx;
    if (needsInput) {
      at::Tensor offset = training ? sumG / count : at::zeros_like(sumG);
      at::Tensor factor = training ? sumGX / count / (variance + eps) : at::zeros_like(sumG);
      dx = overwrites ? dy : emptyRows(rows);
      ck_batch_norm_input_gradient(data(rows), data(dy), count, channels, data(mean), data(scale), data(shift),
                                   data(slope), data(offset), data(factor), dx.mutable_data_ptr<float>(),
                                   parallelLoop());
    }
    return {dx, sumGX * (variance + eps).rsqrt(), sumG, gradSlope};
  }
};

/// x -> prelu((x - mean) / sqrt(variance + eps) * gamma + beta). Only x is saved; the activation is computed again.
struct FusedBatchNorm : torch::autograd::Function<FusedBatchNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &gamma,
                            const at::Tensor &beta, const std::optional<at::Tensor> &slope, const at::Tensor &mean,
                            const at::Tensor &variance, double eps, bool training) {
    auto n = Normalisation::make(x, gamma, beta, slope, mean, variance, eps, training);
    n.save(ctx);
    return n.output();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                 torch::autograd::variable_list gradients) {
    auto g = Normalisation::saved(ctx, ctx->get_saved_variables()).backward(gradients[0], ctx->needs_input_grad(0));
    return {g.x, g.gamma, g.beta, g.slope, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// Bytes of a normalised tensor that the sparing way back holds at a time.
constexpr int64_t pieceBytes = 8 << 20;

/// The gradients of a convolution whose input is computed again, all images at once, or where memory is dear a few at a time:
/// neither the normalised tensor nor what the library makes of it in another order then exists as a whole.
ConvolutionGradients gradientsByPieces(const Normalisation &n, const at::Tensor &gradient, const at::Tensor &weight,
                                       const at::Tensor &bias, const Window &w, bool needsWeight, bool needsBias,
                                       bool sparing) {
  at::Tensor dy = asRows(gradient);
  const int64_t images = n.rows.size(0), bytes = n.rows.numel() * sizeof(float);
  if (!sparing || bytes <= 4 * pieceBytes)
    return convolutionGradients(dy, n.output(), weight, bias, w, needsWeight, needsBias);
  const int64_t count = std::max<int64_t>(1, pieceBytes / (bytes / images));
  ConvolutionGradients sum{emptyRows(n.rows), {}, {}};
  for (int64_t first = 0; first < images; first += count) {
    const int64_t some = std::min(count, images - first);
    Normalisation piece = n;
    piece.rows = n.rows.narrow(0, first, some);
    auto g = convolutionGradients(dy.narrow(0, first, some), piece.output(), weight, bias, w, needsWeight, needsBias);
    sum.input.narrow(0, first, some).copy_(g.input);
    if (needsWeight) sum.weight = sum.weight.defined() ? sum.weight.add_(g.weight) : g.weight;
    if (needsBias) sum.bias = sum.bias.defined() ? sum.bias.add_(g.bias) : g.bias;
  }
  return sum;
}

/// The same, then a convolution of the result. The normalised tensor is not kept for the backward pass but computed again:
/// a network stores one tensor a layer instead of two.
struct FusedNormConvolution : torch::autograd::Function<FusedNormConvolution> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &gamma,
                            const at::Tensor &beta, const std::optional<at::Tensor> &slope, const at::Tensor &weight,
                            const std::optional<at::Tensor> &bias, const at::Tensor &mean, const at::Tensor &variance,
                            double eps, bool training, const Window &w, bool sparing) {
    auto n = Normalisation::make(x, gamma, beta, slope, mean, variance, eps, training);
    n.save(ctx, weight, bias ? *bias : at::Tensor());
    ctx->saved_data["stride"] = w.stride;
    ctx->saved_data["padding"] = w.padding;
    ctx->saved_data["dilation"] = w.dilation;
    ctx->saved_data["groups"] = w.groups;
    ctx->saved_data["sparing"] = sparing;
    return convolution(n.output(), weight, bias, w);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                 torch::autograd::variable_list gradients) {
    auto saved = ctx->get_saved_variables();
    auto n = Normalisation::saved(ctx, saved);
    const at::Tensor &weight = saved[6], &bias = saved[7];
    // Only tensors that are there are counted: without a slope the weight is the fourth.
    const size_t weightIndex = n.slope.defined() ? 4 : 3;
    const bool needsBias = bias.defined() && ctx->needs_input_grad(weightIndex + 1);
    auto c = gradientsByPieces(
        n, gradients[0], weight, bias,
        {ctx->saved_data["stride"].toIntVector(), ctx->saved_data["padding"].toIntVector(),
         ctx->saved_data["dilation"].toIntVector(), ctx->saved_data["groups"].toInt()},
        ctx->needs_input_grad(weightIndex), needsBias, ctx->saved_data["sparing"].toBool());
    auto g = n.backward(c.input, ctx->needs_input_grad(0), /*overwrites=*/true);
    at::Tensor none;
    return {g.x, g.gamma, g.beta, g.slope, c.weight, c.bias, none, none, none, none, none, none};
  }
};

void move(at::Tensor running, const at::Tensor &batch, double momentum) {
  running.mul_(momentum).add_(batch, 1 - momentum);
}

/// The normalisation, and the convolution behind it where there is one.
at::Tensor batchNorm(const at::Tensor &x, const at::Tensor &gamma, const at::Tensor &beta, const at::Tensor &mean,
                     const at::Tensor &variance, const std::optional<at::Tensor> &slope, bool training, bool update,
                     double momentum, double eps, bool composed, const at::Tensor &weight = {},
                     const std::optional<at::Tensor> &bias = {}, const Window &window = {}, bool sparing = false) {
  TORCH_CHECK(x.dim() == 2 || x.dim() == 4, "batch_norm: expected [N, C] or [N, C, H, W], got ", x.sizes());
  for (const at::Tensor *t : {&gamma, &beta, &mean, &variance})
    TORCH_CHECK(t->dim() == 1 && t->size(0) == x.size(1), "batch_norm: input ", x.sizes(), " has ", x.size(1),
                " channels, a parameter has shape ", t->sizes());
  TORCH_CHECK(!slope || (slope->dim() == 1 && slope->size(0) == x.size(1)), "batch_norm: input ", x.sizes(),
              " and PReLU slope ", slope ? slope->sizes() : at::IntArrayRef());
  if (fits(x) && !composed) {
    Statistics s{mean, variance};
    if (training) {
      c10::AutoGradMode off(false);
      s = statistics(asRows(x));
      if (update) move(mean, s.mean, momentum), move(variance, s.variance, momentum);
    }
    // The running statistics may be updated before backward runs: evaluation takes copies, training owns its own.
    if (!training) s = {mean.detach().clone(), variance.detach().clone()};
    // In half precision the convolution takes another type than the normalisation: autograd keeps both apart.
    const bool isHalf = at::autocast::is_autocast_enabled(at::kCPU);
    if (weight.defined() && !isHalf && weight.scalar_type() == at::kFloat)
      return FusedNormConvolution::apply(x, gamma, beta, slope, weight, bias, s.mean, s.variance, eps, training,
                                         window, sparing);
    at::Tensor normalised = FusedBatchNorm::apply(x, gamma, beta, slope, s.mean, s.variance, eps, training);
    return weight.defined()
               ? at::conv2d(normalised, weight, bias, window.stride, window.padding, window.dilation, window.groups)
               : normalised;
  }
  // Half precision keeps its type from input to output; statistics and arithmetic are float32 inside.
  at::Tensor y;
  if (training) {
    auto [out, batchMean, invStd] = at::native_batch_norm(x, gamma, beta, {}, {}, true, 1 - momentum, eps);
    y = out;
    if (update) {
      c10::AutoGradMode off(false);
      move(mean, batchMean, momentum);
      move(variance, invStd.pow(-2) - eps, momentum);
    }
  } else {
    y = std::get<0>(at::native_batch_norm(x, gamma, beta, mean, variance, false, 1 - momentum, eps));
  }
  if (slope) y = at::prelu(y, slope->to(y.scalar_type()));
  return weight.defined()
             ? at::conv2d(y, weight, bias, window.stride, window.padding, window.dilation, window.groups)
             : y;
}

}  // namespace

extern "C" ct_tensor_t ct_batch_norm(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, ct_tensor_t mean,
                                     ct_tensor_t variance, ct_tensor_t slope, bool training, bool update,
                                     double momentum, double eps, bool composed, char **error) {
  return guard(error, [&] {
    auto s = slope ? std::optional<at::Tensor>(wrap(slope)) : std::nullopt;
    return take(batchNorm(wrap(x), wrap(gamma), wrap(beta), wrap(mean), wrap(variance), s, training, update, momentum,
                          eps, composed));
  });
}

extern "C" ct_tensor_t ct_norm_conv2d(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, ct_tensor_t mean,
                                      ct_tensor_t variance, ct_tensor_t slope, bool training, bool update,
                                      double momentum, double eps, ct_tensor_t weight, ct_tensor_t bias,
                                      const int64_t stride[2], const int64_t padding[2], const int64_t dilation[2],
                                      int64_t groups, bool sparing, char **error) {
  return guard(error, [&] {
    auto s = slope ? std::optional<at::Tensor>(wrap(slope)) : std::nullopt;
    auto b = bias ? std::optional<at::Tensor>(wrap(bias)) : std::nullopt;
    Window window = {{stride, stride + 2}, {padding, padding + 2}, {dilation, dilation + 2}, groups};
    return take(batchNorm(wrap(x), wrap(gamma), wrap(beta), wrap(mean), wrap(variance), s, training, update, momentum,
                          eps, /*composed=*/false, wrap(weight), b, window, sparing));
  });
}

extern "C" ct_tensor_t ct_prelu(ct_tensor_t x, ct_tensor_t slope, char **error) {
  return guard(error, [&] {
    at::Tensor t = wrap(x);
    return take(at::prelu(t, wrap(slope).to(t.scalar_type())));
  });
}
