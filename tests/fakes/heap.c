#include "fakes/heap.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_uint_fast64_t heap_count, heap_fail_at; // fail_at 0 = never
static atomic_bool heap_fails_on;                     // also after fail_at

// The linker's --wrap turns our calls of malloc() into __wrap_malloc() and __real_malloc() into
// the C library's (or a sanitizer's) own.
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t max);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **ret, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t size);

static void heap_fail(uint64_t n, bool on)
{
    atomic_store(&heap_fails_on, on);
    atomic_store(&heap_count, 0);
    atomic_store(&heap_fail_at, n);
}

void bm_fake_heap_fail_at(uint64_t n)
{
    heap_fail(n, false);
}

void bm_fake_heap_fail_from(uint64_t n)
{
    heap_fail(n, true);
}

void bm_fake_heap_fail_never(void)
{
    atomic_store(&heap_fail_at, 0);
}

bool bm_fake_heap_failed(void)
{
    uint64_t fail_at = atomic_load(&heap_fail_at);
    return fail_at != 0 && atomic_load(&heap_count) >= fail_at;
}

uint64_t bm_fake_heap_count(void)
{
    return atomic_load(&heap_count);
}

static bool heap_fails(void)
{
    uint64_t count = atomic_fetch_add(&heap_count, 1) + 1, fail_at = atomic_load(&heap_fail_at);
    if (count != fail_at && !(fail_at != 0 && count > fail_at && atomic_load(&heap_fails_on)))
        return false;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return heap_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return heap_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return heap_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    return heap_fails() ? NULL : __real_reallocarray(old, n, size);
}

char *__wrap_strdup(const char *text)
{
    return heap_fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t max)
{
    return heap_fails() ? NULL : __real_strndup(text, max);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return heap_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t size)
{
    return heap_fails() ? ENOMEM : __real_posix_memalign(ret, alignment, size);
}
