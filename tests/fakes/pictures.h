// pictures.h -- pictures to decode, made when a test runs. Layer: tests.
// Threads: one thread; never fails: it asserts.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_jpeg { // all zero, but for the sides and channels, is a baseline file
    uint32_t height, width;
    unsigned channels;           // 1 grey, 3 colours, 4 inks as Adobe writes them
    unsigned across, down;       // chroma samples per pixel: 2, 2 is "4:2:0"; 0 is 1
    unsigned restart;            // blocks between restart markers; 0: none
    bool progressive;            // in several scans
    bool separate;               // one scan for each channel
    unsigned orientation;        // EXIF's; 0: no EXIF
    const unsigned char *pixels; // [height, width, channels]; NULL: noise over slopes
};

// To be freed by the caller.
unsigned char *fake_jpeg_new(const struct fake_jpeg *how, size_t *ret_size);
unsigned char *fake_pixels_new(uint32_t height, uint32_t width, unsigned channels);
