// Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308) for 3x3 convolutions of stride 1: a tile of T x T outputs
// takes (T + 2)^2 products a channel pair instead of 9 T^2.
//
// A block of tiles goes through three steps: inputs transformed to [point][tile][channel], one matrix product for each of
// the (T + 2)^2 points, sums transformed back. Blocks are small enough for the cache where the image has many tiles; where
// it has few, the weights are what is large, and the workers share the points of one block instead.

#include <algorithm>

#include "Winograd.h"

using namespace ck;

namespace {

struct Call {
  const ck_convolution *c;
  const float *in, *residual;
  float *out, *scratch;
  int T;
  TileGrid grid;
  int64_t panels, padded;
  int64_t block;        // tiles of a block
  int64_t first, count;  // the block at hand where workers share it
  int64_t groups;       // pieces of the products, where workers share them: points * strands
  int64_t strandPanels;
  int64_t points() const { return (T + 2) * (T + 2); }
  int64_t blockSize() const { return points() * block * (c->channels + padded); }
};

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
    const int64_t tile = first + i, n = call->grid.image(tile);
    const int64_t y0 = call->grid.row(tile) * T, x0 = call->grid.column(tile) * T;
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
  if (call->T == 2)
    transformInputs<2, PointLayout::rows>(*call->c, call->grid, call->in, call->block, first, begin, end, to);
  else transformInputs<4, PointLayout::rows>(*call->c, call->grid, call->in, call->block, first, begin, end, to);
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

struct Packing {
  const float *weights;
  ck_filter_steps steps;
  int64_t channels, filters, panels;
  float *packed;
};

// G: 3 weights of a line to its points.
template <int T>
constexpr double linePoints[T + 2][3] = {};
template <>
constexpr double linePoints<2>[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
template <>
constexpr double linePoints<4>[6][3] = {{.25, 0, 0},
                                        {-1. / 6, -1. / 6, -1. / 6},
                                        {-1. / 6, 1. / 6, -1. / 6},
                                        {1. / 24, 1. / 12, 1. / 6},
                                        {1. / 24, -1. / 12, 1. / 6},
                                        {0, 0, 1}};

typedef double d8 __attribute__((ext_vector_type(8)));

/// The points of one channel for 16 filters, in two halves.
template <int T>
CK_INLINE void packChannel(const Packing &p, int64_t panel, int64_t channel) {
  constexpr int P = T + 2;
  for (int lane = 0; lane < panelWidth; lane += 8) {
    const int64_t first = panel * panelWidth + lane, count = std::min<int64_t>(8, p.filters - first);
    d8 half[P][3];
    for (int x = 0; x < 3; ++x) {
      d8 g[3];
      for (int y = 0; y < 3; ++y) {
        const int64_t s = p.steps.filter;
        const float *w = p.weights + first * s + channel * p.steps.channel + y * p.steps.row + x * p.steps.column;
        v8 line = (v8)(0.0f);
        if (count >= 8) line = v8{w[0], w[s], w[2 * s], w[3 * s], w[4 * s], w[5 * s], w[6 * s], w[7 * s]};
        else
          for (int64_t i = 0; i < count; ++i) line[i] = w[i * s];
        g[y] = __builtin_convertvector(line, d8);
      }
      for (int i = 0; i < P; ++i)
        half[i][x] = linePoints<T>[i][0] * g[0] + linePoints<T>[i][1] * g[1] + linePoints<T>[i][2] * g[2];
    }
    for (int i = 0; i < P; ++i)
      for (int j = 0; j < P; ++j) {
        const d8 u = half[i][0] * linePoints<T>[j][0] + half[i][1] * linePoints<T>[j][1] + half[i][2] * linePoints<T>[j][2];
        store8(p.packed + (((i * P + j) * p.panels + panel) * p.channels + channel) * panelWidth + lane,
               __builtin_convertvector(u, v8));
      }
  }
}
template <int T>
CK_INLINE void packChannels(const Packing &p, int64_t begin, int64_t end) {
  const int64_t pieces = (p.channels + 15) / 16;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t first = piece % pieces * 16, last = std::min(first + 16, p.channels);
    for (int64_t k = first; k < last; ++k) packChannel<T>(p, piece / pieces, k);
  }
}
CK_INLINE void pack2_piece_body(const Packing &p, int64_t begin, int64_t end) { packChannels<2>(p, begin, end); }
CK_INLINE void pack4_piece_body(const Packing &p, int64_t begin, int64_t end) { packChannels<4>(p, begin, end); }
CK_DISPATCH(pack2_piece, (const Packing &p, int64_t begin, int64_t end), (p, begin, end))
CK_DISPATCH(pack4_piece, (const Packing &p, int64_t begin, int64_t end), (p, begin, end))

template <int T>
void packBody(void *context, int64_t begin, int64_t end, int) {
  const Packing &p = *static_cast<const Packing *>(context);
  if constexpr (T == 2) pack2_piece(p, begin, end);
  else pack4_piece(p, begin, end);
}

/// Blocks of their own, each through all steps by one worker.
void blocksBody(void *context, int64_t begin, int64_t end, int worker) {
  auto call = static_cast<const Call *>(context);
  float *in = call->scratch + worker * call->blockSize(), *sums = in + call->points() * call->block * call->c->channels;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t first = b * call->block, count = std::min(call->block, call->grid.count(call->c->batch) - first);
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
  const int64_t tiles = TileGrid::of(T, *c).count(c->batch);
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

extern "C" void ck_winograd_pack(int T, const float *weights, ck_filter_steps steps, int64_t channels, int64_t filters,
                                 float *packed, ck_parallel parallel) {
  Packing p = {weights, steps, channels, filters, ck_padded_channels(filters) / panelWidth, packed};
  // Pieces of 16 channels of one panel: their weights are read from few lines of memory.
  parallel.run(parallel.runner, p.panels * ((channels + 15) / 16), T == 2 ? packBody<2> : packBody<4>, &p);
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
  call.grid = TileGrid::of(T, *c);
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
