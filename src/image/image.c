#include "image/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image/codec.h"
#include "image/orient.h"
#include "image/resize.h"

// ---- Formats ----

struct codec {
    const char *name;
    const char *magic; // the first bytes of every such file
    size_t magic_size;
    enum bm_status (*probe)(const unsigned char *data, size_t size, struct bm_image_info *ret_info,
                            struct bm_error *err); // NULL: this build has none
    enum bm_status (*decode)(struct bm_image_scratch *scratch, const unsigned char *data,
                             size_t size, const struct bm_file_region *what,
                             const struct bm_pixels *to, struct bm_error *err);
};

static const struct codec codecs[] = {
#if BM_WITH_JPEG
    [BM_IMAGE_JPEG] = {"JPEG", "\xff\xd8\xff", 3, bm_jpeg_probe, bm_jpeg_decode},
#else
    [BM_IMAGE_JPEG] = {"JPEG", "\xff\xd8\xff", 3, NULL, NULL},
#endif
#if BM_WITH_PNG
    [BM_IMAGE_PNG] = {"PNG", "\x89PNG\r\n\x1a\n", 8, bm_png_probe, bm_png_decode},
#else
    [BM_IMAGE_PNG] = {"PNG", "\x89PNG\r\n\x1a\n", 8, NULL, NULL},
#endif
};

static const struct codec *codec_find(const void *data, size_t size) // or NULL
{
    for (unsigned i = BM_IMAGE_JPEG; i < sizeof codecs / sizeof codecs[0]; i++)
        if (size >= codecs[i].magic_size &&
            memcmp(data, codecs[i].magic, codecs[i].magic_size) == 0)
            return &codecs[i];
    return NULL;
}

static enum bm_status codec_missing(const unsigned char *data, size_t size, struct bm_error *err)
{
    if (size == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                       "expected a JPEG or PNG picture, got no bytes");
    char start[3 * 8 + 1];
    for (size_t i = 0; i < size && i < 8; i++)
        snprintf(start + 3 * i, 4, " %02x", data[i]);
    return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                   "expected a JPEG or PNG picture, got %zu bytes that start with%s", size, start);
}

// ---- Heads ----

struct head {
    const struct codec *codec;
    uint32_t height, width; // as in the file
    struct bm_orient orient;
    struct bm_image_info info; // upright
};

static enum bm_status head_read(const void *data, size_t size, const struct bm_decode *decode,
                                struct head *ret_head, struct bm_error *err)
{
    struct head head = {.codec = codec_find(data, size)};
    struct bm_image_info *info = &head.info;
    if (head.codec == NULL)
        return codec_missing(data, size, err);
    if (head.codec->probe == NULL)
        return bm_fail(err, BM_UNIMPLEMENTED, NULL,
                       "expected a picture in a format of this build, got %s", head.codec->name);
    enum bm_status status = head.codec->probe(data, size, info, err);
    if (status != BM_OK)
        return status;
    if (info->height > BM_IMAGE_SIDE_MAX || info->width > BM_IMAGE_SIDE_MAX)
        return bm_fail(err, BM_OUT_OF_RANGE, NULL,
                       "expected a picture of at most %d x %d pixels, got %" PRIu32 " x %" PRIu32,
                       BM_IMAGE_SIDE_MAX, BM_IMAGE_SIDE_MAX, info->height, info->width);
    uint64_t npixels = (uint64_t)info->height * info->width;
    if (decode->pixels_max != 0 && npixels > decode->pixels_max)
        return bm_fail(err, BM_OUT_OF_RANGE, NULL,
                       "expected a picture of at most %" PRIu64 " pixels, got %" PRIu32
                       " x %" PRIu32 " = %" PRIu64,
                       decode->pixels_max, info->height, info->width, npixels);
    head.height = info->height;
    head.width = info->width;
    if (decode->ignore_orientation)
        info->orientation = 1;
    head.orient = bm_orient_of(info->orientation);
    if (head.orient.transposed) {
        info->height = head.width;
        info->width = head.height;
    }
    *ret_head = head;
    return BM_OK;
}

enum bm_status bm_image_probe(const void *data, size_t size, const struct bm_decode *decode,
                              struct bm_image_info *ret_info, struct bm_error *err)
{
    struct head head = {0};
    enum bm_status status = head_read(data, size, decode, &head, err);
    if (status == BM_OK)
        *ret_info = head.info;
    return status;
}

// ---- Regions ----

static bool span_fits(uint32_t start, uint32_t length, uint32_t whole)
{
    return length > 0 && length <= whole && start <= whole - length;
}

static enum bm_status head_read_for(const void *data, size_t size, const struct bm_decode *decode,
                                    const struct bm_region *region, struct head *ret_head,
                                    struct bm_error *err)
{
    struct head head = {0};
    enum bm_status status = head_read(data, size, decode, &head, err);
    if (status != BM_OK)
        return status;
    if (!span_fits(region->top, region->height, head.info.height) ||
        !span_fits(region->left, region->width, head.info.width))
        return bm_fail(err, BM_OUT_OF_RANGE, NULL,
                       "expected a region inside of the %" PRIu32 " x %" PRIu32
                       " pixels, got rows %" PRIu32 " + %" PRIu32 ", columns %" PRIu32
                       " + %" PRIu32,
                       head.info.height, head.info.width, region->top, region->height, region->left,
                       region->width);
    *ret_head = head;
    return BM_OK;
}

// Decodes `in_file`, a region as it lies in the file, and turns it upright into `to`.
static enum bm_status head_decode(const struct head *head, struct bm_image_scratch *scratch,
                                  const void *data, size_t size,
                                  const struct bm_file_region *in_file, const struct bm_pixels *to,
                                  struct bm_error *err)
{
    BM_ASSERT(head->codec != NULL); // head_read() found it
    if (head->info.orientation == 1)
        return head->codec->decode(scratch, data, size, in_file, to, err);
    struct bm_pixels lying = {0};
    enum bm_status status = bm_scratch_pixels(scratch, BM_SCRATCH_FILE, in_file->region.height,
                                              in_file->region.width, to->channels, &lying, err);
    if (status == BM_OK)
        status = head->codec->decode(scratch, data, size, in_file, &lying, err);
    if (status == BM_OK)
        bm_orient_pixels(&head->orient, &lying, to);
    return status;
}

enum bm_status bm_image_decode(struct bm_image_scratch *scratch, const void *data, size_t size,
                               const struct bm_decode *decode, const struct bm_region *region,
                               const struct bm_pixels *to, struct bm_error *err)
{
    BM_ASSERT(to->channels == decode->channels && (to->channels == 1 || to->channels == 3));
    BM_ASSERT(to->height == region->height && to->width == region->width);
    struct head head = {0};
    enum bm_status status = head_read_for(data, size, decode, region, &head, err);
    if (status != BM_OK)
        return status;
    const struct bm_file_region in_file = {
        bm_orient_region(&head.orient, region, head.height, head.width), 1};
    return head_decode(&head, scratch, data, size, &in_file, to, err);
}

// ---- Regions resized ----

// The largest of 8, 4, 2 and 1 by which `region` may shrink without getting smaller than `to`.
static unsigned shrink_of(const struct head *head, const struct bm_decode_resize *how,
                          const struct bm_region *region, const struct bm_pixels *to)
{
    unsigned shrink = 1;
    if (!how->scale_in_dct || head->info.format != BM_IMAGE_JPEG)
        return shrink;
    while (shrink < 8 && region->height / (2 * shrink) >= to->height &&
           region->width / (2 * shrink) >= to->width)
        shrink *= 2;
    return shrink;
}

struct shrunk { // one side of a region in a picture that was shrunk
    uint32_t start, length;
    double inset; // where the region starts in it
};

static struct shrunk shrunk_of(uint32_t start, uint32_t length, unsigned shrink, bool reversed)
{
    uint32_t end = start + length;
    uint32_t first = start / shrink;
    uint32_t last = (end + shrink - 1) / shrink; // within the picture: its sides round up, too
    uint32_t inset = reversed ? last * shrink - end : start - first * shrink;
    return (struct shrunk){first, last - first, (double)inset / shrink};
}

enum bm_status bm_image_decode_resize(struct bm_image_scratch *scratch, const void *data,
                                      size_t size, const struct bm_decode_resize *how,
                                      const struct bm_region *region, const struct bm_pixels *to,
                                      struct bm_error *err)
{
    BM_ASSERT(to->channels == how->decode.channels && (to->channels == 1 || to->channels == 3));
    struct head head = {0};
    enum bm_status status = head_read_for(data, size, &how->decode, region, &head, err);
    if (status != BM_OK)
        return status;
    unsigned shrink = shrink_of(&head, how, region, to);
    struct bm_region lying = bm_orient_region(&head.orient, region, head.height, head.width);
    struct shrunk rows = shrunk_of(lying.top, lying.height, shrink, head.orient.rows_reversed);
    struct shrunk columns =
        shrunk_of(lying.left, lying.width, shrink, head.orient.columns_reversed);
    const struct bm_file_region in_file = {{rows.start, columns.start, rows.length, columns.length},
                                           shrink};
    if (head.orient.transposed) {
        struct shrunk swapped = rows;
        rows = columns;
        columns = swapped;
    }
    struct bm_pixels pixels = {0};
    status = bm_scratch_pixels(scratch, BM_SCRATCH_REGION, rows.length, columns.length,
                               to->channels, &pixels, err);
    if (status == BM_OK)
        status = head_decode(&head, scratch, data, size, &in_file, &pixels, err);
    if (status != BM_OK)
        return status;
    const struct bm_axis down = {.size = rows.length,
                                 .start = rows.inset,
                                 .length = (double)region->height / shrink,
                                 .noutputs = to->height,
                                 .count = to->height};
    const struct bm_axis across = {.size = columns.length,
                                   .start = columns.inset,
                                   .length = (double)region->width / shrink,
                                   .noutputs = to->width,
                                   .count = to->width};
    return bm_resize_axes(scratch, &how->resize, &pixels, &down, &across, to, err);
}

enum bm_status bm_image_decode_resize_part(struct bm_image_scratch *scratch, const void *data,
                                           size_t size, const struct bm_decode_resize *how,
                                           uint32_t height, uint32_t width,
                                           const struct bm_region *part, const struct bm_pixels *to,
                                           struct bm_error *err)
{
    BM_ASSERT(to->channels == how->decode.channels && (to->channels == 1 || to->channels == 3));
    BM_ASSERT(to->height == part->height && to->width == part->width);
    struct head head = {0};
    enum bm_status status = head_read(data, size, &how->decode, &head, err);
    if (status != BM_OK)
        return status;
    const struct bm_region all = {.height = head.info.height, .width = head.info.width};
    const unsigned shrink =
        shrink_of(&head, how, &all, &(struct bm_pixels){.height = height, .width = width});
    // The whole picture, shrunk; rows and columns as they lie, then upright.
    struct shrunk rows = shrunk_of(0, head.height, shrink, head.orient.rows_reversed);
    struct shrunk columns = shrunk_of(0, head.width, shrink, head.orient.columns_reversed);
    const uint32_t lying_height = rows.length, lying_width = columns.length;
    if (head.orient.transposed) {
        struct shrunk swapped = rows;
        rows = columns;
        columns = swapped;
    }
    struct bm_axis down = {.size = rows.length,
                           .start = rows.inset,
                           .length = (double)all.height / shrink,
                           .noutputs = height,
                           .first = part->top,
                           .count = part->height};
    struct bm_axis across = {.size = columns.length,
                             .start = columns.inset,
                             .length = (double)all.width / shrink,
                             .noutputs = width,
                             .first = part->left,
                             .count = part->width};
    struct bm_region used;
    bm_axis_reach(&how->resize, &down, &used.top, &used.height);
    bm_axis_reach(&how->resize, &across, &used.left, &used.width);
    down.origin = used.top;
    across.origin = used.left;
    const struct bm_file_region in_file = {
        bm_orient_region(&head.orient, &used, lying_height, lying_width), shrink};
    struct bm_pixels pixels = {0};
    status = bm_scratch_pixels(scratch, BM_SCRATCH_REGION, used.height, used.width, to->channels,
                               &pixels, err);
    if (status == BM_OK)
        status = head_decode(&head, scratch, data, size, &in_file, &pixels, err);
    return status == BM_OK ? bm_resize_axes(scratch, &how->resize, &pixels, &down, &across, to, err)
                           : status;
}
