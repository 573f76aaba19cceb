// checkpoint.c -- where a stream stands, and what gen made of it so far, in one file.
//
// Text, so that people can read it: "batchmill-checkpoint 1", a `key: value` per line in the order
// of checkpoint_print(), and `check:`, the XXH3 of all before that line. The position and what
// depends on it (counts, digest) are replaced together, by rename, so they never disagree.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "client/cli/cli.h"

enum { CHECKPOINT_BYTES_MAX = 8192, KEY_MAX = 32 };

static const char first_line[] = "batchmill-checkpoint 1\n";

static bool fail(struct batchmill_error *error, const char *path, const char *doing,
                 const char *cause)
{
    *error = (struct batchmill_error){.code = BATCHMILL_UNKNOWN};
    snprintf(error->text, sizeof error->text, "cannot %s the checkpoint %.300s: %s", doing, path,
             cause);
    return false;
}

// The numbers after the order's, in the order in which they are written.
struct number {
    const char *key;
    uint64_t *at;
};
enum { NNUMBERS = 11 };

static void checkpoint_numbers(struct cli_checkpoint *checkpoint, uint64_t *finished,
                               struct number ret_numbers[NNUMBERS])
{
    const struct number numbers[NNUMBERS] = {
        {"finished", finished},
        {"batches", &checkpoint->batches},
        {"items", &checkpoint->items},
        {"bytes", &checkpoint->bytes},
        {"skipped", &checkpoint->skipped},
        {"failed", &checkpoint->failed},
        {"digest", &checkpoint->digest},
        {"elapsed-ns", &checkpoint->elapsed_ns},
        {"part", &checkpoint->part},
        {"part-bytes", &checkpoint->part_bytes},
        {"part-items", &checkpoint->part_items},
    };
    memcpy(ret_numbers, numbers, sizeof numbers);
}

static void checkpoint_print(struct bm_buffer *out, const struct cli_checkpoint *checkpoint)
{
    struct cli_checkpoint copy = *checkpoint;
    struct number numbers[NNUMBERS];
    uint64_t finished = copy.finished;
    checkpoint_numbers(&copy, &finished, numbers);
    bm_buffer_add_text(out, first_line);
    bm_buffer_print(out, "pipeline: %s\nposition: %s\n", copy.pipeline, copy.position);
    for (unsigned i = 0; i < CLI_ORDER_NUMBERS; i++)
        bm_buffer_print(out, "%s: %" PRIu64 "\n", cli_order_name(i), copy.order[i]);
    for (unsigned i = 0; i < NNUMBERS; i++)
        bm_buffer_print(out, "%s: %" PRIu64 "\n", numbers[i].key, *numbers[i].at);
    if (!bm_buffer_failed(out))
        bm_buffer_print(out, "check: %016" PRIx64 "\n", bm_hash_bytes(out->data, out->size));
}

// ---- Reading ----

// The value of the line `key: value` at *at, which it moves past; false: it is not that line.
static bool line_get(const char **at, const char *key, char *value, size_t size)
{
    size_t key_size = strlen(key);
    if (strncmp(*at, key, key_size) != 0 || strncmp(*at + key_size, ": ", 2) != 0)
        return false;
    const char *from = *at + key_size + 2;
    const char *end = strchr(from, '\n');
    if (end == NULL || (size_t)(end - from) >= size)
        return false;
    memcpy(value, from, (size_t)(end - from));
    value[end - from] = '\0';
    *at = end + 1;
    return true;
}

static bool number_get(const char **at, const char *key, uint64_t *ret_number)
{
    char value[KEY_MAX], *end;
    if (!line_get(at, key, value, sizeof value) || value[0] < '0' || value[0] > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(value, &end, 10);
    return *end == '\0' && errno == 0;
}

// Whether the last line is the check of those before it, and nothing follows.
static bool text_is_whole(const char *text, size_t size)
{
    enum { CHECK_SIZE = sizeof "check: 0123456789abcdef\n" - 1 };
    char expected[CHECK_SIZE + 1];
    if (size < CHECK_SIZE)
        return false;
    snprintf(expected, sizeof expected, "check: %016" PRIx64 "\n",
             bm_hash_bytes(text, size - CHECK_SIZE));
    return memcmp(text + size - CHECK_SIZE, expected, CHECK_SIZE) == 0;
}

static bool checkpoint_parse(const char *text, struct cli_checkpoint *ret_checkpoint)
{
    struct cli_checkpoint *to = ret_checkpoint;
    struct number numbers[NNUMBERS];
    uint64_t finished = 0;
    checkpoint_numbers(to, &finished, numbers);
    const char *at = text + strlen(first_line);
    bool ok = line_get(&at, "pipeline", to->pipeline, sizeof to->pipeline) &&
              line_get(&at, "position", to->position, sizeof to->position);
    for (unsigned i = 0; ok && i < CLI_ORDER_NUMBERS; i++)
        ok = number_get(&at, cli_order_name(i), &to->order[i]);
    for (unsigned i = 0; ok && i < NNUMBERS; i++)
        ok = number_get(&at, numbers[i].key, numbers[i].at);
    to->finished = finished == 1;
    return ok && finished <= 1 && cli_order_sensible(to->order) && strncmp(at, "check: ", 7) == 0;
}

// The whole file as a text; false with errno 0: it is longer than any checkpoint.
static bool file_read(const char *path, char text[CHECKPOINT_BYTES_MAX + 1], size_t *ret_size)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return false;
    errno = 0;
    size_t size = fread(text, 1, CHECKPOINT_BYTES_MAX + 1, file);
    bool ok = ferror(file) == 0 && size <= CHECKPOINT_BYTES_MAX;
    int cause = errno;
    fclose(file);
    errno = cause;
    if (ok)
        text[size] = '\0';
    *ret_size = size;
    return ok;
}

bool cli_checkpoint_load(const char *path, struct cli_checkpoint *ret_checkpoint, bool *ret_found,
                         struct batchmill_error *error)
{
    static const char altered[] = "it was cut or altered; put back a copy, or remove it to begin "
                                  "at the start";
    char text[CHECKPOINT_BYTES_MAX + 1];
    size_t size = 0;
    if (!file_read(path, text, &size)) {
        *ret_found = false;
        return errno == ENOENT || fail(error, path, "read", errno == 0 ? altered : strerror(errno));
    }
    static const char any_version[] = "batchmill-checkpoint ";
    if (strncmp(text, any_version, strlen(any_version)) == 0 &&
        strncmp(text, first_line, strlen(first_line)) != 0 && text_is_whole(text, size))
        return fail(error, path, "read", "expected version 1, got one of another batchmill");
    struct cli_checkpoint checkpoint = {0};
    if (strncmp(text, first_line, strlen(first_line)) != 0 || !text_is_whole(text, size) ||
        !checkpoint_parse(text, &checkpoint))
        return fail(error, path, "read", altered);
    *ret_checkpoint = checkpoint;
    *ret_found = true;
    return true;
}

// ---- Writing ----

static bool file_write(const char *path, const unsigned char *data, size_t size)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return false;
    bool ok = true;
    for (size_t done = 0; ok && done < size;) {
        ssize_t n = write(file, data + done, size - done);
        ok = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    ok = ok && fsync(file) == 0;
    int cause = errno;
    ok = close(file) == 0 && ok;
    errno = cause;
    return ok;
}

// A rename is for good only when its folder was written too.
static bool folder_sync(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, size == 0 ? "." : path, size == 0 ? 1 : size);
    folder[size == 0 ? 1 : size] = '\0';
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0)
        return false;
    bool ok = fsync(file) == 0;
    int cause = errno;
    close(file);
    errno = cause;
    return ok;
}

bool cli_checkpoint_save(const char *path, const struct cli_checkpoint *checkpoint,
                         struct batchmill_error *error)
{
    char next[PATH_MAX];
    int length = snprintf(next, sizeof next, "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof next)
        return fail(error, path, "write", strerror(ENAMETOOLONG));
    struct bm_buffer text;
    bm_buffer_init(&text);
    checkpoint_print(&text, checkpoint);
    errno = ENOMEM;
    bool ok = !bm_buffer_failed(&text) && file_write(next, text.data, text.size) &&
              rename(next, path) == 0 && folder_sync(path);
    if (!ok)
        fail(error, path, "write", strerror(errno));
    bm_buffer_fini(&text);
    return ok;
}

// ---- The running digest: 64 bits that a file can keep, and go on from ----

static uint64_t digest_add(uint64_t digest, const void *data, size_t size)
{
    const uint64_t pair[2] = {digest, bm_hash_bytes(data, size)};
    return bm_hash_bytes(pair, sizeof pair);
}

uint64_t cli_digest_batch(uint64_t digest, const struct batchmill_batch *batch)
{
    uint64_t nitems = batchmill_batch_nitems(batch);
    const uint64_t head[] = {batchmill_batch_seq(batch), batchmill_batch_epoch(batch), nitems};
    digest = digest_add(digest, head, sizeof head);
    digest = digest_add(digest, batchmill_batch_items(batch), nitems * sizeof(uint64_t));
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
        const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
        const uint64_t type[] = {tensor->dtype, tensor->ndim, tensor->ragged};
        digest = digest_add(digest, tensor->name, strlen(tensor->name));
        digest = digest_add(digest, type, sizeof type);
        digest = digest_add(digest, tensor->shape, tensor->ndim * sizeof tensor->shape[0]);
        if (tensor->ragged)
            digest = digest_add(digest, tensor->offsets, (nitems + 1) * sizeof(uint64_t));
        digest = digest_add(digest, tensor->data, tensor->size_bytes);
    }
    return digest;
}

uint64_t cli_digest_error(uint64_t digest, const struct batchmill_error *error)
{
    const uint64_t head[] = {error->seq, (uint64_t)error->code};
    digest = digest_add(digest, head, sizeof head);
    return digest_add(digest, error->text, strlen(error->text));
}
