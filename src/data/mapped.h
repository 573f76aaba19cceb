// mapped.h -- memory of another process on this host, as data/shared.h makes it, seen from here.
// Layer: data (may include base).
//
// What the other side says is not believed: a file is opened as /proc/PID/fd/FD, must be one in
// memory that nobody can shorten, and must begin with the head of the block that was named.
// Mappings are kept for the next time a block is used, up to a bound.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/shared.h"

// Whether /proc/PID/fd/FD holds the nonce: then that very process is seen from here.
bool bm_mapped_is_here(const struct bm_probe *probe);

struct bm_mapped; // what is mapped of one process
// `writable`: what is mapped may be written, which nobody else sees; each use then has pages of its
// own, which is dearer by far than looking. NULL: out of memory.
struct bm_mapped *bm_mapped_new(uint32_t pid, bool writable);
struct bm_mapped *bm_mapped_ref(struct bm_mapped *mapped);
struct bm_mapped *bm_mapped_unref(struct bm_mapped *mapped); // returns NULL; NULL is fine

struct bm_mapped_place {
    uint32_t fd;
    uint64_t block, offset, size_bytes; // the offset is in the file, behind its head
};
struct bm_mapping; // of a block; whoever looks at it holds `mapped` too
// Maps the place's block. NULL: it is not what is said of it, or cannot be mapped.
struct bm_mapping *bm_mapped_enter(struct bm_mapped *mapped, const struct bm_mapped_place *place,
                                   void **ret_data);
void bm_mapped_leave(struct bm_mapped *mapped, struct bm_mapping *mapping);
