// orient.h -- how a picture lies in its file, and how it is turned upright. Layer: image (may
// include base).
// Threads: any thread.
#pragma once
#include "image/image.h"

struct bm_orient { // upright row y, column x are in the file column y, row x where `transposed`
    bool transposed, rows_reversed, columns_reversed; // rows and columns as in the file
};
struct bm_orient bm_orient_of(unsigned orientation); // EXIF's, 1 to 8

// Where the upright `region` lies in a file of height x width.
struct bm_region bm_orient_region(const struct bm_orient *orient, const struct bm_region *region,
                                  uint32_t height, uint32_t width);

void bm_orient_pixels(const struct bm_orient *orient, const struct bm_pixels *from,
                      const struct bm_pixels *to);
