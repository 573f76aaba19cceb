#include "data/batch.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

// ---- Blocks ----

struct bm_block { // a cache line of its own; the data of an own block follow it
    _Alignas(BM_TENSOR_ALIGNMENT) atomic_uint refs;
    unsigned char *data;
    uint64_t size_bytes;
    bool lent;
    void (*release)(void *owner);
    void *owner;
    struct bm_shared *shared; // where the data are, or NULL
};

struct bm_block *bm_block_new(uint64_t size_bytes)
{
    uint64_t total;
    if (!bm_size_add(size_bytes, sizeof(struct bm_block) + BM_TENSOR_ALIGNMENT, &total))
        return NULL;
    struct bm_block *block = aligned_alloc(
        BM_TENSOR_ALIGNMENT, bm_size_align(sizeof *block + size_bytes, BM_TENSOR_ALIGNMENT));
    if (block == NULL)
        return NULL;
    *block = (struct bm_block){.data = (unsigned char *)(block + 1), .size_bytes = size_bytes};
    atomic_init(&block->refs, 1);
    return block;
}

struct bm_block *bm_block_lend(void *data, uint64_t size_bytes, void (*release)(void *owner),
                               void *owner)
{
    struct bm_block *block = aligned_alloc(BM_TENSOR_ALIGNMENT, sizeof *block);
    if (block == NULL)
        return NULL;
    *block = (struct bm_block){
        .data = data, .size_bytes = size_bytes, .lent = true, .release = release, .owner = owner};
    atomic_init(&block->refs, 1);
    return block;
}

struct bm_block *bm_block_new_shared(struct bm_shared_pool *pool, uint64_t size_bytes)
{
    struct bm_shared *shared = bm_shared_new(pool, size_bytes);
    struct bm_block *block = NULL;
    if (shared != NULL)
        block = aligned_alloc(BM_TENSOR_ALIGNMENT, sizeof *block);
    if (block == NULL) {
        bm_shared_free(shared);
        return NULL;
    }
    *block = (struct bm_block){
        .data = bm_shared_data(shared), .size_bytes = size_bytes, .shared = shared};
    atomic_init(&block->refs, 1);
    return block;
}

struct bm_block *bm_block_ref(struct bm_block *block)
{
    if (block != NULL)
        atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

struct bm_block *bm_block_unref(struct bm_block *block)
{
    if (block != NULL && atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1) {
        if (block->lent && block->release != NULL)
            block->release(block->owner);
        bm_shared_free(block->shared);
        free(block);
    }
    return NULL;
}

void *bm_block_data(struct bm_block *block)
{
    return block->data;
}

uint64_t bm_block_size(const struct bm_block *block)
{
    return block->size_bytes;
}

bool bm_block_writable(const struct bm_block *block)
{
    return bm_block_owned(block, 1);
}

bool bm_block_owned(const struct bm_block *block, unsigned references)
{
    return !block->lent && (block->shared == NULL || !bm_shared_tainted(block->shared)) &&
           atomic_load_explicit(&block->refs, memory_order_acquire) == references;
}

const struct bm_shared *bm_block_shared(const struct bm_block *block)
{
    return block->shared;
}

void bm_block_taint(struct bm_block *block)
{
    if (block->shared != NULL)
        bm_shared_taint(block->shared);
}

// ---- Batches ----

enum bm_status bm_batch_init(struct bm_batch *batch, const struct bm_schema *schema,
                             const uint64_t *items, const uint64_t *item_epochs, uint64_t nitems,
                             struct bm_error *err)
{
    struct bm_tensor *tensors = calloc(schema->ncomponents + 1u, sizeof *tensors);
    if (tensors == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    *batch = (struct bm_batch){.schema = schema,
                               .tensors = tensors,
                               .nitems = nitems,
                               .items = items,
                               .item_epochs = item_epochs};
    return BM_OK;
}

void bm_batch_init_in(struct bm_batch *batch, const struct bm_schema *schema,
                      struct bm_tensor *tensors, const uint64_t *items, const uint64_t *item_epochs,
                      uint64_t nitems)
{
    for (unsigned c = 0; c < schema->ncomponents; c++)
        tensors[c] = (struct bm_tensor){0};
    *batch = (struct bm_batch){.schema = schema,
                               .tensors = tensors,
                               .tensors_borrowed = true,
                               .nitems = nitems,
                               .items = items,
                               .item_epochs = item_epochs};
}

static void tensor_fini(struct bm_tensor *tensor)
{
    bm_block_unref(tensor->block);
    bm_block_unref(tensor->offsets_block);
    *tensor = (struct bm_tensor){0};
}

void bm_batch_fini(struct bm_batch *batch)
{
    for (unsigned c = 0; batch->tensors != NULL && c < batch->schema->ncomponents; c++)
        tensor_fini(&batch->tensors[c]);
    if (!batch->tensors_borrowed)
        free(batch->tensors);
    *batch = (struct bm_batch){0};
}

static bool is_shared(const struct bm_shared_pool *shared, uint64_t size_bytes)
{
    return shared != NULL && size_bytes > 0 && size_bytes >= bm_shared_pool_bytes_min(shared);
}

static enum bm_status tensor_alloc(struct bm_tensor *tensor, uint64_t rows, uint64_t row_bytes,
                                   struct bm_shared_pool *shared, const char *name,
                                   struct bm_error *err)
{
    uint64_t size_bytes;
    struct bm_block *block = NULL;
    bool counted = bm_size_mul(rows, row_bytes, &size_bytes);
    if (counted && is_shared(shared, size_bytes))
        block = bm_block_new_shared(shared, size_bytes);
    if (counted && block == NULL)
        block = bm_block_new(size_bytes);
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name,
                       "out of memory for %llu rows of %llu bytes", (unsigned long long)rows,
                       (unsigned long long)row_bytes);
    tensor->block = block;
    tensor->data = bm_block_data(block);
    tensor->size_bytes = size_bytes;
    return BM_OK;
}

enum bm_status bm_batch_alloc(struct bm_batch *batch, unsigned c, struct bm_error *err)
{
    const struct bm_component *component = &batch->schema->components[c];
    BM_ASSERT(!component->ragged && batch->tensors[c].block == NULL);
    return tensor_alloc(&batch->tensors[c], batch->nitems, bm_component_item_bytes(component),
                        batch->shared, component->name, err);
}

enum bm_status bm_batch_alloc_ragged(struct bm_batch *batch, unsigned c, struct bm_block *offsets,
                                     struct bm_error *err)
{
    const struct bm_component *component = &batch->schema->components[c];
    struct bm_tensor *tensor = &batch->tensors[c];
    BM_ASSERT(component->ragged && tensor->block == NULL);
    BM_ASSERT(bm_block_size(offsets) == (batch->nitems + 1) * sizeof(uint64_t));
    const uint64_t *starts = bm_block_data(offsets);
    enum bm_status status =
        tensor_alloc(tensor, starts[batch->nitems], bm_component_item_bytes(component), NULL,
                     component->name, err);
    if (status != BM_OK)
        return status;
    tensor->offsets_block = bm_block_ref(offsets);
    tensor->offsets = starts;
    return BM_OK;
}

void bm_batch_share(struct bm_batch *to, unsigned to_c, const struct bm_batch *from,
                    unsigned from_c)
{
    struct bm_tensor *tensor = &to->tensors[to_c];
    tensor_fini(tensor);
    *tensor = from->tensors[from_c];
    bm_block_ref(tensor->block);
    bm_block_ref(tensor->offsets_block);
}

static bool tensor_salvage(struct bm_tensor *to, uint64_t size_bytes,
                           const struct bm_shared_pool *shared, struct bm_tensor *from)
{
    struct bm_block *block = from->block;
    if (block == NULL || bm_block_size(block) != size_bytes || !bm_block_writable(block))
        return false;
    if (is_shared(shared, size_bytes) && bm_block_shared(block) == NULL)
        return false; // of when nobody was to map it
    *to =
        (struct bm_tensor){.block = block, .data = bm_block_data(block), .size_bytes = size_bytes};
    from->block = NULL;
    return true;
}

bool bm_batch_salvage_one(struct bm_batch *to, unsigned c, struct bm_batch *from)
{
    const struct bm_component *component = &to->schema->components[c];
    uint64_t size_bytes;
    if (component->ragged || to->tensors[c].block != NULL || from->tensors == NULL ||
        !bm_size_mul(to->nitems, bm_component_item_bytes(component), &size_bytes))
        return false;
    for (unsigned k = 0; k < from->schema->ncomponents; k++) {
        if (tensor_salvage(&to->tensors[c], size_bytes, to->shared, &from->tensors[k]))
            return true;
    }
    return false;
}

void bm_batch_salvage(struct bm_batch *to, struct bm_batch *from)
{
    for (unsigned c = 0; c < to->schema->ncomponents; c++)
        bm_batch_salvage_one(to, c, from);
}

void bm_batch_move(struct bm_batch *to, unsigned to_c, struct bm_batch *from, unsigned from_c)
{
    tensor_fini(&to->tensors[to_c]);
    to->tensors[to_c] = from->tensors[from_c];
    from->tensors[from_c] = (struct bm_tensor){0};
}

bool bm_batch_maps(const struct bm_batch *batch, unsigned c)
{
    const struct bm_tensor *tensor = &batch->tensors[c];
    return !batch->schema->components[c].ragged && tensor->block != NULL &&
           tensor->size_bytes > 0 && bm_block_shared(tensor->block) != NULL;
}

uint64_t bm_batch_bytes(const struct bm_batch *batch)
{
    uint64_t bytes = 0;
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        bytes += batch->tensors[c].size_bytes;
        if (batch->tensors[c].offsets != NULL)
            bytes += (batch->nitems + 1) * sizeof(uint64_t);
    }
    return bytes;
}

unsigned char *bm_batch_rows(const struct bm_batch *batch, unsigned c, uint64_t first,
                             uint64_t count, uint64_t *ret_elements)
{
    const struct bm_component *component = &batch->schema->components[c];
    const struct bm_tensor *tensor = &batch->tensors[c];
    uint64_t from = first, to = first + count;
    if (component->ragged) {
        from = tensor->offsets[from];
        to = tensor->offsets[to];
    }
    *ret_elements = (to - from) * bm_component_elements(component);
    return tensor->data == NULL ? NULL : tensor->data + from * bm_component_item_bytes(component);
}

unsigned bm_batch_shape(const struct bm_batch *batch, unsigned c,
                        uint64_t ret_shape[BM_NDIM_MAX + 1])
{
    const struct bm_component *component = &batch->schema->components[c];
    unsigned ndim = 0;
    ret_shape[ndim++] =
        component->ragged ? batch->tensors[c].offsets[batch->nitems] : batch->nitems;
    for (unsigned i = component->ragged ? 1 : 0; i < component->ndim; i++)
        ret_shape[ndim++] = component->shape[i];
    return ndim;
}
