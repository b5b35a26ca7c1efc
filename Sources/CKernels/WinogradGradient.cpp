// The gradient of a 3x3 convolution's weights in Winograd's form. With y = A^T [(G g G^T) * (B^T d B)] A for a tile, the gradient
// is G^T [sum over tiles of (A dy A^T) * (B^T d B)] G: one product over the tiles for each of the 16 points of a 2x2 tile.

#include <algorithm>

#include "Winograd.h"

using namespace ck;

namespace {

constexpr int points = 16;
/// Channels of one product in registers, of the 8 that lie together: eight sums are under way at a time.
template <class V>
constexpr int rowsOfTile = lanes<V> / 2;

struct Call {
  const ck_convolution *c;
  const float *in, *dy;
  float *dw;
  ck_filter_steps steps;
  TileGrid grid;
  int64_t channels, panels;      // channels padded to 8, filters in panels of 16
  int64_t block, first, count;   // tiles of a block, the block at hand
  float *inputs;                 // [point][channels / 8][block][8]
  float *gradients;              // [point][panel][block][16]
  float *sums;                   // [point][panel][channels][16]
};

CK_INLINE v8 loadInside(const float *p, int64_t left) {
  if (left <= 0) return (v8)(0.0f);
  return left >= 8 ? load8(p) : loadPart<v8>(p, left);
}

/// The points of the gradient's tiles: each line of two becomes (a, a + b, a - b, -b).
CK_INLINE void gradients_piece_body(const Call *call, int64_t begin, int64_t end) {
  const ck_convolution &c = *call->c;
  const int64_t step = call->block * call->panels * panelWidth;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = call->first + i, y0 = call->grid.row(tile) * 2, x0 = call->grid.column(tile) * 2;
    const float *from = call->dy + call->grid.image(tile) * c.out_image + y0 * c.out_row + x0 * c.out_pixel;
    const bool below = y0 + 1 < c.out_height, right = x0 + 1 < c.out_width;
    for (int64_t k = 0; k < call->panels * panelWidth; k += 8) {
      const int64_t left = c.filters - k;
      const float *p = from + k;
      const v8 a = loadInside(p, left), b = loadInside(p + c.out_pixel, right ? left : 0),
               d = loadInside(p + c.out_row, below ? left : 0),
               e = loadInside(p + c.out_row + c.out_pixel, below && right ? left : 0);
      const v8 lines[4][2] = {{a, b}, {a + d, b + e}, {a - d, b - e}, {-d, -e}};
      float *to = call->gradients + (k / panelWidth * call->block + i) * panelWidth + k % panelWidth;
#pragma clang loop unroll(full)
      for (int y = 0; y < 4; ++y) {
        const v8 l = lines[y][0], r = lines[y][1];
        store8(to + (4 * y) * step, l);
        store8(to + (4 * y + 1) * step, l + r);
        store8(to + (4 * y + 2) * step, l - r);
        store8(to + (4 * y + 3) * step, -r);
      }
    }
  }
}

CK_INLINE void inputs_piece_body(const Call *call, int64_t begin, int64_t end) {
  transformInputs<2, PointLayout::groups>(*call->c, call->grid, call->in, call->block, call->first, begin, end,
                                          call->inputs);
}

/// sums[channel][filter] += over the block's tiles, for the (point, panel) pairs begin ..< end.
template <class V, int>
CK_INLINE void products_piece_body(const Call *call, int64_t begin, int64_t end) {
  constexpr int R = rowsOfTile<V>, N = panelWidth / lanes<V>;
  for (int64_t pair = begin; pair < end; ++pair) {
    const float *inputs = call->inputs + pair / call->panels * call->block * call->channels;
    const float *gradients = call->gradients + pair * call->block * panelWidth;
    float *sums = call->sums + pair * call->channels * panelWidth;
    for (int64_t k = 0; k < call->channels; k += R) {
      const float *from = inputs + k / 8 * call->block * 8 + k % 8, *g = gradients;
      float *to = sums + k * panelWidth;
      V acc[R][N];
#pragma clang loop unroll(full)
      for (int i = 0; i < R; ++i)
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v)
          acc[i][v] = call->first ? load<V>(to + i * panelWidth + v * lanes<V>) : (V)(0.0f);
#pragma clang loop unroll_count(4)
      for (int64_t t = 0; t < call->count; ++t) {
        V line[N];
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v) line[v] = load<V>(g + v * lanes<V>);
#pragma clang loop unroll(full)
        for (int i = 0; i < R; ++i) {
          const V x = (V)(from[i]);
#pragma clang loop unroll(full)
          for (int v = 0; v < N; ++v) acc[i][v] = x * line[v] + acc[i][v];
        }
        from += 8, g += panelWidth;
      }
#pragma clang loop unroll(full)
      for (int i = 0; i < R; ++i)
#pragma clang loop unroll(full)
        for (int v = 0; v < N; ++v) store<V>(to + i * panelWidth + v * lanes<V>, acc[i][v]);
    }
  }
}

/// The weights' gradients from their points, for the pieces of one panel and 8 channels begin ..< end.
CK_INLINE void weights_piece_body(const Call *call, int64_t begin, int64_t end) {
  const ck_convolution &c = *call->c;
  const int64_t step = call->panels * call->channels * panelWidth;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t panel = piece % call->panels, firstChannel = piece / call->panels * 8;
    for (int64_t k = firstChannel; k < std::min(firstChannel + 8, c.channels); ++k)
      for (int64_t lane = 0; lane < panelWidth; lane += 8) {
        const float *u = call->sums + (panel * call->channels + k) * panelWidth + lane;
        v8 half[3][4];
#pragma clang loop unroll(full)
        for (int x = 0; x < 4; ++x) {
          const v8 a = load8(u + x * step), b = load8(u + (4 + x) * step), d = load8(u + (8 + x) * step),
                   e = load8(u + (12 + x) * step);
          half[0][x] = a + 0.5f * (b + d), half[1][x] = 0.5f * (b - d), half[2][x] = 0.5f * (b + d) + e;
        }
        const int64_t filter = panel * panelWidth + lane, count = std::min<int64_t>(8, c.filters - filter);
        float *to = call->dw + filter * call->steps.filter + k * call->steps.channel;
#pragma clang loop unroll(full)
        for (int y = 0; y < 3; ++y) {
          const v8 *h = half[y];
          const v8 g[3] = {h[0] + 0.5f * (h[1] + h[2]), 0.5f * (h[1] - h[2]), 0.5f * (h[1] + h[2]) + h[3]};
#pragma clang loop unroll(full)
          for (int x = 0; x < 3; ++x)
            for (int64_t i = 0; i < count; ++i)
              to[i * call->steps.filter + y * call->steps.row + x * call->steps.column] = g[x][i];
        }
      }
  }
}

CK_DISPATCH(gradients_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))
CK_DISPATCH(inputs_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))
CK_DISPATCH_WIDE(products_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))
CK_DISPATCH(weights_piece, (const Call *call, int64_t begin, int64_t end), (call, begin, end))

template <void (*piece)(const Call *, int64_t, int64_t)>
void loop(void *context, int64_t begin, int64_t end, int) {
  piece(static_cast<const Call *>(context), begin, end);
}

/// Tiles of a block: enough to spare the sums their way to memory, few enough for the points to stay in the cache.
int64_t blockSize(const ck_convolution &c, int64_t tiles) {
  const int64_t bytesOfTile = points * sizeof(float) * (c.channels + c.filters);
  return std::min(tiles, std::clamp<int64_t>((6 << 20) / bytesOfTile, 128, 384));
}

}  // namespace

extern "C" int64_t ck_winograd_weight_gradient_scratch_size(const ck_convolution *c) {
  const int64_t channels = (c->channels + 7) / 8 * 8, filters = ck_padded_channels(c->filters);
  const int64_t block = blockSize(*c, TileGrid::of(2, *c).count(c->batch));
  return points * (block * (channels + filters) + channels * filters);
}

extern "C" void ck_winograd_weight_gradient(const ck_convolution *c, const float *in, const float *dy, float *dw,
                                            ck_filter_steps steps, float *scratch, ck_parallel parallel) {
  Call call = {};
  call.c = c, call.in = in, call.dy = dy, call.dw = dw, call.steps = steps, call.grid = TileGrid::of(2, *c);
  const int64_t tiles = call.grid.count(c->batch);
  call.channels = (c->channels + 7) / 8 * 8, call.panels = ck_padded_channels(c->filters) / panelWidth;
  call.block = blockSize(*c, tiles);
  call.inputs = scratch, call.gradients = call.inputs + points * call.block * call.channels;
  call.sums = call.gradients + points * call.block * call.panels * panelWidth;
  for (call.first = 0; call.first < tiles; call.first += call.block) {
    call.count = std::min(call.block, tiles - call.first);
    parallel.run(parallel.runner, call.count, loop<inputs_piece>, &call);
    parallel.run(parallel.runner, call.count, loop<gradients_piece>, &call);
    parallel.run(parallel.runner, points * call.panels, loop<products_piece>, &call);
  }
  parallel.run(parallel.runner, call.channels / 8 * call.panels, loop<weights_piece>, &call);
}
