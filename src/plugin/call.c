// call.c -- what a plug-in sees and does in a call for a batch.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"
#include "plugin/internal.h"

_Static_assert((int)BATCHMILL_RESULT_OK == BM_RESULT_OK &&
                   (int)BATCHMILL_RESULT_SKIP == BM_RESULT_SKIP &&
                   (int)BATCHMILL_RESULT_END == BM_RESULT_END &&
                   (int)BATCHMILL_RESULT_FAIL == BM_RESULT_FAIL &&
                   (int)BATCHMILL_RESULT_PENDING == BM_RESULT_PENDING,
               "results have the engine's numbers");
_Static_assert(sizeof(struct bm_random) <= sizeof((struct batchmill_random){0}.state),
               "a generator fits");

struct call {
    struct batchmill_call given; // first
    const struct bm_batch *in;   // NULL in read()
    struct bm_batch *out;
    const bool *writes;         // which components of `out`; NULL: all
    unsigned flags;             // of the type
    const struct bm_call *call; // of the engine, NULL in read()
    struct bm_error *error;
    int64_t failed_item; // or -1
    bool failed, slept;
    struct bm_deferred *deferred; // or NULL
    struct bm_call lasting;       // of a deferred one, whose `call` it is
};

static struct call *call_of(struct batchmill_call *given)
{
    return (struct call *)(void *)given;
}

// The first failure counts.
static void call_record(struct call *call, int64_t item, enum bm_status status, const char *text)
{
    if (call->failed)
        return;
    bm_fail(call->error, status, NULL, "%s", text); // the engine adds the place
    call->failed_item = item >= 0 && (uint64_t)item < call->given.nitems ? item : -1;
    call->failed = true;
}

static void call_misuse(struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void call_misuse(struct call *call, const char *format, ...)
{
    char text[BM_ERROR_TEXT_MAX];
    int length = snprintf(text, sizeof text, "a bug in the plug-in: ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    va_end(arguments);
    call_record(call, -1, BM_INTERNAL, text);
}

// ---- Memory ----

// Whether the rows are of the call and the batch has such a component.
static bool call_check(struct call *call, const struct bm_batch *batch, int component,
                       uint64_t first, uint64_t count)
{
    uint64_t begin = call->given.first, end = begin + call->given.count;
    if (component < 0 || (unsigned)component >= batch->schema->ncomponents)
        call_misuse(call, "it wants component %d of %u", component, batch->schema->ncomponents);
    else if (first < begin || first > end || count > end - first)
        call_misuse(call, "it wants %llu items from %llu on, but was called for %llu from %llu on",
                    (unsigned long long)count, (unsigned long long)first,
                    (unsigned long long)call->given.count, (unsigned long long)begin);
    else
        return true;
    return false;
}

static const void *call_input(struct batchmill_call *given, int component, uint64_t first,
                              uint64_t count, uint64_t *ret_elements)
{
    struct call *call = call_of(given);
    *ret_elements = 0;
    if (call->in == NULL) {
        call_misuse(call, "nothing comes into a source");
        return NULL;
    }
    if (!call_check(call, call->in, component, first, count))
        return NULL;
    return bm_batch_rows(call->in, (unsigned)component, first, count, ret_elements);
}

static bool call_check_written(struct call *call, int component, uint64_t first, uint64_t count)
{
    if (!call_check(call, call->out, component, first, count))
        return false;
    if (call->writes != NULL && !call->writes[component])
        call_misuse(call, "it writes %s, which it said that it keeps",
                    call->out->schema->components[component].name);
    return !call->failed;
}

static void *call_output(struct batchmill_call *given, int component, uint64_t first,
                         uint64_t count, uint64_t *ret_elements)
{
    struct call *call = call_of(given);
    *ret_elements = 0;
    if (!call_check_written(call, component, first, count))
        return NULL;
    const struct bm_component *after = &call->out->schema->components[component];
    if (after->ragged && call->out->tensors[component].offsets == NULL) {
        call_misuse(call, "it writes %s without having called batchmill_lengths()", after->name);
        return NULL;
    }
    return bm_batch_rows(call->out, (unsigned)component, first, count, ret_elements);
}

static const uint64_t *call_offsets(struct batchmill_call *given, int component)
{
    struct call *call = call_of(given);
    if (call->in == NULL || !call_check(call, call->in, component, given->first, 0))
        return NULL;
    return call->in->tensors[component].offsets;
}

static bool call_lengths(struct batchmill_call *given, int component, const uint64_t *lengths)
{
    struct call *call = call_of(given);
    if (!call_check_written(call, component, given->first, 0))
        return false;
    const struct bm_component *after = &call->out->schema->components[component];
    if (!after->ragged || call->out->tensors[component].offsets != NULL) {
        call_misuse(call, "it gives lengths to %s, which has its own", after->name);
        return false;
    }
    struct bm_error error = {.status = BM_RESOURCE_EXHAUSTED, .text = "out of memory"};
    struct bm_block *block = bm_block_new((given->nitems + 1) * sizeof(uint64_t));
    enum bm_status status = block == NULL ? error.status : BM_OK;
    uint64_t *offsets = block == NULL ? NULL : bm_block_data(block);
    if (status == BM_OK)
        offsets[0] = 0;
    for (uint64_t i = 0; i < given->nitems && status == BM_OK; i++) {
        if (!bm_size_add(offsets[i], lengths[i], &offsets[i + 1]))
            status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "%s: more rows than can be",
                             after->name);
    }
    if (status == BM_OK)
        status = bm_batch_alloc_ragged(call->out, (unsigned)component, block, &error);
    bm_block_unref(block);
    if (status != BM_OK)
        call_record(call, -1, status, error.text);
    return status == BM_OK;
}

// ---- Ending ----

static enum batchmill_result call_fail(struct batchmill_call *given, int64_t item, const char *text)
{
    char clean[BM_ERROR_TEXT_MAX];
    plugin_text_copy(text, clean, sizeof clean);
    call_record(call_of(given), item, BM_UNKNOWN, clean);
    return BATCHMILL_RESULT_FAIL;
}

static void call_drop(struct batchmill_call *given, uint64_t item)
{
    struct call *call = call_of(given);
    if (item < given->first || item >= given->first + given->count)
        call_misuse(call, "it leaves out item %llu, which is not of the call",
                    (unsigned long long)item);
    else if ((call->flags & BATCHMILL_DROPS) == 0)
        call_misuse(call, "it leaves out an item without BATCHMILL_DROPS");
    else
        bm_call_drop((struct bm_call *)call->call, item);
}

static bool call_may_wait(struct call *call)
{
    if (call->call == NULL || (call->flags & BATCHMILL_WAITS) == 0)
        call_misuse(call, "it waits without BATCHMILL_WAITS");
    else if (call->slept || call->deferred != NULL)
        call_misuse(call, "it waits twice");
    return !call->failed;
}

static enum batchmill_result call_sleep(struct batchmill_call *given, uint64_t ns)
{
    struct call *call = call_of(given);
    if (!call_may_wait(call))
        return BATCHMILL_RESULT_FAIL;
    call->slept = true;
    return (enum batchmill_result)bm_call_sleep((struct bm_call *)call->call, ns);
}

static struct batchmill_call *call_defer(struct batchmill_call *given)
{
    struct call *call = call_of(given);
    if (!call_may_wait(call))
        return NULL;
    struct call *lasting = malloc(sizeof *lasting);
    if (lasting == NULL) {
        call_record(call, -1, BM_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    *lasting = *call;
    lasting->lasting = *call->call;
    lasting->call = &lasting->lasting;
    call->deferred = lasting->deferred = bm_call_defer(&lasting->lasting);
    return &lasting->given;
}

// What the engine is told; a failure that was not returned counts, too.
static enum bm_result call_end(struct call *call, enum batchmill_result result)
{
    if ((unsigned)result > BATCHMILL_RESULT_PENDING)
        call_misuse(call, "it returned %d, which is no result", (int)result);
    if (result == BATCHMILL_RESULT_PENDING)
        call_misuse(call, "it is pending, but nothing will end it");
    return call->failed ? BM_RESULT_FAIL : (enum bm_result)result;
}

static void call_finish(struct batchmill_call *given, enum batchmill_result result)
{
    struct call *call = call_of(given);
    struct bm_deferred *deferred = call->deferred;
    enum bm_result ended = call_end(call, result);
    if (ended == BM_RESULT_FAIL && call->lasting.late_row != NULL)
        *call->lasting.late_row = call->failed_item;
    free(call);
    bm_deferred_finish(deferred, ended);
}

// ---- Random numbers ----

static struct bm_random *random_of(struct batchmill_random *given)
{
    return (struct bm_random *)(void *)given->state;
}

static void call_random(struct batchmill_call *given, uint64_t item,
                        struct batchmill_random *ret_random)
{
    struct call *call = call_of(given);
    memset(ret_random, 0, sizeof *ret_random);
    ret_random->host = given->host;
    if ((call->flags & BATCHMILL_RANDOM) == 0 || item >= given->nitems) {
        call_misuse(call, (call->flags & BATCHMILL_RANDOM) == 0
                              ? "it draws random numbers without BATCHMILL_RANDOM"
                              : "it draws random numbers for an item beyond the batch");
        bm_random_init(random_of(ret_random), 0, 0, 0, 0);
        return;
    }
    bm_call_random(call->call, item, random_of(ret_random));
}

static uint64_t random_u64(struct batchmill_random *given)
{
    return bm_random_u64(random_of(given));
}

static uint64_t random_below(struct batchmill_random *given, uint64_t bound)
{
    return bound == 0 ? 0 : bm_random_below(random_of(given), bound);
}

static double random_uniform(struct batchmill_random *given)
{
    return bm_random_uniform(random_of(given));
}

static double random_normal(struct batchmill_random *given)
{
    return bm_random_normal(random_of(given));
}

const struct batchmill_host plugin_host = {
    .size = sizeof plugin_host,
    .abi = BATCHMILL_PLUGIN_ABI,
    .version = BM_VERSION,
    .param_count = setup_param_count,
    .param_integer = setup_param_integer,
    .param_number = setup_param_number,
    .param_text = setup_param_text,
    .refuse = setup_refuse,
    .find = setup_find,
    .require = setup_require,
    .component = setup_component,
    .keep = setup_keep,
    .keep_all = setup_keep_all,
    .write = setup_write,
    .names = setup_names,
    .name = setup_name,
    .items = setup_items,
    .input = call_input,
    .output = call_output,
    .offsets = call_offsets,
    .lengths = call_lengths,
    .fail = call_fail,
    .drop = call_drop,
    .sleep = call_sleep,
    .defer = call_defer,
    .finish = call_finish,
    .random = call_random,
    .random_u64 = random_u64,
    .random_below = random_below,
    .random_uniform = random_uniform,
    .random_normal = random_normal,
};

// ---- The calls ----

enum bm_result plugin_run(struct bm_call *engine)
{
    const struct plugin_instance *instance = engine->plan;
    struct call call = {
        .given = {.host = &plugin_host,
                  .self = instance->self,
                  .first = engine->first,
                  .count = engine->count,
                  .nitems = engine->in->nitems,
                  .items = engine->in->items,
                  .epochs = engine->in->item_epochs,
                  .update = engine->update,
                  .stream = engine->stream,
                  .seq = engine->seq,
                  .attempt = engine->attempt,
                  .epoch = engine->epoch,
                  .seed = engine->seed,
                  .position = engine->position},
        .in = engine->in,
        .out = engine->out,
        .writes = instance->writes,
        .flags = instance->action->given.flags,
        .call = engine,
        .error = engine->error,
        .failed_item = -1,
    };
    enum batchmill_result result = instance->action->given.run(&call.given);
    if (call.deferred != NULL || (call.slept && result == BATCHMILL_RESULT_PENDING && !call.failed))
        return BM_RESULT_PENDING; // of a deferred one, the rest is batchmill_finish()'s
    enum bm_result ended = call_end(&call, result);
    engine->failed_row = call.failed_item;
    return ended;
}

enum bm_status plugin_read(const struct bm_source *source, struct bm_batch *batch, int64_t *ret_row,
                           struct bm_error *err)
{
    const struct plugin_data *data = (const struct plugin_data *)(const void *)source;
    struct bm_error error = {.status = BM_UNKNOWN, .text = "failed without saying why"};
    struct call call = {
        .given = {.host = &plugin_host,
                  .self = data->self,
                  .count = batch->nitems,
                  .nitems = batch->nitems,
                  .items = batch->items,
                  .epochs = batch->item_epochs},
        .out = batch,
        .error = &error,
        .failed_item = -1,
    };
    enum batchmill_result result = data->type->given.read(&call.given);
    if (result != BATCHMILL_RESULT_OK && result != BATCHMILL_RESULT_FAIL)
        call_misuse(&call, "it returned %d from read()", (int)result);
    if (result == BATCHMILL_RESULT_OK && !call.failed)
        return BM_OK;
    if (call.failed_item >= 0)
        *ret_row = call.failed_item;
    return bm_fail(err, error.status, NULL, "%s", error.text);
}
