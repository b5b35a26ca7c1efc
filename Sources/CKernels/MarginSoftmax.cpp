// Softmax over scaled cosines, one block of classes at a time: the matrix of logits never exists.
//
// Forward is the online softmax (arXiv 1805.02867): each row keeps its maximum and the sum of exponentials below it, and
// rescales both, and what it has summed up for the embeddings' gradient, when a block raises the maximum.

#include <math.h>

#include "CKernels.h"
#include "Dispatch.h"

namespace {

/// The last columns of a row in a vector whose other lanes hold `rest`.
CK_INLINE v8 loadTail(const float *p, int64_t count, float rest) {
  float lanes[8];
  for (int i = 0; i < 8; ++i) lanes[i] = i < count ? p[i] : rest;
  return load8(lanes);
}
CK_INLINE void storeTail(float *p, int64_t count, v8 v) {
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

CK_INLINE void forward_rows_body(const ck_margin_block *b, int64_t begin, int64_t end) {
  const int64_t n = b->classes, whole = n / 8 * 8, tail = n - whole;
  for (int64_t i = begin; i < end; ++i) {
    float *z = b->logits + i * n;
    const int64_t own = b->labels[i] - b->first_class;
    const bool here = own >= 0 && own < n;
    v8 top = splat8(-INFINITY);
    for (int64_t j = 0; j < whole; j += 8) {
      v8 v = load8(z + j) * load8(b->reciprocal + j) * splat8(b->scale);
      store8(z + j, v);
      top = v > top ? v : top;
    }
    float highest = max8(top);
    for (int64_t j = whole; j < n; ++j) {
      z[j] *= b->reciprocal[j] * b->scale;
      highest = z[j] > highest ? z[j] : highest;
    }
    if (here) {
      // The margin may have moved the own class above or below; the maximum is taken again where it was the highest.
      const float without = z[own];
      z[own] = b->target[i];
      if (z[own] >= highest) {
        highest = z[own];
      } else if (without == highest) {
        highest = z[0];
        for (int64_t j = 1; j < n; ++j) highest = z[j] > highest ? z[j] : highest;
      }
    }
    float maximum = b->maximum[i];
    if (highest > maximum) {
      int64_t j = 0;
      while (j < n - 1 && z[j] != highest) ++j;
      b->best[i] = b->first_class + j;
      b->rescaling[i] = maximum == -INFINITY ? 0.0f : expf(maximum - highest);
      maximum = highest;
    } else {
      b->rescaling[i] = 1.0f;
    }
    b->maximum[i] = maximum;
    v8 total = splat8(0);
    for (int64_t j = 0; j < whole; j += 8) {
      v8 e = exp8(load8(z + j) - splat8(maximum));
      total += e;
      store8(z + j, e * load8(b->reciprocal + j));
    }
    float sum = sum8(total);
    if (tail) {
      v8 e = exp8(loadTail(z + whole, tail, -INFINITY) - splat8(maximum));
      for (int64_t j = 0; j < tail; ++j) sum += e[j];
      storeTail(z + whole, tail, e * loadTail(b->reciprocal + whole, tail, 0));
    }
    // The own class moves the embedding through its margin, which is the caller's business.
    if (here) z[own] = 0;
    b->sum[i] = b->sum[i] * b->rescaling[i] + sum;
  }
}
CK_DISPATCH(forward_rows, (const ck_margin_block *b, int64_t begin, int64_t end), (b, begin, end))

CK_INLINE void backward_rows_body(const ck_margin_block *b, int64_t begin, int64_t end) {
  const int64_t n = b->classes, whole = n / 8 * 8, tail = n - whole;
  for (int64_t i = begin; i < end; ++i) {
    float *z = b->logits + i * n;
    const int64_t own = b->labels[i] - b->first_class;
    const float logSum = b->log_sum[i], factor = b->scale * b->mean_factor;
    for (int64_t j = 0; j < whole; j += 8) {
      v8 v = load8(z + j) * load8(b->reciprocal + j) * splat8(b->scale) - splat8(logSum);
      store8(z + j, exp8(v) * splat8(factor));
    }
    if (tail) {
      v8 v = loadTail(z + whole, tail, 0) * loadTail(b->reciprocal + whole, tail, 0) * splat8(b->scale) - splat8(logSum);
      storeTail(z + whole, tail, exp8(v) * splat8(factor));
    }
    if (own >= 0 && own < n) z[own] = b->own_gradient[i];
  }
}
CK_DISPATCH(backward_rows, (const ck_margin_block *b, int64_t begin, int64_t end), (b, begin, end))

struct Norms {
  const float *w;
  int64_t width;
  float eps;
  float *reciprocal;
};

CK_INLINE void norm_rows_body(const Norms *p, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float *w = p->w + r * p->width;
    v8 s[4] = {splat8(0), splat8(0), splat8(0), splat8(0)};
    int64_t d = 0;
    for (; d + 32 <= p->width; d += 32)
      for (int v = 0; v < 4; ++v) {
        v8 x = load8(w + d + 8 * v);
        s[v] = x * x + s[v];
      }
    float sum = sum8((s[0] + s[1]) + (s[2] + s[3]));
    for (; d < p->width; ++d) sum += w[d] * w[d];
    p->reciprocal[r] = 1.0f / sqrtf(sum + p->eps);
  }
}
CK_DISPATCH(norm_rows, (const Norms *p, int64_t begin, int64_t end), (p, begin, end))

struct Rows {
  float *w;
  float *g;
  float *m;
  const float *reciprocal;
  int64_t width;
  float lr, momentum, wd;
};

/// Through the normalisation, then either the step of SGD or the gradient itself in place.
CK_INLINE void update_rows_body(const Rows *p, int64_t begin, int64_t end) {
  const int64_t D = p->width;
  for (int64_t r = begin; r < end; ++r) {
    float *w = p->w + r * D, *g = p->g + r * D, *m = p->m ? p->m + r * D : nullptr;
    const float inverse = p->reciprocal[r];
    v8 s[4] = {splat8(0), splat8(0), splat8(0), splat8(0)};
    int64_t d = 0;
    for (; d + 32 <= D; d += 32)
      for (int v = 0; v < 4; ++v) s[v] = load8(w + d + 8 * v) * load8(g + d + 8 * v) + s[v];
    float dot = sum8((s[0] + s[1]) + (s[2] + s[3]));
    for (; d < D; ++d) dot += w[d] * g[d];
    const float along = dot * inverse * inverse;
    d = 0;
    for (; d + 8 <= D; d += 8) {
      v8 wi = load8(w + d), gi = (load8(g + d) - wi * splat8(along)) * splat8(inverse);
      if (!m) {
        store8(g + d, gi);
        continue;
      }
      v8 mi = load8(m + d) * splat8(p->momentum) - (gi + wi * splat8(p->wd)) * splat8(p->lr);
      store8(m + d, mi);
      store8(w + d, wi + mi);
    }
    for (; d < D; ++d) {
      float gi = (g[d] - w[d] * along) * inverse;
      if (!m) {
        g[d] = gi;
        continue;
      }
      m[d] = m[d] * p->momentum - (gi + w[d] * p->wd) * p->lr;
      w[d] += m[d];
    }
  }
}
CK_DISPATCH(update_rows, (const Rows *p, int64_t begin, int64_t end), (p, begin, end))

void forwardBody(void *context, int64_t begin, int64_t end, int) {
  forward_rows(static_cast<const ck_margin_block *>(context), begin, end);
}
void backwardBody(void *context, int64_t begin, int64_t end, int) {
  backward_rows(static_cast<const ck_margin_block *>(context), begin, end);
}
void normBody(void *context, int64_t begin, int64_t end, int) {
  norm_rows(static_cast<const Norms *>(context), begin, end);
}
void updateBody(void *context, int64_t begin, int64_t end, int) {
  update_rows(static_cast<const Rows *>(context), begin, end);
}

}  // namespace

extern "C" void ck_margin_forward(const ck_margin_block *block, int64_t rows, ck_parallel parallel) {
  parallel.run(parallel.runner, rows, forwardBody, const_cast<ck_margin_block *>(block));
}

extern "C" void ck_margin_backward(const ck_margin_block *block, int64_t rows, ck_parallel parallel) {
  parallel.run(parallel.runner, rows, backwardBody, const_cast<ck_margin_block *>(block));
}

extern "C" void ck_row_norms(const float *w, int64_t rows, int64_t width, float eps, float *reciprocal,
                             ck_parallel parallel) {
  Norms p = {w, width, eps, reciprocal};
  parallel.run(parallel.runner, rows, normBody, &p);
}

extern "C" void ck_normalized_rows_update(float *w, float *g, float *m, const float *reciprocal, int64_t rows,
                                          int64_t width, float lr, float momentum, float wd, ck_parallel parallel) {
  Rows p = {w, g, m, reciprocal, width, lr, momentum, wd};
  parallel.run(parallel.runner, rows, updateBody, &p);
}
