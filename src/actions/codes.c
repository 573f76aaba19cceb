// codes.c -- numbers and texts become whole numbers: bucketise, hash, lookup.
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"
#include "actions/value_set.h"
#include "base/hash.h"

// ---- bucketise ----

struct bucketise {
    struct bm_texts components;
    struct bm_floats boundaries;
    bool right;
};

static const struct bm_param bucketise_params[] = {
    BM_PARAM_COMPONENTS(struct bucketise, "the components of numbers to change: a name or a list"),
    BM_PARAM(struct bucketise, boundaries, BM_PARAM_FLOATS, .required = true,
             .doc = "numbers that rise: n of them make buckets 0 to n"),
    BM_PARAM(struct bucketise, right, BM_PARAM_BOOL, .fallback = "false",
             .doc = "a boundary itself belongs to the bucket below it, instead of that above"),
};

static enum bm_status bucketise_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                      struct bm_error *err)
{
    const struct bucketise *bucketise = config;
    const struct bm_floats *boundaries = &bucketise->boundaries;
    char text[BM_ERROR_WHERE_MAX];
    for (unsigned i = 0; i < boundaries->n; i++) {
        if (i > 0 && !(boundaries->values[i] > boundaries->values[i - 1]))
            return bm_fail(err, BM_INVALID_ARGUMENT,
                           bm_params_where(infer->where, "boundaries", text),
                           "expected numbers that rise, got %.15g behind %.15g",
                           boundaries->values[i], boundaries->values[i - 1]);
    }
    struct bm_targets *targets = NULL;
    enum bm_status status =
        bm_targets_find(infer, &bucketise->components, BM_WANT_REAL, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        unsigned c = targets->components[i], index;
        struct bm_component component = infer->in->components[c];
        component.dtype = BM_INT64;
        component.vocabulary = NULL;
        status = bm_infer_write(infer, &component, (int)c, &index, err);
    }
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

// How many boundaries are below the value; NaN is above all, as in NumPy.
static int64_t bucket_of(const struct bucketise *config, double value)
{
    const double *boundaries = config->boundaries.values;
    unsigned low = 0, high = config->boundaries.n;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (config->right ? value <= boundaries[middle] : value < boundaries[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static enum bm_result bucketise_run(struct bm_call *call)
{
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        enum bm_dtype dtype = call->in->schema->components[c].dtype;
        uint64_t n;
        const void *from = bm_batch_rows(call->in, c, call->first, call->count, &n);
        int64_t *to = (int64_t *)(void *)bm_batch_rows(call->out, c, call->first, call->count, &n);
        for (uint64_t k = 0; k < n; k++)
            to[k] = bucket_of(call->config, bm_dtype_get(dtype, from, k));
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_bucketise_action = {
    .name = "bucketise",
    .doc = "Every number becomes the number of the bucket that it lies in, as int64: 0 below the "
           "first boundary, 1 from there to the second, and so on; NaN lies in the last.",
    .form = BM_PER_ITEM,
    .params = bucketise_params,
    .nparams = sizeof bucketise_params / sizeof bucketise_params[0],
    .config_bytes = sizeof(struct bucketise),
    .infer = bucketise_infer,
    .run = bucketise_run,
};

// ---- hash ----

struct hash {
    char *component, *into;
    int64_t buckets, seed;
};

static const struct bm_param hash_params[] = {
    BM_PARAM(struct hash, component, BM_PARAM_NAME, .required = true,
             .doc = "texts, bytes, integers or bools"),
    BM_PARAM(struct hash, buckets, BM_PARAM_INTEGER, .required = true, .min = 1, .max = 0x1p53,
             .doc = "how many there are"),
    BM_PARAM(struct hash, seed, BM_PARAM_INTEGER, .fallback = "0",
             .doc = "another one gives another assignment"),
    BM_PARAM(struct hash, into, BM_PARAM_NAME,
             .doc = "name of the result, as a new component; none: it replaces the old one"),
};

struct hash_plan {
    unsigned in, out;
};

static enum bm_status hash_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct hash *hash = config;
    struct hash_plan plan;
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status =
        bm_target_find(infer, "component", hash->component, BM_WANT_ANY, &plan.in, err);
    if (status != BM_OK)
        return status;
    struct bm_component component = infer->in->components[plan.in];
    if (bm_dtype_is_float(component.dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "component", text),
                       "expected texts, bytes, integers or bools, got %s of %s: bucketise floats",
                       component.name, bm_dtype_name(component.dtype));
    if (bm_dtype_is_text(component.dtype))
        component.ragged = false; // one number for each text
    component.dtype = BM_INT64;
    component.vocabulary = NULL;
    status = bm_target_write(infer, plan.in, hash->into, &component, false, &plan.out, err);
    return status == BM_OK ? bm_plan_copy(infer, &plan, sizeof plan, ret_plan, err) : status;
}

static int64_t hash_bucket(const struct hash *config, const void *data, size_t size)
{
    uint64_t hash = bm_hash_bytes(data, size);
    if (config->seed != 0)
        hash = bm_mix64(hash ^ bm_mix64((uint64_t)config->seed));
    return (int64_t)(hash % (uint64_t)config->buckets);
}

static enum bm_result hash_run(struct bm_call *call)
{
    const struct hash_plan *plan = call->plan;
    enum bm_dtype dtype = call->in->schema->components[plan->in].dtype;
    size_t size = bm_dtype_size(dtype);
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        uint64_t n, nout;
        const unsigned char *from = bm_batch_rows(call->in, plan->in, row, 1, &n);
        int64_t *to = (int64_t *)(void *)bm_batch_rows(call->out, plan->out, row, 1, &nout);
        if (bm_dtype_is_text(dtype)) {
            *to = hash_bucket(call->config, from, (size_t)n);
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            int64_t value; // a number has one hash, whatever its dtype
            if (dtype == BM_UINT64)
                memcpy(&value, from + i * size, sizeof value);
            else
                bm_dtype_convert(BM_INT64, &value, dtype, from + i * size, 1);
            to[i] = hash_bucket(call->config, &value, sizeof value);
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_hash_action = {
    .name = "hash",
    .doc = "Every text becomes a number from 0 to buckets - 1, as int64: XXH3 (64 bits) of its "
           "bytes, modulo buckets. Integers and bools count as the 8 bytes of an int64.",
    .form = BM_PER_ITEM,
    .params = hash_params,
    .nparams = sizeof hash_params / sizeof hash_params[0],
    .config_bytes = sizeof(struct hash),
    .infer = hash_infer,
    .run = hash_run,
};

// ---- lookup ----

struct lookup {
    char *component, *into;
    struct bm_texts keys;
    struct bm_floats values, fallback; // of `fallback` one, so that absence shows
    enum bm_dtype dtype;
};

static const struct bm_param lookup_params[] = {
    BM_PARAM(struct lookup, component, BM_PARAM_NAME, .required = true,
             .doc = "one text, integer, bool or float per item"),
    BM_PARAM(struct lookup, keys, BM_PARAM_TEXTS, .required = true,
             .doc = "what it may be: a list, each once; also names of its vocabulary"),
    BM_PARAM(struct lookup, values, BM_PARAM_FLOATS,
             .doc = "what each key becomes: as many numbers; none: 0, 1, 2, ..."),
    {.name = "default",
     .kind = BM_PARAM_FLOATS,
     .offset = offsetof(struct lookup, fallback),
     .doc = "one number: what becomes of all else; none: it fails its item"},
    BM_PARAM(struct lookup, dtype, BM_PARAM_DTYPE,
             .doc = "of the result; none: float32 with values, else int64"),
    BM_PARAM(struct lookup, into, BM_PARAM_NAME,
             .doc = "name of the result, as a new component; none: it replaces the old one"),
};

struct lookup_plan {
    unsigned in, out;
    size_t size;               // of an element
    struct bm_value_set *keys; // behind the struct
    unsigned char *elements;   // behind it: for each key, and then the default
};

static enum bm_status lookup_check(const struct lookup *lookup, const struct bm_infer *infer,
                                   const struct bm_component *component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (component->ndim > 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "component", text),
                       "expected a component of one value per item, got %s of %u axes",
                       component->name, component->ndim);
    if (lookup->dtype != BM_DTYPE_NONE && !bm_dtype_is_number(lookup->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "dtype", text),
                       "expected a type of numbers, got %s", bm_dtype_name(lookup->dtype));
    if (lookup->keys.n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "keys", text),
                       "expected at least one, got none");
    if (lookup->values.n > 0 && lookup->values.n != lookup->keys.n)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "values", text),
                       "expected %u numbers, as there are keys, got %u", lookup->keys.n,
                       lookup->values.n);
    if (lookup->fallback.n > 1)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "default", text),
                       "expected one number, got %u", lookup->fallback.n);
    return BM_OK;
}

// The results, as the dtype has them; an integer must have them exactly.
static enum bm_status lookup_fill(const struct lookup *lookup, enum bm_dtype dtype,
                                  const struct bm_infer *infer, unsigned char *elements,
                                  struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    for (unsigned i = 0; i < lookup->keys.n + lookup->fallback.n; i++) {
        bool fallback = i == lookup->keys.n;
        double value = fallback               ? lookup->fallback.values[0]
                       : lookup->values.n > 0 ? lookup->values.values[i]
                                              : i;
        bm_dtype_put(dtype, elements, i, value);
        if (!bm_dtype_is_float(dtype) && bm_dtype_get(dtype, elements, i) != value)
            return bm_fail(err, BM_INVALID_ARGUMENT,
                           bm_params_where(infer->where, fallback ? "default" : "values", text),
                           "expected values that %s has, got %.15g", bm_dtype_name(dtype), value);
    }
    return BM_OK;
}

// Codes keep what they stand for.
static enum bm_status lookup_vocabulary(const struct lookup *lookup,
                                        struct bm_vocabulary **ret_vocabulary, struct bm_error *err)
{
    struct bm_vocabulary *vocabulary = NULL;
    enum bm_status status = bm_vocabulary_new(&vocabulary, err);
    for (unsigned i = 0; i < lookup->keys.n && status == BM_OK; i++) {
        uint64_t index;
        status = bm_vocabulary_add(vocabulary, lookup->keys.values[i],
                                   strlen(lookup->keys.values[i]), &index, err);
        if (status == BM_OK && index != i)
            status = bm_fail(err, BM_INVALID_ARGUMENT, NULL, "expected each key once, got %s twice",
                             lookup->keys.values[i]);
    }
    if (status == BM_OK)
        *ret_vocabulary = vocabulary;
    else
        bm_vocabulary_unref(vocabulary);
    return status;
}

static enum bm_status lookup_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct lookup *lookup = config;
    char text[BM_ERROR_WHERE_MAX];
    struct lookup_plan *plan = NULL;
    struct bm_vocabulary *vocabulary = NULL;
    unsigned in;
    enum bm_status status =
        bm_target_find(infer, "component", lookup->component, BM_WANT_ANY, &in, err);
    if (status == BM_OK)
        status = lookup_check(lookup, infer, &infer->in->components[in], err);
    if (status != BM_OK)
        return status;
    struct bm_component component = {.dtype = lookup->values.n > 0 ? BM_FLOAT32 : BM_INT64};
    if (lookup->dtype != BM_DTYPE_NONE)
        component.dtype = lookup->dtype;
    size_t keys_bytes = bm_value_set_bytes(lookup->keys.n);
    plan = malloc(sizeof *plan + keys_bytes + (lookup->keys.n + 1u) * sizeof(uint64_t));
    if (plan == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    plan->in = in;
    plan->size = bm_dtype_size(component.dtype);
    plan->keys = (struct bm_value_set *)(void *)(plan + 1);
    plan->elements = (unsigned char *)(plan + 1) + keys_bytes;
    const char *where = bm_params_where(infer->where, "keys", text);
    status = bm_value_set_init(plan->keys, &infer->in->components[in], &lookup->keys, where, err);
    if (status == BM_OK)
        status = lookup_vocabulary(lookup, &vocabulary, err);
    if (status == BM_OK)
        status = lookup_fill(lookup, component.dtype, infer, plan->elements, err);
    bool coded = lookup->values.n == 0 && bm_dtype_is_integer(component.dtype);
    component.vocabulary = coded ? vocabulary : NULL;
    if (status == BM_OK)
        status = bm_target_write(infer, in, lookup->into, &component, false, &plan->out, err);
    bm_vocabulary_unref(vocabulary); // the schema has it now
    if (status == BM_OK)
        *ret_plan = plan;
    else
        free(plan);
    return status;
}

static enum bm_result lookup_run(struct bm_call *call)
{
    const struct lookup *lookup = call->config;
    const struct lookup_plan *plan = call->plan;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        uint64_t n;
        int64_t place = bm_value_set_find(plan->keys, call->in, plan->in, row);
        if (place < 0 && lookup->fallback.n == 0)
            return bm_call_fail(call, (int64_t)row, BM_OUT_OF_RANGE,
                                "expected one of the %u keys in %s, got another value",
                                lookup->keys.n, lookup->component);
        if (place < 0)
            place = lookup->keys.n;
        memcpy(bm_batch_rows(call->out, plan->out, row, 1, &n),
               plan->elements + (size_t)place * plan->size, plan->size);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_lookup_action = {
    .name = "lookup",
    .doc = "Replaces each key by its place in the list, which keeps the keys as its vocabulary, or "
           "by its value.",
    .form = BM_PER_ITEM,
    .params = lookup_params,
    .nparams = sizeof lookup_params / sizeof lookup_params[0],
    .config_bytes = sizeof(struct lookup),
    .infer = lookup_infer,
    .run = lookup_run,
};
