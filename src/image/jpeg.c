// jpeg.c -- JPEG pictures, by libjpeg-turbo's libjpeg interface.
//
// Only what the region needs is transformed back and coloured; what lies above it is only
// entropy-decoded, and what lies below is not looked at but for its end.
//
// libjpeg leaves its functions by longjmp() when it fails. jpeg_try() is the only place that such
// a jump arrives at, and the functions that it calls hold nothing that would be lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/codec.h"
#include "image/exif.h"
#include "image/grey.h"

enum {
    JPEG_MARKER_END = 0xd9,
    // More scans than any encoder makes; each costs a pass over the whole picture.
    JPEG_SCANS_MAX = 500,
    // Upsampling mixes a sample of chroma with its neighbours, and a shrunk picture has samples
    // two pixels wide: so near the edges of what is cropped, pixels are not those of the whole.
    JPEG_CROP_MARGIN = 2,
    // libjpeg writes aligned rows past the caches, and this one is read at once: a start in
    // between saves a fifth of the decoding.
    JPEG_ROW_OFFSET = 8,
};

struct job { // one picture
    const unsigned char *data;
    size_t size;
    struct bm_image_scratch *scratch;
    const struct bm_file_region *what;
    const struct bm_pixels *to;
};

struct bm_jpeg {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    struct bm_error error; // why it escaped
};

static struct bm_jpeg *jpeg_of(j_common_ptr codec)
{
    return codec->client_data;
}

noreturn static void jpeg_escape(struct bm_jpeg *jpeg)
{
    longjmp(jpeg->escape, 1);
}

noreturn static void jpeg_fail(j_common_ptr codec)
{
    struct bm_jpeg *jpeg = jpeg_of(codec);
    char text[JMSG_LENGTH_MAX];
    jpeg->errors.format_message(codec, text);
    switch (jpeg->errors.msg_code) {
    case JERR_OUT_OF_MEMORY:
        bm_fail(&jpeg->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory in libjpeg");
        break;
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_ARITH_NOTIMPL:
        bm_fail(&jpeg->error, BM_UNIMPLEMENTED, NULL,
                "expected a JPEG picture of 8 bits in grey, colour or CMYK, got: %s", text);
        break;
    case JWRN_JPEG_EOF:
    case JERR_INPUT_EOF:
        bm_fail(&jpeg->error, BM_DATA_LOSS, NULL,
                "expected a whole JPEG picture, got one that is cut off");
        break;
    default:
        bm_fail(&jpeg->error, BM_DATA_LOSS, NULL, "expected a sound JPEG picture, got: %s", text);
    }
    jpeg_escape(jpeg);
}

// libjpeg goes on after a warning, with grey or shifted pixels.
static void jpeg_message(j_common_ptr codec, int level)
{
    if (level < 0)
        jpeg_fail(codec);
}

static void jpeg_progress(j_common_ptr codec)
{
    struct bm_jpeg *jpeg = jpeg_of(codec);
    if (jpeg->codec.input_scan_number <= JPEG_SCANS_MAX)
        return;
    bm_fail(&jpeg->error, BM_DATA_LOSS, NULL,
            "expected a JPEG picture in at most %d scans, got more", JPEG_SCANS_MAX);
    jpeg_escape(jpeg);
}

// Does `step`; false: it failed, and jpeg->error says why.
static bool jpeg_try(struct bm_jpeg *jpeg, void (*step)(struct bm_jpeg *, const struct job *),
                     const struct job *job)
{
    if (setjmp(jpeg->escape) != 0) // NOLINT(cert-err52-cpp): libjpeg has no other way
        return false;
    step(jpeg, job);
    return true;
}

static void step_create(struct bm_jpeg *jpeg, const struct job *job)
{
    (void)job;
    jpeg_create_decompress(&jpeg->codec);
    jpeg->codec.progress = &jpeg->progress;
}

static enum bm_status jpeg_refuse(const struct bm_jpeg *jpeg, struct bm_error *err)
{
    return bm_fail(err, jpeg->error.status, NULL, "%s", jpeg->error.text);
}

static enum bm_status jpeg_init(struct bm_jpeg *jpeg, struct bm_error *err)
{
    jpeg->codec.err = jpeg_std_error(&jpeg->errors);
    jpeg->codec.client_data = jpeg;
    jpeg->errors.error_exit = jpeg_fail;
    jpeg->errors.emit_message = jpeg_message;
    jpeg->progress.progress_monitor = jpeg_progress;
    return jpeg_try(jpeg, step_create, NULL) ? BM_OK : jpeg_refuse(jpeg, err);
}

static void jpeg_fini(struct bm_jpeg *jpeg)
{
    jpeg_destroy_decompress(&jpeg->codec);
}

void bm_jpeg_free(struct bm_jpeg *jpeg)
{
    if (jpeg == NULL)
        return;
    jpeg_fini(jpeg);
    free(jpeg);
}

static void step_head(struct bm_jpeg *jpeg, const struct job *job)
{
    jpeg_mem_src(&jpeg->codec, job->data, (unsigned long)job->size);
    (void)jpeg_read_header(&jpeg->codec, TRUE);
}

static void head_info(const struct bm_jpeg *jpeg, const struct job *job,
                      struct bm_image_info *ret_info)
{
    size_t size = 0;
    const unsigned char *exif = bm_exif_in_jpeg(job->data, job->size, &size);
    *ret_info = (struct bm_image_info){
        .format = BM_IMAGE_JPEG,
        .height = jpeg->codec.image_height,
        .width = jpeg->codec.image_width,
        .channels = (unsigned)jpeg->codec.num_components,
        .orientation = exif == NULL ? 1 : bm_exif_orientation(exif, size),
    };
}

enum bm_status bm_jpeg_probe(const unsigned char *data, size_t size, struct bm_image_info *ret_info,
                             struct bm_error *err)
{
    struct bm_jpeg jpeg = {0};
    const struct job job = {.data = data, .size = size};
    enum bm_status status = jpeg_init(&jpeg, err);
    if (status != BM_OK)
        goto out;
    if (jpeg_try(&jpeg, step_head, &job))
        head_info(&jpeg, &job, ret_info);
    else
        status = jpeg_refuse(&jpeg, err);
out:
    jpeg_fini(&jpeg);
    return status;
}

// The colours to ask libjpeg for. It knows no way from four colours to three.
static void codec_set_colours(struct jpeg_decompress_struct *codec, unsigned channels)
{
    if (codec->num_components == 4)
        codec->out_color_space = JCS_CMYK;
    else
        codec->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
}

static JDIMENSION smaller(JDIMENSION a, JDIMENSION b)
{
    return a < b ? a : b;
}

// Crops the columns to those that `region` needs, and returns the first of them.
static JDIMENSION codec_crop(struct jpeg_decompress_struct *codec, const struct bm_region *region)
{
    JDIMENSION whole = codec->output_width;
    JDIMENSION left = region->left - smaller(region->left, JPEG_CROP_MARGIN);
    JDIMENSION right = smaller(region->left + region->width + JPEG_CROP_MARGIN, whole);
    JDIMENSION width = right - left;
    // Where chroma is this coarse, it is shrunk less than the rest and still upsampled;
    // jpeg_crop_scanline() gets its width wrong then.
    bool coarse = codec->max_h_samp_factor * codec->max_v_samp_factor > 4;
    if (width == whole || (coarse && codec->scale_num < codec->scale_denom))
        return 0;
    jpeg_crop_scanline(codec, &left, &width);
    return left;
}

// Pillow takes every picture of four colours for one by Adobe, whose 255 is no ink.
static void row_from_cmyk(const unsigned char *from, const struct bm_pixels *to, unsigned char *row)
{
    for (uint32_t x = 0; x < to->width; x++, from += 4, row += to->channels) {
        unsigned char rgb[3];
        for (unsigned c = 0; c < 3; c++) {
            unsigned product = (255u - from[c]) * from[3] + 128;
            rgb[c] = (unsigned char)(from[3] - ((product + (product >> 8)) >> 8));
        }
        if (to->channels == 1)
            row[0] = bm_grey(rgb[0], rgb[1], rgb[2]);
        else
            memcpy(row, rgb, sizeof rgb);
    }
}

// Data of a scan hold no 0xff that is followed by the marker of the end, so what is not decoded
// need not be to find it.
static bool codec_end_comes(struct jpeg_decompress_struct *codec)
{
    if (codec->unread_marker == JPEG_MARKER_END || jpeg_input_complete(codec))
        return true;
    const unsigned char *at = codec->src->next_input_byte;
    const unsigned char *end = at + codec->src->bytes_in_buffer;
    while (end - at >= 2 && (at = memchr(at, 0xff, (size_t)(end - at) - 1)) != NULL) {
        if (at[1] == JPEG_MARKER_END)
            return true;
        at++;
    }
    return false;
}

static void step_decode(struct bm_jpeg *jpeg, const struct job *job)
{
    struct jpeg_decompress_struct *codec = &jpeg->codec;
    const struct bm_region *region = &job->what->region;
    const struct bm_pixels *to = job->to;
    step_head(jpeg, job);
    codec_set_colours(codec, to->channels);
    codec->scale_num = 8 / job->what->shrink;
    codec->scale_denom = 8;
    // It guesses what scans that are missing would bring, and otherwise at the edges of a crop.
    codec->do_block_smoothing = FALSE;
    (void)jpeg_start_decompress(codec);
    BM_ASSERT(region->width <= codec->output_width &&
              region->left <= codec->output_width - region->width);
    BM_ASSERT(region->height <= codec->output_height &&
              region->top <= codec->output_height - region->height);
    JDIMENSION left = region->left - codec_crop(codec, region);
    size_t depth = (size_t)codec->output_components;
    void *memory = NULL;
    if (bm_scratch_get(job->scratch, BM_SCRATCH_ROW, codec->output_width * depth + JPEG_ROW_OFFSET,
                       &memory, &jpeg->error) != BM_OK)
        jpeg_escape(jpeg);
    unsigned char *row = (unsigned char *)memory + JPEG_ROW_OFFSET;
    const unsigned char *first = row + left * depth;
    if (region->top > 0)
        (void)jpeg_skip_scanlines(codec, region->top);
    for (uint32_t y = 0; y < region->height; y++) {
        JSAMPROW line = row;
        (void)jpeg_read_scanlines(codec, &line, 1);
        if (depth == 4)
            row_from_cmyk(first, to, to->data + y * to->stride);
        else
            memcpy(to->data + y * to->stride, first, to->width * depth);
    }
    if (!codec_end_comes(codec))
        ERREXIT(codec, JERR_INPUT_EOF);
}

static void step_abort(struct bm_jpeg *jpeg, const struct job *job)
{
    (void)job;
    jpeg_abort_decompress(&jpeg->codec);
}

enum bm_status bm_jpeg_decode(struct bm_image_scratch *scratch, const unsigned char *data,
                              size_t size, const struct bm_file_region *what,
                              const struct bm_pixels *to, struct bm_error *err)
{
    const struct job job = {data, size, scratch, what, to};
    enum bm_status status = BM_OK;
    if (scratch->jpeg == NULL) {
        struct bm_jpeg *jpeg = calloc(1, sizeof *jpeg);
        if (jpeg == NULL)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        if ((status = jpeg_init(jpeg, err)) != BM_OK) {
            bm_jpeg_free(jpeg);
            return status;
        }
        scratch->jpeg = jpeg;
    }
    if (!jpeg_try(scratch->jpeg, step_decode, &job))
        status = jpeg_refuse(scratch->jpeg, err);
    // Gives back what the picture needed and is ready for the next one.
    (void)jpeg_try(scratch->jpeg, step_abort, &job);
    return status;
}
