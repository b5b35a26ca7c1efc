// What the forms of Winograd's filtering share: tiles, and the transform of the inputs.
#ifndef CKERNELS_WINOGRAD_H
#define CKERNELS_WINOGRAD_H

#include "CKInference.h"
#include "Vectors.h"

namespace ck {

// The rows of B^T: inputs of one line of a tile to its points.
CK_INLINE void inputs2(const v8 *d, int step, v8 *o) {
  o[0] = d[0] - d[2 * step];
  o[1 * step] = d[step] + d[2 * step];
  o[2 * step] = d[2 * step] - d[step];
  o[3 * step] = d[step] - d[3 * step];
}
CK_INLINE void inputs4(const v8 *d, int step, v8 *o) {
  const v8 d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
  const v8 even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1, even2 = d4 - d2, odd2 = 2.0f * (d3 - d1);
  o[0] = 4.0f * d0 - 5.0f * d2 + d4;
  o[step] = even + odd;
  o[2 * step] = even - odd;
  o[3 * step] = even2 + odd2;
  o[4 * step] = even2 - odd2;
  o[5 * step] = 4.0f * d1 - 5.0f * d3 + d5;
}
/// Transforms 8 channels from k on, or the first `count` of them, to `to` and on at pointStep. Without Whole the lanes beyond are
/// written (as 0) where the layout pads.
template <int T, bool Whole, bool Pads>
CK_INLINE void transformIn(const float *const *inputs, int64_t k, int64_t count, float *to, int64_t pointStep) {
  constexpr int P = T + 2;
  v8 d[P * P];
#pragma clang loop unroll(full)
  for (int y = 0; y < P; ++y) {
#pragma clang loop unroll(full)
    for (int x = 0; x < P; ++x)
      d[y * P + x] = Whole ? load8(inputs[y * P + x] + k) : loadPart<v8>(inputs[y * P + x] + k, count);
    v8 row[P];
    if constexpr (T == 2) inputs2(d + y * P, 1, row);
    else inputs4(d + y * P, 1, row);
#pragma clang loop unroll(full)
    for (int x = 0; x < P; ++x) d[y * P + x] = row[x];
  }
#pragma clang loop unroll(full)
  for (int x = 0; x < P; ++x) {
    v8 column[P];
    v8 line[P];
#pragma clang loop unroll(full)
    for (int y = 0; y < P; ++y) line[y] = d[y * P + x];
    if constexpr (T == 2) inputs2(line, 1, column);
    else inputs4(line, 1, column);
#pragma clang loop unroll(full)
    for (int y = 0; y < P; ++y) {
      float *p = to + (y * P + x) * pointStep;
      if (Whole || Pads) store8(p, column[y]);
      else storePart<v8>(p, column[y], count);
    }
  }
}

/// Where the points of tiles lie: as [point][tile][channel], or as [point][channel / 8][tile][8] with padded channels.
enum class PointLayout { rows, groups };

/// The tiles of an output.
struct TileGrid {
  int64_t rows, columns;
  static TileGrid of(int T, const ck_convolution &c) {
    return {(c.out_height + T - 1) / T, (c.out_width + T - 1) / T};
  }
  int64_t count(int64_t batch) const { return batch * rows * columns; }
  int64_t image(int64_t tile) const { return tile / (rows * columns); }
  int64_t row(int64_t tile) const { return tile / columns % rows; }
  int64_t column(int64_t tile) const { return tile % columns; }
};

/// Points of the tiles first + begin ..< first + end of a block that has room for `block` tiles.
template <int T, PointLayout L>
CK_INLINE void transformInputs(const ck_convolution &c, const TileGrid &grid, const float *in, int64_t block, int64_t first,
                               int64_t begin, int64_t end, float *to) {
  constexpr int P = T + 2;
  constexpr bool pads = L == PointLayout::groups;
  const float *inputs[P * P];
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = first + i, n = grid.image(tile);
    const int64_t y0 = grid.row(tile) * T + c.tap_y[0], x0 = grid.column(tile) * T + c.tap_x[0];
#pragma clang loop unroll(full)
    for (int y = 0; y < P; ++y)
#pragma clang loop unroll(full)
      for (int x = 0; x < P; ++x) {
        const int64_t v = y0 + y, u = x0 + x;
        const bool inside = v >= 0 && v < c.in_height && u >= 0 && u < c.in_width;
        inputs[y * P + x] =
            inside ? in + ((n * c.in_height + v) * c.in_width + u) * c.in_pixel : c.padding;
      }
    const int64_t channels = pads ? (c.channels + 7) / 8 * 8 : c.channels, step = block * channels;
    int64_t k = 0;
    float *target = to + i * (pads ? 8 : channels);
    const int64_t targetStep = pads ? 8 * block : 8;
    for (; k + 8 <= c.channels; k += 8, target += targetStep) transformIn<T, true, pads>(inputs, k, 8, target, step);
    if (k < c.channels) transformIn<T, false, pads>(inputs, k, c.channels - k, target, step);
  }
}

}  // namespace ck
#endif
