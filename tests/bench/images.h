// images.h -- the pictures of the benchmark. Layer: tests.
//
// Threads: the main thread.
#pragma once

enum { BENCH_IMAGES = 2000, BENCH_IMAGE_SIDE = 224 };

// The folder with them, made at the first use and kept: 2,000 JPEGs of 500 x 375 in two levels,
// crops of examples/images/photographs.
const char *bench_images_folder(void);
