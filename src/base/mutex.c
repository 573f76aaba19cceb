#include "base/mutex.h"

#include <errno.h>
#include <time.h>

#include "base/error.h"

void bm_mutex_init(struct bm_mutex *mutex)
{
    pthread_mutexattr_t attributes;
    BM_ASSERT(pthread_mutexattr_init(&attributes) == 0);
    BM_ASSERT(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP) == 0);
    BM_ASSERT(pthread_mutex_init(&mutex->raw, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

void bm_mutex_fini(struct bm_mutex *mutex)
{
    BM_ASSERT(pthread_mutex_destroy(&mutex->raw) == 0);
}

BM_UNCHECKED void bm_mutex_lock(struct bm_mutex *mutex)
{
    BM_ASSERT(pthread_mutex_lock(&mutex->raw) == 0);
}

BM_UNCHECKED void bm_mutex_unlock(struct bm_mutex *mutex)
{
    BM_ASSERT(pthread_mutex_unlock(&mutex->raw) == 0);
}

void bm_cond_init(struct bm_cond *cond)
{
    pthread_condattr_t attributes;
    BM_ASSERT(pthread_condattr_init(&attributes) == 0);
    BM_ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    BM_ASSERT(pthread_cond_init(&cond->raw, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

void bm_cond_fini(struct bm_cond *cond)
{
    BM_ASSERT(pthread_cond_destroy(&cond->raw) == 0);
}

void bm_cond_signal(struct bm_cond *cond)
{
    pthread_cond_signal(&cond->raw);
}

void bm_cond_broadcast(struct bm_cond *cond)
{
    pthread_cond_broadcast(&cond->raw);
}

BM_UNCHECKED void bm_cond_wait(struct bm_cond *cond, struct bm_mutex *mutex)
{
    pthread_cond_wait(&cond->raw, &mutex->raw);
}

BM_UNCHECKED bool bm_cond_wait_until(struct bm_cond *cond, struct bm_mutex *mutex,
                                     uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    return pthread_cond_timedwait(&cond->raw, &mutex->raw, &until) != ETIMEDOUT;
}
