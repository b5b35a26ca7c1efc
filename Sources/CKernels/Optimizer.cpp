#include "CKernels.h"
#include "Dispatch.h"

namespace {

struct Update {
  float *w;
  const float *g;
  float *m;
  float lr, momentum, wd, rescale;
};

CK_INLINE void sgd_piece_body(const Update *u, int64_t begin, int64_t end) {
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    v8 w = load8(u->w + i);
    v8 step = load8(u->g + i) * splat8(u->rescale) + w * splat8(u->wd);
    v8 m = load8(u->m + i) * splat8(u->momentum) - step * splat8(u->lr);
    store8(u->m + i, m);
    store8(u->w + i, w + m);
  }
  for (; i < end; ++i) {
    float step = u->g[i] * u->rescale + u->w[i] * u->wd;
    u->m[i] = u->m[i] * u->momentum - step * u->lr;
    u->w[i] += u->m[i];
  }
}
CK_DISPATCH(sgd_piece, (const Update *u, int64_t begin, int64_t end), (u, begin, end))

void sgdBody(void *context, int64_t begin, int64_t end, int) {
  sgd_piece(static_cast<const Update *>(context), begin, end);
}

}  // namespace

extern "C" void ck_sgd_mxnet(float *w, const float *g, float *m, int64_t count, float lr, float momentum, float wd,
                             float rescale, ck_parallel parallel) {
  Update u = {w, g, m, lr, momentum, wd, rescale};
  if (count < 65536) parallel = ck_serial();
  parallel.run(parallel.runner, count, sgdBody, &u);
}
