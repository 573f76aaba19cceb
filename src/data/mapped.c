#include "data/mapped.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mutex.h"

enum { IDLE_BYTES_MAX = 64 * 1024 * 1024 }; // mapped, and not looked at

struct bm_mapping {
    struct bm_node node;      // in mapped->mappings
    struct bm_node idle_node; // in mapped->idle while nobody looks at it
    struct bm_shared_head *head;
    uint64_t block;
    size_t size; // with the head
    unsigned nusers;
};

struct bm_mapped {
    atomic_uint refs;
    uint32_t pid;
    bool writable;
    struct bm_mutex mutex; // of what follows
    struct bm_list mappings, idle;
    size_t idle_bytes;
};

// ---- The other's files ----

// -1: there is none, or it is no file in memory. Whatever else has that number now is not even
// opened.
static int file_open(uint32_t pid, uint32_t fd, struct stat *ret_info)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%u", pid, fd);
    if (stat(path, ret_info) != 0 || !S_ISREG(ret_info->st_mode))
        return -1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return -1;
    // What can shrink could be taken away while we look at it.
    int seals = fcntl(file, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(file, ret_info) != 0) {
        close(file);
        return -1;
    }
    return file;
}

bool bm_mapped_is_here(const struct bm_probe *probe)
{
    unsigned char found[BM_SHARED_NONCE_BYTES];
    struct stat info;
    int file = file_open(probe->pid, probe->fd, &info);
    if (file < 0)
        return false;
    bool same = read(file, found, sizeof found) == sizeof found &&
                memcmp(found, probe->nonce, sizeof found) == 0;
    close(file);
    return same;
}

static struct bm_mapping *mapping_new(const struct bm_mapped *mapped,
                                      const struct bm_mapped_place *place)
{
    // Read-only, all of its pages are taken over at once: they are there. What may be written is
    // copied page by page when it is.
    int protection = PROT_READ | (mapped->writable ? PROT_WRITE : 0);
    int flags = mapped->writable ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
    struct stat info;
    struct bm_mapping *mapping = calloc(1, sizeof *mapping);
    int file = mapping == NULL ? -1 : file_open(mapped->pid, place->fd, &info);
    void *map = MAP_FAILED;
    if (file >= 0 && info.st_size >= BM_SHARED_HEAD_BYTES)
        map = mmap(NULL, (size_t)info.st_size, protection, flags, file, 0);
    if (file >= 0)
        close(file);
    if (map == MAP_FAILED) {
        free(mapping);
        return NULL;
    }
    mapping->head = map;
    mapping->size = (size_t)info.st_size;
    mapping->block = place->block;
    if (mapping->head->magic == BM_SHARED_MAGIC && mapping->head->block == place->block &&
        mapping->head->size_bytes == mapping->size - BM_SHARED_HEAD_BYTES)
        return mapping;
    munmap(map, mapping->size);
    free(mapping);
    return NULL;
}

static void mapping_free(struct bm_mapping *mapping)
{
    munmap(mapping->head, mapping->size);
    free(mapping);
}

// ---- What is mapped ----

static struct bm_mapping *mapped_find(struct bm_mapped *mapped, uint64_t block)
    BM_REQUIRES(mapped->mutex)
{
    const struct bm_node *end = &mapped->mappings.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct bm_mapping *mapping = BM_CONTAINER(node, struct bm_mapping, node);
        if (mapping->block == block)
            return mapping;
    }
    return NULL;
}

static void mapped_shrink(struct bm_mapped *mapped, size_t most) BM_REQUIRES(mapped->mutex)
{
    while (mapped->idle_bytes > most) {
        struct bm_mapping *oldest =
            BM_CONTAINER(bm_list_pop_front(&mapped->idle), struct bm_mapping, idle_node);
        mapped->idle_bytes -= oldest->size;
        bm_list_remove(&oldest->node);
        mapping_free(oldest);
    }
}

static struct bm_mapping *mapped_take(struct bm_mapped *mapped, const struct bm_mapped_place *place)
    BM_REQUIRES(mapped->mutex)
{
    struct bm_mapping *mapping = mapped_find(mapped, place->block);
    if (mapping == NULL) {
        mapping = mapping_new(mapped, place);
        if (mapping == NULL)
            return NULL;
        bm_list_push_front(&mapped->mappings, &mapping->node);
    } else if (mapping->nusers == 0) {
        bm_list_remove(&mapping->idle_node);
        mapped->idle_bytes -= mapping->size;
    }
    mapping->nusers++;
    return mapping;
}

static void mapped_drop(struct bm_mapped *mapped, struct bm_mapping *mapping)
    BM_REQUIRES(mapped->mutex)
{
    if (--mapping->nusers > 0)
        return;
    bm_list_push_back(&mapped->idle, &mapping->idle_node);
    mapped->idle_bytes += mapping->size;
    mapped_shrink(mapped, IDLE_BYTES_MAX);
}

struct bm_mapping *bm_mapped_enter(struct bm_mapped *mapped, const struct bm_mapped_place *place,
                                   void **ret_data)
{
    struct bm_mapping *mapping;
    if (mapped->writable) {
        mapping = mapping_new(mapped, place);
    } else {
        bm_mutex_lock(&mapped->mutex);
        mapping = mapped_take(mapped, place);
        bm_mutex_unlock(&mapped->mutex);
    }
    if (mapping == NULL)
        return NULL;
    if (place->offset < BM_SHARED_HEAD_BYTES || place->offset > mapping->size ||
        place->size_bytes > mapping->size - place->offset) {
        bm_mapped_leave(mapped, mapping);
        return NULL;
    }
    *ret_data = (unsigned char *)mapping->head + place->offset;
    return mapping;
}

void bm_mapped_leave(struct bm_mapped *mapped, struct bm_mapping *mapping)
{
    if (mapped->writable) {
        mapping_free(mapping);
        return;
    }
    bm_mutex_lock(&mapped->mutex);
    mapped_drop(mapped, mapping);
    bm_mutex_unlock(&mapped->mutex);
}

// ---- Its life ----

struct bm_mapped *bm_mapped_new(uint32_t pid, bool writable)
{
    struct bm_mapped *mapped = calloc(1, sizeof *mapped);
    if (mapped == NULL)
        return NULL;
    atomic_init(&mapped->refs, 1);
    mapped->pid = pid;
    mapped->writable = writable;
    bm_mutex_init(&mapped->mutex);
    bm_list_init(&mapped->mappings);
    bm_list_init(&mapped->idle);
    return mapped;
}

struct bm_mapped *bm_mapped_ref(struct bm_mapped *mapped)
{
    atomic_fetch_add_explicit(&mapped->refs, 1, memory_order_relaxed);
    return mapped;
}

struct bm_mapped *bm_mapped_unref(struct bm_mapped *mapped)
{
    if (mapped == NULL || atomic_fetch_sub_explicit(&mapped->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    bm_mutex_lock(&mapped->mutex);
    mapped_shrink(mapped, 0);
    bm_mutex_unlock(&mapped->mutex);
    bm_mutex_fini(&mapped->mutex);
    free(mapped);
    return NULL;
}
