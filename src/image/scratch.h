// scratch.h -- what a thread keeps from one picture to the next. Layer: image (may include base).
//
// Each use has its own memory, which grows with the largest picture seen: asking for pages anew
// costs as much as half of the decoding. What a huge picture took is given back after it.
// Threads: one thread at a time.
#pragma once
#include "image/image.h"

enum bm_scratch_use {
    BM_SCRATCH_ROW,    // one row as the decoder gives it
    BM_SCRATCH_FILE,   // a region as it lies in the file, not yet upright
    BM_SCRATCH_REGION, // a region that is to be resized
    BM_SCRATCH_NARROW, // the rows of it after the horizontal pass
    BM_SCRATCH_BORDER, // copies of rows that end too close to the end of their memory
    BM_SCRATCH_ACROSS, // weights of the horizontal pass, or columns
    BM_SCRATCH_DOWN,   // weights of the vertical pass
    BM_SCRATCH_VALUES, // of the filter, for one output
    BM_SCRATCH_USES
};

struct bm_jpeg;

struct bm_image_scratch {
    struct {
        void *data;
        size_t size;
    } memory[BM_SCRATCH_USES];
    struct bm_jpeg *jpeg; // NULL until a JPEG picture comes
};

// At least `size` bytes, aligned to 64, with whatever was in them. Never NULL on success.
enum bm_status bm_scratch_get(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                              size_t size, void **ret_data, struct bm_error *err);

// The same for a picture. Behind its last row lie BM_SCRATCH_SLACK bytes that may be read.
enum { BM_SCRATCH_SLACK = 64 };
enum bm_status bm_scratch_pixels(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                                 uint32_t height, uint32_t width, unsigned channels,
                                 struct bm_pixels *ret_pixels, struct bm_error *err);
