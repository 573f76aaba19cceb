#include "base/clock.h"

#include <time.h>

static uint64_t system_now_ns(struct bm_clock *self)
{
    (void)self;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct bm_clock *bm_clock_system(void)
{
    static struct bm_clock clock = {.now_ns = system_now_ns};
    return &clock;
}
