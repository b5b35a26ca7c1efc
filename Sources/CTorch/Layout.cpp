// Views, indexing, joining.

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "Border.h"

using namespace border;

#define TENSOR(expression) return guard(error, [&] { return take(expression); })

extern "C" ct_tensor_t ct_reshape(ct_tensor_t t, const int64_t *sizes, int rank, char **error) {
  TENSOR(wrap(t).reshape(at::IntArrayRef(sizes, rank)));
}
extern "C" ct_tensor_t ct_permute(ct_tensor_t t, const int64_t *order, int rank, char **error) {
  TENSOR(wrap(t).permute(at::IntArrayRef(order, rank)));
}
extern "C" ct_tensor_t ct_transpose(ct_tensor_t t, int64_t a, int64_t b, char **error) {
  TENSOR(wrap(t).transpose(a, b));
}
extern "C" ct_tensor_t ct_flatten(ct_tensor_t t, int64_t from, int64_t to, char **error) {
  TENSOR(wrap(t).flatten(from, to));
}
extern "C" ct_tensor_t ct_narrow(ct_tensor_t t, int64_t dim, int64_t start, int64_t length, char **error) {
  TENSOR(wrap(t).narrow(dim, start, length));
}
extern "C" ct_tensor_t ct_select(ct_tensor_t t, int64_t dim, int64_t index, char **error) {
  TENSOR(wrap(t).select(dim, index));
}
extern "C" ct_tensor_t ct_index_select(ct_tensor_t t, int64_t dim, ct_tensor_t index, char **error) {
  TENSOR(wrap(t).index_select(dim, wrap(index)));
}
extern "C" ct_tensor_t ct_gather(ct_tensor_t t, int64_t dim, ct_tensor_t index, char **error) {
  TENSOR(wrap(t).gather(dim, wrap(index)));
}
extern "C" ct_tensor_t ct_scatter(ct_tensor_t t, int64_t dim, ct_tensor_t index, ct_tensor_t source, char **error) {
  TENSOR(wrap(t).scatter(dim, wrap(index), wrap(source)));
}
extern "C" ct_tensor_t ct_scatter_add(ct_tensor_t t, int64_t dim, ct_tensor_t index, ct_tensor_t source,
                                      char **error) {
  TENSOR(wrap(t).scatter_add(dim, wrap(index), wrap(source)));
}
extern "C" ct_tensor_t ct_concat(const ct_tensor_t *tensors, int count, int64_t dim, char **error) {
  TENSOR(at::cat(wrap(tensors, count), dim));
}
extern "C" ct_tensor_t ct_stack(const ct_tensor_t *tensors, int count, int64_t dim, char **error) {
  TENSOR(at::stack(wrap(tensors, count), dim));
}
extern "C" ct_tensor_t ct_unsqueeze(ct_tensor_t t, int64_t dim, char **error) { TENSOR(wrap(t).unsqueeze(dim)); }
extern "C" ct_tensor_t ct_squeeze(ct_tensor_t t, int64_t dim, char **error) { TENSOR(wrap(t).squeeze(dim)); }
extern "C" ct_tensor_t ct_expand(ct_tensor_t t, const int64_t *sizes, int rank, char **error) {
  TENSOR(wrap(t).expand(at::IntArrayRef(sizes, rank)));
}
extern "C" ct_tensor_t ct_flip(ct_tensor_t t, int64_t dim, char **error) { TENSOR(wrap(t).flip({dim})); }
