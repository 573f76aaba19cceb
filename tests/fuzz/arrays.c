#include "fuzz/arrays.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GZIP_BLOCK_MAX = 65535 };

static bool is_gzip(const uint8_t *data, size_t size)
{
    return size >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

static bool array_open(const char *type, const char *path, struct bm_source_ref **ret_source,
                       struct bm_error *err)
{
    char yaml[128];
    snprintf(yaml, sizeof yaml, "{%s: {path: %s}}", type, path);
    return fuzz_source_open(yaml, ret_source, err);
}

// ---- The rows ----

static void row_check(const struct bm_component *component, bool big_endian, const uint8_t *from,
                      const unsigned char *row)
{
    uint64_t row_bytes = bm_component_item_bytes(component);
    size_t size = bm_dtype_size(component->dtype);
    for (uint64_t i = 0; i < row_bytes; i++) {
        uint64_t at = big_endian ? i - i % size + (size - 1 - i % size) : i;
        uint8_t expected = component->dtype == BM_BOOL ? from[at] != 0 : from[at];
        BM_ASSERT(row[i] == expected);
    }
}

// `data` and `size`: the file, not packed.
static void rows_check(const struct bm_source *source, bool big_endian, const uint8_t *data,
                       size_t size)
{
    const struct bm_component *component = &source->schema.components[0];
    uint64_t n = source->nitems, row_bytes = bm_component_item_bytes(component);
    BM_ASSERT(source->schema.ncomponents == 1 && !component->ragged && row_bytes > 0);
    BM_ASSERT(n <= size / row_bytes); // no more than there is
    const uint64_t items[] = {0, 1, n - 1, n / 2, n / 2 + 1, n / 2 + 2, 0};
    struct fuzz_rows rows;
    uint64_t nitems = n > 4 ? sizeof items / sizeof items[0] : n > 0;
    fuzz_source_read(source, items, nitems, &rows);
    for (uint64_t i = 0; i < nitems; i++)
        row_check(component, big_endian, data + size - (n - items[i]) * row_bytes,
                  rows.batch.tensors[0].data + i * row_bytes);
    bm_batch_fini(&rows.batch);
}

// ---- The same in gzip ----

static uint32_t crc32_of(const uint8_t *data, size_t size) // RFC 1952, section 8
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
    }
    return ~crc;
}

// One member with one stored block: the caller frees.
static uint8_t *gzip_of(const uint8_t *data, size_t size, size_t *ret_size)
{
    static const uint8_t head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1}; // the last: final block
    const uint16_t sizes[] = {(uint16_t)size, (uint16_t)~size};
    const uint32_t tail[] = {crc32_of(data, size), (uint32_t)size};
    uint8_t *packed = malloc(sizeof head + sizeof sizes + size + sizeof tail);
    BM_ASSERT(packed != NULL);
    memcpy(packed, head, sizeof head);
    memcpy(packed + sizeof head, sizes, sizeof sizes);
    memcpy(packed + sizeof head + sizeof sizes, data, size);
    memcpy(packed + sizeof head + sizeof sizes + size, tail, sizeof tail);
    *ret_size = sizeof head + sizeof sizes + size + sizeof tail;
    return packed;
}

static void packed_check(const char *type, bool big_endian, const struct bm_source *plain,
                         const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    size_t packed_size;
    uint8_t *packed = gzip_of(data, size, &packed_size);
    fuzz_file_open(&file, packed, packed_size);
    BM_ASSERT(array_open(type, file.path, &ref, &error));
    const struct bm_source *source = bm_source_get(ref);
    BM_ASSERT(source->identity == plain->identity && source->nitems == plain->nitems);
    rows_check(source, big_endian, data, size);
    bm_source_unref(ref);
    fuzz_file_close(&file);
    free(packed);
}

// ---- Any bytes ----

// Of a file that is gzip itself nothing is known but that its rows can be read.
static void unpacked_check(const struct bm_source *source)
{
    static const uint64_t items[] = {0};
    struct fuzz_rows rows;
    fuzz_source_read(source, items, source->nitems > 0, &rows);
    bm_batch_fini(&rows.batch);
}

void fuzz_array(const char *type, bool big_endian, const uint8_t *data, size_t size)
{
    struct fuzz_file file;
    struct bm_source_ref *ref;
    struct bm_error error;
    if (fuzz_is_zstd(data, size))
        return;
    fuzz_file_open(&file, data, size);
    if (array_open(type, file.path, &ref, &error)) {
        const struct bm_source *source = bm_source_get(ref);
        if (is_gzip(data, size)) {
            unpacked_check(source);
        } else {
            rows_check(source, big_endian, data, size);
            if (size <= GZIP_BLOCK_MAX)
                packed_check(type, big_endian, source, data, size);
        }
        bm_source_unref(ref);
    }
    fuzz_file_close(&file);
}
