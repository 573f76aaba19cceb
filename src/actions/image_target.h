// image_target.h -- the pictures that an action works on, and where those of a row lie.
// Layer: actions.
//
// Decoded pictures are uint8, channels last. Of one size they are a dense component [height,
// width, channels] or [height, width]. Of sizes of their own they are a ragged component `image` of
// rows of `channels`, one row per pixel, beside `image.size`, int32 [2]: height, width.
// Threads: bm_image_target* while the pipeline is built, by one thread; the rest, any thread.
#pragma once
#include "image/image.h"
#include "pipeline/action.h"

#define BM_IMAGE_SIZE_SUFFIX ".size"

struct bm_image_size {
    uint32_t height, width;
};

struct bm_image_target {
    unsigned image; // index in the schema before the action
    int size_index; // of its sizes; -1: all are of one size
    unsigned out;   // index in the schema after it
    int out_size;   // of the sizes there; -1: all are of one size
    unsigned channels;
    struct bm_image_size size, to_size; // where there is one size for all
};

struct bm_image_targets { // from malloc(), so that it can lie in an action's plan
    unsigned n;
    struct bm_image_target targets[];
};

// Finds the components that hold decoded pictures.
enum bm_status bm_image_targets_find(const struct bm_infer *infer, const struct bm_texts *names,
                                     struct bm_image_targets **ret_targets, struct bm_error *err);
// Keeps all components and writes the targets: pictures of targets[i].to_size, or of sizes of
// their own where its height is 0. Fills out and out_size.
enum bm_status bm_image_targets_write(struct bm_infer *infer, struct bm_image_targets *targets,
                                      struct bm_error *err);
// Adds "image.size" to the schema, or puts it in place of one that is there.
enum bm_status bm_image_size_write(struct bm_infer *infer, const char *image, int *ret_index,
                                   struct bm_error *err);

// The pixels of a row before and after the action. False: the sizes do not fit the pixels, and the
// call has failed.
bool bm_image_pixels_in(struct bm_call *call, const struct bm_image_target *target, uint64_t row,
                        struct bm_pixels *ret_pixels);
void bm_image_pixels_out(const struct bm_call *call, const struct bm_image_target *target,
                         uint64_t row, struct bm_pixels *ret_pixels);
// Lays out pictures of `sizes` [call->count] as the component `out`, and writes `out_size`.
enum bm_status bm_image_alloc(struct bm_call *call, const struct bm_image_target *target,
                              const struct bm_image_size *sizes);

// The calling thread's own; kept until it ends.
enum bm_status bm_image_scratch_own(struct bm_image_scratch **ret_scratch, struct bm_error *err);
