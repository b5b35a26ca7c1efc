// Version, devices, threads, modes, generators.

#ifdef __linux__
#include <malloc.h>
#endif

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <atomic>
#include <mutex>

#include "Border.h"
#include "Generator.h"
#include "Parallel.h"

using namespace border;

extern "C" void ct_free_error(char *error) { free(error); }

extern "C" void ct_release(ct_tensor_t tensor) {
  if (tensor)
    c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim(
        reinterpret_cast<c10::TensorImpl *>(tensor));
}

extern "C" ct_tensor_t ct_retain(ct_tensor_t tensor) { return take(wrap(tensor)); }

extern "C" const char *ct_version(void) { return TORCH_VERSION; }

extern "C" int ct_cuda_load(char **error) {
  static std::once_flag once;
  static std::string problem;
  std::call_once(once, [] {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void *>(&at::get_num_threads), &info) || !info.dli_fname) return;
    std::string path(info.dli_fname);
    path = path.substr(0, path.find_last_of('/') + 1) + "libtorch_cuda.so";
    FILE *file = fopen(path.c_str(), "rb");
    if (!file) return;
    fclose(file);
    if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) problem = dlerror();
  });
  if (!problem.empty()) {
    report(error, problem.c_str());
    return 0;
  }
  return ct_cuda_device_count();
}

extern "C" int ct_cuda_device_count(void) {
  try {
    return at::hasCUDA() ? (int)at::detail::getCUDAHooks().deviceCount() : 0;
  } catch (...) {
    return 0;
  }
}

extern "C" bool ct_cuda_memory(int device, int64_t *available, int64_t *total, char **error) {
  // cudaMemGetInfo lives in the runtime that libtorch_cuda.so has brought with it; no CUDA headers are needed here.
  using SetDevice = int (*)(int);
  using MemGetInfo = int (*)(size_t *, size_t *);
  auto set = reinterpret_cast<SetDevice>(dlsym(RTLD_DEFAULT, "cudaSetDevice"));
  auto info = reinterpret_cast<MemGetInfo>(dlsym(RTLD_DEFAULT, "cudaMemGetInfo"));
  size_t a = 0, t = 0;
  if (!set || !info || set(device) != 0 || info(&a, &t) != 0) {
    report(error, "cudaMemGetInfo is not available");
    return false;
  }
  *available = (int64_t)a;
  *total = (int64_t)t;
  return true;
}

extern "C" void ct_cuda_synchronize(int device, char **error) {
  guard(error, [&] {
    if (!at::hasCUDA()) return 0;
    c10::impl::VirtualGuardImpl impl(c10::kCUDA);
    impl.synchronizeDevice((c10::DeviceIndex)device);
    return 0;
  });
}

extern "C" void ct_set_threads(int count) { at::set_num_threads(count < 1 ? 1 : count); }
extern "C" int ct_threads(void) { return at::get_num_threads(); }

extern "C" int ct_parallel_thread_count(void) {
  std::atomic<int> distinct{0};
  std::atomic<int> arrived{0};
  const ck_parallel parallel = parallelLoop();
  struct Context {
    std::atomic<int> *distinct, *arrived;
    int expected;
  } context{&distinct, &arrived, parallel.workers};
  parallel.run(parallel.runner, parallel.workers,
               [](void *c, int64_t, int64_t, int) {
                 auto p = static_cast<Context *>(c);
                 p->distinct->fetch_add(1);
                 p->arrived->fetch_add(1);
                 // Each piece waits for the others (bounded): pieces done one after the other by one thread never meet.
                 for (long spin = 0; spin < 200000000 && p->arrived->load() < p->expected; ++spin) {}
                 if (p->arrived->load() < p->expected) p->distinct->fetch_sub(1);
               },
               &context);
  return distinct.load();
}

extern "C" bool ct_grad_enabled(void) { return c10::GradMode::is_enabled(); }
extern "C" void ct_set_grad_enabled(bool on) { c10::GradMode::set_enabled(on); }

extern "C" void ct_set_autocast(ct_device d, int dtype, char **error) {
  guard(error, [&] {
    const auto kind = device(d).type();
    const bool on = dtype != ct_float32;
    if (on) at::autocast::set_autocast_dtype(kind, type(dtype));
    at::autocast::set_autocast_enabled(kind, on);
    // A weight is used once a pass: there is nothing to cache, and what a pass without gradients would leave in the cache
    // has no history when the pass is repeated with them.
    at::autocast::set_autocast_cache_enabled(!on);
    return 0;
  });
}

extern "C" const char *ct_cpu_capability(void) {
  static const std::string capability = at::get_cpu_capability();
  return capability.c_str();
}

extern "C" void ct_set_deterministic(bool on) {
  at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/true);
  at::globalContext().setDeterministicCuDNN(on);
  // Every tensor here is written before it is read; filling new ones with NaN costs a tenth of a training step.
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

extern "C" void ct_keep_freed_memory(void) {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

extern "C" void ct_return_freed_memory(void) {
#ifdef __GLIBC__
  // Left to itself the threshold grows to 32 MiB, and activations below it stay in a heap full of holes.
  mallopt(M_MMAP_MAX, 65536);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

extern "C" ct_generator_t ct_generator(uint64_t seed, ct_device d, char **error) {
  return guard(error, [&]() -> ct_generator_t {
    at::Generator g = d.cuda < 0 ? at::detail::createCPUGenerator(seed)
                                 : at::globalContext().defaultGenerator(device(d)).clone();
    g.set_current_seed(seed);
    return new struct ct_generator{g};
  });
}
extern "C" void ct_generator_release(ct_generator_t generator) { delete generator; }
extern "C" ct_tensor_t ct_generator_state(ct_generator_t generator, char **error) {
  return guard(error, [&] { return take(generator->generator.get_state()); });
}
extern "C" void ct_generator_set_state(ct_generator_t generator, ct_tensor_t state, char **error) {
  guard(error, [&] {
    generator->generator.set_state(wrap(state));
    return 0;
  });
}

// LibTorch's own OpenMP runtime (libgomp beside libtorch_cpu.so). Clang emits calls to another runtime for its OpenMP
// pragmas, so the loop is handed over by hand.
extern "C" void GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);
extern "C" int omp_get_thread_num(void);
extern "C" int omp_get_num_threads(void);

namespace {

struct Loop {
  int64_t count;
  ck_loop_body body;
  void *context;
};

void loopPiece(void *data) {
  auto loop = static_cast<const Loop *>(data);
  const int64_t worker = omp_get_thread_num(), workers = omp_get_num_threads();
  const int64_t begin = loop->count * worker / workers, end = loop->count * (worker + 1) / workers;
  if (begin < end) loop->body(loop->context, begin, end, (int)worker);
}

void runOnTeam(void *, int64_t count, ck_loop_body body, void *context) {
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), count);
  if (count <= 0) return;
  if (threads <= 1) return body(context, 0, count, 0);
  Loop loop{count, body, context};
  GOMP_parallel(loopPiece, &loop, (unsigned)threads, 0);
}

}  // namespace

ck_parallel border::parallelLoop() { return ck_parallel{at::get_num_threads(), runOnTeam, nullptr}; }
