// Any bytes as a tar of samples, or as one in gzip.
#include <stdio.h>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    char yaml[128];
    if (fuzz_is_zstd(data, size)) // a few bytes of it may become gigabytes
        return 0;
    fuzz_file_open(&file, data, size);
    snprintf(yaml, sizeof yaml, "{tar: {paths: %s, components: {a: 'a,b', n: bin}}}", file.path);
    if (fuzz_source_open(yaml, &ref, &error)) {
        const struct bm_source *source = bm_source_get(ref);
        const uint64_t last = source->nitems - 1, items[] = {0, last, last / 2};
        struct fuzz_rows rows;
        bool packed = size > 1 && data[0] == 0x1f;
        BM_ASSERT(packed || source->nitems <= size / 1024); // two heads an item at least
        fuzz_source_read(source, items, source->nitems > 0 ? 3 : 0, &rows);
        bm_batch_fini(&rows.batch);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
