#include "sources/csv_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "pipeline/params.h"
#include "sources/csv_cell.h"

enum { NAMES_SHOWN_MAX = 12 };

static enum bm_status plan_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

// ---- The header line ----

enum bm_status bm_csv_header_init(struct bm_csv_header *header, const struct bm_csv_reader *record,
                                  bool named, struct bm_error *err)
{
    *header = (struct bm_csv_header){.name = record->name, .ncolumns = record->ncells};
    if (!named)
        return BM_OK;
    header->names = calloc(header->ncolumns, sizeof *header->names);
    bool complete = header->names != NULL;
    for (unsigned i = 0; i < header->ncolumns && complete; i++) {
        struct bm_csv_cell cell = bm_csv_cell_trim(record->cells[i]);
        header->names[i] = strndup(cell.data, cell.size);
        complete = header->names[i] != NULL;
    }
    if (complete)
        return BM_OK;
    bm_csv_header_fini(header);
    return plan_no_memory(record->name, err);
}

void bm_csv_header_fini(struct bm_csv_header *header)
{
    for (unsigned i = 0; i < header->ncolumns && header->names != NULL; i++)
        free(header->names[i]);
    free(header->names);
    *header = (struct bm_csv_header){0};
}

// ---- Columns of one component ----

struct columns_reader {
    const struct bm_csv_header *header;
    struct bm_csv_field *field;
    unsigned capacity;
    struct bm_error *err;
};

static enum bm_status columns_fail(const struct columns_reader *reader,
                                   const struct bm_value *value)
{
    const struct bm_csv_header *header = reader->header;
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_buffer_print(&text, "expected a column number from 0 to %u, a range such as 0-%u",
                    header->ncolumns - 1, header->ncolumns - 1);
    unsigned nshown = header->names == NULL                ? 0
                      : header->ncolumns < NAMES_SHOWN_MAX ? header->ncolumns
                                                           : NAMES_SHOWN_MAX;
    for (unsigned i = 0; i < nshown; i++)
        bm_buffer_print(&text, "%s%s", i == 0 ? " or a name of the header line: " : ", ",
                        header->names[i]);
    bm_buffer_print(&text, "%s; got ", nshown > 0 && nshown < header->ncolumns ? ", ..." : "");
    bm_value_show(value, &text);
    enum bm_status status =
        bm_fail(reader->err, BM_INVALID_ARGUMENT, value->where, "%s", bm_buffer_text(&text));
    bm_buffer_fini(&text);
    return status;
}

static enum bm_status columns_add(struct columns_reader *reader, unsigned first, unsigned last,
                                  const struct bm_value *value)
{
    struct bm_csv_field *field = reader->field;
    unsigned count = last - first + 1;
    if (count > BM_CSV_COLUMNS_MAX - field->ncolumns)
        return bm_fail(reader->err, BM_INVALID_ARGUMENT, value->where,
                       "expected at most %d columns in a component, got more", BM_CSV_COLUMNS_MAX);
    unsigned needed = field->ncolumns + count;
    if (needed > reader->capacity) {
        unsigned capacity = needed * 2;
        unsigned *columns = reallocarray(field->columns, capacity, sizeof *columns);
        if (columns == NULL)
            return plan_no_memory(value->where, reader->err);
        field->columns = columns;
        reader->capacity = capacity;
    }
    for (unsigned column = first; column <= last; column++)
        field->columns[field->ncolumns++] = column;
    return BM_OK;
}

// Reads digits, at most as many as a column number can have.
static const char *number_parse(const char *text, unsigned *ret_number)
{
    unsigned number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && at - text < 8; at++)
        number = number * 10 + (unsigned)(*at - '0');
    *ret_number = number;
    return at == text ? NULL : at;
}

static bool range_parse(const char *text, unsigned *ret_first, unsigned *ret_last)
{
    const char *dash = number_parse(text, ret_first);
    if (dash == NULL || *dash != '-')
        return false;
    const char *end = number_parse(dash + 1, ret_last);
    return end != NULL && *end == '\0';
}

static enum bm_status columns_add_text(struct columns_reader *reader, const struct bm_value *value)
{
    const struct bm_csv_header *header = reader->header;
    unsigned first = 0, last = 0, found = 0;
    for (unsigned i = 0; i < header->ncolumns && header->names != NULL; i++) {
        if (strcmp(header->names[i], value->text) == 0) {
            first = last = i;
            found++;
        }
    }
    if (found > 1)
        return bm_fail(reader->err, BM_INVALID_ARGUMENT, value->where,
                       "expected the name of one column, got \"%s\", which %u columns have: "
                       "use their numbers",
                       value->text, found);
    if (found == 0 && !range_parse(value->text, &first, &last))
        return columns_fail(reader, value);
    if (last >= header->ncolumns || first > last)
        return columns_fail(reader, value);
    return columns_add(reader, first, last, value);
}

static enum bm_status columns_add_value(struct columns_reader *reader, const struct bm_value *value)
{
    if (value->kind == BM_VALUE_TEXT)
        return columns_add_text(reader, value);
    if (value->kind != BM_VALUE_INTEGER || value->integer < 0 ||
        value->integer >= reader->header->ncolumns)
        return columns_fail(reader, value);
    return columns_add(reader, (unsigned)value->integer, (unsigned)value->integer, value);
}

static enum bm_status columns_parse(struct columns_reader *reader, const struct bm_value *value)
{
    if (value->kind != BM_VALUE_LIST || value->nchildren == 0)
        return columns_add_value(reader, value);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < value->nchildren && status == BM_OK; i++)
        status = columns_add_value(reader, value->children[i]);
    return status;
}

// ---- One component ----

enum bm_status bm_csv_type_parse(const char *text, const char *where, struct bm_csv_type *ret_type,
                                 struct bm_error *err)
{
    static const char *const kinds[] = {
        [BM_CSV_DATE] = "date", [BM_CSV_DATETIME] = "datetime", [BM_CSV_CATEGORY] = "category"};
    struct bm_csv_type type = {.dtype = bm_dtype_parse(text)};
    for (unsigned kind = BM_CSV_DATE; kind <= BM_CSV_CATEGORY; kind++) {
        if (strcmp(text, kinds[kind]) == 0)
            type = (struct bm_csv_type){.kind = (enum bm_csv_kind)kind, .dtype = BM_INT64};
    }
    if (type.dtype == BM_DTYPE_NONE)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected %s, date, datetime or category, got \"%s\"", bm_dtype_names(),
                       text);
    *ret_type = type;
    return BM_OK;
}

struct field_config {
    const struct bm_value *columns;
    char *dtype;
    struct bm_integers shape;
};

static const struct bm_param field_params[] = {
    BM_PARAM(struct field_config, columns, BM_PARAM_VALUE, .required = true,
             .doc = "numbers from 0, ranges of them, or names of the header line"),
    BM_PARAM(struct field_config, dtype, BM_PARAM_TEXT, .required = true,
             .doc = "of an element; or date, datetime, category"),
    BM_PARAM(struct field_config, shape, BM_PARAM_INTEGERS,
             .doc = "of an item; without it one column is a scalar, several a vector"),
};

enum { FIELD_NPARAMS = sizeof field_params / sizeof field_params[0] };

static enum bm_status field_shape(struct bm_csv_field *field, const struct bm_integers *shape,
                                  const char *where, struct bm_error *err)
{
    struct bm_component *component = &field->component;
    uint64_t elements = 1;
    char text[BM_ERROR_WHERE_MAX];
    if (shape->n > BM_NDIM_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                       "expected at most %d axes, got %u", BM_NDIM_MAX, shape->n);
    for (unsigned i = 0; i < shape->n; i++) {
        if (shape->values[i] <= 0 || !bm_size_mul(elements, (uint64_t)shape->values[i], &elements))
            return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                           "expected axes of at least 1 element, %u in all, got %" PRId64,
                           field->ncolumns, shape->values[i]);
        component->shape[i] = (uint64_t)shape->values[i];
    }
    component->ndim = shape->n;
    if (shape->n == 0 && field->ncolumns > 1) {
        component->ndim = 1;
        component->shape[0] = elements = field->ncolumns;
    }
    if (elements != field->ncolumns)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                       "expected a shape of %u elements, as many as `columns`, got %" PRIu64,
                       field->ncolumns, elements);
    return BM_OK;
}

static enum bm_status field_build(struct bm_csv_field *field, const char *name,
                                  const struct field_config *config,
                                  const struct bm_csv_header *header, const char *where,
                                  struct bm_error *err)
{
    struct columns_reader reader = {.header = header, .field = field, .err = err};
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status =
        bm_csv_type_parse(config->dtype, bm_params_where(where, "dtype", text), &field->type, err);
    if (status == BM_OK)
        status = columns_parse(&reader, config->columns);
    if (status != BM_OK)
        return status;
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a component name of " BM_NAME_RULE ", got \"%s\"", name);
    memcpy(field->component.name, name, strlen(name) + 1);
    field->component.dtype = field->type.dtype;
    field->component.ragged = bm_dtype_is_text(field->type.dtype);
    if ((status = field_shape(field, &config->shape, where, err)) != BM_OK)
        return status;
    if (field->component.ragged && (field->ncolumns > 1 || field->component.ndim > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected one column and no shape for %s, got %u columns", config->dtype,
                       field->ncolumns);
    return BM_OK;
}

static enum bm_status field_parse(struct bm_csv_field *field, const char *name,
                                  const struct bm_value *value, const struct bm_csv_header *header,
                                  struct bm_error *err)
{
    struct field_config config;
    enum bm_status status =
        bm_params_parse(field_params, FIELD_NPARAMS, value, value->where, &config, err);
    if (status != BM_OK)
        return status;
    status = field_build(field, name, &config, header, value->where, err);
    bm_params_free(field_params, FIELD_NPARAMS, &config);
    return status;
}

// ---- The plan ----

static enum bm_status plan_alloc(struct bm_csv_plan *plan, unsigned nfields, const char *where,
                                 struct bm_error *err)
{
    if (nfields > BM_COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected at most %d components, got %u: several columns can make one",
                       BM_COMPONENTS_MAX, nfields);
    plan->fields = calloc(nfields, sizeof *plan->fields);
    if (plan->fields == NULL)
        return plan_no_memory(where, err);
    plan->nfields = nfields;
    return BM_OK;
}

enum bm_status bm_csv_plan_parse(const struct bm_value *components,
                                 const struct bm_csv_header *header, struct bm_csv_plan *ret_plan,
                                 struct bm_error *err)
{
    if (components->kind != BM_VALUE_MAP || components->nchildren == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, components->where,
                       "expected {name: {columns: ..., dtype: ...}, ...}, got %s",
                       components->kind == BM_VALUE_MAP ? "an empty map"
                                                        : bm_value_kind_name(components));
    struct bm_csv_plan plan = {0};
    enum bm_status status = plan_alloc(&plan, components->nchildren, components->where, err);
    for (unsigned i = 0; i < plan.nfields && status == BM_OK; i++)
        status =
            field_parse(&plan.fields[i], components->keys[i], components->children[i], header, err);
    if (status == BM_OK)
        *ret_plan = plan;
    else
        bm_csv_plan_free(&plan);
    return status;
}

// A header line names whatever it likes; a component's name is valid and its own.
static enum bm_status header_check_name(const struct bm_csv_header *header, unsigned column,
                                        struct bm_error *err)
{
    const char *name = header->names[column];
    const struct bm_csv_cell cell = {.data = header->names[column], .size = strlen(name)};
    char where[BM_ERROR_WHERE_MAX], shown[BM_CSV_SHOWN_MAX];
    bm_file_where(header->name, where, "header line, column %u", column);
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a component name of " BM_NAME_RULE
                       ", got %s: give `components` and name the columns there by number",
                       bm_csv_show(&cell, shown));
    for (unsigned i = 0; i < column; i++) {
        if (strcmp(name, header->names[i]) == 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected a name of its own, got %s, the name of column %u: give "
                           "`components` and name the columns there by number",
                           bm_csv_show(&cell, shown), i);
    }
    return BM_OK;
}

static enum bm_status field_from_column(struct bm_csv_field *field, unsigned column,
                                        const struct bm_csv_header *header, struct bm_csv_type type,
                                        struct bm_error *err)
{
    const char *name = header->names[column];
    enum bm_status status = header_check_name(header, column, err);
    if (status != BM_OK)
        return status;
    if ((field->columns = malloc(sizeof *field->columns)) == NULL)
        return plan_no_memory(header->name, err);
    field->columns[0] = column;
    field->ncolumns = 1;
    memcpy(field->component.name, name, strlen(name) + 1);
    field->type = type;
    field->component.dtype = type.dtype;
    field->component.ragged = bm_dtype_is_text(type.dtype);
    return BM_OK;
}

enum bm_status bm_csv_plan_all(const struct bm_csv_header *header, const struct bm_csv_type *types,
                               struct bm_csv_plan *ret_plan, struct bm_error *err)
{
    struct bm_csv_plan plan = {0};
    enum bm_status status = plan_alloc(&plan, header->ncolumns, header->name, err);
    for (unsigned i = 0; i < plan.nfields && status == BM_OK; i++)
        status = field_from_column(&plan.fields[i], i, header, types[i], err);
    if (status == BM_OK)
        *ret_plan = plan;
    else
        bm_csv_plan_free(&plan);
    return status;
}

void bm_csv_plan_free(struct bm_csv_plan *plan)
{
    for (unsigned i = 0; i < plan->nfields; i++) {
        free(plan->fields[i].columns);
        bm_vocabulary_unref(plan->fields[i].vocabulary);
    }
    free(plan->fields);
    *plan = (struct bm_csv_plan){0};
}
