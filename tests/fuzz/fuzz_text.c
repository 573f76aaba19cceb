// Any bytes as a text: its lines are those that a plain search finds.
#include <stdio.h>
#include <string.h>

#include "fuzz/fuzz.h"

static void line_check(const struct bm_batch *batch, uint64_t row, const uint8_t *start,
                       const uint8_t *end)
{
    const struct bm_tensor *tensor = &batch->tensors[0];
    uint64_t size = tensor->offsets[row + 1] - tensor->offsets[row];
    if (end > start && end[-1] == '\n') {
        end--;
        end -= end > start && end[-1] == '\r';
    }
    BM_ASSERT(size == (uint64_t)(end - start));
    BM_ASSERT(size == 0 || memcmp(tensor->data + tensor->offsets[row], start, size) == 0);
}

static void lines_check(const struct bm_source *source, const uint8_t *data, size_t size)
{
    uint64_t items[FUZZ_ITEMS_MAX], n = 0;
    struct fuzz_rows rows;
    const uint8_t *at = data, *end = data + size;
    for (uint64_t i = 0; i < FUZZ_ITEMS_MAX; i++)
        items[i] = i;
    uint64_t nread = source->nitems < FUZZ_ITEMS_MAX ? source->nitems : FUZZ_ITEMS_MAX;
    fuzz_source_read(source, items, nread, &rows);
    for (; at < end; n++) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        const uint8_t *next = newline == NULL ? end : newline + 1;
        if (n < nread)
            line_check(&rows.batch, n, at, next);
        at = next;
    }
    BM_ASSERT(n == source->nitems);
    bm_batch_fini(&rows.batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const dtypes[] = {"bytes", "string"};
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    if (gzip || fuzz_is_zstd(data, size)) // csv's target has these
        return 0;
    fuzz_file_open(&file, data, size);
    for (unsigned i = 0; i < 2; i++) {
        char yaml[128];
        snprintf(yaml, sizeof yaml, "{text: {path: %s, dtype: %s}}", file.path, dtypes[i]);
        bool opened = fuzz_source_open(yaml, &ref, &error);
        BM_ASSERT(opened || i == 1); // bytes may be any
        if (!opened)
            continue;
        lines_check(bm_source_get(ref), data, size);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
