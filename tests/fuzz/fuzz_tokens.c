// Any bytes as a file of tokens, in windows whose length and stride the first two bytes say: each
// is what lies there in the file.
#include <stdio.h>
#include <string.h>

#include "fuzz/fuzz.h"

struct windows {
    uint64_t token_bytes, length, stride;
    bool targets;
};

static void windows_check(const struct bm_source *source, const struct windows *windows,
                          const uint8_t *data, size_t size)
{
    uint64_t items[FUZZ_ITEMS_MAX], bytes = windows->length * windows->token_bytes;
    struct fuzz_rows rows;
    uint64_t nread = source->nitems < FUZZ_ITEMS_MAX ? source->nitems : FUZZ_ITEMS_MAX;
    for (uint64_t i = 0; i < FUZZ_ITEMS_MAX; i++)
        items[i] = source->nitems - 1 - i % source->nitems; // from the end
    fuzz_source_read(source, items, nread, &rows);
    for (uint64_t i = 0; i < nread; i++) {
        uint64_t offset = items[i] * windows->stride * windows->token_bytes;
        BM_ASSERT(offset + bytes + windows->targets * windows->token_bytes <= size);
        BM_ASSERT(memcmp(rows.batch.tensors[0].data + i * bytes, data + offset, bytes) == 0);
        if (windows->targets)
            BM_ASSERT(memcmp(rows.batch.tensors[1].data + i * bytes,
                             data + offset + windows->token_bytes, bytes) == 0);
    }
    bm_batch_fini(&rows.batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    struct fuzz_bytes bytes = {.at = data, .end = data + size};
    uint64_t choice = fuzz_take(&bytes, 1), stride = fuzz_take(&bytes, 1);
    struct windows windows = {.token_bytes = (choice & 1) != 0 ? 4 : 2,
                              .targets = (choice & 2) != 0,
                              .length = 1 + (choice >> 2),
                              .stride = stride};
    size_t left = (size_t)(bytes.end - bytes.at);
    char yaml[200];
    bool gzip = left >= 2 && bytes.at[0] == 0x1f && bytes.at[1] == 0x8b;
    if (gzip || fuzz_is_zstd(bytes.at, left)) // csv's target has these
        return 0;
    fuzz_file_open(&file, bytes.at, left);
    snprintf(yaml, sizeof yaml,
             "{tokens: {path: [%s], dtype: %s, length: %u, stride: %u, targets: %s}}", file.path,
             windows.token_bytes == 2 ? "uint16" : "uint32", (unsigned)windows.length,
             (unsigned)stride, windows.targets ? "true" : "false");
    if (windows.stride == 0)
        windows.stride = windows.length;
    if (fuzz_source_open(yaml, &ref, &error)) {
        BM_ASSERT(bm_source_get(ref)->nitems > 0);
        windows_check(bm_source_get(ref), &windows, bytes.at, left);
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
    return 0;
}
