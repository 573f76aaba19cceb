// Any bytes as a list of files in an empty folder: refused with a reason, or items that fail.
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char root[] = "/tmp/batchmill-fuzz-XXXXXX";
    static const char *made;
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    char yaml[160];
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    if (gzip || fuzz_is_zstd(data, size)) // csv's target has these
        return 0;
    if (made == NULL)
        made = mkdtemp(root);
    BM_ASSERT(made != NULL);
    fuzz_file_open(&file, data, size);
    snprintf(yaml, sizeof yaml, "{list: {path: %s, root: %s}}", file.path, made);
    if (fuzz_source_open(yaml, &ref, &error)) {
        const struct bm_source *source = bm_source_get(ref);
        BM_ASSERT(source->nitems > 0 && source->nitems <= size);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
