// cache_memory.c -- entries of a cache in memory, in chunks that are never moved or given back
// before the end.
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "pipeline/cache_place.h"

enum { CHUNK_BYTES = 1 << 20, ENTRY_ALIGNMENT = 16 };

struct chunk {
    struct chunk *before;
    _Alignas(ENTRY_ALIGNMENT) unsigned char data[];
};

struct memory_place {
    struct bm_cache_place base;
    struct bm_mutex mutex;
    struct chunk *last;  // under the mutex; the one that has room
    uint64_t used, size; // of the last one
};

static uint64_t memory_room(const struct bm_cache_place *place, uint64_t size)
{
    (void)place;
    return bm_size_align(size, ENTRY_ALIGNMENT);
}

static const unsigned char *memory_get(struct bm_cache_place *place, uint64_t item,
                                       const struct bm_cache_slot *slot, struct bm_buffer *scratch)
{
    (void)place, (void)item, (void)scratch;
    return slot->data;
}

// Room for an entry; NULL: out of memory.
static unsigned char *memory_take(struct memory_place *memory, uint64_t room)
{
    bm_mutex_lock(&memory->mutex);
    if (memory->last == NULL || room > memory->size - memory->used) {
        uint64_t size = room > CHUNK_BYTES ? room : CHUNK_BYTES;
        struct chunk *chunk = malloc(sizeof *chunk + size);
        if (chunk == NULL) {
            bm_mutex_unlock(&memory->mutex);
            return NULL;
        }
        chunk->before = memory->last;
        memory->last = chunk;
        memory->used = 0;
        memory->size = size;
    }
    unsigned char *data = memory->last->data + memory->used;
    memory->used += room;
    bm_mutex_unlock(&memory->mutex);
    return data;
}

static bool memory_put(struct bm_cache_place *place, uint64_t item, const unsigned char *data,
                       struct bm_cache_slot *slot)
{
    (void)item;
    unsigned char *to = memory_take((struct memory_place *)place, memory_room(place, slot->size));
    if (to == NULL)
        return false;
    memcpy(to, data, slot->size);
    slot->data = to;
    return true;
}

static void memory_free(struct bm_cache_place *place)
{
    struct memory_place *memory = (struct memory_place *)place;
    while (memory->last != NULL) {
        struct chunk *before = memory->last->before;
        free(memory->last);
        memory->last = before;
    }
    bm_mutex_fini(&memory->mutex);
    free(memory);
}

enum bm_status bm_cache_memory_new(const char *where, struct bm_cache_place **ret_place,
                                   struct bm_error *err)
{
    struct memory_place *memory = calloc(1, sizeof *memory);
    if (memory == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory for a cache");
    memory->base = (struct bm_cache_place){
        .get = memory_get, .put = memory_put, .room = memory_room, .free = memory_free};
    bm_mutex_init(&memory->mutex);
    *ret_place = &memory->base;
    return BM_OK;
}
