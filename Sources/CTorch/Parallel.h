// The parallel loop that CTorch hands to CKernels.
#ifndef CTORCH_PARALLEL_H
#define CTORCH_PARALLEL_H

#include "CKernels.h"

namespace border {
/// Loops on LibTorch's thread team, with as many workers as at::get_num_threads says now.
ck_parallel parallelLoop();
}  // namespace border
#endif
