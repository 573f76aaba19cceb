// plugin_stream.c -- a stream of a pipeline, by a server and a client in this process, and a digest
// of all that came.
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/random.h"
#include "client/cli/cli.h"
#include "client/cli/plugin.h"
#include "server/server.h"

static uint64_t digest_rows(uint64_t digest, const struct batchmill_tensor *tensor, size_t row,
                            size_t nitems)
{
    uint64_t rows = tensor->ragged ? tensor->offsets[nitems] : nitems;
    uint64_t first = tensor->ragged ? tensor->offsets[row] : row;
    uint64_t end = tensor->ragged ? tensor->offsets[row + 1] : row + 1;
    size_t row_bytes = rows == 0 ? 0 : tensor->size_bytes / rows;
    uint64_t hash = bm_hash_bytes((const char *)tensor->data + first * row_bytes,
                                  (size_t)(end - first) * row_bytes);
    return bm_mix64(digest ^ hash ^ (end - first)) + 1;
}

static void record_batch(struct check_record *record, const struct batchmill_batch *batch)
{
    size_t nitems = batchmill_batch_nitems(batch);
    record->digest = cli_digest_batch(record->digest, batch);
    record->nbatches++;
    for (size_t row = 0; row < nitems && record->nitems < CHECK_ITEMS; row++) {
        uint64_t digest = 1;
        for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++)
            digest = digest_rows(digest, batchmill_batch_tensor_at(batch, i), row, nitems);
        record->items[record->nitems] = batchmill_batch_items(batch)[row];
        record->digests[record->nitems] = digest;
        record->nitems++;
    }
}

static void record_failure(struct check_record *record, const struct batchmill_error *error)
{
    record->digest = cli_digest_error(record->digest, error);
    record->mute = record->mute || strstr(error->text, "failed without saying why") != NULL;
    if (record->nfailed++ == 0)
        snprintf(record->failure, sizeof record->failure, "%s", error->text);
}

static enum batchmill_code stream_drain(struct batchmill_client *client, const char *pipeline,
                                        const struct batchmill_order *order,
                                        struct check_record *record, struct batchmill_error *error)
{
    struct batchmill_stream *stream = NULL;
    enum batchmill_code code = batchmill_gen_batch(client, pipeline, order, &stream, error);
    while (code == BATCHMILL_OK) {
        struct batchmill_batch *batch = NULL;
        code = batchmill_next(stream, &batch, error);
        if (code == BATCHMILL_OK) {
            record_batch(record, batch);
            batchmill_batch_free(batch);
        } else if (code != BATCHMILL_END && error->has_batch) {
            record_failure(record, error);
            code = BATCHMILL_OK;
        }
    }
    batchmill_stream_close(stream);
    return code == BATCHMILL_END ? BATCHMILL_OK : code;
}

// The numbers of variables, by the name and bit by bit; they are summed up in the order of batches.
static uint64_t digest_variables(const struct batchmill_run_result *result)
{
    uint64_t digest = result->batches;
    for (size_t i = 0; i < result->nvariables; i++) {
        const struct batchmill_variable *variable = &result->variables[i];
        uint64_t hash = bm_hash_bytes(variable->name, strlen(variable->name)) ^
                        bm_hash_bytes(&variable->number, sizeof variable->number) ^
                        (uint64_t)variable->integer;
        digest = bm_mix64(digest ^ hash) + 1;
    }
    return digest;
}

static enum batchmill_code stream_sum_up(struct batchmill_client *client, const char *pipeline,
                                         const struct batchmill_order *order,
                                         struct check_record *record, struct batchmill_error *error)
{
    struct batchmill_run_result *result = NULL;
    enum batchmill_code code = batchmill_run(client, pipeline, order, NULL, NULL, &result, error);
    if (code == BATCHMILL_OK)
        record->variables = digest_variables(result);
    batchmill_run_free(result);
    return code;
}

// The first items of one epoch, in an order of their own.
static enum bm_status stream_run(const char *url, const struct bm_pipeline *pipeline,
                                 const struct check_run *run, struct check_record *record,
                                 struct bm_error *err)
{
    uint64_t nitems = bm_pipeline_source(pipeline)->nitems;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = run->batch_size;
    order.prefetch = run->prefetch;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.on_error = BATCHMILL_REPORT;
    order.n_iters =
        ((nitems < CHECK_ITEMS ? nitems : CHECK_ITEMS) + run->batch_size - 1) / run->batch_size;
    const struct batchmill_options options = {.no_shared_memory = true};
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    enum batchmill_code code = batchmill_connect(url, &options, &client, &error);
    if (code == BATCHMILL_OK)
        code = stream_drain(client, bm_pipeline_name(pipeline), &order, record, &error);
    if (code == BATCHMILL_OK)
        code = stream_sum_up(client, bm_pipeline_name(pipeline), &order, record, &error);
    batchmill_disconnect(client);
    return code == BATCHMILL_OK ? BM_OK
                                : bm_fail(err, (enum bm_status)code, NULL, "%s", error.text);
}

enum bm_status check_stream(struct bm_pipeline *pipeline, const struct check_run *run,
                            struct check_record *ret_record, struct bm_error *err)
{
    static unsigned number;
    struct bm_catalog *catalog = NULL;
    struct bm_server *server = NULL;
    char url[64];
    const char *const listen[] = {url};
    snprintf(url, sizeof url, "inproc://check-%ld-%u", (long)getpid(), number++);
    mallopt(M_PERTURB, run->fill);
    *ret_record = (struct check_record){0};
    enum bm_status status = bm_catalog_new(&catalog, err);
    if (status == BM_OK)
        status = bm_catalog_add(catalog, bm_pipeline_ref(pipeline), err);
    if (status == BM_OK)
        status = bm_server_start(&(struct bm_server_config){.catalog = catalog,
                                                            .listen = listen,
                                                            .nlisten = 1,
                                                            .workers = run->workers,
                                                            .no_shared_memory = true},
                                 &server, err);
    if (status == BM_OK)
        status = stream_run(url, pipeline, run, ret_record, err);
    if (server != NULL)
        bm_server_stop(server);
    bm_catalog_free(catalog);
    mallopt(M_PERTURB, 0);
    return status;
}
