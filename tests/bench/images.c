// images.c -- makes the pictures: crops of photographs, the same on every machine.
#include "bench/images.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "bench/bench.h"
#include "image/image.h"

#include <jpeglib.h>

enum { WIDTH = 500, HEIGHT = 375, QUALITY = 94, FILE_MAX = 1 << 20 };

static const char *const photographs[] = {"china", "flower", "rocket"};
enum { NPHOTOGRAPHS = sizeof photographs / sizeof photographs[0] };

static void image_check(enum bm_status status, const struct bm_error *error)
{
    if (status != BM_OK)
        bench_die("pictures", error->text);
}

static size_t photograph_read(const char *name, unsigned char *data)
{
    char path[256];
    snprintf(path, sizeof path, "examples/images/photographs/%s.jpg", name);
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        bench_die(path, "run it from the project's root");
    size_t size = fread(data, 1, FILE_MAX, file);
    fclose(file);
    return size;
}

static void crop_write(const char *path, unsigned char *pixels)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors; // its default ends the process and says why
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        bench_die(path, strerror(errno));
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = WIDTH;
    jpeg.image_height = HEIGHT;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, QUALITY, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < HEIGHT) {
        JSAMPROW row = pixels + (size_t)jpeg.next_scanline * WIDTH * 3;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    if (fclose(file) != 0)
        bench_die(path, strerror(errno));
}

static void images_make(const char *folder)
{
    static unsigned char data[NPHOTOGRAPHS][FILE_MAX];
    static unsigned char pixels[WIDTH * HEIGHT * 3];
    size_t sizes[NPHOTOGRAPHS];
    struct bm_image_scratch *scratch;
    struct bm_error error;
    struct bm_random random;
    char path[PATH_MAX + 64];
    const struct bm_decode_resize how = {.decode = {.channels = 3},
                                         .resize = {BM_FILTER_BICUBIC, true}};
    const struct bm_pixels to = {pixels, (size_t)WIDTH * 3, HEIGHT, WIDTH, 3};
    image_check(bm_image_scratch_new(&scratch, &error), &error);
    bm_random_init(&random, 1, 0, 0, 0);
    for (unsigned i = 0; i < NPHOTOGRAPHS; i++) {
        sizes[i] = photograph_read(photographs[i], data[i]);
        snprintf(path, sizeof path, "%s/%s", folder, photographs[i]);
        mkdir(path, 0777);
    }
    for (unsigned i = 0; i < BENCH_IMAGES; i++) {
        unsigned which = i % NPHOTOGRAPHS;
        struct bm_image_info info;
        image_check(bm_image_probe(data[which], sizes[which], &how.decode, &info, &error), &error);
        double part = 0.7 + 0.3 * bm_random_uniform(&random);
        struct bm_region region = {.height = (uint32_t)(part * info.height)};
        region.width = region.height * 4 / 3;
        region.top = (uint32_t)(bm_random_uniform(&random) * (info.height - region.height));
        region.left = (uint32_t)(bm_random_uniform(&random) * (info.width - region.width));
        image_check(
            bm_image_decode_resize(scratch, data[which], sizes[which], &how, &region, &to, &error),
            &error);
        snprintf(path, sizeof path, "%s/%s/%04u.jpg", folder, photographs[which], i);
        crop_write(path, pixels);
    }
    bm_image_scratch_free(scratch);
}

const char *bench_images_folder(void)
{
    static char folder[PATH_MAX];
    if (folder[0] != '\0')
        return folder;
    char whole[PATH_MAX];
    if (mkdir("build", 0777) != 0 && errno != EEXIST)
        bench_die("build", strerror(errno));
    if (realpath("build", whole) == NULL)
        bench_die("build", strerror(errno));
    int length = snprintf(folder, sizeof folder, "%s/bench-images", whole);
    if (length < 0 || (size_t)length + 32 >= sizeof folder)
        bench_die("build", "its path is too long");
    if (access(folder, R_OK) == 0)
        return folder;
    char made[PATH_MAX + 8];
    snprintf(made, sizeof made, "%.*s.made", length, folder);
    if (mkdir(made, 0777) != 0 && errno != EEXIST)
        bench_die(made, strerror(errno));
    images_make(made);
    if (rename(made, folder) != 0) // all of them or none
        bench_die(folder, strerror(errno));
    return folder;
}
