// Gradients: backward, norms, finiteness.

#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include "Border.h"

using namespace border;

extern "C" void ct_set_requires_grad(ct_tensor_t t, bool on, char **error) {
  guard(error, [&] { return wrap(t).requires_grad_(on), 0; });
}
extern "C" ct_tensor_t ct_grad(ct_tensor_t t) { return take(wrap(t).grad()); }
extern "C" void ct_clear_grad(ct_tensor_t t) { wrap(t).mutable_grad().reset(); }
extern "C" void ct_backward(ct_tensor_t t, ct_tensor_t gradient, char **error) {
  guard(error, [&] { return wrap(t).backward(wrap(gradient)), 0; });
}

extern "C" void ct_backward_consuming(const ct_tensor_t *tensors, const ct_tensor_t *gradients, int count,
                                      char **error) {
  guard(error, [&] {
    std::vector<at::Tensor> roots = wrap(tensors, count), seeds = wrap(gradients, count);
    for (int i = 0; i < count; ++i) {
      TORCH_CHECK(roots[i].sizes() == seeds[i].sizes(), "backward: value ", roots[i].sizes(), ", gradient ",
                  seeds[i].sizes());
      // Where it came from stays known; what it was is not needed any more, unless an operation has saved it: then there is a
      // reference beside the caller's and this one. A view's memory is another tensor's.
      if (roots[i].grad_fn() && !roots[i].is_view() && roots[i].use_count() == 2)
        roots[i].set_data(at::empty({0}, roots[i].options()));
    }
    torch::autograd::backward(roots, seeds);
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

extern "C" double ct_total_norm(const ct_tensor_t *tensors, int count, char **error) {
  return guard(error, [&] {
    c10::AutoGradMode off(false);
    std::vector<at::Tensor> norms;
    for (int i = 0; i < count; ++i) {
      at::Tensor t = wrap(tensors[i]);
      if (t.defined()) norms.push_back(at::linalg_vector_norm(t));
    }
    return norms.empty() ? 0.0 : at::linalg_vector_norm(at::stack(norms)).item<double>();
  });
}
