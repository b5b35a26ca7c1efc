// Creation, facts, copies.

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "Border.h"

using namespace border;

extern "C" ct_tensor_t ct_full(const int64_t *sizes, int rank, double value, int dtype, ct_device d, char **error) {
  return guard(error, [&] {
    return take(at::full(at::IntArrayRef(sizes, rank), value, at::TensorOptions().dtype(type(dtype)).device(device(d))));
  });
}

extern "C" ct_tensor_t ct_empty(const int64_t *sizes, int rank, int dtype, ct_device d, int f, char **error) {
  return guard(error, [&] {
    return take(at::empty(at::IntArrayRef(sizes, rank),
                          at::TensorOptions().dtype(type(dtype)).device(device(d)).memory_format(format(f))));
  });
}

extern "C" ct_tensor_t ct_from_bytes(const void *bytes, int64_t count, const int64_t *sizes, int rank, int dtype,
                                     char **error) {
  return guard(error, [&] {
    at::Tensor t = at::empty(at::IntArrayRef(sizes, rank), at::TensorOptions().dtype(type(dtype)));
    TORCH_CHECK((int64_t)t.nbytes() == count, "expected ", t.nbytes(), " bytes for the shape, got ", count);
    if (count > 0) memcpy(t.mutable_data_ptr(), bytes, (size_t)count);
    return take(t);
  });
}

extern "C" ct_tensor_t ct_arange(double start, double end, double step, int dtype, ct_device d, char **error) {
  return guard(error, [&] {
    return take(at::arange(start, end, step, at::TensorOptions().dtype(type(dtype)).device(device(d))));
  });
}

extern "C" void ct_fill(ct_tensor_t t, double value, char **error) {
  guard(error, [&] { return wrap(t).fill_(value), 0; });
}

extern "C" int ct_rank(ct_tensor_t t) { return (int)reinterpret_cast<c10::TensorImpl *>(t)->dim(); }

extern "C" void ct_sizes(ct_tensor_t t, int64_t *sizes) {
  auto s = reinterpret_cast<c10::TensorImpl *>(t)->sizes();
  std::copy(s.begin(), s.end(), sizes);
}
extern "C" void ct_strides(ct_tensor_t t, int64_t *strides) {
  auto s = reinterpret_cast<c10::TensorImpl *>(t)->strides();
  std::copy(s.begin(), s.end(), strides);
}
extern "C" int64_t ct_count(ct_tensor_t t) { return reinterpret_cast<c10::TensorImpl *>(t)->numel(); }
extern "C" int ct_dtype(ct_tensor_t t) { return (int)wrap(t).scalar_type(); }
extern "C" ct_device ct_device_of(ct_tensor_t t) {
  auto d = reinterpret_cast<c10::TensorImpl *>(t)->device();
  return ct_device{d.is_cuda() ? (int32_t)d.index() : -1};
}
extern "C" bool ct_is_contiguous(ct_tensor_t t, int f) { return wrap(t).is_contiguous(format(f)); }
extern "C" void *ct_data(ct_tensor_t t) { return wrap(t).mutable_data_ptr(); }
extern "C" bool ct_requires_grad(ct_tensor_t t) { return wrap(t).requires_grad(); }
extern "C" double ct_item(ct_tensor_t t, char **error) {
  return guard(error, [&] { return wrap(t).item().toDouble(); });
}

extern "C" ct_tensor_t ct_to(ct_tensor_t t, int dtype, ct_device d, char **error) {
  return guard(error, [&] { return take(wrap(t).to(at::TensorOptions().dtype(type(dtype)).device(device(d)))); });
}
extern "C" ct_tensor_t ct_contiguous_as(ct_tensor_t t, int f, char **error) {
  return guard(error, [&] { return take(wrap(t).contiguous(format(f))); });
}
extern "C" ct_tensor_t ct_clone(ct_tensor_t t, char **error) {
  return guard(error, [&] { return take(wrap(t).clone()); });
}
extern "C" ct_tensor_t ct_detach(ct_tensor_t t, char **error) {
  return guard(error, [&] { return take(wrap(t).detach()); });
}
extern "C" void ct_copy(ct_tensor_t destination, ct_tensor_t source, char **error) {
  guard(error, [&] { return wrap(destination).copy_(wrap(source)), 0; });
}
extern "C" void ct_set_data(ct_tensor_t t, ct_tensor_t data, char **error) {
  guard(error, [&] { return wrap(t).set_data(wrap(data)), 0; });
}
