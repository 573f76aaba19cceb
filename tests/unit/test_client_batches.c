// Batches at the client: what the server encodes arrives, and what no honest server sends is
// refused without harm.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "client/c/codec.h"
#include "fakes/fake_replies.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "server/codec.h"
#include "support.h"

struct fixture {
    struct bm_registry *registry;
    struct bm_pipeline *pipeline;
    struct bm_schema schema;
    struct batchmill_error error;
};

static int fixture_setup(void **state)
{
    static struct fixture fixture;
    fixture.registry = fake_types_registry();
    fixture.pipeline = fake_types_pipeline(fixture.registry, "{fake: {n: 10, ragged: true}}",
                                           "[fake.step, {fake.step: {}, use_lock: gpu}]");
    bm_schema_init(&fixture.schema);
    fake_schema_add(&fixture.schema, "pixels", BM_FLOAT32, false, 2, (const uint64_t[]){8, 8});
    fake_schema_add(&fixture.schema, "text", BM_STRING, true, 0, NULL);
    fake_schema_add(&fixture.schema, "track", BM_INT16, true, 2, (const uint64_t[]){0, 3});
    *state = &fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    bm_pipeline_unref(fixture->pipeline);
    bm_registry_free(fixture->registry);
    bm_schema_fini(&fixture->schema);
    return 0;
}

// ---- An honest server ----

static struct fake_bytes batches_message(struct fixture *fixture) // batches 4 to 7, then the end
{
    struct bm_reply reply = {
        .kind = BM_CALL_NEXT_BATCHES,
        .batches =
            {
                .stream = "s-1",
                .pipeline = bm_pipeline_ref(fixture->pipeline),
                .first = 4,
                .end = true,
                .end_seq = 8,
                .stopped = true,
                .noutcomes = 4,
                .outcomes = fake_array(4, sizeof(struct bm_outcome *)),
            },
    };
    struct bm_outcome **outcomes = reply.batches.outcomes;
    outcomes[0] = fake_outcome(fixture->pipeline, &fixture->schema, 4, 5);
    outcomes[0]->epoch = 1;
    outcomes[1] = fake_outcome(fixture->pipeline, &fixture->schema, 5, 2);
    outcomes[2] = bm_outcome_new(6, 2);
    outcomes[2]->kind = BM_OUTCOME_SKIPPED;
    outcomes[2]->spans[1] = (struct bm_span){1, 2, 3, 4, 5};
    outcomes[3] = fake_failure(fixture->pipeline, 7, 1, 33, BM_OUT_OF_RANGE, "too\nlarge");
    return fake_bytes_reply(&reply);
}

// Takes every batch out of a reply; the first failure ends it. For bytes that may be anything.
static enum batchmill_code batches_drain(const struct fake_bytes *message)
{
    struct bm_client_batches batches;
    enum batchmill_code code = bm_client_decode_next(message->data, message->size, &batches, NULL);
    for (size_t i = 0; code == BATCHMILL_OK && i < batches.nbatches; i++) {
        struct bm_client_batch *batch;
        code = bm_client_next_of(&batches, &batch, NULL);
        if (code != BATCHMILL_OK)
            break;
        uint64_t sum = 0; // whatever is returned can be read
        for (size_t k = 0; k < batch->nitems; k++)
            sum += batch->items[k];
        for (size_t t = 0; t < batch->ntensors; t++) {
            const struct batchmill_tensor *tensor = &batch->tensors[t];
            assert_int_equal((uintptr_t)tensor->data % BM_CLIENT_ALIGNMENT, 0);
            for (size_t b = 0; b < tensor->size_bytes; b++)
                sum += ((const unsigned char *)tensor->data)[b];
            assert_true(!tensor->ragged || tensor->offsets[batch->nitems] == tensor->shape[0]);
            sum += strlen(tensor->name);
        }
        assert_true(sum != 1);
        free(batch);
    }
    return code;
}

static bool message_holds(const struct fake_bytes *message, const void *at)
{
    return (const unsigned char *)at >= message->data &&
           (const unsigned char *)at < message->data + message->size;
}

static void batches_arrive_as_views_of_the_message(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes message = batches_message(fixture);
    struct bm_client_batches batches;
    assert_int_equal(bm_client_decode_next(message.data, message.size, &batches, NULL),
                     BATCHMILL_OK);
    assert_string_equal(batches.stream, "s-1");
    assert_int_equal(batches.first, 4);
    assert_int_equal(batches.nbatches, 4);
    assert_true(batches.end);
    assert_true(batches.stopped);
    assert_int_equal(batches.end_seq, 8);
    struct bm_client_batch *batch;
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    assert_int_equal(batch->seq, 4);
    assert_int_equal(batch->epoch, 1);
    assert_int_equal(batch->outcome, BM_CLIENT_BATCH);
    assert_int_equal(batch->nitems, 5);
    assert_int_equal(batch->items[4], 44);
    assert_null(batch->error);
    assert_null(batch->spans);
    assert_int_equal(batch->ntensors, 3);
    const struct batchmill_tensor *pixels = &batch->tensors[0], *track = &batch->tensors[2];
    assert_string_equal(pixels->name, "pixels");
    assert_int_equal(pixels->dtype, BATCHMILL_FLOAT32);
    assert_int_equal(pixels->ndim, 3);
    assert_int_equal(pixels->shape[0], 5);
    assert_int_equal(pixels->shape[2], 8);
    assert_false(pixels->ragged);
    assert_null(pixels->offsets);
    assert_int_equal(pixels->size_bytes, 5 * 64 * 4);
    assert_int_equal(((const unsigned char *)pixels->data)[99], 100);
    assert_true(message_holds(&message, pixels->data));
    assert_true(message_holds(&message, batch->tensors[1].offsets));
    assert_string_equal(track->name, "track");
    assert_true(track->ragged);
    assert_int_equal(track->shape[0], 6);
    assert_int_equal(track->shape[1], 3);
    const uint64_t offsets[] = {0, 1, 3, 3, 4, 6};
    assert_memory_equal(track->offsets, offsets, sizeof offsets);
    free(batch);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    assert_int_equal(batch->seq, 5);
    free(batch);
    free(message.memory);
}

static void skips_spans_and_failures_arrive_in_their_place(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes message = batches_message(fixture);
    struct bm_client_batches batches;
    struct bm_client_batch *batch = NULL;
    bm_client_decode_next(message.data, message.size, &batches, NULL);
    for (unsigned i = 0; i < 3; i++) {
        free(batch);
        assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    }
    assert_int_equal(batch->seq, 6);
    assert_int_equal(batch->outcome, BM_CLIENT_SKIPPED);
    assert_int_equal(batch->ntensors, 0);
    assert_int_equal(batch->nspans, 2);
    assert_int_equal(batch->spans[0].started_ns, 0);
    assert_int_equal(batch->spans[1].parked_ns, 2);
    assert_int_equal(batch->spans[1].worker, 5);
    assert_null(batch->error);
    free(batch);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    assert_int_equal(batch->outcome, BM_CLIENT_FAILED);
    const struct batchmill_error *error = batch->error;
    assert_int_equal(error->code, BATCHMILL_OUT_OF_RANGE);
    assert_true(error->has_batch);
    assert_int_equal(error->seq, 7);
    assert_string_equal(error->pipeline, "test");
    assert_string_equal(error->action, "fake.step");
    assert_true(error->has_item);
    assert_int_equal(error->item, 33);
    assert_string_equal(error->text, "too?large"); // nothing that commands a terminal
    free(batch);
    assert_int_equal(bm_client_next_of(&batches, &batch, &fixture->error), BATCHMILL_DATA_LOSS);
    free(message.memory);
}

static void tensors_that_lie_unaligned_are_copied(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes aligned = batches_message(fixture);
    struct fake_bytes message = fake_bytes_copy(aligned.data, aligned.size, 5);
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    bm_client_decode_next(message.data, message.size, &batches, NULL);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    for (unsigned t = 0; t < 3; t++) {
        const struct batchmill_tensor *tensor = &batch->tensors[t];
        assert_false(message_holds(&message, tensor->data));
        assert_int_equal((uintptr_t)tensor->data % BM_CLIENT_ALIGNMENT, 0);
        for (size_t i = 0; i < tensor->size_bytes; i++)
            assert_int_equal(((const unsigned char *)tensor->data)[i], (unsigned char)(i + 1));
        assert_true(t == 0 || tensor->offsets[5] == 6);
    }
    free(batch);
    assert_int_equal(batches_drain(&message), BATCHMILL_OK);
    free(message.memory);
    free(aligned.memory);
}

static void no_cut_and_no_changed_byte_does_harm(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes whole = batches_message(fixture);
    assert_int_equal(batches_drain(&whole), BATCHMILL_OK);
    for (size_t size = 0; size < whole.size; size++) {
        struct fake_bytes cut = fake_bytes_copy(whole.data, size, 4);
        bool whole_but_for_its_check = size == whole.size - BM_CHECK_SIZE;
        assert_int_equal(batches_drain(&cut) == BATCHMILL_OK, whole_but_for_its_check);
        free(cut.memory);
    }
    static const unsigned char bits[] = {1, 2, 4, 8, 16, 32, 64, 128, 0xff, 0x7f};
    for (size_t i = 0; i < whole.size; i++) {
        for (unsigned b = 0; b < sizeof bits; b++) {
            whole.data[i] ^= bits[b];
            batches_drain(&whole);
            whole.data[i] ^= bits[b];
        }
    }
    assert_int_equal(batches_drain(&whole), BATCHMILL_OK);
    free(whole.memory);
}

// ---- A server that errs ----

struct dishonest { // a reply of one batch with one tensor, right until it is spoilt
    uint64_t items[3], offsets[4], shape[20];
    unsigned char data[24];
    Batchmill__V1__BatchError error;
    Batchmill__V1__Tensor tensor, *tensors[300];
    Batchmill__V1__Span span, *spans[300];
    Batchmill__V1__Batch batch, *batches[1];
    Batchmill__V1__NextBatchesReply reply;
    Batchmill__V1__Response response;
};

static void dishonest_init(struct dishonest *to)
{
    *to = (struct dishonest){.shape = {3, 2}, .offsets = {0, 1, 1, 3}};
    batchmill__v1__batch_error__init(&to->error);
    batchmill__v1__span__init(&to->span);
    batchmill__v1__tensor__init(&to->tensor);
    to->tensor.name = (char *)"x";
    to->tensor.dtype = BATCHMILL__V1__DTYPE__DTYPE_FLOAT32;
    to->tensor.n_shape = 2;
    to->tensor.shape = to->shape;
    to->tensor.data = (ProtobufCBinaryData){sizeof to->data, to->data};
    batchmill__v1__batch__init(&to->batch);
    to->batch.seq = 4;
    to->batch.n_items = 3;
    to->batch.items = to->items;
    to->batch.n_tensors = 1;
    to->batch.tensors = to->tensors;
    to->batch.spans = to->spans;
    for (unsigned i = 0; i < 300; i++) {
        to->tensors[i] = &to->tensor;
        to->spans[i] = &to->span;
    }
    to->batches[0] = &to->batch;
    batchmill__v1__next_batches_reply__init(&to->reply);
    to->reply.first = 4;
    to->reply.n_batches = 1;
    to->reply.batches = to->batches;
    batchmill__v1__response__init(&to->response);
    to->response.reply_case = BATCHMILL__V1__RESPONSE__REPLY_NEXT_BATCHES;
    to->response.next_batches = &to->reply;
}

static enum batchmill_code dishonest_decode(struct fixture *fixture, const struct dishonest *from)
{
    struct fake_bytes message = {0};
    fake_bytes_alloc(&message, batchmill__v1__response__get_packed_size(&from->response));
    batchmill__v1__response__pack(&from->response, message.data);
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    enum batchmill_code code =
        bm_client_decode_next(message.data, message.size, &batches, &fixture->error);
    if (code == BATCHMILL_OK)
        code = bm_client_next_of(&batches, &batch, &fixture->error);
    if (code == BATCHMILL_OK)
        free(batch);
    free(message.memory);
    return code;
}

static void dishonest_ragged(struct dishonest *spoilt)
{
    spoilt->tensor.ragged = true;
    spoilt->tensor.offsets =
        (ProtobufCBinaryData){sizeof spoilt->offsets, (uint8_t *)spoilt->offsets};
}

static void dishonest_spoil_shape(struct dishonest *spoilt, unsigned k)
{
    Batchmill__V1__Tensor *tensor = &spoilt->tensor;
    switch (k) {
    case 0:
        tensor->name = (char *)"a\x1b[2J";
        break;
    case 1:
        tensor->dtype = (Batchmill__V1__Dtype)16;
        break;
    case 2:
        tensor->dtype = (Batchmill__V1__Dtype)-1;
        break;
    case 3:
        tensor->data.len--;
        break;
    case 4:
        tensor->n_shape = 0;
        break;
    case 5:
        tensor->n_shape = 18;
        break;
    case 6: // its bytes are 0 modulo 2^64
        spoilt->shape[1] = 1ull << 62;
        tensor->data.len = 0;
        break;
    case 7: // 4 items in a batch of 3
        spoilt->shape[0] = 4;
        spoilt->shape[1] = 1;
        tensor->data.len = 16;
        break;
    default:
        break;
    }
}

static void dishonest_spoil_offsets(struct dishonest *spoilt, unsigned k)
{
    Batchmill__V1__Tensor *tensor = &spoilt->tensor;
    switch (k) {
    case 8:
        tensor->ragged = true;
        break;
    case 9:
        dishonest_ragged(spoilt);
        spoilt->offsets[0] = 1;
        break;
    case 10:
        dishonest_ragged(spoilt);
        spoilt->offsets[1] = 2;
        break;
    case 11:
        dishonest_ragged(spoilt);
        spoilt->offsets[3] = 4;
        break;
    case 12:
        dishonest_ragged(spoilt);
        spoilt->offsets[1] = UINT64_MAX;
        break;
    case 13:
        dishonest_ragged(spoilt);
        tensor->offsets.len -= 8;
        break;
    case 14: // text with two axes
        dishonest_ragged(spoilt);
        tensor->dtype = BATCHMILL__V1__DTYPE__DTYPE_STRING;
        tensor->data.len = 6;
        break;
    case 15: // text that is not ragged
        tensor->dtype = BATCHMILL__V1__DTYPE__DTYPE_BYTES;
        tensor->n_shape = 1;
        tensor->data.len = 3;
        break;
    case 16: // offsets of a dense one
        dishonest_ragged(spoilt);
        tensor->ragged = false;
        break;
    default:
        break;
    }
}

static void dishonest_spoil_batch(struct dishonest *spoilt, unsigned k)
{
    switch (k) {
    case 17:
        spoilt->batch.seq = 5;
        break;
    case 18:
        spoilt->batch.outcome = (Batchmill__V1__Outcome)3;
        break;
    case 19:
        spoilt->batch.outcome = BATCHMILL__V1__OUTCOME__OUTCOME_FAILED;
        spoilt->batch.n_tensors = 0;
        break;
    case 20:
        spoilt->batch.outcome = BATCHMILL__V1__OUTCOME__OUTCOME_SKIPPED;
        break;
    case 21:
        spoilt->batch.n_tensors = 257;
        break;
    case 22:
        spoilt->batch.n_spans = 257;
        break;
    case 23:
        spoilt->reply.stream = (char *)"a-stream-id-of-forty-one-characters-long-";
        break;
    case 24:
        spoilt->reply.n_batches = 0;
        break;
    default:
        break;
    }
}

static void a_reply_that_contradicts_itself_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct dishonest *spoilt = malloc(sizeof *spoilt);
    dishonest_init(spoilt);
    assert_int_equal(dishonest_decode(fixture, spoilt), BATCHMILL_OK);
    dishonest_ragged(spoilt);
    assert_int_equal(dishonest_decode(fixture, spoilt), BATCHMILL_OK);
    for (unsigned k = 0; k <= 24; k++) {
        dishonest_init(spoilt);
        dishonest_spoil_shape(spoilt, k);
        dishonest_spoil_offsets(spoilt, k);
        dishonest_spoil_batch(spoilt, k);
        assert_int_equal(dishonest_decode(fixture, spoilt), BATCHMILL_DATA_LOSS);
        assert_non_null(strstr(fixture->error.text, "the server's reply cannot be read: "));
    }
    free(spoilt);
}

static void batches_of_a_cursor_may_have_any_seq(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes message = batches_message(fixture);
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    bm_client_decode_next(message.data, message.size, &batches, NULL);
    batches.seq = 0; // a ticket
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_DATA_LOSS);
    batches.seq = BATCHMILL_UNSET;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
        assert_int_equal(batch->seq, 4 + i);
        free(batch);
    }
    free(message.memory);
}

static void an_error_is_never_read_as_none(void **state)
{
    struct fixture *fixture = *state;
    static const int codes[] = {0, -1, 17, 1 << 30};
    struct dishonest *spoilt = malloc(sizeof *spoilt);
    for (unsigned i = 0; i < 4; i++) {
        dishonest_init(spoilt);
        spoilt->error.code = (Batchmill__V1__Code)codes[i];
        spoilt->batch.outcome = BATCHMILL__V1__OUTCOME__OUTCOME_FAILED;
        spoilt->batch.error = &spoilt->error;
        spoilt->batch.n_tensors = 0;
        struct fake_bytes message = {0};
        fake_bytes_alloc(&message, batchmill__v1__response__get_packed_size(&spoilt->response));
        batchmill__v1__response__pack(&spoilt->response, message.data);
        struct bm_client_batches batches;
        struct bm_client_batch *batch;
        assert_int_equal(bm_client_decode_next(message.data, message.size, &batches, NULL),
                         BATCHMILL_OK);
        assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
        assert_int_equal(batch->error->code, BATCHMILL_UNKNOWN);
        free(batch);
        free(message.memory);
        if (i == 0)
            continue; // OK, for a call, means just that
        spoilt->response.code = (Batchmill__V1__Code)codes[i];
        assert_int_equal(dishonest_decode(fixture, spoilt), BATCHMILL_UNKNOWN);
    }
    free(spoilt);
}

static void a_failure_that_says_it_is_none_is_one(void **state)
{
    (void)state;
    // Response {next_batches {batches {outcome FAILED; error {code: 0, written out}}}}
    static const unsigned char bytes[] = {0x7a, 8, 0x7a, 6, 0x18, 2, 0x2a, 2, 0x08, 0};
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    assert_int_equal(bm_client_decode_next(bytes, sizeof bytes, &batches, NULL), BATCHMILL_OK);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    assert_int_equal(batch->error->code, BATCHMILL_UNKNOWN);
    free(batch);
}

static void fields_of_a_newer_server_are_passed_over(void **state)
{
    (void)state;
    // Response {code 0; unknown 20: varint, 21: 4 bytes, 22: 8 bytes, 23: "x"; next_batches {
    // unknown 9: "y"; batches {items 4 unpacked: 7, packed: 8 9; unknown 7: 1}}}
    static const unsigned char bytes[] = {0x08, 0x00, 0xa0, 0x01, 0x05, 0xad, 0x01, 1,    2,    3,
                                          4,    0xb1, 0x01, 1,    2,    3,    4,    5,    6,    7,
                                          8,    0xba, 0x01, 0x01, 'x',  0x7a, 13,   0x4a, 0x01, 'y',
                                          0x7a, 8,    0x20, 7,    0x22, 2,    8,    9,    0x38, 1};
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    assert_int_equal(bm_client_decode_next(bytes, sizeof bytes, &batches, NULL), BATCHMILL_OK);
    assert_int_equal(batches.nbatches, 1);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK);
    assert_int_equal(batch->nitems, 3);
    assert_int_equal(batch->items[0], 7);
    assert_int_equal(batch->items[2], 9);
    free(batch);
}

static void a_batch_that_finds_no_memory_can_be_asked_for_again(void **state)
{
    struct fixture *fixture = *state;
    struct fake_bytes message = batches_message(fixture);
    struct bm_client_batches batches;
    bm_client_decode_next(message.data, message.size, &batches, NULL);
    struct bm_client_batch *batch;
    bm_fake_heap_fail_at(1);
    enum batchmill_code code = bm_client_next_of(&batches, &batch, &fixture->error);
    bm_fake_heap_fail_never();
    assert_int_equal(code, BATCHMILL_RESOURCE_EXHAUSTED);
    assert_int_equal(bm_client_next_of(&batches, &batch, NULL), BATCHMILL_OK); // and can go on
    assert_int_equal(batch->seq, 4);
    free(batch);
    free(message.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_arrive_as_views_of_the_message),
        cmocka_unit_test(skips_spans_and_failures_arrive_in_their_place),
        cmocka_unit_test(tensors_that_lie_unaligned_are_copied),
        cmocka_unit_test(no_cut_and_no_changed_byte_does_harm),
        cmocka_unit_test(a_reply_that_contradicts_itself_is_refused),
        cmocka_unit_test(batches_of_a_cursor_may_have_any_seq),
        cmocka_unit_test(an_error_is_never_read_as_none),
        cmocka_unit_test(a_failure_that_says_it_is_none_is_one),
        cmocka_unit_test(fields_of_a_newer_server_are_passed_over),
        cmocka_unit_test(a_batch_that_finds_no_memory_can_be_asked_for_again),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
