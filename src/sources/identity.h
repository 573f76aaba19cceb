// identity.h -- the part of a source's identity that is not its values. Layer: sources.
//
// Values follow each component. Neither the path nor the time of a file belongs here: equal data
// on two servers must have equal identities.
// Threads: one thread at a time per hash.
#pragma once
#include "base/hash.h"
#include "pipeline/source.h"

static inline void bm_identity_add_source(struct bm_hash *hash, const struct bm_source *source)
{
    bm_hash_add_text(hash, source->type->name);
    bm_hash_add_u64(hash, source->nitems);
}

static inline void bm_identity_add_component(struct bm_hash *hash,
                                             const struct bm_component *component)
{
    bm_hash_add_text(hash, component->name);
    bm_hash_add_u64(hash, component->dtype);
    bm_hash_add_u64(hash, component->ndim);
    for (unsigned axis = 0; axis < component->ndim; axis++)
        bm_hash_add_u64(hash, component->shape[axis]);
}
