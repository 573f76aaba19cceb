// sequence.c -- sequences: tokenise, pad_sequence, window.
//
// A sequence is an item's component along its first axis: of any length where it is ragged.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"
#include "base/size.h"

static uint64_t row_bytes(const struct bm_component *component) // of one step of a sequence
{
    uint64_t bytes = bm_component_item_bytes(component);
    bool counted = !component->ragged && component->ndim > 0 && component->shape[0] > 0;
    return counted ? bytes / component->shape[0] : bytes;
}

static uint64_t sequence_length(const struct bm_batch *batch, unsigned c, uint64_t row)
{
    const struct bm_component *component = &batch->schema->components[c];
    const uint64_t *offsets = batch->tensors[c].offsets;
    return component->ragged ? offsets[row + 1] - offsets[row] : component->shape[0];
}

// ---- tokenise ----

enum { KIND_BYTES, KIND_WORDS };

struct tokenise {
    char *component, *into;
    int kind;
    struct bm_texts vocabulary;
    struct bm_integers unknown;
};

static const struct bm_param tokenise_params[] = {
    BM_PARAM(struct tokenise, component, BM_PARAM_NAME, .required = true, .doc = "texts or bytes"),
    BM_PARAM(struct tokenise, kind, BM_PARAM_CHOICE, .fallback = "bytes",
             .choices = {[KIND_BYTES] = "bytes", [KIND_WORDS] = "words"},
             .doc = "a token for each byte, 0 to 255, or for each word between spaces, tabs and "
                    "ends of lines: its place in `vocabulary`"),
    BM_PARAM(struct tokenise, vocabulary, BM_PARAM_TEXTS, .doc = "the words, each once"),
    BM_PARAM(struct tokenise, unknown, BM_PARAM_INTEGERS, .min = INT32_MIN, .max = INT32_MAX,
             .doc = "one number: the token of other words; none: they fail their item"),
    BM_PARAM(struct tokenise, into, BM_PARAM_NAME,
             .doc = "name of the result, as a new component; none: it replaces the old one"),
};

struct tokenise_plan {
    unsigned in, out;
};

static enum bm_status tokenise_check(const struct tokenise *tokenise, const struct bm_infer *infer,
                                     const struct bm_component *component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    bool words = tokenise->kind == KIND_WORDS;
    if (!bm_dtype_is_text(component->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "component", text),
                       "expected texts or bytes, got %s of %s", component->name,
                       bm_dtype_name(component->dtype));
    if (words != (tokenise->vocabulary.n > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "vocabulary", text),
                       "expected %s, got %s", words ? "words" : "none for bytes",
                       words ? "none" : "words");
    if (tokenise->unknown.n > (words ? 1u : 0u))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "unknown", text),
                       "expected %s, got %u", words ? "one number" : "none for bytes",
                       tokenise->unknown.n);
    return BM_OK;
}

static enum bm_status words_read(const struct tokenise *tokenise, const struct bm_infer *infer,
                                 struct bm_vocabulary *vocabulary, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, "vocabulary", text);
    for (unsigned i = 0; i < tokenise->vocabulary.n; i++) {
        const char *word = tokenise->vocabulary.values[i];
        uint64_t index;
        if (*word == '\0' || strpbrk(word, " \t\n\v\f\r") != NULL)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected words without spaces, got \"%.60s\"", word);
        enum bm_status status = bm_vocabulary_add(vocabulary, word, strlen(word), &index, err);
        if (status != BM_OK)
            return status;
        if (index != i)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected each word once, got %.60s twice", word);
    }
    return BM_OK;
}

static enum bm_status tokenise_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                     struct bm_error *err)
{
    const struct tokenise *tokenise = config;
    struct tokenise_plan plan;
    struct bm_component component = {.dtype = BM_INT32, .ragged = true, .ndim = 1};
    bool words = tokenise->kind == KIND_WORDS;
    enum bm_status status =
        bm_target_find(infer, "component", tokenise->component, BM_WANT_ANY, &plan.in, err);
    if (status == BM_OK)
        status = tokenise_check(tokenise, infer, &infer->in->components[plan.in], err);
    if (status == BM_OK && words)
        status = bm_vocabulary_new(&component.vocabulary, err);
    if (status != BM_OK)
        return status;
    if (words) // as many as there are: known when they are counted
        infer->form = BM_PER_BATCH;
    status = words_read(tokenise, infer, component.vocabulary, err);
    if (status == BM_OK)
        status = bm_target_write(infer, plan.in, tokenise->into, &component, words, &plan.out, err);
    bm_vocabulary_unref(component.vocabulary); // the schema has it now
    return status == BM_OK ? bm_plan_copy(infer, &plan, sizeof plan, ret_plan, err) : status;
}

struct words { // of one text
    const unsigned char *at, *end;
    size_t length; // of the word at `at`
};

static bool is_space(unsigned char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static struct words words_of(const struct bm_batch *batch, unsigned c, uint64_t row)
{
    uint64_t n;
    const unsigned char *at = bm_batch_rows(batch, c, row, 1, &n);
    return (struct words){.at = at, .end = n == 0 ? at : at + n};
}

static bool words_next(struct words *words)
{
    const unsigned char *at = words->length == 0 ? words->at : words->at + words->length;
    while (at != words->end && is_space(*at))
        at++;
    words->at = at;
    while (at != words->end && !is_space(*at))
        at++;
    words->length = at == words->at ? 0 : (size_t)(at - words->at);
    return words->length > 0;
}

static enum bm_status words_alloc(const struct bm_call *call, const struct tokenise_plan *plan)
{
    struct bm_block *block = bm_block_new((call->count + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *offsets = bm_block_data(block), n = 0;
    for (uint64_t row = 0; row < call->count; row++) {
        offsets[row] = n;
        for (struct words words = words_of(call->in, plan->in, row); words_next(&words);)
            n++;
    }
    offsets[call->count] = n;
    enum bm_status status = bm_batch_alloc_ragged(call->out, plan->out, block, call->error);
    bm_block_unref(block);
    return status;
}

static enum bm_result tokenise_words(struct bm_call *call)
{
    const struct tokenise *tokenise = call->config;
    const struct tokenise_plan *plan = call->plan;
    const struct bm_vocabulary *vocabulary = call->out->schema->components[plan->out].vocabulary;
    if (words_alloc(call, plan) != BM_OK)
        return BM_RESULT_FAIL;
    int32_t *to = (int32_t *)(void *)call->out->tensors[plan->out].data;
    for (uint64_t row = 0; row < call->count; row++) {
        for (struct words words = words_of(call->in, plan->in, row); words_next(&words); to++) {
            int64_t token = bm_vocabulary_find(vocabulary, (const char *)words.at, words.length);
            if (token < 0 && tokenise->unknown.n == 0)
                return bm_call_fail(call, (int64_t)row, BM_OUT_OF_RANGE,
                                    "expected words of the vocabulary, got \"%.*s\"",
                                    (int)(words.length < 60 ? words.length : 60),
                                    (const char *)words.at);
            *to = (int32_t)(token < 0 ? tokenise->unknown.values[0] : token);
        }
    }
    return BM_RESULT_OK;
}

static enum bm_result tokenise_run(struct bm_call *call)
{
    const struct tokenise *tokenise = call->config;
    const struct tokenise_plan *plan = call->plan;
    if (tokenise->kind == KIND_WORDS)
        return tokenise_words(call);
    uint64_t n;
    const unsigned char *from = bm_batch_rows(call->in, plan->in, call->first, call->count, &n);
    int32_t *to =
        (int32_t *)(void *)bm_batch_rows(call->out, plan->out, call->first, call->count, &n);
    for (uint64_t i = 0; i < n; i++)
        to[i] = from[i];
    return BM_RESULT_OK;
}

const struct bm_action_type bm_tokenise_action = {
    .name = "tokenise",
    .doc = "Texts become sequences of int32 tokens, each as long as its text has bytes or words.",
    .form = BM_PER_ITEM,
    .alone = true,
    .params = tokenise_params,
    .nparams = sizeof tokenise_params / sizeof tokenise_params[0],
    .config_bytes = sizeof(struct tokenise),
    .infer = tokenise_infer,
    .run = tokenise_run,
};

// ---- pad_sequence ----

#define MASK_SUFFIX ".mask"

enum { LONGER_FAIL, LONGER_CUT };

struct pad_sequence {
    char *component;
    int64_t length, multiple;
    bool longest;
    double value;
    int longer;
    bool mask;
};

static const struct bm_param pad_sequence_params[] = {
    BM_PARAM(struct pad_sequence, component, BM_PARAM_NAME, .required = true,
             .doc = "numbers whose items differ in length"),
    BM_PARAM(struct pad_sequence, length, BM_PARAM_INTEGER, .min = 1, .max = 0x1p32,
             .doc = "that all items get; with `longest`: that they get at most"),
    BM_PARAM(struct pad_sequence, longest, BM_PARAM_BOOL, .fallback = "false",
             .doc = "items get the length of the longest one in their batch. The component stays "
                    "one of varying lengths, as they vary from batch to batch, but a batch's "
                    "values are an array of [items, longest]"),
    BM_PARAM(struct pad_sequence, multiple, BM_PARAM_INTEGER, .fallback = "1", .min = 1,
             .max = 0x1p20, .doc = "with `longest`: rounded up to a multiple of this"),
    BM_PARAM(struct pad_sequence, value, BM_PARAM_FLOAT, .fallback = "0",
             .doc = "what follows the end of shorter ones"),
    BM_PARAM(struct pad_sequence, longer, BM_PARAM_CHOICE, .fallback = "fail",
             .choices = {[LONGER_FAIL] = "fail", [LONGER_CUT] = "cut"},
             .doc = "what becomes of those longer than `length`: an error, or their beginning"),
    BM_PARAM(struct pad_sequence, mask, BM_PARAM_BOOL, .fallback = "false",
             .doc = "add a bool component x" MASK_SUFFIX
                    " of the same lengths: true where there was something"),
};

struct pad_plan {
    unsigned in, out;
    int mask; // in the schema after it, or -1
    size_t element_bytes;
    unsigned char value[sizeof(uint64_t)];
};

static enum bm_status pad_check(const struct pad_sequence *pad, const struct bm_infer *infer,
                                const struct bm_component *component, struct pad_plan *plan,
                                struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (!component->ragged)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "component", text),
                       "expected a component whose items differ in length, but those of %s do not",
                       component->name);
    if (pad->length == 0 && !pad->longest)
        return bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                       "expected \"length\" or \"longest: true\", got neither");
    if (pad->multiple > 1 && !pad->longest)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "multiple", text),
                       "expected \"longest: true\" with it");
    if (pad->longer == LONGER_CUT && pad->length == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "longer", text),
                       "expected \"length\" with it, where they are cut");
    plan->element_bytes = bm_dtype_size(component->dtype);
    bm_dtype_put(component->dtype, plan->value, 0, pad->value);
    if (!bm_dtype_is_float(component->dtype) &&
        bm_dtype_get(component->dtype, plan->value, 0) != pad->value)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "value", text),
                       "expected a value that %s has, got %.15g", bm_dtype_name(component->dtype),
                       pad->value);
    return BM_OK;
}

// `padded` is the component that it goes with.
static enum bm_status pad_write_mask(const struct pad_sequence *pad, struct bm_infer *infer,
                                     const struct bm_component *padded, struct pad_plan *plan,
                                     struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, "mask", text);
    struct bm_component mask = {
        .dtype = BM_BOOL, .ndim = 1, .ragged = padded->ragged, .shape = {padded->shape[0]}};
    if (strlen(pad->component) + strlen(MASK_SUFFIX) > BM_NAME_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a component's name of at most %zu bytes, got %s",
                       BM_NAME_MAX - strlen(MASK_SUFFIX), pad->component);
    snprintf(mask.name, sizeof mask.name, "%.*s%s", (int)(BM_NAME_MAX - strlen(MASK_SUFFIX)),
             pad->component, MASK_SUFFIX);
    if (bm_schema_find(infer->in, mask.name) >= 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected no component %s yet", mask.name);
    unsigned index;
    enum bm_status status = bm_infer_write(infer, &mask, -1, &index, err);
    if (status == BM_OK)
        plan->mask = (int)index;
    return status;
}

static enum bm_status pad_sequence_infer(const void *config, struct bm_infer *infer,
                                         void **ret_plan, struct bm_error *err)
{
    const struct pad_sequence *pad = config;
    struct pad_plan plan = {.mask = -1};
    enum bm_status status =
        bm_target_find(infer, "component", pad->component, BM_WANT_NUMBER, &plan.in, err);
    if (status == BM_OK)
        status = pad_check(pad, infer, &infer->in->components[plan.in], &plan, err);
    if (status != BM_OK)
        return status;
    struct bm_component component = infer->in->components[plan.in];
    if (pad->longest) { // as long as the batch says
        infer->form = BM_PER_BATCH;
    } else {
        component.ragged = false;
        component.shape[0] = (uint64_t)pad->length;
    }
    status = bm_target_write(infer, plan.in, NULL, &component, pad->longest, &plan.out, err);
    if (status == BM_OK && pad->mask)
        status = pad_write_mask(pad, infer, &component, &plan, err);
    return status == BM_OK ? bm_plan_copy(infer, &plan, sizeof plan, ret_plan, err) : status;
}

// The length that all items of the batch get.
static uint64_t pad_length(const struct bm_call *call, const struct pad_sequence *pad,
                           const struct pad_plan *plan)
{
    uint64_t longest = 0, bound = pad->length == 0 ? UINT64_MAX : (uint64_t)pad->length;
    if (!pad->longest)
        return bound;
    for (uint64_t row = 0; row < call->count; row++) {
        uint64_t length = sequence_length(call->in, plan->in, row);
        longest = length > longest ? length : longest;
    }
    const uint64_t multiple = (uint64_t)pad->multiple;
    longest = (longest + multiple - 1) / multiple * multiple;
    return longest < bound ? longest : bound;
}

static enum bm_status pad_alloc(const struct bm_call *call, const struct pad_plan *plan,
                                uint64_t length)
{
    struct bm_block *block = bm_block_new((call->count + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *offsets = bm_block_data(block);
    for (uint64_t row = 0; row <= call->count; row++)
        offsets[row] = row * length;
    enum bm_status status = bm_batch_alloc_ragged(call->out, plan->out, block, call->error);
    if (status == BM_OK && plan->mask >= 0)
        status = bm_batch_alloc_ragged(call->out, (unsigned)plan->mask, block, call->error);
    bm_block_unref(block);
    return status;
}

static enum bm_result pad_sequence_run(struct bm_call *call)
{
    const struct pad_sequence *pad = call->config;
    const struct pad_plan *plan = call->plan;
    const uint64_t length = pad_length(call, pad, plan);
    uint64_t step_bytes = row_bytes(&call->in->schema->components[plan->in]), n, all;
    if (pad->longest && pad_alloc(call, plan, length) != BM_OK)
        return BM_RESULT_FAIL;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        uint64_t have = sequence_length(call->in, plan->in, row);
        if (have > length && pad->longer == LONGER_FAIL)
            return bm_call_fail(call, (int64_t)row, BM_OUT_OF_RANGE,
                                "expected %s of at most %llu, got %llu", pad->component,
                                (unsigned long long)length, (unsigned long long)have);
        have = have < length ? have : length;
        const unsigned char *from = bm_batch_rows(call->in, plan->in, row, 1, &n);
        unsigned char *to = bm_batch_rows(call->out, plan->out, row, 1, &all);
        if (have * step_bytes > 0)
            memcpy(to, from, have * step_bytes);
        for (uint64_t at = have * step_bytes; at < length * step_bytes; at += plan->element_bytes)
            memcpy(to + at, plan->value, plan->element_bytes);
        if (plan->mask >= 0 && length > 0) {
            unsigned char *mask = bm_batch_rows(call->out, (unsigned)plan->mask, row, 1, &n);
            memset(mask, true, have);
            memset(mask + have, false, length - have);
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_pad_sequence_action = {
    .name = "pad_sequence",
    .doc = "Sequences that differ in length get one length, so that a batch is one array.",
    .form = BM_PER_ITEM,
    .params = pad_sequence_params,
    .nparams = sizeof pad_sequence_params / sizeof pad_sequence_params[0],
    .config_bytes = sizeof(struct pad_sequence),
    .infer = pad_sequence_infer,
    .run = pad_sequence_run,
};

// ---- window ----

struct window {
    char *component, *into;
    int64_t length, stride;
};

static const struct bm_param window_params[] = {
    BM_PARAM(struct window, component, BM_PARAM_NAME, .required = true,
             .doc = "numbers with at least one axis"),
    BM_PARAM(struct window, length, BM_PARAM_INTEGER, .required = true, .min = 1, .max = 0x1p32,
             .doc = "of a window"),
    BM_PARAM(struct window, stride, BM_PARAM_INTEGER, .fallback = "1", .min = 1, .max = 0x1p32,
             .doc = "from the start of one window to that of the next"),
    BM_PARAM(struct window, into, BM_PARAM_NAME,
             .doc = "name of the result, as a new component; none: it replaces the old one"),
};

struct window_plan {
    unsigned in, out;
};

// How many whole windows there are.
static uint64_t window_count(const struct window *config, uint64_t have)
{
    uint64_t length = (uint64_t)config->length, stride = (uint64_t)config->stride;
    return have < length ? 0 : (have - length) / stride + 1;
}

static enum bm_status window_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct window *window = config;
    char text[BM_ERROR_WHERE_MAX];
    struct window_plan plan;
    enum bm_status status =
        bm_target_find(infer, "component", window->component, BM_WANT_NUMBER, &plan.in, err);
    if (status != BM_OK)
        return status;
    const struct bm_component *before = &infer->in->components[plan.in];
    const char *where = bm_params_where(infer->where, "component", text);
    if (before->ndim == 0 || before->ndim == BM_NDIM_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a component of 1 to %d axes, got %s of %u", BM_NDIM_MAX - 1,
                       before->name, before->ndim);
    struct bm_component component = *before;
    component.ndim++;
    for (unsigned axis = 1; axis < before->ndim; axis++)
        component.shape[axis + 1] = before->shape[axis];
    component.shape[1] = (uint64_t)window->length;
    if (!before->ragged) {
        component.shape[0] = window_count(window, before->shape[0]);
        if (component.shape[0] == 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "length", text),
                           "expected at most %llu, as %s has, got %lld",
                           (unsigned long long)before->shape[0], before->name,
                           (long long)window->length);
    } else { // as many as there are: known when they are counted
        infer->form = BM_PER_BATCH;
    }
    status = bm_target_write(infer, plan.in, window->into, &component, true, &plan.out, err);
    return status == BM_OK ? bm_plan_copy(infer, &plan, sizeof plan, ret_plan, err) : status;
}

static enum bm_status window_alloc(const struct bm_call *call, const struct window_plan *plan)
{
    struct bm_block *block = bm_block_new((call->count + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < call->count; row++)
        offsets[row + 1] =
            offsets[row] + window_count(call->config, sequence_length(call->in, plan->in, row));
    enum bm_status status = bm_batch_alloc_ragged(call->out, plan->out, block, call->error);
    bm_block_unref(block);
    return status;
}

static enum bm_result window_run(struct bm_call *call)
{
    const struct window *window = call->config;
    const struct window_plan *plan = call->plan;
    uint64_t step_bytes = row_bytes(&call->in->schema->components[plan->in]), n;
    uint64_t window_bytes = (uint64_t)window->length * step_bytes;
    if (call->out->schema->components[plan->out].ragged && window_alloc(call, plan) != BM_OK)
        return BM_RESULT_FAIL;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        uint64_t count = window_count(window, sequence_length(call->in, plan->in, row));
        const unsigned char *from = bm_batch_rows(call->in, plan->in, row, 1, &n);
        unsigned char *to = bm_batch_rows(call->out, plan->out, row, 1, &n);
        for (uint64_t i = 0; i < count && window_bytes > 0; i++)
            memcpy(to + i * window_bytes, from + i * (uint64_t)window->stride * step_bytes,
                   window_bytes);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_window_action = {
    .name = "window",
    .doc = "Sequences of n become the windows of `length` that they have, each `stride` behind the "
           "one before: [windows, length, ...]. What is left at the end is left out.",
    .form = BM_PER_ITEM,
    .alone = true,
    .params = window_params,
    .nparams = sizeof window_params / sizeof window_params[0],
    .config_bytes = sizeof(struct window),
    .infer = window_infer,
    .run = window_run,
};
