#include "base/thread.h"

#include <errno.h>
#include <signal.h>

enum bm_status bm_thread_start(struct bm_thread *thread, const char *name,
                               void *(*main)(void *context), void *context, struct bm_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread->raw, NULL, main, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = result;
    if (result != 0)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "cannot start a thread: %m");
    (void)pthread_setname_np(thread->raw, name);
    return BM_OK;
}

void bm_thread_join(struct bm_thread *thread)
{
    pthread_join(thread->raw, NULL);
}
