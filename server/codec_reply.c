// Replies without batches: plain structs of protobuf-c, filled and packed. It never writes through
// the pointers it is given, so texts and shapes are lent, not copied.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pipeline/cache.h"
#include "server/codec_batches.h"

// What one reply needs until it is packed: freed all at once. A failed allocation is remembered,
// so that it is checked in one place.
struct scratch_block {
    struct scratch_block *next;
    max_align_t memory[];
};
struct scratch {
    struct scratch_block *blocks;
    bool failed;
};

static void *scratch_take(struct scratch *scratch, size_t n, size_t size) // zeroed; NULL: failed
{
    struct scratch_block *block = calloc(1, sizeof *block + n * size); // n: what a pipeline has
    if (block == NULL) {
        scratch->failed = true;
        return NULL;
    }
    block->next = scratch->blocks;
    scratch->blocks = block;
    return block->memory;
}

static void scratch_fini(struct scratch *scratch)
{
    while (scratch->blocks != NULL) {
        struct scratch_block *next = scratch->blocks->next;
        free(scratch->blocks);
        scratch->blocks = next;
    }
}

// ---- Parts ----

static void summary_fill(const struct bm_pipeline *pipeline, bool by_client,
                         Batchmill__V1__PipelineSummary *to)
{
    batchmill__v1__pipeline_summary__init(to);
    to->name = (char *)bm_pipeline_name(pipeline);
    to->source = (char *)bm_pipeline_source_name(pipeline);
    to->items = bm_pipeline_source(pipeline)->nitems;
    to->fingerprint = bm_pipeline_fingerprint(pipeline);
    to->stateful = bm_pipeline_stateful(pipeline);
    to->registered = by_client;
}

static Batchmill__V1__Component **components_new(struct scratch *scratch,
                                                 const struct bm_schema *schema, size_t *ret_n)
{
    size_t n = schema->ncomponents;
    Batchmill__V1__Component **pointers =
        scratch_take(scratch, n, sizeof(Batchmill__V1__Component *));
    Batchmill__V1__Component *to = scratch_take(scratch, n, sizeof *to);
    if (scratch->failed)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        const struct bm_component *component = &schema->components[i];
        pointers[i] = &to[i];
        batchmill__v1__component__init(&to[i]);
        to[i].name = (char *)component->name;
        to[i].dtype = (Batchmill__V1__Dtype)component->dtype;
        to[i].n_shape = component->ndim;
        to[i].shape = (uint64_t *)component->shape;
        to[i].ragged = component->ragged;
    }
    *ret_n = n;
    return pointers;
}

static Batchmill__V1__Action **actions_new(struct scratch *scratch,
                                           const struct bm_pipeline *pipeline, size_t *ret_n)
{
    unsigned n = bm_pipeline_nactions(pipeline);
    Batchmill__V1__Action **pointers = scratch_take(scratch, n, sizeof(Batchmill__V1__Action *));
    Batchmill__V1__Action *to = scratch_take(scratch, n, sizeof *to);
    if (scratch->failed)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        struct bm_action_info action = bm_pipeline_action(pipeline, i);
        pointers[i] = &to[i];
        batchmill__v1__action__init(&to[i]);
        to[i].name = (char *)action.type->name;
        if (action.lock != NULL)
            to[i].lock = (char *)action.lock;
        to[i].random = action.type->random || action.probability < 1;
        to[i].passing = 1 - action.probability;
        to[i].stateful = action.type->stateful;
        to[i].per_batch = action.form == BM_PER_BATCH;
        to[i].components = components_new(scratch, action.schema, &to[i].n_components);
    }
    *ret_n = n;
    return pointers;
}

// The names of all vocabularies, or, where they would take too much, only how many there are.
static Batchmill__V1__Vocabulary **vocabularies_new(struct scratch *scratch,
                                                    const struct bm_schema *schema, size_t *ret_n)
{
    enum { BYTES_MAX = 512 * 1024 }; // some clients take no messages above 1 MiB
    unsigned n = 0;
    uint64_t nnames = 0, bytes = 0;
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        const struct bm_vocabulary *vocabulary = schema->components[c].vocabulary;
        uint64_t count = bm_vocabulary_count(vocabulary);
        n += vocabulary != NULL;
        nnames += count;
        for (uint64_t i = 0; i < count && bytes <= BYTES_MAX; i++)
            bytes += strlen(bm_vocabulary_name(vocabulary, i)) + 4;
    }
    bool shown = bytes <= BYTES_MAX;
    Batchmill__V1__Vocabulary **pointers =
        scratch_take(scratch, n, sizeof(Batchmill__V1__Vocabulary *));
    Batchmill__V1__Vocabulary *to = scratch_take(scratch, n, sizeof *to);
    char **names = scratch_take(scratch, shown ? nnames : 0, sizeof *names);
    if (scratch->failed)
        return NULL;
    for (unsigned c = 0, k = 0; c < schema->ncomponents; c++) {
        const struct bm_component *component = &schema->components[c];
        if (component->vocabulary == NULL)
            continue;
        pointers[k] = &to[k];
        batchmill__v1__vocabulary__init(&to[k]);
        to[k].component = (char *)component->name;
        to[k].size = bm_vocabulary_count(component->vocabulary);
        to[k].names = names;
        to[k].n_names = shown ? to[k].size : 0;
        for (uint64_t i = 0; i < to[k].n_names; i++)
            *names++ = (char *)bm_vocabulary_name(component->vocabulary, i);
        k++;
    }
    *ret_n = n;
    return pointers;
}

static Batchmill__V1__Cache *cache_new(struct scratch *scratch, const struct bm_pipeline *pipeline)
{
    struct bm_cache *cache = bm_pipeline_cache(pipeline);
    Batchmill__V1__Cache *to = cache == NULL ? NULL : scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    struct bm_cache_report report = bm_cache_report(cache);
    batchmill__v1__cache__init(to);
    to->actions = bm_pipeline_ncached(pipeline);
    to->on_disk = report.on_disk;
    to->items = report.entries;
    to->bytes = report.bytes;
    to->bytes_max = report.bytes_max;
    to->hits = report.hits;
    to->misses = report.misses;
    to->damaged = report.damaged;
    return to;
}

static char **steps_new(struct scratch *scratch, const struct bm_pipeline *pipeline, size_t *ret_n)
{
    unsigned n = bm_pipeline_nsteps(pipeline);
    char **steps = scratch_take(scratch, n, sizeof *steps);
    if (steps == NULL)
        return NULL;
    for (unsigned i = 0; i < n; i++)
        steps[i] = (char *)bm_pipeline_step_name(pipeline, i);
    *ret_n = n;
    return steps;
}

// ---- Replies ----

static Batchmill__V1__ListPipelinesReply *list_new(struct scratch *scratch,
                                                   const struct bm_reply *reply)
{
    unsigned n = reply->list.n;
    Batchmill__V1__ListPipelinesReply *to = scratch_take(scratch, 1, sizeof *to);
    Batchmill__V1__PipelineSummary **pointers =
        scratch_take(scratch, n, sizeof(Batchmill__V1__PipelineSummary *));
    Batchmill__V1__PipelineSummary *summaries = scratch_take(scratch, n, sizeof *summaries);
    if (scratch->failed)
        return NULL;
    batchmill__v1__list_pipelines_reply__init(to);
    for (unsigned i = 0; i < n; i++) {
        pointers[i] = &summaries[i];
        summary_fill(reply->list.pipelines[i],
                     reply->list.by_client != NULL && reply->list.by_client[i], &summaries[i]);
    }
    to->n_pipelines = n;
    to->pipelines = pointers;
    return to;
}

static Batchmill__V1__DescribePipelineReply *describe_new(struct scratch *scratch,
                                                          const struct bm_reply *reply)
{
    const struct bm_pipeline *pipeline = reply->described;
    const struct bm_source *source = bm_pipeline_source(pipeline);
    Batchmill__V1__DescribePipelineReply *to = scratch_take(scratch, 1, sizeof *to);
    Batchmill__V1__PipelineSummary *summary = scratch_take(scratch, 1, sizeof *summary);
    if (scratch->failed)
        return NULL;
    batchmill__v1__describe_pipeline_reply__init(to);
    summary_fill(pipeline, reply->described_by_client, summary);
    to->summary = summary;
    to->source_type = (char *)source->type->name;
    to->source_components = components_new(scratch, &source->schema, &to->n_source_components);
    to->actions = actions_new(scratch, pipeline, &to->n_actions);
    to->components = components_new(scratch, bm_pipeline_schema(pipeline), &to->n_components);
    to->steps = steps_new(scratch, pipeline, &to->n_steps);
    to->vocabularies = vocabularies_new(scratch, bm_pipeline_schema(pipeline), &to->n_vocabularies);
    if (bm_pipeline_group_by(pipeline) != NULL)
        to->group_by = (char *)bm_pipeline_group_by(pipeline);
    to->cache = cache_new(scratch, pipeline);
    return to;
}

static Batchmill__V1__RegisterPipelineReply *registered_new(struct scratch *scratch,
                                                            const struct bm_registered *registered)
{
    Batchmill__V1__RegisterPipelineReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__register_pipeline_reply__init(to);
    to->fingerprint = registered->fingerprint;
    to->registration = (char *)registered->id;
    to->lease_ms = registered->lease_ms;
    return to;
}

static Batchmill__V1__UnregisterPipelineReply *unregistered_new(struct scratch *scratch,
                                                                bool removed)
{
    Batchmill__V1__UnregisterPipelineReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__unregister_pipeline_reply__init(to);
    to->removed = removed;
    return to;
}

static Batchmill__V1__SameHost *same_host_new(struct scratch *scratch, const struct bm_probe *probe)
{
    Batchmill__V1__SameHost *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__same_host__init(to);
    to->pid = probe->pid;
    to->fd = probe->fd;
    to->nonce.data = (uint8_t *)probe->nonce;
    to->nonce.len = sizeof probe->nonce;
    return to;
}

static Batchmill__V1__LendActionsReply *lent_new(struct scratch *scratch,
                                                 const struct bm_lent *lent)
{
    Batchmill__V1__LendActionsReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__lend_actions_reply__init(to);
    to->lender = (char *)lent->id;
    to->lease_ms = lent->lease_ms;
    to->request_bytes = BM_TASK_REQUEST_BYTES_MAX;
    to->seen = lent->seen;
    if (lent->same_host != NULL)
        to->same_host = same_host_new(scratch, &lent->same_host->probe);
    return to;
}

static Batchmill__V1__OpenStreamReply *open_new(struct scratch *scratch,
                                                const struct bm_opened *opened)
{
    Batchmill__V1__OpenStreamReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__open_stream_reply__init(to);
    to->stream = (char *)opened->id;
    to->first_seq = opened->first_seq;
    to->batches = opened->endless ? 0 : opened->batches;
    to->endless = opened->endless;
    to->seed = opened->seed;
    to->lease_ms = opened->lease_ms;
    to->items = opened->items;
    to->epoch_batches = opened->epoch_batches;
    if (opened->position_stem != NULL)
        to->position_stem = opened->position_stem;
    to->fingerprint = bm_pipeline_fingerprint(opened->pipeline);
    to->stateful = bm_pipeline_stateful(opened->pipeline);
    to->components =
        components_new(scratch, bm_pipeline_schema(opened->pipeline), &to->n_components);
    to->steps = steps_new(scratch, opened->pipeline, &to->n_steps);
    to->prefetch = opened->prefetch;
    if (opened->same_host != NULL)
        to->same_host = same_host_new(scratch, &opened->same_host->probe);
    return to;
}

static Batchmill__V1__RunReply *run_new(struct scratch *scratch, const struct bm_opened *opened)
{
    Batchmill__V1__RunReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__run_reply__init(to);
    to->run = (char *)opened->id;
    to->batches = opened->endless ? 0 : opened->batches;
    to->endless = opened->endless;
    to->seed = opened->seed;
    to->lease_ms = opened->lease_ms;
    return to;
}

static Batchmill__V1__GetRunReply *get_run_new(struct scratch *scratch,
                                               const struct bm_run_report *run)
{
    unsigned n = run->nnumbers;
    Batchmill__V1__GetRunReply *to = scratch_take(scratch, 1, sizeof *to);
    struct bm_batch_error *error = scratch_take(scratch, 1, sizeof *error);
    Batchmill__V1__Variable **pointers =
        scratch_take(scratch, n, sizeof(Batchmill__V1__Variable *));
    Batchmill__V1__Variable *variables = scratch_take(scratch, n, sizeof *variables);
    if (scratch->failed)
        return NULL;
    batchmill__v1__get_run_reply__init(to);
    to->state = (Batchmill__V1__RunState)run->state;
    to->batches = run->batches;
    to->items = run->items;
    to->skipped = run->skipped;
    to->failed = run->failed;
    to->seconds = run->seconds;
    to->bytes = run->bytes;
    if (run->error != NULL) {
        bm_batch_error_init(error, run->error, run->pipeline);
        to->error = &error->message;
        to->has_error = true;
        to->failed_seq = run->error->seq;
    }
    for (unsigned i = 0; i < n; i++) {
        const struct bm_number *number = &run->numbers[i];
        pointers[i] = &variables[i];
        batchmill__v1__variable__init(&variables[i]);
        variables[i].name = (char *)number->name;
        variables[i].is_integer = number->kind == BM_NUMBER_INTEGER;
        if (variables[i].is_integer)
            variables[i].integer = number->integer;
        else
            variables[i].number = number->real;
    }
    to->n_variables = n;
    to->variables = pointers;
    return to;
}

static Batchmill__V1__RemoteAction **remotes_new(struct scratch *scratch,
                                                 const struct bm_status_report *status)
{
    unsigned n = status->nremotes;
    Batchmill__V1__RemoteAction *remotes = scratch_take(scratch, n, sizeof *remotes);
    Batchmill__V1__RemoteAction **pointers =
        scratch_take(scratch, n, sizeof(Batchmill__V1__RemoteAction *));
    if (remotes == NULL || pointers == NULL)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        const struct bm_remote_status *from = &status->remotes[i];
        Batchmill__V1__RemoteAction *to = pointers[i] = &remotes[i];
        batchmill__v1__remote_action__init(to);
        to->name = (char *)from->info.name;
        to->lenders = from->nlenders;
        to->waiting = from->info.nwaiting;
        to->out = from->info.nout;
        to->waiting_seconds = from->waiting_seconds;
        to->done = from->info.done;
        to->failed = from->info.failed;
        to->retried = from->info.retried;
        to->expired = from->info.expired;
    }
    return pointers;
}

static Batchmill__V1__GetStatusReply *status_new(struct scratch *scratch,
                                                 const struct bm_status_report *status)
{
    const struct bm_scheduler_status *scheduler = &status->scheduler;
    Batchmill__V1__GetStatusReply *to = scratch_take(scratch, 1, sizeof *to);
    if (to == NULL)
        return NULL;
    batchmill__v1__get_status_reply__init(to);
    to->version = (char *)BM_VERSION;
    to->uptime_seconds = status->uptime_seconds;
    to->workers = status->workers;
    to->streams = status->streams;
    to->runs = status->runs;
    to->jobs_ready = scheduler->nready;
    to->jobs_running = scheduler->nrunning;
    to->jobs_parked = scheduler->nparked;
    to->jobs_waiting = scheduler->nwaiting;
    to->memory_used_bytes = scheduler->memory_used_bytes;
    to->memory_bytes = scheduler->memory_bytes;
    to->batches = scheduler->batches;
    to->draining = status->draining;
    to->n_answered = BM_STATUSES;
    to->answered = scratch_take(scratch, BM_STATUSES, sizeof to->answered[0]);
    to->connections = scratch_take(scratch, 1, sizeof *to->connections);
    if (to->answered == NULL || to->connections == NULL)
        return NULL;
    memcpy(to->answered, status->answered, sizeof status->answered);
    batchmill__v1__connections__init(to->connections);
    to->connections->open = status->connections.open;
    to->connections->unsent_bytes = status->connections.unsent_bytes;
    to->connections->accepted = status->connections.accepted;
    to->connections->refused = status->connections.refused;
    to->connections->no_greeting = status->connections.no_greeting;
    to->connections->bad_frame = status->connections.bad_frame;
    to->connections->slow = status->connections.slow;
    to->pipelines = status->pipelines;
    to->shared_batches = status->shared_batches;
    to->n_remote_actions = status->nremotes;
    to->remote_actions = remotes_new(scratch, status);
    return to;
}

// Replies without fields; only read.
static Batchmill__V1__CloseStreamReply closed = BATCHMILL__V1__CLOSE_STREAM_REPLY__INIT;
static Batchmill__V1__CancelRunReply cancelled = BATCHMILL__V1__CANCEL_RUN_REPLY__INIT;
static Batchmill__V1__EndLendingReply lending_ended = BATCHMILL__V1__END_LENDING_REPLY__INIT;

static void response_fill(Batchmill__V1__Response *response, const struct bm_reply *reply,
                          struct scratch *scratch)
{
    switch (reply->kind) {
    case BM_CALL_LIST_PIPELINES:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_LIST_PIPELINES;
        response->list_pipelines = list_new(scratch, reply);
        break;
    case BM_CALL_DESCRIBE_PIPELINE:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_DESCRIBE_PIPELINE;
        response->describe_pipeline = describe_new(scratch, reply);
        break;
    case BM_CALL_REGISTER_PIPELINE:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_REGISTER_PIPELINE;
        response->register_pipeline = registered_new(scratch, &reply->registered);
        break;
    case BM_CALL_UNREGISTER_PIPELINE:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_UNREGISTER_PIPELINE;
        response->unregister_pipeline = unregistered_new(scratch, reply->unregistered);
        break;
    case BM_CALL_OPEN_STREAM:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_OPEN_STREAM;
        response->open_stream = open_new(scratch, &reply->opened);
        break;
    case BM_CALL_CLOSE_STREAM:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_CLOSE_STREAM;
        response->close_stream = &closed;
        break;
    case BM_CALL_RUN:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_RUN;
        response->run = run_new(scratch, &reply->opened);
        break;
    case BM_CALL_GET_RUN:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_GET_RUN;
        response->get_run = get_run_new(scratch, &reply->run);
        break;
    case BM_CALL_CANCEL_RUN:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_CANCEL_RUN;
        response->cancel_run = &cancelled;
        break;
    case BM_CALL_GET_STATUS:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_GET_STATUS;
        response->get_status = status_new(scratch, &reply->status);
        break;
    case BM_CALL_LEND_ACTIONS:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_LEND_ACTIONS;
        response->lend_actions = lent_new(scratch, &reply->lent);
        break;
    case BM_CALL_END_LENDING:
        response->reply_case = BATCHMILL__V1__RESPONSE__REPLY_END_LENDING;
        response->end_lending = &lending_ended;
        break;
    case BM_CALL_NONE:
    case BM_CALL_NEXT_BATCHES:
    case BM_CALL_TAKE_TASK:
        bm_panic("a call that has a reply", __FILE__, __LINE__);
    }
}

enum bm_status bm_reply_encode(const struct bm_reply *reply,
                               void *(*alloc)(void *context, size_t size), void *context,
                               struct bm_error *err)
{
    if (reply->code == BM_OK && reply->kind == BM_CALL_NEXT_BATCHES)
        return bm_batches_encode(&reply->batches, alloc, context, err);
    if (reply->code == BM_OK && reply->kind == BM_CALL_TAKE_TASK)
        return bm_given_encode(&reply->given, alloc, context, err);
    Batchmill__V1__Response response = BATCHMILL__V1__RESPONSE__INIT;
    struct scratch scratch = {0};
    unsigned char *bytes = NULL;
    if (reply->code == BM_OK) {
        response_fill(&response, reply, &scratch);
    } else {
        response.code = (Batchmill__V1__Code)reply->code;
        response.message = (char *)reply->message;
    }
    size_t size = scratch.failed ? 0 : batchmill__v1__response__get_packed_size(&response);
    bool checked = size <= BM_CHECKED_BYTES_MAX;
    if (!scratch.failed)
        bytes = alloc(context, size + (checked ? BM_CHECK_SIZE : 0));
    if (bytes != NULL)
        batchmill__v1__response__pack(&response, bytes);
    if (bytes != NULL && checked)
        bm_check_put(bytes, size);
    scratch_fini(&scratch);
    if (bytes == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
    return BM_OK;
}

// ---- In pieces ----

struct head_room {
    struct bm_reply_pieces *pieces;
    size_t spare;
};

static void *pieces_alloc(void *context, size_t size) // all of it is one piece
{
    struct head_room *room = context;
    size_t table = sizeof(struct iovec);
    unsigned char *heads = malloc(table + room->spare + size);
    if (heads == NULL)
        return NULL;
    struct iovec *pieces = (struct iovec *)heads;
    pieces[0] = (struct iovec){heads + table + room->spare, size};
    *room->pieces = (struct bm_reply_pieces){pieces, 1, size, heads};
    return pieces[0].iov_base;
}

enum bm_status bm_reply_gather(const struct bm_reply *reply, size_t spare,
                               struct bm_reply_pieces *ret_pieces, struct bm_error *err)
{
    if (reply->code == BM_OK && reply->kind == BM_CALL_NEXT_BATCHES)
        return bm_batches_gather(&reply->batches, spare, ret_pieces, err);
    if (reply->code == BM_OK && reply->kind == BM_CALL_TAKE_TASK)
        return bm_given_gather(&reply->given, spare, ret_pieces, err);
    struct head_room room = {ret_pieces, spare};
    return bm_reply_encode(reply, pieces_alloc, &room, err);
}

void bm_reply_pieces_fini(struct bm_reply_pieces *pieces)
{
    free(pieces->heads); // and `pieces` with it
    *pieces = (struct bm_reply_pieces){0};
}
