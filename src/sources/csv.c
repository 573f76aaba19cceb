// csv.c -- tables as text. The file is parsed once, at open, into typed columns in memory; a read
// only copies rows.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sources/csv_cell.h"
#include "sources/csv_date.h"
#include "sources/csv_options.h"
#include "sources/csv_plan.h"
#include "sources/csv_reader.h"
#include "sources/table.h"
#include "sources/types.h"

struct csv_config {
    char *path;
    bool header;
    char *delimiter;
    int64_t skip;
    const struct bm_value *components;
    struct bm_text_map types;
    struct bm_csv_options options;
};

static const struct bm_param csv_params[] = {
    BM_PARAM(struct csv_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the file; it may be compressed by gzip or zstd"),
    BM_PARAM(struct csv_config, header, BM_PARAM_BOOL, .fallback = "true",
             .doc = "the first line holds the names of the columns"),
    BM_PARAM(struct csv_config, delimiter, BM_PARAM_TEXT, .fallback = ",",
             .doc = "one character between cells, such as ; or \"\\t\""),
    BM_PARAM(struct csv_config, skip, BM_PARAM_INTEGER, .fallback = "0",
             .doc = "lines to leave out at the start, before the header line"),
    BM_PARAM(struct csv_config, components, BM_PARAM_VALUE,
             .doc = "name: {columns: numbers from 0, ranges, or names of the header line; dtype; "
                    "shape}"),
    BM_PARAM(struct csv_config, types, BM_PARAM_TEXT_MAP,
             .doc = "instead of `components`: {column: dtype} for columns whose dtype is not to be "
                    "found from their cells"),
    {.name = "missing",
     .kind = BM_PARAM_TEXTS,
     .offset = offsetof(struct csv_config, options.missing),
     .doc = "cells that say that there is no value; without it empty ones, NA, N/A and null (in "
            "string, bytes and category only empty ones)"},
    {.name = "fill",
     .kind = BM_PARAM_TEXT_MAP,
     .offset = offsetof(struct csv_config, options.fill),
     .doc = "{component: what stands for its missing values}; else it is NaN in floats, -2^63 in "
            "dates, -1 in categories, the empty text in string and bytes; in integers and bools "
            "a missing value is an error"},
    {.name = "masks",
     .kind = BM_PARAM_NAMES,
     .offset = offsetof(struct csv_config, options.masks),
     .doc = "components beside which NAME.missing (bool) says which of their values are missing"},
    {.name = "categories",
     .kind = BM_PARAM_VALUE,
     .offset = offsetof(struct csv_config, options.categories),
     .doc = "{component: [names]}: the categories in this order, others are errors; without it "
            "those of the file in bytewise order"},
};

enum { CSV_NPARAMS = sizeof csv_params / sizeof csv_params[0] };

struct csv_job { // what opening needs and reading does not
    const struct csv_config *config;
    const char *where;
    struct bm_csv_reader reader;
    struct bm_csv_header header;
    struct bm_csv_mark body; // the first record after the header
    struct bm_csv_plan plan;
    locale_t c_locale;
    struct bm_table *table;
    struct bm_error *err;
};

static enum bm_status csv_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static const char *csv_where(const struct csv_job *job, unsigned column,
                             char where[BM_ERROR_WHERE_MAX])
{
    const struct bm_csv_reader *reader = &job->reader;
    if (job->header.names == NULL)
        return bm_file_where(reader->name, where, "line %" PRIu64 ", column %u",
                             reader->record_line, column);
    return bm_file_where(reader->name, where, "line %" PRIu64 ", column %u (%.30s)",
                         reader->record_line, column, job->header.names[column]);
}

// ---- First pass: how many rows, how wide, of which dtypes ----

static enum bm_status csv_read_header(struct csv_job *job)
{
    struct bm_csv_reader *reader = &job->reader;
    bool found = false;
    bool named = job->config->header;
    job->body = bm_csv_reader_mark(reader);
    enum bm_status status = bm_csv_reader_next(reader, &found, job->err);
    if (status != BM_OK)
        return status;
    if (!found)
        return bm_fail(job->err, BM_INVALID_ARGUMENT, reader->name,
                       "expected %s, got the end of the file",
                       named ? "a header line" : "at least one row");
    if (named)
        job->body = bm_csv_reader_mark(reader);
    return bm_csv_header_init(&job->header, reader, named, job->err);
}

// ---- Finding types ----

enum { // what all cells of a column may be
    MAY_INT64 = 1,
    MAY_FLOAT64 = 2,
    MAY_BOOL = 4,
    MAY_DATE = 8,
    MAY_DATETIME = 16,
    MAY_ALL = 31
};

struct csv_survey { // of a column
    unsigned may;
    bool some, missing; // there was a cell with a value, one without
};

static unsigned csv_may_be(const struct bm_csv_cell *cell, unsigned may, locale_t c_locale)
{
    int64_t integer;
    double number;
    bool digit = cell->size == 1; // 0 and 1 are numbers, not bools
    if ((may & MAY_INT64) != 0 && bm_csv_cell_number(cell, BM_INT64, c_locale, &integer))
        return MAY_INT64 | MAY_FLOAT64;
    if ((may & MAY_FLOAT64) != 0 && bm_csv_cell_number(cell, BM_FLOAT64, c_locale, &number))
        return MAY_FLOAT64;
    if ((may & MAY_BOOL) != 0 && !digit && bm_csv_cell_number(cell, BM_BOOL, c_locale, &integer))
        return MAY_BOOL;
    if ((may & MAY_DATE) != 0 && bm_csv_cell_date(cell, &integer))
        return MAY_DATE | MAY_DATETIME;
    return (may & MAY_DATETIME) != 0 && bm_csv_cell_datetime(cell, &integer) ? MAY_DATETIME : 0;
}

static void csv_survey_cell(const struct csv_job *job, const struct bm_csv_cell *cell,
                            struct csv_survey *survey)
{
    if (survey->may == 0)
        return;
    if (bm_csv_cell_missing(&job->config->options, cell, false)) {
        survey->missing = true;
        return;
    }
    survey->some = true;
    survey->may &= csv_may_be(cell, survey->may, job->c_locale);
}

static enum bm_status csv_survey(struct csv_job *job, struct csv_survey *columns,
                                 uint64_t *ret_nrows)
{
    struct bm_csv_reader *reader = &job->reader;
    bm_csv_reader_return(reader, job->body);
    for (uint64_t nrows = 0;; nrows++) {
        bool found = false;
        enum bm_status status = bm_csv_reader_next(reader, &found, job->err);
        if (status != BM_OK)
            return status;
        if (!found) {
            *ret_nrows = nrows;
            return BM_OK;
        }
        if (reader->ncells != job->header.ncolumns) {
            char where[BM_ERROR_WHERE_MAX];
            bm_file_where(reader->name, where, "line %" PRIu64, reader->record_line);
            return bm_fail(job->err, BM_INVALID_ARGUMENT, where, "expected %u cells, got %u",
                           job->header.ncolumns, reader->ncells);
        }
        for (unsigned i = 0; i < reader->ncells && columns != NULL; i++)
            csv_survey_cell(job, &reader->cells[i], &columns[i]);
    }
}

static bool csv_filled(const struct csv_config *config, const char *name)
{
    for (unsigned i = 0; i < config->options.fill.n; i++) {
        if (strcmp(config->options.fill.keys[i], name) == 0)
            return true;
    }
    return false;
}

// Missing values make floats of integers, as in pandas.
static struct bm_csv_type csv_conclude(const struct csv_survey *survey, bool filled)
{
    bool holes = survey->missing && !filled;
    struct bm_csv_type type = {.dtype = BM_STRING};
    if (!survey->some)
        return type; // nothing says that the cells are numbers
    if ((survey->may & MAY_INT64) != 0 && !holes)
        type.dtype = BM_INT64;
    else if ((survey->may & MAY_FLOAT64) != 0)
        type.dtype = BM_FLOAT64;
    else if ((survey->may & MAY_BOOL) != 0 && !holes)
        type.dtype = BM_BOOL;
    else if ((survey->may & MAY_DATE) != 0)
        type = (struct bm_csv_type){.kind = BM_CSV_DATE, .dtype = BM_INT64};
    else if ((survey->may & MAY_DATETIME) != 0)
        type = (struct bm_csv_type){.kind = BM_CSV_DATETIME, .dtype = BM_INT64};
    return type;
}

// Columns whose types the user gave are not surveyed.
static enum bm_status csv_given_types(struct csv_job *job, struct bm_csv_type *types,
                                      struct csv_survey *surveys)
{
    const struct bm_text_map *given = &job->config->types;
    char text[BM_ERROR_WHERE_MAX];
    bm_params_where(job->where, "types", text);
    for (unsigned i = 0; i < given->n; i++) {
        unsigned column = 0;
        while (column < job->header.ncolumns &&
               strcmp(job->header.names[column], given->keys[i]) != 0)
            column++;
        if (column == job->header.ncolumns)
            return bm_fail(job->err, BM_INVALID_ARGUMENT, text,
                           "expected names of the header line, got \"%s\"", given->keys[i]);
        surveys[column].may = 0;
        enum bm_status status = bm_csv_type_parse(given->values[i], text, &types[column], job->err);
        if (status != BM_OK)
            return status;
    }
    return BM_OK;
}

static enum bm_status csv_find_types(struct csv_job *job, struct bm_csv_type *types,
                                     struct csv_survey *surveys, uint64_t *ret_nrows)
{
    for (unsigned i = 0; i < job->header.ncolumns; i++)
        surveys[i].may = MAY_ALL;
    enum bm_status status = csv_given_types(job, types, surveys);
    if (status == BM_OK)
        status = csv_survey(job, surveys, ret_nrows);
    for (unsigned i = 0; i < job->header.ncolumns && status == BM_OK; i++) {
        if (types[i].dtype == BM_DTYPE_NONE)
            types[i] = csv_conclude(&surveys[i], csv_filled(job->config, job->header.names[i]));
    }
    return status == BM_OK ? bm_csv_plan_all(&job->header, types, &job->plan, job->err) : status;
}

static enum bm_status csv_plan_inferred(struct csv_job *job, uint64_t *ret_nrows)
{
    if (job->header.names == NULL)
        return bm_fail(job->err, BM_INVALID_ARGUMENT, job->where,
                       "expected `components`, as there is no header line to take names from");
    struct bm_csv_type *types = calloc(job->header.ncolumns, sizeof *types);
    struct csv_survey *surveys = calloc(job->header.ncolumns, sizeof *surveys);
    enum bm_status status = types == NULL || surveys == NULL
                                ? csv_no_memory(job->where, job->err)
                                : csv_find_types(job, types, surveys, ret_nrows);
    free(types);
    free(surveys);
    return status;
}

static enum bm_status csv_make_plan(struct csv_job *job, uint64_t *ret_nrows)
{
    enum bm_status status = csv_read_header(job);
    if (status != BM_OK)
        return status;
    if (job->config->components == NULL) {
        status = csv_plan_inferred(job, ret_nrows);
    } else {
        status = bm_csv_plan_parse(job->config->components, &job->header, &job->plan, job->err);
        if (status == BM_OK)
            status = csv_survey(job, NULL, ret_nrows);
    }
    return status == BM_OK
               ? bm_csv_options_apply(&job->config->options, &job->plan, job->where, job->err)
               : status;
}

// ---- Second pass: the values ----

static enum bm_status csv_add_mask(struct csv_job *job, const struct bm_component *of)
{
    struct bm_component mask = *of;
    mask.dtype = BM_BOOL;
    mask.ragged = false;
    mask.vocabulary = NULL;
    int length = snprintf(mask.name, sizeof mask.name, "%s.missing", of->name);
    if (length >= (int)sizeof mask.name)
        return bm_fail(job->err, BM_INVALID_ARGUMENT, job->where,
                       "expected a shorter name, as %s gets a mask", of->name);
    return bm_table_add(job->table, &mask, job->err);
}

static enum bm_status csv_alloc(struct csv_job *job, uint64_t nrows)
{
    enum bm_status status = bm_table_new(&bm_csv_source, job->reader.name, 2 * job->plan.nfields,
                                         nrows, &job->table, job->err);
    for (unsigned i = 0; i < job->plan.nfields && status == BM_OK; i++) {
        struct bm_csv_field *field = &job->plan.fields[i];
        field->table_column = job->table->ncolumns;
        status = bm_table_add(job->table, &field->component, job->err);
        if (status == BM_OK && field->mask)
            status = csv_add_mask(job, &field->component);
    }
    return status;
}

static enum bm_status csv_category(const struct csv_job *job, const struct bm_csv_field *field,
                                   const struct bm_csv_cell *cell, bool *ret_fits,
                                   int64_t *ret_code)
{
    uint64_t index = 0;
    *ret_fits = false;
    if (field->closed) {
        *ret_code = bm_vocabulary_find(field->vocabulary, cell->data, cell->size);
        *ret_fits = *ret_code >= 0;
        return BM_OK;
    }
    if (!bm_csv_cell_is_utf8(cell) || memchr(cell->data, '\0', cell->size) != NULL)
        return BM_OK;
    enum bm_status status =
        bm_vocabulary_add(field->vocabulary, cell->data, cell->size, &index, job->err);
    *ret_fits = status == BM_OK;
    *ret_code = (int64_t)index;
    return status;
}

// A status other than OK is no fault of the cell.
static enum bm_status csv_value(const struct csv_job *job, const struct bm_csv_field *field,
                                const struct bm_csv_cell *cell, bool *ret_fits, void *to)
{
    enum bm_status status = BM_OK;
    int64_t value = 0;
    switch (field->type.kind) {
    case BM_CSV_PLAIN:
        *ret_fits = bm_csv_cell_number(cell, field->type.dtype, job->c_locale, to);
        return BM_OK;
    case BM_CSV_DATE:
        *ret_fits = bm_csv_cell_date(cell, &value);
        break;
    case BM_CSV_DATETIME:
        *ret_fits = bm_csv_cell_datetime(cell, &value);
        break;
    case BM_CSV_CATEGORY:
        status = csv_category(job, field, cell, ret_fits, &value);
        break;
    }
    memcpy(to, &value, sizeof value);
    return status;
}

static enum bm_status csv_wrong_cell(const struct csv_job *job, const struct bm_csv_field *field,
                                     const char *where, const struct bm_csv_cell *cell)
{
    static const char *const kinds[] = {[BM_CSV_DATE] = "a date such as 2013-01-31",
                                        [BM_CSV_DATETIME] =
                                            "a time such as 2013-01-31T05:00:00Z, of 1678 to 2261"};
    char expected[BM_CSV_SHOWN_MAX], shown[BM_CSV_SHOWN_MAX];
    const char *text = field->type.kind == BM_CSV_PLAIN
                           ? bm_csv_expected(field->type.dtype, expected)
                       : field->type.kind != BM_CSV_CATEGORY ? kinds[field->type.kind]
                       : field->closed                       ? "one of the given categories"
                                                             : "a category in UTF-8";
    return bm_fail(job->err, BM_INVALID_ARGUMENT, where, "expected %s, got %s", text,
                   bm_csv_show(cell, shown));
}

// What stands for a missing value where nothing was given. False: nothing can.
static bool csv_nothing(const struct bm_csv_field *field, void *to)
{
    int64_t value = field->type.kind == BM_CSV_CATEGORY ? -1 : BM_CSV_NO_TIME;
    if (bm_dtype_is_float(field->type.dtype)) {
        bm_dtype_put(field->type.dtype, to, 0, (double)NAN);
        return true;
    }
    if (field->type.kind != BM_CSV_PLAIN)
        memcpy(to, &value, sizeof value);
    return field->type.kind != BM_CSV_PLAIN;
}

static struct bm_csv_cell csv_fill_cell(const struct bm_csv_field *field)
{
    return (struct bm_csv_cell){.data = field->fill, .size = strlen(field->fill)};
}

static void csv_mark(const struct csv_job *job, const struct bm_csv_field *field, uint64_t row,
                     unsigned element, bool missing)
{
    if (field->mask)
        job->table->columns[field->table_column + 1].values[row * field->ncolumns + element] =
            missing;
}

static enum bm_status csv_fill_text(struct csv_job *job, const struct bm_csv_field *field,
                                    uint64_t row)
{
    struct bm_csv_cell cell = job->reader.cells[field->columns[0]];
    bool missing = bm_csv_cell_missing(&job->config->options, &cell, true);
    if (missing && field->fill != NULL)
        cell = csv_fill_cell(field);
    else if (missing)
        cell.size = 0;
    if (field->type.dtype == BM_STRING && !bm_csv_cell_is_utf8(&cell)) {
        char where[BM_ERROR_WHERE_MAX], shown[BM_CSV_SHOWN_MAX];
        return bm_fail(job->err, BM_INVALID_ARGUMENT, csv_where(job, field->columns[0], where),
                       "expected UTF-8 text, got %s (dtype bytes takes any)",
                       bm_csv_show(&cell, shown));
    }
    bm_table_set_ragged(job->table, field->table_column, row, cell.data, cell.size);
    csv_mark(job, field, row, 0, missing);
    return BM_OK;
}

static enum bm_status csv_fill_values(struct csv_job *job, const struct bm_csv_field *field,
                                      uint64_t row)
{
    const struct bm_column *column = &job->table->columns[field->table_column];
    unsigned char *to = column->values + row * column->item_bytes;
    for (unsigned i = 0; i < field->ncolumns; i++) {
        struct bm_csv_cell cell = job->reader.cells[field->columns[i]];
        bool missing =
            bm_csv_cell_missing(&job->config->options, &cell, field->type.kind == BM_CSV_CATEGORY);
        bool fits = missing && field->fill == NULL && csv_nothing(field, to);
        enum bm_status status = BM_OK;
        if (missing && field->fill != NULL)
            cell = csv_fill_cell(field);
        if (!fits)
            status = csv_value(job, field, &cell, &fits, to);
        if (status == BM_OK && !fits) {
            char where[BM_ERROR_WHERE_MAX];
            status = csv_wrong_cell(job, field, csv_where(job, field->columns[i], where), &cell);
        }
        if (status != BM_OK)
            return status;
        csv_mark(job, field, row, i, missing);
        to += bm_dtype_size(field->type.dtype);
    }
    return BM_OK;
}

// What the user gave for missing values must be values, whether or not any is missing.
static enum bm_status csv_check_fills(struct csv_job *job)
{
    char text[BM_ERROR_WHERE_MAX];
    bm_params_where(job->where, "fill", text);
    for (unsigned i = 0; i < job->plan.nfields; i++) {
        const struct bm_csv_field *field = &job->plan.fields[i];
        if (field->fill == NULL || field->component.ragged)
            continue;
        const struct bm_csv_cell cell = csv_fill_cell(field);
        uint64_t value;
        bool fits = false;
        enum bm_status status = csv_value(job, field, &cell, &fits, &value);
        if (status == BM_OK && !fits)
            status = csv_wrong_cell(job, field, text, &cell);
        if (status != BM_OK)
            return status;
    }
    return BM_OK;
}

static enum bm_status csv_fill(struct csv_job *job)
{
    enum bm_status status = csv_check_fills(job);
    bm_csv_reader_return(&job->reader, job->body);
    for (uint64_t row = 0; row < job->table->base.nitems && status == BM_OK; row++) {
        bool found = false;
        status = bm_csv_reader_next(&job->reader, &found, job->err);
        BM_ASSERT(status != BM_OK || found); // the first pass counted them
        for (unsigned i = 0; i < job->plan.nfields && status == BM_OK; i++) {
            const struct bm_csv_field *field = &job->plan.fields[i];
            status = field->component.ragged ? csv_fill_text(job, field, row)
                                             : csv_fill_values(job, field, row);
        }
    }
    return status;
}

// ---- Categories ----

// Codes were given in the order of appearance; the order of the names is the same whatever the
// order of the rows.
static enum bm_status csv_sort_categories(struct csv_job *job, const struct bm_csv_field *field)
{
    const struct bm_column *column = &job->table->columns[field->table_column];
    uint64_t count = bm_vocabulary_count(field->vocabulary);
    uint64_t *new_codes = calloc(count + 1, sizeof *new_codes);
    if (new_codes == NULL)
        return csv_no_memory(job->reader.name, job->err);
    enum bm_status status = bm_vocabulary_sort(field->vocabulary, new_codes, job->err);
    uint64_t nvalues = job->table->base.nitems * field->ncolumns;
    for (uint64_t i = 0; i < nvalues && status == BM_OK; i++) {
        int64_t code;
        memcpy(&code, column->values + i * sizeof code, sizeof code);
        if (code >= 0)
            memcpy(column->values + i * sizeof code, &new_codes[code], sizeof code);
    }
    free(new_codes);
    return status;
}

static enum bm_status csv_give_vocabularies(struct csv_job *job)
{
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < job->plan.nfields && status == BM_OK; i++) {
        const struct bm_csv_field *field = &job->plan.fields[i];
        if (field->vocabulary == NULL)
            continue;
        if (!field->closed)
            status = csv_sort_categories(job, field);
        job->table->base.schema.components[field->table_column].vocabulary =
            bm_vocabulary_ref(field->vocabulary);
    }
    return status;
}

// ---- The source ----

static enum bm_status csv_check(const struct csv_config *config, const char *where,
                                struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (strlen(config->delimiter) != 1 || strchr("\"\r\n", config->delimiter[0]) != NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "delimiter", text),
                       "expected one ASCII character that is no quote and no line end, got \"%s\"",
                       config->delimiter);
    if (config->skip < 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "skip", text),
                       "expected 0 or more lines, got %" PRId64, config->skip);
    if (config->types.n > 0 && config->components != NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "types", text),
                       "expected either `types` or `components`, got both");
    return BM_OK;
}

static enum bm_status csv_load(struct csv_job *job, const char *directory,
                               struct bm_content *ret_content, char **ret_name)
{
    struct bm_file file = {.fd = -1};
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = bm_file_open(&file, directory, job->config->path,
                                         bm_params_where(job->where, "path", text), job->err);
    if (status == BM_OK)
        status = bm_file_load(&file, ret_content, job->err);
    if (status == BM_OK) {
        *ret_name = file.name;
        file.name = NULL;
    }
    bm_file_close(&file);
    return status;
}

static enum bm_status csv_parse(struct csv_job *job)
{
    uint64_t nrows = 0;
    job->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (job->c_locale == (locale_t)0)
        return csv_no_memory(job->where, job->err);
    enum bm_status status = csv_make_plan(job, &nrows);
    if (status == BM_OK)
        status = csv_alloc(job, nrows);
    if (status == BM_OK)
        status = csv_fill(job);
    if (status == BM_OK)
        status = csv_give_vocabularies(job);
    if (status == BM_OK)
        status = bm_table_finish(job->table, job->err);
    freelocale(job->c_locale);
    return status;
}

static enum bm_status csv_open(const void *config, const char *directory, const char *where,
                               struct bm_source **ret_source, struct bm_error *err)
{
    struct csv_job job = {.config = config, .where = where, .err = err};
    struct bm_content content = {0};
    char *name = NULL;
    enum bm_status status = csv_check(job.config, where, err);
    if (status == BM_OK)
        status = csv_load(&job, directory, &content, &name);
    if (status != BM_OK)
        return status;
    bm_csv_reader_init(&job.reader, &content, job.config->delimiter[0], name,
                       (uint64_t)job.config->skip);
    status = csv_parse(&job);
    if (status == BM_OK)
        *ret_source = &job.table->base;
    else if (job.table != NULL)
        bm_table_close(&job.table->base);
    bm_csv_plan_free(&job.plan);
    bm_csv_header_fini(&job.header);
    bm_csv_reader_fini(&job.reader);
    bm_content_free(&content);
    free(name);
    return status;
}

const struct bm_source_type bm_csv_source = {
    .name = "csv",
    .doc = "A table as text (RFC 4180), one row an item, parsed into memory at the start. "
           "`components` says which columns make which component, as in {pixels: {columns: 0-63, "
           "dtype: uint8, shape: [8, 8]}, label: {columns: 64, dtype: int64}, kind: {columns: "
           "[species], dtype: category}}. Without it each column is one, under its name in the "
           "header line, with the first of these types that fits all its cells: int64 (float64 if "
           "some are missing and `fill` has nothing for them), float64, bool (true, false; none "
           "missing), date, datetime, else string. date is int64, days since 1970-01-01; datetime "
           "int64, nanoseconds since then, in UTC (ISO 8601 both); category int64, the index in "
           "a vocabulary. In errors lines are counted from 1 and columns from 0.",
    .params = csv_params,
    .nparams = CSV_NPARAMS,
    .config_bytes = sizeof(struct csv_config),
    .open = csv_open,
    .close = bm_table_close,
    .read = bm_table_read,
};
