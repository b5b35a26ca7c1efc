// Handles and errors at the border. Included by every file of CTorch; kept narrow so that each compiles in seconds.
#ifndef CTORCH_BORDER_H
#define CTORCH_BORDER_H

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "CTorch.h"

namespace border {

inline ct_tensor_t take(at::Tensor t) {
  if (!t.defined()) return nullptr;
  return reinterpret_cast<ct_tensor_t>(t.unsafeReleaseTensorImpl());
}

/// A borrowed handle as a tensor (one reference more for as long as it lives).
inline at::Tensor wrap(ct_tensor_t handle) {
  if (!handle) return at::Tensor();
  return at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim_copy(
      reinterpret_cast<c10::TensorImpl *>(handle)));
}

inline std::vector<at::Tensor> wrap(const ct_tensor_t *handles, int count) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (int i = 0; i < count; ++i) tensors.push_back(wrap(handles[i]));
  return tensors;
}

inline c10::Device device(ct_device d) {
  return d.cuda < 0 ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, (c10::DeviceIndex)d.cuda);
}

inline c10::ScalarType type(int dtype) { return static_cast<c10::ScalarType>(dtype); }

inline c10::MemoryFormat format(int f) {
  return f == ct_channels_last ? c10::MemoryFormat::ChannelsLast
         : f == ct_preserve    ? c10::MemoryFormat::Preserve
                               : c10::MemoryFormat::Contiguous;
}

inline void report(char **error, const char *what) {
  if (error && !*error) *error = strdup(what);
}

/// Runs `f`; what it throws becomes *error and a value-initialised result.
template <typename F>
auto guard(char **error, F f) -> decltype(f()) {
  using Result = decltype(f());
  try {
    return f();
  } catch (const c10::Error &e) {
    report(error, e.what_without_backtrace());
  } catch (const std::exception &e) {
    report(error, e.what());
  } catch (...) {
    report(error, "an unknown C++ exception");
  }
  return Result();
}

}  // namespace border
#endif
