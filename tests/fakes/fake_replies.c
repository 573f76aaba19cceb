#include "fakes/fake_replies.h"

#include <stdlib.h>
#include <string.h>

#include "server/codec.h"
#include "support.h"

void fake_schema_add(struct bm_schema *schema, const char *name, enum bm_dtype dtype, bool ragged,
                     unsigned ndim, const uint64_t *shape)
{
    struct bm_component component = {.dtype = dtype, .ragged = ragged, .ndim = ndim};
    strncpy(component.name, name, BM_NAME_MAX);
    for (unsigned i = 0; i < ndim; i++)
        component.shape[i] = shape[i];
    assert_int_equal(bm_schema_add(schema, &component, NULL), BM_OK);
}

static void tensor_make(struct bm_batch *batch, unsigned c)
{
    if (batch->schema->components[c].ragged) {
        struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
        assert_non_null(block);
        uint64_t *offsets = bm_block_data(block);
        offsets[0] = 0;
        for (uint64_t i = 0; i < batch->nitems; i++)
            offsets[i + 1] = offsets[i] + (i + 1) % 3;
        assert_int_equal(bm_batch_alloc_ragged(batch, c, block, NULL), BM_OK);
        bm_block_unref(block);
    } else {
        assert_int_equal(bm_batch_alloc(batch, c, NULL), BM_OK);
    }
    for (uint64_t i = 0; i < batch->tensors[c].size_bytes; i++)
        batch->tensors[c].data[i] = (unsigned char)(i + 1);
}

static struct bm_outcome *outcome_make(struct bm_pipeline *pipeline, const struct bm_schema *schema,
                                       uint64_t seq, uint64_t nitems, struct bm_shared_pool *shared)
{
    struct bm_outcome *outcome = bm_outcome_new(seq, 0);
    assert_non_null(outcome);
    outcome->pipeline = bm_pipeline_ref(pipeline);
    outcome->nitems = nitems;
    struct bm_work *work = &outcome->work;
    work->failed_action = -1;
    work->failed_item = -1;
    work->items = calloc(nitems + 1, sizeof work->items[0]);
    assert_non_null(work->items);
    for (uint64_t i = 0; i < nitems; i++)
        work->items[i] = 10 * seq + i;
    assert_int_equal(bm_batch_init(&work->batch, schema, work->items, NULL, nitems, NULL), BM_OK);
    work->batch.shared = shared;
    for (unsigned c = 0; c < schema->ncomponents; c++)
        tensor_make(&work->batch, c);
    outcome->bytes = bm_batch_bytes(&work->batch);
    return outcome;
}

struct bm_outcome *fake_outcome(struct bm_pipeline *pipeline, const struct bm_schema *schema,
                                uint64_t seq, uint64_t nitems)
{
    return outcome_make(pipeline, schema, seq, nitems, NULL);
}

struct bm_outcome *fake_shared_outcome(struct bm_pipeline *pipeline, const struct bm_schema *schema,
                                       uint64_t seq, uint64_t nitems, struct bm_shared_pool *pool)
{
    return outcome_make(pipeline, schema, seq, nitems, pool);
}

struct bm_outcome *fake_failure(struct bm_pipeline *pipeline, uint64_t seq, int action,
                                int64_t item, enum bm_status status, const char *text)
{
    struct bm_outcome *outcome = bm_outcome_new(seq, 0);
    assert_non_null(outcome);
    outcome->pipeline = bm_pipeline_ref(pipeline);
    outcome->kind = BM_OUTCOME_FAILED;
    outcome->work.failed_action = action;
    outcome->work.failed_item = item;
    bm_fail(&outcome->work.error, status, NULL, "%s", text);
    return outcome;
}

void *fake_array(size_t n, size_t size)
{
    void *array = calloc(n + 1, size);
    assert_non_null(array);
    return array;
}

char *fake_text(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    return copy;
}

void *fake_bytes_alloc(void *bytes, size_t size)
{
    struct fake_bytes *to = bytes;
    to->nallocs++;
    to->size = size;
    to->memory = malloc(4 + size);
    to->data = to->memory == NULL ? NULL : to->memory + 4;
    return to->data;
}

struct fake_bytes fake_bytes_copy(const void *data, size_t size, size_t offset)
{
    struct fake_bytes bytes = {.memory = malloc(offset + size), .size = size};
    assert_non_null(bytes.memory);
    bytes.data = bytes.memory + offset;
    if (size > 0)
        memcpy(bytes.data, data, size);
    return bytes;
}

// In pieces it is the same bytes.
static void expect_pieces(const struct bm_reply *reply, const struct fake_bytes *whole)
{
    enum { SPARE = 13 };
    struct bm_reply_pieces pieces;
    assert_int_equal(bm_reply_gather(reply, SPARE, &pieces, NULL), BM_OK);
    assert_int_equal(pieces.size, whole->size);
    memset((char *)pieces.pieces[0].iov_base - SPARE, 0xee, SPARE); // ours to write
    size_t at = 0;
    for (unsigned i = 0; i < pieces.npieces; i++) {
        assert_true(pieces.pieces[i].iov_len <= whole->size - at);
        assert_memory_equal(pieces.pieces[i].iov_base, whole->data + at, pieces.pieces[i].iov_len);
        at += pieces.pieces[i].iov_len;
    }
    assert_int_equal(at, whole->size);
    bm_reply_pieces_fini(&pieces);
}

struct fake_bytes fake_bytes_reply(struct bm_reply *reply)
{
    struct fake_bytes bytes = {0};
    assert_int_equal(bm_reply_encode(reply, fake_bytes_alloc, &bytes, NULL), BM_OK);
    assert_int_equal(bytes.nallocs, 1);
    expect_pieces(reply, &bytes);
    bm_reply_fini(reply);
    return bytes;
}
