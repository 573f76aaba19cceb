#include "fakes/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"

unsigned char *fake_pixels_new(uint32_t height, uint32_t width, unsigned channels)
{
    size_t size = (size_t)height * width * channels;
    unsigned char *pixels = malloc(size);
    BM_ASSERT(pixels != NULL);
    for (size_t i = 0; i < size; i++) {
        size_t x = i / channels % width, y = i / channels / width;
        uint64_t noise = bm_mix64(i + 1) % 96;
        pixels[i] = (unsigned char)((x * 3 + y * 2 * (i % channels) + noise) & 0xff);
    }
    return pixels;
}

#if BM_WITH_JPEG
#include <jpeglib.h>

// A block of EXIF with one entry.
static void codec_write_orientation(struct jpeg_compress_struct *codec, unsigned orientation)
{
    const unsigned char block[] = {
        'E', 'x', 'i', 'f',  0,    0, 'M', 'M', 0, 42, 0, 0, 0,
        8,   0,   1,   0x01, 0x12, 0, 3,   0,   0, 0,  1, 0, (unsigned char)orientation,
        0,   0,   0,   0,    0,    0};
    jpeg_write_marker(codec, JPEG_APP0 + 1, block, sizeof block);
}

unsigned char *fake_jpeg_new(const struct fake_jpeg *how, size_t *ret_size)
{
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors; // which ends the program
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    unsigned char *file = NULL;
    unsigned long size = 0;
    jpeg_mem_dest(&codec, &file, &size);
    codec.image_height = how->height;
    codec.image_width = how->width;
    codec.input_components = (int)how->channels;
    codec.in_color_space = how->channels == 1   ? JCS_GRAYSCALE
                           : how->channels == 3 ? JCS_RGB
                                                : JCS_CMYK;
    jpeg_set_defaults(&codec);
    if (how->channels == 4)
        jpeg_set_colorspace(&codec, JCS_YCCK);
    jpeg_set_quality(&codec, 95, TRUE);
    if (how->across != 0) {
        codec.comp_info[0].h_samp_factor = (int)how->across;
        codec.comp_info[0].v_samp_factor = (int)how->down;
    }
    codec.restart_interval = how->restart;
    jpeg_scan_info scans[MAX_COMPONENTS] = {0};
    if (how->separate) {
        for (int i = 0; i < codec.num_components; i++)
            scans[i] =
                (jpeg_scan_info){.comps_in_scan = 1, .component_index = {i}, .Ss = 0, .Se = 63};
        codec.scan_info = scans;
        codec.num_scans = codec.num_components;
    }
    if (how->progressive)
        jpeg_simple_progression(&codec);
    jpeg_start_compress(&codec, TRUE);
    if (how->orientation != 0)
        codec_write_orientation(&codec, how->orientation);
    JSAMPROW row = malloc((size_t)how->width * how->channels); // libjpeg wants one to write to
    BM_ASSERT(row != NULL);
    unsigned char *noise = NULL;
    const unsigned char *pixels = how->pixels;
    if (pixels == NULL)
        pixels = noise = fake_pixels_new(how->height, how->width, how->channels);
    while (codec.next_scanline < codec.image_height) {
        size_t at = (size_t)codec.next_scanline * how->width * how->channels;
        memcpy(row, pixels + at, (size_t)how->width * how->channels);
        jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    free(noise);
    free(row);
    *ret_size = size;
    return file;
}
#endif
