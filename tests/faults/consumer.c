// consumer.c -- a consumer as a careful user writes one, to be killed at any moment: it goes on
// from its file, where each batch's digest and the position after it lie in one record.
//
//     faults_consumer --url URL --pipeline NAME --log FILE [order options]
//
// The file is a row of `struct record`. A record is one pwrite() of 256 bytes at a multiple of 256,
// so it lies within one page and a kill leaves all of it or none; what a full disk cut off is no
// whole record, is not counted, and is written over. Whoever judges the run reads the file:
// this program writes down what it got and hides nothing. Exit 0: the stream's end was reached.
#include <batchmill/client.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

// How long without a server. The client's own patience is left as it is: 10 s.
#define PATIENCE_NS UINT64_C(300000000000)

struct record {
    uint64_t seq;
    uint64_t digest;
    uint64_t taken_ns; // CLOCK_MONOTONIC
    int32_t code;      // of a failed batch; BATCHMILL_END in the last record
    uint32_t unused;
    char position[224]; // after this batch
};
_Static_assert(sizeof(struct record) == 256, "a record never crosses a page");

struct consumer {
    const char *url, *pipeline, *path;
    struct batchmill_order order;
    struct batchmill_options options;
    int fd;
    uint64_t nrecords;
    struct record last; // of the file; all zero when there is none
    uint64_t started_ns, taken_ns, resume_ns, stall_ns;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// ---- The file ----

static bool consumer_open_file(struct consumer *consumer)
{
    struct stat info;
    consumer->fd = open(consumer->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (consumer->fd < 0 || fstat(consumer->fd, &info) != 0) {
        fprintf(stderr, "%s: cannot open: %m\n", consumer->path);
        return false;
    }
    consumer->nrecords = (uint64_t)info.st_size / sizeof(struct record);
    if (consumer->nrecords == 0)
        return true;
    off_t at = (off_t)((consumer->nrecords - 1) * sizeof(struct record));
    if (pread(consumer->fd, &consumer->last, sizeof consumer->last, at) ==
        (ssize_t)sizeof consumer->last)
        return true;
    fprintf(stderr, "%s: cannot read the last record: %m\n", consumer->path);
    return false;
}

static bool consumer_append(struct consumer *consumer, const struct record *record)
{
    off_t at = (off_t)(consumer->nrecords * sizeof *record);
    errno = 0;
    ssize_t written = pwrite(consumer->fd, record, sizeof *record, at);
    if (written != (ssize_t)sizeof *record) {
        fprintf(stderr, "%s: cannot write the record of batch %" PRIu64 ": %s\n", consumer->path,
                record->seq, strerror(written >= 0 ? ENOSPC : errno));
        return false;
    }
    consumer->nrecords++;
    return true;
}

// ---- What a batch says ----

static void hash_tensor(struct bm_hash *hash, const struct batchmill_tensor *tensor)
{
    bm_hash_add_text(hash, tensor->name);
    bm_hash_add_u64(hash, tensor->dtype);
    bm_hash_add_u64(hash, tensor->ndim);
    for (unsigned axis = 0; axis < tensor->ndim; axis++)
        bm_hash_add_u64(hash, tensor->shape[axis]);
    if (tensor->ragged)
        bm_hash_add(hash, tensor->offsets, (size_t)(tensor->shape[0] + 1) * sizeof(uint64_t));
    bm_hash_add(hash, tensor->data, tensor->size_bytes);
}

static bool batch_digest(const struct batchmill_batch *batch, uint64_t *ret_digest)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return false;
    bm_hash_add_u64(hash, batchmill_batch_epoch(batch));
    bm_hash_add(hash, batchmill_batch_items(batch),
                batchmill_batch_nitems(batch) * sizeof(uint64_t));
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++)
        hash_tensor(hash, batchmill_batch_tensor_at(batch, i));
    *ret_digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return true;
}

// ---- The stream ----

static void consumer_time(struct consumer *consumer, struct record *record)
{
    record->taken_ns = now_ns();
    if (consumer->taken_ns == 0)
        consumer->resume_ns = record->taken_ns - consumer->started_ns;
    else if (record->taken_ns - consumer->taken_ns > consumer->stall_ns)
        consumer->stall_ns = record->taken_ns - consumer->taken_ns;
    consumer->taken_ns = record->taken_ns;
}

// What `code` of batchmill_next() tells, as a record; false: it tells of no batch and no end.
static bool record_fill(struct record *record, enum batchmill_code code,
                        struct batchmill_batch *batch, const struct batchmill_error *error)
{
    record->code = code;
    if (code == BATCHMILL_OK) {
        record->seq = batchmill_batch_seq(batch);
        return batch_digest(batch, &record->digest);
    }
    record->seq = error->seq;
    return code == BATCHMILL_END || error->has_batch;
}

// A server that is away or going down has a successor.
static enum batchmill_code consumer_open_stream(const struct consumer *consumer,
                                                struct batchmill_client **ret_mill,
                                                struct batchmill_stream **ret_stream,
                                                struct batchmill_error *error)
{
    const struct timespec pause = {.tv_nsec = 20000000L};
    for (;;) {
        enum batchmill_code code = BATCHMILL_OK;
        if (*ret_mill == NULL)
            code = batchmill_connect(consumer->url, &consumer->options, ret_mill, error);
        if (code == BATCHMILL_OK)
            code = batchmill_gen_batch(*ret_mill, consumer->pipeline, &consumer->order, ret_stream,
                                       error);
        if (code != BATCHMILL_UNAVAILABLE || now_ns() - consumer->started_ns > PATIENCE_NS)
            return code;
        nanosleep(&pause, NULL);
    }
}

static enum batchmill_code consumer_next(const struct consumer *consumer,
                                         struct batchmill_stream *stream,
                                         struct batchmill_batch **ret_batch,
                                         struct batchmill_error *error)
{
    uint64_t since_ns = consumer->taken_ns == 0 ? consumer->started_ns : consumer->taken_ns;
    enum batchmill_code code;
    while ((code = batchmill_next(stream, ret_batch, error)) == BATCHMILL_UNAVAILABLE &&
           now_ns() - since_ns < PATIENCE_NS)
        fprintf(stderr, "asking again: %s\n", error->text);
    return code;
}

// Until the end, or the first thing that is neither a batch nor the end.
static bool consumer_follow(struct consumer *consumer, struct batchmill_stream *stream)
{
    struct batchmill_error error = {0};
    struct record record = {0};
    do {
        struct batchmill_batch *batch = NULL;
        record = (struct record){0};
        enum batchmill_code code = consumer_next(consumer, stream, &batch, &error);
        consumer_time(consumer, &record);
        bool told = record_fill(&record, code, batch, &error);
        batchmill_batch_free(batch);
        if (!told || batchmill_position(stream, record.position, sizeof record.position, &error) !=
                         BATCHMILL_OK) {
            fprintf(stderr, "%s: %s\n", batchmill_code_name(error.code), error.text);
            return false;
        }
        if (!consumer_append(consumer, &record))
            return false;
    } while (record.code != BATCHMILL_END);
    return true;
}

static bool consumer_run(struct consumer *consumer)
{
    struct batchmill_error error = {0};
    struct batchmill_client *mill = NULL;
    struct batchmill_stream *stream = NULL;
    if (consumer->last.position[0] != '\0') {
        struct batchmill_order resumed = BATCHMILL_ORDER_DEFAULTS; // the position has the rest
        resumed.prefetch = consumer->order.prefetch;
        resumed.on_error = consumer->order.on_error;
        resumed.position = consumer->last.position;
        consumer->order = resumed;
    }
    consumer->order.checked = true; // batches may be larger than what is checked anyway
    enum batchmill_code code = consumer_open_stream(consumer, &mill, &stream, &error);
    if (code != BATCHMILL_OK)
        fprintf(stderr, "%s: %s\n", batchmill_code_name(code), error.text);
    bool done = code == BATCHMILL_OK && consumer_follow(consumer, stream);
    batchmill_stream_close(stream);
    batchmill_disconnect(mill);
    printf("%" PRIu64 " records, first batch after %.1f ms, longest stall %.1f ms\n",
           consumer->nrecords, (double)consumer->resume_ns / 1e6, (double)consumer->stall_ns / 1e6);
    return done;
}

// ---- Options ----

static void log_line(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "%s\n", message);
}

enum {
    URL = 0x100,
    PIPELINE,
    LOG,
    BATCH_SIZE,
    SHUFFLE,
    ITERS,
    EPOCHS,
    CROSS,
    SHARD,
    PREFETCH,
    REPORT,
    TLS_CA
};

static const struct option options[] = {
    {"url", required_argument, NULL, URL},
    {"pipeline", required_argument, NULL, PIPELINE},
    {"log", required_argument, NULL, LOG},
    {"batch-size", required_argument, NULL, BATCH_SIZE},
    {"shuffle", required_argument, NULL, SHUFFLE},
    {"n-iters", required_argument, NULL, ITERS},
    {"n-epochs", required_argument, NULL, EPOCHS},
    {"cross", no_argument, NULL, CROSS},
    {"shard", required_argument, NULL, SHARD},
    {"prefetch", required_argument, NULL, PREFETCH},
    {"report", no_argument, NULL, REPORT},
    {"tls-ca", required_argument, NULL, TLS_CA},
    {0},
};

static bool consumer_option(struct consumer *consumer, int key)
{
    struct batchmill_order *order = &consumer->order;
    uint64_t number = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);
    switch (key) {
    case URL:
        consumer->url = optarg;
        return true;
    case PIPELINE:
        consumer->pipeline = optarg;
        return true;
    case LOG:
        consumer->path = optarg;
        return true;
    case BATCH_SIZE:
        order->batch_size = number;
        return true;
    case SHUFFLE:
        order->shuffle = BATCHMILL_SHUFFLE_SEEDED;
        order->seed = number;
        return true;
    case ITERS:
        order->n_iters = number;
        return true;
    case EPOCHS:
        order->n_epochs = number;
        return true;
    case CROSS:
        order->epoch_border = BATCHMILL_BORDER_CROSS;
        return true;
    case SHARD:
        return sscanf(optarg, "%" SCNu64 "/%" SCNu64, &order->shard_index, &order->shard_count) ==
               2;
    case PREFETCH:
        order->prefetch = (uint32_t)number;
        return true;
    case REPORT:
        order->on_error = BATCHMILL_REPORT;
        return true;
    case TLS_CA:
        consumer->options.tls_ca_file = optarg;
        return true;
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    struct consumer consumer = {
        .order = BATCHMILL_ORDER_DEFAULTS, .options = {.log = log_line}, .started_ns = now_ns()};
    for (int key; (key = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (!consumer_option(&consumer, key))
            return 2;
    }
    if (consumer.url == NULL || consumer.pipeline == NULL || consumer.path == NULL) {
        fprintf(stderr, "expected --url, --pipeline and --log\n");
        return 2;
    }
    signal(SIGXFSZ, SIG_IGN); // a file that may not grow is an error of pwrite()
    if (!consumer_open_file(&consumer))
        return 1;
    bool done = consumer.last.code == BATCHMILL_END || consumer_run(&consumer);
    close(consumer.fd);
    return done ? 0 : 1;
}
