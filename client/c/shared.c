#include "client/c/shared.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mutex.h"

enum { IDLE_BYTES_MAX = 64 * 1024 * 1024 }; // mapped, and not looked at

struct mapping {         // of a block of the server
    struct bm_node node; // in shared->mappings, and in shared->idle while nobody looks at it
    struct bm_node idle_node;
    const struct bm_shared_head *head;
    uint64_t block;
    size_t size; // with the head
    unsigned nusers;
};

struct bm_client_shared {
    struct bm_mutex mutex;
    uint32_t pid;
    unsigned refs; // the stream's, and one of each hold
    unsigned nexpected, nholds;
    struct bm_list holds; // by rising seq
    struct bm_list mappings, idle;
    size_t idle_bytes;
};

struct bm_client_hold {
    struct bm_node node; // in shared->holds
    struct bm_client_shared *shared;
    uint64_t seq;
    size_t nmappings;
    struct mapping *mappings[];
};

// ---- The server's files ----

// Opens a file of the server for reading; -1: there is none, or it is no file in memory. Whatever
// else has that number now is not even opened.
static int server_open(uint32_t pid, uint32_t fd, struct stat *ret_info)
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

static bool server_is_here(const struct bm_client_same_host *where)
{
    unsigned char nonce[BM_SHARED_NONCE_BYTES];
    struct stat info;
    int file = server_open(where->pid, where->fd, &info);
    if (file < 0)
        return false;
    bool same = read(file, nonce, sizeof nonce) == sizeof nonce &&
                memcmp(nonce, where->nonce, sizeof nonce) == 0;
    close(file);
    return same;
}

static struct mapping *mapping_new(uint32_t pid, const struct bm_client_place *place)
{
    struct stat info;
    struct mapping *mapping = calloc(1, sizeof *mapping);
    int file = mapping == NULL ? -1 : server_open(pid, place->fd, &info);
    void *map = MAP_FAILED;
    if (file >= 0 && info.st_size >= BM_SHARED_HEAD_BYTES) // all of it: its pages are there
        map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
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

static void mapping_free(struct mapping *mapping)
{
    munmap((void *)mapping->head, mapping->size);
    free(mapping);
}

// ---- What is mapped ----

static struct mapping *shared_find(struct bm_client_shared *shared, uint64_t block)
    BM_REQUIRES(shared->mutex)
{
    const struct bm_node *end = &shared->mappings.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct mapping *mapping = BM_CONTAINER(node, struct mapping, node);
        if (mapping->block == block)
            return mapping;
    }
    return NULL;
}

static void shared_shrink(struct bm_client_shared *shared, size_t most) BM_REQUIRES(shared->mutex)
{
    while (shared->idle_bytes > most) {
        struct mapping *oldest =
            BM_CONTAINER(bm_list_pop_front(&shared->idle), struct mapping, idle_node);
        shared->idle_bytes -= oldest->size;
        bm_list_remove(&oldest->node);
        mapping_free(oldest);
    }
}

static struct mapping *shared_map(struct bm_client_shared *shared,
                                  const struct bm_client_place *place) BM_REQUIRES(shared->mutex)
{
    struct mapping *mapping = shared_find(shared, place->block);
    if (mapping == NULL) {
        mapping = mapping_new(shared->pid, place);
        if (mapping == NULL)
            return NULL;
        bm_list_push_front(&shared->mappings, &mapping->node);
    } else if (mapping->nusers == 0) {
        bm_list_remove(&mapping->idle_node);
        shared->idle_bytes -= mapping->size;
    }
    mapping->nusers++;
    return mapping;
}

static void shared_unmap(struct bm_client_shared *shared, struct mapping *mapping)
    BM_REQUIRES(shared->mutex)
{
    if (--mapping->nusers > 0)
        return;
    bm_list_push_back(&shared->idle, &mapping->idle_node);
    shared->idle_bytes += mapping->size;
    shared_shrink(shared, IDLE_BYTES_MAX);
}

// ---- Its life ----

struct bm_client_shared *bm_client_shared_new(const struct bm_client_same_host *where)
{
    if (!server_is_here(where))
        return NULL;
    struct bm_client_shared *shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        return NULL;
    bm_mutex_init(&shared->mutex);
    shared->pid = where->pid;
    shared->refs = 1;
    bm_list_init(&shared->holds);
    bm_list_init(&shared->mappings);
    bm_list_init(&shared->idle);
    return shared;
}

static void shared_free(struct bm_client_shared *shared)
{
    bm_mutex_lock(&shared->mutex);
    shared_shrink(shared, 0);
    bm_mutex_unlock(&shared->mutex);
    bm_mutex_fini(&shared->mutex);
    free(shared);
}

struct bm_client_shared *bm_client_shared_unref(struct bm_client_shared *shared)
{
    if (shared == NULL)
        return NULL;
    bm_mutex_lock(&shared->mutex);
    bool last = --shared->refs == 0;
    bm_mutex_unlock(&shared->mutex);
    if (last)
        shared_free(shared);
    return NULL;
}

// ---- Asking ----

bool bm_client_shared_enter(struct bm_client_shared *shared, uint32_t count)
{
    bm_mutex_lock(&shared->mutex);
    unsigned taken = shared->nexpected + shared->nholds;
    bool room = taken <= BM_SHARED_HELD_MAX && count <= BM_SHARED_HELD_MAX - taken;
    if (room)
        shared->nexpected += count;
    bm_mutex_unlock(&shared->mutex);
    return room;
}

void bm_client_shared_leave(struct bm_client_shared *shared, uint32_t count)
{
    bm_mutex_lock(&shared->mutex);
    shared->nexpected -= count;
    bm_mutex_unlock(&shared->mutex);
}

size_t bm_client_shared_held(struct bm_client_shared *shared, uint64_t ack,
                             uint64_t ret_seqs[BM_SHARED_HELD_MAX])
{
    size_t n = 0;
    bm_mutex_lock(&shared->mutex);
    const struct bm_node *end = &shared->holds.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        uint64_t seq = BM_CONTAINER(node, struct bm_client_hold, node)->seq;
        if (seq >= ack)
            break;
        if (n == 0 || ret_seqs[n - 1] != seq) // one that came twice is held once
            ret_seqs[n++] = seq;
    }
    bm_mutex_unlock(&shared->mutex);
    return n;
}

// ---- Holds ----

static void hold_enter(struct bm_client_shared *shared, struct bm_client_hold *hold)
    BM_REQUIRES(shared->mutex)
{
    struct bm_node *before = shared->holds.head.prev; // mostly, they come as they follow
    while (before != &shared->holds.head &&
           BM_CONTAINER(before, struct bm_client_hold, node)->seq > hold->seq)
        before = before->prev;
    bm_list_insert_(before, &hold->node, before->next);
    hold->shared = shared;
    shared->refs++;
    shared->nholds++;
}

static const void *hold_map(struct bm_client_shared *shared, struct bm_client_hold *hold,
                            const struct bm_client_place *place) BM_REQUIRES(shared->mutex)
{
    struct mapping *mapping = shared_map(shared, place);
    if (mapping == NULL)
        return NULL;
    hold->mappings[hold->nmappings++] = mapping;
    if (place->offset < BM_SHARED_HEAD_BYTES || place->offset % BM_CLIENT_ALIGNMENT != 0 ||
        place->offset > mapping->size || place->size_bytes > mapping->size - place->offset)
        return NULL;
    return (const unsigned char *)mapping->head + place->offset;
}

struct bm_client_hold *bm_client_hold_new(struct bm_client_shared *shared,
                                          struct bm_client_batch *batch)
{
    struct bm_client_hold *hold = malloc(sizeof *hold + batch->ntensors * sizeof(struct mapping *));
    if (hold == NULL)
        return NULL;
    hold->seq = batch->seq;
    hold->nmappings = 0;
    bool good = true;
    bm_mutex_lock(&shared->mutex);
    hold_enter(shared, hold);
    for (size_t i = 0; i < batch->ntensors && good; i++) {
        if (!batch->places[i].given)
            continue;
        batch->tensors[i].data = hold_map(shared, hold, &batch->places[i]);
        good = batch->tensors[i].data != NULL;
    }
    bm_mutex_unlock(&shared->mutex);
    if (good)
        return hold;
    bm_client_hold_free(hold);
    return NULL;
}

void bm_client_hold_free(struct bm_client_hold *hold)
{
    if (hold == NULL)
        return;
    struct bm_client_shared *shared = hold->shared;
    bm_mutex_lock(&shared->mutex);
    for (size_t i = 0; i < hold->nmappings; i++)
        shared_unmap(shared, hold->mappings[i]);
    bm_list_remove(&hold->node);
    shared->nholds--;
    bm_mutex_unlock(&shared->mutex);
    free(hold);
    bm_client_shared_unref(shared);
}
