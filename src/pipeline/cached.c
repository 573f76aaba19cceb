// cached.c -- reading through a cache: items that it has come from there, the rest is made by the
// *prefix*, a pipeline of what stands before the entry `cache`, and kept.
#include <stdlib.h>
#include <string.h>

#include "pipeline/cache.h"
#include "pipeline/internal.h"

// ---- Planning ----

// Why the result of this action cannot be kept for the next time; NULL: it can.
static const char *action_fault(const struct action *action)
{
    const struct bm_action_type *type = action->type;
    if (type->random || action->probability < 1)
        return "draws random numbers";
    if (type->stateful)
        return "has a state of its own";
    if (action->lock != NULL || type->waits)
        return "takes a lock or waits";
    if (action->variable != NULL)
        return "adds to a variable, which needs every batch";
    if (action->times > 1)
        return "repeats items";
    if (action->form == BM_PER_BATCH && !type->alone)
        return "works on whole batches, where an item's result may depend on others";
    return type->caches ? "is a cache, too" : NULL;
}

static enum bm_status cache_check(const struct bm_pipeline *pipeline, unsigned n, const char *where,
                                  struct bm_error *err)
{
    if (bm_source_get(pipeline->source)->by_epoch)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a source whose items are the same in every epoch, got %s",
                       bm_source_name(pipeline->source));
    for (unsigned i = 0; i < n; i++) {
        const char *fault = action_fault(&pipeline->actions[i]);
        if (fault != NULL)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected only actions before it whose results can be kept, but "
                           "action %u (%s) %s",
                           i, pipeline->actions[i].type->name, fault);
    }
    return BM_OK;
}

static enum bm_status cache_open(struct bm_pipeline *pipeline, const struct bm_registry *registry,
                                 const struct bm_cache_config *config, const char *where,
                                 struct bm_error *err)
{
    if ((config->memory == 0) == (config->directory == NULL))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected either memory (such as 4GiB) or directory");
    if ((config->size == 0) != (config->directory == NULL))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected size (such as 100GiB) with directory, and only there");
    if (config->directory != NULL && config->directory[0] != '/')
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected an absolute path, got \"%.60s\"",
                       config->directory);
    const struct bm_cache_options options = {
        .fingerprint = pipeline->prefix->fingerprint,
        .nitems = bm_source_get(pipeline->source)->nitems,
        .directory = config->directory,
        .bytes_max = config->directory == NULL ? config->memory : config->size,
    };
    return bm_cache_open(bm_registry_caches(registry), &options, where, &pipeline->cache, err);
}

enum bm_status pipeline_plan_cache(struct bm_pipeline *pipeline, const struct bm_registry *registry,
                                   const struct bm_value *actions, struct bm_error *err)
{
    unsigned n = 0;
    while (n < pipeline->nactions && !pipeline->actions[n].type->caches)
        n++;
    if (n == pipeline->nactions)
        return BM_OK;
    const char *where = actions->children[n]->where;
    for (unsigned i = n + 1; i < pipeline->nactions; i++) {
        if (pipeline->actions[i].type->caches)
            return bm_fail(err, BM_INVALID_ARGUMENT, actions->children[i]->where,
                           "expected one cache in a pipeline, got a second one");
    }
    if (pipeline->actions[n].lock != NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "a cache takes no lock");
    enum bm_status status = cache_check(pipeline, n, where, err);
    struct bm_value before = *actions; // borrows the children
    before.nchildren = n;
    if (status == BM_OK)
        status = bm_pipeline_new(registry, pipeline->name, pipeline->source, &before,
                                 &pipeline->prefix, err);
    if (status == BM_OK)
        status = cache_open(pipeline, registry, pipeline->actions[n].config, where, err);
    pipeline->ncached = n + 1;
    return status;
}

// ---- An item's components as bytes: for each the number of its rows, if ragged, and its values.
// Where items may be left out, a byte in front says whether this one is there ----

enum { ENTRY_LEFT_OUT, ENTRY_THERE };

static void row_write(const struct bm_batch *batch, uint64_t row, struct bm_buffer *out)
{
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        const struct bm_component *component = &batch->schema->components[c];
        uint64_t n;
        const unsigned char *values = bm_batch_rows(batch, c, row, 1, &n);
        if (component->ragged) {
            const uint64_t *offsets = batch->tensors[c].offsets;
            const uint64_t rows = offsets[row + 1] - offsets[row];
            bm_buffer_add(out, &rows, sizeof rows);
        }
        bm_buffer_add(out, values, n * bm_dtype_size(component->dtype));
    }
}

struct piece { // of an entry: the values of one component
    const unsigned char *values;
    uint64_t rows, size;
};

// Takes an entry apart. False: it does not fit the schema.
static bool entry_split(const struct bm_schema *schema, const unsigned char *data, uint64_t size,
                        struct piece *pieces)
{
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        const struct bm_component *component = &schema->components[c];
        uint64_t rows = 1;
        if (component->ragged) {
            if (size < sizeof rows)
                return false;
            memcpy(&rows, data, sizeof rows);
            data += sizeof rows;
            size -= sizeof rows;
        }
        uint64_t row_bytes = bm_component_item_bytes(component);
        if (row_bytes > 0 && rows > size / row_bytes)
            return false;
        pieces[c] = (struct piece){data, rows, rows * row_bytes};
        data += pieces[c].size;
        size -= pieces[c].size;
    }
    return size == 0;
}

// ---- Reading ----

struct reading {
    struct bm_work *work;
    const struct bm_schema *schema; // of what the cache keeps
    struct piece *pieces;           // [nitems * ncomponents]: where each item's values lie
    uint64_t *missing;              // [nmissing] rows that the cache lacks
    uint64_t nmissing;
    bool *dropped;             // [nitems] rows that the prefix leaves out; NULL: it never does
    struct bm_buffer *scratch; // [nitems] that entries of a file are read into
    struct bm_work made;       // the missing ones
};

static struct piece *reading_pieces(const struct reading *reading, uint64_t row)
{
    return &reading->pieces[row * reading->schema->ncomponents];
}

static bool reading_init(struct reading *reading, struct bm_work *work)
{
    uint64_t n = work->batch.nitems + 1;
    *reading = (struct reading){
        .work = work,
        .schema = pipeline_schema(work->pipeline, work->pipeline->ncached),
        .dropped = work->pipeline->prefix->drops ? work->dropped : NULL,
    };
    reading->pieces = calloc(n * (reading->schema->ncomponents + 1), sizeof reading->pieces[0]);
    reading->missing = calloc(n, sizeof reading->missing[0]);
    reading->scratch = calloc(n, sizeof reading->scratch[0]);
    return reading->pieces != NULL && reading->missing != NULL && reading->scratch != NULL;
}

static void reading_fini(struct reading *reading)
{
    for (uint64_t row = 0; reading->scratch != NULL && row < reading->work->batch.nitems; row++)
        bm_buffer_fini(&reading->scratch[row]);
    bm_work_fini(&reading->made);
    free(reading->scratch);
    free(reading->missing);
    free(reading->pieces);
}

// Takes the entry of a row apart. False: it is none of this schema.
static bool reading_split(struct reading *reading, uint64_t row, const unsigned char *data,
                          uint64_t size)
{
    if (reading->dropped == NULL)
        return entry_split(reading->schema, data, size, reading_pieces(reading, row));
    reading->dropped[row] = size == 1 && data[0] == ENTRY_LEFT_OUT;
    return reading->dropped[row] ||
           (size > 0 && data[0] == ENTRY_THERE &&
            entry_split(reading->schema, data + 1, size - 1, reading_pieces(reading, row)));
}

static void reading_look(struct reading *reading)
{
    const struct bm_work *work = reading->work;
    for (uint64_t row = 0; row < work->batch.nitems; row++) {
        const unsigned char *data;
        uint64_t size;
        bool there = bm_cache_get(work->pipeline->cache, work->items[row], &reading->scratch[row],
                                  &data, &size) &&
                     reading_split(reading, row, data, size);
        if (!there)
            reading->missing[reading->nmissing++] = row;
    }
}

// What row i of `made` holds becomes the row's pieces, and an entry.
static void reading_keep_row(struct reading *reading, uint64_t row, uint64_t i,
                             struct bm_buffer *entry)
{
    const struct bm_batch *made = &reading->made.batch;
    struct piece *pieces = reading_pieces(reading, row);
    for (unsigned c = 0; c < reading->schema->ncomponents; c++) {
        const struct bm_component *component = &reading->schema->components[c];
        const uint64_t *offsets = made->tensors[c].offsets;
        uint64_t n;
        pieces[c].values = bm_batch_rows(made, c, i, 1, &n);
        pieces[c].size = n * bm_dtype_size(component->dtype);
        pieces[c].rows = component->ragged ? offsets[i + 1] - offsets[i] : 1;
    }
    row_write(made, i, entry);
}

// What the rows in `made` hold goes to the cache, and to its places in the batch. Of the missing
// ones, those that are not in `made` any more were left out; what becomes of an item is always the
// same, so that its index tells.
static enum bm_status reading_keep(struct reading *reading)
{
    static const unsigned char left_out = ENTRY_LEFT_OUT, there = ENTRY_THERE;
    struct bm_buffer entry;
    bm_buffer_init(&entry);
    const struct bm_work *work = reading->work, *made = &reading->made;
    for (uint64_t k = 0, i = 0; k < reading->nmissing; k++) {
        uint64_t row = reading->missing[k];
        bm_buffer_clear(&entry);
        if (i < made->batch.nitems && made->items[i] == work->items[row]) {
            if (reading->dropped != NULL)
                bm_buffer_add(&entry, &there, sizeof there);
            reading_keep_row(reading, row, i++, &entry);
        } else {
            BM_ASSERT(reading->dropped != NULL);
            reading->dropped[row] = true;
            bm_buffer_add(&entry, &left_out, sizeof left_out);
        }
        if (!bm_buffer_failed(&entry))
            bm_cache_put(work->pipeline->cache, work->items[row], entry.data, entry.size);
    }
    bool failed = bm_buffer_failed(&entry);
    bm_buffer_fini(&entry);
    return failed ? bm_fail(&reading->work->error, BM_RESOURCE_EXHAUSTED, NULL,
                            "out of memory for an entry of the cache")
                  : BM_OK;
}

// Whether the prefix skipped its batch because it left out every item.
static bool reading_is_empty(const struct reading *reading)
{
    const struct bm_work *made = &reading->made;
    bool empty = reading->dropped != NULL;
    for (uint64_t row = 0; row < made->batch.nitems && empty; row++)
        empty = made->dropped[row];
    return empty;
}

static enum bm_result reading_make(struct reading *reading)
{
    struct bm_work *work = reading->work, *made = &reading->made;
    const struct bm_pipeline *prefix = work->pipeline->prefix;
    if (reading->nmissing == 0)
        return BM_RESULT_OK;
    if (work_init_items(made, work, prefix, reading->missing, reading->nmissing, &work->error) !=
        BM_OK)
        return work_fail(work, -1, -1);
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): reading_fini() frees what reading_init() made
    enum bm_result result = BM_RESULT_OK;
    for (unsigned step = 0; step < prefix->nsteps && result == BM_RESULT_OK; step++)
        result = bm_work_step(made, step);
    if (result == BM_RESULT_FAIL) { // the prefix has this pipeline's name and actions
        work->error = made->error;
        work->failed_action = made->failed_action;
        work->failed_item = made->failed_item;
    }
    if (result == BM_RESULT_SKIP && reading_is_empty(reading)) {
        made->batch.nitems = 0;
        result = BM_RESULT_OK;
    }
    if (result == BM_RESULT_OK && reading_keep(reading) != BM_OK)
        return work_fail(work, -1, -1);
    return result;
}

static enum bm_status reading_alloc_ragged(struct reading *reading, unsigned c)
{
    struct bm_batch *batch = &reading->work->batch;
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(&reading->work->error, BM_RESOURCE_EXHAUSTED,
                       reading->schema->components[c].name, "out of memory for a batch");
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        offsets[row + 1] = offsets[row] + reading_pieces(reading, row)[c].rows;
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, &reading->work->error);
    bm_block_unref(block);
    return status;
}

static enum bm_status reading_fill(struct reading *reading)
{
    struct bm_batch *batch = &reading->work->batch;
    enum bm_status status = work_begin_reading(reading->work, reading->schema);
    for (unsigned c = 0; c < reading->schema->ncomponents && status == BM_OK; c++) {
        if (reading->schema->components[c].ragged)
            status = reading_alloc_ragged(reading, c);
        unsigned char *to = status == BM_OK ? batch->tensors[c].data : NULL;
        for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
            const struct piece *piece = &reading_pieces(reading, row)[c];
            if (piece->size > 0)
                memcpy(to, piece->values, piece->size);
            to += reading->schema->components[c].ragged
                      ? piece->size
                      : bm_component_item_bytes(&reading->schema->components[c]);
        }
    }
    return status;
}

enum bm_result work_read_cached(struct bm_work *work)
{
    struct reading reading;
    enum bm_result result;
    if (!reading_init(&reading, work)) {
        bm_fail(&work->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
        result = work_fail(work, -1, -1);
    } else {
        reading_look(&reading);
        result = reading_make(&reading);
        if (result == BM_RESULT_OK && reading_fill(&reading) != BM_OK)
            result = work_fail(work, -1, -1);
    }
    reading_fini(&reading);
    return result;
}
