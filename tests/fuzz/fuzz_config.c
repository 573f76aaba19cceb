// Any bytes as the server's configuration: refused with an error that says where, or loaded. What
// is loaded is the same when loaded again; its pipelines run, and what they make of an item does
// not depend on the batch it is in.
//
// The data files that a configuration may name lie beside it: '500' (csv), '501' (npy), '502'
// (idx).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/name.h"
#include "fuzz/fuzz.h"
#include "server/config.h"

enum {
    FIRST_FILE = 500,
    BATCH_SIZE = 4,
    BATCH_BYTES_MAX = 1 << 20,
    DEPTH_MAX = 32, // of lists and maps in one another
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// In /proc/self/fd, where a configuration in memory lies too, so they are found beside it.
static void files_once(void)
{
    static const char csv[] =
        "height,width,name\n1.5,2,a\n2.5,3,\"b \"\"c\"\"\"\n-1,4,\n0,5,d\n9,6,e\n";
    static const char npy[] = "\x93NUMPY\x01\0\x3e\0{'descr': '<i2', 'fortran_order': False, "
                              "'shape': (5, 2), }\n\1\0\2\0\3\0\4\0\5\0\6\0\7\0\10\0\11\0\12\0";
    static const char idx[] = "\0\0\x08\2\0\0\0\5\0\0\0\3abcdefghijklmno";
    static const struct {
        const char *data;
        size_t size;
    } files[] = {{csv, sizeof csv - 1}, {npy, sizeof npy - 1}, {idx, sizeof idx - 1}};
    static bool done;
    for (unsigned i = 0; i < COUNT(files) && !done; i++) {
        struct fuzz_file file;
        fuzz_file_open(&file, files[i].data, files[i].size);
        BM_ASSERT(dup2(file.fd, FIRST_FILE + (int)i) >= 0);
        fuzz_file_close(&file);
    }
    done = true;
}

// ---- The text ----

// NOLINTNEXTLINE(misc-no-recursion): the depth is asserted
static void value_check(const struct bm_value *value, unsigned depth)
{
    struct bm_buffer shown;
    BM_ASSERT(depth <= DEPTH_MAX);
    BM_ASSERT(value->where[0] != '\0' && bm_value_kind_name(value)[0] != '\0');
    BM_ASSERT(value->kind == BM_VALUE_LIST || value->kind == BM_VALUE_MAP || value->nchildren == 0);
    bm_buffer_init(&shown);
    bm_value_show(value, &shown);
    bm_buffer_fini(&shown);
    for (unsigned i = 0; i < value->nchildren; i++) {
        if (value->kind == BM_VALUE_MAP)
            BM_ASSERT(bm_value_find(value, value->keys[i]) == value->children[i]); // no key twice
        value_check(value->children[i], depth + 1);
    }
}

static bool yaml_check(const uint8_t *data, size_t size)
{
    struct bm_value *value;
    struct bm_error error;
    if (bm_yaml_parse((const char *)data, size, "fuzz.yaml", &value, &error) != BM_OK) {
        fuzz_refused(&error);
        BM_ASSERT(strncmp(error.where, "fuzz.yaml", 9) == 0);
        return false;
    }
    value_check(value, 0);
    bm_value_free(value);
    return true;
}

// ---- Its pipelines ----

static bool pipeline_runs(const struct bm_pipeline *pipeline)
{
    for (unsigned i = 0; i < bm_pipeline_nactions(pipeline); i++) {
        const struct bm_action_type *type = bm_pipeline_action(pipeline, i).type;
        if (type->waits || strcmp(type->name, "burn") == 0)
            return false;
    }
    return bm_pipeline_source(pipeline)->nitems > 0 &&
           bm_pipeline_batch_bytes(pipeline, BATCH_SIZE) <= BATCH_BYTES_MAX;
}

// True: `work` holds batch `seq`, and is the caller's to finish either way.
static bool batch_make(const struct bm_pipeline *pipeline, uint64_t batch_size, uint64_t seq,
                       struct bm_work *work)
{
    const struct bm_order_params params = {.batch_size = batch_size,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1};
    struct bm_order order;
    uint64_t nitems = bm_pipeline_source(pipeline)->nitems;
    *work = (struct bm_work){0};
    if (bm_order_init(&order, &params, nitems, &work->error) != BM_OK) {
        fuzz_refused(&work->error); // too many items to count
        return false;
    }
    BM_ASSERT(bm_work_init(work, pipeline, &order, seq, &work->error) == BM_OK);
    work->stream = "fuzz";
    work->attempt = 1;
    enum bm_result result = BM_RESULT_OK;
    for (unsigned i = 0; i < bm_pipeline_nsteps(pipeline) && result == BM_RESULT_OK; i++)
        result = bm_work_step(work, i);
    BM_ASSERT(result != BM_RESULT_PENDING);
    if (result == BM_RESULT_FAIL)
        fuzz_refused(&work->error);
    if (result == BM_RESULT_OK)
        fuzz_batch_check(&work->batch);
    return result == BM_RESULT_OK;
}

// Row `row` of `whole` is row 0 of `single`.
static void row_equal(const struct bm_batch *whole, uint64_t row, const struct bm_batch *single)
{
    for (unsigned c = 0; c < whole->schema->ncomponents; c++) {
        const struct bm_tensor *a = &whole->tensors[c], *b = &single->tensors[c];
        uint64_t item_bytes = bm_component_item_bytes(&whole->schema->components[c]);
        uint64_t at = row * item_bytes, size = item_bytes;
        if (a->offsets != NULL) {
            at = a->offsets[row] * item_bytes;
            size = (a->offsets[row + 1] - a->offsets[row]) * item_bytes;
        }
        BM_ASSERT(b->size_bytes == size);
        BM_ASSERT(size == 0 || memcmp(a->data + at, b->data, size) == 0);
    }
}

static void pipeline_run(const struct bm_pipeline *pipeline)
{
    struct bm_work whole, single;
    if (batch_make(pipeline, BATCH_SIZE, 0, &whole)) {
        for (uint64_t row = 0; row < whole.batch.nitems; row++) {
            if (batch_make(pipeline, 1, row, &single))
                row_equal(&whole.batch, row, &single.batch);
            bm_work_fini(&single);
        }
    }
    bm_work_fini(&whole);
}

static void pipeline_check(const struct bm_catalog *catalog, unsigned i)
{
    struct bm_pipeline *pipeline = bm_catalog_at(catalog, i), *found;
    const char *name = bm_pipeline_name(pipeline);
    BM_ASSERT(bm_name_valid(name));
    BM_ASSERT(bm_catalog_find(catalog, name, &found, NULL) == BM_OK && found == pipeline);
    BM_ASSERT(i == 0 || strcmp(bm_pipeline_name(bm_catalog_at(catalog, i - 1)), name) < 0);
    BM_ASSERT(bm_pipeline_nsteps(pipeline) >= 1);
    for (unsigned k = 0; k < bm_pipeline_nsteps(pipeline); k++) {
        const char *lock = bm_pipeline_step_lock(pipeline, k);
        BM_ASSERT(bm_pipeline_step_name(pipeline, k)[0] != '\0');
        BM_ASSERT(lock == NULL || bm_name_valid(lock));
    }
    if (pipeline_runs(pipeline))
        pipeline_run(pipeline);
}

// ---- The configuration ----

static void config_equal(const struct bm_config *a, const struct bm_config *b)
{
    unsigned n = bm_catalog_count(a->catalog);
    BM_ASSERT(n == bm_catalog_count(b->catalog) && a->nlisten == b->nlisten);
    for (unsigned i = 0; i < n; i++)
        BM_ASSERT(bm_pipeline_fingerprint(bm_catalog_at(a->catalog, i)) ==
                  bm_pipeline_fingerprint(bm_catalog_at(b->catalog, i)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_config config, again;
    struct bm_error error;
    files_once();
    bool is_yaml = yaml_check(data, size);
    fuzz_file_open(&file, data, size);
    if (bm_config_load(file.path, fuzz_registry(), &config, &error) != BM_OK) {
        fuzz_refused(&error);
        BM_ASSERT(error.where[0] != '\0');
    } else {
        BM_ASSERT(is_yaml && config.nlisten >= 1 && config.nlisten <= BM_LISTEN_MAX);
        for (unsigned i = 0; i < bm_catalog_count(config.catalog); i++)
            pipeline_check(config.catalog, i);
        BM_ASSERT(bm_config_load(file.path, fuzz_registry(), &again, &error) == BM_OK);
        config_equal(&config, &again);
        bm_config_fini(&config);
        bm_config_fini(&again);
    }
    fuzz_file_close(&file);
    return 0;
}
