// Optimizer steps: one call over all parameters.

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "Border.h"
#include "Parallel.h"

using namespace border;

extern "C" void ct_sgd_mxnet(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *momenta,
                             int count, double lr, double momentum, const double *weightDecay, double rescale,
                             char **error) {
  guard(error, [&] {
    c10::AutoGradMode off(false);
    for (int i = 0; i < count; ++i) {
      at::Tensor w = wrap(weights[i]), g = wrap(gradients[i]), m = wrap(momenta[i]);
      if (!g.defined()) continue;
      TORCH_CHECK(w.sizes() == g.sizes() && w.sizes() == m.sizes(), "sgd: weight ", w.sizes(), ", gradient ", g.sizes(),
                  ", momentum ", m.sizes());
      // The update is element by element: any dense layout will do, as long as it is the same one.
      const bool plain = w.is_cpu() && w.scalar_type() == at::kFloat && g.scalar_type() == at::kFloat &&
                         w.is_non_overlapping_and_dense() && m.strides() == w.strides();
      if (plain) {
        at::Tensor gradient = g.strides() == w.strides() ? g : at::empty_like(w).copy_(g);
        ck_sgd_mxnet(w.mutable_data_ptr<float>(), gradient.const_data_ptr<float>(), m.mutable_data_ptr<float>(),
                     w.numel(), (float)lr, (float)momentum, (float)weightDecay[i], (float)rescale, parallelLoop());
      } else {
        m.mul_(momentum).add_(g.mul(rescale).add_(w, weightDecay[i]), -lr);
        w.add_(m);
      }
    }
    return 0;
  });
}

extern "C" void ct_sgd_torch(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *momenta,
                             int count, double lr, double momentum, const double *weightDecay, double rescale,
                             char **error) {
  guard(error, [&] {
    c10::AutoGradMode off(false);
    for (int i = 0; i < count; ++i) {
      at::Tensor w = wrap(weights[i]), g = wrap(gradients[i]), m = wrap(momenta[i]);
      if (!g.defined()) continue;
      if (rescale != 1) g = g.mul(rescale);
      if (weightDecay[i] != 0) g = g.add(w, weightDecay[i]);
      if (momentum != 0) g = m.mul_(momentum).add_(g);
      w.add_(g, -lr);
    }
    return 0;
  });
}

extern "C" void ct_adamw(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *first,
                         const ct_tensor_t *second, int count, double lr, double beta1, double beta2, double eps,
                         const double *weightDecay, double rescale, int64_t step, char **error) {
  guard(error, [&] {
    c10::AutoGradMode off(false);
    const double correction1 = 1 - std::pow(beta1, (double)step), correction2 = 1 - std::pow(beta2, (double)step);
    for (int i = 0; i < count; ++i) {
      at::Tensor w = wrap(weights[i]), g = wrap(gradients[i]), m = wrap(first[i]), v = wrap(second[i]);
      if (!g.defined()) continue;
      if (rescale != 1) g = g.mul(rescale);
      w.mul_(1 - lr * weightDecay[i]);
      m.lerp_(g, 1 - beta1);
      v.mul_(beta2).addcmul_(g, g, 1 - beta2);
      w.addcdiv_(m, v.sqrt().div_(std::sqrt(correction2)).add_(eps), -lr / correction1);
    }
    return 0;
  });
}
