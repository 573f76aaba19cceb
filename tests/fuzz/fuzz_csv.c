// Any bytes as a CSV file, opened in six ways. What is read is written as another CSV, with
// every component's dtype spelled out, and opened again: the data must be the same.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

static const char *const readings[] = {
    "{csv: {path: %s}}",
    "{csv: {path: %s, delimiter: ';', skip: 1}}",
    "{csv: {path: %s, header: false, components: {"
    "a: {columns: 0, dtype: bytes}, b: {columns: [1, 2], dtype: float32, shape: [2]}}}}",
    "{csv: {path: %s, header: false, components: {"
    "a: {columns: 0, dtype: uint8}, b: {columns: 1, dtype: float16}, c: {columns: 2, dtype: bool}, "
    "d: {columns: 1, dtype: bfloat16}, e: {columns: 0, dtype: int32}}}}",
    "{csv: {path: %s, header: false, missing: ['', x], masks: [a, b, d], fill: {c: 2000-02-29, d: "
    "7}, "
    "components: {a: {columns: 0, dtype: category}, b: {columns: 0-1, dtype: datetime}, "
    "c: {columns: 1, dtype: date}, d: {columns: 2, dtype: int8}}}}",
    "{csv: {path: %s, header: false, components: {a: {columns: 0, dtype: category}}}}",
};

// ---- Reading ----

// How many bytes the first character takes; 0: it is none.
static unsigned utf8_size(const unsigned char *at, uint64_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned size = *at < 0x80 ? 1 : *at < 0xc0 ? 5 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
    if (size > 4 || size > left)
        return 0;
    uint32_t code = size == 1 ? *at : *at & (0xffu >> (size + 1));
    for (unsigned i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[size] || code > 0x10ffff || surrogate || *at >= 0xf8 ? 0 : size;
}

static void text_check(const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        unsigned size = utf8_size(at, (uint64_t)(end - at));
        BM_ASSERT(size > 0);
        at += size;
    }
}

static void texts_check(const struct bm_batch *batch)
{
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        const struct bm_tensor *tensor = &batch->tensors[c];
        if (batch->schema->components[c].dtype != BM_STRING)
            continue;
        for (uint64_t i = 0; i < batch->nitems; i++)
            text_check(tensor->data + tensor->offsets[i], tensor->data + tensor->offsets[i + 1]);
    }
}

// ---- Writing ----

static void text_write(struct bm_buffer *out, const unsigned char *data, uint64_t size)
{
    bm_buffer_add_text(out, "\"");
    for (uint64_t i = 0; i < size; i++) {
        bm_buffer_add(out, data + i, 1);
        if (data[i] == '"')
            bm_buffer_add_text(out, "\"");
    }
    bm_buffer_add_text(out, "\"");
}

static void number_write(struct bm_buffer *out, enum bm_dtype dtype, const unsigned char *data,
                         uint64_t index)
{
    int64_t integer;
    memcpy(&integer, data + (dtype == BM_INT64 ? 8 * index : 0), dtype == BM_INT64 ? 8 : 0);
    if (dtype == BM_INT64) // not every one is a double
        bm_buffer_print(out, "%" PRId64, integer);
    else
        bm_buffer_print(out, "%.17g", bm_dtype_get(dtype, data, index));
}

static void row_write(struct bm_buffer *out, const struct bm_batch *batch, uint64_t row)
{
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        const struct bm_component *component = &batch->schema->components[c];
        const struct bm_tensor *tensor = &batch->tensors[c];
        uint64_t n = bm_component_elements(component);
        if (c > 0)
            bm_buffer_add_text(out, ",");
        if (component->ragged)
            text_write(out, tensor->data + tensor->offsets[row],
                       tensor->offsets[row + 1] - tensor->offsets[row]);
        for (uint64_t i = 0; i < n && !component->ragged; i++) {
            bm_buffer_add_text(out, i > 0 ? "," : "");
            number_write(out, component->dtype, tensor->data, row * n + i);
        }
    }
    bm_buffer_add_text(out, "\n");
}

// How the written file is read. It has a header line, so that there may be no rows.
static void reading_write(struct bm_buffer *yaml, const struct bm_schema *schema, const char *path)
{
    unsigned column = 0;
    bm_buffer_print(yaml, "{csv: {path: %s, components: {", path);
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        const struct bm_component *component = &schema->components[c];
        unsigned n = component->ragged ? 1 : (unsigned)bm_component_elements(component);
        bm_buffer_print(yaml, "'%s': {columns: %u-%u, dtype: %s%s}, ", component->name, column,
                        column + n - 1, bm_dtype_name(component->dtype),
                        component->ndim == 1 ? ", shape: [2]" : "");
        column += n;
    }
    bm_buffer_add_text(yaml, "}}}");
}

static void written_check(const struct bm_source *source, struct bm_buffer *text)
{
    struct fuzz_file file;
    struct bm_buffer yaml;
    struct bm_source_ref *ref;
    struct bm_error error;
    fuzz_file_open(&file, text->data, text->size);
    bm_buffer_init(&yaml);
    reading_write(&yaml, &source->schema, file.path);
    BM_ASSERT(fuzz_source_open(bm_buffer_text(&yaml), &ref, &error));
    const struct bm_source *again = bm_source_get(ref);
    BM_ASSERT(again->nitems == source->nitems && again->identity == source->identity);
    bm_source_unref(ref);
    bm_buffer_fini(&yaml);
    fuzz_file_close(&file);
}

// ---- Any bytes ----

static void rows_write(struct bm_buffer *text, const struct bm_source *source, uint64_t nitems,
                       const struct bm_batch *batch)
{
    for (unsigned c = 0; c < source->schema.ncomponents; c++) {
        const struct bm_component *component = &source->schema.components[c];
        uint64_t ncolumns = component->ragged ? 1 : bm_component_elements(component);
        for (uint64_t i = 0; i < ncolumns; i++)
            bm_buffer_add_text(text, c == 0 && i == 0 ? "name" : ",name");
    }
    bm_buffer_add_text(text, "\n");
    for (uint64_t row = 0; row < nitems; row++)
        row_write(text, batch, row);
}

// What has names behind its values is not written as what it was.
static bool has_vocabulary(const struct bm_schema *schema)
{
    for (unsigned c = 0; c < schema->ncomponents; c++) {
        if (schema->components[c].vocabulary != NULL)
            return true;
    }
    return false;
}

static void source_check(const struct bm_source *source, size_t size)
{
    struct bm_buffer text;
    uint64_t items[FUZZ_ITEMS_MAX];
    struct fuzz_rows rows;
    uint64_t nitems = source->nitems < FUZZ_ITEMS_MAX ? source->nitems : FUZZ_ITEMS_MAX;
    BM_ASSERT(source->schema.ncomponents > 0);
    BM_ASSERT(source->nitems <= UINT64_C(1100) * (size + 1)); // gzip packs no tighter
    for (uint64_t i = 0; i < nitems; i++)
        items[i] = i;
    fuzz_source_read(source, items, nitems, &rows);
    texts_check(&rows.batch);
    if (nitems == source->nitems && !has_vocabulary(&source->schema)) { // all of it
        bm_buffer_init(&text);
        rows_write(&text, source, nitems, &rows.batch);
        written_check(source, &text);
        bm_buffer_fini(&text);
    }
    bm_batch_fini(&rows.batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    if (fuzz_is_zstd(data, size))
        return 0;
    fuzz_file_open(&file, data, size);
    for (unsigned i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        char yaml[512];
        // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of ours
        snprintf(yaml, sizeof yaml, readings[i], file.path);
        if (!fuzz_source_open(yaml, &ref, &error))
            continue;
        source_check(bm_source_get(ref), size);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
