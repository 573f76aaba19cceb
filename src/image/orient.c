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

struct walk { // over `from`, for each step to the right or down in `to`
    const unsigned char *first;
    ptrdiff_t right, down;
};

// `depth` is a constant where this is called, so that a pixel is copied by a move or two.
static inline void walk_copy(const struct walk *walk, const struct bm_pixels *to, size_t depth)
{
    enum { TILE = 32 }; // the lines of memory that a column of it reads stay near for the next one
    for (uint32_t top = 0; top < to->height; top += TILE) {
        uint32_t bottom = top + TILE < to->height ? top + TILE : to->height;
        for (uint32_t left = 0; left < to->width; left += TILE) {
            uint32_t end = left + TILE < to->width ? left + TILE : to->width;
            for (uint32_t y = top; y < bottom; y++) {
                const unsigned char *at =
                    walk->first + (ptrdiff_t)y * walk->down + (ptrdiff_t)left * walk->right;
                unsigned char *out = to->data + y * to->stride + left * depth;
                for (uint32_t x = left; x < end; x++, at += walk->right, out += depth)
                    memcpy(out, at, depth);
            }
        }
    }
}

void bm_orient_pixels(const struct bm_orient *orient, const struct bm_pixels *from,
                      const struct bm_pixels *to)
{
    ptrdiff_t column = (ptrdiff_t)from->channels, row = (ptrdiff_t)from->stride;
    const unsigned char *first = from->data;
    if (orient->rows_reversed) {
        first += (from->height - 1) * from->stride;
        row = -row;
    }
    if (orient->columns_reversed) {
        first += (size_t)(from->width - 1) * from->channels;
        column = -column;
    }
    struct walk walk = {first, column, row};
    if (orient->transposed)
        walk = (struct walk){first, row, column};
    if (to->channels == 1)
        walk_copy(&walk, to, 1);
    else
        walk_copy(&walk, to, 3);
}
