// Functions of elements, lines and windows for the parts of a network that no convolution takes in.

#include <math.h>

#include <algorithm>
#include <limits>

#include "Vectors.h"

using namespace ck;

namespace {

struct Affine {
  const float *x;
  int64_t outer, channels, inner;
  const float *scale, *shift;
  const ck_epilogue *e;
  const float *residual;
  float *y;
};

CK_INLINE void affine_rows_body(const Affine *a, int64_t begin, int64_t end) {
  const int64_t C = a->channels;
  ck_epilogue e = *a->e;
  e.bias = nullptr;
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t c = 0; c < C; c += 8) {
      const int64_t count = std::min<int64_t>(8, C - c), offset = r * C;
      const float *x = a->x + offset + c;
      v8 z[1][1] = {{count == 8 ? load8(x) : loadPart<v8>(x, count)}};
      if (a->scale) {
        v8 s = count == 8 ? load8(a->scale + c) : loadPart<v8>(a->scale + c, count);
        v8 t = count == 8 ? load8(a->shift + c) : loadPart<v8>(a->shift + c, count);
        z[0][0] = z[0][0] * s + t;
      }
      finish<v8, 1, 1>(z, e, c, count, &offset, c, a->residual, a->y);
    }
  }
}
CK_DISPATCH(affine_rows, (const Affine *a, int64_t begin, int64_t end), (a, begin, end))

float activated(float z, const ck_epilogue &e, int64_t c) {
  switch (e.activation) {
    case ck_activation_relu: return z > 0 ? z : 0;
    case ck_activation_slope: return z > 0 ? z : z * e.slope[c];
    case ck_activation_clip: return std::min(std::max(z, e.low), e.high);
    default: return z;
  }
}

void affinePlanes(void *context, int64_t begin, int64_t end, int) {
  const Affine &a = *static_cast<const Affine *>(context);
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t c = plane % a.channels, start = plane * a.inner;
    const float scale = a.scale ? a.scale[c] : 1, shift = a.scale ? a.shift[c] : 0;
    for (int64_t i = start; i < start + a.inner; ++i) {
      float z = a.x[i] * scale + shift;
      if (a.residual && a.e->residual_first) z += a.residual[i];
      z = activated(z, *a.e, c);
      if (a.residual && !a.e->residual_first) z += a.residual[i];
      a.y[i] = z;
    }
  }
}

struct Unary {
  int kind;
  const float *x;
  float parameter;
  float *y;
};

void unaryPiece(void *context, int64_t begin, int64_t end, int) {
  const Unary &u = *static_cast<const Unary *>(context);
  auto each = [&](auto f) {
    for (int64_t i = begin; i < end; ++i) u.y[i] = f(u.x[i]);
  };
  const float p = u.parameter;
  switch (u.kind) {
    case ck_unary_sigmoid: return each([](float x) { return 1 / (1 + expf(-x)); });
    case ck_unary_tanh: return each([](float x) { return tanhf(x); });
    case ck_unary_softplus: return each([](float x) { return x > 40 ? x : log1pf(expf(x)); });
    case ck_unary_softsign: return each([](float x) { return x / (1 + fabsf(x)); });
    case ck_unary_elu: return each([p](float x) { return x > 0 ? x : p * expm1f(x); });
    case ck_unary_divide_into: return each([p](float x) { return p / x; });
    // erfc keeps its digits where the sum of 1 and erf has lost them.
    case ck_unary_gelu: return each([](float x) { return 0.5f * x * erfcf(-x * 0.70710678f); });
    case ck_unary_square_root: return each([](float x) { return sqrtf(x); });
    case ck_unary_maximum: return each([p](float x) { return x < p ? p : x; });
    default: return each([p](float x) { return p < x ? p : x; });
  }
}

struct Pooling {
  const ck_pooling *p;
  const float *in;
  float *out;
};

CK_INLINE void pool_rows_body(const Pooling *job, int64_t begin, int64_t end) {
  const ck_pooling &p = *job->p;
  const float least = -std::numeric_limits<float>::infinity();
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit / p.out_height, row = unit % p.out_height, top = row * p.step_y - p.top;
    const int64_t bottom = std::min(top + p.kernel_y, p.height + p.bottom);
    const int64_t y0 = std::max<int64_t>(top, 0), y1 = std::max(y0, std::min(bottom, p.height));
    for (int64_t column = 0; column < p.out_width; ++column) {
      const int64_t left = column * p.step_x - p.left, right = std::min(left + p.kernel_x, p.width + p.right);
      const int64_t x0 = std::max<int64_t>(left, 0), x1 = std::max(x0, std::min(right, p.width));
      const int64_t counted = p.counts_padding ? (bottom - top) * (right - left) : (y1 - y0) * (x1 - x0);
      const float *image = job->in + n * p.height * p.width * p.channels;
      float *out = job->out + (unit * p.out_width + column) * p.channels;
      for (int64_t c = 0; c < p.channels; c += 8) {
        const int64_t count = std::min<int64_t>(8, p.channels - c);
        v8 z = splat8(p.kind == ck_pool_max ? least : 0);
        for (int64_t y = y0; y < y1; ++y)
          for (int64_t x = x0; x < x1; ++x) {
            const float *from = image + (y * p.width + x) * p.channels + c;
            v8 value = count == 8 ? load8(from) : loadPart<v8>(from, count);
            z = p.kind == ck_pool_max ? larger<v8>(z, value) : z + value;
          }
        if (p.kind == ck_pool_average) z = z / (float)counted;
        if (count == 8) store8(out + c, z);
        else storePart<v8>(out + c, z, count);
      }
    }
  }
}
CK_DISPATCH(pool_rows, (const Pooling *job, int64_t begin, int64_t end), (job, begin, end))

}  // namespace

extern "C" void ck_affine(const float *x, int64_t outer, int64_t channels, int64_t inner, const float *scale,
                          const float *shift, const ck_epilogue *epilogue, const float *residual, float *y,
                          ck_parallel parallel) {
  Affine a = {x, outer, channels, inner, scale, shift, epilogue, residual, y};
  if (outer * channels * inner < 32768) parallel = ck_serial();
  if (inner != 1) return parallel.run(parallel.runner, outer * channels, affinePlanes, &a);
  parallel.run(
      parallel.runner, outer,
      [](void *context, int64_t begin, int64_t end, int) {
        affine_rows(static_cast<const Affine *>(context), begin, end);
      },
      &a);
}

extern "C" void ck_unary(int kind, const float *x, int64_t count, float parameter, float *y, ck_parallel parallel) {
  Unary u = {kind, x, parameter, y};
  if (count < 8192) parallel = ck_serial();
  parallel.run(parallel.runner, count, unaryPiece, &u);
}

extern "C" void ck_pool_images(const ck_pooling *pooling, const float *in, float *out, ck_parallel parallel) {
  Pooling job = {pooling, in, out};
  const int64_t rows = pooling->batch * pooling->out_height;
  if (rows * pooling->out_width * pooling->channels < 4096) parallel = ck_serial();
  parallel.run(
      parallel.runner, rows,
      [](void *context, int64_t begin, int64_t end, int) {
        pool_rows(static_cast<const Pooling *>(context), begin, end);
      },
      &job);
}

extern "C" void ck_l2_normalize(const float *x, int64_t outer, int64_t count, int64_t inner, double epsilon,
                                float *y) {
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const int64_t start = o * count * inner + i;
      double sum = epsilon;
      for (int64_t k = 0; k < count; ++k) sum += (double)x[start + k * inner] * x[start + k * inner];
      const double root = sqrt(sum);
      for (int64_t k = 0; k < count; ++k) y[start + k * inner] = (float)(x[start + k * inner] / root);
    }
}
