// The C border of LibTorch. Every function that can fail takes `char **error`: on failure it returns NULL (or 0) and
// sets *error to a message that the caller frees with ct_free_error. A handle is an owned reference to a TensorImpl.
#ifndef CTORCH_H
#define CTORCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// +1 reference to a TensorImpl; free with ct_release. NULL stands for an undefined tensor.
typedef struct ct_tensor *ct_tensor_t;
/// An owned random generator.
typedef struct ct_generator *ct_generator_t;

/// Where a tensor lives: index -1 is the CPU, 0 ... are CUDA devices.
typedef struct { int32_t cuda; } ct_device;

/// Element types, numbered as c10::ScalarType.
enum { ct_uint8 = 0, ct_int8 = 1, ct_int32 = 3, ct_int64 = 4, ct_float16 = 5, ct_float32 = 6, ct_float64 = 7,
       ct_bool = 11, ct_bfloat16 = 15 };

/// Memory formats.
enum { ct_contiguous = 0, ct_preserve = 1, ct_channels_last = 2 };

void ct_free_error(char *error);
void ct_release(ct_tensor_t tensor);
ct_tensor_t ct_retain(ct_tensor_t tensor);

// Runtime
const char *ct_version(void);
/// Loads libtorch_cuda.so when it is beside libtorch_cpu.so; returns the number of usable CUDA devices.
int ct_cuda_load(char **error);
int ct_cuda_device_count(void);
/// Free and total bytes of a CUDA device.
bool ct_cuda_memory(int device, int64_t *available, int64_t *total, char **error);
void ct_cuda_synchronize(int device, char **error);
void ct_set_threads(int count);
int ct_threads(void);
/// Runs a loop on LibTorch's own thread team and returns how many distinct threads took part.
int ct_parallel_thread_count(void);
bool ct_grad_enabled(void);
/// Convolutions and linear maps of this thread compute in `dtype` on the device's kind; ct_float32 switches that off.
void ct_set_autocast(ct_device device, int dtype, char **error);
void ct_set_grad_enabled(bool on);
const char *ct_cpu_capability(void);
void ct_set_deterministic(bool on);
/// From now on blocks of a megabyte and more go back to the system when they are freed (glibc; elsewhere nothing).
void ct_return_freed_memory(void);
/// Lets malloc keep what is freed instead of handing it back to the system, page by page, at every step.
void ct_keep_freed_memory(void);

// Generators (mt19937 on the CPU, Philox on CUDA)
ct_generator_t ct_generator(uint64_t seed, ct_device device, char **error);
void ct_generator_release(ct_generator_t generator);
ct_tensor_t ct_generator_state(ct_generator_t generator, char **error);
void ct_generator_set_state(ct_generator_t generator, ct_tensor_t state, char **error);

// Creation
ct_tensor_t ct_full(const int64_t *sizes, int rank, double value, int dtype, ct_device device, char **error);
ct_tensor_t ct_empty(const int64_t *sizes, int rank, int dtype, ct_device device, int format, char **error);
/// Copies `bytes` (contiguous) into a new CPU tensor.
ct_tensor_t ct_from_bytes(const void *bytes, int64_t count, const int64_t *sizes, int rank, int dtype, char **error);
ct_tensor_t ct_arange(double start, double end, double step, int dtype, ct_device device, char **error);
void ct_fill(ct_tensor_t tensor, double value, char **error);
void ct_normal_(ct_tensor_t tensor, double mean, double deviation, ct_generator_t generator, char **error);
void ct_uniform_(ct_tensor_t tensor, double low, double high, ct_generator_t generator, char **error);

// Facts
int ct_rank(ct_tensor_t tensor);
void ct_sizes(ct_tensor_t tensor, int64_t *sizes);
void ct_strides(ct_tensor_t tensor, int64_t *strides);
int64_t ct_count(ct_tensor_t tensor);
int ct_dtype(ct_tensor_t tensor);
ct_device ct_device_of(ct_tensor_t tensor);
bool ct_is_contiguous(ct_tensor_t tensor, int format);
void *ct_data(ct_tensor_t tensor);
bool ct_requires_grad(ct_tensor_t tensor);
double ct_item(ct_tensor_t tensor, char **error);

// Copies and layout
ct_tensor_t ct_to(ct_tensor_t tensor, int dtype, ct_device device, char **error);
ct_tensor_t ct_contiguous_as(ct_tensor_t tensor, int format, char **error);
ct_tensor_t ct_clone(ct_tensor_t tensor, char **error);
ct_tensor_t ct_detach(ct_tensor_t tensor, char **error);
/// The tensor takes over the data of another, on any device.
void ct_set_data(ct_tensor_t tensor, ct_tensor_t data, char **error);
void ct_copy(ct_tensor_t destination, ct_tensor_t source, char **error);
ct_tensor_t ct_reshape(ct_tensor_t tensor, const int64_t *sizes, int rank, char **error);
ct_tensor_t ct_permute(ct_tensor_t tensor, const int64_t *order, int rank, char **error);
ct_tensor_t ct_transpose(ct_tensor_t tensor, int64_t a, int64_t b, char **error);
ct_tensor_t ct_flatten(ct_tensor_t tensor, int64_t from, int64_t to, char **error);
ct_tensor_t ct_narrow(ct_tensor_t tensor, int64_t dim, int64_t start, int64_t length, char **error);
ct_tensor_t ct_select(ct_tensor_t tensor, int64_t dim, int64_t index, char **error);
ct_tensor_t ct_index_select(ct_tensor_t tensor, int64_t dim, ct_tensor_t index, char **error);
ct_tensor_t ct_gather(ct_tensor_t tensor, int64_t dim, ct_tensor_t index, char **error);
ct_tensor_t ct_scatter(ct_tensor_t tensor, int64_t dim, ct_tensor_t index, ct_tensor_t source, char **error);
ct_tensor_t ct_scatter_add(ct_tensor_t tensor, int64_t dim, ct_tensor_t index, ct_tensor_t source, char **error);
ct_tensor_t ct_concat(const ct_tensor_t *tensors, int count, int64_t dim, char **error);
ct_tensor_t ct_stack(const ct_tensor_t *tensors, int count, int64_t dim, char **error);
ct_tensor_t ct_unsqueeze(ct_tensor_t tensor, int64_t dim, char **error);
ct_tensor_t ct_squeeze(ct_tensor_t tensor, int64_t dim, char **error);
ct_tensor_t ct_expand(ct_tensor_t tensor, const int64_t *sizes, int rank, char **error);
ct_tensor_t ct_flip(ct_tensor_t tensor, int64_t dim, char **error);

// Arithmetic
enum { ct_add, ct_sub, ct_mul, ct_div, ct_maximum, ct_minimum, ct_eq, ct_ne, ct_lt, ct_le, ct_gt, ct_ge,
       ct_logical_and };
ct_tensor_t ct_binary(int op, ct_tensor_t a, ct_tensor_t b, char **error);
ct_tensor_t ct_binary_scalar(int op, ct_tensor_t a, double b, char **error);
enum { ct_neg, ct_exp, ct_log, ct_sqrt, ct_rsqrt, ct_abs, ct_cos, ct_sin, ct_acos, ct_relu, ct_sigmoid, ct_tanh,
       ct_isfinite, ct_logical_not, ct_sign };
ct_tensor_t ct_unary(int op, ct_tensor_t a, char **error);
ct_tensor_t ct_pow(ct_tensor_t a, double exponent, char **error);
ct_tensor_t ct_clamp(ct_tensor_t a, double low, double high, char **error);
ct_tensor_t ct_where(ct_tensor_t condition, ct_tensor_t a, ct_tensor_t b, char **error);
/// In place: a += alpha * b.
void ct_add_(ct_tensor_t a, ct_tensor_t b, double alpha, char **error);
void ct_mul_(ct_tensor_t a, double factor, char **error);

// Reductions: `dim` is ct_all_dims for all of them.
enum { ct_all_dims = -1000 };
enum { ct_sum, ct_mean, ct_amax, ct_amin, ct_argmax, ct_any, ct_all };
ct_tensor_t ct_reduce(int op, ct_tensor_t a, int64_t dim, bool keep, char **error);
ct_tensor_t ct_variance(ct_tensor_t a, int64_t dim, bool unbiased, bool keep, char **error);
ct_tensor_t ct_norm(ct_tensor_t a, int64_t dim, bool keep, char **error);
ct_tensor_t ct_topk(ct_tensor_t a, int64_t k, int64_t dim, ct_tensor_t *indices, char **error);

// Networks
ct_tensor_t ct_matmul(ct_tensor_t a, ct_tensor_t b, char **error);
ct_tensor_t ct_linear(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, char **error);
ct_tensor_t ct_conv2d(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, const int64_t stride[2],
                      const int64_t padding[2], const int64_t dilation[2], int64_t groups, char **error);
ct_tensor_t ct_max_pool2d(ct_tensor_t x, const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2],
                          bool ceil, char **error);
ct_tensor_t ct_avg_pool2d(ct_tensor_t x, const int64_t kernel[2], const int64_t stride[2], const int64_t padding[2],
                          bool ceil, bool count_padding, char **error);
/// The transpose of a convolution; weight [C, O / groups, kH, kW].
ct_tensor_t ct_conv_transpose2d(ct_tensor_t x, ct_tensor_t weight, ct_tensor_t bias, const int64_t stride[2],
                                const int64_t padding[2], const int64_t output_padding[2], int64_t groups,
                                const int64_t dilation[2], char **error);
/// Adds rows and columns of a constant: left, right, top, bottom; negative numbers cut.
ct_tensor_t ct_pad2d(ct_tensor_t x, const int64_t pad[4], double value, char **error);
/// Every pixel repeated `scale` times in both directions.
ct_tensor_t ct_upsample_nearest2d(ct_tensor_t x, int64_t scale, char **error);
ct_tensor_t ct_softmax(ct_tensor_t x, int64_t dim, bool logarithm, char **error);
/// Mean over the rows; `labels` int64.
ct_tensor_t ct_cross_entropy(ct_tensor_t logits, ct_tensor_t labels, char **error);
/// x * Phi(x), exact.
ct_tensor_t ct_gelu(ct_tensor_t x, char **error);
/// Layer normalisation over the last dimension; gamma and beta [D].
ct_tensor_t ct_layer_norm(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, double eps, char **error);
ct_tensor_t ct_prelu(ct_tensor_t x, ct_tensor_t slope, char **error);
ct_tensor_t ct_dropout(ct_tensor_t x, double rate, ct_generator_t generator, char **error);
/// Batch normalisation over dim 1 of [N, C] or [N, C, H, W], fused with PReLU when `slope` is not NULL.
/// Training: normalises with the batch's biased variance and, when `update` is set, moves the running statistics:
/// r = momentum * r + (1 - momentum) * batch, biased variance (as MXNet's CPU kernel does). Otherwise uses the
/// running statistics. With `composed` LibTorch's own operations run one after another, on the CPU too.
ct_tensor_t ct_batch_norm(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, ct_tensor_t mean, ct_tensor_t variance,
                          ct_tensor_t slope, bool training, bool update, double momentum, double eps, bool composed,
                          char **error);
/// The same, then a convolution with `weight` [O, C / groups, kH, kW]; the normalised tensor is not kept for the backward
/// pass but computed again, with `sparing` a few images at a time where it is large.
ct_tensor_t ct_norm_conv2d(ct_tensor_t x, ct_tensor_t gamma, ct_tensor_t beta, ct_tensor_t mean, ct_tensor_t variance,
                           ct_tensor_t slope, bool training, bool update, double momentum, double eps,
                           ct_tensor_t weight, ct_tensor_t bias, const int64_t stride[2], const int64_t padding[2],
                           const int64_t dilation[2], int64_t groups, bool sparing, char **error);

// Autograd
void ct_set_requires_grad(ct_tensor_t tensor, bool on, char **error);
ct_tensor_t ct_grad(ct_tensor_t tensor);
void ct_clear_grad(ct_tensor_t tensor);
void ct_backward(ct_tensor_t tensor, ct_tensor_t gradient, char **error);
/// Of several tensors at once, each with its gradient; the tensors' own values are let go before, where nothing else
/// needs them.
void ct_backward_consuming(const ct_tensor_t *tensors, const ct_tensor_t *gradients, int count, char **error);

// Heads
/// Softmax over scaled cosines with a margin, a block of classes at a time; all float32 on the CPU.
///
/// x [N, D] normalised embeddings; labels int64 [N]; target [N] the own class's logit with margin; slope [N] its
/// derivative by the cosine; weight [K, D]. With `momentum` [K, D] the weight takes a step of SGD, else `gradient` [K, D]
/// receives d loss / d weight. Gives the N losses, the N best classes (int64), d loss / d x without the own classes' part,
/// and d loss / d logit of the own class [N].
void ct_margin_softmax(ct_tensor_t x, ct_tensor_t labels, ct_tensor_t target, ct_tensor_t slope, ct_tensor_t weight,
                       ct_tensor_t momentum, ct_tensor_t gradient, double scale, double eps, double lr, double mom,
                       double wd, ct_tensor_t results[4], char **error);

// Optimizers: one pass over all parameters.
void ct_sgd_mxnet(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *momenta, int count,
                  double lr, double momentum, const double *weight_decay, double rescale, char **error);
/// As PyTorch's SGD: m = momentum * m + (rescale * g + wd * w); w -= lr * m.
void ct_sgd_torch(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *momenta, int count,
                  double lr, double momentum, const double *weight_decay, double rescale, char **error);
/// As PyTorch's AdamW; `step` counts from 1.
void ct_adamw(const ct_tensor_t *weights, const ct_tensor_t *gradients, const ct_tensor_t *first,
              const ct_tensor_t *second, int count, double lr, double beta1, double beta2, double eps,
              const double *weight_decay, double rescale, int64_t step, char **error);
/// The Euclidean norm over all tensors that are there: NaN or infinite when one of them is not finite.
double ct_total_norm(const ct_tensor_t *tensors, int count, char **error);
/// The first tensor that holds a NaN or an infinity, or -1.
int ct_first_not_finite(const ct_tensor_t *tensors, int count, char **error);

#ifdef __cplusplus
}
#endif
#endif
