// Batch normalisation with MXNet's running statistics, fused with PReLU on the CPU.

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/prelu.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "Border.h"
#include "Parallel.h"

using namespace border;

namespace {

/// [N, C] or [N, C, H, W] as rows of channels: contiguous in the order N, H, W, C.
at::Tensor asRows(const at::Tensor &x) {
  return x.dim() == 4 ? x.contiguous(c10::MemoryFormat::ChannelsLast) : x.contiguous();
}

/// A new tensor like `x` (which asRows has laid out) with the same order in memory, whatever its ambiguous strides say.
at::Tensor emptyRows(const at::Tensor &x) {
  return x.dim() == 4 ? at::empty(x.sizes(), x.options().memory_format(c10::MemoryFormat::ChannelsLast))
                      : at::empty(x.sizes(), x.options());
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

/// x -> prelu((x - mean) / sqrt(variance + eps) * gamma + beta). Only x is saved; the activation is computed again.
struct FusedBatchNorm : torch::autograd::Function<FusedBatchNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &gamma,
                            const at::Tensor &beta, const std::optional<at::Tensor> &slope, const at::Tensor &mean,
                            const at::Tensor &variance, double eps, bool training) {
    at::Tensor rows = asRows(x), y = emptyRows(rows);
    const int64_t channels = rows.size(1);
    at::Tensor scale = gamma.contiguous() * (variance + eps).rsqrt(), shift = beta - mean * scale;
    at::Tensor activation = slope ? slope->contiguous() : at::Tensor();
    ck_affine_prelu(data(rows), rows.numel() / channels, channels, data(scale), data(shift), data(activation),
                    y.mutable_data_ptr<float>(), parallelLoop());
    ctx->save_for_backward({rows, mean, variance, scale, shift, activation});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["training"] = training;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                 torch::autograd::variable_list gradients) {
    auto saved = ctx->get_saved_variables();
    const at::Tensor &rows = saved[0], &mean = saved[1], &variance = saved[2], &scale = saved[3], &shift = saved[4],
                     &slope = saved[5];
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool training = ctx->saved_data["training"].toBool();
    const int64_t channels = rows.size(1), count = rows.numel() / channels;
    at::Tensor dy = asRows(gradients[0]);
    at::Tensor sumG = at::empty_like(mean), sumGX = at::empty_like(mean);
    at::Tensor gradSlope = slope.defined() ? at::empty_like(mean) : at::Tensor();
    ck_batch_norm_reduce(data(rows), data(dy), count, channels, data(mean), data(scale), data(shift), data(slope),
                         sumG.mutable_data_ptr<float>(), sumGX.mutable_data_ptr<float>(),
                         slope.defined() ? gradSlope.mutable_data_ptr<float>() : nullptr, parallelLoop());
    at::Tensor dx;
    if (ctx->needs_input_grad(0)) {
      at::Tensor offset = training ? sumG / count : at::zeros_like(sumG);
      at::Tensor factor = training ? sumGX / count / (variance + eps) : at::zeros_like(sumG);
      dx = emptyRows(rows);
      ck_batch_norm_input_gradient(data(rows), data(dy), count, channels, data(mean), data(scale), data(shift),
                                   data(slope), data(offset), data(factor), dx.mutable_data_ptr<float>(),
                                   parallelLoop());
    }
    at::Tensor gradGamma = sumGX * (variance + eps).rsqrt();
    return {dx, gradGamma, sumG, gradSlope, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void move(at::Tensor running, const at::Tensor &batch, double momentum) {
  running.mul_(momentum).add_(batch, 1 - momentum);
}

at::Tensor batchNorm(const at::Tensor &x, const at::Tensor &gamma, const at::Tensor &beta, const at::Tensor &mean,
                     const at::Tensor &variance, const std::optional<at::Tensor> &slope, bool training, bool update,
                     double momentum, double eps) {
  TORCH_CHECK(x.dim() == 2 || x.dim() == 4, "batch_norm: expected [N, C] or [N, C, H, W], got ", x.sizes());
  for (const at::Tensor *t : {&gamma, &beta, &mean, &variance})
    TORCH_CHECK(t->dim() == 1 && t->size(0) == x.size(1), "batch_norm: input ", x.sizes(), " has ", x.size(1),
                " channels, a parameter has shape ", t->sizes());
  TORCH_CHECK(!slope || (slope->dim() == 1 && slope->size(0) == x.size(1)), "batch_norm: input ", x.sizes(),
              " and PReLU slope ", slope ? slope->sizes() : at::IntArrayRef());
  if (fits(x)) {
    Statistics s{mean, variance};
    if (training) {
      c10::AutoGradMode off(false);
      s = statistics(asRows(x));
      if (update) move(mean, s.mean, momentum), move(variance, s.variance, momentum);
    }
    // The running statistics may be updated before backward runs: evaluation takes copies, training owns its own.
    if (!training) s = {mean.detach().clone(), variance.detach().clone()};
    return FusedBatchNorm::apply(x, gamma, beta, slope, s.mean, s.variance, eps, training);
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
  return slope ? at::prelu(y, slope->to(y.scalar_type())) : y;
}

}  // namespace

extern "C" ct_tensor_t ct_batch_norm(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, ct_tensor_t mean,
                                     ct_tensor_t variance, ct_tensor_t slope, bool training, bool update,
                                     double momentum, double eps, char **error) {
  return guard(error, [&] {
    auto s = slope ? std::optional<at::Tensor>(wrap(slope)) : std::nullopt;
    return take(batchNorm(wrap(x), wrap(gamma), wrap(beta), wrap(mean), wrap(variance), s, training, update, momentum,
                          eps));
  });
}

extern "C" ct_tensor_t ct_prelu(ct_tensor_t x, ct_tensor_t slope, char **error) {
  return guard(error, [&] {
    at::Tensor t = wrap(x);
    return take(at::prelu(t, wrap(slope).to(t.scalar_type())));
  });
}
