// raw_jpeg.c -- a limit: libjpeg-turbo and a plain resize in C, on as many threads as the server
// has workers, from memory to memory; no pipeline, no batches on the way, no network.
//
// What is decoded is the part that is wanted (jpeg_crop_scanline, jpeg_skip_scanlines), resized
// with an antialiased bilinear filter, first down the columns, then along the rows, in float;
// flipped every other time; written channels first, as bytes or as normalised floats. None of the
// product's code is used.
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/bench.h"
#include "bench/images.h"

#include <jpeglib.h>

enum { SIDE = BENCH_IMAGE_SIDE, PIXELS = SIDE * SIDE, WIDE_MAX = 4096, TAPS_MAX = 64 };

static struct picture {
    unsigned char *data;
    size_t size;
} pictures[BENCH_IMAGES];

// ---- The files, in memory ----

static void pictures_load_folder(const char *folder, unsigned *n)
{
    char path[PATH_MAX + 512];
    DIR *dir = opendir(folder);
    if (dir == NULL)
        bench_die(folder, strerror(errno));
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL && *n < BENCH_IMAGES;) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        struct picture *picture = &pictures[(*n)++];
        picture->size = (size_t)info.st_size;
        picture->data = malloc(picture->size);
        FILE *file = fopen(path, "rbe");
        if (file == NULL || picture->data == NULL ||
            fread(picture->data, 1, picture->size, file) != picture->size)
            bench_die(path, "cannot be read");
        fclose(file);
    }
    closedir(dir);
}

static void pictures_load(void)
{
    static const char *const classes[] = {"china", "flower", "rocket"};
    char path[PATH_MAX + 32];
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", bench_images_folder(), classes[i]);
        pictures_load_folder(path, &n);
    }
    if (n != BENCH_IMAGES)
        bench_die(bench_images_folder(), "expected 2000 pictures: remove it");
}

// ---- The work on one ----

struct worker {
    uint64_t random;
    float *rows;       // [height of the crop][3 * width of what is decoded]
    float *columns;    // [SIDE][3 * width]
    float *ready;      // [SIDE][SIDE][3]
    void *out;         // [3][SIDE][SIDE]
    JSAMPLE *scanline; // one row as decoded
};

static double worker_random(struct worker *worker) // SplitMix64
{
    uint64_t z = worker->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

struct crop {
    unsigned left, top, width, height;
};

// torchvision's RandomResizedCrop, with its usual scale and ratio.
static struct crop crop_draw(struct worker *worker, unsigned width, unsigned height)
{
    for (unsigned i = 0; i < 10; i++) {
        double area = (0.08 + 0.92 * worker_random(worker)) * width * height;
        double low = log(3.0 / 4), high = log(4.0 / 3);
        double ratio = exp(low + (high - low) * worker_random(worker));
        unsigned w = (unsigned)lround(sqrt(area * ratio)), h = (unsigned)lround(sqrt(area / ratio));
        if (w == 0 || h == 0 || w > width || h > height)
            continue;
        return (struct crop){(unsigned)(worker_random(worker) * (width - w + 1)),
                             (unsigned)(worker_random(worker) * (height - h + 1)), w, h};
    }
    unsigned side = width < height ? width : height;
    return (struct crop){(width - side) / 2, (height - side) / 2, side, side};
}

struct taps { // of one output: which inputs, and their weights
    unsigned first, n;
    float weights[TAPS_MAX];
};

static void taps_fill(struct taps *taps, unsigned from)
{
    memset(taps, 0, SIDE * sizeof *taps);
    double scale = (double)from / SIDE, support = scale > 1 ? scale : 1;
    for (unsigned i = 0; i < SIDE; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > (int)from ? (int)from : end;
        taps[i].first = (unsigned)first;
        taps[i].n = (unsigned)(end - first);
        for (int k = first; k < end; k++) {
            double weight = 1 - fabs(k - centre + 0.5) / support;
            taps[i].weights[k - first] = (float)(weight > 0 ? weight : 0);
            sum += taps[i].weights[k - first];
        }
        for (unsigned k = 0; k < taps[i].n; k++)
            taps[i].weights[k] = (float)(taps[i].weights[k] / sum);
    }
}

static void columns_resize(const struct worker *worker, const struct taps *taps, unsigned width)
{
    for (unsigned y = 0; y < SIDE; y++) {
        float *restrict to = worker->columns + (size_t)y * 3 * width;
        memset(to, 0, sizeof *to * 3 * width);
        for (unsigned k = 0; k < taps[y].n; k++) {
            const float *restrict from = worker->rows + (size_t)(taps[y].first + k) * 3 * width;
            float weight = taps[y].weights[k];
            for (unsigned x = 0; x < 3 * width; x++)
                to[x] += weight * from[x];
        }
    }
}

static void rows_resize(const struct worker *worker, const struct taps *taps, unsigned width,
                        unsigned skipped)
{
    for (unsigned y = 0; y < SIDE; y++) {
        const float *row = worker->columns + ((size_t)y * width + skipped) * 3;
        float *to = worker->ready + (size_t)y * SIDE * 3;
        for (unsigned x = 0; x < SIDE; x++) {
            const float *from = row + (size_t)taps[x].first * 3;
            float red = 0, green = 0, blue = 0;
            for (unsigned k = 0; k < taps[x].n; k++, from += 3) {
                red += taps[x].weights[k] * from[0];
                green += taps[x].weights[k] * from[1];
                blue += taps[x].weights[k] * from[2];
            }
            *to++ = red;
            *to++ = green;
            *to++ = blue;
        }
    }
}

static void planes_write(const struct worker *worker, bool floats, bool flip)
{
    static const float mean[] = {123.675f, 116.28f, 103.53f}, std[] = {58.395f, 57.12f, 57.375f};
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned y = 0; y < SIDE; y++) {
            const float *from = worker->ready + (size_t)y * SIDE * 3 + c;
            size_t at = (size_t)c * PIXELS + (size_t)y * SIDE;
            float *real = (float *)worker->out + at;
            unsigned char *bytes = (unsigned char *)worker->out + at;
            for (unsigned x = 0; x < SIDE; x++) {
                float value = from[(size_t)3 * (flip ? SIDE - 1 - x : x)];
                if (floats)
                    real[x] = (value - mean[c]) / std[c];
                else
                    bytes[x] = (unsigned char)(value + 0.5f);
            }
        }
    }
}

static void picture_make(struct worker *worker, const struct picture *picture, bool floats)
{
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct taps taps[SIDE];
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, picture->data, picture->size);
    jpeg_read_header(&jpeg, TRUE);
    jpeg.out_color_space = JCS_RGB;
    struct crop crop = crop_draw(worker, jpeg.image_width, jpeg.image_height);
    jpeg_start_decompress(&jpeg);
    JDIMENSION left = crop.left, width = crop.width;
    jpeg_crop_scanline(&jpeg, &left, &width); // widened to whole blocks
    jpeg_skip_scanlines(&jpeg, crop.top);
    for (unsigned y = 0; y < crop.height; y++) {
        JSAMPROW row = worker->scanline;
        jpeg_read_scanlines(&jpeg, &row, 1);
        float *restrict to = worker->rows + (size_t)y * 3 * width;
        for (unsigned x = 0; x < 3 * width; x++)
            to[x] = row[x];
    }
    jpeg_abort_decompress(&jpeg);
    jpeg_destroy_decompress(&jpeg);
    taps_fill(taps, crop.height);
    columns_resize(worker, taps, width);
    taps_fill(taps, crop.width);
    rows_resize(worker, taps, width, crop.left - left);
    planes_write(worker, floats, worker_random(worker) < 0.5);
}

// ---- The threads ----

static struct job {
    bool floats;
    unsigned n;
    atomic_uint next;
} job;

static void *worker_run(void *seed)
{
    struct worker worker = {
        .random = *(const uint64_t *)seed,
        .rows = malloc(sizeof(float) * 3 * WIDE_MAX * 1024),
        .columns = malloc(sizeof(float) * 3 * WIDE_MAX * SIDE),
        .ready = malloc(sizeof(float) * 3 * PIXELS),
        .out = malloc(sizeof(float) * 3 * PIXELS),
        .scanline = malloc((size_t)3 * WIDE_MAX),
    };
    if (worker.rows == NULL || worker.columns == NULL || worker.ready == NULL ||
        worker.out == NULL || worker.scanline == NULL)
        bench_die("pictures", "out of memory");
    for (unsigned i; (i = atomic_fetch_add(&job.next, 1)) < job.n;)
        picture_make(&worker, &pictures[i * 769u % BENCH_IMAGES], job.floats);
    free(worker.rows);
    free(worker.columns);
    free(worker.ready);
    free(worker.out);
    free(worker.scanline);
    return NULL;
}

void bench_raw_jpeg(const struct bench_setup *setup, const void *work, double *values)
{
    const struct bench_images_work *images = work;
    const struct bench_stream *stream = images->stream;
    pthread_t threads[BENCH_WORKERS];
    uint64_t seeds[BENCH_WORKERS];
    pictures_load();
    job.floats = images->floats;
    job.n = (unsigned)(bench_stream_batches(setup, stream) * stream->batch_items);
    double start = bench_now();
    for (unsigned i = 0; i < BENCH_WORKERS; i++) {
        seeds[i] = i + 1;
        if (pthread_create(&threads[i], NULL, worker_run, &seeds[i]) != 0)
            bench_die("pictures", "cannot start a thread");
    }
    for (unsigned i = 0; i < BENCH_WORKERS; i++)
        pthread_join(threads[i], NULL);
    values[0] = (double)job.n / (bench_now() - start);
}
