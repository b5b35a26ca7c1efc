// What transformers need beside convolutions: products of two activations, normalisation and softmax of lines. A product
// packs its second matrix as the weights of a convolution and runs that.

#include <math.h>

#include <algorithm>
#include <limits>

#include "Vectors.h"

using namespace ck;

namespace {

struct Lines {
  const float *x;
  int64_t count, inner;
  double epsilon;
  const float *gamma, *beta;
  float *y;
};

CK_INLINE v8 tail8(const float *p, int64_t count, float rest) {
  float lanes[8];
  for (int i = 0; i < 8; ++i) lanes[i] = i < count ? p[i] : rest;
  return load8(lanes);
}

CK_INLINE void softmax_line(const float *x, int64_t count, float *y) {
  const int64_t whole = count / 8 * 8, left = count - whole;
  v8 top = splat8(-std::numeric_limits<float>::infinity());
  for (int64_t k = 0; k < whole; k += 8) top = larger<v8>(load8(x + k), top);
  if (left) top = larger<v8>(tail8(x + whole, left, -std::numeric_limits<float>::infinity()), top);
  const v8 largest = splat8(max8(top));
  v8 sum = splat8(0);
  for (int64_t k = 0; k < whole; k += 8) {
    v8 e = exp8(load8(x + k) - largest);
    store8(y + k, e);
    sum += e;
  }
  if (left) {
    v8 e = exp8(tail8(x + whole, left, 0) - largest);
    for (int64_t i = 0; i < 8; ++i) e[i] = i < left ? e[i] : 0;
    storePart<v8>(y + whole, e, left);
    sum += e;
  }
  const v8 factor = splat8(1 / sum8(sum));
  for (int64_t k = 0; k < whole; k += 8) store8(y + k, load8(y + k) * factor);
  if (left) storePart<v8>(y + whole, loadPart<v8>(y + whole, left) * factor, left);
}

CK_INLINE void softmax_rows_body(const Lines *l, int64_t begin, int64_t end) {
  if (l->inner == 1) {
    for (int64_t line = begin; line < end; ++line) softmax_line(l->x + line * l->count, l->count, l->y + line * l->count);
    return;
  }
  for (int64_t outer = begin; outer < end; ++outer)
    for (int64_t first = 0; first < l->inner; first += 8) {
      const int64_t width = std::min<int64_t>(8, l->inner - first), start = outer * l->count * l->inner + first;
      auto read = [&](const float *p) __attribute__((always_inline)) { return width == 8 ? load8(p) : loadPart<v8>(p, width); };
      auto write = [&](float *p, v8 v) __attribute__((always_inline)) {
        if (width == 8) store8(p, v);
        else storePart<v8>(p, v, width);
      };
      v8 top = splat8(-std::numeric_limits<float>::infinity()), sum = splat8(0);
      for (int64_t k = 0; k < l->count; ++k) top = larger<v8>(read(l->x + start + k * l->inner), top);
      for (int64_t k = 0; k < l->count; ++k) {
        v8 e = exp8(read(l->x + start + k * l->inner) - top);
        write(l->y + start + k * l->inner, e);
        sum += e;
      }
      const v8 factor = 1 / sum;
      for (int64_t k = 0; k < l->count; ++k)
        write(l->y + start + k * l->inner, read(l->y + start + k * l->inner) * factor);
    }
}
CK_DISPATCH(softmax_rows, (const Lines *l, int64_t begin, int64_t end), (l, begin, end))

CK_INLINE void norm_rows_body(const Lines *l, int64_t begin, int64_t end) {
  const int64_t n = l->count, whole = n / 8 * 8, left = n - whole;
  for (int64_t line = begin; line < end; ++line) {
    const float *x = l->x + line * n;
    float *y = l->y + line * n;
    v8 sum = splat8(0), squares = splat8(0);
    for (int64_t k = 0; k < whole; k += 8) sum += load8(x + k);
    if (left) sum += loadPart<v8>(x + whole, left);
    const float mean = sum8(sum) / (float)n;
    for (int64_t k = 0; k < whole; k += 8) {
      v8 d = load8(x + k) - mean;
      squares += d * d;
    }
    if (left) {
      v8 d = tail8(x + whole, left, mean) - mean;
      squares += d * d;
    }
    const float factor = (float)(1 / sqrt((double)sum8(squares) / (double)n + l->epsilon));
    for (int64_t k = 0; k < whole; k += 8)
      store8(y + k, (load8(x + k) - mean) * factor * load8(l->gamma + k) + load8(l->beta + k));
    if (left)
      storePart<v8>(
          y + whole,
          (loadPart<v8>(x + whole, left) - mean) * factor * loadPart<v8>(l->gamma + whole, left) +
              loadPart<v8>(l->beta + whole, left),
          left);
  }
}
CK_DISPATCH(norm_rows, (const Lines *l, int64_t begin, int64_t end), (l, begin, end))

void normColumns(const Lines *l, int64_t begin, int64_t end) {
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t start = unit / l->inner * l->count * l->inner + unit % l->inner;
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < l->count; ++k) sum += l->x[start + k * l->inner];
    const double mean = sum / (double)l->count;
    for (int64_t k = 0; k < l->count; ++k) {
      const double d = l->x[start + k * l->inner] - mean;
      squares += d * d;
    }
    const double factor = 1 / sqrt(squares / (double)l->count + l->epsilon);
    for (int64_t k = 0; k < l->count; ++k) {
      const int64_t place = start + k * l->inner;
      l->y[place] = (float)((l->x[place] - mean) * factor * l->gamma[k] + l->beta[k]);
    }
  }
}

/// b [depth, columns], times a factor, as packed weights.
void packColumns(const float *b, int64_t row, int64_t column, int64_t depth, int64_t columns, float factor,
                 float *packed) {
  for (int64_t first = 0; first < columns; first += panelWidth) {
    const int64_t count = std::min<int64_t>(panelWidth, columns - first);
    float *panel = packed + first * depth;
    if (count < panelWidth) std::fill_n(panel, panelWidth * depth, 0.0f);
    // Along whichever direction of b lies in memory.
    if (column == 1) {
      for (int64_t k = 0; k < depth; ++k)
        for (int64_t i = 0; i < count; ++i) panel[k * panelWidth + i] = b[k * row + first + i] * factor;
    } else {
      for (int64_t i = 0; i < count; ++i)
        for (int64_t k = 0; k < depth; ++k) panel[k * panelWidth + i] = b[k * row + (first + i) * column] * factor;
    }
  }
}

/// out [rows, columns] = a [rows, depth] times packed columns, both with contiguous lines.
void multiplyPacked(const float *a, int64_t aRow, int64_t rows, int64_t depth, const float *packed, int64_t columns,
                    float *out, int64_t outRow, ck_parallel parallel) {
  const int32_t tap = 0;
  ck_convolution c = {};
  c.batch = 1;
  c.in_height = rows, c.in_width = 1, c.in_pixel = aRow;
  c.groups = 1, c.channels = depth, c.filters = columns;
  c.out_height = rows, c.out_width = 1;
  c.out_image = rows * outRow, c.out_row = outRow, c.out_pixel = outRow;
  c.step_y = 1, c.step_x = 1, c.taps = 1;
  c.tap_y = &tap, c.tap_x = &tap;
  c.weights = packed, c.padding = a;
  ck_convolve(&c, a, nullptr, out, parallel);
}

struct Product {
  const ck_product *p;
  const float *a, *b;
  float *out, *scratch;
  int64_t perWorker;
  ck_parallel inner;
};

void multiplyPiece(void *context, int64_t begin, int64_t end, int worker) {
  const Product &job = *static_cast<const Product *>(context);
  const ck_product &p = *job.p;
  float *packed = job.scratch + worker * job.perWorker;
  float *rows = packed + ck_packed_size(1, p.depth, p.columns);
  float *result = rows + (p.a.column == 1 ? 0 : p.rows * p.depth);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t group = unit / p.matrices, matrix = unit % p.matrices;
    const float *a = job.a + group * p.a.group + matrix * p.a.matrix;
    const float *b = job.b + group * p.b.group + matrix * p.b.matrix;
    float *out = job.out + group * p.out.group + matrix * p.out.matrix;
    packColumns(b, p.b.row, p.b.column, p.depth, p.columns, 1, packed);
    int64_t aRow = p.a.row, outRow = p.out.row;
    if (p.a.column != 1) {
      for (int64_t i = 0; i < p.rows; ++i)
        for (int64_t k = 0; k < p.depth; ++k) rows[i * p.depth + k] = a[i * p.a.row + k * p.a.column];
      a = rows, aRow = p.depth;
    }
    float *target = out;
    if (p.out.column != 1) target = result, outRow = p.columns;
    multiplyPacked(a, aRow, p.rows, p.depth, packed, p.columns, target, outRow, job.inner);
    if (p.out.column != 1)
      for (int64_t i = 0; i < p.rows; ++i)
        for (int64_t j = 0; j < p.columns; ++j) out[i * p.out.row + j * p.out.column] = result[i * p.columns + j];
  }
}

/// Rows of weights of attention that are held at a time.
constexpr int64_t attentionRows = 48;

struct Attention {
  const ck_attention *a;
  const float *q, *k, *v;
  float *out, *scratch;
  int64_t perWorker;
};

void attendPiece(void *context, int64_t begin, int64_t end, int worker) {
  const Attention &job = *static_cast<const Attention *>(context);
  const ck_attention &a = *job.a;
  float *keys = job.scratch + worker * job.perWorker;
  float *values = keys + ck_packed_size(1, a.depth, a.tokens);
  float *weights = values + ck_packed_size(1, a.tokens, a.depth);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t sample = unit / a.heads, head = unit % a.heads;
    const int64_t in = sample * a.tokens * a.in_token + head * a.depth;
    packColumns(job.k + in, 1, a.in_token, a.depth, a.tokens, a.scale, keys);
    packColumns(job.v + in, a.in_token, 1, a.tokens, a.depth, 1, values);
    float *out = job.out + sample * a.tokens * a.out_token + head * a.depth;
    for (int64_t first = 0; first < a.tokens; first += attentionRows) {
      const int64_t rows = std::min(attentionRows, a.tokens - first);
      multiplyPacked(job.q + in + first * a.in_token, a.in_token, rows, a.depth, keys, a.tokens, weights, a.tokens,
                     ck_serial());
      const Lines lines = {weights, a.tokens, 1, 0, nullptr, nullptr, weights};
      softmax_rows(&lines, 0, rows);
      multiplyPacked(weights, a.tokens, rows, a.tokens, values, a.depth, out + first * a.out_token, a.out_token,
                     ck_serial());
    }
  }
}

}  // namespace

extern "C" void ck_softmax(const float *x, int64_t outer, int64_t count, int64_t inner, float *y,
                           ck_parallel parallel) {
  Lines l = {x, count, inner, 0, nullptr, nullptr, y};
  if (outer * count * inner < 8192) parallel = ck_serial();
  parallel.run(
      parallel.runner, outer,
      [](void *context, int64_t begin, int64_t end, int) {
        softmax_rows(static_cast<const Lines *>(context), begin, end);
      },
      &l);
}

extern "C" void ck_layer_norm(const float *x, int64_t outer, int64_t count, int64_t inner, double epsilon,
                              const float *gamma, const float *beta, float *y, ck_parallel parallel) {
  Lines l = {x, count, inner, epsilon, gamma, beta, y};
  if (outer * count * inner < 16384) parallel = ck_serial();
  parallel.run(
      parallel.runner, outer * inner,
      [](void *context, int64_t begin, int64_t end, int) {
        const Lines *lines = static_cast<const Lines *>(context);
        if (lines->inner == 1) norm_rows(lines, begin, end);
        else normColumns(lines, begin, end);
      },
      &l);
}

static int64_t multiplyScratch(const ck_product *p) {
  int64_t size = ck_packed_size(1, p->depth, p->columns);
  if (p->a.column != 1) size += p->rows * p->depth;
  if (p->out.column != 1) size += p->rows * p->columns;
  return (size + 15) / 16 * 16;
}

extern "C" int64_t ck_matmul_scratch_size(const ck_product *p, int workers) { return multiplyScratch(p) * workers; }

extern "C" void ck_matmul(const ck_product *p, const float *a, const float *b, float *out, float *scratch,
                            ck_parallel parallel) {
  Product job = {p, a, b, out, scratch, multiplyScratch(p), ck_serial()};
  const int64_t count = p->groups * p->matrices;
  // A single matrix is shared by rows, several are shared out.
  if (count < parallel.workers) {
    job.inner = parallel;
    parallel = ck_serial();
  }
  parallel.run(parallel.runner, count, multiplyPiece, &job);
}

static int64_t attentionScratch(const ck_attention *a) {
  const int64_t size = ck_packed_size(1, a->depth, a->tokens) + ck_packed_size(1, a->tokens, a->depth) +
                       std::min(attentionRows, a->tokens) * a->tokens;
  return (size + 15) / 16 * 16;
}

extern "C" int64_t ck_attention_scratch_size(const ck_attention *a, int workers) {
  return attentionScratch(a) * workers;
}

extern "C" void ck_attend(const ck_attention *a, const float *q, const float *k, const float *v, float *out,
                          float *scratch, ck_parallel parallel) {
  Attention job = {a, q, k, v, out, scratch, attentionScratch(a)};
  parallel.run(parallel.runner, a->batch * a->heads, attendPiece, &job);
}
