// Any bytes as JSON lines, opened in three ways: refused with a reason, or readable.
#include <stdio.h>

#include "fuzz/fuzz.h"

static const char *const readings[] = {
    "{jsonl: {path: %s, components: {a: {dtype: float32}, b: {dtype: string}}}}",
    "{jsonl: {path: %s, components: {a: {dtype: int64, ragged: true}, "
    "b: {field: b.c, dtype: bytes}, c: {field: b..d, dtype: bool}}, fill: {c: true, b: x}}}",
    "{jsonl: {path: %s, components: {a: {dtype: uint8, shape: [2, 2]}, "
    "b: {dtype: bfloat16, shape: 1}}, fill: {a: 3}}}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    if (gzip || fuzz_is_zstd(data, size)) // csv's target has these
        return 0;
    fuzz_file_open(&file, data, size);
    for (unsigned i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        char yaml[512];
        uint64_t items[FUZZ_ITEMS_MAX];
        struct fuzz_rows rows;
        // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of ours
        snprintf(yaml, sizeof yaml, readings[i], file.path);
        if (!fuzz_source_open(yaml, &ref, &error))
            continue;
        const struct bm_source *source = bm_source_get(ref);
        BM_ASSERT(source->nitems <= size);
        uint64_t nitems = source->nitems < FUZZ_ITEMS_MAX ? source->nitems : FUZZ_ITEMS_MAX;
        for (uint64_t item = 0; item < nitems; item++)
            items[item] = nitems - 1 - item;
        fuzz_source_read(source, items, nitems, &rows);
        bm_batch_fini(&rows.batch);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
