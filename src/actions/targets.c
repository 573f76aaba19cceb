#include "actions/targets.h"

#include <stdlib.h>
#include <string.h>

static bool component_fits(const struct bm_component *component, enum bm_want want)
{
    switch (want) {
    case BM_WANT_ANY:
        return true;
    case BM_WANT_NUMBER:
        return bm_dtype_is_number(component->dtype);
    case BM_WANT_REAL:
        return bm_dtype_is_integer(component->dtype) || bm_dtype_is_float(component->dtype);
    case BM_WANT_FLOAT:
        return bm_dtype_is_float(component->dtype);
    case BM_WANT_LABEL:
        return bm_dtype_is_integer(component->dtype) && component->ndim == 0;
    case BM_WANT_DENSE:
        return !component->ragged;
    }
    return false;
}

static enum bm_status component_refuse(const struct bm_component *component, enum bm_want want,
                                       const char *where, struct bm_error *err)
{
    static const char *const expected[] = {
        [BM_WANT_ANY] = "a component",
        [BM_WANT_NUMBER] = "a component of numbers",
        [BM_WANT_REAL] = "a component of integers or floats",
        [BM_WANT_FLOAT] = "a float component",
        [BM_WANT_LABEL] = "a component of one integer per item",
        [BM_WANT_DENSE] = "a component of one shape",
    };
    bool castable = want == BM_WANT_FLOAT && bm_dtype_is_number(component->dtype);
    struct bm_buffer got;
    bm_buffer_init(&got);
    bm_component_print(component, &got);
    enum bm_status status =
        bm_fail(err, BM_INVALID_ARGUMENT, where, "expected %s, got %s%s", expected[want],
                bm_buffer_text(&got), castable ? ": cast it first" : "");
    bm_buffer_fini(&got);
    return status;
}

enum bm_status bm_target_find(const struct bm_infer *infer, const char *parameter, const char *name,
                              enum bm_want want, unsigned *ret_component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, parameter, text);
    unsigned index;
    enum bm_status status = bm_schema_require(infer->in, name, where, &index, err);
    if (status != BM_OK)
        return status;
    const struct bm_component *component = &infer->in->components[index];
    if (!component_fits(component, want))
        return component_refuse(component, want, where, err);
    *ret_component = index;
    return BM_OK;
}

enum bm_status bm_targets_find(const struct bm_infer *infer, const struct bm_texts *names,
                               enum bm_want want, struct bm_targets **ret_targets,
                               struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, "components", text);
    if (names->n == 0) {
        bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at least one name, got none");
        return BM_INVALID_ARGUMENT;
    }
    struct bm_targets *targets = malloc(sizeof *targets + names->n * sizeof targets->components[0]);
    if (targets == NULL) {
        bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
        return BM_RESOURCE_EXHAUSTED;
    }
    enum bm_status status = BM_OK;
    bool seen[BM_COMPONENTS_MAX] = {false};
    for (targets->n = 0; targets->n < names->n && status == BM_OK; targets->n++) {
        const char *name = names->values[targets->n];
        unsigned component = 0;
        status = bm_target_find(infer, "components", name, want, &component, err);
        if (status == BM_OK && seen[component])
            status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                             "expected each name once, got %s twice", name);
        targets->components[targets->n] = component;
        seen[component] = true;
    }
    if (status != BM_OK) {
        free(targets);
        return status;
    }
    *ret_targets = targets;
    return BM_OK;
}

enum bm_status bm_targets_write(struct bm_infer *infer, const struct bm_targets *targets,
                                struct bm_error *err)
{
    enum bm_status status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        unsigned c = targets->components[i], index;
        struct bm_component component = infer->in->components[c];
        component.vocabulary = NULL; // other values
        status = bm_infer_write(infer, &component, (int)c, &index, err);
    }
    return status;
}

enum bm_status bm_targets_plan(struct bm_infer *infer, const struct bm_texts *names,
                               enum bm_want want, void **ret_plan, struct bm_error *err)
{
    struct bm_targets *targets = NULL;
    enum bm_status status = bm_targets_find(infer, names, want, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_targets_write(infer, targets, err);
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

bool bm_names_equal(const struct bm_texts *names, const struct bm_texts *others)
{
    bool equal = names->n == others->n;
    for (unsigned i = 0; i < names->n && equal; i++)
        equal = strcmp(names->values[i], others->values[i]) == 0;
    return equal;
}

enum bm_status bm_target_write(struct bm_infer *infer, unsigned from, const char *into,
                               struct bm_component *component, bool allocates, unsigned *ret_index,
                               struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (into != NULL && bm_schema_find(infer->in, into) >= 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "into", text),
                       "expected a new name, got %s, which there is already", into);
    const char *name = into == NULL ? infer->in->components[from].name : into;
    memcpy(component->name, name, strlen(name) + 1);
    enum bm_status status = bm_infer_keep_all(infer, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, component, allocates ? -1 : (int)from, ret_index, err);
    return status;
}

enum bm_status bm_plan_copy(const struct bm_infer *infer, const void *plan, size_t size,
                            void **ret_plan, struct bm_error *err)
{
    void *copy = malloc(size);
    if (copy == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    memcpy(copy, plan, size);
    *ret_plan = copy;
    return BM_OK;
}
