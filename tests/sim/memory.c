// Memory that belongs to processes: our own code's malloc and its family, as the linker's --wrap
// turns them here. So a killed process leaves nothing behind, a process that ended well must have
// nothing left, and a seed can refuse the n-th allocation of one process.
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/random.h"
#include "sim/world.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t max);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **ret, size_t alignment, size_t size);
int __real_vasprintf(char **ret, const char *format, va_list arguments);
void __real_free(void *old);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t size);
int __wrap_asprintf(char **ret, const char *format, ...);
void __wrap_free(void *old);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);

// ---- Who owns what: open addressing, grown by doubling ----

struct entry {
    void *at;
    struct sim_process *owner;
};
static struct entry *entries;
static size_t capacity, count;

static size_t entry_home(const void *at)
{
    return bm_mix64((uintptr_t)at) & (capacity - 1);
}

static size_t entry_find(const void *at) // its place, or the free one where it would go
{
    size_t i = entry_home(at);
    while (entries[i].at != NULL && entries[i].at != at)
        i = (i + 1) & (capacity - 1);
    return i;
}

static void entries_grow(void)
{
    struct entry *old = entries;
    size_t old_capacity = capacity;
    capacity = capacity == 0 ? 4096 : 2 * capacity;
    entries = __real_calloc(capacity, sizeof *entries);
    BM_ASSERT(entries != NULL);
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].at != NULL)
            entries[entry_find(old[i].at)] = old[i];
    }
    __real_free(old);
}

static void *own(void *at)
{
    if (at == NULL || sim.current == NULL)
        return at;
    if (2 * (count + 1) > capacity)
        entries_grow();
    entries[entry_find(at)] = (struct entry){at, sim.current};
    count++;
    return at;
}

static void disown(void *at)
{
    if (at == NULL || count == 0)
        return;
    size_t i = entry_find(at);
    if (entries[i].at == NULL)
        return; // the simulator's own
    entries[i].at = NULL;
    count--;
    // Close the gap, so that what was pushed on by this entry is found again.
    for (size_t k = (i + 1) & (capacity - 1); entries[k].at != NULL; k = (k + 1) & (capacity - 1)) {
        size_t home = entry_home(entries[k].at);
        bool stays = i <= k ? (home > i && home <= k) : (home > i || home <= k);
        if (stays)
            continue;
        entries[i] = entries[k];
        entries[k].at = NULL;
        i = k;
    }
}

void sim_memory_kill(struct sim_process *process)
{
    size_t n = 0;
    void **all = __real_calloc(count + 1, sizeof *all);
    BM_ASSERT(all != NULL);
    for (size_t i = 0; i < capacity; i++) {
        if (entries[i].at != NULL && entries[i].owner == process)
            all[n++] = entries[i].at;
    }
    for (size_t i = 0; i < n; i++) {
        disown(all[i]);
        __real_free(all[i]);
    }
    __real_free(all);
    sim_files_kill(process);
}

size_t sim_memory_count(const struct sim_process *process)
{
    size_t n = sim_files_count(process);
    for (size_t i = 0; i < capacity; i++)
        n += entries[i].at != NULL && entries[i].owner == process;
    return n;
}

// ---- The C library's names ----

bool sim_memory_refuses(void)
{
    struct sim_process *process = sim.current;
    if (process == NULL || process->refuse_in == 0 || --process->refuse_in > 0)
        return false;
    process->refused++;
    sim_trace("an allocation is refused");
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return sim_memory_refuses() ? NULL : own(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return sim_memory_refuses() ? NULL : own(__real_calloc(n, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (sim_memory_refuses())
        return NULL;
    disown(old);
    void *at = __real_realloc(old, size);
    if (at == NULL && size > 0)
        own(old);
    return own(at);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return __wrap_realloc(old, total);
}

char *__wrap_strdup(const char *text)
{
    return sim_memory_refuses() ? NULL : own(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t max)
{
    return sim_memory_refuses() ? NULL : own(__real_strndup(text, max));
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return sim_memory_refuses() ? NULL : own(__real_aligned_alloc(alignment, size));
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t size)
{
    if (sim_memory_refuses())
        return ENOMEM;
    int result = __real_posix_memalign(ret, alignment, size);
    if (result == 0)
        own(*ret);
    return result;
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    if (sim_memory_refuses())
        return -1;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(ret, format, arguments);
    va_end(arguments);
    if (length >= 0)
        own(*ret);
    return length;
}

void __wrap_free(void *old)
{
    disown(old);
    __real_free(old);
}

// Not memory, but also the system's: what nobody can predict is the seed's here.
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        at[i] = (unsigned char)sim_draw(256);
    return (ssize_t)size;
}
