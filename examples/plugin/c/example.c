// A plug-in with one action per item, one per batch, and one source.
//
//     cc -shared -fPIC -O2 example.c -o example.so
//     batchmill plugin check example.so
//     batchmill serve --plugins example.so pipelines.yaml
#include <batchmill/plugin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// The float32 component that the parameter `component` names, to be written in its own place.
// What fails is remembered by the setup.
static int open_component(struct batchmill_setup *setup)
{
    struct batchmill_component component;
    int from = batchmill_require(setup, "component", 0);
    batchmill_component(setup, from, &component);
    if (from >= 0 && component.dtype != BATCHMILL_FLOAT32)
        batchmill_refuse(setup, "expected a float32 component, got %s", component.name);
    batchmill_keep_all(setup);
    return batchmill_write(setup, &component, from);
}

// ---- jitter: per item, random; an item that is not a number fails in its place ----

struct jitter {
    int component;
    double amount;
};

static const struct batchmill_param jitter_params[] = {
    {.name = "component",
     .doc = "the float32 component to change",
     .kind = BATCHMILL_PARAM_NAME,
     .required = true},
    {.name = "amount",
     .doc = "the most that is added or taken away",
     .kind = BATCHMILL_PARAM_FLOAT,
     .fallback = "0.1",
     .min = 0,
     .max = 1e6},
};

static bool jitter_open(struct batchmill_setup *setup, void **ret_self)
{
    struct jitter *jitter = malloc(sizeof *jitter);
    if (jitter == NULL)
        return batchmill_refuse(setup, "out of memory");
    jitter->component = open_component(setup);
    jitter->amount = batchmill_param_number(setup, "amount", 0);
    *ret_self = jitter;
    return true;
}

static enum batchmill_result jitter_run(struct batchmill_call *call)
{
    const struct jitter *jitter = call->self;
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        struct batchmill_random random = batchmill_random(call, item);
        uint64_t n;
        const float *from = batchmill_input(call, jitter->component, item, 1, &n);
        float *to = batchmill_output(call, jitter->component, item, 1, &n);
        for (uint64_t i = 0; i < n; i++) {
            if (isnan(from[i]))
                return batchmill_fail(call, (int64_t)item, "element %llu is not a number",
                                      (unsigned long long)i);
            to[i] = from[i] + (float)(jitter->amount * (2 * batchmill_random_uniform(&random) - 1));
        }
    }
    return BATCHMILL_RESULT_OK;
}

static const struct batchmill_action_type jitter = {
    .size = sizeof jitter,
    .name = "jitter",
    .doc = "Adds a random number to every element of a float32 component.",
    .flags = BATCHMILL_RANDOM | BATCHMILL_IN_PLACE,
    .nparams = 2,
    .params = jitter_params,
    .open = jitter_open,
    .close = free,
    .run = jitter_run,
};

// ---- centre: per batch, with a variable ----

struct centre {
    int component;
    char name[64];
};

static const struct batchmill_param centre_params[] = {
    {.name = "component",
     .doc = "the float32 component to change",
     .kind = BATCHMILL_PARAM_NAME,
     .required = true},
};

struct sum { // the variable: what was there before
    uint64_t count;
    double total;
};

static bool centre_open(struct batchmill_setup *setup, void **ret_self)
{
    struct centre *centre = calloc(1, sizeof *centre);
    if (centre == NULL)
        return batchmill_refuse(setup, "out of memory");
    centre->component = open_component(setup);
    snprintf(centre->name, sizeof centre->name, "%s", batchmill_param_text(setup, "component", 0));
    *ret_self = centre;
    return true;
}

static enum batchmill_result centre_run(struct batchmill_call *call)
{
    const struct centre *centre = call->self;
    struct sum *sum = call->update;
    uint64_t n;
    const float *from = batchmill_input(call, centre->component, 0, call->nitems, &n);
    float *to = batchmill_output(call, centre->component, 0, call->nitems, &n);
    for (uint64_t i = 0; i < n; i++)
        sum->total += from[i];
    sum->count = n;
    double mean = n == 0 ? 0 : sum->total / (double)n;
    for (uint64_t i = 0; i < n; i++)
        to[i] = (float)(from[i] - mean);
    return BATCHMILL_RESULT_OK;
}

static void centre_merge(const void *self, void *state, const void *update)
{
    struct sum *total = state;
    const struct sum *sum = update;
    (void)self;
    total->count += sum->count;
    total->total += sum->total;
}

static void centre_report(const void *self, const void *state, struct batchmill_number *ret_numbers)
{
    const struct centre *centre = self;
    const struct sum *sum = state;
    snprintf(ret_numbers[0].name, sizeof ret_numbers[0].name, "%s.count", centre->name);
    ret_numbers[0].integer = (int64_t)sum->count;
    snprintf(ret_numbers[1].name, sizeof ret_numbers[1].name, "%s.mean", centre->name);
    ret_numbers[1].real = true;
    ret_numbers[1].number = sum->count == 0 ? NAN : sum->total / (double)sum->count;
}

static const struct batchmill_action_type centre = {
    .size = sizeof centre,
    .name = "centre",
    .doc = "Takes the batch's mean away from every element of a float32 component; `run` tells the "
           "mean of all batches.",
    .flags = BATCHMILL_PER_BATCH | BATCHMILL_IN_PLACE,
    .nparams = 1,
    .params = centre_params,
    .open = centre_open,
    .close = free,
    .run = centre_run,
    .variable_size = sizeof(struct sum),
    .merge = centre_merge,
    .nnumbers = 2,
    .report = centre_report,
};

// ---- waves: a source ----

struct waves {
    int wave, label;
    uint64_t length;
};

static const struct batchmill_param waves_params[] = {
    {.name = "n",
     .doc = "how many items",
     .kind = BATCHMILL_PARAM_INTEGER,
     .fallback = "1000",
     .min = 0,
     .max = 1e12},
    {.name = "length",
     .doc = "of each wave",
     .kind = BATCHMILL_PARAM_INTEGER,
     .fallback = "32",
     .min = 1,
     .max = 1e6},
};

static const char *const labels[] = {"saw tooth", "square"};

static bool waves_open(struct batchmill_setup *setup, void **ret_self)
{
    struct waves *waves = malloc(sizeof *waves);
    if (waves == NULL)
        return batchmill_refuse(setup, "out of memory");
    uint64_t n = (uint64_t)batchmill_param_integer(setup, "n", 0);
    waves->length = (uint64_t)batchmill_param_integer(setup, "length", 0);
    const struct batchmill_component wave = {
        .name = "wave", .dtype = BATCHMILL_FLOAT32, .ndim = 1, .shape = &waves->length};
    const struct batchmill_component label = {.name = "label", .dtype = BATCHMILL_INT64};
    waves->wave = batchmill_write(setup, &wave, -1);
    waves->label = batchmill_write(setup, &label, -1);
    batchmill_names(setup, waves->label, labels, 2);
    batchmill_items(setup, n, "waves of version 1", 18); // the data are these, wherever they are
    *ret_self = waves;
    return true;
}

static enum batchmill_result waves_read(struct batchmill_call *call)
{
    const struct waves *waves = call->self;
    for (uint64_t i = 0; i < call->nitems; i++) {
        uint64_t n, item = call->items[i], period = 4 + item % 13;
        float *wave = batchmill_output(call, waves->wave, i, 1, &n);
        int64_t label = (int64_t)(item % 2);
        for (uint64_t k = 0; k < n; k++) {
            float phase = (float)((k + item) % period) / (float)period;
            wave[k] = label == 0 ? 2 * phase - 1 : phase < 0.5f ? 1 : -1;
        }
        int64_t *to = batchmill_output(call, waves->label, i, 1, &n);
        if (n == 1)
            *to = label;
    }
    return BATCHMILL_RESULT_OK;
}

static const struct batchmill_source_type waves = {
    .size = sizeof waves,
    .name = "waves",
    .doc = "Saw teeth (label 0) and squares (label 1) of several periods, as float32.",
    .nparams = 2,
    .params = waves_params,
    .open = waves_open,
    .close = free,
    .read = waves_read,
};

// ---- The plug-in ----

static const struct batchmill_action_type *const actions[] = {&jitter, &centre, NULL};
static const struct batchmill_source_type *const sources[] = {&waves, NULL};
static const struct batchmill_plugin plugin = {
    BATCHMILL_PLUGIN_HEAD, .name = "example",  .version = "1.0",
    .actions = actions,    .sources = sources,
};

const struct batchmill_plugin *batchmill_plugin(unsigned abi)
{
    return abi >= BATCHMILL_PLUGIN_ABI ? &plugin : NULL;
}
