// The margin-softmax head in blocks of classes: four products of matrices, and never the matrix of logits.

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "Border.h"
#include "Parallel.h"

using namespace border;

namespace {

/// Floats in the block of logits and the block of gradients together: 16 MiB.
constexpr int64_t blockFloats = 4 << 20;

struct Head {
  at::Tensor x, labels, target, slope, weight, momentum, gradient;
  float scale, eps, lr, mom, wd;

  int64_t rows() const { return x.size(0); }
  int64_t width() const { return x.size(1); }
  int64_t classes() const { return weight.size(0); }

  void check() const {
    auto plain = [](const at::Tensor &t) { return t.is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous(); };
    TORCH_CHECK(plain(x) && plain(weight) && plain(target) && plain(slope) && labels.is_contiguous() &&
                    labels.scalar_type() == at::kLong,
                "margin softmax: contiguous float32 tensors on the CPU and int64 labels");
    TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1), "margin softmax: embeddings ",
                x.sizes(), ", weight ", weight.sizes());
    TORCH_CHECK(labels.numel() == rows() && target.numel() == rows() && slope.numel() == rows(),
                "margin softmax: ", rows(), " embeddings, ", labels.numel(), " labels");
    const at::Tensor &second = momentum.defined() ? momentum : gradient;
    TORCH_CHECK(second.defined() && plain(second) && second.sizes() == weight.sizes(),
                "margin softmax: momentum or gradient must have the weight's shape ", weight.sizes());
    const int64_t *label = labels.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < rows(); ++i)
      TORCH_CHECK(label[i] >= 0 && label[i] < classes(), "margin softmax: label ", label[i], " of ", classes());
  }

  void run(ct_tensor_t results[4]) {
    const int64_t N = rows(), D = width(), K = classes();
    const int64_t block = std::min(K, std::max<int64_t>(64, blockFloats / (N + D) / 64 * 64));
    auto options = x.options();
    at::Tensor reciprocal = at::empty({K}, options), logits = at::empty({N * block}, options);
    at::Tensor maximum = at::full({N}, -std::numeric_limits<float>::infinity(), options);
    at::Tensor sum = at::zeros({N}, options), rescaling = at::empty({N}, options);
    at::Tensor best = at::zeros({N}, labels.options()), xGradient = at::zeros({N, D}, options);
    ck_parallel parallel = parallelLoop();
    ck_row_norms(weight.const_data_ptr<float>(), K, D, eps, reciprocal.mutable_data_ptr<float>(), parallel);

    ck_margin_block b = {};
    b.labels = labels.const_data_ptr<int64_t>();
    b.target = target.const_data_ptr<float>();
    b.scale = scale;
    b.maximum = maximum.mutable_data_ptr<float>();
    b.sum = sum.mutable_data_ptr<float>();
    b.rescaling = rescaling.mutable_data_ptr<float>();
    b.best = best.mutable_data_ptr<int64_t>();
    b.mean_factor = 1.0f / N;
    auto take_block = [&](int64_t first) {
      const int64_t n = std::min(block, K - first);
      b.classes = n;
      b.first_class = first;
      b.reciprocal = reciprocal.const_data_ptr<float>() + first;
      at::Tensor z = logits.narrow(0, 0, N * n).view({N, n});
      at::Tensor w = weight.narrow(0, first, n);
      at::mm_out(z, x, w.t());
      b.logits = z.mutable_data_ptr<float>();
      return std::pair<at::Tensor, at::Tensor>(z, w);
    };

    for (int64_t first = 0; first < K; first += block) {
      auto [z, w] = take_block(first);
      ck_margin_forward(&b, N, parallel);
      // What was summed up below a lower maximum shrinks, then this block's part comes in.
      xGradient.mul_(rescaling.unsqueeze(1));
      at::addmm_out(xGradient, xGradient, z, w);
    }
    // d loss / d x = scale / N * softmax of the other classes.
    xGradient.div_(sum.unsqueeze(1)).mul_(scale / N);

    at::Tensor logSum = maximum + sum.log();
    results[0] = take(logSum - target);
    // A loss that is not finite leaves the weights as they are.
    const bool sound = std::isfinite((logSum - target).sum().item<float>());
    at::Tensor logit = ((target - logSum).exp() - 1) / (double)N;
    at::Tensor own = logit * slope;
    b.log_sum = logSum.const_data_ptr<float>();
    b.own_gradient = own.const_data_ptr<float>();
    at::Tensor buffer = momentum.defined() ? at::empty({block, D}, options) : at::Tensor();
    for (int64_t first = 0; first < K && sound; first += block) {
      auto [z, w] = take_block(first);
      const int64_t n = z.size(1);
      ck_margin_backward(&b, N, parallel);
      at::Tensor g = buffer.defined() ? buffer.narrow(0, 0, n) : gradient.narrow(0, first, n);
      at::mm_out(g, z.t(), x);
      ck_normalized_rows_update(w.mutable_data_ptr<float>(), g.mutable_data_ptr<float>(),
                                buffer.defined() ? momentum.mutable_data_ptr<float>() + first * D : nullptr,
                                b.reciprocal, n, D, lr, mom, wd, parallel);
    }
    results[1] = take(best);
    results[2] = take(xGradient);
    results[3] = take(logit);
  }
};

}  // namespace

extern "C" void ct_margin_softmax(ct_tensor_t x, ct_tensor_t labels, ct_tensor_t target, ct_tensor_t slope,
                                  ct_tensor_t weight, ct_tensor_t momentum, ct_tensor_t gradient, double scale,
                                  double eps, double lr, double mom, double wd, ct_tensor_t results[4],
                                  char **error) {
  guard(error, [&] {
    c10::AutoGradMode off(false);
    Head head = {wrap(x), wrap(labels), wrap(target), wrap(slope), wrap(weight), wrap(momentum), wrap(gradient),
                 (float)scale, (float)eps, (float)lr, (float)mom, (float)wd};
    head.check();
    head.run(results);
    return 0;
  });
}
