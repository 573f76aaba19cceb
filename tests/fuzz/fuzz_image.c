// Any bytes as a JPEG or PNG file. Where the whole can be decoded, so can every region of it, to
// the same pixels; and the whole can be resized, and every part of that comes to the same pixels.
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "image/image.h"

enum { PIXELS_MAX = 1 << 16, SIDE_MAX = 40 };

static uint32_t take_below(struct fuzz_bytes *bytes, uint32_t below)
{
    return (uint32_t)(fuzz_take(bytes, 4) % below);
}

static void check_region(const struct bm_pixels *whole, const struct bm_region *region,
                         const struct bm_pixels *part)
{
    size_t depth = whole->channels;
    for (uint32_t y = 0; y < region->height; y++)
        BM_ASSERT(memcmp(part->data + y * part->stride,
                         whole->data + (region->top + y) * whole->stride + region->left * depth,
                         region->width * depth) == 0);
}

static void check_resized(const uint8_t *data, size_t size, struct bm_image_scratch *scratch,
                          const struct bm_decode *decode, const struct bm_image_info *info,
                          uint64_t choice, struct fuzz_bytes *bytes)
{
    static const enum bm_filter filters[] = {BM_FILTER_NEAREST, BM_FILTER_BILINEAR,
                                             BM_FILTER_BICUBIC, BM_FILTER_BILINEAR};
    const struct bm_decode_resize how = {
        *decode, {filters[choice >> 1 & 3], (choice & 8) != 0}, (choice & 16) != 0};
    unsigned char small[SIDE_MAX * SIDE_MAX * 3], some[SIDE_MAX * SIDE_MAX * 3];
    struct bm_error error;
    const struct bm_region all = {0, 0, info->height, info->width};
    struct bm_pixels whole = {small, 0, 1 + take_below(bytes, SIDE_MAX),
                              1 + take_below(bytes, SIDE_MAX), decode->channels};
    whole.stride = (size_t)whole.width * whole.channels;
    BM_ASSERT(bm_image_decode_resize(scratch, data, size, &how, &all, &whole, &error) == BM_OK);
    struct bm_region region = {take_below(bytes, whole.height), take_below(bytes, whole.width), 1,
                               1};
    region.height += take_below(bytes, whole.height - region.top);
    region.width += take_below(bytes, whole.width - region.left);
    const struct bm_pixels part = {some, (size_t)region.width * whole.channels, region.height,
                                   region.width, whole.channels};
    BM_ASSERT(bm_image_decode_resize_part(scratch, data, size, &how, whole.height, whole.width,
                                          &region, &part, &error) == BM_OK);
    check_region(&whole, &region, &part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bm_error error = {0};
    struct bm_image_info info;
    // The last bytes of a file hardly matter to it, so they are what chooses.
    struct fuzz_bytes bytes = {data + size - (size < 48 ? size : 48), data + size};
    const uint64_t choice = fuzz_take(&bytes, 1);
    const struct bm_decode decode = {.channels = choice & 1 ? 1 : 3, .pixels_max = PIXELS_MAX};
    if (bm_image_probe(data, size, &decode, &info, &error) != BM_OK) {
        fuzz_refused(&error);
        return 0;
    }
    struct bm_image_scratch *scratch = NULL;
    BM_ASSERT(bm_image_scratch_new(&scratch, &error) == BM_OK);
    const size_t row_size = (size_t)info.width * decode.channels;
    unsigned char *memory = malloc(2 * row_size * info.height);
    BM_ASSERT(memory != NULL);
    const struct bm_pixels whole = {memory, row_size, info.height, info.width, decode.channels};
    const struct bm_region all = {0, 0, info.height, info.width};
    if (bm_image_decode(scratch, data, size, &decode, &all, &whole, &error) != BM_OK) {
        fuzz_refused(&error);
        goto out;
    }
    struct bm_region region = {take_below(&bytes, info.height), take_below(&bytes, info.width), 1,
                               1};
    region.height += take_below(&bytes, info.height - region.top);
    region.width += take_below(&bytes, info.width - region.left);
    const struct bm_pixels part = {memory + row_size * info.height,
                                   (size_t)region.width * decode.channels, region.height,
                                   region.width, decode.channels};
    BM_ASSERT(bm_image_decode(scratch, data, size, &decode, &region, &part, &error) == BM_OK);
    check_region(&whole, &region, &part);
    check_resized(data, size, scratch, &decode, &info, choice, &bytes);
out:
    free(memory);
    bm_image_scratch_free(scratch);
    return 0;
}
