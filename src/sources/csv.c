// csv.c -- tables as text. The file is parsed once, at open, into typed columns in memory; a read
// only copies rows.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sources/csv_cell.h"
#include "sources/csv_plan.h"
#include "sources/csv_reader.h"
#include "sources/identity.h"
#include "sources/types.h"

struct csv_config {
    char *path;
    bool header;
    char *delimiter;
    int64_t skip;
    const struct bm_value *components;
};

static const struct bm_param csv_params[] = {
    BM_PARAM(struct csv_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the file; it may be gzipped (.gz)"),
    BM_PARAM(struct csv_config, header, BM_PARAM_BOOL, .fallback = "true",
             .doc = "the first line holds the names of the columns"),
    BM_PARAM(struct csv_config, delimiter, BM_PARAM_TEXT, .fallback = ",",
             .doc = "one character between cells, such as ; or \"\\t\""),
    BM_PARAM(struct csv_config, skip, BM_PARAM_INTEGER, .fallback = "0",
             .doc = "lines to leave out at the start, before the header line"),
    BM_PARAM(struct csv_config, components, BM_PARAM_VALUE,
             .doc = "name: {columns: numbers from 0, ranges, or names of the header line; dtype; "
                    "shape}"),
};

enum { CSV_NPARAMS = sizeof csv_params / sizeof csv_params[0] };

struct csv_column {         // the values of one component
    uint64_t item_bytes;    // dense
    unsigned char *values;  // dense: [nitems * item_bytes]
    struct bm_buffer texts; // ragged: one after the other
    uint64_t *offsets;      // ragged: [nitems + 1]
};

struct csv_source {
    struct bm_source base;
    unsigned ncolumns;
    struct csv_column *columns; // in the order of the schema
};

struct csv_job { // what opening needs and reading does not
    const struct csv_config *config;
    const char *where;
    struct bm_csv_reader reader;
    struct bm_csv_header header;
    struct bm_csv_mark body; // the first record after the header
    struct bm_csv_plan plan;
    locale_t c_locale;
    struct csv_source *source;
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

// Widens `dtype` until it holds this cell too.
static enum bm_dtype csv_infer(const struct bm_csv_cell *cell, enum bm_dtype dtype,
                               locale_t c_locale)
{
    uint64_t value;
    if (dtype == BM_INT64 && !bm_csv_cell_number(cell, BM_INT64, c_locale, &value))
        dtype = BM_FLOAT64;
    if (dtype == BM_FLOAT64 && !bm_csv_cell_number(cell, BM_FLOAT64, c_locale, &value))
        dtype = BM_STRING;
    return dtype;
}

static enum bm_status csv_survey(struct csv_job *job, enum bm_dtype *dtypes, uint64_t *ret_nrows)
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
        for (unsigned i = 0; i < reader->ncells && dtypes != NULL; i++)
            dtypes[i] = csv_infer(&reader->cells[i], dtypes[i], job->c_locale);
    }
}

static enum bm_status csv_plan_inferred(struct csv_job *job, uint64_t *ret_nrows)
{
    if (job->header.names == NULL)
        return bm_fail(job->err, BM_INVALID_ARGUMENT, job->where,
                       "expected `components`, as there is no header line to take names from");
    unsigned ncolumns = job->header.ncolumns;
    enum bm_dtype *dtypes = calloc(ncolumns, sizeof *dtypes);
    if (dtypes == NULL)
        return csv_no_memory(job->where, job->err);
    for (unsigned i = 0; i < ncolumns; i++)
        dtypes[i] = BM_INT64;
    enum bm_status status = csv_survey(job, dtypes, ret_nrows);
    for (unsigned i = 0; i < ncolumns && status == BM_OK && *ret_nrows == 0; i++)
        dtypes[i] = BM_STRING; // nothing says that the cells are numbers
    if (status == BM_OK)
        status = bm_csv_plan_all(&job->header, dtypes, &job->plan, job->err);
    free(dtypes);
    return status;
}

static enum bm_status csv_make_plan(struct csv_job *job, uint64_t *ret_nrows)
{
    enum bm_status status = csv_read_header(job);
    if (status != BM_OK)
        return status;
    if (job->config->components == NULL)
        return csv_plan_inferred(job, ret_nrows);
    status = bm_csv_plan_parse(job->config->components, &job->header, &job->plan, job->err);
    return status == BM_OK ? csv_survey(job, NULL, ret_nrows) : status;
}

// ---- Second pass: the values ----

static enum bm_status csv_alloc(struct csv_job *job, uint64_t nrows)
{
    struct csv_source *source = job->source;
    source->columns = calloc(job->plan.nfields, sizeof *source->columns);
    if (source->columns == NULL)
        return csv_no_memory(job->reader.name, job->err);
    source->ncolumns = job->plan.nfields;
    source->base.nitems = nrows;
    for (unsigned i = 0; i < source->ncolumns; i++) {
        const struct bm_component *component = &job->plan.fields[i].component;
        struct csv_column *column = &source->columns[i];
        enum bm_status status = bm_schema_add(&source->base.schema, component, job->err);
        if (status != BM_OK)
            return status;
        bm_buffer_init(&column->texts);
        column->item_bytes =
            component->ragged ? sizeof *column->offsets : bm_component_item_bytes(component);
        uint64_t bytes = 0;
        void *memory = NULL;
        if (bm_size_mul(nrows + 1, column->item_bytes, &bytes))
            memory = malloc(bytes);
        if (memory == NULL)
            return bm_fail(job->err, BM_RESOURCE_EXHAUSTED, job->reader.name,
                           "out of memory for %" PRIu64 " rows of component %s", nrows,
                           component->name);
        if (component->ragged)
            column->offsets = memory;
        else
            column->values = memory;
    }
    return BM_OK;
}

static enum bm_status csv_fill_text(struct csv_job *job, const struct bm_csv_field *field,
                                    struct csv_column *column, uint64_t row)
{
    const struct bm_csv_cell *cell = &job->reader.cells[field->columns[0]];
    if (field->component.dtype == BM_STRING && !bm_csv_cell_is_utf8(cell)) {
        char where[BM_ERROR_WHERE_MAX], shown[BM_CSV_SHOWN_MAX];
        return bm_fail(job->err, BM_INVALID_ARGUMENT, csv_where(job, field->columns[0], where),
                       "expected UTF-8 text, got %s (dtype bytes takes any)",
                       bm_csv_show(cell, shown));
    }
    column->offsets[row] = column->texts.size;
    bm_buffer_add(&column->texts, cell->data, cell->size);
    column->offsets[row + 1] = column->texts.size;
    return BM_OK;
}

static enum bm_status csv_fill_numbers(struct csv_job *job, const struct bm_csv_field *field,
                                       struct csv_column *column, uint64_t row)
{
    enum bm_dtype dtype = field->component.dtype;
    unsigned char *to = column->values + row * column->item_bytes;
    for (unsigned i = 0; i < field->ncolumns; i++) {
        const struct bm_csv_cell *cell = &job->reader.cells[field->columns[i]];
        if (!bm_csv_cell_number(cell, dtype, job->c_locale, to)) {
            char where[BM_ERROR_WHERE_MAX], expected[BM_CSV_SHOWN_MAX], shown[BM_CSV_SHOWN_MAX];
            return bm_fail(job->err, BM_INVALID_ARGUMENT, csv_where(job, field->columns[i], where),
                           "expected %s, got %s", bm_csv_expected(dtype, expected),
                           bm_csv_show(cell, shown));
        }
        to += bm_dtype_size(dtype);
    }
    return BM_OK;
}

static enum bm_status csv_fill(struct csv_job *job)
{
    struct csv_source *source = job->source;
    bm_csv_reader_return(&job->reader, job->body);
    for (unsigned i = 0; i < source->ncolumns; i++) {
        if (source->columns[i].offsets != NULL)
            source->columns[i].offsets[0] = 0; // also when there are no rows
    }
    for (uint64_t row = 0; row < source->base.nitems; row++) {
        bool found = false;
        enum bm_status status = bm_csv_reader_next(&job->reader, &found, job->err);
        BM_ASSERT(status != BM_OK || found); // the first pass counted them
        for (unsigned i = 0; i < source->ncolumns && status == BM_OK; i++) {
            const struct bm_csv_field *field = &job->plan.fields[i];
            status = source->columns[i].offsets != NULL
                         ? csv_fill_text(job, field, &source->columns[i], row)
                         : csv_fill_numbers(job, field, &source->columns[i], row);
        }
        if (status != BM_OK)
            return status;
    }
    for (unsigned i = 0; i < source->ncolumns; i++) {
        if (bm_buffer_failed(&source->columns[i].texts))
            return csv_no_memory(job->reader.name, job->err);
    }
    return BM_OK;
}

// The values themselves: how the file spells them, and columns that are not used, do not matter.
static enum bm_status csv_identify(struct csv_source *source, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return csv_no_memory(NULL, err);
    bm_identity_add_source(hash, &source->base);
    for (unsigned i = 0; i < source->ncolumns; i++) {
        const struct csv_column *column = &source->columns[i];
        uint64_t nitems = source->base.nitems;
        bm_identity_add_component(hash, &source->base.schema.components[i]);
        if (column->offsets == NULL) {
            bm_hash_add(hash, column->values, nitems * column->item_bytes);
            continue;
        }
        bm_hash_add(hash, column->offsets, (nitems + 1) * sizeof *column->offsets);
        bm_hash_add(hash, column->texts.data, column->texts.size);
    }
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

// ---- The source ----

static void csv_close(struct bm_source *base)
{
    struct csv_source *source = (struct csv_source *)base;
    for (unsigned i = 0; i < source->ncolumns; i++) {
        free(source->columns[i].values);
        free(source->columns[i].offsets);
        bm_buffer_fini(&source->columns[i].texts);
    }
    free(source->columns);
    bm_schema_fini(&base->schema);
    free(source);
}

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
        status = csv_identify(job->source, job->err);
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
    job.source = calloc(1, sizeof *job.source);
    if (job.source == NULL) {
        status = csv_no_memory(where, err);
        goto out;
    }
    job.source->base.type = &bm_csv_source;
    bm_schema_init(&job.source->base.schema);
    if ((status = csv_parse(&job)) != BM_OK)
        goto out;
    *ret_source = &job.source->base;
    job.source = NULL; // the caller owns it now
out:
    if (job.source != NULL)
        csv_close(&job.source->base);
    bm_csv_plan_free(&job.plan);
    bm_csv_header_fini(&job.header);
    bm_csv_reader_fini(&job.reader);
    bm_content_free(&content);
    free(name);
    return status;
}

static void csv_read_dense(const struct csv_column *column, const struct bm_batch *batch,
                           unsigned char *to)
{
    const uint64_t *items = batch->items;
    uint64_t run; // of consecutive items, copied in one go
    for (uint64_t row = 0; row < batch->nitems; row += run) {
        for (run = 1; row + run < batch->nitems && items[row + run] == items[row] + run;)
            run++;
        memcpy(to, column->values + items[row] * column->item_bytes, run * column->item_bytes);
        to += run * column->item_bytes;
    }
}

static enum bm_status csv_read_texts(const struct csv_column *column, struct bm_batch *batch,
                                     unsigned c, struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return csv_no_memory(NULL, err);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const uint64_t *range = column->offsets + batch->items[row];
        offsets[row + 1] = offsets[row] + range[1] - range[0];
    }
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t size = offsets[row + 1] - offsets[row];
        if (size > 0)
            memcpy(batch->tensors[c].data + offsets[row],
                   column->texts.data + column->offsets[batch->items[row]], size);
    }
    bm_block_unref(block);
    return status;
}

static enum bm_status csv_read(const struct bm_source *base, struct bm_batch *batch,
                               int64_t *ret_row, struct bm_error *err)
{
    (void)ret_row;
    const struct csv_source *source = (const struct csv_source *)base;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < source->ncolumns && status == BM_OK; i++) {
        if (source->columns[i].offsets == NULL)
            csv_read_dense(&source->columns[i], batch, batch->tensors[i].data);
        else
            status = csv_read_texts(&source->columns[i], batch, i, err);
    }
    return status;
}

const struct bm_source_type bm_csv_source = {
    .name = "csv",
    .doc = "A table as text (RFC 4180), one row an item, parsed into memory at the start. "
           "`components` says which columns make which component, as in {pixels: {columns: 0-63, "
           "dtype: uint8, shape: [8, 8]}, label: {columns: 64, dtype: int64}, kind: {columns: "
           "[species], dtype: string}}. Without it each column is one, under its name in the "
           "header line: int64 if all its cells are such integers, float64 if all are numbers, "
           "else string. In errors lines are counted from 1 and columns from 0.",
    .params = csv_params,
    .nparams = CSV_NPARAMS,
    .config_bytes = sizeof(struct csv_config),
    .open = csv_open,
    .close = csv_close,
    .read = csv_read,
};
