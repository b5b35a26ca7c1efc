// Vectors of any width for kernels that are written once and compiled for 8 and for 16 lanes.
#ifndef CKERNELS_VECTORS_H
#define CKERNELS_VECTORS_H

#include "CKernels.h"
#include "Dispatch.h"

typedef float v16 __attribute__((ext_vector_type(16)));

#if defined(__x86_64__)
#define CK_AVX512_WIDE __attribute__((target("avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")))
#else
#define CK_AVX512_WIDE
#endif

namespace ck {
bool usesAVX512();
/// For tests: the tiles of AVX-512 without its instructions.
bool isForcedWide();

template <class V>
constexpr int lanes = sizeof(V) / sizeof(float);

template <class V>
CK_INLINE V load(const float *p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
CK_INLINE void store(float *p, V v) {
  memcpy(p, &v, sizeof v);
}
/// Copies `count` floats, fewer than 16, in pieces of fixed size: a call of memcpy would cost more than the copy.
CK_INLINE void copyPart(float *to, const float *from, int64_t count) {
  if (count & 8) memcpy(to, from, 32), to += 8, from += 8;
  if (count & 4) memcpy(to, from, 16), to += 4, from += 4;
  if (count & 2) memcpy(to, from, 8), to += 2, from += 2;
  if (count & 1) *to = *from;
}
/// The first `count` lanes, fewer than all, the others 0.
template <class V>
CK_INLINE V loadPart(const float *p, int64_t count) {
  V v = (V)(0.0f);
  copyPart((float *)&v, p, count);
  return v;
}
template <class V>
CK_INLINE void storePart(float *p, V v, int64_t count) {
  copyPart(p, (const float *)&v, count);
}
template <class V>
CK_INLINE V larger(V a, V b) {
  return a > b ? a : b;
}
template <class V>
CK_INLINE V smaller(V a, V b) {
  return a < b ? a : b;
}

/// The activation of an epilogue on a block of vectors that stand for the same channels in each row.
template <class V, int M, int N>
CK_INLINE void activate(V (&z)[M][N], const ck_epilogue &e, int64_t channel) {
  switch (e.activation) {
    case ck_activation_relu:
#pragma clang loop unroll(full)
      for (int i = 0; i < M; ++i)
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v) z[i][v] = larger<V>(z[i][v], (V)(0.0f));
      break;
    case ck_activation_slope:
#pragma clang loop unroll(full)
      for (int v = 0; v < N; ++v) {
        V slope = load<V>(e.slope + channel + v * lanes<V>);
#pragma clang loop unroll(full)
        for (int i = 0; i < M; ++i) z[i][v] = z[i][v] > 0.0f ? z[i][v] : z[i][v] * slope;
      }
      break;
    case ck_activation_clip:
#pragma clang loop unroll(full)
      for (int i = 0; i < M; ++i)
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v)
          z[i][v] = smaller<V>(larger<V>(z[i][v], (V)(e.low)), (V)(e.high));
      break;
    default: break;
  }
}

/// Finishes rows of outputs: bias, activation and residual in the order of the epilogue, and stores them.
///
/// `channel` counts in the padded arrays of the epilogue; `count` channels are written at each `offset`.
template <class V, int M, int N>
CK_INLINE void finish(V (&z)[M][N], const ck_epilogue &e, int64_t channel, int64_t count, const int64_t *offsets,
                      int64_t shift, const float *residual, float *out) {
  if (e.bias)
#pragma clang loop unroll(full)
    for (int v = 0; v < N; ++v) {
      V bias = load<V>(e.bias + channel + v * lanes<V>);
#pragma clang loop unroll(full)
      for (int i = 0; i < M; ++i) z[i][v] += bias;
    }
  if (!e.residual_first) activate(z, e, channel);
  const bool whole = count >= N * lanes<V>;
  if (residual) {
#pragma clang loop unroll(full)
    for (int i = 0; i < M; ++i)
#pragma clang loop unroll(full)
      for (int v = 0; v < N; ++v) {
        const float *p = residual + offsets[i] + shift + v * lanes<V>;
        const int64_t left = count - v * lanes<V>;
        if (whole) z[i][v] += load<V>(p);
        else if (left > 0) z[i][v] += left >= lanes<V> ? load<V>(p) : loadPart<V>(p, left);
      }
  }
  if (e.residual_first) activate(z, e, channel);
#pragma clang loop unroll(full)
  for (int i = 0; i < M; ++i)
#pragma clang loop unroll(full)
    for (int v = 0; v < N; ++v) {
      float *p = out + offsets[i] + shift + v * lanes<V>;
      const int64_t left = count - v * lanes<V>;
      if (whole || left >= lanes<V>) store<V>(p, z[i][v]);
      else if (left > 0) storePart<V>(p, z[i][v], left);
    }
}

/// Output channels in one panel of packed weights.
constexpr int panelWidth = 16;

/// acc[i] += sum over taps and depth of rows[tap][i][k] * w[tap][k]: the heart of every product.
///
/// `rows` holds `stride` pointers for each tap; `offset` is added to each.
template <class V, int M>
CK_INLINE void accumulate(V (&acc)[M][panelWidth / lanes<V>], const float *const *rows, int64_t stride, int64_t taps,
                          int64_t depth, int64_t offset, const float *w) {
  constexpr int N = panelWidth / lanes<V>;
  for (int64_t t = 0; t < taps; ++t) {
    const float *a[M];
#pragma clang loop unroll(full)
    for (int i = 0; i < M; ++i) a[i] = rows[t * stride + i] + offset;
#pragma clang loop unroll_count(4)
    for (int64_t k = 0; k < depth; ++k) {
      V b[N];
#pragma clang loop unroll(full)
      for (int v = 0; v < N; ++v) b[v] = load<V>(w + v * lanes<V>);
#pragma clang loop unroll(full)
      for (int i = 0; i < M; ++i) {
        V x = (V)(a[i][k]);
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v) acc[i][v] = x * b[v] + acc[i][v];
      }
      w += panelWidth;
    }
  }
}
}  // namespace ck

/// Like CK_DISPATCH for a body `name_body<V, R>` with V the vector and R the rows of a tile.
#define CK_DISPATCH_WIDE(name, parameters, arguments)                                    \
  CK_AVX512_WIDE static void name##_avx512 parameters { name##_body<v16, 12> arguments; } \
  CK_AVX2 static void name##_avx2 parameters { name##_body<v8, 6> arguments; }           \
  static void name##_portable parameters { name##_body<v8, 6> arguments; }               \
  static void name##_wide parameters { name##_body<v16, 12> arguments; }                 \
  static void name parameters {                                                          \
    if (ck::usesAVX512()) name##_avx512 arguments;                                       \
    else if (ck::usesAVX2()) name##_avx2 arguments;                                      \
    else if (ck::isForcedWide()) name##_wide arguments;                                  \
    else name##_portable arguments;                                                      \
  }

#endif
