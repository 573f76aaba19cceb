#include "data/schema.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

void bm_schema_init(struct bm_schema *schema)
{
    *schema = (struct bm_schema){0};
}

void bm_schema_fini(struct bm_schema *schema)
{
    for (unsigned i = 0; i < schema->ncomponents; i++)
        bm_vocabulary_unref(schema->components[i].vocabulary);
    free(schema->components);
    *schema = (struct bm_schema){0};
}

enum bm_status bm_schema_copy(const struct bm_schema *from, struct bm_schema *to,
                              struct bm_error *err)
{
    bm_schema_init(to);
    if (from->ncomponents == 0)
        return BM_OK;
    size_t size = from->ncomponents * sizeof from->components[0];
    to->components = malloc(size);
    if (to->components == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a schema");
    memcpy(to->components, from->components, size);
    to->ncomponents = from->ncomponents;
    for (unsigned i = 0; i < to->ncomponents; i++)
        bm_vocabulary_ref(to->components[i].vocabulary);
    return BM_OK;
}

static enum bm_status component_check_shape(const struct bm_component *component,
                                            struct bm_error *err)
{
    uint64_t bytes = bm_dtype_size(component->dtype);
    if (component->ndim > BM_NDIM_MAX - 1) // the batch axis comes on top
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "expected at most %d axes, got %u", BM_NDIM_MAX - 1, component->ndim);
    for (unsigned i = component->ragged ? 1 : 0; i < component->ndim; i++) {
        if (!bm_size_mul(bytes, component->shape[i], &bytes) || bytes > (uint64_t)1 << 40)
            return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                           "one item would be larger than 2^40 bytes");
    }
    return BM_OK;
}

static enum bm_status component_check(const struct bm_component *component, struct bm_error *err)
{
    if (!bm_name_valid(component->name))
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                       "a component's name: expected " BM_NAME_RULE ", got \"%.40s\"",
                       component->name);
    if (!bm_dtype_is_number(component->dtype) && !bm_dtype_is_text(component->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name, "expected a dtype of %s",
                       bm_dtype_names());
    if (bm_dtype_is_text(component->dtype) && (!component->ragged || component->ndim != 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "%s is one run of bytes per item: ragged, without axes",
                       bm_dtype_name(component->dtype));
    if (!bm_dtype_is_text(component->dtype) && component->ragged && component->ndim == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "a ragged component needs an axis that varies");
    return component_check_shape(component, err);
}

enum bm_status bm_schema_add(struct bm_schema *schema, const struct bm_component *component,
                             struct bm_error *err)
{
    enum bm_status status = component_check(component, err);
    if (status != BM_OK)
        return status;
    if (bm_schema_find(schema, component->name) >= 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "there is a component of this name already");
    if (schema->ncomponents == BM_COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name, "expected at most %d components",
                       BM_COMPONENTS_MAX);
    struct bm_component *grown =
        realloc(schema->components, (schema->ncomponents + 1) * sizeof schema->components[0]);
    if (grown == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a schema");
    schema->components = grown;
    struct bm_component *added = &grown[schema->ncomponents++];
    *added = *component;
    if (component->ragged && component->ndim > 0)
        added->shape[0] = 0;
    if (!bm_dtype_is_integer(component->dtype))
        added->vocabulary = NULL;
    bm_vocabulary_ref(added->vocabulary);
    return BM_OK;
}

int bm_schema_find(const struct bm_schema *schema, const char *name)
{
    for (unsigned i = 0; i < schema->ncomponents; i++) {
        if (strcmp(schema->components[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

enum bm_status bm_schema_require(const struct bm_schema *schema, const char *name,
                                 const char *where, unsigned *ret_index, struct bm_error *err)
{
    int index = bm_schema_find(schema, name);
    if (index >= 0) {
        *ret_index = (unsigned)index;
        return BM_OK;
    }
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < schema->ncomponents; i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ", schema->components[i].name);
    bm_fail(err, BM_INVALID_ARGUMENT, where, "expected one of the components (%s), got \"%.128s\"",
            schema->ncomponents == 0 ? "there are none" : bm_buffer_text(&names), name);
    bm_buffer_fini(&names);
    return BM_INVALID_ARGUMENT;
}

uint64_t bm_component_elements(const struct bm_component *component)
{
    uint64_t elements = 1;
    for (unsigned i = component->ragged ? 1 : 0; i < component->ndim; i++)
        elements *= component->shape[i];
    return elements;
}

uint64_t bm_component_item_bytes(const struct bm_component *component)
{
    return bm_component_elements(component) * bm_dtype_size(component->dtype);
}

bool bm_schema_fixed(const struct bm_schema *schema)
{
    for (unsigned i = 0; i < schema->ncomponents; i++) {
        if (schema->components[i].ragged)
            return false;
    }
    return true;
}

void bm_component_print(const struct bm_component *component, struct bm_buffer *out)
{
    bm_buffer_print(out, "%s %s [", component->name, bm_dtype_name(component->dtype));
    for (unsigned i = 0; i < component->ndim; i++) {
        bm_buffer_add_text(out, i == 0 ? "" : ", ");
        if (i == 0 && component->ragged)
            bm_buffer_add_text(out, "varies");
        else
            bm_buffer_print(out, "%llu", (unsigned long long)component->shape[i]);
    }
    bm_buffer_add_text(out, "]");
}

void bm_schema_print(const struct bm_schema *schema, struct bm_buffer *out)
{
    for (unsigned i = 0; i < schema->ncomponents; i++) {
        bm_buffer_add_text(out, i == 0 ? "" : ", ");
        bm_component_print(&schema->components[i], out);
    }
}
