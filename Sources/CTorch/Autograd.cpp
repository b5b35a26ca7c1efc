// Gradients and optimizer steps.

#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include "Border.h"
#include "Parallel.h"

using namespace border;

extern "C" void ct_set_requires_grad(ct_tensor_t t, bool on, char **error) {
  guard(error, [&] { return wrap(t).requires_grad_(on), 0; });
}
extern "C" ct_tensor_t ct_grad(ct_tensor_t t) { return take(wrap(t).grad()); }
extern "C" void ct_clear_grad(ct_tensor_t t) { wrap(t).mutable_grad().reset(); }
extern "C" void ct_backward(ct_tensor_t t, ct_tensor_t gradient, char **error) {
  guard(error, [&] { return wrap(t).backward(wrap(gradient)), 0; });
}

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

extern "C" int ct_first_not_finite(const ct_tensor_t *tensors, int count, char **error) {
  int found = -1;
  guard(error, [&] {
    c10::AutoGradMode off(false);
    for (int i = 0; i < count && found < 0; ++i) {
      at::Tensor t = wrap(tensors[i]);
      // A sum is finite only if no element is NaN or infinite (an overflowing sum is looked at again).
      if (t.defined() && !std::isfinite(t.sum().item<double>()) && !at::isfinite(t).all().item<bool>()) found = i;
    }
    return 0;
  });
  return found;
}
