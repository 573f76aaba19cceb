// Whatever single bit of a message is altered on its way: the receiver finds it, or it says the
// same.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "client/c/codec.h"
#include "fakes/fake_replies.h"
#include "fakes/fake_types.h"
#include "server/codec.h"
#include "support.h"

static const char token[] = "correct-horse-battery";

// ---- Requests ----

static bool texts_equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool requests_equal(const struct bm_request *a, const struct bm_request *b)
{
    if (a->kind != b->kind || a->token_size != b->token_size ||
        memcmp(a->token, b->token, a->token_size) != 0)
        return false;
    if (a->kind == BM_CALL_NEXT_BATCHES)
        return texts_equal(a->next.stream, b->next.stream) && a->next.first == b->next.first &&
               a->next.ack == b->next.ack && a->next.max_batches == b->next.max_batches &&
               a->next.wait_ms == b->next.wait_ms;
    if (a->kind == BM_CALL_OPEN_STREAM)
        return texts_equal(a->open.pipeline, b->open.pipeline) &&
               texts_equal(a->open.position, b->open.position) &&
               texts_equal(a->open.cursor, b->open.cursor) &&
               a->open.order.batch_size == b->open.order.batch_size &&
               a->open.order.seed == b->open.order.seed &&
               a->open.order.shuffle == b->open.order.shuffle &&
               a->open.order.n_epochs == b->open.order.n_epochs &&
               a->open.order.n_iters == b->open.order.n_iters &&
               a->open.order.shard_index == b->open.order.shard_index &&
               a->open.order.shard_count == b->open.order.shard_count &&
               a->open.order.drop_last == b->open.order.drop_last &&
               a->open.order.endless == b->open.order.endless &&
               a->open.order.epoch_border == b->open.order.epoch_border &&
               a->open.prefetch == b->open.prefetch && a->open.nonce == b->open.nonce;
    return a->kind != BM_CALL_CLOSE_STREAM ||
           (texts_equal(a->named.name, b->named.name) && a->named.ack == b->named.ack);
}

static void flip_request(struct bm_buffer *request)
{
    struct bm_request expected = {0};
    assert_int_equal(bm_client_request_seal(request, token, NULL), BATCHMILL_OK);
    assert_int_equal(bm_request_decode(request->data, request->size, &expected, NULL), BM_OK);
    for (size_t bit = 0; bit < 8 * request->size; bit++) {
        struct bm_request got = {0};
        struct bm_error error;
        request->data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        enum bm_status status = bm_request_decode(request->data, request->size, &got, &error);
        request->data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (status == BM_OK && !requests_equal(&got, &expected))
            fail_msg("bit %zu of byte %zu was altered and not found", bit % 8, bit / 8);
        if (status != BM_OK && (status != BM_DATA_LOSS ||
                                strcmp(error.text, "the request was altered on its way") != 0))
            fail_msg("bit %zu of byte %zu: %s", bit % 8, bit / 8, error.text);
        bm_request_fini(&got);
    }
    bm_request_fini(&expected);
    bm_buffer_fini(request);
}

static void no_altered_bit_of_a_request_does_harm(void **state)
{
    (void)state;
    struct bm_buffer request;
    bm_buffer_init(&request);
    const struct bm_client_next next = {
        .stream = "0123456789abcdef", .first = 300, .max_batches = 4, .wait_ms = 5000, .ack = 299};
    bm_client_encode_next(&next, &request, NULL);
    flip_request(&request);
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 64;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.position = "bm2.x.7";
    const struct bm_client_open open = {.pipeline = "digits", .order = &order, .nonce = 5};
    bm_client_encode_open(&open, &request, NULL);
    flip_request(&request);
    bm_client_encode_close("0123456789abcdef", 3, false, &request, NULL);
    flip_request(&request);
    bm_client_encode_status(&request, NULL);
    flip_request(&request);
}

// A proxy that writes a message anew may put fields behind the check, or leave its bytes elsewhere.
static void a_check_that_is_not_at_the_end_is_refused(void **state)
{
    (void)state;
    struct bm_buffer request;
    struct bm_request got = {0};
    bm_buffer_init(&request);
    bm_client_encode_status(&request, NULL);
    assert_int_equal(bm_client_request_seal(&request, NULL, NULL), BATCHMILL_OK);
    bm_buffer_add(&request, "\xf8\x01\x01", 3); // field 31, unknown
    assert_int_equal(bm_request_decode(request.data, request.size, &got, NULL), BM_DATA_LOSS);
    bm_buffer_fini(&request);
}

// ---- Replies ----

struct reply_said { // what a client makes of it
    enum batchmill_code code;
    struct bm_client_batches head;
    unsigned nbatches;
    uint64_t nitems;
    unsigned char data[64];
    size_t size;
};

static void reply_read(const void *bytes, size_t size, struct reply_said *said)
{
    memset(said, 0, sizeof *said);
    said->code = bm_client_decode_next(bytes, size, &said->head, NULL);
    struct bm_client_batches walk = said->head;
    for (size_t i = 0; said->code == BATCHMILL_OK && i < said->head.nbatches; i++) {
        struct bm_client_batch *batch = NULL;
        said->code = bm_client_next_of(&walk, &batch, NULL);
        if (said->code != BATCHMILL_OK)
            break;
        said->nbatches++;
        said->nitems += batch->nitems;
        for (size_t t = 0; t < batch->ntensors && said->size == 0; t++) {
            said->size = batch->tensors[t].size_bytes;
            assert_true(said->size <= sizeof said->data);
            memcpy(said->data, batch->tensors[t].data, said->size);
        }
        free(batch);
    }
}

static bool replies_equal(const struct reply_said *a, const struct reply_said *b)
{
    return a->code == b->code && strcmp(a->head.stream, b->head.stream) == 0 &&
           a->head.first == b->head.first && a->head.end == b->head.end &&
           a->head.end_seq == b->head.end_seq && a->nbatches == b->nbatches &&
           a->nitems == b->nitems && a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static void flip_reply(struct bm_reply *reply)
{
    struct fake_bytes bytes = fake_bytes_reply(reply);
    struct reply_said expected, got;
    assert_int_equal(bm_check_end(bytes.data, bytes.size), BM_CHECK_HOLDS);
    assert_false(bm_client_reply_altered(bytes.data, bytes.size));
    reply_read(bytes.data, bytes.size, &expected);
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        bytes.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        bool found = bm_client_reply_altered(bytes.data, bytes.size);
        if (!found)
            reply_read(bytes.data, bytes.size, &got);
        bytes.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (!found && got.code != BATCHMILL_DATA_LOSS && !replies_equal(&got, &expected))
            fail_msg("bit %zu of byte %zu was altered and not found", bit % 8, bit / 8);
    }
    free(bytes.memory);
}

static void no_altered_bit_of_a_reply_does_harm(void **state)
{
    (void)state;
    struct bm_registry *registry = fake_types_registry();
    struct bm_pipeline *pipeline = fake_types_pipeline(registry, "{fake: {n: 10}}", "[]");
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "x", BM_UINT8, false, 1, (const uint64_t[]){3});
    struct bm_reply reply = {
        .kind = BM_CALL_NEXT_BATCHES,
        .batches = {.stream = "0123456789abcdef",
                    .pipeline = bm_pipeline_ref(pipeline),
                    .first = 4,
                    .noutcomes = 2,
                    .outcomes = fake_array(2, sizeof(struct bm_outcome *))},
    };
    reply.batches.outcomes[0] = fake_outcome(pipeline, &schema, 4, 5);
    reply.batches.outcomes[1] = fake_outcome(pipeline, &schema, 5, 2);
    flip_reply(&reply);
    reply = (struct bm_reply){.kind = BM_CALL_NEXT_BATCHES,
                              .batches = {.stream = "s", .first = 9, .end = true, .end_seq = 9}};
    reply.batches.pipeline = bm_pipeline_ref(pipeline);
    flip_reply(&reply);
    struct bm_error error;
    bm_fail(&error, BM_NOT_FOUND, "stream", "there is none");
    reply = (struct bm_reply){0};
    bm_reply_fail(&reply, &error);
    flip_reply(&reply);
    bm_schema_fini(&schema);
    bm_pipeline_unref(pipeline);
    bm_registry_free(registry);
}

static void long_replies_have_a_check_only_where_it_is_wanted(void **state)
{
    (void)state;
    struct bm_registry *registry = fake_types_registry();
    struct bm_pipeline *pipeline = fake_types_pipeline(registry, "{fake: {n: 10}}", "[]");
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "x", BM_UINT8, false, 1, (const uint64_t[]){1000});
    for (uint64_t nitems = 60; nitems <= 70; nitems++) {
        for (unsigned checked = 0; checked < 2; checked++) {
            struct bm_reply reply = {
                .kind = BM_CALL_NEXT_BATCHES,
                .batches = {.stream = "s",
                            .pipeline = bm_pipeline_ref(pipeline),
                            .checked = checked,
                            .noutcomes = 1,
                            .outcomes = fake_array(1, sizeof(struct bm_outcome *))},
            };
            reply.batches.outcomes[0] = fake_outcome(pipeline, &schema, 0, nitems);
            struct fake_bytes bytes = fake_bytes_reply(&reply);
            bool expected = checked || nitems <= 65;
            assert_int_equal(bm_check_end(bytes.data, bytes.size) == BM_CHECK_HOLDS, expected);
            assert_false(bm_client_reply_altered(bytes.data, bytes.size));
            bytes.data[bytes.size / 2] ^= 1;
            assert_int_equal(bm_client_reply_altered(bytes.data, bytes.size), expected);
            free(bytes.memory);
        }
    }
    bm_schema_fini(&schema);
    bm_pipeline_unref(pipeline);
    bm_registry_free(registry);
}

static void a_server_that_got_an_altered_request_is_asked_again(void **state)
{
    (void)state;
    struct bm_reply reply = {0};
    struct bm_error error;
    bm_fail(&error, BM_DATA_LOSS, "request", "the request was altered on its way");
    bm_reply_fail(&reply, &error);
    struct fake_bytes bytes = fake_bytes_reply(&reply);
    assert_true(bm_client_reply_altered(bytes.data, bytes.size));
    free(bytes.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_altered_bit_of_a_request_does_harm),
        cmocka_unit_test(a_check_that_is_not_at_the_end_is_refused),
        cmocka_unit_test(no_altered_bit_of_a_reply_does_harm),
        cmocka_unit_test(long_replies_have_a_check_only_where_it_is_wanted),
        cmocka_unit_test(a_server_that_got_an_altered_request_is_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
