// Kernels that run a trained network. Activations are float32 and channels-last: images (N, H, W, C), dense.
//
// Every output element is computed in one fixed order of additions, whatever the number of workers and however a loop is
// cut into pieces: results do not depend on threads.
#ifndef CKINFERENCE_H
#define CKINFERENCE_H

#include "CKernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// Threads.

/// Threads that wait for parallel loops.
typedef struct ck_pool ck_pool;

/// A pool for loops of at most `workers` workers, the calling thread among them; fewer where the system has no more
/// threads. NULL only where memory is out.
ck_pool *ck_pool_create(int workers);
/// Ends the threads; no loop may be running.
void ck_pool_destroy(ck_pool *pool);
/// Loops on this pool. Pieces are handed out as workers come, so one worker may get several. A loop that finds the pool busy
/// with another caller's runs on its own thread. `pool` may be NULL: serial.
ck_parallel ck_pool_parallel(ck_pool *pool);
/// Numbers of the processors that this process may run on; returns how many were written, at most `limit`. Linux only, else 0.
int ck_allowed_cpus(int32_t *cpus, int limit);

// Convolutions and matrix products.

enum { ck_activation_none = 0, ck_activation_relu = 1, ck_activation_slope = 2, ck_activation_clip = 3 };

/// What happens to a sum before it is stored.
typedef struct ck_epilogue {
  const float *bias;   ///< Added first; NULL: nothing. Padded as the weights are.
  const float *slope;  ///< For ck_activation_slope: z > 0 ? z : slope * z. Padded as the weights are.
  float low, high;     ///< For ck_activation_clip.
  int32_t activation;
  int32_t residual_first;  ///< 1: activation(z + residual); 0: activation(z) + residual.
} ck_epilogue;

/// A sum over taps: out[y][x] = sum over t of in[y * step_y + tap_y[t]][x * step_x + tap_x[t]] . w[t].
///
/// A convolution, a phase of a transposed convolution, a matrix product (one tap, one column).
typedef struct ck_convolution {
  int64_t batch;
  int64_t in_height, in_width, in_pixel;  ///< in_pixel: floats from pixel to pixel; rows and images follow densely.
  int64_t groups, channels, filters;      ///< channels and filters of one group.
  int64_t out_height, out_width;          ///< Pixels to compute.
  int64_t out_image, out_row, out_pixel;  ///< Floats from image to image, row to row, pixel to pixel.
  int64_t step_y, step_x;
  int64_t taps;
  const int32_t *tap_y, *tap_x;
  const float *weights;  ///< As ck_pack_weights or ck_pack_depthwise leaves them.
  const float *padding;  ///< [groups * channels]: what lies outside the image.
  ck_epilogue epilogue;
} ck_convolution;

/// Output channels that packed weights, bias and slope are padded to: 16, for each group.
int64_t ck_padded_channels(int64_t filters);
/// Floats of packed weights of one group.
int64_t ck_packed_size(int64_t taps, int64_t channels, int64_t filters);
/// Packs weights [filters, taps * channels], tap slower than channel, of one group.
void ck_pack_weights(const float *weights, int64_t taps, int64_t channels, int64_t filters, float *packed);

/// Any convolution. `residual` has the strides of `out`, or is NULL.
void ck_convolve(const ck_convolution *convolution, const float *in, const float *residual, float *out,
                 ck_parallel parallel);

/// A convolution whose groups hold one channel and one filter each; weights [taps, ck_padded_channels(groups)].
void ck_convolve_depthwise(const ck_convolution *convolution, const float *in, const float *residual, float *out,
                           ck_parallel parallel);

// Winograd's form of a 3x3 convolution of stride 1, without groups, for output tiles of 2x2 or 4x4.

/// Floats of transformed, packed weights.
int64_t ck_winograd_weights_size(int tile, int64_t channels, int64_t filters);
/// Floats from a filter of 3x3 weights to the next, from channel to channel, row to row, column to column; any may be negative.
typedef struct ck_filter_steps {
  int64_t filter, channel, row, column;
} ck_filter_steps;
/// Transforms and packs weights; with `weights` at the last tap and steps back from there it packs them turned round, as the
/// gradient of the input wants them.
void ck_winograd_pack(int tile, const float *weights, ck_filter_steps steps, int64_t channels, int64_t filters,
                      float *packed, ck_parallel parallel);
/// Floats of scratch memory that ck_winograd needs with this many workers.
int64_t ck_winograd_scratch_size(int tile, const ck_convolution *convolution, int workers);
/// The convolution; tap_y[0] and tap_x[0] are the negated padding.
void ck_winograd(int tile, const ck_convolution *convolution, const float *in, const float *residual, float *out,
                 float *scratch, ck_parallel parallel);
/// Floats of scratch memory that ck_winograd_weight_gradient needs.
int64_t ck_winograd_weight_gradient_scratch_size(const ck_convolution *convolution);
/// The gradient of a convolution's weights by output tiles of 2x2: `in` and the gradient `dy` of the output as the convolution
/// lays them; its weights and epilogue are not read. dw lies as `steps` says and is overwritten.
void ck_winograd_weight_gradient(const ck_convolution *convolution, const float *in, const float *dy, float *dw,
                                 ck_filter_steps steps, float *scratch, ck_parallel parallel);

// What comes in.

/// Images on their way into a network: out[n][y + top][x + left][c] = in * scale[c] + shift[c], the border is 0.
typedef struct ck_import {
  int64_t batch, channels, height, width;
  int64_t top, left, bottom, right;
  const float *scale, *shift;
} ck_import;

/// From float32 (N, C, H, W).
void ck_import_floats(const ck_import *import, const float *in, float *out, ck_parallel parallel);
/// From uint8 (N, H, W, C); with `reverse` the channels come in the opposite order.
void ck_import_bytes(const ck_import *import, const uint8_t *in, int reverse, float *out, ck_parallel parallel);

// Everything else.

enum { ck_pool_max = 0, ck_pool_average = 1, ck_pool_sum = 2 };

typedef struct ck_pooling {
  int64_t batch, height, width, channels, out_height, out_width;
  int64_t kernel_y, kernel_x, step_y, step_x;
  int64_t top, left, bottom, right;
  int32_t kind, counts_padding;
} ck_pooling;

/// Pooling of (N, H, W, C). A window counts padding, but not what hangs over beyond it.
void ck_pool_images(const ck_pooling *pooling, const float *in, float *out, ck_parallel parallel);

enum { ck_rank_limit = 8 };

/// Every pixel of (N, H, W, C) repeated `scale` times in both directions.
void ck_upsample_nearest(const float *in, int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t scale,
                         float *out, ck_parallel parallel);

/// Copies `sizes` elements with these strides for each dimension; at most ck_rank_limit dimensions.
void ck_strided_copy(const float *in, const int64_t *in_strides, float *out, const int64_t *out_strides,
                     const int64_t *sizes, int rank);

enum { ck_add = 0, ck_subtract = 1, ck_multiply = 2, ck_divide = 3, ck_maximum = 4, ck_minimum = 5 };

/// out = a (kind) b, out dense in the order of `sizes`; a stride of 0 repeats.
void ck_strided_binary(int kind, const float *a, const int64_t *a_strides, const float *b, const int64_t *b_strides,
                       float *out, const int64_t *sizes, int rank);

/// y = activation(x * scale[c] + shift[c]) for x [outer, channels, inner]; scale and shift NULL: 1 and 0. The arrays of
/// the epilogue are padded to a multiple of 16; its bias is not used, `residual` is that of a convolution. x may be y.
void ck_affine(const float *x, int64_t outer, int64_t channels, int64_t inner, const float *scale, const float *shift,
               const ck_epilogue *epilogue, const float *residual, float *y, ck_parallel parallel);

enum {
  ck_unary_sigmoid = 0, ck_unary_tanh = 1, ck_unary_softplus = 2, ck_unary_softsign = 3, ck_unary_elu = 4,
  ck_unary_divide_into = 5, ck_unary_maximum = 6, ck_unary_minimum = 7,
  ck_unary_gelu = 8, ck_unary_square_root = 9
};

/// y = f(x) for `count` elements; `parameter` is the constant or slope. x may be y.
void ck_unary(int kind, const float *x, int64_t count, float parameter, float *y, ck_parallel parallel);

/// Exponentials divided by their sum over the middle dimension of [outer, count, inner]. x may be y.
void ck_softmax(const float *x, int64_t outer, int64_t count, int64_t inner, float *y, ck_parallel parallel);
/// Division by sqrt(sum of squares + epsilon) over the middle dimension. x may be y.
void ck_l2_normalize(const float *x, int64_t outer, int64_t count, int64_t inner, double epsilon, float *y);

// Transformers.

/// (x - mean) / sqrt(variance + epsilon) * gamma[k] + beta[k] over the middle dimension of [outer, count, inner], biased
/// variance. x may be y.
void ck_layer_norm(const float *x, int64_t outer, int64_t count, int64_t inner, double epsilon, const float *gamma,
                   const float *beta, float *y, ck_parallel parallel);

/// Where the matrices of a product lie: elements from one to the next matrix of a group, group, row and column.
typedef struct ck_matrices {
  int64_t group, matrix, row, column;
} ck_matrices;

/// [groups, matrices] products of matrices, [rows, depth] by [depth, columns].
typedef struct ck_product {
  int64_t groups, matrices, rows, depth, columns;
  ck_matrices a, b, out;
} ck_product;

/// Floats of scratch memory that ck_matmul needs with this many workers.
int64_t ck_matmul_scratch_size(const ck_product *product, int workers);
/// out = a b, whatever the layouts.
void ck_matmul(const ck_product *product, const float *a, const float *b, float *out, float *scratch,
                 ck_parallel parallel);

/// softmax(scale * Q K^T) V for each head. Q, K, V and the result are [batch, tokens, heads, depth]; depth is contiguous,
/// heads lie `depth` apart, tokens `in_token` in Q, K and V and `out_token` in the result.
typedef struct ck_attention {
  int64_t batch, tokens, heads, depth, in_token, out_token;
  float scale;
} ck_attention;

/// Floats of scratch memory that ck_attend needs with this many workers.
int64_t ck_attention_scratch_size(const ck_attention *attention, int workers);
/// Attention of all tokens to all.
void ck_attend(const ck_attention *attention, const float *q, const float *k, const float *v, float *out,
               float *scratch, ck_parallel parallel);

// Search.

/// A row and its product with what is looked for.
typedef struct ck_match {
  float value;
  int64_t row;
} ck_match;

/// Offers the products [rows, queries] of the rows from `first_row` on to the best `limit` rows of each query: the highest
/// value comes first, of equal ones the earliest row.
///
/// `heaps` [queries, limit] begin as (-infinity, INT64_MAX) and have the worst match in front; `least` [queries] is its value.
void ck_offer_rows(const float *products, int64_t rows, int64_t queries, int64_t first_row, int64_t limit,
                   ck_match *heaps, float *least);
/// Offers one match to one heap.
void ck_offer_match(ck_match match, int64_t limit, ck_match *heap);
/// Sorts the matches of a heap, the best first.
void ck_sort_matches(ck_match *heap, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
