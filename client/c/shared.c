#include "client/c/shared.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mutex.h"
#include "data/mapped.h"

struct bm_client_shared {
    struct bm_mapped *mapped; // of the server
    struct bm_mutex mutex;    // of what follows
    unsigned refs;            // the stream's, and one of each hold
    unsigned nexpected, nholds;
    struct bm_list holds; // by rising seq
};

struct bm_client_hold {
    struct bm_node node; // in shared->holds
    struct bm_client_shared *shared;
    uint64_t seq;
    size_t nmappings;
    struct bm_mapping *mappings[];
};

// ---- Its life ----

struct bm_client_shared *bm_client_shared_new(const struct bm_client_same_host *where,
                                              bool writable)
{
    struct bm_probe probe = {.pid = where->pid, .fd = where->fd};
    memcpy(probe.nonce, where->nonce, sizeof probe.nonce);
    if (!bm_mapped_is_here(&probe))
        return NULL;
    struct bm_client_shared *shared = calloc(1, sizeof *shared);
    struct bm_mapped *mapped = bm_mapped_new(where->pid, writable);
    if (shared == NULL || mapped == NULL) {
        free(shared);
        bm_mapped_unref(mapped);
        return NULL;
    }
    bm_mutex_init(&shared->mutex);
    shared->mapped = mapped;
    shared->refs = 1;
    bm_list_init(&shared->holds);
    return shared;
}

static void shared_free(struct bm_client_shared *shared)
{
    bm_mapped_unref(shared->mapped);
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
                            const struct bm_client_place *from)
{
    const struct bm_mapped_place place = {from->fd, from->block, from->offset, from->size_bytes};
    void *data = NULL;
    if (from->offset % BM_CLIENT_ALIGNMENT != 0)
        return NULL;
    struct bm_mapping *mapping = bm_mapped_enter(shared->mapped, &place, &data);
    if (mapping == NULL)
        return NULL;
    hold->mappings[hold->nmappings++] = mapping;
    return data;
}

struct bm_client_hold *bm_client_hold_new(struct bm_client_shared *shared,
                                          struct bm_client_batch *batch)
{
    struct bm_client_hold *hold =
        malloc(sizeof *hold + batch->ntensors * sizeof(struct bm_mapping *));
    if (hold == NULL)
        return NULL;
    hold->seq = batch->seq;
    hold->nmappings = 0;
    bm_mutex_lock(&shared->mutex);
    hold_enter(shared, hold);
    bm_mutex_unlock(&shared->mutex);
    bool good = true;
    for (size_t i = 0; i < batch->ntensors && good; i++) {
        if (!batch->places[i].given)
            continue;
        batch->tensors[i].data = hold_map(shared, hold, &batch->places[i]);
        good = batch->tensors[i].data != NULL;
    }
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
    for (size_t i = 0; i < hold->nmappings; i++)
        bm_mapped_leave(shared->mapped, hold->mappings[i]);
    bm_mutex_lock(&shared->mutex);
    bm_list_remove(&hold->node);
    shared->nholds--;
    bm_mutex_unlock(&shared->mutex);
    free(hold);
    bm_client_shared_unref(shared);
}
