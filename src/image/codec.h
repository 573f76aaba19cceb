// codec.h -- what is asked of each format: jpeg.c and png.c answer. Layer: image (may include
// base).
//
// Here a picture is as it lies in its file; image.c turns it upright.
// Threads: any thread; a scratch belongs to one thread at a time.
#pragma once
#include "image/scratch.h"

struct bm_file_region {
    struct bm_region region; // of the picture shrunk by `shrink`
    unsigned shrink;         // 1; JPEG also 2, 4 or 8: each side divided by it and rounded up
};

// `ret_info` has the sides as in the file, and the orientation that EXIF tells.
enum bm_status bm_jpeg_probe(const unsigned char *data, size_t size, struct bm_image_info *ret_info,
                             struct bm_error *err);
enum bm_status bm_png_probe(const unsigned char *data, size_t size, struct bm_image_info *ret_info,
                            struct bm_error *err);

// `to` has the region's size, and 1 or 3 channels.
enum bm_status bm_jpeg_decode(struct bm_image_scratch *scratch, const unsigned char *data,
                              size_t size, const struct bm_file_region *what,
                              const struct bm_pixels *to, struct bm_error *err);
// Alpha is left out, as Pillow's convert("RGB") does; of 16 bits the upper 8 are taken.
enum bm_status bm_png_decode(struct bm_image_scratch *scratch, const unsigned char *data,
                             size_t size, const struct bm_file_region *what,
                             const struct bm_pixels *to, struct bm_error *err);

void bm_jpeg_free(struct bm_jpeg *jpeg); // NULL is fine
