// The vectors in proto/golden/order.json are what this code computes. Any language can test
// itself with them; proto/ORDER.md says what they mean.
//
// After a change of the order that is meant: test_golden_order --write, and read the difference.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/random.h"
#include "data/groups.h"
#include "data/order.h"
#include "data/permutation.h"
#include "support.h"

// ---- JSON ----

static void json_number(struct bm_buffer *out, uint64_t number)
{
    bool exact = number < (uint64_t)1 << 53; // in every JSON reader
    bm_buffer_print(out, exact ? "%" PRIu64 : "\"%" PRIu64 "\"", number);
}

static void json_field(struct bm_buffer *out, const char *key, uint64_t number)
{
    bm_buffer_print(out, "\"%s\": ", key);
    json_number(out, number);
}

static void json_numbers(struct bm_buffer *out, const char *key, const uint64_t *numbers,
                         uint64_t count)
{
    bm_buffer_print(out, "\"%s\": [", key);
    for (uint64_t i = 0; i < count; i++) {
        bm_buffer_add_text(out, i == 0 ? "" : ", ");
        json_number(out, numbers[i]);
    }
    bm_buffer_add_text(out, "]");
}

static void json_words(struct bm_buffer *out, const char *key, const uint32_t *words,
                       unsigned count)
{
    uint64_t numbers[8];
    for (unsigned i = 0; i < count; i++)
        numbers[i] = words[i];
    json_numbers(out, key, numbers, count);
}

static void json_doubles(struct bm_buffer *out, const char *key, const double *numbers,
                         unsigned count)
{
    bm_buffer_print(out, "\"%s\": [", key);
    for (unsigned i = 0; i < count; i++)
        bm_buffer_print(out, "%s%.17g", i == 0 ? "" : ", ", numbers[i]);
    bm_buffer_add_text(out, "]");
}

static void json_list_begin(struct bm_buffer *out, const char *key)
{
    bm_buffer_print(out, "%s\"%s\": [", out->size > 2 ? ",\n" : "", key);
}

static void json_item_begin(struct bm_buffer *out, unsigned index)
{
    bm_buffer_add_text(out, index == 0 ? "\n  {" : ",\n  {");
}

// ---- Mixing and permutations ----

static void add_mix64(struct bm_buffer *out)
{
    static const uint64_t numbers[] = {0, 1, 2, 0x9e3779b97f4a7c15u, UINT64_MAX};
    json_list_begin(out, "mix64");
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_item_begin(out, i);
        json_field(out, "x", numbers[i]);
        bm_buffer_add_text(out, ", ");
        json_field(out, "result", bm_mix64(numbers[i]));
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

static void add_permute(struct bm_buffer *out)
{
    static const struct {
        uint64_t seed, epoch, n;
    } cases[] = {
        {0, 0, 1},          {0, 0, 2},           {0, 1, 2},
        {0, 2, 2},          {0, 3, 2},           {7, 0, 3},
        {7, 1, 3},          {7, 0, 10},          {7, 1, 10},
        {8, 0, 10},         {UINT64_MAX, 0, 10}, {0, UINT64_MAX, 10},
        {7, 0, 31},         {7, 0, 32},          {7, 0, 33},
        {7, 0, 63},         {7, 0, 64},          {7, 0, 65},
        {7, 0, 1797},       {7, 3, 60000},       {UINT64_MAX, 999999, 1000000000},
        {7, 0, 1ull << 32}, {7, 0, 1ull << 53},  {7, 0, 1ull << 62},
        {7, 0, 1ull << 63}, {7, 0, UINT64_MAX},
    };
    json_list_begin(out, "permute");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t n = cases[i].n, items[65];
        const uint64_t some[] = {0, 1, 2, 3, n / 2, n - 3, n - 2, n - 1};
        json_item_begin(out, i);
        json_field(out, "seed", cases[i].seed);
        bm_buffer_add_text(out, ", ");
        json_field(out, "epoch", cases[i].epoch);
        bm_buffer_add_text(out, ", ");
        json_field(out, "n", n);
        bm_buffer_add_text(out, ", ");
        if (n > 65)
            json_numbers(out, "positions", some, 8);
        bm_buffer_add_text(out, n > 65 ? ", " : "");
        for (uint64_t k = 0; k < (n > 65 ? 8 : n); k++)
            items[k] = bm_permute(cases[i].seed, cases[i].epoch, n, n > 65 ? some[k] : k);
        json_numbers(out, "items", items, n > 65 ? 8 : n);
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

// ---- Streams ----

enum {
    U = 0
}; // a column that is left out: shuffle off, epochs by default, no drop_last, no shards

struct stream {
    uint64_t n, batch_size;
    int shuffle; // 1: with `seed`
    uint64_t seed;
    const char *epochs; // "epochs 3", "iters 3", or "" for neither
    int drop_last, cross;
    uint64_t shard_index, shard_count;
    uint64_t seqs[5]; // batches to show; all of a short stream when empty
};

static struct bm_order_params stream_params(const struct stream *stream)
{
    struct bm_order_params params = {
        .batch_size = stream->batch_size,
        .shuffle = stream->shuffle,
        .seed = stream->seed,
        .n_epochs = BM_ORDER_UNSET,
        .n_iters = BM_ORDER_UNSET,
        .drop_last = stream->drop_last,
        .epoch_border = stream->cross ? BM_BORDER_CROSS : BM_BORDER_STOP,
        .shard_index = stream->shard_index,
        .shard_count = stream->shard_count,
    };
    if (stream->epochs[0] == 'e')
        params.n_epochs = strtoull(stream->epochs + strlen("epochs "), NULL, 10);
    if (stream->epochs[0] == 'i')
        params.n_iters = strtoull(stream->epochs + strlen("iters "), NULL, 10);
    return params;
}

static void add_params(struct bm_buffer *out, const struct stream *stream)
{
    struct bm_order_params params = stream_params(stream);
    json_field(out, "n", stream->n);
    bm_buffer_add_text(out, ", \"parameters\": {");
    json_field(out, "batch_size", params.batch_size);
    if (params.shuffle) {
        bm_buffer_add_text(out, ", \"shuffle\": true, ");
        json_field(out, "seed", params.seed);
    }
    if (stream->epochs[0] != '\0') {
        bool iters = params.n_iters != BM_ORDER_UNSET;
        bm_buffer_add_text(out, ", ");
        json_field(out, iters ? "n_iters" : "n_epochs", iters ? params.n_iters : params.n_epochs);
    }
    if (params.drop_last)
        bm_buffer_add_text(out, ", \"drop_last\": true");
    if (stream->cross)
        bm_buffer_add_text(out, ", \"epoch_border\": \"cross\"");
    if (params.shard_index > 0 || params.shard_count > 0) {
        bm_buffer_add_text(out, ", ");
        json_field(out, "shard_index", params.shard_index);
        bm_buffer_add_text(out, ", ");
        json_field(out, "shard_count", params.shard_count);
    }
    bm_buffer_add_text(out, "}");
}

static void add_batch(struct bm_buffer *out, const struct bm_order *order, uint64_t seq)
{
    uint64_t items[64], epochs[64], size = bm_order_size(order, seq);
    assert_in_range(size, 1, 64);
    bm_order_items(order, seq, items, epochs);
    bm_buffer_add_text(out, "{");
    json_field(out, "seq", seq);
    bm_buffer_add_text(out, ", ");
    json_field(out, "epoch", bm_order_epoch(order, seq));
    bm_buffer_add_text(out, ", ");
    json_numbers(out, "items", items, size);
    bm_buffer_add_text(out, ", ");
    json_numbers(out, "epochs", epochs, size);
    bm_buffer_add_text(out, "}");
}

static void add_stream(struct bm_buffer *out, const struct stream *stream)
{
    struct bm_order order;
    struct bm_order_params params = stream_params(stream);
    struct bm_error err;
    if (bm_order_init(&order, &params, stream->n, &err) != BM_OK)
        fail_msg("%s: %s", err.where, err.text);
    uint64_t nbatches = bm_order_nbatches(&order);
    add_params(out, stream);
    bm_buffer_add_text(out, ", ");
    if (nbatches == BM_ORDER_ENDLESS)
        bm_buffer_add_text(out, "\"batches\": null");
    else
        json_field(out, "batches", nbatches);
    bm_buffer_add_text(out, ", ");
    json_field(out, "epoch_batches", bm_order_epoch_batches(&order));
    bm_buffer_add_text(out, ", \"sample\": [");
    bool all = stream->seqs[1] == 0;
    assert_true(!all || nbatches <= 20);
    for (uint64_t i = 0; i < (all ? nbatches : 5); i++) {
        bm_buffer_add_text(out, i == 0 ? "" : ", ");
        add_batch(out, &order, all ? i : stream->seqs[i]);
    }
    bm_buffer_add_text(out, "]");
}

static void add_streams(struct bm_buffer *out)
{
    const uint64_t most = UINT64_MAX, billion = 1000000000;
    const struct stream cases[] = {
        // n, batch_size, shuffle, seed, epochs, drop_last, cross, shard
        {5, 2, U, U, "", U, U, U, U, {0}},
        {5, 2, U, U, "epochs 2", U, U, U, U, {0}},
        {5, 2, U, U, "epochs 2", U, 1, U, U, {0}},
        {5, 2, U, U, "epochs 2", 1, U, U, U, {0}},
        {5, 2, U, U, "epochs 3", 1, 1, U, U, {0}},
        {5, 2, U, U, "iters 4", U, U, U, U, {0}},
        {5, 2, U, U, "iters 4", U, 1, U, U, {0}},
        {5, 2, U, U, "iters 4", 1, U, U, U, {0}},
        {5, 7, U, U, "epochs 2", U, U, U, U, {0}},
        {5, 7, U, U, "epochs 2", U, 1, U, U, {0}},
        {2, 7, U, U, "iters 2", 1, 1, U, U, {0}},
        {0, 2, U, U, "epochs 0", U, U, U, U, {0}},
        {1, 1, 1, 7, "epochs 3", U, U, U, U, {0}},
        {10, 3, 1, 0, "epochs 2", U, U, U, U, {0}},
        {10, 3, 1, 7, "epochs 2", U, U, U, U, {0}},
        {10, 3, 1, most, "epochs 2", U, U, U, U, {0}},
        {10, 3, 1, 0, "epochs 2", U, 1, U, U, {0}},
        {10, 3, 1, 7, "epochs 2", 1, U, U, U, {0}},
        {10, 4, 1, 7, "iters 7", 1, 1, U, U, {0}},
        {10, 3, 1, 7, "epochs 0", U, U, U, U, {0, 1, 3, 4, 123456}},
        {10, 3, 1, 7, "epochs 0", U, 1, U, U, {0, 1, 3, 4, 123456}},
        // Shards: 9 items, so that shard 1 of 2 and shard 2 of 4 lack a last batch.
        {9, 2, U, U, "", U, U, 0, 2, {0}},
        {9, 2, U, U, "", U, U, 1, 2, {0}},
        {9, 2, 1, 7, "epochs 2", U, U, 0, 4, {0}},
        {9, 2, 1, 7, "epochs 2", U, U, 2, 4, {0}},
        {9, 2, 1, 7, "epochs 2", 1, U, 3, 4, {0}},
        {9, 2, 1, 7, "epochs 3", U, 1, 0, 4, {0}},
        {9, 2, 1, 7, "epochs 3", U, 1, 3, 4, {0}},
        {9, 2, 1, 7, "epochs 3", 1, 1, 3, 4, {0}},
        {9, 2, 1, 7, "iters 6", U, 1, 3, 4, {0}},
        {9, 2, 1, 7, "iters 6", U, U, 3, 4, {0}},
        {3, 2, U, U, "epochs 2", U, U, 4, 5, {0}},
        {3, 2, U, U, "epochs 2", U, 1, 4, 5, {0}},
        {3, 2, 1, 7, "epochs 0", U, 1, 19, 20, {0, 1, 2, 3, 1000000007}},
        // Real sizes.
        {1797, 32, 1, 7, "epochs 10", U, U, U, U, {0, 1, 56, 57, 569}},
        {1797, 32, 1, 7, "epochs 10", U, 1, U, U, {0, 56, 57, 560, 561}},
        {60000, 8, 1, 0, "epochs 0", 1, U, 5, 8, {0, 936, 937, 938, 1000000}},
        {billion, 16, 1, 7, "", U, U, U, U, {0, 1, 31250000, 62499998, 62499999}},
        {billion, 16, 1, 7, "epochs 100", U, 1, 6, 7, {0, 1, 8928571, 8928572, 892857142}},
        {1ull << 62, 3, 1, 7, "", U, U, U, U, {0, 1, 2, (1ull << 62) / 3 - 1, (1ull << 62) / 3}},
        // Sums that would not fit.
        {4, 2, 1, 7, "epochs 4611686018427387904", U, 1, U, U, {0, 1, 2, 3, 4000000000000000000}},
        {3, 2, U, U, "epochs 18446744073709551614", U, U, U, U, {0, 1, 2, 3, 4000000000000000000}},
    };
    json_list_begin(out, "streams");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_item_begin(out, i);
        add_stream(out, &cases[i]);
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

// ---- Items of like length ----

static void add_grouped(struct bm_buffer *out)
{
    enum { N = 20 };
    static const uint64_t lengths[N] = {5, 3, 8, 1, 9, 2, 7, 3, 6, 4, 9, 1, 2, 8, 5, 6, 3, 7, 4, 1};
    static const struct {
        uint64_t n, width, batch_size, shards, seed, epoch;
    } cases[] = {
        {1, 1, 1, 1, 7, 0},
        {2, 1, 3, 1, 7, 0},
        {20, 1, 4, 1, 7, 0},
        {20, 1, 4, 1, 7, 1},
        {20, 2, 3, 1, 7, 0},
        {20, 2, 3, 1, 7, 1},
        {20, 2, 3, 1, 8, 1},
        {19, 1, 1, 1, 0, 3},
        {20, 3, 3, 2, 0, 2},
        {20, 2, 3, 2, 0, 2},
        {20, 4, 1, 4, 7, 5},
        {20, 16, 3, 1, 7, 0},
        {17, 2, 4, 1, UINT64_MAX, UINT64_MAX},
    };
    json_list_begin(out, "grouped");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_groups *groups;
        double as_given[N];
        uint64_t n = cases[i].n, items[N];
        for (uint64_t k = 0; k < n; k++) {
            as_given[k] = (double)lengths[k];
            items[k] = k;
        }
        assert_int_equal(bm_groups_new(as_given, n, cases[i].width, &groups, NULL), BM_OK);
        bm_groups_apply(groups, cases[i].seed, cases[i].epoch, cases[i].batch_size, cases[i].shards,
                        items, n);
        bm_groups_free(groups);
        json_item_begin(out, i);
        json_field(out, "seed", cases[i].seed);
        bm_buffer_add_text(out, ", ");
        json_field(out, "epoch", cases[i].epoch);
        bm_buffer_add_text(out, ", ");
        json_field(out, "width", cases[i].width);
        bm_buffer_add_text(out, ", ");
        json_field(out, "batch_size", cases[i].batch_size);
        bm_buffer_add_text(out, ", ");
        json_field(out, "shard_count", cases[i].shards);
        bm_buffer_add_text(out, ", ");
        json_numbers(out, "lengths", lengths, n);
        bm_buffer_add_text(out, ", ");
        json_numbers(out, "items", items, n);
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

static void add_refused(struct bm_buffer *out)
{
    const uint64_t too_large = BM_BATCH_SIZE_MAX + 1, too_many = BM_SHARDS_MAX + 1;
    const struct stream cases[] = {
        {5, 0, U, U, "", U, U, U, U, {0}},
        {5, too_large, U, U, "", U, U, U, U, {0}},
        {5, 2, U, U, "iters 0", U, U, U, U, {0}},
        {0, 2, U, U, "iters 1", U, U, U, U, {0}},
        {5, 2, U, U, "iters 4611686018427387905", U, U, U, U, {0}},
        {5, 2, U, U, "", U, U, 1, 0, {0}},
        {5, 2, U, U, "", U, U, 2, 2, {0}},
        {5, 2, U, U, "", U, U, 0, too_many, {0}},
        {5, 6, U, U, "epochs 2", 1, U, U, U, {0}},
        {5, 11, U, U, "epochs 2", 1, 1, U, U, {0}},
        {5, 2, U, U, "", 1, U, 0, 3, {0}},
        {5, 1, U, U, "", 1, U, 0, 6, {0}},
    };
    json_list_begin(out, "refused");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_order order;
        struct bm_order_params params = stream_params(&cases[i]);
        struct bm_error err;
        assert_int_equal(bm_order_init(&order, &params, cases[i].n, &err), BM_INVALID_ARGUMENT);
        json_item_begin(out, i);
        add_params(out, &cases[i]);
        bm_buffer_print(out, ", \"parameter\": \"%s\"}", err.where);
    }
    bm_buffer_add_text(out, "]");
}

// ---- Random numbers ----

static void add_philox(struct bm_buffer *out)
{
    static const uint32_t cases[][6] = {
        {0, 0, 0, 0, 0, 0},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0},
    };
    json_list_begin(out, "philox");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t result[4];
        bm_philox4x32_10(cases[i], cases[i] + 4, result);
        json_item_begin(out, i);
        json_words(out, "counter", cases[i], 4);
        bm_buffer_add_text(out, ", ");
        json_words(out, "key", cases[i] + 4, 2);
        bm_buffer_add_text(out, ", ");
        json_words(out, "result", result, 4);
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

// Each kind of number from a generator of its own, at its start.
static void add_draws(struct bm_buffer *out, const struct bm_random *fresh, uint64_t bound)
{
    struct bm_random u32 = *fresh, u64 = *fresh, below = *fresh, uniform = *fresh, normal = *fresh;
    uint32_t words[8];
    uint64_t longs[4], belows[4];
    double uniforms[4], normals[4];
    for (unsigned i = 0; i < 8; i++)
        words[i] = bm_random_u32(&u32);
    for (unsigned i = 0; i < 4; i++) {
        longs[i] = bm_random_u64(&u64);
        belows[i] = bm_random_below(&below, bound);
        uniforms[i] = bm_random_uniform(&uniform);
        normals[i] = bm_random_normal(&normal);
    }
    json_words(out, "u32", words, 8);
    bm_buffer_add_text(out, ", ");
    json_numbers(out, "u64", longs, 4);
    bm_buffer_add_text(out, ", ");
    json_field(out, "bound", bound);
    bm_buffer_add_text(out, ", ");
    json_numbers(out, "below", belows, 4);
    bm_buffer_add_text(out, ", ");
    json_doubles(out, "uniform", uniforms, 4);
    bm_buffer_add_text(out, ", ");
    json_doubles(out, "normal", normals, 4);
}

static void add_random(struct bm_buffer *out)
{
    static const struct {
        uint64_t seed, epoch, item;
        uint32_t action;
        uint64_t bound;
    } cases[] = {
        {0, 0, 0, 0, 10},
        {7, 0, 0, 0, 6},
        {7, 1, 0, 0, ((uint64_t)1 << 63) + 1}, // every other number is drawn again
        {7, 0, 1, 0, 1},
        {7, 0, 0, 1, (uint64_t)3 << 62},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT64_MAX},
    };
    json_list_begin(out, "random");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_random random;
        bm_random_init(&random, cases[i].seed, cases[i].epoch, cases[i].item, cases[i].action);
        json_item_begin(out, i);
        json_field(out, "seed", cases[i].seed);
        bm_buffer_add_text(out, ", ");
        json_field(out, "epoch", cases[i].epoch);
        bm_buffer_add_text(out, ", ");
        json_field(out, "item", cases[i].item);
        bm_buffer_add_text(out, ", ");
        json_field(out, "action", cases[i].action);
        bm_buffer_add_text(out, ", ");
        add_draws(out, &random, cases[i].bound);
        bm_buffer_add_text(out, "}");
    }
    bm_buffer_add_text(out, "]");
}

// ---- The file ----

static void vectors_make(struct bm_buffer *out)
{
    bm_buffer_init(out);
    bm_buffer_add_text(out, "{\n");
    add_mix64(out);
    add_permute(out);
    add_streams(out);
    add_grouped(out);
    add_refused(out);
    add_philox(out);
    add_random(out);
    bm_buffer_add_text(out, "}\n");
    assert_false(bm_buffer_failed(out));
}

static FILE *vectors_open(const char *mode)
{
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/proto/golden/order.json", root == NULL ? "." : root);
    FILE *file = fopen(path, mode);
    if (file == NULL)
        fprintf(stderr, "cannot open %s: %m\n", path);
    return file;
}

static void the_golden_vectors_are_what_is_computed(void **state)
{
    (void)state;
    FILE *file = vectors_open("rb");
    assert_non_null(file);
    struct bm_buffer made;
    vectors_make(&made);
    char *expected = malloc(made.size + 1); // one byte more, so that a longer file differs
    assert_non_null(expected);
    size_t size = fread(expected, 1, made.size + 1, file);
    fclose(file);
    size_t same = 0, lines = 1;
    while (same < size && same < made.size && expected[same] == (char)made.data[same])
        lines += expected[same++] == '\n';
    bool equal = same == made.size && size == made.size;
    free(expected);
    bm_buffer_fini(&made);
    if (!equal)
        fail_msg("order.json differs from line %zu on", lines);
}

static void write_them(void **state)
{
    (void)state;
    struct bm_buffer made;
    vectors_make(&made);
    FILE *file = vectors_open("wb");
    assert_non_null(file);
    assert_int_equal(fwrite(made.data, 1, made.size, file), made.size);
    assert_int_equal(fclose(file), 0);
    bm_buffer_fini(&made);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest write[] = {cmocka_unit_test(write_them)};
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_golden_vectors_are_what_is_computed)};
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return cmocka_run_group_tests_name("golden_order", write, NULL, NULL);
    return cmocka_run_group_tests_name("golden_order", tests, NULL, NULL);
}
