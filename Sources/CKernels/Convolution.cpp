// Convolutions and matrix products over packed weights. A tile is some output pixels times one panel of 16 output
// channels, its sums in registers; the pixels of a tile are found through a table of pointers, one for each tap, so that
// borders, strides, dilation and transposed convolutions all run the same inner loop.

#include <algorithm>
#include <vector>

#include "Vectors.h"

using namespace ck;

namespace {

/// Bytes of input that a block of tiles may touch, so that it stays in the L2 cache while the panels pass over it.
constexpr int64_t blockBytes = 160 << 10;

struct Call {
  const ck_convolution *c;
  const float *in, *residual;
  float *out;
  int64_t panels;  // of one group
  int64_t pixels;
  int64_t blockTiles, blocks;    // of pixels
  int64_t blockPanels, strands;  // of panels of all groups
  const int64_t *tapSteps;       // floats from the input of the middle tap, where tap_y = tap_x = 0, to that of each tap
  // Output pixels none of whose taps is outside the image.
  int64_t firstY, lastY, firstX, lastX;
};

/// Outputs 0 ..< count whose inputs at position * step + first ... position * step + last are inside 0 ..< size.
void insideRange(int64_t count, int64_t step, int64_t first, int64_t last, int64_t size, int64_t *begin, int64_t *end) {
  *begin = first < 0 ? (-first + step - 1) / step : 0;
  *end = last < size ? std::min(count, (size - 1 - last) / step + 1) : 0;
}

/// Where the inputs and outputs of a block of tiles lie.
struct Table {
  std::vector<const float *> rows;  // [tile][tap][row]
  std::vector<int64_t> offsets;     // [tile][row]

  template <int R>
  inline __attribute__((always_inline)) void fill(const Call *call, int64_t first, int64_t count) {
    const ck_convolution &c = *call->c;
    const int64_t taps = c.taps, rowEnd = R * taps, step = c.step_x * c.in_pixel;
    int64_t x = first % c.out_width, y = first / c.out_width % c.out_height, n = first / c.out_width / c.out_height;
    const float **target = rows.data();
    int64_t row = 0;
    for (int64_t i = 0; i < count;) {
      const float *base = call->in + n * c.in_height * c.in_width * c.in_pixel;
      const bool isInside = y >= call->firstY && y < call->lastY;
      const int64_t lastX = isInside ? call->lastX : 0, end = std::min(c.out_width, x + count - i);
      const float *middle = base + (y * c.step_y * c.in_width + x * c.step_x) * c.in_pixel;
      int64_t offset = n * c.out_image + y * c.out_row + x * c.out_pixel;
      for (; x < end; ++x, ++i, middle += step, offset += c.out_pixel) {
        offsets[i] = offset;
        if (x >= call->firstX && x < lastX) {
          if (taps == 1) target[row] = middle + *call->tapSteps;
          else
            for (int64_t t = 0; t < taps; ++t) target[t * R + row] = middle + call->tapSteps[t];
        } else {
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t v = y * c.step_y + c.tap_y[t], u = x * c.step_x + c.tap_x[t];
            const bool inside = v >= 0 && v < c.in_height && u >= 0 && u < c.in_width;
            target[t * R + row] = inside ? base + (v * c.in_width + u) * c.in_pixel : c.padding;
          }
        }
        if (++row == R) row = 0, target += rowEnd;
      }
      if (x == c.out_width) {
        x = 0;
        if (++y == c.out_height) y = 0, ++n;
      }
    }
  }
};

template <class V, int M>
CK_INLINE void tile(const Call *call, const float *const *rows, int64_t stride, const int64_t *offsets, int64_t panel) {
  const ck_convolution &c = *call->c;
  const int64_t group = panel / call->panels, inner = panel % call->panels;
  V acc[M][panelWidth / lanes<V>];
#pragma clang loop unroll(full)
  for (auto &row : acc)
#pragma clang loop unroll(full)
    for (auto &z : row) z = (V)(0.0f);
  accumulate<V, M>(acc, rows, stride, c.taps, c.channels, group * c.channels,
                   c.weights + panel * c.taps * c.channels * panelWidth);
  finish<V, M, panelWidth / lanes<V>>(acc, c.epilogue, panel * panelWidth, c.filters - inner * panelWidth, offsets,
                                      group * c.filters + inner * panelWidth, call->residual, call->out);
}

/// The tile of `count` rows, 1 ... R, of a table with R rows.
template <class V, int R>
CK_INLINE void tileOf(int64_t count, const Call *call, const float *const *rows, const int64_t *offsets,
                      int64_t panel) {
  if (count == R) return tile<V, R>(call, rows, R, offsets, panel);
  if constexpr (R > 6) {
    if (count >= 6) {
      tile<V, 6>(call, rows, R, offsets, panel);
      rows += 6, offsets += 6, count -= 6;
    }
  }
  switch (count) {
    case 1: return tile<V, 1>(call, rows, R, offsets, panel);
    case 2: return tile<V, 2>(call, rows, R, offsets, panel);
    case 3: return tile<V, 3>(call, rows, R, offsets, panel);
    case 4: return tile<V, 4>(call, rows, R, offsets, panel);
    case 5: return tile<V, 5>(call, rows, R, offsets, panel);
    default: return;
  }
}

template <class V, int R>
CK_INLINE void convolve_piece_body(const Call *call, int64_t begin, int64_t end) {
  const ck_convolution &c = *call->c;
  Table table;
  table.rows.resize(call->blockTiles * R * c.taps);
  table.offsets.resize(call->blockTiles * R);
  int64_t filled = -1;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t block = unit / call->strands, strand = unit % call->strands;
    const int64_t first = block * call->blockTiles * R;
    const int64_t count = std::min(call->blockTiles * R, call->pixels - first);
    if (block != filled) table.fill<R>(call, first, count);
    filled = block;
    const int64_t lastPanel = std::min((strand + 1) * call->blockPanels, call->panels * c.groups);
    for (int64_t panel = strand * call->blockPanels; panel < lastPanel; ++panel)
      for (int64_t i = 0; i < count; i += R)
        tileOf<V, R>(std::min<int64_t>(R, count - i), call, table.rows.data() + i * c.taps, table.offsets.data() + i,
                     panel);
  }
}
CK_DISPATCH_WIDE(convolve_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))

}  // namespace

extern "C" int64_t ck_padded_channels(int64_t filters) {
  return (filters + panelWidth - 1) / panelWidth * panelWidth;
}

extern "C" int64_t ck_packed_size(int64_t taps, int64_t channels, int64_t filters) {
  return ck_padded_channels(filters) * taps * channels;
}

extern "C" void ck_pack_weights(const float *weights, int64_t taps, int64_t channels, int64_t filters, float *packed) {
  const int64_t depth = taps * channels;
  for (int64_t first = 0; first < filters; first += panelWidth)
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t i = 0; i < panelWidth; ++i)
        *packed++ = first + i < filters ? weights[(first + i) * depth + k] : 0;
}

extern "C" void ck_convolve(const ck_convolution *c, const float *in, const float *residual, float *out,
                            ck_parallel parallel) {
  Call call = {};
  call.c = c, call.in = in, call.residual = residual, call.out = out;
  call.pixels = c->batch * c->out_height * c->out_width;
  call.panels = ck_padded_channels(c->filters) / panelWidth;
  std::vector<int64_t> tapSteps(c->taps);
  int32_t lowY = 0, highY = 0, lowX = 0, highX = 0;
  for (int64_t t = 0; t < c->taps; ++t) {
    tapSteps[t] = (c->tap_y[t] * c->in_width + c->tap_x[t]) * c->in_pixel;
    lowY = std::min(lowY, c->tap_y[t]), highY = std::max(highY, c->tap_y[t]);
    lowX = std::min(lowX, c->tap_x[t]), highX = std::max(highX, c->tap_x[t]);
  }
  call.tapSteps = tapSteps.data();
  insideRange(c->out_height, c->step_y, lowY, highY, c->in_height, &call.firstY, &call.lastY);
  insideRange(c->out_width, c->step_x, lowX, highX, c->in_width, &call.firstX, &call.lastX);
  const int64_t rows = usesAVX512() || isForcedWide() ? 12 : 6;
  const int64_t tiles = (call.pixels + rows - 1) / rows, panels = call.panels * c->groups;
  if (tiles == 0 || panels == 0) return;
  const int64_t tileBytes = rows * c->channels * std::min<int64_t>(c->taps, c->step_y * c->step_x) * 4;
  call.blockTiles = std::max<int64_t>(1, std::min<int64_t>({tiles, blockBytes / tileBytes, 32, 8192 / c->taps}));
  call.blockPanels = panels;
  // Where weights outweigh the image, the workers share the weights, else the pixels.
  const int64_t pieces = 4 * parallel.workers;
  if (parallel.workers > 1) {
    if (tiles < 2 * pieces && panels >= parallel.workers) {
      call.blockPanels = std::max<int64_t>(1, panels / pieces);
      call.blockTiles = std::max<int64_t>(call.blockTiles, std::min<int64_t>(tiles, 64));
    } else {
      call.blockTiles = std::max<int64_t>(1, std::min(call.blockTiles, tiles / pieces));
    }
  }
  call.blocks = (tiles + call.blockTiles - 1) / call.blockTiles;
  call.strands = (panels + call.blockPanels - 1) / call.blockPanels;
  // A loop this small is over before another thread wakes.
  if (call.pixels * c->taps * c->channels * c->filters * c->groups < 65536) parallel = ck_serial();
  parallel.run(
      parallel.runner, call.blocks * call.strands,
      [](void *context, int64_t begin, int64_t end, int) {
        convolve_piece(static_cast<const Call *>(context), begin, end);
      },
      &call);
}
