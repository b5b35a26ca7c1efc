#include "Dispatch.h"

#include "CKernels.h"

static int forcedPortable = 0;

namespace ck {
bool usesAVX2() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has && !forcedPortable;
#else
  return false;
#endif
}

bool usesAVX512() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return has && usesAVX2();
#else
  return false;
#endif
}

bool isForcedWide() { return forcedPortable == 2; }
}  // namespace ck

extern "C" const char *ck_instruction_set(void) {
  return ck::usesAVX512() ? "avx512" : ck::usesAVX2() ? "avx2" : "portable";
}
extern "C" void ck_force_portable(int on) { forcedPortable = on; }

static void runSerially(void *, int64_t count, ck_loop_body body, void *context) {
  if (count > 0) body(context, 0, count, 0);
}

extern "C" ck_parallel ck_serial(void) { return ck_parallel{1, runSerially, nullptr}; }
