// grey.h -- how grey a colour is. Layer: image (may include base).
// Threads: any thread.
#pragma once
#include <stdint.h>

// 0.299 red + 0.587 green + 0.114 blue in 16 bits of fraction, rounded: ITU-R 601 as Pillow has it.
static inline unsigned char bm_grey(unsigned red, unsigned green, unsigned blue)
{
    return (unsigned char)((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}
