// plugin_type.c -- what a type of a plug-in promises, line by line.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/plugin.h"

static const struct check_run one_by_one = {
    .workers = 1, .prefetch = 0, .batch_size = 16, .fill = 0x55};
static const struct check_run all_at_once = {
    .workers = 4, .prefetch = 6, .batch_size = 16, .fill = 0xaa};
static const struct check_run other_batches = {
    .workers = 2, .prefetch = 2, .batch_size = 7, .fill = 0x33};

// ---- The pipeline ----

enum bm_status check_build(const struct check *check, struct bm_pipeline **ret_pipeline,
                           struct bm_error *err)
{
    struct bm_source_ref *source = NULL;
    enum bm_status status =
        bm_source_open(check->registry, "check", check->definition, ".", &source, err);
    if (status == BM_OK)
        status =
            bm_pipeline_new(check->registry, "check", source, check->actions, ret_pipeline, err);
    bm_source_unref(source);
    return status;
}

// Takes `child`; NULL when out of memory, also of the child.
static struct bm_value *value_around(enum bm_value_kind kind, const char *key,
                                     struct bm_value *child)
{
    struct bm_value *value = child == NULL ? NULL : bm_value_new(kind, "check");
    if (value != NULL && bm_value_append(value, key, child))
        return value;
    bm_value_free(child);
    bm_value_free(value);
    return NULL;
}

// NOLINTNEXTLINE(misc-no-recursion): the reader of the text bounds its depth
static struct bm_value *value_copy(const struct bm_value *from)
{
    bool scalar = from->kind != BM_VALUE_LIST && from->kind != BM_VALUE_MAP;
    struct bm_value *copy = scalar ? bm_value_new_scalar(from->text == NULL ? "" : from->text,
                                                         from->kind == BM_VALUE_TEXT, from->where)
                                   : bm_value_new(from->kind, from->where);
    for (unsigned i = 0; copy != NULL && i < from->nchildren; i++) {
        struct bm_value *child = value_copy(from->children[i]);
        if (child == NULL ||
            !bm_value_append(copy, from->kind == BM_VALUE_MAP ? from->keys[i] : NULL, child)) {
            bm_value_free(child);
            bm_value_free(copy);
            return NULL;
        }
    }
    return copy;
}

static struct bm_value *sample_definition(bool odd)
{
    return value_around(BM_VALUE_MAP, "check_sample",
                        value_around(BM_VALUE_MAP, "odd",
                                     bm_value_new_scalar(odd ? "true" : "false", false, "check")));
}

// ---- Parameters that were not given ----

// A value that a required parameter may have, if that can be guessed.
static const char *param_guess(const struct bm_param *param, const char *component, char text[32])
{
    double number = 1;
    switch (param->kind) {
    case BM_PARAM_NAME:
    case BM_PARAM_NAMES:
        return component;
    case BM_PARAM_INTEGER:
    case BM_PARAM_FLOAT:
    case BM_PARAM_INTEGERS:
    case BM_PARAM_FLOATS:
        if (param->min != 0 || param->max != 0)
            number = param->min > number ? param->min : param->max < number ? param->max : number;
        snprintf(text, 32, "%.15g", number);
        return text;
    case BM_PARAM_DTYPE:
        return "float32";
    case BM_PARAM_CHOICE:
        return param->choices[0];
    case BM_PARAM_BYTES:
        return "1KiB";
    case BM_PARAM_BOOL:
        return "true";
    case BM_PARAM_TEXT:
    case BM_PARAM_TEXTS:
    case BM_PARAM_TEXT_MAP:
    case BM_PARAM_VALUE:
        break;
    }
    return "text";
}

// The required parameters, those that are names set to `component`.
static struct bm_value *params_guess(const struct bm_param *params, unsigned nparams,
                                     const char *component)
{
    struct bm_value *map = bm_value_new(BM_VALUE_MAP, "check");
    for (unsigned i = 0; map != NULL && i < nparams; i++) {
        char text[32];
        if (!params[i].required)
            continue;
        struct bm_value *value =
            bm_value_new_scalar(param_guess(&params[i], component, text), false, "check");
        if (value == NULL || !bm_value_append(map, params[i].name, value)) {
            bm_value_free(value);
            bm_value_free(map);
            return NULL;
        }
    }
    return map;
}

static bool params_name_required(const struct bm_param *params, unsigned nparams)
{
    for (unsigned i = 0; i < nparams; i++) {
        if (params[i].required &&
            (params[i].kind == BM_PARAM_NAME || params[i].kind == BM_PARAM_NAMES))
            return true;
    }
    return false;
}

// Sets what is built to the type with these parameters, which it takes. False: out of memory.
static bool check_set(struct check *check, struct bm_value *parameters)
{
    bm_value_free(check->definition);
    bm_value_free(check->actions);
    check->definition = check->actions = NULL;
    if (check->source != NULL) {
        check->definition = value_around(BM_VALUE_MAP, check->source->name, parameters);
        return check->definition != NULL;
    }
    check->actions = value_around(BM_VALUE_LIST, NULL,
                                  value_around(BM_VALUE_MAP, check->action->name, parameters));
    check->definition = check->data == NULL ? sample_definition(false) : value_copy(check->data);
    return check->actions != NULL && check->definition != NULL;
}

// Builds it with the parameters that were given, or with the first that it accepts.
static enum bm_status check_open(struct check *check, struct bm_pipeline **ret_pipeline,
                                 struct bm_error *err)
{
    const struct bm_param *params =
        check->action != NULL ? check->action->params : check->source->params;
    unsigned nparams = check->action != NULL ? check->action->nparams : check->source->nparams;
    bool tries =
        check->parameters == NULL && check->action != NULL && params_name_required(params, nparams);
    struct bm_error error = {0};
    enum bm_status status = BM_NOT_FOUND;
    for (unsigned i = 0; status != BM_OK && check_sample_names[i] != NULL; i++) {
        struct bm_value *parameters = check->parameters == NULL
                                          ? params_guess(params, nparams, check_sample_names[i])
                                          : value_copy(check->parameters);
        if (!check_set(check, parameters))
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        status = check_build(check, ret_pipeline, &error);
        if (i == 0 && status != BM_OK)
            *err = error;
        if (!tries)
            break;
    }
    return status;
}

// ---- schema ----

static void print_definition(const struct check *check, struct bm_buffer *out)
{
    const struct bm_value *map = check->action != NULL ? check->actions->children[0]->children[0]
                                                       : check->definition->children[0];
    bm_buffer_add_text(out, "{");
    for (unsigned i = 0; map->kind == BM_VALUE_MAP && i < map->nchildren; i++) {
        bm_buffer_print(out, "%s%s: ", i == 0 ? "" : ", ", map->keys[i]);
        if (map->children[i]->text != NULL)
            bm_buffer_add_text(out, map->children[i]->text);
        else
            bm_value_show(map->children[i], out);
    }
    bm_buffer_add_text(out, "}");
}

static bool component_equal(const struct bm_component *a, const struct bm_component *b)
{
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->ragged == b->ragged &&
           a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof a->shape[0]) == 0;
}

// What a source gives, or what an action made other than it was.
static void print_changes(const struct check *check, const struct bm_pipeline *pipeline,
                          struct bm_buffer *out)
{
    const struct bm_schema *after = bm_pipeline_schema(pipeline);
    const struct bm_schema *before = &bm_pipeline_source(pipeline)->schema;
    unsigned n = 0;
    for (unsigned c = 0; c < after->ncomponents; c++) {
        int at = bm_schema_find(before, after->components[c].name);
        if (check->action != NULL && at >= 0 &&
            component_equal(&before->components[at], &after->components[c]))
            continue;
        bm_buffer_add_text(out, n++ == 0 ? ": " : ", ");
        bm_component_print(&after->components[c], out);
    }
    if (check->source != NULL)
        bm_buffer_print(out, "; %" PRIu64 " items", bm_pipeline_source(pipeline)->nitems);
    else if (n == 0)
        bm_buffer_add_text(out, ": the components stay what they are");
}

static struct bm_pipeline *check_schema(struct check *check)
{
    struct bm_pipeline *pipeline = NULL, *again = NULL;
    struct bm_error error = {0};
    struct bm_buffer text;
    bm_buffer_init(&text);
    check_begin(check, "schema");
    if (check_open(check, &pipeline, &error) != BM_OK) {
        check_end(check, false, "%s: %s%s", error.where, error.text,
                  check->parameters == NULL ? " (--parameters says which to try)" : "");
    } else if (check_build(check, &again, &error) != BM_OK) {
        check_end(check, false, "opened again: %s: %s", error.where, error.text);
    } else {
        print_definition(check, &text);
        print_changes(check, pipeline, &text);
        bool same = bm_pipeline_fingerprint(pipeline) == bm_pipeline_fingerprint(again);
        check_end(check, same, "%s%s", bm_buffer_text(&text),
                  same ? "" : "; opened again, its schema or identity is another one");
    }
    bm_pipeline_unref(again);
    bm_buffer_fini(&text);
    return pipeline;
}

// ---- same bytes ----

// An item that came in both and has other bytes; -1: none.
static int64_t record_difference(const struct check_record *a, const struct check_record *b)
{
    for (unsigned i = 0; i < a->nitems; i++) {
        for (unsigned j = 0; j < b->nitems; j++) {
            if (a->items[i] == b->items[j] && a->digests[i] != b->digests[j])
                return (int64_t)a->items[i];
        }
    }
    return -1;
}

// The sentence that says what is wrong with two records of the same stream; NULL: nothing.
static const char *records_fault(const struct check_record *a, const struct check_record *b)
{
    static char text[256];
    int64_t item = record_difference(a, b);
    if (a->mute || b->mute)
        return "a batch failed without saying why: call batchmill_fail()";
    if (item >= 0)
        snprintf(text, sizeof text,
                 "item %" PRId64 " has other bytes with 4 workers and other contents of new "
                 "memory: are all elements written, and does nothing else reach them?",
                 item);
    else if (a->digest != b->digest)
        snprintf(text, sizeof text,
                 "with 4 workers and prefetch 6 other batches came, or failed otherwise");
    else if (a->variables != b->variables)
        snprintf(text, sizeof text, "with 4 workers and prefetch 6 a run reports other variables");
    else
        return NULL;
    return text;
}

static bool check_alone(const struct check *check)
{
    return check->action == NULL || check->action->form == BM_PER_ITEM || check->action->alone;
}

static void check_bytes(struct check *check, struct bm_pipeline *pipeline)
{
    static struct check_record first, second, third;
    struct bm_error error = {0};
    check_begin(check, "same bytes");
    if (check->action != NULL && check->action->stateful) {
        check_skip(check, "it is stateful");
        return;
    }
    if (check_stream(pipeline, &one_by_one, &first, &error) != BM_OK ||
        check_stream(pipeline, &all_at_once, &second, &error) != BM_OK ||
        check_stream(pipeline, &other_batches, &third, &error) != BM_OK) {
        check_end(check, false, "%s%s%s", error.where, error.where[0] == '\0' ? "" : ": ",
                  error.text);
        return;
    }
    const char *fault = records_fault(&first, &second);
    int64_t item = check_alone(check) ? record_difference(&first, &third) : -1;
    if (fault != NULL)
        check_end(check, false, "%s", fault);
    else if (item >= 0)
        check_end(check, false,
                  "item %" PRId64 " has other bytes in batches of 7 than in batches of 16", item);
    else if (first.nbatches == 0 && first.nfailed > 0)
        check_end(check, false, "every batch fails: %s", first.failure);
    else
        check_end(check, true, "%u items, workers 1 and 4, prefetch 0 and 6%s", first.nitems,
                  check_alone(check) ? ", batches of 16 and 7" : "");
}

// ---- errors ----

static void check_odd(struct check *check)
{
    static struct check_record first, second;
    struct bm_pipeline *pipeline = NULL;
    struct bm_error error = {0};
    check_begin(check, "odd values");
    if (check->source != NULL || check->data != NULL || check->action->stateful) {
        check_skip(check, check->source != NULL ? "it is a source"
                          : check->data != NULL ? "the data are given"
                                                : "it is stateful");
        return;
    }
    bm_value_free(check->definition);
    check->definition = sample_definition(true);
    if (check->definition == NULL || check_build(check, &pipeline, &error) != BM_OK ||
        check_stream(pipeline, &one_by_one, &first, &error) != BM_OK ||
        check_stream(pipeline, &all_at_once, &second, &error) != BM_OK) {
        check_end(check, false, "%s: %s", error.where, error.text);
    } else {
        const char *fault = records_fault(&first, &second);
        check_end(check, fault == NULL, "%u batches came, %u failed%s%s", first.nbatches,
                  first.nfailed, fault != NULL || first.nfailed > 0 ? ": " : "",
                  fault != NULL ? fault : first.failure);
    }
    bm_pipeline_unref(pipeline);
}

// It may refuse what it was not made for, but has to say why.
static void check_other_input(struct check *check)
{
    struct bm_pipeline *pipeline = NULL;
    struct bm_error error = {0};
    check_begin(check, "other input");
    if (check->source != NULL) {
        check_skip(check, "it is a source");
        return;
    }
    bm_value_free(check->definition);
    check->definition =
        value_around(BM_VALUE_MAP, "range",
                     value_around(BM_VALUE_MAP, "n", bm_value_new_scalar("3", false, "check")));
    enum bm_status status =
        check->definition == NULL ? BM_RESOURCE_EXHAUSTED : check_build(check, &pipeline, &error);
    bool fine = status == BM_OK || status == BM_INVALID_ARGUMENT || status == BM_NOT_FOUND;
    check_end(check, fine, "%s%s", status == BM_OK ? "accepted" : "refused: ", error.text);
    bm_pipeline_unref(pipeline);
}

// ---- leaks ----

static void check_heap(struct check *check)
{
    struct bm_error error = {0};
    int64_t bytes = 0;
    check_begin(check, "leaks");
    if (check_leaks(check, &bytes, &error) != BM_OK)
        check_end(check, false, "%s: %s", error.where, error.text);
    else if (bytes < 0)
        check_skip(check, "a sanitizer counts them");
    else if (bytes > 0)
        check_end(check, false, "%" PRId64 " bytes are lost each time that it is opened and run",
                  bytes);
    else
        check_end(check, true, "opened, run and closed %d times: all memory came back",
                  CHECK_OPENED);
}

void check_type(struct check *check)
{
    struct bm_pipeline *pipeline = check_schema(check);
    if (pipeline != NULL) {
        check_heap(check); // while there are no other threads
        check_bytes(check, pipeline);
        bm_pipeline_unref(pipeline);
        check_odd(check);
        check_other_input(check);
    }
    bm_value_free(check->definition);
    bm_value_free(check->actions);
}
