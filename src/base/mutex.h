// mutex.h -- the only mutex and condition of the project. Layer: base (pthread).
//
// Annotated for clang's -Wthread-safety: a function that needs the mutex says
// BM_REQUIRES(mutex), and clang finds a missing lock or unlock at compile time.
// Threads: any thread, between _init and _fini.
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define BM_CAPABILITY(name) __attribute__((capability(name)))
#define BM_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define BM_ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define BM_RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define BM_UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define BM_CAPABILITY(name)
#define BM_REQUIRES(...)
#define BM_ACQUIRES(...)
#define BM_RELEASES(...)
#define BM_UNCHECKED
#endif

struct BM_CAPABILITY("mutex") bm_mutex {
    pthread_mutex_t raw;
};

struct bm_cond {
    pthread_cond_t raw; // waits on CLOCK_MONOTONIC
};

void bm_mutex_init(struct bm_mutex *mutex);
void bm_mutex_fini(struct bm_mutex *mutex);
void bm_mutex_lock(struct bm_mutex *mutex) BM_ACQUIRES(mutex);
void bm_mutex_unlock(struct bm_mutex *mutex) BM_RELEASES(mutex);

void bm_cond_init(struct bm_cond *cond);
void bm_cond_fini(struct bm_cond *cond);
void bm_cond_signal(struct bm_cond *cond);
void bm_cond_broadcast(struct bm_cond *cond);
void bm_cond_wait(struct bm_cond *cond, struct bm_mutex *mutex) BM_REQUIRES(mutex);
// False when `deadline_ns` (of bm_clock_system) came first.
bool bm_cond_wait_until(struct bm_cond *cond, struct bm_mutex *mutex, uint64_t deadline_ns)
    BM_REQUIRES(mutex);
