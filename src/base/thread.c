#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

// ---- What is to be released at a thread's end: a list per thread, the last one first ----

struct kept {
    void (*release)(void *object);
    void *object;
    struct kept *next;
};

static pthread_once_t kept_once = PTHREAD_ONCE_INIT;
static pthread_key_t kept_key;
static bool kept_works;

static void kept_release(void *first)
{
    for (struct kept *kept = first, *next; kept != NULL; kept = next) {
        next = kept->next;
        kept->release(kept->object);
        free(kept);
    }
}

static void kept_make_key(void)
{
    kept_works = pthread_key_create(&kept_key, kept_release) == 0;
}

bool bm_thread_at_end(void (*release)(void *object), void *object)
{
    pthread_once(&kept_once, kept_make_key);
    struct kept *kept = malloc(sizeof *kept);
    if (kept == NULL || !kept_works)
        goto fail;
    *kept = (struct kept){release, object, pthread_getspecific(kept_key)};
    if (pthread_setspecific(kept_key, kept) == 0)
        return true;
fail:
    free(kept);
    return false;
}

// ---- Start and end ----

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
