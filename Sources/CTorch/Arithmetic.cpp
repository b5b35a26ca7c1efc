// Element-wise arithmetic and reductions.

#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/where.h>

#include "Border.h"

using namespace border;

#define TENSOR(expression) return guard(error, [&] { return take(expression); })

namespace {

at::Tensor binary(int op, const at::Tensor &a, const at::Tensor &b) {
  switch (op) {
    case ct_add: return a.add(b);
    case ct_sub: return a.sub(b);
    case ct_mul: return a.mul(b);
    case ct_div: return a.div(b);
    case ct_maximum: return at::maximum(a, b);
    case ct_minimum: return at::minimum(a, b);
    case ct_eq: return a.eq(b);
    case ct_ne: return a.ne(b);
    case ct_lt: return a.lt(b);
    case ct_le: return a.le(b);
    case ct_gt: return a.gt(b);
    case ct_ge: return a.ge(b);
    case ct_logical_and: return at::logical_and(a, b);
    default: TORCH_CHECK(false, "unknown binary operation ", op);
  }
}

at::Tensor binaryScalar(int op, const at::Tensor &a, double b) {
  switch (op) {
    case ct_add: return a.add(b);
    case ct_sub: return a.sub(b);
    case ct_mul: return a.mul(b);
    case ct_div: return a.div(b);
    case ct_eq: return a.eq(b);
    case ct_ne: return a.ne(b);
    case ct_lt: return a.lt(b);
    case ct_le: return a.le(b);
    case ct_gt: return a.gt(b);
    case ct_ge: return a.ge(b);
    default: TORCH_CHECK(false, "no form with a scalar for operation ", op);
  }
}

at::Tensor unary(int op, const at::Tensor &a) {
  switch (op) {
    case ct_neg: return a.neg();
    case ct_exp: return a.exp();
    case ct_log: return a.log();
    case ct_sqrt: return a.sqrt();
    case ct_rsqrt: return a.rsqrt();
    case ct_abs: return a.abs();
    case ct_cos: return a.cos();
    case ct_sin: return a.sin();
    case ct_acos: return a.acos();
    case ct_relu: return a.relu();
    case ct_sigmoid: return a.sigmoid();
    case ct_tanh: return a.tanh();
    case ct_isfinite: return at::isfinite(a);
    case ct_logical_not: return at::logical_not(a);
    case ct_sign: return a.sign();
    default: TORCH_CHECK(false, "unknown unary operation ", op);
  }
}

at::Tensor reduce(int op, const at::Tensor &a, int64_t dim, bool keep) {
  const bool all = dim == ct_all_dims;
  switch (op) {
    case ct_sum: return all ? a.sum() : a.sum(dim, keep);
    case ct_mean: return all ? a.mean() : a.mean(dim, keep);
    case ct_amax: return all ? a.amax() : a.amax(dim, keep);
    case ct_amin: return all ? a.amin() : a.amin(dim, keep);
    case ct_argmax: return all ? a.argmax() : a.argmax(dim, keep);
    case ct_any: return all ? a.any() : a.any(dim, keep);
    case ct_all: return all ? a.all() : a.all(dim, keep);
    default: TORCH_CHECK(false, "unknown reduction ", op);
  }
}

}  // namespace

extern "C" ct_tensor_t ct_binary(int op, ct_tensor_t a, ct_tensor_t b, char **error) {
  TENSOR(binary(op, wrap(a), wrap(b)));
}
extern "C" ct_tensor_t ct_binary_scalar(int op, ct_tensor_t a, double b, char **error) {
  TENSOR(binaryScalar(op, wrap(a), b));
}
extern "C" ct_tensor_t ct_unary(int op, ct_tensor_t a, char **error) { TENSOR(unary(op, wrap(a))); }
extern "C" ct_tensor_t ct_pow(ct_tensor_t a, double exponent, char **error) { TENSOR(wrap(a).pow(exponent)); }
extern "C" ct_tensor_t ct_clamp(ct_tensor_t a, double low, double high, char **error) {
  TENSOR(wrap(a).clamp(low, high));
}
extern "C" ct_tensor_t ct_where(ct_tensor_t condition, ct_tensor_t a, ct_tensor_t b, char **error) {
  TENSOR(at::where(wrap(condition), wrap(a), wrap(b)));
}
extern "C" void ct_add_(ct_tensor_t a, ct_tensor_t b, double alpha, char **error) {
  guard(error, [&] { return wrap(a).add_(wrap(b), alpha), 0; });
}
extern "C" void ct_mul_(ct_tensor_t a, double factor, char **error) {
  guard(error, [&] { return wrap(a).mul_(factor), 0; });
}
extern "C" ct_tensor_t ct_reduce(int op, ct_tensor_t a, int64_t dim, bool keep, char **error) {
  TENSOR(reduce(op, wrap(a), dim, keep));
}
extern "C" ct_tensor_t ct_variance(ct_tensor_t a, int64_t dim, bool unbiased, bool keep, char **error) {
  TENSOR(dim == ct_all_dims ? wrap(a).var(unbiased) : wrap(a).var(dim, unbiased, keep));
}
extern "C" ct_tensor_t ct_norm(ct_tensor_t a, int64_t dim, bool keep, char **error) {
  TENSOR(dim == ct_all_dims ? wrap(a).norm() : wrap(a).norm(2, {dim}, keep));
}
extern "C" ct_tensor_t ct_topk(ct_tensor_t a, int64_t k, int64_t dim, ct_tensor_t *indices, char **error) {
  return guard(error, [&] {
    auto [values, order] = wrap(a).topk(k, dim);
    *indices = take(order);
    return take(values);
  });
}
