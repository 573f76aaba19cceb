// image_layout.h -- layout and normalize in one go. Layer: actions.
// Threads: any thread.
#pragma once
#include "actions/normalize.h"

struct bm_layout { // the parameters
    struct bm_texts components;
    int to;
};

// What does both, in whatever order they stand, or NULL: they must turn the same pictures of uint8
// and one size, [height, width, channels] in `in`, into floats, channels first. `axis` is where
// normalize finds the channels.
const struct bm_action_type *bm_layout_with_normalize(const struct bm_schema *in,
                                                      const struct bm_layout *layout,
                                                      const struct bm_normalize *normalize,
                                                      int64_t axis);
