// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308) for 3x3 convolutions of stride 1: a tile of T x T outputs
// takes (T + 2)^2 products a channel pair instead of 9 T^2.
//
// A block of tiles goes through three steps: inputs transformed to [point][tile][channel], one matrix product for each of
// the (T + 2)^2 points, sums transformed back. Blocks are small enough for the cache where the image has many tiles; where
// it has few, the weights are what is large, and the workers share the points of one block instead.

#include <algorithm>

#include "Vectors.h"

using namespace ck;

namespace {

struct Call {
  const ck_convolution *c;
  const float *in, *residual;
  float *out, *scratch;
  int T;
  int64_t tilesY, tilesX, tiles, panels, padded;
  int64_t block;        // tiles of a block
  int64_t first, count;  // the block at hand where workers share it
  int64_t groups;       // pieces of the products, where workers share them: points * strands
  int64_t strandPanels;
  int64_t points() const { return (T + 2) * (T + 2); }
  int64_t blockSize() const { return points() * block * (c->channels + padded); }
};

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
// The rows of A^T: points of one line to outputs.
CK_INLINE void outputs2(const v8 *m, int step, v8 *o, int outStep) {
  o[0] = m[0] + m[step] + m[2 * step];
  o[outStep] = m[step] - m[2 * step] - m[3 * step];
}
CK_INLINE void outputs4(const v8 *m, int step, v8 *o, int outStep) {
  const v8 s = m[step] + m[2 * step], d = m[step] - m[2 * step];
  const v8 s2 = m[3 * step] + m[4 * step], d2 = m[3 * step] - m[4 * step];
  o[0] = m[0] + s + s2;
  o[outStep] = d + 2.0f * d2;
  o[2 * outStep] = s + 4.0f * s2;
  o[3 * outStep] = d + 8.0f * d2 + m[5 * step];
}

template <int T, bool Whole>
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
      float *p = to + (y * P + x) * pointStep + k;
      if (Whole) store8(p, column[y]);
      else storePart<v8>(p, column[y], count);
    }
  }
}

template <int T>
CK_INLINE void transformInputs(const Call *call, int64_t first, int64_t begin, int64_t end, float *to) {
  constexpr int P = T + 2;
  const ck_convolution &c = *call->c;
  const float *inputs[P * P];
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = first + i, n = tile / (call->tilesY * call->tilesX);
    const int64_t y0 = tile / call->tilesX % call->tilesY * T + c.tap_y[0], x0 = tile % call->tilesX * T + c.tap_x[0];
#pragma clang loop unroll(full)
    for (int y = 0; y < P; ++y)
#pragma clang loop unroll(full)
      for (int x = 0; x < P; ++x) {
        const int64_t v = y0 + y, u = x0 + x;
        const bool inside = v >= 0 && v < c.in_height && u >= 0 && u < c.in_width;
        inputs[y * P + x] =
            inside ? call->in + ((n * c.in_height + v) * c.in_width + u) * c.in_pixel : c.padding;
      }
    int64_t k = 0;
    float *target = to + i * c.channels;
    for (; k + 8 <= c.channels; k += 8) transformIn<T, true>(inputs, k, 8, target, call->block * c.channels);
    if (k < c.channels) transformIn<T, false>(inputs, k, c.channels - k, target, call->block * c.channels);
  }
}

template <class V, int M>
CK_INLINE void productTile(const Call *call, const float *from, const float *w, float *to) {
  const ck_convolution &c = *call->c;
  V acc[M][panelWidth / lanes<V>];
  const float *rows[M];
#pragma clang loop unroll(full)
  for (int i = 0; i < M; ++i) rows[i] = from + i * c.channels;
#pragma clang loop unroll(full)
  for (auto &row : acc)
#pragma clang loop unroll(full)
    for (auto &z : row) z = (V)(0.0f);
  accumulate<V, M>(acc, rows, M, 1, c.channels, 0, w);
#pragma clang loop unroll(full)
  for (int i = 0; i < M; ++i)
#pragma clang loop unroll(full)
    for (int v = 0; v < panelWidth / lanes<V>; ++v)
      store<V>(to + i * call->padded + v * lanes<V>, acc[i][v]);
}

template <class V, int R>
CK_INLINE void products(const Call *call, int64_t point, int64_t firstPanel, int64_t lastPanel, int64_t count,
                        const float *from, float *to) {
  const ck_convolution &c = *call->c;
  from += point * call->block * c.channels;
  to += point * call->block * call->padded;
  for (int64_t panel = firstPanel; panel < lastPanel; ++panel) {
    const float *w = c.weights + (point * call->panels + panel) * c.channels * panelWidth;
    int64_t i = 0;
    float *target = to + panel * panelWidth;
    for (; i + R <= count; i += R) productTile<V, R>(call, from + i * c.channels, w, target + i * call->padded);
    if constexpr (R > 6) {
      if (i + 6 <= count) {
        productTile<V, 6>(call, from + i * c.channels, w, target + i * call->padded);
        i += 6;
      }
    }
    from += i * c.channels, target += i * call->padded;
    switch (count - i) {
      case 1: productTile<V, 1>(call, from, w, target); break;
      case 2: productTile<V, 2>(call, from, w, target); break;
      case 3: productTile<V, 3>(call, from, w, target); break;
      case 4: productTile<V, 4>(call, from, w, target); break;
      case 5: productTile<V, 5>(call, from, w, target); break;
      default: break;
    }
    from -= i * c.channels;
  }
}

template <int T>
CK_INLINE void transformOutputs(const Call *call, int64_t first, int64_t begin, int64_t end, const float *from) {
  constexpr int P = T + 2;
  const ck_convolution &c = *call->c;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t tile = first + i, n = tile / (call->tilesY * call->tilesX);
    const int64_t y0 = tile / call->tilesX % call->tilesY * T, x0 = tile % call->tilesX * T;
    for (int64_t k = 0; k < c.filters; k += 8) {
      const float *m = from + i * call->padded + k;
      v8 half[T * P];
#pragma clang loop unroll(full)
      for (int x = 0; x < P; ++x) {
        v8 column[P];
#pragma clang loop unroll(full)
        for (int y = 0; y < P; ++y) column[y] = load8(m + (y * P + x) * call->block * call->padded);
        if constexpr (T == 2) outputs2(column, 1, half + x, P);
        else outputs4(column, 1, half + x, P);
      }
      for (int y = 0; y < T && y0 + y < c.out_height; ++y) {
        v8 z[T][1];
        v8 row[T];
        if constexpr (T == 2) outputs2(half + y * P, 1, row, 1);
        else outputs4(half + y * P, 1, row, 1);
        int64_t offsets[T];
        const int64_t columns = std::min<int64_t>(T, c.out_width - x0);
#pragma clang loop unroll(full)
        for (int x = 0; x < T; ++x) {
          z[x][0] = row[x];
          offsets[x] = n * c.out_image + (y0 + y) * c.out_row + (x0 + x) * c.out_pixel;
        }
        if (columns == T) {
          finish<v8, T, 1>(z, c.epilogue, k, c.filters - k, offsets, k, call->residual, call->out);
        } else {
          for (int64_t x = 0; x < columns; ++x) {
            v8 one[1][1] = {{z[x][0]}};
            finish<v8, 1, 1>(one, c.epilogue, k, c.filters - k, offsets + x, k, call->residual, call->out);
          }
        }
      }
    }
  }
}

CK_INLINE void inputs_piece_body(const Call *call, int64_t first, int64_t begin, int64_t end, float *to) {
  if (call->T == 2) transformInputs<2>(call, first, begin, end, to);
  else transformInputs<4>(call, first, begin, end, to);
}
CK_INLINE void outputs_piece_body(const Call *call, int64_t first, int64_t begin, int64_t end, const float *from) {
  if (call->T == 2) transformOutputs<2>(call, first, begin, end, from);
  else transformOutputs<4>(call, first, begin, end, from);
}
template <class V, int R>
CK_INLINE void products_piece_body(const Call *call, int64_t point, int64_t firstPanel, int64_t lastPanel,
                                   int64_t count, const float *from, float *to) {
  products<V, R>(call, point, firstPanel, lastPanel, count, from, to);
}
CK_DISPATCH(inputs_piece, (const Call *call, int64_t first, int64_t begin, int64_t end, float *to),
            (call, first, begin, end, to))
CK_DISPATCH(outputs_piece, (const Call *call, int64_t first, int64_t begin, int64_t end, const float *from),
            (call, first, begin, end, from))
CK_DISPATCH_WIDE(products_piece,
                 (const Call *call, int64_t point, int64_t firstPanel, int64_t lastPanel, int64_t count,
                  const float *from, float *to),
                 (call, point, firstPanel, lastPanel, count, from, to))

/// Blocks of their own, each through all steps by one worker.
void blocksBody(void *context, int64_t begin, int64_t end, int worker) {
  auto call = static_cast<const Call *>(context);
  float *in = call->scratch + worker * call->blockSize(), *sums = in + call->points() * call->block * call->c->channels;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t first = b * call->block, count = std::min(call->block, call->tiles - first);
    inputs_piece(call, first, 0, count, in);
    for (int64_t p = 0; p < call->points(); ++p) products_piece(call, p, 0, call->panels, count, in, sums);
    outputs_piece(call, first, 0, count, sums);
  }
}

// One block, each step shared by the workers.
float *sharedSums(const Call *call) { return call->scratch + call->points() * call->block * call->c->channels; }
void sharedInputs(void *context, int64_t begin, int64_t end, int) {
  auto call = static_cast<const Call *>(context);
  inputs_piece(call, call->first, begin, end, call->scratch);
}
void sharedProducts(void *context, int64_t begin, int64_t end, int) {
  auto call = static_cast<const Call *>(context);
  const int64_t strands = call->groups / call->points();
  for (int64_t i = begin; i < end; ++i) {
    const int64_t panel = i % strands * call->strandPanels;
    products_piece(call, i / strands, panel, std::min(panel + call->strandPanels, call->panels), call->count,
                   call->scratch, sharedSums(call));
  }
}
void sharedOutputs(void *context, int64_t begin, int64_t end, int) {
  auto call = static_cast<const Call *>(context);
  outputs_piece(call, call->first, begin, end, sharedSums(call));
}

/// The form of the loops: blocks of their own, or one shared block of many tiles.
struct Form {
  int64_t tiles, block;
  bool isShared;
};
Form form(int T, const ck_convolution *c, int workers) {
  const int64_t tiles = c->batch * ((c->out_height + T - 1) / T) * ((c->out_width + T - 1) / T);
  const int64_t points = (T + 2) * (T + 2), padded = ck_padded_channels(c->filters);
  // Own blocks: 300 KB for both sides of the products, in whole tiles of registers.
  int64_t own = (300 << 10) / (points * (c->channels + padded) * 4) / 12 * 12;
  own = std::max<int64_t>(own, 12);
  const bool isHeavy = points * c->channels * padded * 4 > (1 << 20);
  if (isHeavy || tiles < own * workers) return {tiles, std::min<int64_t>(tiles, 384), true};
  return {tiles, own, false};
}

}  // namespace

extern "C" int64_t ck_winograd_weights_size(int T, int64_t channels, int64_t filters) {
  return (T + 2) * (T + 2) * channels * ck_padded_channels(filters);
}

extern "C" void ck_winograd_pack(int T, const float *weights, int64_t channels, int64_t filters, float *packed) {
  // G: 3 weights of a line to its points.
  static const double two[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
  static const double four[6][3] = {{.25, 0, 0},
                                    {-1. / 6, -1. / 6, -1. / 6},
                                    {-1. / 6, 1. / 6, -1. / 6},
                                    {1. / 24, 1. / 12, 1. / 6},
                                    {1. / 24, -1. / 12, 1. / 6},
                                    {0, 0, 1}};
  const int P = T + 2;
  const auto G = T == 2 ? two : four;
  const int64_t panels = ck_padded_channels(filters) / panelWidth;
  for (int64_t f = 0; f < panels * panelWidth; ++f)
    for (int64_t k = 0; k < channels; ++k) {
      double g[3][3], half[6][3];
      for (int y = 0; y < 3; ++y)
        for (int x = 0; x < 3; ++x) g[y][x] = f < filters ? weights[(f * 9 + y * 3 + x) * channels + k] : 0;
      for (int i = 0; i < P; ++i)
        for (int x = 0; x < 3; ++x) half[i][x] = G[i][0] * g[0][x] + G[i][1] * g[1][x] + G[i][2] * g[2][x];
      for (int i = 0; i < P; ++i)
        for (int j = 0; j < P; ++j) {
          const double u = half[i][0] * G[j][0] + half[i][1] * G[j][1] + half[i][2] * G[j][2];
          packed[(((i * P + j) * panels + f / panelWidth) * channels + k) * panelWidth + f % panelWidth] = (float)u;
        }
    }
}

extern "C" int64_t ck_winograd_scratch_size(int T, const ck_convolution *c, int workers) {
  const Form f = form(T, c, workers);
  return (T + 2) * (T + 2) * f.block * (c->channels + ck_padded_channels(c->filters)) * (f.isShared ? 1 : workers);
}

extern "C" void ck_winograd(int T, const ck_convolution *c, const float *in, const float *residual, float *out,
                            float *scratch, ck_parallel parallel) {
  const Form f = form(T, c, parallel.workers);
  Call call = {};
  call.c = c, call.in = in, call.residual = residual, call.out = out, call.scratch = scratch, call.T = T;
  call.tilesY = (c->out_height + T - 1) / T, call.tilesX = (c->out_width + T - 1) / T, call.tiles = f.tiles;
  call.padded = ck_padded_channels(c->filters), call.panels = call.padded / panelWidth, call.block = f.block;
  if (!f.isShared) {
    parallel.run(parallel.runner, (f.tiles + f.block - 1) / f.block, blocksBody, &call);
    return;
  }
  call.strandPanels = std::min<int64_t>(call.panels, 8);
  call.groups = call.points() * ((call.panels + call.strandPanels - 1) / call.strandPanels);
  for (call.first = 0; call.first < f.tiles; call.first += f.block) {
    call.count = std::min(f.block, f.tiles - call.first);
    parallel.run(parallel.runner, call.count, sharedInputs, &call);
    parallel.run(parallel.runner, call.groups, sharedProducts, &call);
    parallel.run(parallel.runner, call.count, sharedOutputs, &call);
  }
}
