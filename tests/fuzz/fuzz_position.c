// Positions, three ways: the input as a text, as what a position holds, and as a record whose check
// is right. What is parsed is written again as the same text, and a text with one character
// changed is refused.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/name.h"
#include "fuzz/fuzz.h"
#include "server/position.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void text_parse(const char *text)
{
    struct bm_position position;
    struct bm_error error;
    if (bm_position_parse(text, &position, &error) != BM_OK) {
        fuzz_refused(&error);
        return;
    }
    BM_ASSERT(bm_name_valid(position.pipeline));
    char *stem = bm_position_stem(&position);
    char again[BM_POSITION_MAX + 1];
    BM_ASSERT(stem != NULL);
    int length = snprintf(again, sizeof again, "%s.%" PRIu64, stem, position.seq);
    BM_ASSERT(length <= BM_POSITION_MAX && strcmp(again, text) == 0);
    free(stem);
}

static void as_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    BM_ASSERT(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    text_parse(text);
    free(text);
}

// The text around a record; `record` begins with room for its check.
static void as_record(const uint8_t *data, size_t size)
{
    unsigned char record[512] = {0};
    char text[BM_POSITION_MAX + 1] = "bm2.", *at = text + 4;
    size = size < sizeof record - 9 ? size : sizeof record - 9; // a 0 stays behind it
    memcpy(record + 8, data, size);
    const uint64_t check = bm_hash_bytes(record + 8, size);
    memcpy(record, &check, sizeof check); // hosts are little-endian
    size += 8;
    for (size_t bit = 0; bit < 8 * size; bit += 6) {
        unsigned two = (unsigned)record[bit / 8] << 8 | record[bit / 8 + 1];
        *at++ = alphabet[two >> (10 - bit % 8) & 63];
    }
    strcpy(at, ".7");
    text_parse(text);
}

static void as_position(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, data + size};
    struct bm_position made = {
        .fingerprint = {.definition = fuzz_take(&bytes, 8),
                        .data = fuzz_take(&bytes, 8),
                        .format = fuzz_take(&bytes, 8)},
        .order = {.batch_size = fuzz_take(&bytes, 8),
                  .shuffle = fuzz_take(&bytes, 1) & 1,
                  .seed = fuzz_take(&bytes, 8),
                  .n_epochs = fuzz_take(&bytes, 8),
                  .n_iters = fuzz_take(&bytes, 8),
                  .drop_last = fuzz_take(&bytes, 1) & 1,
                  .epoch_border = fuzz_take(&bytes, 1) & 1 ? BM_BORDER_CROSS : BM_BORDER_STOP,
                  .shard_index = fuzz_take(&bytes, 8),
                  .shard_count = fuzz_take(&bytes, 8)},
        .seq = fuzz_take(&bytes, 8),
    };
    size_t change_at = fuzz_take(&bytes, 2);
    char change_to = (char)fuzz_take(&bytes, 1);
    size_t length = 1 + fuzz_take(&bytes, 1) % BM_NAME_MAX;
    for (size_t i = 0; i < length; i++)
        made.pipeline[i] = alphabet[fuzz_take(&bytes, 1) & 63];
    char *stem = bm_position_stem(&made);
    char text[BM_POSITION_MAX + 1];
    struct bm_position parsed = {0};
    struct bm_error error;
    BM_ASSERT(stem != NULL);
    snprintf(text, sizeof text, "%s.%" PRIu64, stem, made.seq);
    BM_ASSERT(bm_position_parse(text, &parsed, &error) == BM_OK);
    BM_ASSERT(strcmp(parsed.pipeline, made.pipeline) == 0 && parsed.seq == made.seq);
    BM_ASSERT(parsed.fingerprint.definition == made.fingerprint.definition);
    BM_ASSERT(parsed.fingerprint.data == made.fingerprint.data);
    BM_ASSERT(parsed.fingerprint.format == made.fingerprint.format);
    BM_ASSERT(parsed.order.batch_size == made.order.batch_size);
    BM_ASSERT(parsed.order.shuffle == made.order.shuffle && parsed.order.seed == made.order.seed);
    BM_ASSERT(parsed.order.n_epochs == made.order.n_epochs);
    BM_ASSERT(parsed.order.n_iters == made.order.n_iters);
    BM_ASSERT(parsed.order.drop_last == made.order.drop_last);
    BM_ASSERT(parsed.order.epoch_border == made.order.epoch_border);
    BM_ASSERT(parsed.order.shard_index == made.order.shard_index);
    BM_ASSERT(parsed.order.shard_count == made.order.shard_count);
    change_at %= strlen(stem);
    bool same = text[change_at] == change_to;
    text[change_at] = change_to;
    BM_ASSERT((bm_position_parse(text, &parsed, &error) == BM_OK) == same);
    free(stem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    as_text(data, size);
    as_record(data, size);
    as_position(data, size);
    return 0;
}
