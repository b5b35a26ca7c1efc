// What moves or combines elements without learning: import of images, strided copies, arithmetic with broadcasting.

#include <math.h>

#include "CKernels.h"
#include "Dispatch.h"

namespace {

struct Import {
  const ck_import *i;
  const float *floats;
  const uint8_t *bytes;
  float *out;
  bool isReversed;
};

/// One row of pixels; three channels, the usual case, are written together, in vectors.
template <class T>
CK_INLINE void importRow(const ck_import &i, const T *source, int64_t channelStep, int64_t pixelStep, float *row) {
  if (i.channels == 3) {
    const float s0 = i.scale[0], s1 = i.scale[1], s2 = i.scale[2], a0 = i.shift[0], a1 = i.shift[1], a2 = i.shift[2];
    const T *p0 = source, *p1 = p0 + channelStep, *p2 = p1 + channelStep;
    for (int64_t x = 0; x < i.width; ++x) {
      row[3 * x] = p0[x * pixelStep] * s0 + a0;
      row[3 * x + 1] = p1[x * pixelStep] * s1 + a1;
      row[3 * x + 2] = p2[x * pixelStep] * s2 + a2;
    }
    return;
  }
  for (int64_t c = 0; c < i.channels; ++c) {
    const float scale = i.scale[c], shift = i.shift[c];
    for (int64_t x = 0; x < i.width; ++x)
      row[x * i.channels + c] = source[c * channelStep + x * pixelStep] * scale + shift;
  }
}

CK_INLINE void import_rows_body(const Import &job, int64_t begin, int64_t end) {
  const ck_import &i = *job.i;
  const int64_t C = i.channels, W = i.left + i.width + i.right, H = i.top + i.height + i.bottom;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t n = unit / H, y = unit % H - i.top;
    float *row = job.out + unit * W * C;
    if (y < 0 || y >= i.height) {
      memset(row, 0, W * C * sizeof(float));
      continue;
    }
    memset(row, 0, i.left * C * sizeof(float));
    row += i.left * C;
    if (job.bytes) {
      const uint8_t *from = job.bytes + (n * i.height + y) * i.width * C;
      if (job.isReversed) importRow(i, from + C - 1, -1, C, row);
      else importRow(i, from, 1, C, row);
    } else {
      importRow(i, job.floats + (n * C * i.height + y) * i.width, i.height * i.width, 1, row);
    }
    memset(row + i.width * C, 0, i.right * C * sizeof(float));
  }
}
CK_DISPATCH(import_rows, (const Import &job, int64_t begin, int64_t end), (job, begin, end))

void importRows(void *context, int64_t begin, int64_t end, int) {
  import_rows(*static_cast<const Import *>(context), begin, end);
}

void run(Import &job, ck_parallel parallel) {
  const ck_import &i = *job.i;
  const int64_t rows = i.batch * (i.top + i.height + i.bottom);
  if (rows * i.width * i.channels < 65536) parallel = ck_serial();
  parallel.run(parallel.runner, rows, importRows, &job);
}

void copy(const float *in, const int64_t *is, float *out, const int64_t *os, const int64_t *sizes, int rank) {
  const int64_t count = *sizes;
  if (rank > 1) {
    for (int64_t i = 0; i < count; ++i) copy(in + i * *is, is + 1, out + i * *os, os + 1, sizes + 1, rank - 1);
  } else if (*is == 1 && *os == 1) {
    memcpy(out, in, count * sizeof(float));
  } else {
    const int64_t from = *is, to = *os;
    for (int64_t i = 0; i < count; ++i) out[i * to] = in[i * from];
  }
}

template <class F>
void binary(F f, const float *a, const int64_t *as, const float *b, const int64_t *bs, float *&out,
            const int64_t *sizes, int rank) {
  const int64_t count = *sizes, stepA = *as, stepB = *bs;
  if (rank > 1) {
    for (int64_t i = 0; i < count; ++i) binary(f, a + i * stepA, as + 1, b + i * stepB, bs + 1, out, sizes + 1, rank - 1);
    return;
  }
  // The common steps stand for themselves so that they become vector loops.
  if (stepA == 1 && stepB == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = f(a[i], b[i]);
  } else if (stepA == 1 && stepB == 0) {
    const float y = *b;
    for (int64_t i = 0; i < count; ++i) out[i] = f(a[i], y);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = f(a[i * stepA], b[i * stepB]);
  }
  out += count;
}

}  // namespace

extern "C" void ck_import_floats(const ck_import *import, const float *in, float *out, ck_parallel parallel) {
  Import job = {import, in, nullptr, out, false};
  run(job, parallel);
}

extern "C" void ck_import_bytes(const ck_import *import, const uint8_t *in, int reverse, float *out,
                                ck_parallel parallel) {
  Import job = {import, nullptr, in, out, reverse != 0};
  run(job, parallel);
}

extern "C" void ck_upsample_nearest(const float *in, int64_t batch, int64_t height, int64_t width, int64_t channels,
                                    int64_t scale, float *out, ck_parallel parallel) {
  struct Call {
    const float *in;
    float *out;
    int64_t width, channels, scale;
  } call = {in, out, width, channels, scale};
  if (batch * height * width * channels * scale * scale < 32768) parallel = ck_serial();
  parallel.run(
      parallel.runner, batch * height,
      [](void *context, int64_t begin, int64_t end, int) {
        const Call &c = *static_cast<const Call *>(context);
        const int64_t line = c.width * c.channels, wide = line * c.scale;
        for (int64_t row = begin; row < end; ++row) {
          float *first = c.out + row * c.scale * wide, *to = first;
          for (int64_t x = 0; x < c.width; ++x)
            for (int64_t i = 0; i < c.scale; ++i, to += c.channels)
              memcpy(to, c.in + row * line + x * c.channels, c.channels * sizeof(float));
          for (int64_t i = 1; i < c.scale; ++i) memcpy(first + i * wide, first, wide * sizeof(float));
        }
      },
      &call);
}

extern "C" void ck_strided_copy(const float *in, const int64_t *in_strides, float *out, const int64_t *out_strides,
                                const int64_t *sizes, int rank) {
  if (rank == 0) *out = *in;
  else copy(in, in_strides, out, out_strides, sizes, rank);
}

extern "C" void ck_strided_binary(int kind, const float *a, const int64_t *as, const float *b, const int64_t *bs,
                                  float *out, const int64_t *sizes, int rank) {
  static const int64_t one = 1, zero = 0;
  if (rank == 0) as = bs = &zero, sizes = &one, rank = 1;
  switch (kind) {
    case ck_add: return binary([](float x, float y) { return x + y; }, a, as, b, bs, out, sizes, rank);
    case ck_subtract: return binary([](float x, float y) { return x - y; }, a, as, b, bs, out, sizes, rank);
    case ck_multiply: return binary([](float x, float y) { return x * y; }, a, as, b, bs, out, sizes, rank);
    case ck_divide: return binary([](float x, float y) { return x / y; }, a, as, b, bs, out, sizes, rank);
    case ck_maximum: return binary([](float x, float y) { return x < y ? y : x; }, a, as, b, bs, out, sizes, rank);
    default: return binary([](float x, float y) { return y < x ? y : x; }, a, as, b, bs, out, sizes, rank);
  }
}
