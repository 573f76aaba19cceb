// fake_replies.h -- batches made by hand, for the tests of both codecs. Layer: tests.
//
//     struct bm_outcome *outcome = fake_outcome(pipeline, &schema, 3, 64);
//
// Batch `seq` has the items 10 * seq, 10 * seq + 1, ... The bytes of its tensors count up from 1;
// item i of a ragged component has (i + 1) % 3 rows.
//
// Threads: one thread.
#pragma once
#include "run/outcome.h"
#include "server/messages.h"

// A component without a shape when `ndim` is 0; `shape` is that of one item.
void fake_schema_add(struct bm_schema *schema, const char *name, enum bm_dtype dtype, bool ragged,
                     unsigned ndim, const uint64_t *shape);
// Takes a reference of the pipeline, which need not make such batches; borrows the schema.
struct bm_outcome *fake_outcome(struct bm_pipeline *pipeline, const struct bm_schema *schema,
                                uint64_t seq, uint64_t nitems);
// The same, with what is large in memory of the pool.
struct bm_outcome *fake_shared_outcome(struct bm_pipeline *pipeline, const struct bm_schema *schema,
                                       uint64_t seq, uint64_t nitems, struct bm_shared_pool *pool);
struct bm_outcome *fake_failure(struct bm_pipeline *pipeline, uint64_t seq, int action,
                                int64_t item, enum bm_status status, const char *text);

// What a reply owns and bm_reply_fini() frees.
void *fake_array(size_t n, size_t size); // zeroed
char *fake_text(const char *text);

// A message where nng puts it: 4 bytes behind an aligned address. Nothing lies after it, so that
// ASan sees a step over its end. free(memory).
struct fake_bytes {
    unsigned char *memory, *data;
    size_t size;
    unsigned nallocs;
};
void *fake_bytes_alloc(void *bytes, size_t size); // for bm_reply_encode()
struct fake_bytes fake_bytes_copy(const void *data, size_t size, size_t offset); // 1 or more
struct fake_bytes fake_bytes_reply(struct bm_reply *reply); // encoded; gives the reply back
