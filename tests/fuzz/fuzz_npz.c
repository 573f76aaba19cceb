// Any bytes as an archive of arrays: refused with a reason, or readable.
#include <stdio.h>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    char yaml[128];
    fuzz_file_open(&file, data, size);
    snprintf(yaml, sizeof yaml, "{npz: {path: %s}}", file.path);
    if (fuzz_source_open(yaml, &ref, &error)) {
        const struct bm_source *source = bm_source_get(ref);
        uint64_t items[FUZZ_ITEMS_MAX], n = source->nitems;
        struct fuzz_rows rows;
        uint64_t nitems = n < FUZZ_ITEMS_MAX ? n : FUZZ_ITEMS_MAX;
        for (uint64_t i = 0; i < nitems; i++)
            items[i] = n - 1 - i;
        fuzz_source_read(source, items, nitems, &rows);
        bm_batch_fini(&rows.batch);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
