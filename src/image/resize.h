// resize.h -- resizing from a box that need not end between pixels, and of a part of the result
// alone. Layer: image (may include base).
// Threads: any thread; a scratch belongs to one thread at a time.
#pragma once
#include "image/image.h"

struct bm_axis {           // one side of a picture that is resized
    uint32_t size;         // of the picture
    double start, length;  // of the box in it; inside it and not empty
    uint32_t noutputs;     // that the box becomes
    uint32_t first, count; // of these, the ones that are wanted
    uint32_t origin;       // the pixel where the memory begins that the caller has of it
};

// The pixels that the wanted outputs are made of, or some more.
void bm_axis_reach(const struct bm_resize *resize, const struct bm_axis *axis, uint32_t *ret_start,
                   uint32_t *ret_length);
// As bm_image_resize(), of a box, a part of the result. Pixels outside the box are used where the
// filter reaches them. `from` is what the caller has of the picture: all that the axes reach.
enum bm_status bm_resize_axes(struct bm_image_scratch *scratch, const struct bm_resize *resize,
                              const struct bm_pixels *from, const struct bm_axis *down,
                              const struct bm_axis *across, const struct bm_pixels *to,
                              struct bm_error *err);
