#include "server/position.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/name.h"

// The record, little-endian: the check, 9 numbers, the flags, and the pipeline's name to its end.
enum {
    NUMBERS = 9,
    FLAGS_AT = 8 + 8 * NUMBERS,
    NAME_AT = FLAGS_AT + 1,
    RECORD_MAX = NAME_AT + BM_NAME_MAX,
    BASE64_MAX = (RECORD_MAX + 2) / 3 * 4,
    SEQ_DIGITS_MAX = 20,
};
enum { FLAG_SHUFFLE = 1, FLAG_DROP_LAST = 2, FLAG_CROSS = 4, FLAGS_ALL = 7 };

static const char prefix[] = "bm2.";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void u64_put(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t u64_get(const unsigned char *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static size_t record_put(const struct bm_position *position, unsigned char record[RECORD_MAX])
{
    const struct bm_order_params *order = &position->order;
    const uint64_t numbers[NUMBERS] = {
        position->fingerprint.definition,
        position->fingerprint.data,
        position->fingerprint.format,
        order->batch_size,
        order->seed,
        order->n_epochs,
        order->n_iters,
        order->shard_index,
        order->shard_count,
    };
    for (size_t i = 0; i < NUMBERS; i++)
        u64_put(record + 8 + 8 * i, numbers[i]);
    record[FLAGS_AT] = (unsigned char)((order->shuffle ? FLAG_SHUFFLE : 0) |
                                       (order->drop_last ? FLAG_DROP_LAST : 0) |
                                       (order->epoch_border == BM_BORDER_CROSS ? FLAG_CROSS : 0));
    size_t name_size = strlen(position->pipeline);
    memcpy(record + NAME_AT, position->pipeline, name_size);
    size_t size = NAME_AT + name_size;
    u64_put(record, bm_hash_bytes(record + 8, size - 8));
    return size;
}

static void record_get(const unsigned char *record, size_t size, struct bm_position *position)
{
    uint64_t numbers[NUMBERS];
    for (size_t i = 0; i < NUMBERS; i++)
        numbers[i] = u64_get(record + 8 + 8 * i);
    unsigned flags = record[FLAGS_AT];
    *position = (struct bm_position){
        .fingerprint = {numbers[0], numbers[1], numbers[2]},
        .order =
            {
                .batch_size = numbers[3],
                .shuffle = (flags & FLAG_SHUFFLE) != 0,
                .seed = numbers[4],
                .n_epochs = numbers[5],
                .n_iters = numbers[6],
                .drop_last = (flags & FLAG_DROP_LAST) != 0,
                .epoch_border = (flags & FLAG_CROSS) != 0 ? BM_BORDER_CROSS : BM_BORDER_STOP,
                .shard_index = numbers[7],
                .shard_count = numbers[8],
            },
    };
    memcpy(position->pipeline, record + NAME_AT, size - NAME_AT);
}

// ---- base64url (RFC 4648, section 5), without padding ----

static char *base64_put(char *at, const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 3) {
        size_t n = size - i < 3 ? size - i : 3;
        unsigned group = (unsigned)bytes[i] << 16;
        group |= n > 1 ? (unsigned)bytes[i + 1] << 8 : 0;
        group |= n > 2 ? bytes[i + 2] : 0;
        for (size_t k = 0; k <= n; k++)
            *at++ = alphabet[group >> (18 - 6 * k) & 63];
    }
    return at;
}

// False: a character or a length that base64 does not have, or bits set behind the last byte.
static bool base64_get(const char *text, size_t length, unsigned char *bytes, size_t *ret_size)
{
    if (length % 4 == 1)
        return false;
    unsigned bits = 0, nbits = 0;
    size_t size = 0;
    for (size_t i = 0; i < length; i++) {
        const char *found = strchr(alphabet, text[i]); // text[i] is never NUL: it is within a text
        if (found == NULL)
            return false;
        bits = bits << 6 | (unsigned)(found - alphabet);
        nbits += 6;
        if (nbits >= 8) {
            nbits -= 8;
            bytes[size++] = (unsigned char)(bits >> nbits);
        }
    }
    *ret_size = size;
    return (bits & ((1u << nbits) - 1)) == 0;
}

// ---- The token ----

char *bm_position_stem(const struct bm_position *position)
{
    unsigned char record[RECORD_MAX];
    size_t size = record_put(position, record);
    char *stem = malloc(sizeof prefix + (size + 2) / 3 * 4);
    if (stem == NULL)
        return NULL;
    memcpy(stem, prefix, sizeof prefix);
    *base64_put(stem + strlen(prefix), record, size) = '\0';
    return stem;
}

static enum bm_status refuse(struct bm_error *err, const char *text)
{
    return bm_fail(err, BM_INVALID_ARGUMENT, "position",
                   "expected a position that a server gave, got %s", text);
}

// One spelling for each number: no sign, no space, no leading zero.
static bool seq_get(const char *text, uint64_t *ret_seq)
{
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length > SEQ_DIGITS_MAX || text[length] != '\0' ||
        (text[0] == '0' && length > 1))
        return false;
    uint64_t seq = 0;
    for (size_t i = 0; i < length; i++) {
        if (__builtin_mul_overflow(seq, (uint64_t)10, &seq) ||
            __builtin_add_overflow(seq, (uint64_t)(text[i] - '0'), &seq))
            return false;
    }
    *ret_seq = seq;
    return true;
}

enum bm_status bm_position_parse(const char *text, struct bm_position *ret_position,
                                 struct bm_error *err)
{
    if (strnlen(text, BM_POSITION_MAX + 1) > BM_POSITION_MAX)
        return refuse(err, "one that is too long");
    if (strncmp(text, "bm1.", 4) == 0)
        return refuse(err, "one of an earlier version (bm1), which does not say enough");
    if (strncmp(text, prefix, strlen(prefix)) != 0)
        return refuse(err, "one that does not begin with bm2.");
    const char *stem = text + strlen(prefix);
    const char *dot = strchr(stem, '.');
    if (dot == NULL)
        return refuse(err, "one without a batch number at its end");
    size_t length = (size_t)(dot - stem);
    if (length > BASE64_MAX)
        return refuse(err, "one that is too long");
    unsigned char record[RECORD_MAX + 3];
    size_t size = 0;
    if (!base64_get(stem, length, record, &size) || size <= NAME_AT || size > RECORD_MAX ||
        bm_hash_bytes(record + 8, size - 8) != u64_get(record) || record[FLAGS_AT] > FLAGS_ALL)
        return refuse(err, "one that was cut or mistyped");
    struct bm_position position;
    record_get(record, size, &position);
    // A NUL within the name would make it shorter than the record says.
    if (!bm_name_valid(position.pipeline) || strlen(position.pipeline) != size - NAME_AT)
        return refuse(err, "one that was cut or mistyped");
    if (!seq_get(dot + 1, &position.seq))
        return refuse(err, "one whose batch number is none");
    *ret_position = position;
    return BM_OK;
}
