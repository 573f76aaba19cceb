// What a client asked for becomes the order its stream follows.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "server/position.h"
#include "server/session_internal.h"

// A drawn seed is reported as a number, and some languages keep 53 bits of one exactly.
enum { SEED_BITS = 53 };

#define ULL(x) ((unsigned long long)(x))

// ---- The same arguments as before? ----

void session_args_of(const struct bm_open_request *request, struct session_args *ret_args)
{
    *ret_args = (struct session_args){
        .order = request->order,
        .prefetch = request->prefetch,
        .on_error = request->on_error,
        .traced = request->traced,
        .detached = request->detached,
        .checked = request->checked,
    };
    strncpy(ret_args->pipeline, request->pipeline, BM_NAME_MAX);
    strncpy(ret_args->cursor, request->cursor, BM_NAME_MAX);
    if (request->position[0] != '\0')
        ret_args->position_hash = bm_hash_bytes(request->position, strlen(request->position));
}

enum bm_status session_args_agree(const struct session_args *have, const struct session_args *got,
                                  const char *whose, struct bm_error *err)
{
    const struct bm_order_request *a = &have->order, *b = &got->order;
    const struct {
        const char *name, *have, *got;
    } texts[] = {
        {"pipeline", have->pipeline, got->pipeline},
        {"cursor", have->cursor, got->cursor},
    };
    const struct {
        const char *name;
        uint64_t have, got;
    } numbers[] = {
        {"batch_size", a->batch_size, b->batch_size},
        {"shuffle", a->shuffle, b->shuffle},
        {"seed", a->seed, b->seed},
        {"n_epochs", a->n_epochs, b->n_epochs},
        {"n_iters", a->n_iters, b->n_iters},
        {"endless", a->endless, b->endless},
        {"drop_last", a->drop_last, b->drop_last},
        {"epoch_border", a->epoch_border, b->epoch_border},
        {"shard_index", a->shard_index, b->shard_index},
        {"shard_count", a->shard_count, b->shard_count},
        {"prefetch", have->prefetch, got->prefetch},
        {"on_error", have->on_error, got->on_error},
        {"traced", have->traced, got->traced},
        {"detached", have->detached, got->detached},
        {"checked", have->checked, got->checked},
        {"position", have->position_hash, got->position_hash},
    };
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i].have, texts[i].got) != 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, texts[i].name,
                           "expected \"%s\" as %s has it, got \"%s\"", texts[i].have, whose,
                           texts[i].got);
    }
    if (have->position_hash != got->position_hash)
        return bm_fail(err, BM_INVALID_ARGUMENT, "position", "expected that of %s, got another one",
                       whose);
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].have != numbers[i].got)
            return bm_fail(err, BM_INVALID_ARGUMENT, numbers[i].name,
                           "expected %llu as %s has it, got %llu", ULL(numbers[i].have), whose,
                           ULL(numbers[i].got));
    }
    return BM_OK;
}

// ---- A new order ----

static enum bm_status order_params_make(struct bm_session *session,
                                        const struct bm_order_request *request,
                                        struct bm_order_params *ret_params, struct bm_error *err)
{
    if (request->batch_size == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, "batch_size",
                       "expected 1 to %d items, got nothing: it is required", BM_BATCH_SIZE_MAX);
    *ret_params = (struct bm_order_params){
        .batch_size = request->batch_size,
        .shuffle = request->shuffle != BM_SHUFFLE_OFF,
        .seed = request->seed,
        .n_epochs = request->n_epochs == 0 ? BM_ORDER_UNSET : request->n_epochs,
        .n_iters = request->n_iters == 0 ? BM_ORDER_UNSET : request->n_iters,
        .drop_last = request->drop_last,
        .epoch_border = request->epoch_border,
        .shard_index = request->shard_index,
        .shard_count = request->shard_count,
    };
    if (request->endless)
        ret_params->n_epochs = 0;
    if (request->shuffle == BM_SHUFFLE_DRAWN)
        ret_params->seed = session->config.host->random(session->config.host) >> (64 - SEED_BITS);
    return BM_OK;
}

// ---- An order that goes on ----

// What was given beside the position must be what the position says.
static enum bm_status position_check_order(const struct bm_order_request *request,
                                           const struct bm_order_params *token,
                                           struct bm_error *err)
{
    bool seeded = request->shuffle == BM_SHUFFLE_SEEDED;
    const struct {
        const char *name;
        bool given;
        uint64_t have, got;
    } fields[] = {
        {"batch_size", request->batch_size != 0, token->batch_size, request->batch_size},
        {"shuffle", request->shuffle != BM_SHUFFLE_OFF, token->shuffle, true},
        {"seed", seeded || request->seed != 0, token->seed, request->seed},
        {"n_epochs", request->n_epochs != 0, token->n_epochs, request->n_epochs},
        {"n_iters", request->n_iters != 0, token->n_iters, request->n_iters},
        {"endless", request->endless, token->n_epochs == 0, true},
        {"drop_last", request->drop_last, token->drop_last, true},
        {"epoch_border", request->epoch_border != BM_BORDER_STOP, token->epoch_border,
         request->epoch_border},
        {"shard_index", request->shard_index != 0, token->shard_index, request->shard_index},
        {"shard_count", request->shard_count != 0, token->shard_count, request->shard_count},
    };
    for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!fields[i].given || fields[i].have == fields[i].got)
            continue;
        if (fields[i].have == BM_ORDER_UNSET)
            return bm_fail(err, BM_INVALID_ARGUMENT, fields[i].name,
                           "expected nothing as in the position, got %llu", ULL(fields[i].got));
        return bm_fail(err, BM_INVALID_ARGUMENT, fields[i].name,
                       "expected %llu as in the position, got %llu", ULL(fields[i].have),
                       ULL(fields[i].got));
    }
    return BM_OK;
}

// Other batches than those before the position would come: says what it is that changed.
static enum bm_status position_check_pipeline(const struct bm_position *position,
                                              const struct bm_pipeline *pipeline,
                                              struct bm_error *err)
{
    struct bm_fingerprint now = bm_pipeline_fingerprint_parts(pipeline);
    const struct {
        const char *name;
        uint64_t then, now;
    } parts[] = {
        {"definition", position->fingerprint.definition, now.definition},
        {"data", position->fingerprint.data, now.data},
        {"engine's format", position->fingerprint.format, now.format},
    };
    char names[64] = "", hashes[192] = "";
    size_t names_size = 0, hashes_size = 0;
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].then == parts[i].now)
            continue;
        const char *and = names_size == 0 ? "" : " and ", *comma = names_size == 0 ? "" : ", ";
        names_size += (size_t)snprintf(names + names_size, sizeof names - names_size, "%sthe %s",
                                       and, parts[i].name);
        hashes_size += (size_t)snprintf(hashes + hashes_size, sizeof hashes - hashes_size,
                                        "%s%s %016llx then and %016llx now", comma, parts[i].name,
                                        ULL(parts[i].then), ULL(parts[i].now));
    }
    if (names_size == 0)
        return BM_OK;
    return bm_fail(err, BM_FAILED_PRECONDITION, "position",
                   "%s of pipeline \"%s\" changed since this position was given (%s)", names,
                   position->pipeline, hashes);
}

// Finds the pipeline of the position and makes sure that it still gives the same batches.
static enum bm_status position_find(struct bm_session *session,
                                    const struct bm_open_request *request,
                                    struct bm_position *ret_position,
                                    struct bm_pipeline **ret_pipeline, struct bm_error *err)
{
    enum bm_status status = bm_position_parse(request->position, ret_position, err);
    if (status != BM_OK)
        return status;
    const char *name = ret_position->pipeline;
    if (request->pipeline[0] != '\0' && strcmp(request->pipeline, name) != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, "pipeline",
                       "expected \"%s\" as in the position, got \"%s\"", name, request->pipeline);
    status = bm_catalog_find(session->config.catalog, name, ret_pipeline, err);
    if (status != BM_OK)
        return status;
    status = position_check_pipeline(ret_position, *ret_pipeline, err);
    if (status == BM_OK)
        status = position_check_order(&request->order, &ret_position->order, err);
    return status;
}

char *session_position_stem(const struct session_plan *plan)
{
    struct bm_position position = {
        .fingerprint = bm_pipeline_fingerprint_parts(plan->pipeline),
        .order = plan->order.params,
    };
    strcpy(position.pipeline, bm_pipeline_name(plan->pipeline));
    return bm_position_stem(&position);
}

// ---- Either ----

// The most batches that are worked on ahead when the server is to find out how many it takes: as
// many as 32 MiB hold, but at least 4, and at most 255. A cursor has no consumer of its own to
// learn from, so it gets the least.
static uint32_t prefetch_auto_max(const struct session_plan *plan, bool is_cursor)
{
    enum { BYTES = 32 * 1024 * 1024, MIN = 4, MAX = 255 };
    uint64_t bytes = bm_pipeline_batch_bytes(plan->pipeline, plan->order.params.batch_size);
    uint64_t fit = is_cursor ? MIN : BYTES / bytes;
    return fit < MIN ? MIN : fit > MAX ? MAX : (uint32_t)fit;
}

enum bm_status session_plan_make(struct bm_session *session, const struct bm_open_request *request,
                                 struct session_plan *ret_plan, struct bm_error *err)
{
    struct bm_position position = {0};
    struct session_plan plan = {
        .prefetch = request->prefetch,
        .on_error = request->on_error,
        .traced = request->traced,
    };
    bool resumes = request->position[0] != '\0';
    enum bm_status status;
    plan.prefetch_auto = request->prefetch == BM_PREFETCH_AUTO;
    if (request->prefetch > BM_PREFETCH_MAX && !plan.prefetch_auto)
        return bm_fail(err, BM_INVALID_ARGUMENT, "prefetch", "expected 0 to %d batches, got %u",
                       BM_PREFETCH_MAX, request->prefetch);
    if (resumes)
        status = position_find(session, request, &position, &plan.pipeline, err);
    else
        status = bm_catalog_find(session->config.catalog, request->pipeline, &plan.pipeline, err);
    if (status == BM_OK && !resumes)
        status = order_params_make(session, &request->order, &position.order, err);
    if (status != BM_OK)
        return status;
    position.order.groups = bm_pipeline_groups(plan.pipeline);
    status =
        bm_order_init(&plan.order, &position.order, bm_pipeline_source(plan.pipeline)->nitems, err);
    if (status != BM_OK)
        return status;
    uint64_t seq_max = bm_order_seq_max(&plan.order);
    if (position.seq > seq_max)
        return bm_fail(err, BM_OUT_OF_RANGE, "position", "expected at most batch %llu, got %llu",
                       ULL(seq_max), ULL(position.seq));
    plan.first_seq = position.seq;
    if (plan.prefetch_auto)
        plan.prefetch = prefetch_auto_max(&plan, request->cursor[0] != '\0');
    *ret_plan = plan;
    return BM_OK;
}

enum bm_status session_plan_start(struct bm_session *session, const struct session_plan *plan,
                                  const char *id, struct bm_stream_listener *listener,
                                  struct bm_stream **ret_stream, struct bm_error *err)
{
    const struct bm_stream_config config = {
        .pipeline = plan->pipeline,
        .order = plan->order,
        .first_seq = plan->first_seq,
        .prefetch = plan->prefetch,
        .width = plan->width,
        .on_error = plan->on_error,
        .traced = plan->traced,
        .id = id,
        .listener = listener,
    };
    return bm_stream_open(session->config.scheduler, &config, ret_stream, err);
}
