#include "image/orient.h"

#include <string.h>

struct bm_orient bm_orient_of(unsigned orientation)
{
    static const struct bm_orient orients[] = {
        // what EXIF calls row 0 and column 0: top or bottom, left or right
        [1] = {false, false, false}, [2] = {false, false, true}, [3] = {false, true, true},
        [4] = {false, true, false},  [5] = {true, false, false}, [6] = {true, true, false},
        [7] = {true, true, true},    [8] = {true, false, true},
    };
    BM_ASSERT(orientation >= 1 && orientation <= 8);
    return orients[orientation];
}

struct bm_region bm_orient_region(const struct bm_orient *orient, const struct bm_region *region,
                                  uint32_t height, uint32_t width)
{
    struct bm_region in_file = *region;
    if (orient->transposed)
        in_file = (struct bm_region){region->left, region->top, region->width, region->height};
    if (orient->rows_reversed)
        in_file.top = height - in_file.top - in_file.height;
    if (orient->columns_reversed)
        in_file.left = width - in_file.left - in_file.width;
    return in_file;
}

void bm_orient_pixels(const struct bm_orient *orient, const struct bm_pixels *from,
                      const struct bm_pixels *to)
{
    size_t depth = from->channels;
    // Each step to the right, or down, in `to` is one of these in `from`.
    ptrdiff_t column = (ptrdiff_t)(orient->columns_reversed ? -depth : depth);
    ptrdiff_t row = (ptrdiff_t)(orient->rows_reversed ? -from->stride : from->stride);
    ptrdiff_t right = orient->transposed ? row : column;
    ptrdiff_t down = orient->transposed ? column : row;
    const unsigned char *first = from->data;
    if (orient->rows_reversed)
        first += (from->height - 1) * from->stride;
    if (orient->columns_reversed)
        first += (from->width - 1) * depth;
    for (uint32_t y = 0; y < to->height; y++) {
        const unsigned char *at = first + (ptrdiff_t)y * down;
        unsigned char *out = to->data + y * to->stride;
        for (uint32_t x = 0; x < to->width; x++, at += right, out += depth)
            memcpy(out, at, depth);
    }
}
