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

// Softmax over scaled cosines with a margin, a block of classes at a time.

/// One block of classes and the state of each row (a face of the batch) over the blocks.
typedef struct ck_margin_block {
  /// [rows, classes]: in, the products of normalised embeddings and raw class weights; out, what the pass says.
  float *logits;
  int64_t classes, first_class;
  /// [classes]: 1 / norm of the class's weights.
  const float *reciprocal;
  /// [rows]: the own class of each row, counted over all classes.
  const int64_t *labels;
  /// [rows]: the own class's logit with the margin on.
  const float *target;
  float scale;
  // The forward pass. At first maximum is -infinity, sum 0, best 0.
  float *maximum, *sum, *rescaling;
  int64_t *best;
  // The backward pass: log of the sum over all classes; d loss / d cosine of the own class; 1 / batch.
  const float *log_sum, *own_gradient;
  float mean_factor;
} ck_margin_block;

/// Updates each row's maximum, sum of exponentials and best class; `rescaling` is by what earlier sums shrink. The logits
/// become exp(logit - maximum) / norm, 0 for the own class.
void ck_margin_forward(const ck_margin_block *block, int64_t rows, ck_parallel parallel);
/// The logits become d loss / d cosine.
void ck_margin_backward(const ck_margin_block *block, int64_t rows, ck_parallel parallel);

/// 1 / sqrt(sum of squares + eps) of each row of [rows, width].
void ck_row_norms(const float *w, int64_t rows, int64_t width, float eps, float *reciprocal, ck_parallel parallel);

/// g, the gradient by the normalised rows of w, goes through the normalisation; then a step of SGD in MXNet's form with
/// momentum m, or with m NULL g becomes the gradient by w itself.
void ck_normalized_rows_update(float *w, float *g, float *m, const float *reciprocal, int64_t rows, int64_t width,
                               float lr, float momentum, float wd, ck_parallel parallel);

#ifdef __cplusplus
}
#endif

#include "CKDetection.h"
#include "CKInference.h"

#endif
