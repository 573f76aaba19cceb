#include "sources/csv_options.h"

#include <string.h>

#include "sources/csv_cell.h"

bool bm_csv_cell_missing(const struct bm_csv_options *options, const struct bm_csv_cell *cell,
                         bool is_text)
{
    static char *const usual[] = {"", "NA", "N/A", "null"};
    struct bm_texts words = options->missing;
    if (words.n == 0)
        words = (struct bm_texts){.n = is_text ? 1 : 4, .values = (char **)usual};
    struct bm_csv_cell trimmed = bm_csv_cell_trim(*cell);
    for (unsigned i = 0; i < words.n; i++) {
        if (strlen(words.values[i]) == trimmed.size &&
            memcmp(words.values[i], trimmed.data, trimmed.size) == 0)
            return true;
    }
    return false;
}

// NULL: there is none, and the error says so.
static struct bm_csv_field *options_find(struct bm_csv_plan *plan, const char *name,
                                         const char *where, struct bm_error *err)
{
    for (unsigned i = 0; i < plan->nfields; i++) {
        if (strcmp(plan->fields[i].component.name, name) == 0)
            return &plan->fields[i];
    }
    bm_fail(err, BM_INVALID_ARGUMENT, where, "expected names of components, got \"%s\"", name);
    return NULL;
}

static enum bm_status options_name(const struct bm_csv_field *field, const struct bm_value *value,
                                   struct bm_error *err)
{
    uint64_t index = 0;
    if (value->text == NULL || value->kind == BM_VALUE_NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "expected the name of a category, got %s", bm_value_kind_name(value));
    uint64_t before = bm_vocabulary_count(field->vocabulary);
    enum bm_status status =
        bm_vocabulary_add(field->vocabulary, value->text, strlen(value->text), &index, err);
    if (status == BM_OK && index < before)
        status = bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                         "expected each category once, got \"%s\" again", value->text);
    return status;
}

static enum bm_status options_categories(const struct bm_csv_options *options,
                                         struct bm_csv_plan *plan, struct bm_error *err)
{
    const struct bm_value *map = options->categories;
    if (map->kind != BM_VALUE_MAP)
        return bm_fail(err, BM_INVALID_ARGUMENT, map->where,
                       "expected {component: [names], ...}, got %s", bm_value_kind_name(map));
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < map->nchildren && status == BM_OK; i++) {
        const struct bm_value *names = map->children[i];
        struct bm_csv_field *field = options_find(plan, map->keys[i], map->where, err);
        if (field == NULL)
            return BM_INVALID_ARGUMENT;
        if (field->type.kind != BM_CSV_CATEGORY || names->kind != BM_VALUE_LIST)
            return bm_fail(err, BM_INVALID_ARGUMENT, names->where,
                           "expected a list of names for a component of dtype category, got %s",
                           names->kind == BM_VALUE_LIST ? "another dtype"
                                                        : bm_value_kind_name(names));
        field->closed = true;
        for (unsigned j = 0; j < names->nchildren && status == BM_OK; j++)
            status = options_name(field, names->children[j], err);
    }
    return status;
}

enum bm_status bm_csv_options_apply(const struct bm_csv_options *options, struct bm_csv_plan *plan,
                                    const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < plan->nfields && status == BM_OK; i++) {
        if (plan->fields[i].type.kind == BM_CSV_CATEGORY)
            status = bm_vocabulary_new(&plan->fields[i].vocabulary, err);
    }
    if (status == BM_OK && options->categories != NULL)
        status = options_categories(options, plan, err);
    bm_params_where(where, "fill", text);
    for (unsigned i = 0; i < options->fill.n && status == BM_OK; i++) {
        struct bm_csv_field *field = options_find(plan, options->fill.keys[i], text, err);
        if (field == NULL)
            return BM_INVALID_ARGUMENT;
        field->fill = options->fill.values[i];
    }
    bm_params_where(where, "masks", text);
    for (unsigned i = 0; i < options->masks.n && status == BM_OK; i++) {
        struct bm_csv_field *field = options_find(plan, options->masks.values[i], text, err);
        if (field == NULL)
            return BM_INVALID_ARGUMENT;
        field->mask = true;
    }
    return status;
}
