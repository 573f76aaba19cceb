// resize.h -- resizing from a box that need not end between pixels. Layer: image (may include
// base).
// Threads: any thread; a scratch belongs to one thread at a time.
#pragma once
#include "image/image.h"

struct bm_box { // in pixels of the picture; inside it and not empty
    double top, left, height, width;
};

// As bm_image_resize(), of `box` only. Pixels outside it are used where the filter reaches them.
enum bm_status bm_resize_box(struct bm_image_scratch *scratch, const struct bm_resize *resize,
                             const struct bm_pixels *from, const struct bm_box *box,
                             const struct bm_pixels *to, struct bm_error *err);
