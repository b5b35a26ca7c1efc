// Kernels behind a detector's network: which positions hold a face, where it lies, and which of two boxes stays.
//
// Arithmetic is that of the systems whose boxes are to be met, operation by operation: nothing is contracted.
#ifndef CKDETECTION_H
#define CKDETECTION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Where the numbers of one head lie, channels first or last: elements[place * position + anchor * anchor + component *
/// component], place = row * columns + column.
typedef struct ck_head {
  const float *elements;
  int64_t position, anchor, component;
} ck_head;

enum {
  ck_coding_pixels = 0,     ///< Anchors with pixels counted at both ends, boxes clipped to the image, sums in double.
  ck_coding_priors = 1,     ///< Priors relative to the image, deltas times variances.
  ck_coding_distances = 2,  ///< Distances from the position's corner, in strides.
};

/// One stride of a detector for one image.
typedef struct ck_detection_level {
  int64_t rows, columns, anchors, stride;
  int64_t height, width;  ///< Of the network's input.
  ck_head score, box, landmarks;  ///< One, four and ten components; landmarks.elements may be NULL.
  const float *anchor_boxes;  ///< [anchors, 4]: left, top, right, bottom at the first position.
  int32_t coding;
  float centre_variance, size_variance;
  float factor;  ///< What scores are multiplied by.
  float threshold;
  int32_t excludes_threshold;
} ck_detection_level;

/// How many scores reach the threshold; a score that is no number does not.
int64_t ck_count_faces(const ck_detection_level *level);

/// Decodes the faces that ck_count_faces counts, in the order of rows, columns and anchors.
///
/// One whose box or landmarks are no numbers or lie beyond a million pixels is left out. `boxes` [count, 4], `scores` [count],
/// `landmarks` [count, 10], or NULL where the level has none; `count` is the room. Returns how many were written.
int64_t ck_decode_faces(const ck_detection_level *level, int64_t count, double *boxes, float *scores, float *landmarks);

/// The order of scores, the highest first; of equal ones the later place first, as a stable ascending sort read backwards
/// gives them. `order` [count].
void ck_order_scores(const float *scores, int64_t count, int64_t *order);

/// Greedy non-maximum suppression of boxes [count, 4] (left, top, right, bottom), the surest first, in single precision with
/// pixels counted at both ends.
///
/// A box goes at an overlap of `threshold` or more with one that stays, or with `above` only beyond it in single precision.
/// `kept` [count] are the places that stay, in order. Returns how many, or -1 without memory.
int64_t ck_suppress(const float *boxes, int64_t count, double threshold, int above, int64_t *kept);

#ifdef __cplusplus
}
#endif
#endif
