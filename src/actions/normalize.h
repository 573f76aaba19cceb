// normalize.h -- what normalize makes of uint8, for an action that does it on the way.
// Layer: actions.
// Threads: any thread.
#pragma once
#include "pipeline/action.h"

struct bm_normalize { // the parameters
    struct bm_texts components;
    struct bm_floats mean, std;
    int64_t axis;
    double scale;
    enum bm_dtype dtype;
};

enum { BM_NORMALIZE_TABLE = 256 };

// How many means and deviations there are: 1, or one for each channel.
uint64_t bm_normalize_nchannels(const struct bm_normalize *normalize);
// Of what uint8 becomes.
enum bm_dtype bm_normalize_dtype(const struct bm_normalize *normalize);
// The result of every uint8 in every channel: [nchannels][BM_NORMALIZE_TABLE] of that dtype.
void bm_normalize_tables(const struct bm_normalize *normalize, void *ret_tables);
