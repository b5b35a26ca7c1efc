// Depthwise convolutions: one filter for each channel. Channels run innermost, along memory; a block of neighbouring output
// pixels shares the inputs it loads.

#include <algorithm>
#include <vector>

#include "Vectors.h"

using namespace ck;

namespace {

struct Call {
  const ck_convolution *c;
  const float *in, *residual;
  float *out;
  int64_t padded;  // channels of a row of weights
  bool isThreeByThree;
};

/// The pointer to input pixel (y, x) of image n, or to the padding.
CK_INLINE const float *pixel(const Call *call, int64_t n, int64_t y, int64_t x) {
  const ck_convolution &c = *call->c;
  if (y < 0 || y >= c.in_height || x < 0 || x >= c.in_width) return c.padding;
  return call->in + ((n * c.in_height + y) * c.in_width + x) * c.in_pixel;
}

/// Inputs of a block: 3 rows of pixels, each found through a table, since some lie outside the image.
template <int columns>
struct Listed {
  const float *pixels[3 * columns];
  inline __attribute__((always_inline)) const float *at(int y, int x) const { return pixels[y * columns + x]; }
};
/// The same where all pixels are inside.
struct Dense {
  const float *first;
  int64_t row, pixel;
  inline __attribute__((always_inline)) const float *at(int y, int x) const { return first + y * row + x * pixel; }
};

/// `M` output pixels and the vector at channel `k`, of `count` channels that are left, from 3 rows of inputs.
template <class V, int M, int S, bool Whole, class Inputs>
CK_INLINE void three(const Call *call, const Inputs &inputs, const int64_t *offsets, int64_t k, int64_t count) {
  constexpr int columns = (M - 1) * S + 3;
  const float *w = call->c->weights + k;
  V acc[M][1];
#pragma clang loop unroll(full)
  for (auto &row : acc) row[0] = (V)(0.0f);
#pragma clang loop unroll(full)
  for (int y = 0; y < 3; ++y) {
    V w0 = load<V>(w + (3 * y) * call->padded), w1 = load<V>(w + (3 * y + 1) * call->padded),
      w2 = load<V>(w + (3 * y + 2) * call->padded);
#pragma clang loop unroll(full)
    for (int x = 0; x < columns; ++x) {
      const float *p = inputs.at(y, x) + k;
      V value = Whole ? load<V>(p) : loadPart<V>(p, count);
#pragma clang loop unroll(full)
      for (int t = 0; t < 3; ++t) {
        if (x < t || (x - t) % S != 0 || (x - t) / S >= M) continue;
        acc[(x - t) / S][0] = value * (t == 0 ? w0 : t == 1 ? w1 : w2) + acc[(x - t) / S][0];
      }
    }
  }
  finish<V, M, 1>(acc, call->c->epilogue, k, count, offsets, k, call->residual, call->out);
}

template <class V, int M, int S, class Inputs>
CK_INLINE void threeChannels(const Call *call, const Inputs &inputs, const int64_t *offsets) {
  const int64_t channels = call->c->groups;
  int64_t k = 0;
  if constexpr (lanes<V> > 8)
    for (; k + lanes<V> <= channels; k += lanes<V>) three<V, M, S, true>(call, inputs, offsets, k, lanes<V>);
  for (; k + 8 <= channels; k += 8) three<v8, M, S, true>(call, inputs, offsets, k, 8);
  if (k < channels) three<v8, M, S, false>(call, inputs, offsets, k, channels - k);
}

template <class V, int M, int S>
CK_INLINE void threeRow(const Call *call, int64_t n, int64_t y, int64_t x) {
  constexpr int columns = (M - 1) * S + 3;
  const ck_convolution &c = *call->c;
  int64_t offsets[M];
#pragma clang loop unroll(full)
  for (int i = 0; i < M; ++i) offsets[i] = n * c.out_image + y * c.out_row + (x + i) * c.out_pixel;
  const int64_t top = y * S + c.tap_y[0], left = x * S + c.tap_x[0];
  if (top >= 0 && top + 3 <= c.in_height && left >= 0 && left + columns <= c.in_width) {
    threeChannels<V, M, S>(call, Dense{pixel(call, n, top, left), c.in_width * c.in_pixel, c.in_pixel}, offsets);
    return;
  }
  Listed<columns> inputs;
#pragma clang loop unroll(full)
  for (int i = 0; i < 3; ++i)
#pragma clang loop unroll(full)
    for (int j = 0; j < columns; ++j) inputs.pixels[i * columns + j] = pixel(call, n, top + i, left + j);
  threeChannels<V, M, S>(call, inputs, offsets);
}

template <class V, int S>
CK_INLINE void threeRows(const Call *call, int64_t n, int64_t y) {
  int64_t x = 0;
  for (; x + 4 <= call->c->out_width; x += 4) threeRow<V, 4, S>(call, n, y, x);
  for (; x + 2 <= call->c->out_width; x += 2) threeRow<V, 2, S>(call, n, y, x);
  for (; x < call->c->out_width; ++x) threeRow<V, 1, S>(call, n, y, x);
}

template <int N>
CK_INLINE void any(const Call *call, const float *const *inputs, int64_t offset, int64_t k, int64_t count) {
  const ck_convolution &c = *call->c;
  v8 acc[1][N];
#pragma clang loop unroll(full)
  for (auto &z : acc[0]) z = splat8(0);
  for (int64_t t = 0; t < c.taps; ++t) {
    const float *w = c.weights + t * call->padded + k, *p = inputs[t] + k;
#pragma clang loop unroll(full)
    for (int v = 0; v < N; ++v) {
      v8 value = count >= 8 * N ? load8(p + 8 * v) : loadPart<v8>(p + 8 * v, count - 8 * v);
      acc[0][v] = value * load8(w + 8 * v) + acc[0][v];
    }
  }
  finish<v8, 1, N>(acc, c.epilogue, k, count, &offset, k, call->residual, call->out);
}

template <class V, int>
CK_INLINE void depthwise_piece_body(const Call *call, int64_t begin, int64_t end) {
  const ck_convolution &c = *call->c;
  std::vector<const float *> inputs(call->isThreeByThree ? 0 : c.taps);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit / c.out_height, y = unit % c.out_height;
    if (call->isThreeByThree) {
      if (c.step_x == 1) threeRows<V, 1>(call, n, y);
      else threeRows<V, 2>(call, n, y);
      continue;
    }
    for (int64_t x = 0; x < c.out_width; ++x) {
      for (int64_t t = 0; t < c.taps; ++t)
        inputs[t] = pixel(call, n, y * c.step_y + c.tap_y[t], x * c.step_x + c.tap_x[t]);
      const int64_t offset = n * c.out_image + y * c.out_row + x * c.out_pixel;
      int64_t k = 0;
      for (; k + 32 <= c.groups; k += 32) any<4>(call, inputs.data(), offset, k, 32);
      for (; k + 8 <= c.groups; k += 8) any<1>(call, inputs.data(), offset, k, 8);
      if (k < c.groups) any<1>(call, inputs.data(), offset, k, c.groups - k);
    }
  }
}
CK_DISPATCH_WIDE(depthwise_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))

/// Whether the taps are a 3x3 window without holes, moved by 1 or 2 in both directions.
bool isThreeByThree(const ck_convolution *c) {
  if (c->taps != 9 || c->step_x != c->step_y || c->step_x < 1 || c->step_x > 2) return false;
  for (int t = 0; t < 9; ++t)
    if (c->tap_y[t] != c->tap_y[0] + t / 3 || c->tap_x[t] != c->tap_x[0] + t % 3) return false;
  return true;
}

}  // namespace

extern "C" void ck_convolve_depthwise(const ck_convolution *c, const float *in, const float *residual, float *out,
                                      ck_parallel parallel) {
  Call call = {c, in, residual, out, ck_padded_channels(c->groups), isThreeByThree(c)};
  if (c->batch * c->out_height * c->out_width * c->taps * c->groups < 32768) parallel = ck_serial();
  parallel.run(
      parallel.runner, c->batch * c->out_height,
      [](void *context, int64_t begin, int64_t end, int) {
        depthwise_piece(static_cast<const Call *>(context), begin, end);
      },
      &call);
}
