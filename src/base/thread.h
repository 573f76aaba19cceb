// thread.h -- a thread with a name that leaves signals to others. Layer: base (pthread).
// Threads: start and join on one thread; bm_thread_at_end() on any.
#pragma once
#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

struct bm_thread {
    pthread_t raw;
};

// All signals are blocked in it: the program waits for them elsewhere. `name`: 15 bytes at most.
enum bm_status bm_thread_start(struct bm_thread *thread, const char *name,
                               void *(*main)(void *context), void *context, struct bm_error *err);
void bm_thread_join(struct bm_thread *thread);

// Calls release(object) when the calling thread ends: for memory that a thread keeps from one call
// to the next. False: out of memory, nothing will be called. (The thread that main() runs on ends
// with the process, without a call.)
bool bm_thread_at_end(void (*release)(void *object), void *object);
