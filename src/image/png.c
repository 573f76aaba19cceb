// png.c -- PNG pictures, by libspng.
#include <inttypes.h>
#include <string.h>

#include <spng.h>

#include "image/codec.h"
#include "image/exif.h"
#include "image/grey.h"

enum { PNG_MAGIC_SIZE = 8, PNG_CHUNK_FRAME = 12, PNG_CHUNKS_MAX = 32 << 20 };

static enum bm_status png_fail(int code, struct bm_error *err)
{
    if (code == SPNG_EMEM)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory in libspng");
    if (code == SPNG_IO_EOF)
        return bm_fail(err, BM_DATA_LOSS, NULL,
                       "expected a whole PNG picture, got one that is cut off");
    return bm_fail(err, BM_DATA_LOSS, NULL, "expected a sound PNG picture, got: %s",
                   spng_strerror(code));
}

// The data of the first chunk of this kind, or NULL. The lengths alone are followed, from chunk to
// chunk; libspng checks the rest of those that it reads.
static const unsigned char *png_find(const unsigned char *data, size_t size, const char *kind,
                                     size_t *ret_size)
{
    size_t at = PNG_MAGIC_SIZE;
    while (size - at >= PNG_CHUNK_FRAME) {
        const unsigned char *chunk = data + at;
        size_t length = (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 |
                        (size_t)chunk[3];
        if (length > size - at - PNG_CHUNK_FRAME)
            return NULL;
        if (memcmp(chunk + 4, kind, 4) == 0) {
            *ret_size = length;
            return chunk + 8;
        }
        at += PNG_CHUNK_FRAME + length;
    }
    return NULL;
}

// A reader of `data`, which must outlive it.
static enum bm_status png_open(const unsigned char *data, size_t size, spng_ctx **ret_png,
                               struct spng_ihdr *ret_head, struct bm_error *err)
{
    spng_ctx *png = spng_ctx_new(0);
    if (png == NULL)
        return png_fail(SPNG_EMEM, err);
    int code = spng_set_crc_action(png, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    if (code == 0) // bounds what texts and profiles may inflate to
        code = spng_set_chunk_limits(png, PNG_CHUNKS_MAX, PNG_CHUNKS_MAX);
    if (code == 0)
        code = spng_set_png_buffer(png, data, size);
    if (code == 0)
        code = spng_get_ihdr(png, ret_head);
    if (code != 0) {
        spng_ctx_free(png);
        return png_fail(code, err);
    }
    *ret_png = png;
    return BM_OK;
}

static unsigned head_channels(const struct spng_ihdr *head)
{
    switch (head->color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
        return 1;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
        return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
        return 4;
    default: // SPNG_COLOR_TYPE_TRUECOLOR and SPNG_COLOR_TYPE_INDEXED
        return 3;
    }
}

enum bm_status bm_png_probe(const unsigned char *data, size_t size, struct bm_image_info *ret_info,
                            struct bm_error *err)
{
    spng_ctx *png = NULL;
    struct spng_ihdr head = {0};
    enum bm_status status = png_open(data, size, &png, &head, err);
    if (status != BM_OK)
        return status;
    spng_ctx_free(png);
    size_t exif_size = 0;
    const unsigned char *exif = png_find(data, size, "eXIf", &exif_size);
    *ret_info = (struct bm_image_info){
        .format = BM_IMAGE_PNG,
        .height = head.height,
        .width = head.width,
        .channels = head_channels(&head),
        .orientation = exif == NULL ? 1 : bm_exif_orientation(exif, exif_size),
    };
    return BM_OK;
}

static void row_take(const unsigned char *row, const struct bm_pixels *to, uint32_t y)
{
    unsigned char *out = to->data + y * to->stride;
    if (to->channels == 3) {
        memcpy(out, row, (size_t)to->width * 3);
        return;
    }
    for (uint32_t x = 0; x < to->width; x++, row += 3)
        out[x] = bm_grey(row[0], row[1], row[2]);
}

// Row by row down to the end of the region.
static enum bm_status png_read_rows(spng_ctx *png, struct bm_image_scratch *scratch,
                                    const struct spng_ihdr *head, const struct bm_region *region,
                                    const struct bm_pixels *to, struct bm_error *err)
{
    size_t size = (size_t)head->width * 3;
    void *row = NULL;
    enum bm_status status = bm_scratch_get(scratch, BM_SCRATCH_ROW, size, &row, err);
    if (status != BM_OK)
        return status;
    int code = spng_decode_image(png, NULL, 0, SPNG_FMT_RGB8, SPNG_DECODE_PROGRESSIVE);
    for (uint32_t y = 0; code == 0 && y < region->top + region->height; y++) {
        code = spng_decode_row(png, row, size);
        if (code == SPNG_EOI && y == head->height - 1)
            code = 0;
        if (code == 0 && y >= region->top)
            row_take((unsigned char *)row + (size_t)region->left * 3, to, y - region->top);
    }
    return code == 0 ? BM_OK : png_fail(code, err);
}

// An interlaced picture has a bit of every row everywhere.
static enum bm_status png_read_all(spng_ctx *png, struct bm_image_scratch *scratch,
                                   const struct spng_ihdr *head, const struct bm_region *region,
                                   const struct bm_pixels *to, struct bm_error *err)
{
    size_t stride = (size_t)head->width * 3;
    void *whole = NULL;
    enum bm_status status =
        bm_scratch_get(scratch, BM_SCRATCH_ROW, stride * head->height, &whole, err);
    if (status != BM_OK)
        return status;
    int code = spng_decode_image(png, whole, stride * head->height, SPNG_FMT_RGB8, 0);
    if (code != 0)
        return png_fail(code, err);
    const unsigned char *first = (unsigned char *)whole + (size_t)region->left * 3;
    for (uint32_t y = 0; y < region->height; y++)
        row_take(first + (region->top + y) * stride, to, y);
    return BM_OK;
}

enum bm_status bm_png_decode(struct bm_image_scratch *scratch, const unsigned char *data,
                             size_t size, const struct bm_file_region *what,
                             const struct bm_pixels *to, struct bm_error *err)
{
    BM_ASSERT(what->shrink == 1);
    spng_ctx *png = NULL;
    struct spng_ihdr head = {0};
    size_t end_size = 0;
    // Rows below the region are not decoded, so nothing else would tell that they are missing.
    if (png_find(data, size, "IEND", &end_size) == NULL)
        return png_fail(SPNG_IO_EOF, err);
    enum bm_status status = png_open(data, size, &png, &head, err);
    if (status != BM_OK)
        return status;
    if (head.interlace_method == SPNG_INTERLACE_NONE)
        status = png_read_rows(png, scratch, &head, &what->region, to, err);
    else
        status = png_read_all(png, scratch, &head, &what->region, to, err);
    spng_ctx_free(png);
    return status;
}
