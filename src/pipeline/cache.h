// cache.h -- what the first actions of a pipeline gave for an item, kept for the next time.
// Layer: pipeline (may include base, data).
//
// A cache belongs to a *prefix*: a source and the actions before the entry `cache` in a list. All
// pipelines of a process with the same prefix and the same place share it. An entry is the bytes
// of one item's components, never changed once it is there. A full cache takes no more: streams
// pass over the items epoch by epoch, and putting one out for another would serve none of them.
// Losing an entry costs time, never bytes: it is made again.
//
// A cache in a directory is one file, only ever appended to, locked while it is open. Each entry
// has a check: what a kill -9 or a disk has damaged is not there.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct bm_cache;
struct bm_caches; // those that are open

struct bm_caches *bm_caches_new(void); // NULL when out of memory
void bm_caches_unref(struct bm_caches *caches);

struct bm_cache_options {
    uint64_t fingerprint;  // of the prefix
    uint64_t nitems;       // of the source
    const char *directory; // NULL: in memory
    uint64_t bytes_max; // of entries and what finds them; the larger one counts for a shared cache
};

// The one that is open already, or a new one. `where` is for errors.
enum bm_status bm_cache_open(struct bm_caches *caches, const struct bm_cache_options *options,
                             const char *where, struct bm_cache **ret_cache, struct bm_error *err);
void bm_cache_close(struct bm_cache *cache); // by each who opened it; NULL is fine

// The entry of `item` < nitems, in `scratch` or in the cache's own memory: valid until the cache
// is closed or the scratch is changed. False: it is not there.
bool bm_cache_get(struct bm_cache *cache, uint64_t item, struct bm_buffer *scratch,
                  const unsigned char **ret_data, uint64_t *ret_size);
// Keeps a copy, if there is room and none is there yet.
void bm_cache_put(struct bm_cache *cache, uint64_t item, const unsigned char *data, uint64_t size);

// What the entry `cache` of a list of actions says.
struct bm_cache_config {
    uint64_t memory;
    char *directory;
    uint64_t size; // in the directory
};

struct bm_cache_report {
    bool on_disk;
    uint64_t entries, bytes, bytes_max;
    uint64_t hits, misses; // of items that were asked for
    uint64_t damaged;      // entries whose check failed
};
struct bm_cache_report bm_cache_report(struct bm_cache *cache);
