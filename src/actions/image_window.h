// image_window.h -- steps that take a part of each picture and put it, resized or not, into one of
// another size: resize, crops, pad. Layer: actions.
//
// Such a step says for a picture's size alone which part it takes, so that decode_image can ask it
// first and decode no more than that.
// Threads: any thread.
#pragma once
#include "actions/image_target.h"

struct bm_window {
    struct bm_region from;       // of the picture
    struct bm_image_size scaled; // what becomes of that region
    struct bm_region part;       // of that, what is wanted; all of it where `from` is a part
    struct bm_region to;         // where it goes in the result; what lies around is filled
};

struct bm_window_config { // of all these steps; each has parameters for some
    struct bm_texts components;
    struct bm_integers size; // one number, or height and width
    int filter;              // enum bm_filter
    bool antialias;
    int mode;                      // of resize
    struct bm_floats scale, ratio; // of random_resized_crop
    struct bm_integers border;     // of pad
    struct bm_integers value;      // around the picture: none (0), one, or one for each channel
    struct bm_integers crop;       // as `size`, of center_crop where it is joined with resize
};

struct bm_window_kind {
    enum bm_status (*check)(const struct bm_window_config *config, const char *where,
                            struct bm_error *err);
    bool (*fixed)(const struct bm_window_config *config); // one size, whatever the picture's
    // Of the result for a picture of `size`; sides may come out too large.
    struct bm_image_size (*size)(const struct bm_window_config *config, struct bm_image_size size);
    // False: the picture does not fit; the result's size is `to`.
    bool (*choose)(const struct bm_window_config *config, struct bm_random *random,
                   struct bm_image_size size, struct bm_image_size to, struct bm_window *ret);
    bool resizes;
};

// What an action of such a type does, and with which parameters; NULL: it is no such step. The
// parameters' lists are borrowed from `config`.
const struct bm_window_kind *bm_window_of(const struct bm_action_type *type, const void *config,
                                          struct bm_window_config *ret_config);
// What the step takes of a picture of `size`. A failure is the call's, in the name of `row`.
bool bm_window_choose(struct bm_call *call, const struct bm_window_kind *kind,
                      const struct bm_window_config *config, uint64_t row,
                      struct bm_image_size size, struct bm_image_size to, struct bm_window *ret);
// The part of the result that the picture goes to; the rest is filled.
struct bm_pixels bm_window_open(const struct bm_window_config *config,
                                const struct bm_window *window, const struct bm_pixels *out);
bool bm_window_resizes(const struct bm_window *window); // false: pixels are copied
struct bm_pixels bm_pixels_part(const struct bm_pixels *pixels, const struct bm_region *region);
