// Any bytes as an Arrow file or stream, opened in two ways: refused with a reason, or readable.
#include <stdio.h>
#include <string.h>

#include "fuzz/fuzz.h"

static const char *const readings[] = {
    "{arrow: {path: %s}}",
    "{arrow: {path: [%s, %s], components: {a: a, b: b}, fill: {a: 1}, masks: [a]}}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    if (gzip || memmem(data, size, "\x28\xb5\x2f\xfd", 4) != NULL) // csv's target has these
        return 0;
    fuzz_file_open(&file, data, size);
    for (unsigned i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        char yaml[256];
        uint64_t items[FUZZ_ITEMS_MAX];
        struct fuzz_rows rows;
        // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of ours
        snprintf(yaml, sizeof yaml, readings[i], file.path, file.path);
        if (!fuzz_source_open(yaml, &ref, &error))
            continue;
        const struct bm_source *source = bm_source_get(ref);
        // No row takes less than a bit, and LZ4 packs 255 bytes into one.
        BM_ASSERT(source->nitems <= UINT64_C(2) * 8 * 255 * size);
        uint64_t nitems = source->nitems < FUZZ_ITEMS_MAX ? source->nitems : FUZZ_ITEMS_MAX;
        for (uint64_t item = 0; item < nitems; item++)
            items[item] = item % 3 == 0 ? source->nitems - 1 - item : item;
        if (fuzz_source_try(source, items, nitems, &rows))
            bm_batch_fini(&rows.batch);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
