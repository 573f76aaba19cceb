// cache_place.h -- where the entries of a cache lie: in memory, or in a file. Layer: pipeline
// (private).
//
// Threads: get() and put() from any thread, for different items at once; the rest by one.
#pragma once
#include "base/mutex.h"
#include "pipeline/cache.h"

struct bm_cache_slot { // all zero: no entry
    uint64_t size;     // bytes of the entry; never 0 when there is one
    union {
        uint64_t at;               // offset in the file
        const unsigned char *data; // in memory
    };
    uint64_t check; // of a file's entry
};

struct bm_cache_place { // embedded at the start of each kind
    // The bytes of an entry, in the place's own memory or in `scratch`; NULL: damaged.
    const unsigned char *(*get)(struct bm_cache_place *place, uint64_t item,
                                const struct bm_cache_slot *slot, struct bm_buffer *scratch);
    // slot->size is given; fills the rest. False: it could not be written.
    bool (*put)(struct bm_cache_place *place, uint64_t item, const unsigned char *data,
                struct bm_cache_slot *slot);
    uint64_t (*room)(const struct bm_cache_place *place, uint64_t size); // that an entry takes
    void (*free)(struct bm_cache_place *place);
};

enum bm_status bm_cache_memory_new(const char *where, struct bm_cache_place **ret_place,
                                   struct bm_error *err);
// Opens or makes the file of the prefix, locks it, and calls `found` for each of its entries.
enum bm_status bm_cache_file_new(const struct bm_cache_options *options, const char *where,
                                 void (*found)(void *context, uint64_t item,
                                               const struct bm_cache_slot *slot, uint64_t room),
                                 void *context, struct bm_cache_place **ret_place,
                                 struct bm_error *err);
