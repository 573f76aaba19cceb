// stream.c -- a stream of batches from a server in another process, taken by the C client; and the
// data and pipelines of it.
#include <batchmill/client.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/images.h"

enum { QUICKER = 4 };

// ---- Data ----

struct array { // a NumPy file of random bits
    const char *file, *dtype;
    unsigned rows, columns, element_bytes;
    uint64_t mask; // of each 8 bytes: which bits are random; the others are 0
};
static const struct array arrays[] = {
    {"blocks.npy", "|u1", 1024, 16384, 1, UINT64_MAX},
    {"kib.npy", "|u1", 1024, 1024, 1, UINT64_MAX},
    // Without the highest bit of the exponent there is no infinity and no NaN.
    {"floats.npy", "<f4", 2048, 8192, 4, UINT64_C(0xbfffffffbfffffff)},
};

// %1$s: their folder.
static const char config_format[] = "listen: ['tcp://127.0.0.1:0']\n"
                                    "sources:\n"
                                    "  million: {range: {n: 1000000}}\n"
                                    "  blocks: {npy: {path: '%1$s/blocks.npy'}}\n"
                                    "  kib: {npy: {path: '%1$s/kib.npy'}}\n"
                                    "  floats: {npy: {path: '%1$s/floats.npy'}}\n"
                                    "%2$s%3$s%4$s"
                                    "pipelines:\n"
                                    "  blocks: {source: blocks}\n"
                                    "  kib: {source: kib}\n"
                                    "  floats: {source: floats}\n"
                                    "  noop3: {source: million, actions: [noop, noop, noop]}\n"
                                    "  wait: {source: million, actions: [wait: {ms: 10}]}\n";

static void array_write(const char *folder, const struct array *array)
{
    char path[4096], header[128] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 118, 0};
    snprintf(path, sizeof path, "%s/%s", folder, array->file);
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        bench_die(path, strerror(errno));
    memset(header + 10, ' ', sizeof header - 10);
    int length = snprintf(header + 10, sizeof header - 10,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (%u, %u), }",
                          array->dtype, array->rows, array->columns);
    header[10 + length] = ' ';
    header[sizeof header - 1] = '\n';
    fwrite(header, 1, sizeof header, file);
    uint64_t random = 1, words[512];
    uint64_t left = (uint64_t)array->rows * array->columns * array->element_bytes;
    for (; left > 0; left -= sizeof words) {
        for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) { // SplitMix64
            uint64_t z = random += UINT64_C(0x9e3779b97f4a7c15);
            z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
            z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
            words[i] = (z ^ z >> 31) & array->mask;
        }
        fwrite(words, 1, sizeof words, file);
    }
    if (fclose(file) != 0)
        bench_die(path, strerror(errno));
}

static const char images_pipelines[] =
    "  images_u8: {source: pictures, actions: [\n"
    "    decode_image: {components: image},\n"
    "    random_resized_crop: {components: image, size: 224},\n"
    "    flip: {components: image}, layout: {components: image, to: chw}, select: {components: "
    "image}]}\n"
    "  images_u8_plain: {source: pictures, actions: [\n"
    "    decode_image: {components: image},\n"
    "    random_resized_crop: {components: image, size: 224, antialias: false},\n"
    "    flip: {components: image}, layout: {components: image, to: chw}, select: {components: "
    "image}]}\n"
    "  images_f32: {source: pictures, actions: [\n"
    "    decode_image: {components: image},\n"
    "    random_resized_crop: {components: image, size: 224},\n"
    "    flip: {components: image}, layout: {components: image, to: chw},\n"
    "    normalize: {components: image, mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, "
    "57.375], axis: 0},\n"
    "    select: {components: image}]}\n";

void bench_config(const char *folder, bool images, char *ret_yaml, size_t size)
{
    for (unsigned i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        array_write(folder, &arrays[i]);
    const char *pictures = images ? bench_images_folder() : "";
    size_t length = (size_t)snprintf(ret_yaml, size, config_format, folder,
                                     images ? "  pictures: {folder: {path: '" : "", pictures,
                                     images ? "', classes: none}}\n" : "");
    if (images && length < size)
        snprintf(ret_yaml + length, size - length, "%s", images_pipelines);
}

void bench_config_clean(const char *folder)
{
    char path[4096];
    for (unsigned i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, arrays[i].file);
        unlink(path);
    }
    rmdir(folder);
}

// ---- Work ----

uint64_t bench_stream_bytes(const struct bench_stream *stream)
{
    return stream->item_bytes * stream->batch_items;
}

uint64_t bench_stream_batches(const struct bench_setup *setup, const struct bench_stream *stream)
{
    return setup->quick ? stream->nbatches / QUICKER : stream->nbatches;
}

double bench_stream_value(const struct bench_stream *stream, double batches_per_second)
{
    double bytes = (double)bench_stream_bytes(stream);
    switch (stream->unit) {
    case BENCH_MB:
        return batches_per_second * bytes / 1e6;
    case BENCH_ITEMS:
        return batches_per_second * (double)stream->batch_items;
    case BENCH_BATCHES:
        break;
    }
    return batches_per_second;
}

static void stream_check(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        bench_die("client", error->text);
}

void bench_stream_take(const char *url, const struct bench_stream *wanted, uint64_t nbatches,
                       bool by_socket, struct bench_taking *ret_taking)
{
    const struct batchmill_options options = {.no_shared_memory = by_socket};
    struct batchmill_error error = {0};
    struct batchmill_client *client = NULL;
    struct batchmill_stream *stream = NULL;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = wanted->batch_items;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.n_iters = nbatches;
    order.epoch_border = BATCHMILL_BORDER_CROSS; // every batch is whole
    order.prefetch = wanted->prefetch;
    struct bench_taking taking = {.nbatches = nbatches};
    stream_check(batchmill_connect(url, &options, &client, &error), &error);
    taking.opened = bench_now();
    stream_check(batchmill_gen_batch(client, wanted->pipeline, &order, &stream, &error), &error);
    uint64_t bytes = 0, taken = 0;
    struct batchmill_batch *batch = NULL;
    enum batchmill_code code;
    while ((code = batchmill_next(stream, &batch, &error)) == BATCHMILL_OK) {
        if (taken == 0)
            taking.first = bench_now();
        for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++)
            bytes += batchmill_batch_tensor_at(batch, i)->size_bytes;
        taken++;
        batchmill_batch_free(batch);
    }
    taking.end = bench_now();
    if (code != BATCHMILL_END || taken != nbatches)
        bench_die("the stream ended early", error.text);
    if (bytes != taken * bench_stream_bytes(wanted))
        bench_die("stream", "other bytes than expected");
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    *ret_taking = taking;
}

static void stream_measure(const struct bench_setup *setup, const struct bench_stream *wanted,
                           bool by_socket, double *values)
{
    struct bench_taking taking;
    bench_stream_take(setup->server.url, wanted, bench_stream_batches(setup, wanted), by_socket,
                      &taking);
    values[0] = bench_stream_value(wanted, (double)taking.nbatches / (taking.end - taking.opened));
}

void bench_stream_remote(const struct bench_setup *setup, const void *work, double *values)
{
    stream_measure(setup, work, true, values);
}

void bench_stream_same_host(const struct bench_setup *setup, const void *work, double *values)
{
    stream_measure(setup, work, false, values);
}
