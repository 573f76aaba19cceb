// Any bytes as a tf.train.Example, in a record whose checks are right; or as a whole file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "fuzz/fuzz.h"

#define COMPONENTS                                                                                 \
    "{x: {dtype: float32, shape: 2}, label: {dtype: int16}, name: {dtype: string}, "               \
    "tail: {dtype: int32, ragged: true}, rows: {feature: x, dtype: float64, ragged: true, "        \
    "shape: 2}, raw: {feature: name, dtype: bytes}}"

static void components_read(const struct fuzz_file *file, const char *component)
{
    char yaml[512];
    struct bm_source_ref *ref;
    struct bm_error error;
    snprintf(yaml, sizeof yaml, "{tfrecord: {paths: %s, components: %s}}", file->path, component);
    if (!fuzz_source_open(yaml, &ref, &error))
        return;
    const struct bm_source *source = bm_source_get(ref);
    uint64_t items[FUZZ_ITEMS_MAX], n = source->nitems;
    struct fuzz_rows rows;
    uint64_t nitems = n < FUZZ_ITEMS_MAX ? n : FUZZ_ITEMS_MAX;
    for (uint64_t i = 0; i < nitems; i++)
        items[i] = n - 1 - i;
    if (fuzz_source_try(source, items, nitems, &rows))
        bm_batch_fini(&rows.batch);
    bm_source_unref(ref);
}

static void file_read(const void *data, size_t size)
{
    static const char all[] = COMPONENTS;
    static const char *const alone[] = {all, "{x: {dtype: float16, ragged: true}}",
                                        "{label: {dtype: bool}}", "{name: {dtype: bytes}}",
                                        "{tail: {dtype: uint64, ragged: true, shape: 3}}"};
    struct fuzz_file file;
    fuzz_file_open(&file, data, size);
    for (unsigned i = 0; i < sizeof alone / sizeof alone[0]; i++)
        components_read(&file, alone[i]);
    fuzz_file_close(&file);
}

static void check_put(unsigned char *to, const void *data, size_t size)
{
    uint32_t crc = bm_crc32c(data, size);
    crc = (crc >> 15 | crc << 17) + 0xa282ead8u;
    memcpy(to, &crc, sizeof crc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool gzip = size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    if (gzip || fuzz_is_zstd(data, size)) // csv's target has these
        return 0;
    file_read(data, size);
    uint64_t length = size;
    unsigned char *record = malloc(size + 16);
    BM_ASSERT(record != NULL);
    memcpy(record, &length, sizeof length);
    check_put(record + 8, record, 8);
    if (size > 0)
        memcpy(record + 12, data, size);
    check_put(record + 12 + size, record + 12, size);
    file_read(record, size + 16);
    free(record);
    return 0;
}
