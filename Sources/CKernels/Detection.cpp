// What follows a detector's network. Nearly no position holds a face, and nearly no two boxes overlap: both are found eight
// at a time, the rest is done as written.

#include <math.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "Vectors.h"

// A fused multiply-add would round other than the systems whose boxes are to be met.
#pragma clang fp contract(off)

using namespace ck;

namespace {

inline float at(const ck_head &head, int64_t place, int64_t anchor, int64_t component) {
  return head.elements[place * head.position + anchor * head.anchor + component * head.component];
}

inline bool reaches(const ck_detection_level &l, float score) {
  return l.excludes_threshold ? score > l.threshold : score >= l.threshold;
}

/// The scores of one row that reach the threshold.
CK_INLINE void count_row_body(const ck_detection_level *level, int64_t row, int64_t *result) {
  const ck_detection_level &l = *level;
  int64_t count = 0;
  for (int64_t anchor = 0; anchor < l.anchors; ++anchor) {
    int64_t column = 0;
    if (l.score.position == 1) {
      const float *scores = l.score.elements + row * l.columns + anchor * l.score.anchor;
      v8i sum = (v8i)(0);
      for (; column + 8 <= l.columns; column += 8) {
        v8 score = load8(scores + column) * l.factor;
        // A comparison that holds is -1.
        sum -= l.excludes_threshold ? score > l.threshold : score >= l.threshold;
      }
      count += __builtin_reduce_add(sum);
    }
    for (; column < l.columns; ++column)
      count += reaches(l, at(l.score, row * l.columns + column, anchor, 0) * l.factor);
  }
  *result = count;
}
CK_DISPATCH(count_row, (const ck_detection_level *level, int64_t row, int64_t *result), (level, row, result))

/// Within 0 ... high; what is no number stays none.
inline double clipped(double value, double high) {
  const double low = high < value ? high : value;
  return low <= 0 ? 0 : low;
}

struct Candidate {
  double box[4];
  float points[10];
};

void decodePixels(const ck_detection_level &l, int64_t row, int64_t column, int64_t anchor, Candidate &face) {
  const int64_t place = row * l.columns + column;
  const float *base = l.anchor_boxes + 4 * anchor;
  const float x0 = (float)(column * l.stride), y0 = (float)(row * l.stride);
  const double left = base[0] + x0, top = base[1] + y0;
  const double width = (double)(base[2] + x0) - left + 1, height = (double)(base[3] + y0) - top + 1;
  const double centreX = left + 0.5 * (width - 1), centreY = top + 0.5 * (height - 1);
  const double x = (double)at(l.box, place, anchor, 0) * width + centreX;
  const double y = (double)at(l.box, place, anchor, 1) * height + centreY;
  const double halfWidth = 0.5 * ((double)expf(at(l.box, place, anchor, 2)) * width - 1);
  const double halfHeight = 0.5 * ((double)expf(at(l.box, place, anchor, 3)) * height - 1);
  const double right = (double)(l.width - 1), bottom = (double)(l.height - 1);
  face.box[0] = clipped(x - halfWidth, right);
  face.box[1] = clipped(y - halfHeight, bottom);
  face.box[2] = clipped(x + halfWidth, right);
  face.box[3] = clipped(y + halfHeight, bottom);
  if (!l.landmarks.elements) return;
  for (int64_t point = 0; point < 5; ++point) {
    face.points[2 * point] = (float)((double)at(l.landmarks, place, anchor, 2 * point) * width + centreX);
    face.points[2 * point + 1] = (float)((double)at(l.landmarks, place, anchor, 2 * point + 1) * height + centreY);
  }
}

void decodePrior(const ck_detection_level &l, int64_t row, int64_t column, int64_t anchor, Candidate &face) {
  const int64_t place = row * l.columns + column;
  const float *base = l.anchor_boxes + 4 * anchor;
  const double width = (double)l.width, height = (double)l.height;
  const float priorX = (float)(((double)column + 0.5) * (double)l.stride / width);
  const float priorY = (float)(((double)row + 0.5) * (double)l.stride / height);
  const float priorWidth = (float)((double)(base[2] - base[0]) / width);
  const float priorHeight = (float)((double)(base[3] - base[1]) / height);
  const float scaleX = (float)l.width, scaleY = (float)l.height;
  const float boxWidth = priorWidth * expf(at(l.box, place, anchor, 2) * l.size_variance);
  const float boxHeight = priorHeight * expf(at(l.box, place, anchor, 3) * l.size_variance);
  const float left = priorX + at(l.box, place, anchor, 0) * l.centre_variance * priorWidth - boxWidth / 2;
  const float top = priorY + at(l.box, place, anchor, 1) * l.centre_variance * priorHeight - boxHeight / 2;
  face.box[0] = left * scaleX;
  face.box[1] = top * scaleY;
  face.box[2] = (left + boxWidth) * scaleX;
  face.box[3] = (top + boxHeight) * scaleY;
  if (!l.landmarks.elements) return;
  for (int64_t point = 0; point < 5; ++point) {
    const float dx = at(l.landmarks, place, anchor, 2 * point) * l.centre_variance * priorWidth;
    const float dy = at(l.landmarks, place, anchor, 2 * point + 1) * l.centre_variance * priorHeight;
    face.points[2 * point] = (priorX + dx) * scaleX;
    face.points[2 * point + 1] = (priorY + dy) * scaleY;
  }
}

void decodeDistances(const ck_detection_level &l, int64_t row, int64_t column, int64_t anchor, Candidate &face) {
  const int64_t place = row * l.columns + column;
  const float x = (float)(column * l.stride), y = (float)(row * l.stride), step = (float)l.stride;
  face.box[0] = x - at(l.box, place, anchor, 0) * step;
  face.box[1] = y - at(l.box, place, anchor, 1) * step;
  face.box[2] = x + at(l.box, place, anchor, 2) * step;
  face.box[3] = y + at(l.box, place, anchor, 3) * step;
  if (!l.landmarks.elements) return;
  for (int64_t point = 0; point < 5; ++point) {
    face.points[2 * point] = x + at(l.landmarks, place, anchor, 2 * point) * step;
    face.points[2 * point + 1] = y + at(l.landmarks, place, anchor, 2 * point + 1) * step;
  }
}

/// Damaged weights can give numbers beyond all bounds; such a candidate is none.
bool isSound(const Candidate &face, bool hasPoints) {
  for (double side : face.box)
    if (!(fabs(side) <= 1e6)) return false;
  if (hasPoints)
    for (float value : face.points)
      if (!(fabsf(value) <= 1e6f)) return false;
  return true;
}

/// The sides and areas of boxes, in lines of their own, and where each box stood.
struct Boxes {
  float *left, *top, *right, *bottom, *area;
  int64_t *place;
  int64_t count;
  float threshold;
};

CK_INLINE v8 largerOf(v8 a, v8 b) { return b >= a ? b : a; }
CK_INLINE v8 smallerOf(v8 a, v8 b) { return b < a ? b : a; }

/// Marks the boxes behind `first` that it suppresses as gone, and returns how many were not gone before.
template <bool above>
CK_INLINE int64_t suppress(const Boxes *b, int64_t first, int32_t *gone) {
  const v8 left = splat8(b->left[first]), top = splat8(b->top[first]);
  const v8 right = splat8(b->right[first]), bottom = splat8(b->bottom[first]), area = splat8(b->area[first]);
  const v8 zero = splat8(0), one = splat8(1), threshold = splat8(b->threshold);
  v8i found = (v8i)(0);
  // Arrays are padded, so that the last eight may hang over.
  for (int64_t i = first + 1; i < b->count; i += 8) {
    v8 across = largerOf(zero, smallerOf(right, load8(b->right + i)) - largerOf(left, load8(b->left + i)) + one);
    v8 down = largerOf(zero, smallerOf(bottom, load8(b->bottom + i)) - largerOf(top, load8(b->top + i)) + one);
    v8 shared = across * down;
    v8 overlap = shared / (area + load8(b->area + i) - shared);
    v8i goes;
    if constexpr (above) goes = ~(overlap <= threshold);
    else goes = overlap >= threshold;
    v8i before;
    memcpy(&before, gone + i, sizeof before);
    // What hangs over was marked as gone at the start.
    found -= goes & ~before;
    goes |= before;
    memcpy(gone + i, &goes, sizeof goes);
  }
  return __builtin_reduce_add(found);
}

CK_INLINE void suppress_at_body(const Boxes *b, int64_t first, int32_t *gone, int64_t *count) {
  *count = suppress<false>(b, first, gone);
}
CK_DISPATCH(suppress_at, (const Boxes *b, int64_t first, int32_t *gone, int64_t *count), (b, first, gone, count))

CK_INLINE void suppress_above_body(const Boxes *b, int64_t first, int32_t *gone, int64_t *count) {
  *count = suppress<true>(b, first, gone);
}
CK_DISPATCH(suppress_above, (const Boxes *b, int64_t first, int32_t *gone, int64_t *count), (b, first, gone, count))

}  // namespace

extern "C" int64_t ck_count_faces(const ck_detection_level *level) {
  int64_t count = 0;
  for (int64_t row = 0; row < level->rows; ++row) {
    int64_t found;
    count_row(level, row, &found);
    count += found;
  }
  return count;
}

extern "C" int64_t ck_decode_faces(const ck_detection_level *level, int64_t count, double *boxes, float *scores,
                                   float *landmarks) {
  const ck_detection_level &l = *level;
  const bool hasPoints = l.landmarks.elements != nullptr;
  int64_t written = 0;
  for (int64_t row = 0; row < l.rows; ++row) {
    int64_t left;
    count_row(level, row, &left);
    for (int64_t column = 0; column < l.columns && left > 0; ++column)
      for (int64_t anchor = 0; anchor < l.anchors; ++anchor) {
        const float score = at(l.score, row * l.columns + column, anchor, 0) * l.factor;
        if (!reaches(l, score)) continue;
        --left;
        Candidate face;
        switch (l.coding) {
          case ck_coding_pixels: decodePixels(l, row, column, anchor, face); break;
          case ck_coding_priors: decodePrior(l, row, column, anchor, face); break;
          default: decodeDistances(l, row, column, anchor, face); break;
        }
        if (!isSound(face, hasPoints)) continue;
        if (written == count) return written;
        memcpy(boxes + 4 * written, face.box, sizeof face.box);
        if (hasPoints && landmarks) memcpy(landmarks + 10 * written, face.points, sizeof face.points);
        scores[written++] = score;
      }
  }
  return written;
}

extern "C" void ck_order_scores(const float *scores, int64_t count, int64_t *order) {
  for (int64_t i = 0; i < count; ++i) order[i] = i;
  std::sort(order, order + count, [scores](int64_t a, int64_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
  });
}

extern "C" int64_t ck_suppress(const float *boxes, int64_t count, double threshold, int above, int64_t *kept) {
  if (count < 1) return 0;
  const int64_t room = count + 8;
  std::unique_ptr<float[]> numbers(new (std::nothrow) float[5 * room]());
  std::unique_ptr<int64_t[]> places(new (std::nothrow) int64_t[count]);
  std::unique_ptr<int32_t[]> gone(new (std::nothrow) int32_t[room]);
  if (!numbers || !places || !gone) return -1;
  float *line = numbers.get();
  Boxes b = {line, line + room, line + 2 * room, line + 3 * room, line + 4 * room, places.get(), count, 0};
  // A single number reaches the threshold in double precision where it reaches the next single number.
  b.threshold = (float)threshold;
  if (!above && (double)b.threshold < threshold)
    b.threshold = nextafterf(b.threshold, std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < count; ++i) {
    b.left[i] = boxes[4 * i];
    b.top[i] = boxes[4 * i + 1];
    b.right[i] = boxes[4 * i + 2];
    b.bottom[i] = boxes[4 * i + 3];
    b.area[i] = (b.right[i] - b.left[i] + 1) * (b.bottom[i] - b.top[i] + 1);
    b.place[i] = i;
  }
  std::fill_n(gone.get(), count, 0);
  std::fill_n(gone.get() + count, 8, -1);
  int64_t stay = 0, suppressed = 0;
  for (int64_t first = 0; first < b.count; ++first) {
    if (gone[first]) continue;
    kept[stay++] = b.place[first];
    int64_t found;
    if (above) suppress_above(&b, first, gone.get(), &found);
    else suppress_at(&b, first, gone.get(), &found);
    suppressed += found;
    // Where half of what is left has gone, the others move together.
    if (suppressed < 64 || 2 * suppressed < b.count - first) continue;
    int64_t end = first + 1;
    for (int64_t i = first + 1; i < b.count; ++i) {
      if (gone[i]) continue;
      b.left[end] = b.left[i], b.top[end] = b.top[i], b.right[end] = b.right[i], b.bottom[end] = b.bottom[i];
      b.area[end] = b.area[i], b.place[end] = b.place[i];
      gone[end++] = 0;
    }
    b.count = end;
    std::fill_n(gone.get() + end, 8, -1);
    suppressed = 0;
  }
  return stay;
}
