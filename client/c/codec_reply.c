// Small replies: protobuf-c unpacks them, and what holds is copied into one allocation of public
// structs. Each is measured first, by the functions named _bytes, and then filled.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/name.h"
#include "base/size.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "codec.h"
#include "codec_wire.h"
#include "data/dtype.h"

enum { // fields of Response
    REPLY_LIST_PIPELINES = 3,
    REPLY_DESCRIBE_PIPELINE = 4,
    REPLY_REGISTER_PIPELINE = 5,
    REPLY_UNREGISTER_PIPELINE = 6,
    REPLY_OPEN_STREAM = 7,
    REPLY_RUN = 9,
    REPLY_GET_RUN = 10,
    REPLY_GET_STATUS = 12,
};

// NULL: *ret_code and `error` say why.
static void *reply_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t size,
                          uint32_t number, enum batchmill_code *ret_code,
                          struct batchmill_error *error)
{
    struct bm_wire body;
    *ret_code = wire_reply(bytes, size, number, &body, error);
    if (*ret_code != BATCHMILL_OK)
        return NULL;
    if (bm_wire_size(&body) > BM_CLIENT_SMALL_REPLY_MAX) {
        *ret_code = wire_unreadable(error, "expected at most %d bytes, got %zu",
                                    BM_CLIENT_SMALL_REPLY_MAX, bm_wire_size(&body));
        return NULL;
    }
    void *message = protobuf_c_message_unpack(type, NULL, bm_wire_size(&body), body.at);
    if (message == NULL)
        *ret_code = wire_unreadable(error, "it is no message %s", type->name);
    return message;
}

// ---- One allocation ----

static void *block_take(unsigned char **at, size_t size)
{
    void *taken = *at;
    *at += bm_size_align(size, 8);
    return taken;
}

static size_t text_bytes(const char *text)
{
    return (size_t)bm_size_align(strlen(text) + 1, 8);
}

static const char *text_take(unsigned char **at, const char *text)
{
    char *copy = block_take(at, strlen(text) + 1);
    struct bm_wire wire = bm_wire_of(text, strlen(text));
    bm_wire_text(&wire, copy, strlen(text) + 1);
    return copy;
}

// ---- Parts ----

static size_t components_bytes(size_t n, Batchmill__V1__Component *const *components)
{
    size_t bytes = n * sizeof(struct batchmill_component);
    for (size_t i = 0; i < n; i++)
        bytes += text_bytes(components[i]->name) + components[i]->n_shape * sizeof(uint64_t);
    return bytes;
}

static enum batchmill_code components_check(size_t n, Batchmill__V1__Component *const *components,
                                            struct batchmill_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const Batchmill__V1__Component *component = components[i];
        if (!bm_name_valid(component->name))
            return wire_unreadable(error, "component %zu: expected a name", i);
        if ((int)component->dtype < BM_BOOL || (int)component->dtype > BM_STRING)
            return wire_unreadable(error, "%s.dtype: expected 1 to 15, got %d", component->name,
                                   (int)component->dtype);
        if (component->n_shape >= BATCHMILL_NDIM_MAX)
            return wire_unreadable(error, "%s.shape: expected at most %d axes, got %zu",
                                   component->name, BATCHMILL_NDIM_MAX - 1, component->n_shape);
    }
    return BATCHMILL_OK;
}

static const struct batchmill_component *
components_take(unsigned char **at, size_t n, Batchmill__V1__Component *const *components)
{
    struct batchmill_component *taken = block_take(at, n * sizeof *taken);
    for (size_t i = 0; i < n; i++) {
        const Batchmill__V1__Component *from = components[i];
        uint64_t *shape = block_take(at, from->n_shape * sizeof *shape);
        if (from->n_shape > 0)
            memcpy(shape, from->shape, from->n_shape * sizeof *shape);
        taken[i] = (struct batchmill_component){
            .name = text_take(at, from->name),
            .dtype = (enum batchmill_dtype)from->dtype,
            .ragged = from->ragged,
            .ndim = (unsigned)from->n_shape,
            .shape = shape,
        };
    }
    return taken;
}

static size_t texts_bytes(size_t n, char *const *texts)
{
    size_t bytes = n * sizeof(char *);
    for (size_t i = 0; i < n; i++)
        bytes += text_bytes(texts[i]);
    return bytes;
}

static const char *const *texts_take(unsigned char **at, size_t n, char *const *texts)
{
    const char **taken = block_take(at, n * sizeof *taken);
    for (size_t i = 0; i < n; i++)
        taken[i] = text_take(at, texts[i]);
    return taken;
}

static size_t summary_bytes(const Batchmill__V1__PipelineSummary *summary)
{
    return text_bytes(summary->name) + text_bytes(summary->source);
}

static struct batchmill_summary summary_take(unsigned char **at,
                                             const Batchmill__V1__PipelineSummary *summary)
{
    return (struct batchmill_summary){
        .name = text_take(at, summary->name),
        .source = text_take(at, summary->source),
        .items = summary->items,
        .fingerprint = summary->fingerprint,
        .stateful = summary->stateful,
        .registered = summary->registered,
    };
}

static bool id_take(const char *id, char to[BM_CLIENT_ID_MAX + 1])
{
    if (!bm_name_valid(id) || strlen(id) > BM_CLIENT_ID_MAX)
        return false;
    memcpy(to, id, strlen(id) + 1);
    return true;
}

// ---- Pipelines ----

enum batchmill_code bm_client_decode_list(const void *bytes, size_t size,
                                          struct batchmill_list **ret_list,
                                          struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__ListPipelinesReply *reply =
        reply_unpack(&batchmill__v1__list_pipelines_reply__descriptor, bytes, size,
                     REPLY_LIST_PIPELINES, &code, error);
    if (reply == NULL)
        return code;
    size_t total =
        sizeof(struct batchmill_list) + reply->n_pipelines * sizeof(struct batchmill_summary);
    for (size_t i = 0; i < reply->n_pipelines; i++)
        total += summary_bytes(reply->pipelines[i]);
    unsigned char *at = malloc(total);
    if (at == NULL) {
        code = wire_no_memory(error);
        goto out;
    }
    struct batchmill_list *list = block_take(&at, sizeof *list);
    struct batchmill_summary *pipelines = block_take(&at, reply->n_pipelines * sizeof *pipelines);
    for (size_t i = 0; i < reply->n_pipelines; i++)
        pipelines[i] = summary_take(&at, reply->pipelines[i]);
    *list = (struct batchmill_list){.n = reply->n_pipelines, .pipelines = pipelines};
    *ret_list = list;
out:
    batchmill__v1__list_pipelines_reply__free_unpacked(reply, NULL);
    return code;
}

static size_t actions_bytes(size_t n, Batchmill__V1__Action *const *actions)
{
    size_t bytes = n * sizeof(struct batchmill_action);
    for (size_t i = 0; i < n; i++)
        bytes += text_bytes(actions[i]->name) + text_bytes(actions[i]->lock) +
                 components_bytes(actions[i]->n_components, actions[i]->components);
    return bytes;
}

static const struct batchmill_action *actions_take(unsigned char **at, size_t n,
                                                   Batchmill__V1__Action *const *actions)
{
    struct batchmill_action *taken = block_take(at, n * sizeof *taken);
    for (size_t i = 0; i < n; i++) {
        const Batchmill__V1__Action *from = actions[i];
        taken[i] = (struct batchmill_action){
            .name = text_take(at, from->name),
            .lock = from->lock[0] == '\0' ? NULL : text_take(at, from->lock),
            .random = from->random,
            .stateful = from->stateful,
            .per_batch = from->per_batch,
            .probability = 1 - from->passing,
            .ncomponents = from->n_components,
            .components = components_take(at, from->n_components, from->components),
        };
    }
    return taken;
}

static size_t vocabularies_bytes(size_t n, Batchmill__V1__Vocabulary *const *vocabularies)
{
    size_t bytes = n * sizeof(struct batchmill_vocabulary);
    for (size_t i = 0; i < n; i++)
        bytes += text_bytes(vocabularies[i]->component) +
                 texts_bytes(vocabularies[i]->n_names, vocabularies[i]->names);
    return bytes;
}

static const struct batchmill_vocabulary *
vocabularies_take(unsigned char **at, size_t n, Batchmill__V1__Vocabulary *const *vocabularies)
{
    struct batchmill_vocabulary *taken = block_take(at, n * sizeof *taken);
    for (size_t i = 0; i < n; i++) {
        const Batchmill__V1__Vocabulary *from = vocabularies[i];
        bool sent = from->n_names == from->size;
        taken[i] = (struct batchmill_vocabulary){
            .component = text_take(at, from->component),
            .size = from->size,
            .names = sent ? texts_take(at, from->n_names, from->names) : NULL,
        };
    }
    return taken;
}

static const struct batchmill_cache *cache_take(unsigned char **at,
                                                const Batchmill__V1__Cache *cache)
{
    if (cache == NULL)
        return NULL;
    struct batchmill_cache *taken = block_take(at, sizeof *taken);
    *taken = (struct batchmill_cache){
        .nactions = cache->actions,
        .on_disk = cache->on_disk,
        .items = cache->items,
        .bytes = cache->bytes,
        .bytes_max = cache->bytes_max,
        .hits = cache->hits,
        .misses = cache->misses,
        .damaged = cache->damaged,
    };
    return taken;
}

static enum batchmill_code description_new(const Batchmill__V1__DescribePipelineReply *reply,
                                           struct batchmill_description **ret,
                                           struct batchmill_error *error)
{
    if (reply->summary == NULL)
        return wire_unreadable(error, "expected a summary of the pipeline, got none");
    enum batchmill_code code =
        components_check(reply->n_source_components, reply->source_components, error);
    if (code == BATCHMILL_OK)
        code = components_check(reply->n_components, reply->components, error);
    for (size_t i = 0; i < reply->n_actions && code == BATCHMILL_OK; i++)
        code =
            components_check(reply->actions[i]->n_components, reply->actions[i]->components, error);
    if (code != BATCHMILL_OK)
        return code;
    size_t total = sizeof(struct batchmill_description) + summary_bytes(reply->summary) +
                   text_bytes(reply->source_type) +
                   components_bytes(reply->n_source_components, reply->source_components) +
                   actions_bytes(reply->n_actions, reply->actions) +
                   components_bytes(reply->n_components, reply->components) +
                   texts_bytes(reply->n_steps, reply->steps) +
                   vocabularies_bytes(reply->n_vocabularies, reply->vocabularies) +
                   text_bytes(reply->group_by) + sizeof(struct batchmill_cache);
    unsigned char *at = malloc(total);
    if (at == NULL)
        return wire_no_memory(error);
    struct batchmill_description *description = block_take(&at, sizeof *description);
    *description = (struct batchmill_description){
        .summary = summary_take(&at, reply->summary),
        .source_type = text_take(&at, reply->source_type),
        .nsource_components = reply->n_source_components,
        .nactions = reply->n_actions,
        .ncomponents = reply->n_components,
        .nsteps = reply->n_steps,
        .source_components =
            components_take(&at, reply->n_source_components, reply->source_components),
        .actions = actions_take(&at, reply->n_actions, reply->actions),
        .components = components_take(&at, reply->n_components, reply->components),
        .steps = texts_take(&at, reply->n_steps, reply->steps),
        .nvocabularies = reply->n_vocabularies,
        .vocabularies = vocabularies_take(&at, reply->n_vocabularies, reply->vocabularies),
        .group_by = reply->group_by[0] == '\0' ? NULL : text_take(&at, reply->group_by),
        .cache = cache_take(&at, reply->cache),
    };
    *ret = description;
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_decode_describe(const void *bytes, size_t size,
                                              struct batchmill_description **ret_description,
                                              struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__DescribePipelineReply *reply =
        reply_unpack(&batchmill__v1__describe_pipeline_reply__descriptor, bytes, size,
                     REPLY_DESCRIBE_PIPELINE, &code, error);
    if (reply == NULL)
        return code;
    code = description_new(reply, ret_description, error);
    batchmill__v1__describe_pipeline_reply__free_unpacked(reply, NULL);
    return code;
}

enum batchmill_code bm_client_decode_register(const void *bytes, size_t size,
                                              struct batchmill_registration *ret_registration,
                                              struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__RegisterPipelineReply *reply =
        reply_unpack(&batchmill__v1__register_pipeline_reply__descriptor, bytes, size,
                     REPLY_REGISTER_PIPELINE, &code, error);
    if (reply == NULL)
        return code;
    struct batchmill_registration registration = {
        .fingerprint = reply->fingerprint,
        .lease_ms = reply->lease_ms,
    };
    if (id_take(reply->registration, registration.id))
        *ret_registration = registration;
    else
        code = wire_unreadable(error, "expected the registration's id");
    batchmill__v1__register_pipeline_reply__free_unpacked(reply, NULL);
    return code;
}

enum batchmill_code bm_client_decode_unregister(const void *bytes, size_t size, bool *ret_removed,
                                                struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__UnregisterPipelineReply *reply =
        reply_unpack(&batchmill__v1__unregister_pipeline_reply__descriptor, bytes, size,
                     REPLY_UNREGISTER_PIPELINE, &code, error);
    if (reply == NULL)
        return code;
    *ret_removed = reply->removed;
    batchmill__v1__unregister_pipeline_reply__free_unpacked(reply, NULL);
    return code;
}

// ---- Streams ----

static enum batchmill_code opened_new(const Batchmill__V1__OpenStreamReply *reply,
                                      struct bm_client_opened **ret, struct batchmill_error *error)
{
    enum batchmill_code code = components_check(reply->n_components, reply->components, error);
    if (code != BATCHMILL_OK)
        return code;
    size_t total = bm_size_align(sizeof(struct bm_client_opened), 8) +
                   text_bytes(reply->position_stem) +
                   components_bytes(reply->n_components, reply->components) +
                   texts_bytes(reply->n_steps, reply->steps);
    unsigned char *at = malloc(total);
    if (at == NULL)
        return wire_no_memory(error);
    struct bm_client_opened *opened = block_take(&at, sizeof *opened);
    *opened = (struct bm_client_opened){
        .position_stem = text_take(&at, reply->position_stem),
        .first_seq = reply->first_seq,
        .batches = reply->endless ? BATCHMILL_UNSET : reply->batches,
        .seed = reply->seed,
        .items = reply->items,
        .epoch_batches = reply->epoch_batches,
        .fingerprint = reply->fingerprint,
        .lease_ms = reply->lease_ms,
        .prefetch = reply->prefetch,
        .stateful = reply->stateful,
        .ncomponents = reply->n_components,
        .nsteps = reply->n_steps,
        .components = components_take(&at, reply->n_components, reply->components),
        .steps = texts_take(&at, reply->n_steps, reply->steps),
    };
    if (!id_take(reply->stream, opened->stream)) {
        free(opened);
        return wire_unreadable(error, "expected the stream's id");
    }
    const Batchmill__V1__SameHost *same_host = reply->same_host;
    if (same_host != NULL && same_host->nonce.len == BM_SHARED_NONCE_BYTES) {
        opened->has_same_host = true;
        opened->same_host.pid = same_host->pid;
        opened->same_host.fd = same_host->fd;
        memcpy(opened->same_host.nonce, same_host->nonce.data, BM_SHARED_NONCE_BYTES);
    }
    *ret = opened;
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_decode_open(const void *bytes, size_t size,
                                          struct bm_client_opened **ret_opened,
                                          struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__OpenStreamReply *reply =
        reply_unpack(&batchmill__v1__open_stream_reply__descriptor, bytes, size, REPLY_OPEN_STREAM,
                     &code, error);
    if (reply == NULL)
        return code;
    code = opened_new(reply, ret_opened, error);
    batchmill__v1__open_stream_reply__free_unpacked(reply, NULL);
    return code;
}

enum batchmill_code bm_client_decode_done(const void *bytes, size_t size,
                                          struct batchmill_error *error)
{
    struct bm_wire body;
    return wire_reply(bytes, size, 0, &body, error);
}

// ---- Runs ----

enum batchmill_code bm_client_decode_run(const void *bytes, size_t size,
                                         struct bm_client_run *ret_run,
                                         struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__RunReply *reply =
        reply_unpack(&batchmill__v1__run_reply__descriptor, bytes, size, REPLY_RUN, &code, error);
    if (reply == NULL)
        return code;
    struct bm_client_run run = {
        .batches = reply->endless ? BATCHMILL_UNSET : reply->batches,
        .seed = reply->seed,
        .lease_ms = reply->lease_ms,
    };
    if (id_take(reply->run, run.run))
        *ret_run = run;
    else
        code = wire_unreadable(error, "expected the run's id");
    batchmill__v1__run_reply__free_unpacked(reply, NULL);
    return code;
}

static void failure_fill(const Batchmill__V1__GetRunReply *reply, struct batchmill_error *to)
{
    const Batchmill__V1__BatchError *from = reply->error;
    *to = (struct batchmill_error){
        .code = wire_code((uint64_t)from->code),
        .has_batch = true,
        .has_item = from->has_item,
        .seq = reply->failed_seq,
        .item = from->item,
    };
    const struct bm_wire text = bm_wire_of(from->message, strlen(from->message));
    const struct bm_wire pipeline = bm_wire_of(from->pipeline, strlen(from->pipeline));
    const struct bm_wire action = bm_wire_of(from->action, strlen(from->action));
    bm_wire_text(&text, to->text, sizeof to->text);
    bm_wire_text(&pipeline, to->pipeline, sizeof to->pipeline);
    bm_wire_text(&action, to->action, sizeof to->action);
}

static struct batchmill_run_result *result_new(const Batchmill__V1__GetRunReply *reply)
{
    size_t n = reply->n_variables;
    size_t total = sizeof(struct batchmill_run_result) + n * sizeof(struct batchmill_variable);
    for (size_t i = 0; i < n; i++)
        total += text_bytes(reply->variables[i]->name);
    unsigned char *at = malloc(total);
    if (at == NULL)
        return NULL;
    struct batchmill_run_result *result = block_take(&at, sizeof *result);
    struct batchmill_variable *variables = block_take(&at, n * sizeof *variables);
    for (size_t i = 0; i < n; i++) {
        const Batchmill__V1__Variable *from = reply->variables[i];
        variables[i] = (struct batchmill_variable){
            .name = text_take(&at, from->name),
            .is_integer = from->is_integer,
            .integer = from->integer,
            .number = from->is_integer ? (double)from->integer : from->number,
        };
    }
    *result = (struct batchmill_run_result){
        .batches = reply->batches,
        .items = reply->items,
        .skipped = reply->skipped,
        .failed = reply->failed,
        .bytes = reply->bytes,
        .seconds = reply->seconds,
        .nvariables = n,
        .variables = variables,
    };
    return result;
}

enum batchmill_code bm_client_decode_get_run(const void *bytes, size_t size,
                                             struct bm_client_run_report *ret_report,
                                             struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__GetRunReply *reply = reply_unpack(&batchmill__v1__get_run_reply__descriptor,
                                                     bytes, size, REPLY_GET_RUN, &code, error);
    if (reply == NULL)
        return code;
    struct bm_client_run_report report = {
        .state = (enum bm_client_run_state)reply->state,
        .has_failure = reply->error != NULL,
    };
    if ((int)reply->state < BM_CLIENT_RUN_RUNNING || (int)reply->state > BM_CLIENT_RUN_CANCELLED) {
        code = wire_unreadable(error, "state: expected 0 to %d, got %d", BM_CLIENT_RUN_CANCELLED,
                               (int)reply->state);
    } else if ((report.result = result_new(reply)) == NULL) {
        code = wire_no_memory(error);
    } else {
        if (report.has_failure)
            failure_fill(reply, &report.failure);
        *ret_report = report;
    }
    batchmill__v1__get_run_reply__free_unpacked(reply, NULL);
    return code;
}

// ---- Status ----

enum {
    CHECKED_BYTES_MAX = 64 * 1024 + BM_CHECK_SIZE
}; // PROTOCOL.md: up to here a reply has a check

bool bm_client_reply_altered(const void *bytes, size_t size)
{
    struct bm_wire wire = bm_wire_of(bytes, size);
    struct bm_wire_field field;
    bool checked = false, refused = false;
    while (bm_wire_next(&wire, &field)) {
        checked |= field.tag == BM_WIRE_TAG(BM_CHECK_FIELD, BM_WIRE_64) && field.value != 0;
        refused |=
            field.tag == BM_WIRE_TAG(1, BM_WIRE_VARINT) && field.value == BATCHMILL_DATA_LOSS;
    }
    if (size > CHECKED_BYTES_MAX && !wire.broken && !checked)
        return refused; // a long reply without one: hashing it would be in vain
    // Behind an altered byte all may read as something else, the check too; but it stays where it
    // is, and all small replies have one. A large one may end like that by chance.
    enum bm_check end = bm_check_end(bytes, size);
    if (wire.broken || size <= CHECKED_BYTES_MAX)
        refused |= end == BM_CHECK_BROKEN || (wire.broken && end != BM_CHECK_NONE);
    return refused || (checked && end != BM_CHECK_HOLDS);
}

static struct batchmill_connections connections_of(const Batchmill__V1__Connections *from)
{
    return (struct batchmill_connections){
        .open = from->open,
        .unsent_bytes = from->unsent_bytes,
        .accepted = from->accepted,
        .refused = from->refused,
        .no_greeting = from->no_greeting,
        .bad_frame = from->bad_frame,
        .slow = from->slow,
    };
}

static struct batchmill_remote_action remote_take(unsigned char **at,
                                                  const Batchmill__V1__RemoteAction *from)
{
    return (struct batchmill_remote_action){
        .name = text_take(at, from->name),
        .lenders = from->lenders,
        .waiting = from->waiting,
        .out = from->out,
        .waiting_seconds = from->waiting_seconds,
        .done = from->done,
        .failed = from->failed,
        .retried = from->retried,
        .expired = from->expired,
    };
}

enum batchmill_code bm_client_decode_remotes(const void *bytes, size_t size,
                                             struct batchmill_remote_actions **ret_actions,
                                             struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__GetStatusReply *reply = reply_unpack(
        &batchmill__v1__get_status_reply__descriptor, bytes, size, REPLY_GET_STATUS, &code, error);
    if (reply == NULL)
        return code;
    size_t n = reply->n_remote_actions, total = sizeof(struct batchmill_remote_actions) + 8;
    for (size_t i = 0; i < n; i++)
        total +=
            sizeof(struct batchmill_remote_action) + text_bytes(reply->remote_actions[i]->name);
    unsigned char *at = malloc(total);
    if (at != NULL) {
        struct batchmill_remote_actions *list = block_take(&at, sizeof *list);
        struct batchmill_remote_action *actions = block_take(&at, n * sizeof *actions);
        for (size_t i = 0; i < n; i++)
            actions[i] = remote_take(&at, reply->remote_actions[i]);
        *list = (struct batchmill_remote_actions){n, actions};
        *ret_actions = list;
    } else {
        code = wire_no_memory(error);
    }
    batchmill__v1__get_status_reply__free_unpacked(reply, NULL);
    return code;
}

enum batchmill_code bm_client_decode_status(const void *bytes, size_t size,
                                            struct batchmill_status *ret_status,
                                            struct batchmill_error *error)
{
    enum batchmill_code code;
    Batchmill__V1__GetStatusReply *reply = reply_unpack(
        &batchmill__v1__get_status_reply__descriptor, bytes, size, REPLY_GET_STATUS, &code, error);
    if (reply == NULL)
        return code;
    *ret_status = (struct batchmill_status){
        .uptime_seconds = reply->uptime_seconds,
        .workers = reply->workers,
        .pipelines = reply->pipelines,
        .streams = reply->streams,
        .runs = reply->runs,
        .jobs_ready = reply->jobs_ready,
        .jobs_running = reply->jobs_running,
        .jobs_parked = reply->jobs_parked,
        .jobs_waiting = reply->jobs_waiting,
        .memory_used_bytes = reply->memory_used_bytes,
        .memory_bytes = reply->memory_bytes,
        .batches = reply->batches,
        .draining = reply->draining,
        .shared_batches = reply->shared_batches,
    };
    for (size_t i = 0; i < reply->n_answered && i < BATCHMILL_CODES; i++)
        ret_status->answered[i] = reply->answered[i];
    if (reply->connections != NULL)
        ret_status->connections = connections_of(reply->connections);
    const struct bm_wire version = bm_wire_of(reply->version, strlen(reply->version));
    bm_wire_text(&version, ret_status->version, sizeof ret_status->version);
    batchmill__v1__get_status_reply__free_unpacked(reply, NULL);
    return BATCHMILL_OK;
}
