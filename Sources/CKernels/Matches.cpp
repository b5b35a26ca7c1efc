// The best rows of a search, kept while the products come in: nearly every product fails a comparison with the worst
// of them, which eight at a time do.

#include <algorithm>

#include "Vectors.h"

using namespace ck;

namespace {

/// Whether a comes before b: the higher value, of equal ones the earlier row.
inline bool isBefore(const ck_match &a, const ck_match &b) {
  return a.value != b.value ? a.value > b.value : a.row < b.row;
}

/// Takes the place of the worst match, which lies at the top of the heap.
inline void replace(ck_match *heap, int64_t count, ck_match match) {
  int64_t hole = 0;
  for (int64_t child; (child = 2 * hole + 1) < count; hole = child) {
    if (child + 1 < count && isBefore(heap[child], heap[child + 1])) ++child;
    if (!isBefore(match, heap[child])) break;
    heap[hole] = heap[child];
  }
  heap[hole] = match;
}

struct Offer {
  const float *products;
  int64_t rows, queries, first, limit;
  ck_match *heaps;
  float *least;
};

CK_INLINE void offer_rows_body(const Offer *o) {
  constexpr int64_t width = 32;
  for (int64_t row = 0; row < o->rows; ++row) {
    const float *line = o->products + row * o->queries;
    for (int64_t first = 0; first < o->queries; first += width) {
      const int64_t count = std::min(width, o->queries - first);
      if (count == width) {
        v8i reaches = (v8i)(0);
#pragma clang loop unroll(full)
        for (int64_t i = 0; i < width; i += 8) reaches |= load8(line + first + i) >= load8(o->least + first + i);
        if (!__builtin_reduce_or(reaches)) continue;
      }
      for (int64_t query = first; query < first + count; ++query) {
        if (!(line[query] >= o->least[query])) continue;
        ck_match *heap = o->heaps + query * o->limit;
        const ck_match match = {line[query], o->first + row};
        if (!isBefore(match, heap[0])) continue;
        replace(heap, o->limit, match);
        o->least[query] = heap[0].value;
      }
    }
  }
}
CK_DISPATCH(offer_rows, (const Offer *o), (o))

}  // namespace

extern "C" void ck_offer_rows(const float *products, int64_t rows, int64_t queries, int64_t first_row, int64_t limit,
                              ck_match *heaps, float *least) {
  if (limit < 1) return;
  const Offer offer = {products, rows, queries, first_row, limit, heaps, least};
  offer_rows(&offer);
}

extern "C" void ck_offer_match(ck_match match, int64_t limit, ck_match *heap) {
  if (limit > 0 && isBefore(match, heap[0])) replace(heap, limit, match);
}

extern "C" void ck_sort_matches(ck_match *heap, int64_t count) { std::sort(heap, heap + count, isBefore); }
