// Fused CPU kernels on raw pointers. No allocation that outlives a call, no threads of their own: parallel loops go
// through the callback that the caller supplies. Every kernel is dispatched at run time by CPU feature and has one
// portable path.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// One contiguous piece of a parallel loop: indices [begin, end), done by worker `worker` (0 ..< workers).
typedef void (*ck_loop_body)(void *context, int64_t begin, int64_t end, int worker);

/// Runs `body` over [0, count) in at most `workers` contiguous pieces and returns when all are done.
typedef struct ck_parallel {
  int workers;
  void (*run)(void *runner, int64_t count, ck_loop_body body, void *context);
  void *runner;
} ck_parallel;

/// A runner that does the whole loop on the calling thread.
ck_parallel ck_serial(void);

/// The instruction set chosen on this machine: "avx512" (inference only, else AVX2), "avx2" or "portable".
const char *ck_instruction_set(void);
/// Forces the portable path (for tests that compare the two); 2 takes the tiles of AVX-512 without its instructions where
/// a kernel has them. Not thread-safe; 0 restores the choice by CPU.
void ck_force_portable(int on);

// Batch normalisation over rows, fused with an optional PReLU.
//
// x, y, dy, dx: [rows, channels], float32, row-major (an NHWC activation with rows = N*H*W).
// All per-channel vectors: [channels], float32. `slope` may be NULL: no activation.

/// Biased mean and variance of each channel. Accumulates shifted sums, in double across blocks of rows.
void ck_channel_statistics(const float *x, int64_t rows, int64_t channels, float *mean, float *variance,
                           ck_parallel parallel);

/// y = prelu(x * scale + shift), z -> z > 0 ? z : slope * z.
void ck_affine_prelu(const float *x, int64_t rows, int64_t channels, const float *scale, const float *shift,
                     const float *slope, float *y, ck_parallel parallel);

/// The first backward pass. With g = dL/d(x * scale + shift):
/// sum_g = sum g, sum_gx = sum g * (x - mean), grad_slope = sum over z <= 0 of dy * z (NULL when slope is NULL).
void ck_batch_norm_reduce(const float *x, const float *dy, int64_t rows, int64_t channels, const float *mean,
                          const float *scale, const float *shift, const float *slope, float *sum_g, float *sum_gx,
                          float *grad_slope, ck_parallel parallel);

/// The second backward pass: dx = scale * (g - offset - (x - mean) * factor), where for training
/// offset = sum_g / rows and factor = sum_gx / rows / (variance + eps); for frozen statistics both are 0.
void ck_batch_norm_input_gradient(const float *x, const float *dy, int64_t rows, int64_t channels, const float *mean,
                                  const float *scale, const float *shift, const float *slope, const float *offset,
                                  const float *factor, float *dx, ck_parallel parallel);

/// SGD in MXNet's form: m = momentum * m - lr * (rescale * g + wd * w); w += m. All [count], float32, contiguous.
void ck_sgd_mxnet(float *w, const float *g, float *m, int64_t count, float lr, float momentum, float wd, float rescale,
                  ck_parallel parallel);

#ifdef __cplusplus
}
#endif

#include "CKInference.h"

#endif
