// elementwise.h -- what actions share that change every element of its own. Layer: actions.
// Threads: any thread.
#pragma once
#include "pipeline/action.h"

// Changes `x` in place: a loop over one array vectorises without asking whether two overlap.
// `first` is the number of elements before x[0] since the first row of the call.
typedef void bm_kernel(const void *args, uint64_t first, void *x, uint64_t n);

// Runs it over the rows of the call. float16 and bfloat16 come as float.
void bm_map_component(const struct bm_call *call, unsigned component, bm_kernel *run,
                      const void *args);
// Whether `value` is a finite number in the precision that `component` is computed in.
enum bm_status bm_number_check(const struct bm_infer *infer, const char *parameter,
                               unsigned component, double value, struct bm_error *err);
