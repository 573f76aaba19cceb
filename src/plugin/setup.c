// setup.c -- what a plug-in sees and says while an action or a source is opened.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "plugin/internal.h"

struct setup {
    struct batchmill_setup given; // first
    const struct bm_param *params;
    unsigned nparams;
    const union plugin_field *fields; // [nparams]
    struct bm_infer *infer;           // of an action, else NULL
    struct bm_source *source;         // of a source, else NULL
    bool announced;                   // items() was called
    bool failed;                      // the first reason counts
    struct bm_error error;
};

static struct setup *setup_of(struct batchmill_setup *given)
{
    return (struct setup *)(void *)given;
}

static void setup_fail(struct setup *setup, enum bm_status status, const char *where,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
static void setup_fail(struct setup *setup, enum bm_status status, const char *where,
                       const char *format, ...)
{
    char text[BM_ERROR_TEXT_MAX];
    va_list arguments;
    if (setup->failed)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bm_fail(&setup->error, status, where, "%s", text);
    setup->failed = true;
}

#define setup_misuse(setup, ...)                                                                   \
    setup_fail(setup, BM_INTERNAL, (setup)->given.where, "a bug in the plug-in: " __VA_ARGS__)

// What a function of the engine left in setup->error.
static bool setup_note(struct setup *setup, enum bm_status status)
{
    setup->failed = status != BM_OK;
    return !setup->failed;
}

bool setup_refuse(struct batchmill_setup *given, const char *text)
{
    char clean[BM_ERROR_TEXT_MAX];
    plugin_text_copy(text, clean, sizeof clean);
    setup_fail(setup_of(given), BM_INVALID_ARGUMENT, given->where, "%s", clean);
    return false;
}

// ---- Parameters ----

// Its index; -1 and a failure: there is none.
static int setup_find_param(struct setup *setup, const char *name)
{
    for (unsigned i = 0; i < setup->nparams; i++) {
        if (strcmp(setup->params[i].name, name) == 0)
            return (int)i;
    }
    setup_misuse(setup, "it asks for a parameter \"%.60s\" that it did not declare", name);
    return -1;
}

static size_t param_count(const struct bm_param *param, const union plugin_field *field)
{
    switch (param->kind) {
    case BM_PARAM_INTEGERS:
        return field->integers.n;
    case BM_PARAM_FLOATS:
        return field->floats.n;
    case BM_PARAM_NAMES:
    case BM_PARAM_TEXTS:
        return field->texts.n;
    case BM_PARAM_TEXT:
    case BM_PARAM_NAME:
        return field->text != NULL;
    case BM_PARAM_DTYPE:
        return field->dtype != BM_DTYPE_NONE;
    case BM_PARAM_BOOL:
    case BM_PARAM_INTEGER:
    case BM_PARAM_FLOAT:
    case BM_PARAM_CHOICE:
    case BM_PARAM_BYTES:
    case BM_PARAM_TEXT_MAP:
    case BM_PARAM_VALUE:
        break;
    }
    return 1;
}

size_t setup_param_count(struct batchmill_setup *given, const char *name)
{
    struct setup *setup = setup_of(given);
    int i = setup_find_param(setup, name);
    return i < 0 ? 0 : param_count(&setup->params[i], &setup->fields[i]);
}

// The parameter that `name` is, if it has an element i; else NULL and a failure.
static const union plugin_field *setup_element(struct setup *setup, const char *name, size_t i,
                                               enum bm_param_kind *ret_kind)
{
    int index = setup_find_param(setup, name);
    if (index < 0)
        return NULL;
    const struct bm_param *param = &setup->params[index];
    bool list = param->kind == BM_PARAM_INTEGERS || param->kind == BM_PARAM_FLOATS ||
                param->kind == BM_PARAM_NAMES || param->kind == BM_PARAM_TEXTS;
    size_t n = list ? param_count(param, &setup->fields[index]) : 1;
    if (i >= n) {
        setup_misuse(setup, "it asks for element %zu of the %zu in \"%s\"", i, n, param->name);
        return NULL;
    }
    *ret_kind = param->kind;
    return &setup->fields[index];
}

int64_t setup_param_integer(struct batchmill_setup *given, const char *name, size_t i)
{
    struct setup *setup = setup_of(given);
    enum bm_param_kind kind;
    const union plugin_field *field = setup_element(setup, name, i, &kind);
    if (field == NULL)
        return 0;
    if (kind == BM_PARAM_BOOL)
        return field->boolean;
    if (kind == BM_PARAM_INTEGER)
        return field->integer;
    if (kind == BM_PARAM_BYTES)
        return field->bytes > INT64_MAX ? INT64_MAX : (int64_t)field->bytes;
    if (kind == BM_PARAM_DTYPE)
        return (int64_t)field->dtype;
    if (kind == BM_PARAM_CHOICE)
        return field->choice;
    if (kind == BM_PARAM_INTEGERS)
        return field->integers.values[i];
    setup_misuse(setup, "it asks for its parameter \"%.60s\" as an integer", name);
    return 0;
}

double setup_param_number(struct batchmill_setup *given, const char *name, size_t i)
{
    struct setup *setup = setup_of(given);
    enum bm_param_kind kind;
    const union plugin_field *field = setup_element(setup, name, i, &kind);
    if (field == NULL)
        return 0;
    if (kind == BM_PARAM_FLOAT)
        return field->real;
    if (kind == BM_PARAM_FLOATS)
        return field->floats.values[i];
    if (kind == BM_PARAM_INTEGER)
        return (double)field->integer;
    if (kind == BM_PARAM_INTEGERS)
        return (double)field->integers.values[i];
    setup_misuse(setup, "it asks for its parameter \"%.60s\" as a number", name);
    return 0;
}

const char *setup_param_text(struct batchmill_setup *given, const char *name, size_t i)
{
    struct setup *setup = setup_of(given);
    enum bm_param_kind kind;
    const union plugin_field *field = setup_element(setup, name, i, &kind);
    if (field == NULL)
        return NULL;
    if (kind == BM_PARAM_TEXT || kind == BM_PARAM_NAME)
        return field->text;
    if (kind == BM_PARAM_TEXTS || kind == BM_PARAM_NAMES)
        return field->texts.values[i];
    if (kind == BM_PARAM_DTYPE)
        return field->dtype == BM_DTYPE_NONE ? NULL : bm_dtype_name(field->dtype);
    if (kind == BM_PARAM_CHOICE)
        return setup->params[field - setup->fields].choices[field->choice];
    setup_misuse(setup, "it asks for its parameter \"%.60s\" as a text", name);
    return NULL;
}

// ---- What comes in ----

int setup_find(struct batchmill_setup *given, const char *name)
{
    struct setup *setup = setup_of(given);
    return setup->infer == NULL ? -1 : bm_schema_find(setup->infer->in, name);
}

int setup_require(struct batchmill_setup *given, const char *parameter, size_t i)
{
    struct setup *setup = setup_of(given);
    const char *name = setup_param_text(given, parameter, i);
    if (setup->infer == NULL)
        setup_misuse(setup, "nothing comes into a source");
    if (name == NULL)
        setup_misuse(setup, "it looks for a component without a name");
    if (setup->failed)
        return -1;
    char where[BM_ERROR_WHERE_MAX];
    unsigned index;
    bm_params_where(given->where, parameter, where);
    return setup_note(setup,
                      bm_schema_require(setup->infer->in, name, where, &index, &setup->error))
               ? (int)index
               : -1;
}

bool setup_component(struct batchmill_setup *given, int index,
                     struct batchmill_component *ret_component)
{
    memset(ret_component, 0, sizeof *ret_component);
    if (index < 0 || (unsigned)index >= given->ncomponents)
        return false;
    const struct bm_component *component = &setup_of(given)->infer->in->components[index];
    ret_component->name = component->name;
    ret_component->dtype = (enum batchmill_dtype)component->dtype;
    ret_component->ragged = component->ragged;
    ret_component->ndim = component->ndim;
    ret_component->shape = component->shape;
    return true;
}

// ---- What comes out ----

static bool setup_read_component(struct setup *setup, const struct batchmill_component *given,
                                 struct bm_component *ret_component)
{
    const char *fault = NULL;
    if (setup->failed) // the reason for an empty component was told already
        return false;
    if (given == NULL || given->name == NULL)
        fault = "a component without a name";
    else if (strlen(given->name) > BM_NAME_MAX)
        fault = "a component's name of more than 128 characters";
    else if (given->dtype < BATCHMILL_BOOL || given->dtype > BATCHMILL_STRING)
        fault = "a component without a dtype";
    else if (given->ndim > BM_NDIM_MAX || (given->ndim > 0 && given->shape == NULL))
        fault = "a component without a shape, or of more than 16 axes";
    if (fault != NULL) {
        setup_misuse(setup, "it writes %s", fault);
        return false;
    }
    *ret_component = (struct bm_component){
        .dtype = (enum bm_dtype)given->dtype, .ragged = given->ragged, .ndim = given->ndim};
    strcpy(ret_component->name, given->name);
    if (given->ndim > 0)
        memcpy(ret_component->shape, given->shape, given->ndim * sizeof given->shape[0]);
    return true;
}

// Whether an action may use `from`; a source has no such thing.
static bool setup_check_from(struct setup *setup, int from, int min)
{
    if (!setup->failed && setup->infer == NULL && from >= 0)
        setup_misuse(setup, "nothing comes into a source");
    else if (!setup->failed && (from < min || from >= (int)setup->given.ncomponents))
        setup_misuse(setup, "it takes component %d of the %u that come in", from,
                     setup->given.ncomponents);
    return !setup->failed;
}

bool setup_keep(struct batchmill_setup *given, int from, const struct batchmill_component *as)
{
    struct setup *setup = setup_of(given);
    struct bm_component component;
    if (!setup_check_from(setup, from, 0) ||
        (as != NULL && !setup_read_component(setup, as, &component)))
        return false;
    component.vocabulary = setup->infer->in->components[from].vocabulary;
    return setup_note(setup, bm_infer_keep(setup->infer, (unsigned)from,
                                           as == NULL ? NULL : &component, &setup->error));
}

bool setup_keep_all(struct batchmill_setup *given)
{
    struct setup *setup = setup_of(given);
    if (setup->infer == NULL)
        setup_misuse(setup, "nothing comes into a source");
    return !setup->failed && setup_note(setup, bm_infer_keep_all(setup->infer, &setup->error));
}

int setup_write(struct batchmill_setup *given, const struct batchmill_component *as, int from)
{
    struct setup *setup = setup_of(given);
    struct bm_component component;
    unsigned index;
    if (!setup_read_component(setup, as, &component) || !setup_check_from(setup, from, -1))
        return -1;
    if (setup->infer != NULL)
        return setup_note(setup,
                          bm_infer_write(setup->infer, &component, from, &index, &setup->error))
                   ? (int)index
                   : -1;
    struct bm_error error = {0};
    index = setup->source->schema.ncomponents;
    enum bm_status status = bm_schema_add(&setup->source->schema, &component, &error);
    if (status != BM_OK)
        setup_fail(setup, status, given->where, "%s: %s", error.where, error.text);
    return status == BM_OK ? (int)index : -1;
}

// A vocabulary of them, or NULL and a failure.
static struct bm_vocabulary *setup_read_names(struct setup *setup, const char *const *names,
                                              size_t n)
{
    struct bm_vocabulary *vocabulary = NULL;
    struct bm_error error = {0};
    uint64_t index = 0;
    enum bm_status status = bm_vocabulary_new(&vocabulary, &error);
    for (size_t i = 0; i < n && status == BM_OK; i++) {
        if (names[i] == NULL || !plugin_text_clean(names[i]))
            status = bm_fail(&error, BM_INVALID_ARGUMENT, NULL, "name %zu is not UTF-8", i);
        else
            status = bm_vocabulary_add(vocabulary, names[i], strlen(names[i]), &index, &error);
        if (status == BM_OK && index != i)
            status = bm_fail(&error, BM_INVALID_ARGUMENT, NULL,
                             "names %llu and %zu are alike: \"%.60s\"", (unsigned long long)index,
                             i, names[i]);
    }
    if (status == BM_OK)
        return vocabulary;
    setup_fail(setup, status, setup->given.where, "%s", error.text);
    return bm_vocabulary_unref(vocabulary);
}

bool setup_names(struct batchmill_setup *given, int written, const char *const *names, size_t n)
{
    struct setup *setup = setup_of(given);
    if (setup->failed) // also of the component
        return false;
    struct bm_schema *schema = setup->infer != NULL ? setup->infer->out : &setup->source->schema;
    if (written < 0 || (unsigned)written >= schema->ncomponents ||
        !bm_dtype_is_integer(schema->components[written].dtype) ||
        (setup->infer != NULL && !setup->infer->origins[written].writes))
        setup_misuse(setup, "it names the values of what is no written integer component");
    struct bm_vocabulary *vocabulary = setup->failed ? NULL : setup_read_names(setup, names, n);
    if (vocabulary == NULL)
        return false;
    bm_vocabulary_unref(schema->components[written].vocabulary);
    schema->components[written].vocabulary = vocabulary;
    return true;
}

const char *setup_name(struct batchmill_setup *given, int index, uint64_t value)
{
    if (index < 0 || (unsigned)index >= given->ncomponents)
        return NULL;
    const struct bm_vocabulary *vocabulary =
        setup_of(given)->infer->in->components[index].vocabulary;
    return value < bm_vocabulary_count(vocabulary) ? bm_vocabulary_name(vocabulary, value) : NULL;
}

bool setup_items(struct batchmill_setup *given, uint64_t nitems, const void *identity, size_t size)
{
    struct setup *setup = setup_of(given);
    if (setup->source == NULL || setup->announced)
        setup_misuse(setup, "batchmill_items() is for sources, and once");
    else if (identity == NULL || size == 0)
        setup_misuse(setup, "batchmill_items() without what identifies the data");
    if (setup->failed)
        return false;
    setup->announced = true;
    setup->source->nitems = nitems;
    setup->source->identity = bm_hash_bytes(identity, size);
    return true;
}

// ---- Opening ----

// True if it succeeded in all; else what it made is closed.
static bool setup_open(struct setup *setup,
                       bool (*open)(struct batchmill_setup *setup, void **ret_self),
                       void (*close)(void *self), void **ret_self)
{
    void *self = NULL;
    bool opened = open(&setup->given, &self);
    if (!opened)
        setup_fail(setup, BM_UNKNOWN, setup->given.where, "refused without saying why");
    if (opened && setup->source != NULL && !setup->announced)
        setup_misuse(setup, "it did not call batchmill_items()");
    if (opened && setup->failed && close != NULL)
        close(self);
    if (!setup->failed)
        *ret_self = self;
    return !setup->failed;
}

static enum bm_status setup_end(const struct setup *setup, struct bm_error *err)
{
    return bm_fail(err, setup->error.status, setup->error.where, "%s", setup->error.text);
}

static void instance_merge(const void *config, void *state, const void *update)
{
    const struct plugin_instance *instance = config;
    instance->action->given.merge(instance->self, state, update);
}

static void instance_report(const void *config, const void *state, struct bm_number *ret_numbers)
{
    const struct plugin_instance *instance = config;
    struct batchmill_number numbers[64];
    unsigned n = instance->action->given.nnumbers;
    memset(numbers, 0, n * sizeof numbers[0]);
    instance->action->given.report(instance->self, state, numbers);
    for (unsigned i = 0; i < n; i++) {
        ret_numbers[i] = (struct bm_number){
            .kind = numbers[i].real ? BM_NUMBER_FLOAT : BM_NUMBER_INTEGER,
            .integer = numbers[i].integer,
            .real = numbers[i].number,
        };
        numbers[i].name[sizeof numbers[i].name - 1] = '\0';
        plugin_text_copy(numbers[i].name, ret_numbers[i].name, sizeof ret_numbers[i].name);
    }
}

enum bm_status plugin_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                            struct bm_error *err)
{
    const struct plugin_action *action = (const struct plugin_action *)(const void *)infer->type;
    struct plugin_instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    struct setup setup = {
        .given = {.host = &plugin_host,
                  .type = action->type.name,
                  .where = infer->where,
                  .ncomponents = infer->in->ncomponents},
        .params = action->type.params,
        .nparams = action->type.nparams,
        .fields = config,
        .infer = infer,
    };
    if (!setup_open(&setup, action->given.open, action->given.close, &instance->self)) {
        free(instance);
        return setup_end(&setup, err);
    }
    instance->action = action;
    for (unsigned c = 0; c < infer->out->ncomponents; c++)
        instance->writes[c] = infer->origins[c].writes;
    infer->drops = (action->given.flags & BATCHMILL_DROPS) != 0;
    if (action->given.variable_size > 0) {
        instance->variable = (struct bm_variable_type){.state_bytes = action->given.variable_size,
                                                       .merge = instance_merge,
                                                       .nnumbers = action->given.nnumbers,
                                                       .report = instance_report};
        infer->variable = &instance->variable;
        infer->variable_config = instance;
    }
    *ret_plan = instance;
    return BM_OK;
}

void plugin_plan_free(void *plan)
{
    struct plugin_instance *instance = plan;
    if (instance->action->given.close != NULL)
        instance->action->given.close(instance->self);
    free(instance);
}

enum bm_status plugin_source_open(const struct bm_source_type *type, const void *config,
                                  const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    const struct plugin_source *source = (const struct plugin_source *)(const void *)type;
    struct plugin_data *data = calloc(1, sizeof *data);
    if (data == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    data->source.type = type;
    data->type = source;
    bm_schema_init(&data->source.schema);
    struct setup setup = {
        .given = {.host = &plugin_host, .type = type->name, .where = where, .directory = directory},
        .params = type->params,
        .nparams = type->nparams,
        .fields = config,
        .source = &data->source,
    };
    if (!setup_open(&setup, source->given.open, source->given.close, &data->self)) {
        bm_schema_fini(&data->source.schema);
        free(data);
        return setup_end(&setup, err);
    }
    *ret_source = &data->source;
    return BM_OK;
}

void plugin_source_close(struct bm_source *source)
{
    struct plugin_data *data = (struct plugin_data *)(void *)source;
    if (data->type->given.close != NULL)
        data->type->given.close(data->self);
    bm_schema_fini(&source->schema);
    free(data);
}
