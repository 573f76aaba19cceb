#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "data/groups.h"
#include "pipeline/cache.h"
#include "pipeline/internal.h"

enum {
    TILE_BYTES = 32 * 1024, // of what fused actions touch: stays in the first-level cache
    UPDATE_ALIGNMENT = 16,
};

const struct bm_schema *pipeline_schema(const struct bm_pipeline *pipeline, unsigned i)
{
    return i == 0 ? &bm_source_get(pipeline->source)->schema : &pipeline->actions[i - 1].schema;
}

// ---- Reading one entry of the list of actions ----

static enum bm_status action_no_type(const struct bm_registry *registry, const char *name,
                                     const char *where, struct bm_error *err)
{
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < bm_registry_nactions(registry); i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ",
                        bm_registry_action_at(registry, i)->name);
    bm_fail(err, BM_NOT_FOUND, where, "there is no action \"%.60s\"; there are: %s", name,
            bm_buffer_text(&names));
    bm_buffer_fini(&names);
    return BM_NOT_FOUND;
}

// use_lock: true is the lock of the action's own name; a name is the lock of that name.
static enum bm_status action_read_lock(struct action *action, const struct bm_value *value,
                                       struct bm_error *err)
{
    const char *name = NULL;
    if (value->kind == BM_VALUE_BOOL)
        name = value->boolean ? action->type->name : NULL;
    else if (value->kind == BM_VALUE_TEXT && bm_name_valid(value->text))
        name = value->text;
    else if (value->kind != BM_VALUE_NULL) {
        struct bm_buffer got;
        bm_buffer_init(&got);
        bm_value_show(value, &got);
        bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                "expected true, false or a lock's name%s, got %s",
                value->kind == BM_VALUE_TEXT ? " (" BM_NAME_RULE ")" : "", bm_buffer_text(&got));
        bm_buffer_fini(&got);
        return BM_INVALID_ARGUMENT;
    }
    if (name == NULL)
        return BM_OK;
    action->lock = strdup(name);
    return action->lock == NULL ? bm_fail(err, BM_RESOURCE_EXHAUSTED, value->where, "out of memory")
                                : BM_OK;
}

struct entry { // of the list, taken apart
    const char *name, *where;
    const struct bm_value *parameters, *lock, *probability; // NULL when not given
};

static enum bm_status entry_read(const struct bm_value *value, struct entry *entry,
                                 struct bm_error *err)
{
    *entry = (struct entry){.where = value->where};
    if (value->kind == BM_VALUE_TEXT) {
        entry->name = value->text;
        return BM_OK;
    }
    for (unsigned i = 0; value->kind == BM_VALUE_MAP && i < value->nchildren; i++) {
        if (strcmp(value->keys[i], "use_lock") == 0) {
            entry->lock = value->children[i];
        } else if (strcmp(value->keys[i], "probability") == 0) {
            entry->probability = value->children[i];
        } else if (entry->name == NULL) {
            entry->name = value->keys[i];
            entry->parameters = value->children[i];
            entry->where = value->children[i]->where;
        } else {
            return bm_fail(
                err, BM_INVALID_ARGUMENT, value->children[i]->where,
                "expected one action, use_lock and probability, got \"%.40s\" and \"%.40s\": write "
                "each action as an entry of its own",
                entry->name, value->keys[i]);
        }
    }
    if (entry->name == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "expected an action, such as noop or {cast: {dtype: float32}}, got %s",
                       bm_value_kind_name(value));
    return BM_OK;
}

// ---- What an action does to the schema, and to memory ----

// run() may find its output on the memory of its origin only if nothing else that it reads or
// keeps can lie there: each written component has an origin of its own, which no other component
// comes from. (Other parts of the batch may still share that memory: work.c looks at run time.)
static bool plan_in_place(const struct action *action)
{
    for (unsigned i = 0; i < action->schema.ncomponents; i++) {
        if (!action->origins[i].writes)
            continue;
        if (action->origins[i].from < 0)
            return false;
        for (unsigned j = 0; j < action->schema.ncomponents; j++) {
            if (j != i && action->origins[j].from == action->origins[i].from)
                return false;
        }
    }
    return true;
}

// What is wrong with output c, as the sentence's end; NULL: nothing.
static const char *output_fault(const struct action *action, const struct bm_schema *in, unsigned c)
{
    const struct bm_origin *origin = &action->origins[c];
    const struct bm_component *after = &action->schema.components[c];
    if (origin->from >= (int)in->ncomponents || (!origin->writes && origin->from < 0))
        return "neither keeps nor writes it";
    const struct bm_component *before = origin->from < 0 ? NULL : &in->components[origin->from];
    if (!origin->writes)
        return before->dtype == after->dtype && before->ragged == after->ragged &&
                       bm_component_elements(before) == bm_component_elements(after)
                   ? NULL
                   : "keeps it as something else";
    if (!after->ragged)
        return NULL;
    if (before == NULL)
        return action->form == BM_PER_ITEM ? "gives it lengths of its own, per item" : NULL;
    return before->ragged ? NULL : "gives it the row lengths of a component that has none";
}

// Errors of the action type, not of who wrote the pipeline.
static enum bm_status action_check(const struct action *action, const struct bm_schema *in,
                                   const char *where, struct bm_error *err)
{
    for (unsigned c = 0; c < action->schema.ncomponents; c++) {
        const char *fault = output_fault(action, in, c);
        if (fault != NULL)
            return bm_fail(err, BM_INTERNAL, where,
                           "a bug in the action type %s: for component %s it %s",
                           action->type->name, action->schema.components[c].name, fault);
    }
    if (action->times > 1 && action->form == BM_PER_ITEM)
        return bm_fail(err, BM_INTERNAL, where,
                       "a bug in the action type %s: it repeats items, one at a time",
                       action->type->name);
    return BM_OK;
}

enum bm_status action_infer(struct bm_pipeline *pipeline, struct action *action,
                            const struct bm_schema *in, const char *where, struct bm_error *err)
{
    action->origins = calloc(BM_COMPONENTS_MAX, sizeof *action->origins);
    if (action->origins == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    for (unsigned c = 0; c < BM_COMPONENTS_MAX; c++)
        action->origins[c].from = -1; // neither kept nor written, until infer() says so
    struct bm_infer infer = {
        .in = in,
        .out = &action->schema,
        .origins = action->origins,
        .where = where,
        .type = action->type,
        .form = action->type->form,
    };
    enum bm_status status = action->type->infer(action->config, &infer, &action->plan, err);
    action->form = infer.form;
    action->must_join = infer.must_join;
    action->drops = infer.drops;
    action->times = infer.times == 0 ? 1 : infer.times;
    action->gathers = infer.gathers;
    action->span = 1;
    if (status != BM_OK && err != NULL && err->where[0] == '\0')
        error_move_to(err, where);
    if (status == BM_OK)
        status = action_check(action, in, where, err);
    if (status != BM_OK)
        return status;
    action->may_write_in_place = !action->type->apart && plan_in_place(action);
    action->variable = infer.variable;
    action->variable_config =
        infer.variable_config == NULL ? action->config : infer.variable_config;
    if (infer.variable != NULL) {
        action->update_offset = pipeline->updates_bytes;
        pipeline->updates_bytes += bm_size_align(infer.variable->state_bytes, UPDATE_ALIGNMENT);
        pipeline->nnumbers += infer.variable->nnumbers;
    }
    return BM_OK;
}

static enum bm_status action_init(struct bm_pipeline *pipeline, unsigned i,
                                  const struct bm_registry *registry, const struct bm_value *value,
                                  struct bm_error *err)
{
    struct entry entry;
    enum bm_status status = entry_read(value, &entry, err);
    if (status != BM_OK)
        return status;
    const struct bm_action_type *type = bm_registry_action(registry, entry.name);
    if (type == NULL)
        return action_no_type(registry, entry.name, entry.where, err);
    void *config = calloc(1, type->config_bytes + 1);
    if (config == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, entry.where, "out of memory");
    status =
        bm_params_parse(type->params, type->nparams, entry.parameters, entry.where, config, err);
    if (status != BM_OK) {
        free(config);
        return status;
    }
    struct action *action = &pipeline->actions[i];
    const struct bm_schema *in = pipeline_schema(pipeline, i);
    pipeline->nactions = i + 1; // from here on the pipeline frees it
    action->type = type;
    action->config = config;
    action->probability = 1;
    pipeline->stateful = pipeline->stateful || type->stateful;
    if (entry.lock != NULL)
        status = action_read_lock(action, entry.lock, err);
    if (status == BM_OK && entry.probability != NULL)
        status = probability_read(action, entry.probability, err);
    if (status == BM_OK)
        status = action_infer(pipeline, action, in, entry.where, err);
    if (status == BM_OK && entry.probability != NULL)
        status = probability_check(action, in, entry.probability->where, err);
    return status;
}

static void action_fini_alone(struct action *action)
{
    // The analyzer does not see that every action up to nactions has a type.
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
    bm_params_free(action->type->params, action->type->nparams, action->config);
    free(action->config);
    if (action->plan != NULL && action->type->plan_free != NULL)
        action->type->plan_free(action->plan);
    else
        free(action->plan);
    free(action->lock);
    free(action->origins);
    bm_schema_fini(&action->schema);
}

static void action_fini(struct action *action)
{
    if (action->joined != NULL)
        action_fini_alone(action->joined);
    free(action->joined);
    action_fini_alone(action);
}

// ---- Steps ----

static bool action_fuses(const struct bm_pipeline *pipeline, unsigned i)
{
    const struct action *part = pipeline_part(pipeline, pipeline_part_start(pipeline, i));
    return part->form == BM_PER_ITEM && part->lock == NULL && !part->type->waits;
}

// No action of the step sees an item that one before it left out.
static bool action_ends_step(const struct bm_pipeline *pipeline, unsigned i)
{
    unsigned start = pipeline_part_start(pipeline, i);
    const struct action *part = pipeline_part(pipeline, start);
    return part->drops && i + 1 == start + part->span;
}

// Bytes per row that the action reads and writes, for the tile.
static uint64_t action_row_bytes(const struct bm_pipeline *pipeline, unsigned i)
{
    const struct action *action = pipeline_part(pipeline, i);
    uint64_t bytes = 0;
    for (unsigned c = 0; c < action->schema.ncomponents; c++) {
        if (!action->origins[c].writes)
            continue;
        bytes += bm_component_item_bytes(&action->schema.components[c]);
        if (action->origins[c].from >= 0)
            bytes += bm_component_item_bytes(
                &pipeline_schema(pipeline, i)->components[action->origins[c].from]);
    }
    return bytes;
}

static enum bm_status step_init(struct bm_pipeline *pipeline, struct step *step,
                                struct bm_error *err)
{
    struct bm_buffer name;
    bm_buffer_init(&name);
    uint64_t row_bytes = 0;
    step->times = 1;
    for (unsigned i = step->first; i < step->first + step->nactions; i++)
        bm_buffer_print(&name, "%s%s", i == step->first ? "" : "+",
                        pipeline->actions[i].type->name);
    for (unsigned i = step->first; i < step->first + step->nactions;
         i += pipeline_part(pipeline, i)->span) {
        row_bytes += action_row_bytes(pipeline, i);
        step->drops = pipeline_part(pipeline, i)->drops;
        step->times = pipeline_part(pipeline, i)->times;
    }
    if (step->nactions == 0)
        bm_buffer_add_text(&name, "read");
    if (step->nactions == 0 && pipeline->prefix != NULL)
        step->drops = pipeline->prefix->drops;
    pipeline->drops = pipeline->drops || step->drops;
    for (unsigned i = 0; step->nactions == 0 && i < pipeline->ncached; i++)
        bm_buffer_print(&name, "+%s", pipeline->actions[i].type->name);
    if (step->nactions > 1 && row_bytes > 0)
        step->tile_rows = row_bytes < TILE_BYTES ? TILE_BYTES / row_bytes : 1;
    step->name = bm_buffer_failed(&name) ? NULL : strdup(bm_buffer_text(&name));
    bm_buffer_fini(&name);
    if (step->name == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    if (step->times > TIMES_MAX / pipeline->times)
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                       "expected items to be repeated at most %d times, got %u times %u", TIMES_MAX,
                       pipeline->times, step->times);
    pipeline->times *= step->times;
    return BM_OK;
}

static enum bm_status pipeline_plan_steps(struct bm_pipeline *pipeline, struct bm_error *err)
{
    pipeline->steps = calloc(pipeline->nactions + 1u, sizeof *pipeline->steps);
    if (pipeline->steps == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    enum bm_status status = step_init(pipeline, &pipeline->steps[0], err);
    if (status != BM_OK)
        return status;
    pipeline->nsteps = 1;
    for (unsigned i = pipeline->ncached; i < pipeline->nactions;) {
        struct step *step = &pipeline->steps[pipeline->nsteps];
        step->first = i;
        do
            i++;
        while (i < pipeline->nactions && action_fuses(pipeline, i) &&
               action_fuses(pipeline, i - 1) && !action_ends_step(pipeline, i - 1));
        step->nactions = i - step->first;
        status = step_init(pipeline, step, err);
        if (status != BM_OK)
            return status;
        pipeline->nsteps++;
    }
    return BM_OK;
}

static uint64_t schema_item_bytes(const struct bm_schema *schema)
{
    uint64_t bytes = 0;
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        if (!schema->components[c].ragged)
            bytes += bm_component_item_bytes(&schema->components[c]);
    }
    return bytes;
}

static void pipeline_plan_tensors(struct bm_pipeline *pipeline)
{
    for (unsigned i = 0; i <= pipeline->nactions; i++) {
        unsigned ncomponents = pipeline_schema(pipeline, i)->ncomponents;
        if (ncomponents > pipeline->components_max)
            pipeline->components_max = ncomponents;
    }
    unsigned between_max = 0;
    for (unsigned s = 1; s < pipeline->nsteps; s++) {
        const struct step *step = &pipeline->steps[s];
        unsigned between = 0, end = step->first + step->nactions;
        for (unsigned i = step->first; i < end; i += pipeline_part(pipeline, i)->span) {
            if (i > step->first)
                between += pipeline_schema(pipeline, i)->ncomponents;
        }
        if (between > between_max)
            between_max = between;
    }
    pipeline->ntensors = 3 * pipeline->components_max + between_max;
}

// At its fullest a batch holds what it had before a step and what the step's actions write; behind
// them, what is left of it, or what it is repeated to, beside the whole.
static uint64_t step_item_bytes(const struct bm_pipeline *pipeline, const struct step *step)
{
    uint64_t bytes = schema_item_bytes(pipeline_schema(pipeline, step->first));
    unsigned end = step->first + step->nactions;
    for (unsigned i = step->first; i < end; i += pipeline_part(pipeline, i)->span) {
        const struct action *action = pipeline_part(pipeline, i);
        for (unsigned c = 0; c < action->schema.ncomponents; c++) {
            if (action->origins[c].writes && !action->schema.components[c].ragged)
                bytes += bm_component_item_bytes(&action->schema.components[c]);
        }
    }
    if (pipeline->gather > 0 && step == &pipeline->steps[pipeline->gather])
        return 2 * bytes; // the parts, and the whole beside them
    if (!step->drops && step->times == 1)
        return bytes;
    uint64_t after = (1 + step->times) * schema_item_bytes(pipeline_schema(pipeline, end));
    return bytes > after ? bytes : after;
}

static void pipeline_plan_memory(struct bm_pipeline *pipeline)
{
    uint64_t times = 1;
    pipeline_plan_tensors(pipeline);
    pipeline->item_bytes_max = schema_item_bytes(pipeline_schema(pipeline, pipeline->ncached));
    if (pipeline->prefix != NULL) // what the cache lacks is made beside what it has
        pipeline->item_bytes_max += pipeline->prefix->item_bytes_max;
    for (unsigned s = 1; s < pipeline->nsteps; s++) {
        const struct step *step = &pipeline->steps[s];
        uint64_t bytes = times * step_item_bytes(pipeline, step);
        if (bytes > pipeline->item_bytes_max)
            pipeline->item_bytes_max = bytes;
        times *= step->times;
    }
}

// ---- Fingerprint ----

static void hash_add_schema(struct bm_hash *hash, const struct bm_schema *schema)
{
    bm_hash_add_u64(hash, schema->ncomponents);
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        const struct bm_component *component = &schema->components[c];
        bm_hash_add_text(hash, component->name);
        bm_hash_add_u64(hash, component->dtype);
        bm_hash_add_u64(hash, component->ragged);
        bm_hash_add_u64(hash, component->ndim);
        for (unsigned axis = 0; axis < component->ndim; axis++)
            bm_hash_add_u64(hash, component->shape[axis]);
        if (component->vocabulary != NULL)
            bm_hash_add_u64(hash, bm_vocabulary_hash(component->vocabulary));
    }
}

static void hash_add_source(struct bm_hash *hash, const struct bm_source *source)
{
    bm_hash_add_u64(hash, source->identity);
    bm_hash_add_u64(hash, source->nitems);
    hash_add_schema(hash, &source->schema);
}

static void hash_add_definition(struct bm_hash *hash, const struct bm_pipeline *pipeline)
{
    const struct bm_source_type *source_type = bm_source_get(pipeline->source)->type;
    if (source_type->code != 0)
        bm_hash_add_u64(hash, source_type->code);
    if (pipeline->groups != NULL)
        bm_hash_add_u64(hash, pipeline->grouping);
    for (unsigned i = 0; i < pipeline->nactions; i++) {
        const struct action *action = &pipeline->actions[i];
        if (action->type->caches) // it changes no byte
            continue;
        bm_hash_add_text(hash, action->type->name);
        if (action->type->code != 0)
            bm_hash_add_u64(hash, action->type->code);
        bm_params_hash(action->type->params, action->type->nparams, action->config, hash);
        hash_add_schema(hash, &action->schema);
        if (action->probability < 1)
            bm_hash_add(hash, &action->probability, sizeof action->probability);
    }
}

// Whatever decides the bytes of a batch. Names of pipelines and locks do not.
static enum bm_status pipeline_fingerprint(struct bm_pipeline *pipeline, struct bm_error *err)
{
    struct bm_hash *whole = bm_hash_new(), *data = bm_hash_new(), *definition = bm_hash_new();
    enum bm_status status = BM_OK;
    if (whole == NULL || data == NULL || definition == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        goto out;
    }
    const struct bm_source *source = bm_source_get(pipeline->source);
    bm_hash_add_u64(whole, BM_ENGINE_FORMAT);
    hash_add_source(whole, source);
    hash_add_definition(whole, pipeline);
    hash_add_source(data, source);
    hash_add_definition(definition, pipeline);
    pipeline->fingerprint = bm_hash_end(whole);
    pipeline->parts = (struct bm_fingerprint){
        .definition = bm_hash_end(definition),
        .data = bm_hash_end(data),
        .format = BM_ENGINE_FORMAT,
    };
out:
    bm_hash_free(definition);
    bm_hash_free(data);
    bm_hash_free(whole);
    return status;
}

// ---- The pipeline ----

// NOLINTNEXTLINE(misc-no-recursion): a prefix has none itself
static void pipeline_free(struct bm_pipeline *pipeline)
{
    for (unsigned i = 0; i < pipeline->nactions; i++)
        action_fini(&pipeline->actions[i]);
    for (unsigned i = 0; pipeline->steps != NULL && i <= pipeline->nactions; i++)
        free(pipeline->steps[i].name);
    free(pipeline->actions);
    free(pipeline->steps);
    bm_cache_close(pipeline->cache);
    bm_groups_free(pipeline->groups);
    bm_pipeline_unref(pipeline->prefix);
    bm_source_unref(pipeline->source);
    free(pipeline);
}

static enum bm_status pipeline_build(struct bm_pipeline *pipeline,
                                     const struct bm_registry *registry,
                                     const struct bm_value *actions,
                                     const struct bm_value *group_by, struct bm_error *err)
{
    unsigned n = actions == NULL ? 0 : actions->nchildren;
    pipeline->actions = calloc(n + 1u, sizeof *pipeline->actions);
    if (pipeline->actions == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, pipeline->name, "out of memory");
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < n && status == BM_OK; i++) {
        status = action_init(pipeline, i, registry, actions->children[i], err);
        BM_ASSERT(status != BM_OK || pipeline->actions[i].type != NULL);
    }
    if (status != BM_OK)
        return status;
    BM_ASSERT(pipeline->nactions == n);
    if (group_by != NULL && group_by->kind != BM_VALUE_NULL)
        status = pipeline_plan_groups(pipeline, group_by, err);
    if (status == BM_OK)
        status = pipeline_fingerprint(pipeline, err);
    if (status == BM_OK)
        status = pipeline_join(pipeline, actions, err);
    if (status == BM_OK)
        status = pipeline_plan_cache(pipeline, registry, actions, err);
    if (status == BM_OK)
        status = pipeline_plan_steps(pipeline, err);
    if (status == BM_OK)
        status = pipeline_plan_gather(pipeline, actions, err);
    if (status == BM_OK)
        pipeline_plan_memory(pipeline);
    return status;
}

enum bm_status bm_pipeline_new(const struct bm_registry *registry, const char *name,
                               struct bm_source_ref *source, const struct bm_value *actions,
                               struct bm_pipeline **ret_pipeline, struct bm_error *err)
{
    return bm_pipeline_new_grouped(registry, name, source, actions, NULL, ret_pipeline, err);
}

enum bm_status bm_pipeline_new_grouped(const struct bm_registry *registry, const char *name,
                                       struct bm_source_ref *source, const struct bm_value *actions,
                                       const struct bm_value *group_by,
                                       struct bm_pipeline **ret_pipeline, struct bm_error *err)
{
    const char *where = actions == NULL ? NULL : actions->where;
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "a pipeline's name: expected " BM_NAME_RULE ", got \"%.40s\"", name);
    if (actions != NULL && actions->kind == BM_VALUE_NULL)
        actions = NULL;
    if (actions != NULL && actions->kind != BM_VALUE_LIST)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected a list of actions, got %s",
                       bm_value_kind_name(actions));
    if (actions != NULL && actions->nchildren > BM_ACTIONS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most %d actions, got %u",
                       BM_ACTIONS_MAX, actions->nchildren);
    struct bm_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (pipeline == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory");
    atomic_init(&pipeline->refs, 1);
    strcpy(pipeline->name, name);
    pipeline->source = bm_source_ref(source);
    pipeline->times = 1;
    enum bm_status status = pipeline_build(pipeline, registry, actions, group_by, err);
    if (status != BM_OK) {
        pipeline_free(pipeline);
        return status;
    }
    *ret_pipeline = pipeline;
    return BM_OK;
}

struct bm_pipeline *bm_pipeline_ref(struct bm_pipeline *pipeline)
{
    atomic_fetch_add_explicit(&pipeline->refs, 1, memory_order_relaxed);
    return pipeline;
}

unsigned bm_pipeline_refs(const struct bm_pipeline *pipeline)
{
    return atomic_load_explicit(&pipeline->refs, memory_order_relaxed);
}

// NOLINTNEXTLINE(misc-no-recursion): likewise
struct bm_pipeline *bm_pipeline_unref(struct bm_pipeline *pipeline)
{
    if (pipeline != NULL &&
        atomic_fetch_sub_explicit(&pipeline->refs, 1, memory_order_acq_rel) == 1)
        pipeline_free(pipeline);
    return NULL;
}

// ---- Asking ----

const char *bm_pipeline_name(const struct bm_pipeline *pipeline)
{
    return pipeline->name;
}

const struct bm_source *bm_pipeline_source(const struct bm_pipeline *pipeline)
{
    return bm_source_get(pipeline->source);
}

const char *bm_pipeline_source_name(const struct bm_pipeline *pipeline)
{
    return bm_source_name(pipeline->source);
}

uint64_t bm_pipeline_fingerprint(const struct bm_pipeline *pipeline)
{
    return pipeline->fingerprint;
}

struct bm_fingerprint bm_pipeline_fingerprint_parts(const struct bm_pipeline *pipeline)
{
    return pipeline->parts;
}

const struct bm_schema *bm_pipeline_schema(const struct bm_pipeline *pipeline)
{
    return pipeline_schema(pipeline, pipeline->nactions);
}

bool bm_pipeline_stateful(const struct bm_pipeline *pipeline)
{
    return pipeline->stateful;
}

const struct bm_groups *bm_pipeline_groups(const struct bm_pipeline *pipeline)
{
    return pipeline->groups;
}

const char *bm_pipeline_group_by(const struct bm_pipeline *pipeline)
{
    return pipeline->groups == NULL ? NULL : pipeline->group_by;
}

unsigned bm_pipeline_nactions(const struct bm_pipeline *pipeline)
{
    return pipeline->nactions;
}

struct bm_action_info bm_pipeline_action(const struct bm_pipeline *pipeline, unsigned i)
{
    BM_ASSERT(i < pipeline->nactions);
    const struct action *action = &pipeline->actions[i];
    return (struct bm_action_info){
        .type = action->type,
        .lock = action->lock,
        .schema = &action->schema,
        .form = action->form,
        .probability = action->probability,
    };
}

struct bm_cache *bm_pipeline_cache(const struct bm_pipeline *pipeline)
{
    return pipeline->cache;
}

unsigned bm_pipeline_ncached(const struct bm_pipeline *pipeline)
{
    return pipeline->cache == NULL ? 0 : pipeline->ncached - 1; // without the entry itself
}

unsigned bm_pipeline_nsteps(const struct bm_pipeline *pipeline)
{
    return pipeline->nsteps;
}

const char *bm_pipeline_step_name(const struct bm_pipeline *pipeline, unsigned step)
{
    BM_ASSERT(step < pipeline->nsteps);
    return pipeline->steps[step].name;
}

const char *bm_pipeline_step_lock(const struct bm_pipeline *pipeline, unsigned step)
{
    BM_ASSERT(step < pipeline->nsteps);
    const struct step *at = &pipeline->steps[step];
    return at->nactions == 1 ? pipeline->actions[at->first].lock : NULL;
}

bool bm_pipeline_step_spreads(const struct bm_pipeline *pipeline, unsigned step)
{
    BM_ASSERT(step < pipeline->nsteps);
    const struct step *at = &pipeline->steps[step];
    if (pipeline->gather > 0 && step <= pipeline->gather)
        return false; // parts come one after the other
    for (unsigned i = at->first; i < at->first + at->nactions;
         i += pipeline_part(pipeline, i)->span) {
        const struct action *action = pipeline_part(pipeline, i);
        if (action->form != BM_PER_ITEM || action->type->stateful || action->type->waits ||
            action->variable != NULL)
            return false;
    }
    return at->nactions > 0;
}

bool bm_pipeline_step_waits(const struct bm_pipeline *pipeline, unsigned step)
{
    BM_ASSERT(step < pipeline->nsteps);
    const struct step *at = &pipeline->steps[step];
    return at->nactions == 1 && pipeline->actions[at->first].type->waits;
}

uint64_t bm_pipeline_batch_overhead(const struct bm_pipeline *pipeline, uint64_t nitems)
{
    uint64_t row_bytes = 2 * sizeof(uint64_t) + (pipeline->times > 1 ? sizeof(uint32_t) : 0) +
                         (pipeline->drops ? sizeof(bool) : 0);
    uint64_t each = pipeline->ntensors * sizeof(struct bm_tensor) + pipeline->updates_bytes;
    uint64_t rows = row_bytes * pipeline->times * nitems;
    if (pipeline->gather == 0 || nitems == 0)
        return each + rows;
    uint64_t nparts = (nitems - 1) / pipeline->part_items + 1;
    return each + nparts * (each + sizeof(struct bm_work)) + 2 * rows;
}

uint64_t bm_pipeline_batch_bytes(const struct bm_pipeline *pipeline, uint64_t nitems)
{
    uint64_t bytes;
    return bm_size_mul(pipeline->item_bytes_max, nitems, &bytes) &&
                   bm_size_add(bytes, bm_pipeline_batch_overhead(pipeline, nitems), &bytes)
               ? bytes
               : UINT64_MAX;
}
