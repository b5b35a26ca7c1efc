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

/// e^x to about 1e-7, relative; below -87 it is e^-87, which no sum of float32 notices.
CK_INLINE v8 exp8(v8 x) {
  x = x < -87.0f ? splat8(-87.0f) : x;
  x = x > 88.0f ? splat8(88.0f) : x;
  const v8 magic = splat8(12582912.0f);  // adding and taking it away rounds to a whole number
  v8 n = (x * splat8(1.44269504f) + magic) - magic;
  v8 r = x - n * splat8(0.693359375f);
  r = r + n * splat8(2.12194440e-4f);
  v8 y = splat8(1.9875691500e-4f);
  y = y * r + splat8(1.3981999507e-3f);
  y = y * r + splat8(8.3334519073e-3f);
  y = y * r + splat8(4.1665795894e-2f);
  y = y * r + splat8(1.6666665459e-1f);
  y = y * r + splat8(5.0000001201e-1f);
  y = y * r * r + r + splat8(1.0f);
  v8i power = (__builtin_convertvector(n, v8i) + 127) << 23;
  v8 factor;
  memcpy(&factor, &power, sizeof factor);
  return y * factor;
}

CK_INLINE float sum8(v8 v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }
CK_INLINE float max8(v8 v) {
  float m = v[0];
  for (int i = 1; i < 8; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

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
