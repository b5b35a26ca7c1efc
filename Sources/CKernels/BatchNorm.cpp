// Batch normalisation fused with PReLU. Memory-bound: each pass reads its inputs once, in blocks of rows that stay in
// the L1/L2 cache while the channel blocks pass over them with their accumulators in registers.

#include <stdlib.h>

#include <vector>

#include "CKernels.h"
#include "Dispatch.h"

namespace {

constexpr int64_t rowsPerBlock = 64;

/// Below this many elements a second thread costs more than it brings.
constexpr int64_t serialElements = 16384;

struct Problem {
  const float *x, *dy;
  int64_t rows, channels;
  const float *mean, *scale, *shift, *slope, *offset, *factor, *pivot;
  float *out;
  double *sums;  // [workers, sumsPerChannel, channels]
  int sumsPerChannel;
};

CK_INLINE v8 select8(v8 condition, v8 positive, v8 negative) { return condition > 0.0f ? positive : negative; }

/// Sums of (x - pivot) and (x - pivot)^2 over a block of rows, vectors of `V` * 8 channels.
template <int V>
CK_INLINE void statistics_block(const Problem *p, int64_t begin, int64_t end, int64_t c, double *sums) {
  v8 s[V], q[V], k[V];
  for (int v = 0; v < V; ++v) s[v] = q[v] = splat8(0), k[v] = load8(p->pivot + c + 8 * v);
  for (int64_t r = begin; r < end; ++r) {
    const float *x = p->x + r * p->channels + c;
    for (int v = 0; v < V; ++v) {
      v8 d = load8(x + 8 * v) - k[v];
      s[v] += d;
      q[v] = d * d + q[v];
    }
  }
  for (int v = 0; v < V; ++v)
    for (int i = 0; i < 8; ++i) {
      sums[c + 8 * v + i] += s[v][i];
      sums[p->channels + c + 8 * v + i] += q[v][i];
    }
}

CK_INLINE void statistics_piece_body(const Problem *p, int64_t begin, int64_t end, double *sums) {
  for (int64_t r = begin; r < end; r += rowsPerBlock) {
    int64_t stop = r + rowsPerBlock < end ? r + rowsPerBlock : end;
    int64_t c = 0;
    for (; c + 32 <= p->channels; c += 32) statistics_block<4>(p, r, stop, c, sums);
    for (; c + 8 <= p->channels; c += 8) statistics_block<1>(p, r, stop, c, sums);
    for (; c < p->channels; ++c)
      for (int64_t i = r; i < stop; ++i) {
        double d = p->x[i * p->channels + c] - p->pivot[c];
        sums[c] += d;
        sums[p->channels + c] += d * d;
      }
  }
}
CK_DISPATCH(statistics_piece, (const Problem *p, int64_t begin, int64_t end, double *sums), (p, begin, end, sums))

template <bool Activation>
CK_INLINE void affine_rows(const Problem *p, int64_t begin, int64_t end) {
  const int64_t C = p->channels;
  for (int64_t r = begin; r < end; ++r) {
    const float *x = p->x + r * C;
    float *y = p->out + r * C;
    int64_t c = 0;
    for (; c + 8 <= C; c += 8) {
      v8 z = load8(x + c) * load8(p->scale + c) + load8(p->shift + c);
      if (Activation) z = select8(z, z, z * load8(p->slope + c));
      store8(y + c, z);
    }
    for (; c < C; ++c) {
      float z = x[c] * p->scale[c] + p->shift[c];
      if (Activation) z = z > 0 ? z : z * p->slope[c];
      y[c] = z;
    }
  }
}

CK_INLINE void affine_piece_body(const Problem *p, int64_t begin, int64_t end) {
  if (p->slope) affine_rows<true>(p, begin, end);
  else affine_rows<false>(p, begin, end);
}
CK_DISPATCH(affine_piece, (const Problem *p, int64_t begin, int64_t end), (p, begin, end))

template <int V, bool Activation>
CK_INLINE void reduce_block(const Problem *p, int64_t begin, int64_t end, int64_t c, double *sums) {
  const int64_t C = p->channels;
  v8 g0[V], g1[V], ds[V];
  for (int v = 0; v < V; ++v) g0[v] = g1[v] = ds[v] = splat8(0);
  for (int64_t r = begin; r < end; ++r) {
    const float *x = p->x + r * C + c, *dy = p->dy + r * C + c;
    for (int v = 0; v < V; ++v) {
      v8 xi = load8(x + 8 * v), g = load8(dy + 8 * v);
      if (Activation) {
        v8 z = xi * load8(p->scale + c + 8 * v) + load8(p->shift + c + 8 * v);
        ds[v] += select8(z, splat8(0), g * z);
        g = select8(z, g, g * load8(p->slope + c + 8 * v));
      }
      g0[v] += g;
      g1[v] = g * (xi - load8(p->mean + c + 8 * v)) + g1[v];
    }
  }
  for (int v = 0; v < V; ++v)
    for (int i = 0; i < 8; ++i) {
      sums[c + 8 * v + i] += g0[v][i];
      sums[C + c + 8 * v + i] += g1[v][i];
      if (Activation) sums[2 * C + c + 8 * v + i] += ds[v][i];
    }
}

template <bool Activation>
CK_INLINE void reduce_rows(const Problem *p, int64_t begin, int64_t end, double *sums) {
  const int64_t C = p->channels;
  for (int64_t r = begin; r < end; r += rowsPerBlock) {
    int64_t stop = r + rowsPerBlock < end ? r + rowsPerBlock : end;
    int64_t c = 0;
    for (; c + 16 <= C; c += 16) reduce_block<2, Activation>(p, r, stop, c, sums);
    for (; c + 8 <= C; c += 8) reduce_block<1, Activation>(p, r, stop, c, sums);
    for (; c < C; ++c)
      for (int64_t i = r; i < stop; ++i) {
        float xi = p->x[i * C + c], g = p->dy[i * C + c];
        if (Activation) {
          float z = xi * p->scale[c] + p->shift[c];
          if (!(z > 0)) {
            sums[2 * C + c] += g * z;
            g *= p->slope[c];
          }
        }
        sums[c] += g;
        sums[C + c] += g * (xi - p->mean[c]);
      }
  }
}

CK_INLINE void reduce_piece_body(const Problem *p, int64_t begin, int64_t end, double *sums) {
  if (p->slope) reduce_rows<true>(p, begin, end, sums);
  else reduce_rows<false>(p, begin, end, sums);
}
CK_DISPATCH(reduce_piece, (const Problem *p, int64_t begin, int64_t end, double *sums), (p, begin, end, sums))

template <bool Activation>
CK_INLINE void gradient_rows(const Problem *p, int64_t begin, int64_t end) {
  const int64_t C = p->channels;
  for (int64_t r = begin; r < end; ++r) {
    const float *x = p->x + r * C, *dy = p->dy + r * C;
    float *dx = p->out + r * C;
    int64_t c = 0;
    for (; c + 8 <= C; c += 8) {
      v8 xi = load8(x + c), g = load8(dy + c), a = load8(p->scale + c);
      if (Activation) {
        v8 z = xi * a + load8(p->shift + c);
        g = select8(z, g, g * load8(p->slope + c));
      }
      v8 centred = xi - load8(p->mean + c);
      store8(dx + c, a * (g - load8(p->offset + c) - centred * load8(p->factor + c)));
    }
    for (; c < C; ++c) {
      float xi = x[c], g = dy[c];
      if (Activation) {
        float z = xi * p->scale[c] + p->shift[c];
        if (!(z > 0)) g *= p->slope[c];
      }
      dx[c] = p->scale[c] * (g - p->offset[c] - (xi - p->mean[c]) * p->factor[c]);
    }
  }
}

CK_INLINE void gradient_piece_body(const Problem *p, int64_t begin, int64_t end) {
  if (p->slope) gradient_rows<true>(p, begin, end);
  else gradient_rows<false>(p, begin, end);
}
CK_DISPATCH(gradient_piece, (const Problem *p, int64_t begin, int64_t end), (p, begin, end))

double *workerSums(const Problem *p, int worker) {
  return p->sums + (int64_t)worker * p->sumsPerChannel * p->channels;
}

void statisticsBody(void *context, int64_t begin, int64_t end, int worker) {
  auto p = static_cast<const Problem *>(context);
  statistics_piece(p, begin, end, workerSums(p, worker));
}
void affineBody(void *context, int64_t begin, int64_t end, int) {
  affine_piece(static_cast<const Problem *>(context), begin, end);
}
void reduceBody(void *context, int64_t begin, int64_t end, int worker) {
  auto p = static_cast<const Problem *>(context);
  reduce_piece(p, begin, end, workerSums(p, worker));
}
void gradientBody(void *context, int64_t begin, int64_t end, int) {
  gradient_piece(static_cast<const Problem *>(context), begin, end);
}

ck_parallel fitting(const Problem &p, ck_parallel parallel) {
  return p.rows * p.channels < serialElements ? ck_serial() : parallel;
}

/// Runs a reducing pass and adds the workers' sums in the order of the workers: [sumsPerChannel, channels].
std::vector<double> reduced(Problem &p, int sumsPerChannel, ck_parallel parallel, ck_loop_body body) {
  parallel = fitting(p, parallel);
  std::vector<double> sums((size_t)parallel.workers * sumsPerChannel * p.channels, 0.0);
  p.sums = sums.data();
  p.sumsPerChannel = sumsPerChannel;
  parallel.run(parallel.runner, p.rows, body, &p);
  const size_t count = (size_t)sumsPerChannel * p.channels;
  for (int w = 1; w < parallel.workers; ++w)
    for (size_t i = 0; i < count; ++i) sums[i] += sums[w * count + i];
  sums.resize(count);
  return sums;
}

}  // namespace

extern "C" void ck_channel_statistics(const float *x, int64_t rows, int64_t channels, float *mean, float *variance,
                                      ck_parallel parallel) {
  Problem p = {};
  p.x = x, p.rows = rows, p.channels = channels;
  p.pivot = x;  // the first row: keeps the sums small where the mean is far from 0
  auto sums = reduced(p, 2, parallel, statisticsBody);
  for (int64_t c = 0; c < channels; ++c) {
    double m = sums[c] / rows, v = sums[channels + c] / rows - m * m;
    mean[c] = (float)(m + x[c]);
    variance[c] = (float)(v > 0 ? v : 0);
  }
}

extern "C" void ck_affine_prelu(const float *x, int64_t rows, int64_t channels, const float *scale, const float *shift,
                                const float *slope, float *y, ck_parallel parallel) {
  Problem p = {};
  p.x = x, p.rows = rows, p.channels = channels, p.scale = scale, p.shift = shift, p.slope = slope, p.out = y;
  parallel = fitting(p, parallel);
  parallel.run(parallel.runner, rows, affineBody, &p);
}

extern "C" void ck_batch_norm_reduce(const float *x, const float *dy, int64_t rows, int64_t channels,
                                     const float *mean, const float *scale, const float *shift, const float *slope,
                                     float *sum_g, float *sum_gx, float *grad_slope, ck_parallel parallel) {
  Problem p = {};
  p.x = x, p.dy = dy, p.rows = rows, p.channels = channels;
  p.mean = mean, p.scale = scale, p.shift = shift, p.slope = slope;
  auto sums = reduced(p, 3, parallel, reduceBody);
  for (int64_t c = 0; c < channels; ++c) {
    sum_g[c] = (float)sums[c];
    sum_gx[c] = (float)sums[channels + c];
    if (slope) grad_slope[c] = (float)sums[2 * channels + c];
  }
}

extern "C" void ck_batch_norm_input_gradient(const float *x, const float *dy, int64_t rows, int64_t channels,
                                             const float *mean, const float *scale, const float *shift,
                                             const float *slope, const float *offset, const float *factor, float *dx,
                                             ck_parallel parallel) {
  Problem p = {};
  p.x = x, p.dy = dy, p.rows = rows, p.channels = channels;
  p.mean = mean, p.scale = scale, p.shift = shift, p.slope = slope, p.offset = offset, p.factor = factor, p.out = dx;
  parallel = fitting(p, parallel);
  parallel.run(parallel.runner, rows, gradientBody, &p);
}
