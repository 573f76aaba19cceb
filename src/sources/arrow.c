// arrow.c -- Apache Arrow's IPC files and streams. Rows are read from where they are in the file;
// what opening keeps in memory are places, dictionaries, and buffers that are compressed.
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sources/arrow_file.h"
#include "sources/csv_cell.h"
#include "sources/csv_date.h"
#include "sources/identity.h"
#include "sources/types.h"

enum { ROWS_AT_ONCE = 256, ELEMENTS_AT_ONCE = 512 };

struct arrow_config {
    struct bm_texts path;
    struct bm_text_map components, fill;
    struct bm_texts masks;
    char *id;
};

static const struct bm_param arrow_params[] = {
    BM_PARAM(struct arrow_config, path, BM_PARAM_TEXTS, .required = true,
             .doc = "the file, or a list of them; compressed by gzip or zstd as a whole they are "
                    "kept in memory, and so are buffers of LZ4 or zstd in them, up to 4 GiB of a "
                    "file"),
    BM_PARAM(struct arrow_config, components, BM_PARAM_TEXT_MAP,
             .doc = "{name: column, ...}; without it every column under its own name"),
    BM_PARAM(struct arrow_config, fill, BM_PARAM_TEXT_MAP,
             .doc = "{component: what stands for its missing values}; else it is NaN in floats, "
                    "-2^63 in dates, -1 in categories, the empty text in string and bytes, the "
                    "empty list; in integers and bools a missing value is an error"),
    BM_PARAM(struct arrow_config, masks, BM_PARAM_NAMES,
             .doc = "components beside which NAME.missing (bool) says where there is no value"),
    BM_PARAM(struct arrow_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the files are read "
                    "through at the start, to know equal data again"),
};

enum { ARROW_NPARAMS = sizeof arrow_params / sizeof arrow_params[0] };

struct missing {                      // of one component: what stands for values that are not there
    bool refused;                     // nothing does
    unsigned char value[8];           // of an element
    char *text;                       // of texts; NULL: the empty one
    int mask;                         // the component that says where; -1: none
    struct bm_vocabulary *vocabulary; // of codes, else NULL
};

struct arrow_source {
    struct bm_source base; // the columns in their order, then the masks
    unsigned ncolumns;
    struct missing *missing; // [ncolumns]
    struct bm_arrow_batches batches;
    unsigned nfiles;
    struct bm_arrow_file files[];
};

static enum bm_status arrow_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static void arrow_close(struct bm_source *base)
{
    struct arrow_source *source = (struct arrow_source *)base;
    bm_arrow_batches_free(&source->batches);
    for (unsigned i = 0; i < source->nfiles; i++)
        bm_arrow_file_close(&source->files[i]);
    for (unsigned c = 0; c < source->ncolumns && source->missing != NULL; c++) {
        free(source->missing[c].text);
        bm_vocabulary_unref(source->missing[c].vocabulary);
    }
    free(source->missing);
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- Opening: missing values ----

static const struct bm_arrow_column *source_column(const struct arrow_source *source, unsigned c)
{
    return &source->files[0].schema.columns[c];
}

static void missing_init(struct missing *missing, const struct bm_arrow_column *column)
{
    int64_t value = column->kind == BM_ARROW_CODE ? -1 : BM_CSV_NO_TIME;
    enum bm_dtype dtype = column->component.dtype;
    missing->mask = -1;
    if (column->kind == BM_ARROW_CODE || column->kind == BM_ARROW_DATE ||
        column->kind == BM_ARROW_TIME)
        memcpy(missing->value, &value, sizeof value);
    else if (bm_dtype_is_float(dtype))
        bm_dtype_put(dtype, missing->value, 0, (double)NAN);
    else
        missing->refused = !column->component.ragged;
}

static enum bm_status missing_fill_number(struct missing *missing,
                                          const struct bm_arrow_column *column, const char *text,
                                          const char *where, struct bm_error *err)
{
    const struct bm_csv_cell cell = {.data = (char *)text, .size = strlen(text)};
    char expected[BM_CSV_SHOWN_MAX], shown[BM_CSV_SHOWN_MAX];
    int64_t value = 0;
    bool fits = false;
    if (column->kind == BM_ARROW_DATE || column->kind == BM_ARROW_TIME) {
        fits = column->kind == BM_ARROW_DATE ? bm_csv_cell_date(&cell, &value)
                                             : bm_csv_cell_datetime(&cell, &value);
        memcpy(missing->value, &value, sizeof value);
    } else {
        locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (c_locale == (locale_t)0)
            return arrow_no_memory(where, err);
        fits = bm_csv_cell_number(&cell, column->component.dtype, c_locale, missing->value);
        freelocale(c_locale);
    }
    missing->refused = false;
    if (fits)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected %s, got %s",
                   column->kind == BM_ARROW_DATE ? "a date such as 2013-01-31"
                   : column->kind == BM_ARROW_TIME
                       ? "a time such as 2013-01-31T05:00:00Z"
                       : bm_csv_expected(column->component.dtype, expected),
                   bm_csv_show(&cell, shown));
}

static enum bm_status missing_fill(struct missing *missing, const struct bm_arrow_column *column,
                                   const char *text, const char *where, struct bm_error *err)
{
    const struct bm_component *component = &column->component;
    if (bm_dtype_is_text(component->dtype)) {
        if (component->dtype == BM_STRING && !bm_utf8_valid(text, strlen(text)))
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected UTF-8 for %s",
                           component->name);
        missing->text = strdup(text);
        return missing->text == NULL ? arrow_no_memory(where, err) : BM_OK;
    }
    if (component->ragged)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected components without lists, as missing lists are empty ones, got %s",
                       component->name);
    if (column->kind == BM_ARROW_CODE) {
        uint64_t index = 0;
        enum bm_status status =
            bm_vocabulary_add(missing->vocabulary, text, strlen(text), &index, err);
        memcpy(missing->value, &index, sizeof index);
        return status;
    }
    return missing_fill_number(missing, column, text, where, err);
}

// -1: there is none, and the error says so.
static int source_find(const struct arrow_source *source, const char *name, const char *where,
                       struct bm_error *err)
{
    int c = bm_schema_find(&source->base.schema, name);
    if (c >= 0 && (unsigned)c < source->ncolumns)
        return c;
    bm_fail(err, BM_INVALID_ARGUMENT, where, "expected names of components, got \"%s\"", name);
    return -1;
}

static enum bm_status source_add_mask(struct arrow_source *source, const char *of,
                                      const char *where, struct bm_error *err)
{
    int c = source_find(source, of, where, err);
    if (c < 0)
        return BM_INVALID_ARGUMENT;
    struct bm_component mask = source->base.schema.components[c];
    mask.dtype = BM_BOOL;
    mask.vocabulary = NULL;
    if (mask.ragged) // of the item: in lists nothing is missing
        mask.ndim = 0;
    mask.ragged = false;
    int length = snprintf(mask.name, sizeof mask.name, "%s.missing", of);
    if (length >= (int)sizeof mask.name)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a shorter name, as %s gets a mask", of);
    source->missing[c].mask = (int)source->base.schema.ncomponents;
    return bm_schema_add(&source->base.schema, &mask, err);
}

static enum bm_status source_apply(struct arrow_source *source, const struct arrow_config *config,
                                   const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = BM_OK;
    bm_params_where(where, "fill", text);
    for (unsigned i = 0; i < config->fill.n && status == BM_OK; i++) {
        int c = source_find(source, config->fill.keys[i], text, err);
        if (c < 0)
            return BM_INVALID_ARGUMENT;
        status = missing_fill(&source->missing[c], source_column(source, (unsigned)c),
                              config->fill.values[i], text, err);
    }
    bm_params_where(where, "masks", text);
    for (unsigned i = 0; i < config->masks.n && status == BM_OK; i++)
        status = source_add_mask(source, config->masks.values[i], text, err);
    return status;
}

static bool chunk_has_holes(const struct bm_arrow_chunk *chunk)
{
    return chunk->holes || chunk->inner_holes;
}

// Nothing is known to stand for a missing integer: better now than in the middle of a stream.
static enum bm_status source_check_holes(const struct arrow_source *source, struct bm_error *err)
{
    for (uint64_t b = 0; b < source->batches.n; b++) {
        const struct bm_arrow_batch *batch = &source->batches.at[b];
        for (unsigned c = 0; c < source->ncolumns; c++) {
            const struct bm_component *component = &source_column(source, c)->component;
            char where[BM_ERROR_WHERE_MAX];
            if (chunk_has_holes(&batch->chunks[c]) && source->missing[c].refused)
                return bm_fail(err, BM_INVALID_ARGUMENT,
                               bm_file_where(batch->file->data.file.name, where,
                                             "rows %" PRIu64 " to %" PRIu64 ", component %.40s",
                                             batch->first - batch->file->first,
                                             batch->first - batch->file->first + batch->nrows - 1,
                                             component->name),
                               "expected a value in every row of dtype %s, got missing ones: say "
                               "what stands for them in `fill`",
                               bm_dtype_name(component->dtype));
        }
    }
    return BM_OK;
}

// ---- Opening: the files ----

static enum bm_status source_init_columns(struct arrow_source *source, const char *where,
                                          struct bm_error *err)
{
    const struct bm_arrow_schema *schema = &source->files[0].schema;
    source->missing = calloc(schema->ncolumns, sizeof *source->missing);
    if (source->missing == NULL)
        return arrow_no_memory(where, err);
    source->ncolumns = schema->ncolumns;
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < source->ncolumns && status == BM_OK; c++) {
        missing_init(&source->missing[c], &schema->columns[c]);
        status = bm_schema_add(&source->base.schema, &schema->columns[c].component, err);
        if (status == BM_OK && schema->columns[c].kind == BM_ARROW_CODE)
            status = bm_vocabulary_new(&source->missing[c].vocabulary, err);
    }
    return status;
}

// Files may differ in how they keep values, not in what comes out.
static enum bm_status source_check_same(const struct arrow_source *source,
                                        const struct bm_arrow_file *file, struct bm_error *err)
{
    const struct bm_arrow_schema *first = &source->files[0].schema, *other = &file->schema;
    const char *name = file->data.file.name;
    if (other->ncolumns != first->ncolumns)
        return bm_fail(err, BM_INVALID_ARGUMENT, name, "expected %u columns as in %.80s, got %u",
                       first->ncolumns, source->files[0].data.file.name, other->ncolumns);
    for (unsigned c = 0; c < first->ncolumns; c++) {
        const struct bm_arrow_column *a = &first->columns[c], *b = &other->columns[c];
        bool coded = (a->kind == BM_ARROW_CODE) == (b->kind == BM_ARROW_CODE);
        bool dated = (a->kind == BM_ARROW_DATE) == (b->kind == BM_ARROW_DATE) &&
                     (a->kind == BM_ARROW_TIME) == (b->kind == BM_ARROW_TIME);
        const struct bm_component *one = &a->component, *two = &b->component;
        if (!coded || !dated || strcmp(one->name, two->name) != 0 || one->dtype != two->dtype ||
            one->ragged != two->ragged || one->ndim != two->ndim ||
            memcmp(one->shape, two->shape, sizeof one->shape) != 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, name,
                           "expected column %u of the name and type that it has in %.80s, %.40s, "
                           "got another",
                           c, source->files[0].data.file.name, one->name);
    }
    return BM_OK;
}

static enum bm_status source_add_file(struct arrow_source *source,
                                      const struct arrow_config *config, const char *directory,
                                      const char *path, const char *where, struct bm_error *err)
{
    struct bm_arrow_file *file = &source->files[source->nfiles];
    struct bm_vocabulary *vocabularies[BM_COMPONENTS_MAX] = {0};
    enum bm_status status =
        bm_arrow_file_open(file, directory, path, &config->components, where, err);
    if (status != BM_OK)
        return status;
    source->nfiles++; // closed with the others from here on
    status = source->nfiles == 1 ? source_init_columns(source, where, err)
                                 : source_check_same(source, file, err);
    for (unsigned c = 0; c < source->ncolumns; c++)
        vocabularies[c] = source->missing[c].vocabulary;
    return status == BM_OK ? bm_arrow_file_scan(file, vocabularies, &source->batches, err) : status;
}

static enum bm_status hash_take(void *hash, const char *bytes, uint64_t size, struct bm_error *err)
{
    (void)err;
    bm_hash_add(hash, bytes, size);
    return BM_OK;
}

static enum bm_status source_hash(struct arrow_source *source, const char *id, struct bm_hash *hash,
                                  struct bm_error *err)
{
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    for (unsigned i = 0; i < source->base.schema.ncomponents; i++)
        bm_identity_add_component(hash, &source->base.schema.components[i]);
    for (unsigned c = 0; c < source->ncolumns; c++) {
        const struct missing *missing = &source->missing[c];
        bm_hash_add(hash, missing->value, sizeof missing->value);
        bm_hash_add_text(hash, missing->text == NULL ? "" : missing->text);
        bm_hash_add_u64(hash, bm_vocabulary_hash(missing->vocabulary));
    }
    bm_hash_add_text(hash, id == NULL ? "" : id);
    for (unsigned i = 0; i < source->nfiles && status == BM_OK && id == NULL; i++) {
        bm_hash_add_u64(hash, source->files[i].data.size_bytes);
        status = bm_data_file_scan(&source->files[i].data, hash_take, hash, err);
    }
    return status;
}

static enum bm_status source_identify(struct arrow_source *source, const char *id,
                                      const char *where, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return arrow_no_memory(where, err);
    enum bm_status status = source_hash(source, id, hash, err);
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status arrow_open(const void *opaque, const char *directory, const char *where,
                                 struct bm_source **ret_source, struct bm_error *err)
{
    const struct arrow_config *config = opaque;
    char text[BM_ERROR_WHERE_MAX];
    if (config->path.n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "path", text),
                       "expected at least one file, got an empty list");
    struct arrow_source *source =
        calloc(1, sizeof *source + config->path.n * sizeof source->files[0]);
    if (source == NULL)
        return arrow_no_memory(where, err);
    source->base.type = &bm_arrow_source;
    bm_schema_init(&source->base.schema);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->path.n && status == BM_OK; i++)
        status = source_add_file(source, config, directory, config->path.values[i], where, err);
    if (status == BM_OK)
        status = source_apply(source, config, where, err);
    if (status == BM_OK)
        status = source_check_holes(source, err);
    source->base.nitems = source->batches.nrows;
    if (status == BM_OK)
        status = source_identify(source, config->id, where, err);
    if (status != BM_OK) {
        arrow_close(&source->base);
        return status;
    }
    for (unsigned c = 0; c < source->ncolumns; c++)
        source->base.schema.components[c].vocabulary =
            bm_vocabulary_ref(source->missing[c].vocabulary);
    *ret_source = &source->base;
    return BM_OK;
}

// ---- Reading: rows that follow each other in one record batch ----

struct run {
    const struct bm_arrow_batch *batch;
    uint64_t row, count; // rows of the batch of the source's caller
    uint64_t first;      // in the record batch
};

static struct run source_run(const struct arrow_source *source, const struct bm_batch *batch,
                             uint64_t row)
{
    const uint64_t *items = batch->items;
    uint64_t low = 0, high = source->batches.n; // the last one that begins at or before the item
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (source->batches.at[middle].first <= items[row])
            low = middle;
        else
            high = middle;
    }
    const struct bm_arrow_batch *found = &source->batches.at[low];
    struct run run = {.batch = found, .row = row, .count = 1, .first = items[row] - found->first};
    while (row + run.count < batch->nitems && items[row + run.count] == items[row] + run.count &&
           run.first + run.count < found->nrows)
        run.count++;
    return run;
}

// Bits [first, first + n) of the span, each as a byte of 0 or 1; n <= ELEMENTS_AT_ONCE.
static enum bm_status bits_read(const struct bm_arrow_file *file, const struct bm_arrow_span *span,
                                uint64_t first, uint64_t n, unsigned char *to, struct bm_error *err)
{
    unsigned char bits[ELEMENTS_AT_ONCE / 8 + 1];
    enum bm_status status =
        bm_arrow_span_read(file, span, first / 8, bits, (first + n + 7) / 8 - first / 8, err);
    for (uint64_t i = 0; i < n && status == BM_OK; i++) {
        uint64_t bit = first % 8 + i;
        to[i] = bits[bit / 8] >> bit % 8 & 1;
    }
    return status;
}

// Which of `n` <= ELEMENTS_AT_ONCE values are missing, as bytes of 0 or 1: elements of dense
// components, items of ragged ones.
static enum bm_status missing_read(const struct bm_arrow_batch *batch, unsigned c, uint64_t first,
                                   uint64_t n, unsigned char *to, struct bm_error *err)
{
    const struct bm_arrow_chunk *chunk = &batch->chunks[c];
    const struct bm_component *component = &batch->file->schema.columns[c].component;
    uint64_t elements = component->ragged ? 1 : bm_component_elements(component);
    uint64_t row = first / elements;
    unsigned char rows[ELEMENTS_AT_ONCE];
    enum bm_status status = BM_OK;
    memset(to, 0, n);
    if (n == 0)
        return BM_OK;
    if (chunk->inner_holes)
        status = bits_read(batch->file, &chunk->inner, first, n, to, err);
    for (uint64_t i = 0; i < n && chunk->inner_holes; i++)
        to[i] = !to[i];
    if (status == BM_OK && chunk->holes)
        status = bits_read(batch->file, &chunk->valid, row, (first + n - 1) / elements - row + 1,
                           rows, err);
    for (uint64_t i = 0; i < n && chunk->holes && status == BM_OK; i++)
        to[i] |= !rows[(first + i) / elements - row];
    return status;
}

static bool time_convert(const struct bm_arrow_column *column, int64_t *value)
{
    int64_t days = *value / column->divisor - (*value % column->divisor < 0);
    return !__builtin_mul_overflow(days, column->factor, value);
}

// A value that means nothing is an error only where it is not missing.
static enum bm_status element_fail(const struct bm_arrow_batch *batch, unsigned c, uint64_t element,
                                   int64_t value, struct bm_error *err)
{
    const struct bm_arrow_column *column = &batch->file->schema.columns[c];
    char where[BM_ERROR_WHERE_MAX];
    unsigned char missing = 0;
    uint64_t row = element;
    if (!column->component.ragged) {
        enum bm_status status = missing_read(batch, c, element, 1, &missing, err);
        if (status != BM_OK || missing)
            return status;
        row =
            batch->first - batch->file->first + element / bm_component_elements(&column->component);
    }
    bm_file_where(batch->file->data.file.name, where, "%s %" PRIu64 ", component %.40s",
                  column->component.ragged ? "list element" : "row", row, column->component.name);
    if (column->kind == BM_ARROW_CODE)
        return bm_fail(err, BM_DATA_LOSS, where,
                       "expected an index below %" PRIu64 ", as many as the dictionary has names, "
                       "got %" PRId64,
                       batch->file->codes[c].n, value);
    return bm_fail(err, BM_INVALID_ARGUMENT, where,
                   "expected a time of 1678 to 2261, which int64 can say in nanoseconds, got "
                   "%" PRId64 " of the file's unit",
                   value);
}

// Integers as they are in the file to what they mean, in place; `first` is the first of them.
static enum bm_status elements_convert(const struct bm_arrow_batch *batch, unsigned c,
                                       uint64_t first, uint64_t n, int64_t *values,
                                       struct bm_error *err)
{
    const struct bm_arrow_column *column = &batch->file->schema.columns[c];
    const struct bm_arrow_codes *codes = &batch->file->codes[c];
    enum bm_status status = BM_OK;
    for (uint64_t i = 0; i < n && status == BM_OK; i++) {
        int64_t value = values[i];
        if (column->kind == BM_ARROW_CODE && value >= 0 && (uint64_t)value < codes->n)
            values[i] = codes->codes[value];
        else if (column->kind == BM_ARROW_CODE || !time_convert(column, &values[i]))
            status = element_fail(batch, c, first + i, value, err);
    }
    return status;
}

// Innermost elements [first, first + n) of a column that are not kept as they come out.
static enum bm_status elements_read_changed(const struct bm_arrow_batch *batch, unsigned c,
                                            uint64_t first, uint64_t n, unsigned char *to,
                                            struct bm_error *err)
{
    const struct bm_arrow_column *column = &batch->file->schema.columns[c];
    const struct bm_arrow_span *span = &batch->chunks[c].values;
    uint64_t stored = bm_dtype_size(column->stored);
    int64_t raw[ELEMENTS_AT_ONCE], values[ELEMENTS_AT_ONCE];
    enum bm_status status = BM_OK;
    for (uint64_t done = 0, some; done < n && status == BM_OK; done += some) {
        some = n - done < ELEMENTS_AT_ONCE ? n - done : ELEMENTS_AT_ONCE;
        if (column->kind == BM_ARROW_BITS) {
            status = bits_read(batch->file, span, first + done, some, to + done, err);
            continue;
        }
        status =
            bm_arrow_span_read(batch->file, span, (first + done) * stored, raw, some * stored, err);
        if (status != BM_OK)
            return status;
        bm_dtype_convert(BM_INT64, values, column->stored, raw, some);
        status = elements_convert(batch, c, first + done, some, values, err);
        memcpy(to + done * sizeof values[0], values, some * sizeof values[0]);
    }
    return status;
}

static enum bm_status elements_read(const struct bm_arrow_batch *batch, unsigned c, uint64_t first,
                                    uint64_t n, unsigned char *to, struct bm_error *err)
{
    const struct bm_arrow_column *column = &batch->file->schema.columns[c];
    if (column->kind != BM_ARROW_PLAIN)
        return elements_read_changed(batch, c, first, n, to, err);
    uint64_t size = bm_dtype_size(column->stored);
    return bm_arrow_span_read(batch->file, &batch->chunks[c].values, first * size, to, n * size,
                              err);
}

// ---- Reading: components ----

static enum bm_status run_fill(const struct missing *missing, const struct run *run, unsigned c,
                               uint64_t elements, unsigned char *to, struct bm_error *err)
{
    const struct bm_component *component = &run->batch->file->schema.columns[c].component;
    uint64_t size = bm_dtype_size(component->dtype), n = run->count * elements;
    unsigned char holes[ELEMENTS_AT_ONCE];
    enum bm_status status = BM_OK;
    for (uint64_t done = 0, some; done < n && status == BM_OK; done += some) {
        some = n - done < ELEMENTS_AT_ONCE ? n - done : ELEMENTS_AT_ONCE;
        status = missing_read(run->batch, c, run->first * elements + done, some, holes, err);
        for (uint64_t i = 0; i < some && status == BM_OK; i++) {
            if (holes[i])
                memcpy(to + (done + i) * size, missing->value, size);
        }
    }
    return status;
}

static enum bm_status read_dense(const struct arrow_source *source, struct bm_batch *batch,
                                 unsigned c, int64_t *ret_row, struct bm_error *err)
{
    const struct bm_component *component = &source->base.schema.components[c];
    uint64_t elements = bm_component_elements(component);
    uint64_t item_bytes = bm_component_item_bytes(component);
    enum bm_status status = BM_OK;
    struct run run;
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row += run.count) {
        run = source_run(source, batch, row);
        unsigned char *to = batch->tensors[c].data + row * item_bytes;
        status = elements_read(run.batch, c, run.first * elements, run.count * elements, to, err);
        if (status == BM_OK && chunk_has_holes(&run.batch->chunks[c]))
            status = run_fill(&source->missing[c], &run, c, elements, to, err);
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    return status;
}

static enum bm_status read_mask(const struct arrow_source *source, struct bm_batch *batch,
                                unsigned c, struct bm_error *err)
{
    const struct bm_component *mask = &source->base.schema.components[source->missing[c].mask];
    uint64_t elements = bm_component_elements(mask);
    unsigned char *to = batch->tensors[source->missing[c].mask].data;
    enum bm_status status = BM_OK;
    struct run run;
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row += run.count) {
        run = source_run(source, batch, row);
        uint64_t n = run.count * elements;
        for (uint64_t done = 0, some; done < n && status == BM_OK; done += some) {
            some = n - done < ELEMENTS_AT_ONCE ? n - done : ELEMENTS_AT_ONCE;
            status = missing_read(run.batch, c, run.first * elements + done, some,
                                  to + row * elements + done, err);
        }
    }
    return status;
}

struct piece { // where the values of a ragged item are
    const struct bm_arrow_batch *batch;
    uint64_t begin; // in rows of the list, or bytes of text
    bool missing;
};

// The pieces and offsets of `some` rows of a run, from its row `done` on.
static enum bm_status run_place(const struct arrow_source *source, const struct run *run,
                                uint64_t done, uint64_t some, unsigned c, struct piece *pieces,
                                uint64_t *offsets, struct bm_error *err)
{
    const struct bm_arrow_batch *batch = run->batch;
    const struct bm_arrow_column *column = &batch->file->schema.columns[c];
    const struct bm_arrow_chunk *chunk = &batch->chunks[c];
    const char *text = source->missing[c].text;
    uint64_t first = run->first + done, bytes = column->offset_bytes;
    uint64_t rows = chunk->nvalues / bm_component_elements(&column->component);
    unsigned char stored[(ROWS_AT_ONCE + 1) * 8], holes[ROWS_AT_ONCE];
    enum bm_status status = missing_read(batch, c, first, some, holes, err);
    if (status == BM_OK)
        status = bm_arrow_span_read(batch->file, &chunk->offsets, first * bytes, stored,
                                    (some + 1) * bytes, err);
    for (uint64_t i = 0; i < some && status == BM_OK; i++) {
        uint64_t begin = bm_arrow_offset(stored, column->offset_bytes, i);
        uint64_t end = bm_arrow_offset(stored, column->offset_bytes, i + 1);
        char where[BM_ERROR_WHERE_MAX];
        if (holes[i])
            begin = end = 0;
        if (begin > end || end > rows)
            return bm_fail(err, BM_DATA_LOSS,
                           bm_file_where(batch->file->data.file.name, where,
                                         "row %" PRIu64 ", component %.40s",
                                         batch->first - batch->file->first + first + i,
                                         column->component.name),
                           "expected offsets that rise up to %" PRIu64 ", got %" PRIu64
                           " to %" PRIu64,
                           rows, begin, end);
        uint64_t length = holes[i] && text != NULL ? strlen(text) : end - begin;
        pieces[i] = (struct piece){.batch = batch, .begin = begin, .missing = holes[i]};
        offsets[i + 1] = offsets[i] + length;
    }
    return status;
}

static enum bm_status pieces_place(const struct arrow_source *source, const struct bm_batch *batch,
                                   unsigned c, struct piece *pieces, uint64_t *offsets,
                                   int64_t *ret_row, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    struct run run;
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row += run.count) {
        run = source_run(source, batch, row);
        for (uint64_t done = 0, some; done < run.count && status == BM_OK; done += some) {
            some = run.count - done < ROWS_AT_ONCE ? run.count - done : ROWS_AT_ONCE;
            status = run_place(source, &run, done, some, c, pieces + row + done,
                               offsets + row + done, err);
        }
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    return status;
}

// The values, in one go for items that lie one behind the other.
static enum bm_status pieces_read(const struct arrow_source *source, struct bm_batch *batch,
                                  unsigned c, const struct piece *pieces, const uint64_t *offsets,
                                  int64_t *ret_row, struct bm_error *err)
{
    const struct bm_component *component = &source->base.schema.components[c];
    uint64_t elements = bm_component_elements(component);
    uint64_t row_bytes = bm_component_item_bytes(component);
    const char *text = source->missing[c].text;
    enum bm_status status = BM_OK;
    for (uint64_t row = 0, next; row < batch->nitems && status == BM_OK; row = next) {
        const struct piece *piece = &pieces[row];
        unsigned char *to = batch->tensors[c].data;
        next = row + 1;
        if (piece->missing) {
            if (text != NULL && text[0] != '\0')
                memcpy(to + offsets[row], text, strlen(text));
            continue;
        }
        while (next < batch->nitems && !pieces[next].missing &&
               pieces[next].batch == piece->batch &&
               pieces[next].begin == piece->begin + offsets[next] - offsets[row])
            next++;
        uint64_t rows = offsets[next] - offsets[row];
        if (rows > 0)
            status = elements_read(piece->batch, c, piece->begin * elements, rows * elements,
                                   to + offsets[row] * row_bytes, err);
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    return status;
}

static enum bm_status texts_check(const struct arrow_source *source, const struct bm_batch *batch,
                                  unsigned c, int64_t *ret_row, struct bm_error *err)
{
    const struct bm_tensor *tensor = &batch->tensors[c];
    for (uint64_t row = 0; row < batch->nitems; row++) {
        uint64_t size = tensor->offsets[row + 1] - tensor->offsets[row];
        if (size == 0 || bm_utf8_valid(tensor->data + tensor->offsets[row], size))
            continue;
        struct run run = source_run(source, batch, row);
        const struct bm_arrow_file *file = run.batch->file;
        char where[BM_ERROR_WHERE_MAX];
        *ret_row = (int64_t)row;
        return bm_fail(
            err, BM_DATA_LOSS,
            bm_file_where(file->data.file.name, where, "row %" PRIu64 ", component %.40s",
                          batch->items[row] - file->first, source->base.schema.components[c].name),
            "expected UTF-8 in a utf8 column, got other bytes");
    }
    return BM_OK;
}

static enum bm_status read_ragged(const struct arrow_source *source, struct bm_batch *batch,
                                  unsigned c, int64_t *ret_row, struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    struct piece *pieces = calloc(batch->nitems + 1, sizeof *pieces);
    enum bm_status status = block == NULL || pieces == NULL ? arrow_no_memory(NULL, err) : BM_OK;
    if (status == BM_OK)
        status = pieces_place(source, batch, c, pieces, bm_block_data(block), ret_row, err);
    if (status == BM_OK)
        status = bm_batch_alloc_ragged(batch, c, block, err);
    if (status == BM_OK)
        status = pieces_read(source, batch, c, pieces, bm_block_data(block), ret_row, err);
    if (status == BM_OK && source->base.schema.components[c].dtype == BM_STRING)
        status = texts_check(source, batch, c, ret_row, err);
    free(pieces);
    bm_block_unref(block);
    return status;
}

static enum bm_status arrow_read(const struct bm_source *base, struct bm_batch *batch,
                                 int64_t *ret_row, struct bm_error *err)
{
    const struct arrow_source *source = (const struct arrow_source *)base;
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < source->ncolumns && status == BM_OK; c++) {
        status = base->schema.components[c].ragged ? read_ragged(source, batch, c, ret_row, err)
                                                   : read_dense(source, batch, c, ret_row, err);
        if (status == BM_OK && source->missing[c].mask >= 0)
            status = read_mask(source, batch, c, err);
    }
    return status;
}

const struct bm_source_type bm_arrow_source = {
    .name = "arrow",
    .doc =
        "Apache Arrow's IPC files (also called Feather version 2) and streams, with or without "
        "compressed buffers. Rows are read when they are asked for, so a file may be larger than "
        "memory. Lists of fixed size make shapes, other lists ragged components, dictionaries "
        "of utf8 vocabularies, dates int64 as in csv. Parquet files are converted by "
        "pyarrow.feather.write_feather(pyarrow.parquet.read_table(a), b, compression="
        "\"uncompressed\").",
    .params = arrow_params,
    .nparams = ARROW_NPARAMS,
    .config_bytes = sizeof(struct arrow_config),
    .open = arrow_open,
    .close = arrow_close,
    .read = arrow_read,
};
