// kernels_x86.h -- inner loops for x86. Layer: image (may include base).
// Threads: any thread.
#pragma once
#include "image/kernels.h"

#if defined(__x86_64__)
extern const struct bm_kernels bm_kernels_avx2; // where __builtin_cpu_supports("avx2") holds
#endif
