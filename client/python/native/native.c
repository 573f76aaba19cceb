#include "client/python/native/native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/embedded.h"

// ---- A server in this process ----

struct batchmill_embedded {
    struct bm_embedded *server;
    pid_t pid;
};

static enum batchmill_code embedded_fail(const struct bm_error *why, struct batchmill_error *error)
{
    *error = (struct batchmill_error){.code = (enum batchmill_code)why->status};
    snprintf(error->text, sizeof error->text, "%s%s%s", why->where,
             why->where[0] == '\0' ? "" : ": ", why->text);
    return error->code;
}

enum batchmill_code batchmill_embedded_start(const char *path,
                                             const struct batchmill_embedded_options *options,
                                             struct batchmill_embedded **ret_embedded,
                                             struct batchmill_error *error)
{
    struct bm_error why = {0};
    struct batchmill_embedded *embedded = calloc(1, sizeof *embedded);
    if (embedded == NULL) {
        bm_fail(&why, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        return embedded_fail(&why, error);
    }
    const struct bm_embedded_config config = {
        .path = path,
        .listen = options->listen,
        .has_workers = options->workers != BATCHMILL_UNSET,
        .workers = (unsigned)options->workers,
        .has_memory = options->memory_bytes != BATCHMILL_UNSET,
        .memory_bytes = options->memory_bytes,
    };
    embedded->pid = getpid();
    if (bm_embedded_start(&config, &embedded->server, &why) != BM_OK) {
        free(embedded);
        return embedded_fail(&why, error);
    }
    *ret_embedded = embedded;
    return BATCHMILL_OK;
}

const char *batchmill_embedded_url(const struct batchmill_embedded *embedded)
{
    return bm_embedded_url(embedded->server);
}

const char *batchmill_embedded_listen(const struct batchmill_embedded *embedded)
{
    return bm_embedded_listen(embedded->server);
}

void batchmill_embedded_stop(struct batchmill_embedded *embedded)
{
    if (embedded == NULL || embedded->pid != getpid()) // there it is a copy without its threads
        return;
    bm_embedded_stop(embedded->server);
    free(embedded);
}

// ---- Batches ----

void batchmill_batch_view(struct batchmill_batch *batch, struct batchmill_view *ret_view)
{
    size_t nspans = 0;
    const struct batchmill_span *spans = batchmill_batch_spans(batch, &nspans);
    *ret_view = (struct batchmill_view){
        .batch = batch,
        .seq = batchmill_batch_seq(batch),
        .epoch = batchmill_batch_epoch(batch),
        .nitems = batchmill_batch_nitems(batch),
        .items = batchmill_batch_items(batch),
        .ntensors = batchmill_batch_ntensors(batch),
        .tensors = batchmill_batch_tensor_at(batch, 0),
        .nspans = spans == NULL ? 0 : nspans,
        .spans = spans,
    };
}

enum batchmill_code batchmill_next_view(struct batchmill_stream *stream, uint32_t timeout_ms,
                                        struct batchmill_view *ret_view,
                                        struct batchmill_error *error)
{
    struct batchmill_batch *batch = NULL;
    enum batchmill_code code = batchmill_next_within(stream, timeout_ms, &batch, error);
    if (code == BATCHMILL_OK)
        batchmill_batch_view(batch, ret_view);
    return code;
}

// ---- What both sides must agree on ----

const struct batchmill_layout *batchmill_layouts(void)
{
#define LAYOUT(name)                                                                               \
    {                                                                                              \
#name, sizeof(struct batchmill_##name)                                                     \
    }
    static const struct batchmill_layout layouts[] = {
        LAYOUT(error),
        LAYOUT(options),
        LAYOUT(component),
        LAYOUT(summary),
        LAYOUT(list),
        LAYOUT(action),
        LAYOUT(vocabulary),
        LAYOUT(cache),
        LAYOUT(description),
        LAYOUT(registration),
        LAYOUT(order),
        LAYOUT(stream_info),
        LAYOUT(tensor),
        LAYOUT(span),
        LAYOUT(variable),
        LAYOUT(run_result),
        LAYOUT(connections),
        LAYOUT(status),
        LAYOUT(embedded_options),
        LAYOUT(view),
        LAYOUT(lent_action),
        LAYOUT(task_info),
        {NULL, 0},
    };
#undef LAYOUT
    return layouts;
}
