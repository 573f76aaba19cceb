// types.c -- the tables of a plug-in, checked, as types of the engine.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "plugin/internal.h"

enum { PARAMS_MAX = 64, NUMBERS_MAX = 64, TYPES_MAX = 256, CHOICES_MAX = 12 };
_Static_assert(sizeof((struct bm_param){0}.choices) / sizeof(char *) == CHOICES_MAX, "");

_Static_assert((int)BATCHMILL_BOOL == BM_BOOL && (int)BATCHMILL_INT64 == BM_INT64 &&
                   (int)BATCHMILL_FLOAT16 == BM_FLOAT16 && (int)BATCHMILL_STRING == BM_STRING,
               "dtypes have the numbers of the wire");

struct types { // of a plug-in; a registry keeps them
    unsigned nactions, nsources;
    struct plugin_action *actions;
    struct plugin_source *sources;
};

struct place { // of an error
    const char *file, *kind, *type, *param;
    struct bm_error *err;
};

static enum bm_status place_fail(const struct place *place, enum bm_status status, const char *text)
{
    char where[2 * BM_ERROR_WHERE_MAX];
    snprintf(where, sizeof where, "%s%s%s%s%s%s%s", place->file, place->kind == NULL ? "" : ": ",
             place->kind == NULL ? "" : place->kind, place->type == NULL ? "" : " ",
             place->type == NULL ? "" : place->type, place->param == NULL ? "" : ", parameter ",
             place->param == NULL ? "" : place->param);
    return bm_fail(place->err, status, where, "%s", text);
}

static enum bm_status place_refuse(const struct place *place, const char *text)
{
    return place_fail(place, BM_INVALID_ARGUMENT, text);
}

static enum bm_status place_no_memory(const struct place *place)
{
    return place_fail(place, BM_RESOURCE_EXHAUSTED, "out of memory");
}

// ---- Parameters ----

static const enum bm_param_kind kinds[] = {
    [BATCHMILL_PARAM_BOOL] = BM_PARAM_BOOL,         [BATCHMILL_PARAM_INTEGER] = BM_PARAM_INTEGER,
    [BATCHMILL_PARAM_FLOAT] = BM_PARAM_FLOAT,       [BATCHMILL_PARAM_TEXT] = BM_PARAM_TEXT,
    [BATCHMILL_PARAM_NAME] = BM_PARAM_NAME,         [BATCHMILL_PARAM_DTYPE] = BM_PARAM_DTYPE,
    [BATCHMILL_PARAM_CHOICE] = BM_PARAM_CHOICE,     [BATCHMILL_PARAM_BYTES] = BM_PARAM_BYTES,
    [BATCHMILL_PARAM_INTEGERS] = BM_PARAM_INTEGERS, [BATCHMILL_PARAM_FLOATS] = BM_PARAM_FLOATS,
    [BATCHMILL_PARAM_NAMES] = BM_PARAM_NAMES,       [BATCHMILL_PARAM_TEXTS] = BM_PARAM_TEXTS,
};

// The engine takes a default that does not fit for a bug of its own: so it is tried here.
static enum bm_status param_try_fallback(const struct place *place, const struct bm_param *param)
{
    struct bm_param tried = *param;
    union plugin_field field;
    struct bm_error error = {0};
    enum bm_status status = BM_RESOURCE_EXHAUSTED;
    struct bm_value *map = bm_value_new(BM_VALUE_MAP, "default");
    struct bm_value *value =
        bm_value_new_scalar(param->fallback, param->kind == BM_PARAM_TEXT, "default");
    tried.fallback = NULL;
    tried.offset = 0;
    if (map == NULL || value == NULL || !bm_value_append(map, param->name, value)) {
        bm_value_free(value);
        status = place_no_memory(place);
        goto out;
    }
    if (value->kind == BM_VALUE_NULL) {
        status = place_refuse(place, "its default: expected a value, got nothing");
        goto out;
    }
    status = bm_params_parse(&tried, 1, map, NULL, &field, &error);
    if (status == BM_OK) {
        bm_params_free(&tried, 1, &field);
    } else {
        char text[BM_ERROR_TEXT_MAX];
        snprintf(text, sizeof text, "its default: %.*s", BM_ERROR_TEXT_MAX - 16, error.text);
        place_fail(place, status, text);
    }
out:
    bm_value_free(map);
    return status;
}

static enum bm_status param_read_choices(const struct place *place,
                                         const struct batchmill_param *given,
                                         struct bm_param *param)
{
    unsigned n = 0;
    if (given->kind != BATCHMILL_PARAM_CHOICE)
        return BM_OK;
    while (given->choices != NULL && given->choices[n] != NULL && n < CHOICES_MAX) {
        param->choices[n] = given->choices[n];
        n++;
    }
    if (n == 0 || (n == CHOICES_MAX && given->choices[n] != NULL))
        return place_refuse(place, "expected 1 to 12 choices");
    return BM_OK;
}

static enum bm_status param_read(struct place place, const struct batchmill_param *given,
                                 unsigned index, struct bm_param *param)
{
    if (given->name == NULL || !bm_name_valid(given->name))
        return place_refuse(&place, "expected parameters with a name of " BM_NAME_RULE);
    place.param = given->name;
    if (given->doc == NULL || given->doc[0] == '\0')
        return place_refuse(&place, "expected a sentence that documents it, got none");
    if ((unsigned)given->kind >= sizeof kinds / sizeof kinds[0])
        return place_refuse(&place, "expected a kind of enum batchmill_param_kind");
    if (!(given->min <= given->max)) // a NaN is no bound
        return place_refuse(&place, "expected min <= max");
    bool list = given->kind >= BATCHMILL_PARAM_INTEGERS;
    if (given->fallback != NULL && (given->required || list))
        return place_refuse(&place, given->required ? "expected no default, as it is required"
                                                    : "expected no default, as it is a list");
    *param = (struct bm_param){
        .name = given->name,
        .kind = kinds[given->kind],
        .offset = index * sizeof(union plugin_field),
        .required = given->required,
        .fallback = given->fallback,
        .min = given->min,
        .max = given->max,
        .doc = given->doc,
    };
    enum bm_status status = param_read_choices(&place, given, param);
    if (status == BM_OK && given->fallback != NULL)
        status = param_try_fallback(&place, param);
    return status;
}

static bool params_find(const struct bm_param *params, unsigned nparams, const char *name)
{
    unsigned i = 0;
    // The analyzer does not see that each of them was read, and so has a name.
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
    while (i < nparams && strcmp(params[i].name, name) != 0)
        i++;
    return i < nparams;
}

static enum bm_status params_read(const struct place *place, const struct batchmill_param *given,
                                  unsigned nparams, size_t param_size, struct bm_param **ret_params)
{
    if (nparams > PARAMS_MAX || (nparams > 0 && given == NULL))
        return place_refuse(place, "expected a table of at most 64 parameters");
    struct bm_param *params = calloc(nparams + 1u, sizeof *params);
    if (params == NULL)
        return place_no_memory(place);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < nparams && status == BM_OK; i++) {
        struct batchmill_param one;
        memcpy(&one, (const char *)given + i * param_size, sizeof one);
        status = param_read(*place, &one, i, &params[i]);
        if (status == BM_OK && params_find(params, i, one.name))
            status = place_refuse(place, "two parameters of the same name");
    }
    if (status == BM_OK)
        *ret_params = params;
    else
        free(params);
    return status;
}

// ---- Types ----

static enum bm_status place_check_type(const struct place *place, size_t size, size_t size_min,
                                       const char *doc)
{
    char text[128];
    snprintf(text, sizeof text, "its size: expected %zu bytes or more, got %zu", size_min, size);
    if (size < size_min)
        return place_refuse(place, text);
    if (place->type == NULL || !bm_name_valid(place->type))
        return place_refuse(place, "expected a name of " BM_NAME_RULE);
    if (doc == NULL || doc[0] == '\0')
        return place_refuse(place, "expected a sentence that documents it, got none");
    return BM_OK;
}

// What the table of an action lacks, as a sentence; NULL: nothing.
static const char *action_fault(const struct batchmill_action_type *given)
{
    const unsigned known = BATCHMILL_PER_BATCH | BATCHMILL_RANDOM | BATCHMILL_STATEFUL |
                           BATCHMILL_WAITS | BATCHMILL_IN_PLACE | BATCHMILL_ALONE | BATCHMILL_DROPS;
    if (given->open == NULL || given->run == NULL)
        return "expected open() and run()";
    if ((given->flags & ~known) != 0)
        return "expected flags of enum batchmill_flag";
    if ((given->flags & BATCHMILL_WAITS) != 0 && (given->flags & BATCHMILL_PER_BATCH) == 0)
        return "expected BATCHMILL_PER_BATCH with BATCHMILL_WAITS";
    if (given->variable_size > 0 && (given->merge == NULL || given->report == NULL))
        return "expected merge() and report() for its variable";
    if (given->variable_size > 1 << 20 || given->nnumbers > NUMBERS_MAX)
        return "expected a variable of at most 1 MiB and 64 numbers";
    return NULL;
}

static enum bm_status action_read(struct place place, const struct batchmill_plugin *tables,
                                  const struct batchmill_action_type *given, uint64_t code,
                                  struct plugin_action *action)
{
    place.type = given->name;
    enum bm_status status = place_check_type(&place, given->size, sizeof *given, given->doc);
    if (status != BM_OK)
        return status;
    const char *fault = action_fault(given);
    if (fault != NULL)
        return place_refuse(&place, fault);
    struct bm_param *params = NULL;
    status = params_read(&place, given->params, given->nparams, tables->param_size, &params);
    if (status != BM_OK)
        return status;
    action->given = *given;
    action->type = (struct bm_action_type){
        .name = given->name,
        .doc = given->doc,
        .form = (given->flags & BATCHMILL_PER_BATCH) != 0 ? BM_PER_BATCH : BM_PER_ITEM,
        .random = (given->flags & BATCHMILL_RANDOM) != 0,
        .stateful = (given->flags & BATCHMILL_STATEFUL) != 0,
        .waits = (given->flags & BATCHMILL_WAITS) != 0,
        .apart = (given->flags & BATCHMILL_IN_PLACE) == 0,
        .alone = (given->flags & BATCHMILL_ALONE) != 0,
        .code = code,
        .params = params,
        .nparams = given->nparams,
        .config_bytes = given->nparams * sizeof(union plugin_field),
        .infer = plugin_infer,
        .run = plugin_run,
        .plan_free = plugin_plan_free,
    };
    return BM_OK;
}

static enum bm_status source_read(struct place place, const struct batchmill_plugin *tables,
                                  const struct batchmill_source_type *given, uint64_t code,
                                  struct plugin_source *source)
{
    place.type = given->name;
    enum bm_status status = place_check_type(&place, given->size, sizeof *given, given->doc);
    if (status != BM_OK)
        return status;
    if (given->open == NULL || given->read == NULL)
        return place_refuse(&place, "expected open() and read()");
    if (given->flags != 0)
        return place_refuse(&place, "expected no flags");
    struct bm_param *params = NULL;
    status = params_read(&place, given->params, given->nparams, tables->param_size, &params);
    if (status != BM_OK)
        return status;
    source->given = *given;
    source->type = (struct bm_source_type){
        .name = given->name,
        .doc = given->doc,
        .params = params,
        .nparams = given->nparams,
        .config_bytes = given->nparams * sizeof(union plugin_field),
        .code = code,
        .open_type = plugin_source_open,
        .close = plugin_source_close,
        .read = plugin_read,
    };
    return BM_OK;
}

// ---- The plug-in ----

static void types_free(void *object)
{
    struct types *types = object;
    for (unsigned i = 0; i < types->nactions; i++)
        free((void *)types->actions[i].type.params);
    for (unsigned i = 0; i < types->nsources; i++)
        free((void *)types->sources[i].type.params);
    free(types->actions);
    free(types->sources);
    free(types);
}

static unsigned table_length(const void *const *table)
{
    unsigned n = 0;
    while (table != NULL && n <= TYPES_MAX && table[n] != NULL)
        n++;
    return n;
}

static enum bm_status tables_check(const struct place *place, const struct batchmill_plugin *tables)
{
    char text[128];
    snprintf(text, sizeof text, "its tables are not of ABI %u: expected sizes %zu and %zu or more",
             BATCHMILL_PLUGIN_ABI, sizeof *tables, sizeof(struct batchmill_param));
    if (tables->size < sizeof *tables || tables->param_size < sizeof(struct batchmill_param))
        return place_refuse(place, text);
    snprintf(text, sizeof text, "expected a plug-in of ABI 1 to %u, got one of %u",
             BATCHMILL_PLUGIN_ABI, tables->abi);
    if (tables->abi == 0 || tables->abi > BATCHMILL_PLUGIN_ABI)
        return place_fail(place, BM_FAILED_PRECONDITION, text);
    if (tables->name == NULL || !bm_name_valid(tables->name) || tables->version == NULL)
        return place_refuse(place,
                            "expected a plug-in with a name of " BM_NAME_RULE " and a version");
    return BM_OK;
}

static enum bm_status types_read(struct place place, const struct batchmill_plugin *tables,
                                 uint64_t code, struct types *types)
{
    enum bm_status status = BM_OK;
    unsigned nactions = table_length((const void *const *)(const void *)tables->actions);
    unsigned nsources = table_length((const void *const *)(const void *)tables->sources);
    if (nactions + nsources == 0 || nactions > TYPES_MAX || nsources > TYPES_MAX)
        return place_refuse(&place, "expected 1 to 256 actions or sources");
    types->actions = calloc(nactions + 1u, sizeof types->actions[0]);
    types->sources = calloc(nsources + 1u, sizeof types->sources[0]);
    if (types->actions == NULL || types->sources == NULL)
        return place_no_memory(&place);
    place.kind = "action";
    for (unsigned i = 0; i < nactions && status == BM_OK; i++) {
        status = action_read(place, tables, tables->actions[i], code, &types->actions[i]);
        types->nactions += status == BM_OK;
    }
    place.kind = "source";
    for (unsigned i = 0; i < nsources && status == BM_OK; i++) {
        status = source_read(place, tables, tables->sources[i], code, &types->sources[i]);
        types->nsources += status == BM_OK;
    }
    return status;
}

static enum bm_status types_add(struct place place, struct bm_registry *registry,
                                const struct types *types)
{
    struct bm_error error = {0};
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < types->nactions && status == BM_OK; i++) {
        place.kind = "action";
        place.type = types->actions[i].type.name;
        status = bm_registry_add_action(registry, &types->actions[i].type, &error);
    }
    for (unsigned i = 0; i < types->nsources && status == BM_OK; i++) {
        place.kind = "source";
        place.type = types->sources[i].type.name;
        status = bm_registry_add_source(registry, &types->sources[i].type, &error);
    }
    return status == BM_OK ? BM_OK : place_fail(&place, status, error.text);
}

enum bm_status bm_plugin_register(struct bm_registry *registry,
                                  const struct batchmill_plugin *tables, uint64_t code,
                                  const char *where, struct bm_plugin *ret_plugin,
                                  struct bm_error *err)
{
    const struct place place = {.file = where, .err = err};
    enum bm_status status = tables_check(&place, tables);
    if (status != BM_OK)
        return status;
    struct types *types = calloc(1, sizeof *types);
    if (types == NULL)
        return place_no_memory(&place);
    status = types_read(place, tables, code, types);
    if (status == BM_OK)
        status = bm_registry_keep(registry, types, types_free, err);
    if (status != BM_OK) {
        types_free(types);
        return status;
    }
    status = types_add(place, registry, types);
    if (status != BM_OK)
        return status;
    *ret_plugin = (struct bm_plugin){.name = tables->name,
                                     .version = tables->version,
                                     .nactions = types->nactions,
                                     .nsources = types->nsources,
                                     .code = code};
    return BM_OK;
}
