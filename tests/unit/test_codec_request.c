// Requests from bytes: what is right, what makes no sense, and what would do harm.
#include <stdlib.h>
#include <string.h>

#include "batchmill/v1/batchmill.pb-c.h"
#include "fakes/fake_replies.h"
#include "fakes/heap.h"
#include "server/codec.h"
#include "support.h"

static struct fake_bytes request_pack(const Batchmill__V1__Request *message)
{
    struct fake_bytes bytes = {0};
    batchmill__v1__request__pack(
        message, fake_bytes_alloc(&bytes, batchmill__v1__request__get_packed_size(message)));
    return bytes;
}

static enum bm_status request_decode(const Batchmill__V1__Request *message,
                                     struct bm_request *ret_request, struct bm_error *err)
{
    struct fake_bytes bytes = request_pack(message);
    enum bm_status status = bm_request_decode(bytes.data, bytes.size, ret_request, err);
    free(bytes.memory); // the request lives on without it
    return status;
}

struct open { // a request to open a stream that is right, to be spoilt
    Batchmill__V1__Order order;
    Batchmill__V1__OpenStreamRequest call;
    Batchmill__V1__Request request;
};

static void open_init(struct open *open)
{
    batchmill__v1__order__init(&open->order);
    open->order.batch_size = 64;
    batchmill__v1__open_stream_request__init(&open->call);
    open->call.pipeline = (char *)"digits";
    open->call.order = &open->order;
    batchmill__v1__request__init(&open->request);
    open->request.call_case = BATCHMILL__V1__REQUEST__CALL_OPEN_STREAM;
    open->request.open_stream = &open->call;
}

static void open_stream_is_decoded_field_by_field(void **state)
{
    (void)state;
    struct open open;
    open_init(&open);
    open.order.shuffle = BATCHMILL__V1__SHUFFLE__SHUFFLE_SEEDED;
    open.order.seed = 1ull << 63;
    open.order.n_epochs = 3;
    open.order.drop_last = true;
    open.order.epoch_border = BATCHMILL__V1__EPOCH_BORDER__EPOCH_BORDER_CROSS;
    open.order.shard_index = 1;
    open.order.shard_count = 2;
    open.call.prefetch = 5;
    open.call.on_error = BATCHMILL__V1__ON_ERROR__ON_ERROR_REPORT;
    open.call.position = (char *)"bm2.x.7";
    open.call.cursor = (char *)"shared";
    open.call.traced = true;
    open.call.nonce = 99;
    struct bm_request request;
    assert_int_equal(request_decode(&open.request, &request, NULL), BM_OK);
    assert_int_equal(request.kind, BM_CALL_OPEN_STREAM);
    assert_string_equal(request.open.pipeline, "digits");
    assert_string_equal(request.open.position, "bm2.x.7");
    assert_string_equal(request.open.cursor, "shared");
    assert_int_equal(request.open.prefetch, 5);
    assert_int_equal(request.open.on_error, BM_ON_ERROR_REPORT);
    assert_true(request.open.traced);
    assert_int_equal(request.open.nonce, 99);
    const struct bm_order_request *order = &request.open.order;
    assert_int_equal(order->batch_size, 64);
    assert_int_equal(order->shuffle, BM_SHUFFLE_SEEDED);
    assert_true(order->seed == 1ull << 63);
    assert_int_equal(order->n_epochs, 3);
    assert_int_equal(order->n_iters, 0);
    assert_false(order->endless);
    assert_true(order->drop_last);
    assert_int_equal(order->epoch_border, BM_BORDER_CROSS);
    assert_int_equal(order->shard_index, 1);
    assert_int_equal(order->shard_count, 2);
    bm_request_fini(&request);
    bm_request_fini(&request);
}

static void the_token_comes_along_even_with_a_mistake(void **state)
{
    (void)state;
    struct open open;
    struct bm_request request = {0};
    open_init(&open);
    open.request.token = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"a\0b"};
    assert_int_equal(request_decode(&open.request, &request, NULL), BM_OK);
    assert_int_equal(request.token_size, 3);
    assert_memory_equal(request.token, "a\0b", 3);
    bm_request_fini(&request);
    open.call.pipeline = (char *)"../x";
    assert_int_equal(request_decode(&open.request, &request, NULL), BM_INVALID_ARGUMENT);
    assert_int_equal(request.kind, BM_CALL_NONE);
    assert_memory_equal(request.token, "a\0b", 3);
    bm_request_fini(&request);
    assert_null(request.token);
}

static void an_open_may_leave_pipeline_and_order_to_the_position(void **state)
{
    (void)state;
    struct open open;
    open_init(&open);
    open.call.order = NULL;
    open.call.pipeline = (char *)"";
    open.call.position = (char *)"bm2.x.7";
    struct bm_request request;
    assert_int_equal(request_decode(&open.request, &request, NULL), BM_OK);
    assert_int_equal(request.open.order.batch_size, 0);
    assert_string_equal(request.open.pipeline, "");
    assert_string_equal(request.open.position, "bm2.x.7");
    assert_string_equal(request.open.cursor, "");
    bm_request_fini(&request);
}

static void next_batches_is_decoded_field_by_field(void **state)
{
    (void)state;
    Batchmill__V1__NextBatchesRequest call = BATCHMILL__V1__NEXT_BATCHES_REQUEST__INIT;
    call.stream = (char *)"s-1";
    call.first = 7;
    call.max_batches = 4;
    call.max_bytes = 1 << 20;
    call.wait_ms = 30000;
    call.ack = 6;
    Batchmill__V1__Request message = BATCHMILL__V1__REQUEST__INIT;
    message.call_case = BATCHMILL__V1__REQUEST__CALL_NEXT_BATCHES;
    message.next_batches = &call;
    struct bm_request request;
    assert_int_equal(request_decode(&message, &request, NULL), BM_OK);
    assert_int_equal(request.kind, BM_CALL_NEXT_BATCHES);
    assert_string_equal(request.next.stream, "s-1");
    assert_int_equal(request.next.first, 7);
    assert_int_equal(request.next.max_batches, 4);
    assert_int_equal(request.next.max_bytes, 1 << 20);
    assert_int_equal(request.next.wait_ms, 30000);
    assert_int_equal(request.next.ack, 6);
    bm_request_fini(&request);
}

static void run_and_the_calls_that_name_one_thing_are_decoded(void **state)
{
    (void)state;
    Batchmill__V1__Order order = BATCHMILL__V1__ORDER__INIT;
    order.batch_size = 8;
    Batchmill__V1__RunRequest run = BATCHMILL__V1__RUN_REQUEST__INIT;
    run.pipeline = (char *)"digits";
    run.order = &order;
    run.detached = true;
    Batchmill__V1__Request message = BATCHMILL__V1__REQUEST__INIT;
    message.call_case = BATCHMILL__V1__REQUEST__CALL_RUN;
    message.run = &run;
    struct bm_request request;
    assert_int_equal(request_decode(&message, &request, NULL), BM_OK);
    assert_int_equal(request.kind, BM_CALL_RUN);
    assert_string_equal(request.open.pipeline, "digits");
    assert_string_equal(request.open.position, "");
    assert_true(request.open.detached);
    bm_request_fini(&request);

    Batchmill__V1__GetRunRequest get_run = BATCHMILL__V1__GET_RUN_REQUEST__INIT;
    get_run.run = (char *)"r-1";
    get_run.wait_ms = 200;
    message.call_case = BATCHMILL__V1__REQUEST__CALL_GET_RUN;
    message.get_run = &get_run;
    assert_int_equal(request_decode(&message, &request, NULL), BM_OK);
    assert_int_equal(request.kind, BM_CALL_GET_RUN);
    assert_string_equal(request.named.name, "r-1");
    assert_int_equal(request.named.wait_ms, 200);
    bm_request_fini(&request);

    Batchmill__V1__CloseStreamRequest close = BATCHMILL__V1__CLOSE_STREAM_REQUEST__INIT;
    close.stream = (char *)"s-1";
    close.ack = 12;
    message.call_case = BATCHMILL__V1__REQUEST__CALL_CLOSE_STREAM;
    message.close_stream = &close;
    assert_int_equal(request_decode(&message, &request, NULL), BM_OK);
    assert_int_equal(request.kind, BM_CALL_CLOSE_STREAM);
    assert_string_equal(request.named.name, "s-1");
    assert_int_equal(request.named.ack, 12);
    bm_request_fini(&request);
}

enum spoil {
    PIPELINE_EMPTY,
    PIPELINE_PATH,
    CURSOR_SPACE,
    POSITION_LONG,
    SHUFFLE_UNKNOWN,
    SHUFFLE_NEGATIVE,
    SEED_AND_DRAWN,
    BORDER_UNKNOWN,
    ON_ERROR_UNKNOWN,
    EPOCHS_AND_ITERS,
    EPOCHS_AND_ENDLESS,
    ITERS_AND_ENDLESS,
};

static void open_spoil(struct open *open, enum spoil spoil, char *long_text)
{
    switch (spoil) {
    case PIPELINE_EMPTY:
        open->call.pipeline = (char *)"";
        break;
    case PIPELINE_PATH:
        open->call.pipeline = (char *)"../etc/passwd";
        break;
    case CURSOR_SPACE:
        open->call.cursor = (char *)"a b";
        break;
    case POSITION_LONG:
        open->call.position = long_text;
        break;
    case SHUFFLE_UNKNOWN:
        open->order.shuffle = (Batchmill__V1__Shuffle)3;
        break;
    case SHUFFLE_NEGATIVE:
        open->order.shuffle = (Batchmill__V1__Shuffle)-1;
        break;
    case SEED_AND_DRAWN:
        open->order.shuffle = BATCHMILL__V1__SHUFFLE__SHUFFLE_DRAWN;
        open->order.seed = 5;
        break;
    case BORDER_UNKNOWN:
        open->order.epoch_border = (Batchmill__V1__EpochBorder)2;
        break;
    case ON_ERROR_UNKNOWN:
        open->call.on_error = (Batchmill__V1__OnError)7;
        break;
    case EPOCHS_AND_ITERS:
        open->order.n_epochs = open->order.n_iters = 1;
        break;
    case EPOCHS_AND_ENDLESS:
        open->order.n_epochs = 2;
        open->order.endless = true;
        break;
    case ITERS_AND_ENDLESS:
        open->order.n_iters = 2;
        open->order.endless = true;
        break;
    }
}

static void a_senseless_open_is_refused_by_the_name_of_its_field(void **state)
{
    (void)state;
    static const char *const wheres[] = {
        [PIPELINE_EMPTY] = "pipeline",     [PIPELINE_PATH] = "pipeline",
        [CURSOR_SPACE] = "cursor",         [POSITION_LONG] = "position",
        [SHUFFLE_UNKNOWN] = "shuffle",     [SHUFFLE_NEGATIVE] = "shuffle",
        [SEED_AND_DRAWN] = "seed",         [BORDER_UNKNOWN] = "epoch_border",
        [ON_ERROR_UNKNOWN] = "on_error",   [EPOCHS_AND_ITERS] = "n_epochs",
        [EPOCHS_AND_ENDLESS] = "n_epochs", [ITERS_AND_ENDLESS] = "n_iters",
    };
    char long_text[1026];
    memset(long_text, 'A', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (unsigned i = 0; i < sizeof wheres / sizeof wheres[0]; i++) {
        struct open open;
        open_init(&open);
        open_spoil(&open, (enum spoil)i, long_text);
        struct bm_request request;
        struct bm_error error;
        assert_int_equal(request_decode(&open.request, &request, &error), BM_INVALID_ARGUMENT);
        assert_string_equal(error.where, wheres[i]);
        assert_non_null(strstr(error.text, "expected"));
    }
}

static void a_wait_longer_than_allowed_and_an_id_that_is_none_are_refused(void **state)
{
    (void)state;
    Batchmill__V1__NextBatchesRequest call = BATCHMILL__V1__NEXT_BATCHES_REQUEST__INIT;
    Batchmill__V1__Request message = BATCHMILL__V1__REQUEST__INIT;
    message.call_case = BATCHMILL__V1__REQUEST__CALL_NEXT_BATCHES;
    message.next_batches = &call;
    struct bm_request request;
    struct bm_error error;
    call.stream = (char *)"s-1";
    call.wait_ms = 30001;
    assert_int_equal(request_decode(&message, &request, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "wait_ms");
    call.wait_ms = 0;
    static const char *const ids[] = {"", "a/b", "a-stream-id-of-forty-one-characters-long-"};
    for (unsigned i = 0; i < 3; i++) {
        call.stream = (char *)ids[i];
        assert_int_equal(request_decode(&message, &request, &error), BM_INVALID_ARGUMENT);
        assert_string_equal(error.where, "stream");
    }
}

static void a_request_without_a_call_that_is_known_says_so(void **state)
{
    (void)state;
    struct bm_request request;
    struct bm_error error;
    assert_int_equal(bm_request_decode("", 0, &request, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "request");
    // Field 31, a call of a client from the future.
    assert_int_equal(bm_request_decode("\xfa\x01\x00", 3, &request, &error), BM_UNIMPLEMENTED);
    assert_string_equal(error.text, "expected a call that this server knows, got field 31");
    assert_int_equal(bm_request_decode("\xff", 1, &request, &error), BM_INVALID_ARGUMENT);
}

static void a_request_is_bounded_in_bytes_and_in_the_memory_it_takes(void **state)
{
    (void)state;
    enum { TOO_LONG = BM_REQUEST_BYTES_MAX + 1 };
    unsigned char *bytes = calloc(1, TOO_LONG);
    struct bm_request request;
    struct bm_error error;
    assert_int_equal(bm_request_decode(bytes, TOO_LONG, &request, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.text, "expected at most 65536 bytes, got 65537");
    for (size_t i = 0; i < BM_REQUEST_BYTES_MAX; i += 2) // unknown fields, 2 bytes each
        bytes[i] = 0x68;
    assert_int_equal(bm_request_decode(bytes, BM_REQUEST_BYTES_MAX, &request, &error),
                     BM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "too many fields"));
    free(bytes);
}

static void no_bytes_do_harm(void **state)
{
    (void)state;
    struct open open;
    open_init(&open);
    open.call.cursor = (char *)"shared";
    open.order.n_iters = 3;
    struct fake_bytes bytes = request_pack(&open.request);
    struct bm_request request = {0};
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned char *cut = malloc(i + 1); // its own memory, so that ASan sees its end
        memcpy(cut, bytes.data, i);
        (void)bm_request_decode(cut, i, &request, NULL);
        bm_request_fini(&request); // also a refused one may hold a token
        free(cut);
        unsigned char was = bytes.data[i];
        for (unsigned value = 0; value < 256; value++) {
            bytes.data[i] = (unsigned char)value;
            (void)bm_request_decode(bytes.data, bytes.size, &request, NULL);
            bm_request_fini(&request);
        }
        bytes.data[i] = was;
    }
    assert_int_equal(bm_request_decode(bytes.data, bytes.size, &request, NULL), BM_OK);
    bm_request_fini(&request);
    free(bytes.memory);
}

static void a_request_that_finds_no_memory_is_refused(void **state)
{
    (void)state;
    struct open open;
    open_init(&open);
    struct fake_bytes bytes = request_pack(&open.request);
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_request request;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_request_decode(bytes.data, bytes.size, &request, NULL);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        if (status == BM_OK)
            bm_request_fini(&request);
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
    } while (failed);
    assert_true(n > 3);
    free(bytes.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_stream_is_decoded_field_by_field),
        cmocka_unit_test(the_token_comes_along_even_with_a_mistake),
        cmocka_unit_test(an_open_may_leave_pipeline_and_order_to_the_position),
        cmocka_unit_test(next_batches_is_decoded_field_by_field),
        cmocka_unit_test(run_and_the_calls_that_name_one_thing_are_decoded),
        cmocka_unit_test(a_senseless_open_is_refused_by_the_name_of_its_field),
        cmocka_unit_test(a_wait_longer_than_allowed_and_an_id_that_is_none_are_refused),
        cmocka_unit_test(a_request_without_a_call_that_is_known_says_so),
        cmocka_unit_test(a_request_is_bounded_in_bytes_and_in_the_memory_it_takes),
        cmocka_unit_test(no_bytes_do_harm),
        cmocka_unit_test(a_request_that_finds_no_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
