// clock.h -- where time comes from: the machine in production, a number in tests. Layer: base.
//
// Threads: now_ns() may be called from any thread.
#pragma once
#include <stdint.h>

struct bm_clock {
    uint64_t (*now_ns)(struct bm_clock *self); // monotonic, from an arbitrary start
};

struct bm_clock *bm_clock_system(void); // CLOCK_MONOTONIC; lives for ever
