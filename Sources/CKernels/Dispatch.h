// Run-time dispatch. A kernel's body is written once over 8-lane vectors, always inlined, and compiled twice: for AVX2
// with FMA and for the baseline of the target.
#ifndef CKERNELS_DISPATCH_H
#define CKERNELS_DISPATCH_H

#include <stdint.h>
#include <string.h>

// The vectors never cross a call: every function that takes one is inlined.
#pragma clang diagnostic ignored "-Wpsabi"
// a * b + c becomes one instruction where the CPU has it, and never a library call where it has not.
#pragma clang fp contract(fast)

typedef float v8 __attribute__((ext_vector_type(8)));
typedef int32_t v8i __attribute__((ext_vector_type(8)));

#define CK_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define CK_AVX2 __attribute__((target("avx2,fma")))
#else
#define CK_AVX2
#endif

CK_INLINE v8 load8(const float *p) {
  v8 v;
  memcpy(&v, p, sizeof v);
  return v;
}
CK_INLINE void store8(float *p, v8 v) { memcpy(p, &v, sizeof v); }
CK_INLINE v8 splat8(float x) { return (v8)(x); }

namespace ck {
bool usesAVX2();
}

/// Defines `name(args)` that calls `name_body` compiled for the CPU at hand.
#define CK_DISPATCH(name, parameters, arguments)                      \
  CK_AVX2 static void name##_avx2 parameters { name##_body arguments; } \
  static void name##_portable parameters { name##_body arguments; }   \
  static void name parameters {                                       \
    if (ck::usesAVX2()) name##_avx2 arguments;                        \
    else name##_portable arguments;                                   \
  }

#endif
