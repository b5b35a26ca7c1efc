// Draws from a given generator.

#include <ATen/core/Generator.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>

#include "Border.h"
#include "Generator.h"

using namespace border;

extern "C" void ct_normal_(ct_tensor_t t, double mean, double deviation, ct_generator_t g, char **error) {
  guard(error, [&] { return wrap(t).normal_(mean, deviation, g->generator), 0; });
}
extern "C" void ct_uniform_(ct_tensor_t t, double low, double high, ct_generator_t g, char **error) {
  guard(error, [&] { return wrap(t).uniform_(low, high, g->generator), 0; });
}
extern "C" ct_tensor_t ct_dropout(ct_tensor_t x, double rate, ct_generator_t g, char **error) {
  return guard(error, [&] {
    at::Tensor t = wrap(x), keep = at::empty_like(t, t.options().requires_grad(false));
    keep.bernoulli_(1 - rate, g->generator).div_(1 - rate);
    return take(t * keep);
  });
}
