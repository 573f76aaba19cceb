// cache.c -- the caches that are open, and where each finds its entries.
#include "pipeline/cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "pipeline/cache_place.h"

enum { PAGE_SLOTS = 1024 };
#define BEING_WRITTEN UINT64_MAX // `at` of a slot without an entry whose first stream writes it

struct bm_caches {
    atomic_uint refs; // its owner, and each cache
    struct bm_mutex mutex;
    struct bm_list open; // under the mutex
};

struct bm_cache {
    struct bm_node node; // in caches->open
    struct bm_caches *caches;
    unsigned users; // under caches->mutex
    uint64_t fingerprint, nitems;
    char *directory; // NULL: in memory
    struct bm_cache_place *place;

    struct bm_mutex mutex;        // of what follows; never held over a copy, a read or a write
    struct bm_cache_slot **pages; // of PAGE_SLOTS each; NULL: none of its items is there
    uint64_t entries, bytes, bytes_max;
    uint64_t hits, misses, damaged;
};

struct bm_caches *bm_caches_new(void)
{
    struct bm_caches *caches = calloc(1, sizeof *caches);
    if (caches == NULL)
        return NULL;
    atomic_init(&caches->refs, 1);
    bm_mutex_init(&caches->mutex);
    bm_list_init(&caches->open);
    return caches;
}

void bm_caches_unref(struct bm_caches *caches)
{
    if (caches != NULL && atomic_fetch_sub(&caches->refs, 1) == 1) {
        bm_mutex_fini(&caches->mutex);
        free(caches);
    }
}

// ---- Slots ----

static uint64_t cache_npages(const struct bm_cache *cache)
{
    return cache->nitems / PAGE_SLOTS + 1;
}

static struct bm_cache_slot *cache_slot(struct bm_cache *cache, uint64_t item)
{
    struct bm_cache_slot *page = cache->pages[item / PAGE_SLOTS];
    return page == NULL ? NULL : &page[item % PAGE_SLOTS];
}

// The slot to write, with a page made for it; NULL: no room.
static struct bm_cache_slot *cache_new_slot(struct bm_cache *cache, uint64_t item)
{
    struct bm_cache_slot **page = &cache->pages[item / PAGE_SLOTS];
    const uint64_t size = PAGE_SLOTS * sizeof **page;
    if (*page == NULL && cache->bytes + size <= cache->bytes_max) {
        *page = calloc(1, size);
        if (*page != NULL)
            cache->bytes += size;
    }
    return cache_slot(cache, item);
}

// An entry that was found in the file when it was opened.
static void cache_found(void *context, uint64_t item, const struct bm_cache_slot *slot,
                        uint64_t room)
{
    struct bm_cache *cache = context;
    struct bm_cache_slot *at = item < cache->nitems ? cache_new_slot(cache, item) : NULL;
    if (at == NULL)
        return;
    cache->entries += at->size == 0;
    cache->bytes += room;
    *at = *slot; // a later one is there because an earlier one was damaged
}

// ---- Opening ----

static void cache_free(struct bm_cache *cache)
{
    for (uint64_t i = 0; cache->pages != NULL && i < cache_npages(cache); i++)
        free(cache->pages[i]);
    free(cache->pages);
    if (cache->place != NULL)
        cache->place->free(cache->place);
    free(cache->directory);
    bm_mutex_fini(&cache->mutex);
    free(cache);
}

static enum bm_status cache_new(struct bm_caches *caches, const struct bm_cache_options *options,
                                const char *where, struct bm_cache **ret_cache,
                                struct bm_error *err) BM_REQUIRES(caches->mutex)
{
    struct bm_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory for a cache");
    bm_mutex_init(&cache->mutex);
    cache->users = 1;
    cache->fingerprint = options->fingerprint;
    cache->nitems = options->nitems;
    cache->bytes_max = options->bytes_max;
    cache->pages = calloc(cache_npages(cache), sizeof(struct bm_cache_slot *));
    if (options->directory != NULL)
        cache->directory = strdup(options->directory);
    enum bm_status status = BM_OK;
    if (cache->pages == NULL || (cache->directory == NULL) != (options->directory == NULL))
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory for a cache");
    else if (options->directory == NULL)
        status = bm_cache_memory_new(where, &cache->place, err);
    else
        status = bm_cache_file_new(options, where, cache_found, cache, &cache->place, err);
    if (status != BM_OK) {
        cache_free(cache);
        return status;
    }
    atomic_fetch_add(&caches->refs, 1);
    cache->caches = caches;
    bm_list_push_back(&caches->open, &cache->node);
    *ret_cache = cache;
    return BM_OK;
}

static bool cache_is(const struct bm_cache *cache, const struct bm_cache_options *options)
{
    bool same_place = cache->directory == NULL || options->directory == NULL
                          ? cache->directory == options->directory
                          : strcmp(cache->directory, options->directory) == 0;
    return same_place && cache->fingerprint == options->fingerprint &&
           cache->nitems == options->nitems;
}

static struct bm_cache *caches_find(struct bm_caches *caches,
                                    const struct bm_cache_options *options)
    BM_REQUIRES(caches->mutex)
{
    for (struct bm_node *at = caches->open.head.next; at != &caches->open.head; at = at->next) {
        struct bm_cache *cache = BM_CONTAINER(at, struct bm_cache, node);
        if (cache_is(cache, options))
            return cache;
    }
    return NULL;
}

enum bm_status bm_cache_open(struct bm_caches *caches, const struct bm_cache_options *options,
                             const char *where, struct bm_cache **ret_cache, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    bm_mutex_lock(&caches->mutex); // over the reading of a file, too: nobody else may open it
    struct bm_cache *cache = caches_find(caches, options);
    if (cache != NULL) {
        cache->users++;
        bm_mutex_lock(&cache->mutex);
        if (options->bytes_max > cache->bytes_max)
            cache->bytes_max = options->bytes_max;
        bm_mutex_unlock(&cache->mutex);
    } else {
        status = cache_new(caches, options, where, &cache, err);
    }
    bm_mutex_unlock(&caches->mutex);
    if (status == BM_OK)
        *ret_cache = cache;
    return status;
}

void bm_cache_close(struct bm_cache *cache)
{
    if (cache == NULL)
        return;
    struct bm_caches *caches = cache->caches;
    bm_mutex_lock(&caches->mutex);
    bool last = --cache->users == 0;
    if (last)
        bm_list_remove(&cache->node);
    bm_mutex_unlock(&caches->mutex);
    if (last) {
        cache_free(cache);
        bm_caches_unref(caches);
    }
}

// ---- Using ----

bool bm_cache_get(struct bm_cache *cache, uint64_t item, struct bm_buffer *scratch,
                  const unsigned char **ret_data, uint64_t *ret_size)
{
    BM_ASSERT(item < cache->nitems);
    bm_mutex_lock(&cache->mutex);
    const struct bm_cache_slot *slot = cache_slot(cache, item);
    const struct bm_cache_slot entry = slot == NULL ? (struct bm_cache_slot){0} : *slot;
    bm_mutex_unlock(&cache->mutex);
    const unsigned char *data = NULL;
    if (entry.size > 0)
        data = cache->place->get(cache->place, item, &entry, scratch);
    bm_mutex_lock(&cache->mutex);
    cache->hits += data != NULL;
    cache->misses += data == NULL;
    struct bm_cache_slot *now = cache_slot(cache, item);
    if (entry.size > 0 && data == NULL && now->size > 0 && now->at == entry.at) {
        cache->damaged++;
        cache->entries--;
        *now = (struct bm_cache_slot){0}; // it will be made, and put, again
    }
    bm_mutex_unlock(&cache->mutex);
    *ret_data = data;
    *ret_size = entry.size;
    return data != NULL;
}

void bm_cache_put(struct bm_cache *cache, uint64_t item, const unsigned char *data, uint64_t size)
{
    BM_ASSERT(item < cache->nitems);
    uint64_t room = cache->place->room(cache->place, size);
    bm_mutex_lock(&cache->mutex);
    struct bm_cache_slot *slot = cache_new_slot(cache, item);
    bool wanted = slot != NULL && slot->size == 0 && slot->at != BEING_WRITTEN && size > 0 &&
                  room <= cache->bytes_max - cache->bytes;
    if (wanted) {
        slot->at = BEING_WRITTEN;
        cache->bytes += room;
    }
    bm_mutex_unlock(&cache->mutex);
    if (!wanted)
        return;
    struct bm_cache_slot made = {.size = size};
    bool put = cache->place->put(cache->place, item, data, &made);
    bm_mutex_lock(&cache->mutex);
    *cache_slot(cache, item) = put ? made : (struct bm_cache_slot){0};
    cache->entries += put;
    bm_mutex_unlock(&cache->mutex);
}

struct bm_cache_report bm_cache_report(struct bm_cache *cache)
{
    bm_mutex_lock(&cache->mutex);
    struct bm_cache_report report = {
        .on_disk = cache->directory != NULL,
        .entries = cache->entries,
        .bytes = cache->bytes,
        .bytes_max = cache->bytes_max,
        .hits = cache->hits,
        .misses = cache->misses,
        .damaged = cache->damaged,
    };
    bm_mutex_unlock(&cache->mutex);
    return report;
}
