#include "data/shared.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/shared_head.h"
#include "base/size.h"

struct bm_shared_pool {
    uint64_t bytes_min;
    struct bm_mutex mutex; // of what follows
    struct bm_list idle;   // the one used last is the last
    uint64_t idle_bytes;
    unsigned nidle, nalive; // alive: idle ones, too
};

struct bm_shared {
    struct bm_node node; // in pool->idle, when nobody has it
    struct bm_shared_pool *pool;
    int fd;
    struct bm_shared_head *head; // the data follow at BM_SHARED_HEAD_BYTES
    atomic_bool tainted;
};

static struct bm_shared *shared_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct bm_shared, node);
}

// ---- One piece ----

unsigned bm_shared_descriptors_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    rlim_t quarter = limit.rlim_cur / 4; // the rest is for connections and data
    return quarter < BM_SHARED_DESCRIPTORS_MAX ? (unsigned)quarter : BM_SHARED_DESCRIPTORS_MAX;
}

static void shared_destroy(struct bm_shared *shared)
{
    munmap(shared->head, BM_SHARED_HEAD_BYTES + shared->head->size_bytes);
    close(shared->fd);
    free(shared);
}

static struct bm_shared *shared_create(uint64_t size_bytes)
{
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };
    uint64_t total, block;
    struct bm_shared *shared = calloc(1, sizeof *shared);
    void *map = MAP_FAILED;
    int fd = -1;
    if (shared == NULL || !bm_size_add(size_bytes, BM_SHARED_HEAD_BYTES, &total) ||
        total > INT64_MAX || getrandom(&block, sizeof block, 0) != sizeof block)
        goto fail;
    fd = memfd_create("batchmill", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)total) != 0)
        goto fail;
    map = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        goto fail;
    shared->fd = fd;
    shared->head = map;
    *shared->head = (struct bm_shared_head){BM_SHARED_MAGIC, block, size_bytes};
    return shared;
fail:
    if (map != MAP_FAILED)
        munmap(map, total);
    if (fd >= 0)
        close(fd);
    free(shared);
    return NULL;
}

// ---- The probe ----

bool bm_probe_open(struct bm_probe *ret_probe)
{
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };
    struct bm_probe probe = {.pid = (uint32_t)getpid()};
    if (getrandom(probe.nonce, sizeof probe.nonce, 0) != sizeof probe.nonce)
        return false;
    int fd = memfd_create("batchmill-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return false;
    if (write(fd, probe.nonce, sizeof probe.nonce) != sizeof probe.nonce ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        close(fd);
        return false;
    }
    probe.fd = (uint32_t)fd;
    *ret_probe = probe;
    return true;
}

void bm_probe_close(const struct bm_probe *probe)
{
    close((int)probe->fd);
}

// ---- The pool ----

static struct bm_shared *pool_take(struct bm_shared_pool *pool, uint64_t size_bytes)
    BM_REQUIRES(pool->mutex)
{
    const struct bm_node *end = &pool->idle.head;
    for (struct bm_node *node = end->prev; node != end; node = node->prev) {
        struct bm_shared *shared = shared_at(node);
        if (shared->head->size_bytes != size_bytes)
            continue;
        bm_list_remove(node);
        pool->idle_bytes -= size_bytes;
        pool->nidle--;
        return shared;
    }
    return NULL;
}

// The oldest idle one, if there are more than `most` bytes of them.
static struct bm_shared *pool_evict(struct bm_shared_pool *pool, uint64_t most)
    BM_REQUIRES(pool->mutex)
{
    if (bm_list_empty(&pool->idle) || pool->idle_bytes <= most)
        return NULL;
    struct bm_shared *oldest = shared_at(bm_list_pop_front(&pool->idle));
    pool->idle_bytes -= oldest->head->size_bytes;
    pool->nidle--;
    pool->nalive--;
    return oldest;
}

static void pool_shrink(struct bm_shared_pool *pool, uint64_t most)
{
    for (;;) {
        bm_mutex_lock(&pool->mutex);
        struct bm_shared *evicted = pool_evict(pool, most);
        bm_mutex_unlock(&pool->mutex);
        if (evicted == NULL)
            return;
        shared_destroy(evicted); // without the mutex, as it takes its time
    }
}

struct bm_shared_pool *bm_shared_pool_new(uint64_t bytes_min)
{
    struct bm_shared_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return NULL;
    pool->bytes_min = bytes_min;
    bm_mutex_init(&pool->mutex);
    bm_list_init(&pool->idle);
    return pool;
}

void bm_shared_pool_free(struct bm_shared_pool *pool)
{
    if (pool == NULL)
        return;
    BM_ASSERT(pool->nidle == pool->nalive);
    pool_shrink(pool, 0);
    bm_mutex_fini(&pool->mutex);
    free(pool);
}

uint64_t bm_shared_pool_bytes_min(const struct bm_shared_pool *pool)
{
    return pool->bytes_min;
}

struct bm_shared *bm_shared_new(struct bm_shared_pool *pool, uint64_t size_bytes)
{
    bm_mutex_lock(&pool->mutex);
    struct bm_shared *shared = pool_take(pool, size_bytes), *evicted = NULL;
    bool create = shared == NULL;
    if (create) {
        unsigned most = bm_shared_descriptors_max();
        if (pool->nalive >= most) // those of other sizes make room
            evicted = pool_evict(pool, 0);
        create = pool->nalive < most;
        pool->nalive += create;
    }
    bm_mutex_unlock(&pool->mutex);
    if (evicted != NULL)
        shared_destroy(evicted);
    if (!create)
        return shared;
    shared = shared_create(size_bytes);
    if (shared != NULL) {
        shared->pool = pool;
        return shared;
    }
    bm_mutex_lock(&pool->mutex);
    pool->nalive--;
    bm_mutex_unlock(&pool->mutex);
    return NULL;
}

void bm_shared_free(struct bm_shared *shared)
{
    if (shared == NULL)
        return;
    struct bm_shared_pool *pool = shared->pool;
    bool tainted = bm_shared_tainted(shared);
    if (tainted)
        shared_destroy(shared);
    bm_mutex_lock(&pool->mutex);
    if (tainted) {
        pool->nalive--;
    } else {
        bm_list_push_back(&pool->idle, &shared->node);
        pool->idle_bytes += shared->head->size_bytes;
        pool->nidle++;
    }
    bm_mutex_unlock(&pool->mutex);
    pool_shrink(pool, BM_SHARED_POOL_BYTES);
}

// ---- What it is ----

void *bm_shared_data(struct bm_shared *shared)
{
    return (unsigned char *)shared->head + BM_SHARED_HEAD_BYTES;
}

void bm_shared_taint(struct bm_shared *shared)
{
    atomic_store_explicit(&shared->tainted, true, memory_order_release);
}

bool bm_shared_tainted(const struct bm_shared *shared)
{
    return atomic_load_explicit(&shared->tainted, memory_order_acquire);
}

struct bm_shared_place bm_shared_place(const struct bm_shared *shared)
{
    return (struct bm_shared_place){shared->fd, shared->head->block};
}
