// image.h -- pictures: what a file holds, regions of them as pixels, and what is done to pixels.
// Layer: image (may include base).
//
// JPEG is read by libjpeg-turbo, PNG by libspng. Pixels are uint8 in rows from the top, channels
// last: 1 (grey) or 3 (red, green, blue). Alpha is left out and inks are those of Adobe, as
// Pillow's convert("RGB") has it; of 16 bits the upper 8 are taken. Grey is the luma that a JPEG
// picture has already, or 0.299 red + 0.587 green + 0.114 blue, rounded as in Pillow. Sizes and
// regions are those of the picture as it is meant to be seen, EXIF's orientation applied.
// Nothing here knows of batches or pipelines. Every function is pure: equal bytes in, equal bytes
// out, on every machine, whatever instructions it has.
// Threads: any thread; a scratch belongs to one thread at a time.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { BM_IMAGE_SIDE_MAX = 65500 }; // pixels: what JPEG can hold

enum bm_image_format { BM_IMAGE_JPEG = 1, BM_IMAGE_PNG = 2 }; // the first bytes decide

struct bm_image_info {
    enum bm_image_format format;
    uint32_t height, width; // upright
    unsigned channels;      // in the file: 1 grey, 2 with alpha, 3, 4 (alpha, or CMYK)
    unsigned orientation;   // EXIF's, 1 to 8; 1 when there is none
};

struct bm_region { // of an upright picture; inside it and not empty
    uint32_t top, left, height, width;
};

struct bm_pixels { // borrowed memory
    unsigned char *data;
    size_t stride; // bytes from one row to the next
    uint32_t height, width;
    unsigned channels;
};

// Memory that decoding and resizing need, kept from one picture to the next.
struct bm_image_scratch;
enum bm_status bm_image_scratch_new(struct bm_image_scratch **ret_scratch, struct bm_error *err);
void bm_image_scratch_free(struct bm_image_scratch *scratch);

// ---- Files ----

struct bm_decode {
    unsigned channels;       // wanted: 1 or 3
    bool ignore_orientation; // the picture as it lies in the file
    uint64_t pixels_max;     // larger pictures are refused before anything is decoded; 0: no bound
};

// Reads the heads only. Errors (INVALID_ARGUMENT: not a picture; OUT_OF_RANGE: too large;
// DATA_LOSS: broken; RESOURCE_EXHAUSTED: no memory) have no place: the caller knows the item.
enum bm_status bm_image_probe(const void *data, size_t size, const struct bm_decode *decode,
                              struct bm_image_info *ret_info, struct bm_error *err);

// The pixels of `region` into `to` (of the region's size). They are exactly those that decoding the
// whole picture gives (libjpeg-turbo's, without its guesses at scans that are missing). A picture
// that is cut off, or that its library warns about, is an error; what lies below the region is not
// decoded, so damage there shows only when it is cut off.
enum bm_status bm_image_decode(struct bm_image_scratch *scratch, const void *data, size_t size,
                               const struct bm_decode *decode, const struct bm_region *region,
                               const struct bm_pixels *to, struct bm_error *err);

// ---- Resizing ----

enum bm_filter { BM_FILTER_NEAREST, BM_FILTER_BILINEAR, BM_FILTER_BICUBIC };

struct bm_resize {
    enum bm_filter filter;
    bool antialias; // widen the filter when shrinking, as Pillow does and torchvision by default
};

// All of `from` to the size of `to`. Pixel centres at +0.5; results are those of Pillow's
// Image.resize() for uint8 (with antialias; to the bit those of Pillow up to 12, and of later ones
// where they still resize across before down), or of half-pixel sampling (without).
enum bm_status bm_image_resize(struct bm_image_scratch *scratch, const struct bm_resize *resize,
                               const struct bm_pixels *from, const struct bm_pixels *to,
                               struct bm_error *err);

// The same for a part of the result alone, which is of height x width pixels as a whole. The pixels
// are those that resizing all of it gives.
enum bm_status bm_image_resize_part(struct bm_image_scratch *scratch,
                                    const struct bm_resize *resize, const struct bm_pixels *from,
                                    uint32_t height, uint32_t width, const struct bm_region *part,
                                    const struct bm_pixels *to, struct bm_error *err);

// What a pipeline wants most: the pixels of `region` at the size of `to`, decoding no more than
// needed. `scale_in_dct`: large pictures are shrunk by 2, 4 or 8 while they are decoded, as far as
// the region stays at least as large as the result: faster, and not the same pixels.
struct bm_decode_resize {
    struct bm_decode decode;
    struct bm_resize resize;
    bool scale_in_dct;
};
enum bm_status bm_image_decode_resize(struct bm_image_scratch *scratch, const void *data,
                                      size_t size, const struct bm_decode_resize *how,
                                      const struct bm_region *region, const struct bm_pixels *to,
                                      struct bm_error *err);

// The whole picture at the size of height x width, and of that a part, decoding no more than that
// needs.
enum bm_status bm_image_decode_resize_part(struct bm_image_scratch *scratch, const void *data,
                                           size_t size, const struct bm_decode_resize *how,
                                           uint32_t height, uint32_t width,
                                           const struct bm_region *part, const struct bm_pixels *to,
                                           struct bm_error *err);

// ---- Pixels in place ----

void bm_image_flip(const struct bm_pixels *pixels, bool vertical);

// As torchvision's ColorJitter for uint8: factors 1 leave as is; hue is added, -0.5 to 0.5 of a
// turn. Grey pictures have no saturation and no hue.
void bm_image_brightness(const struct bm_pixels *pixels, double factor);
void bm_image_contrast(const struct bm_pixels *pixels, double factor);
void bm_image_saturation(const struct bm_pixels *pixels, double factor);
void bm_image_hue(const struct bm_pixels *pixels, double turn);

// ---- Layout ----

// Channels last to channels first and back; elements of 1, 2, 4 or 8 bytes.
void bm_image_to_planes(const void *from, void *to, uint64_t npixels, unsigned channels,
                        size_t element_bytes);
void bm_image_from_planes(const void *from, void *to, uint64_t npixels, unsigned channels,
                          size_t element_bytes);
