// The messages in proto/golden/messages are what this code writes, byte for byte. Any client can
// test itself with them; what they say in words stands beside them in .txtpb files.
//
// After a change of the wire that is meant: test_golden_messages --write, then
// tests/conformance/test_messages.py --write, and read the difference.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "client/c/codec.h"
#include "client/c/codec_task.h"
#include "fakes/fake_replies.h"
#include "fakes/fake_types.h"
#include "remote/internal.h"
#include "support.h"

static struct golden {
    struct bm_registry *registry;
    struct bm_pipeline *pipeline;
    struct bm_buffer out; // the message
} golden;

// ---- Requests ----

static struct batchmill_order order_make(void)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 64;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.prefetch = 3;
    return order;
}

static void list_request(void)
{
    bm_client_encode_list(&golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void describe_request(void)
{
    bm_client_encode_describe("digits", &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void register_request(void)
{
    bm_client_encode_register("mine", "{source: digits, actions: [noop]}", 60000, &golden.out,
                              NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void unregister_request(void)
{
    bm_client_encode_unregister("mine", "r-1", &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void open_request(void)
{
    const struct batchmill_order order = order_make();
    const struct bm_client_open open = {
        .pipeline = "digits", .order = &order, .nonce = 0x0102030405060708};
    bm_client_encode_open(&open, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void open_cursor_request(void)
{
    struct batchmill_order order = order_make();
    order.n_epochs = 0;
    order.shuffle = BATCHMILL_SHUFFLE_DRAWN;
    order.seed = 0;
    order.on_error = BATCHMILL_REPORT;
    const struct bm_client_open open = {
        .pipeline = "digits", .cursor = "shared", .order = &order, .nonce = 9};
    bm_client_encode_open(&open, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void next_request(void)
{
    const struct bm_client_next next = {
        .stream = "s1", .first = 4, .max_batches = 2, .wait_ms = 10000, .ack = 3};
    bm_client_encode_next(&next, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void keep_alive_request(void)
{
    const struct bm_client_next next = {.stream = "s1", .first = 4, .ack = 4};
    bm_client_encode_next(&next, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void close_request(void)
{
    bm_client_encode_close("s1", 5, false, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void run_request(void)
{
    struct batchmill_order order = order_make();
    order.n_iters = 100;
    bm_client_encode_run("digits", &order, 10, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void get_run_request(void)
{
    bm_client_encode_get_run("r1", 200, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

// ---- Lending ----

static void lend_request(void)
{
    static const struct batchmill_lent_action actions[] = {{"augment", "v2", "gpu0"},
                                                           {"noise", NULL, NULL}};
    static const struct bm_probe probe = {.pid = 77, .fd = 5, .nonce = {1, 2, 3}};
    bm_client_encode_lend(actions, 2, 2, 11, &probe, &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

static void take_first_request(void)
{
    const struct bm_client_take take = {
        .lender = "l1", .ticket = 1, .wait_ms = 5000, .same_host = true, .row = -1};
    bm_client_encode_take(&take, NULL, &golden.out, NULL);
}

static void take_request(void)
{
    static uint64_t offsets[] = {0, 2, 5};
    static const struct bm_client_written written[] = {
        {.name = "x",
         .dtype = BATCHMILL_UINT8,
         .ndim = 2,
         .shape = {2, 2},
         .data = "abcd",
         .size_bytes = 4},
        {.name = "word",
         .dtype = BATCHMILL_STRING,
         .ndim = 1,
         .shape = {5},
         .offsets = offsets,
         .noffsets = 3,
         .data = "hello",
         .size_bytes = 5},
    };
    const struct bm_client_take take = {.lender = "l1",
                                        .slot = 1,
                                        .ticket = 8,
                                        .wait_ms = 5000,
                                        .ending = BM_CLIENT_TASK_DONE,
                                        .row = -1,
                                        .nwritten = 2,
                                        .written = written};
    bm_client_encode_take(&take, NULL, &golden.out, NULL);
}

static void take_failed_request(void)
{
    const struct bm_client_take take = {.lender = "l1",
                                        .ticket = 9,
                                        .wait_ms = 5000,
                                        .ending = BM_CLIENT_TASK_FAILED,
                                        .code = BATCHMILL_OUT_OF_RANGE,
                                        .text = "too bright",
                                        .row = 3};
    bm_client_encode_take(&take, NULL, &golden.out, NULL);
}

static void end_lending_request(void)
{
    bm_client_encode_end_lending("l1", &golden.out, NULL);
    bm_client_request_seal(&golden.out, NULL, NULL);
}

// ---- Replies ----

static void response_add(const Batchmill__V1__Response *response)
{
    batchmill__v1__response__pack(
        response,
        bm_buffer_extend(&golden.out, batchmill__v1__response__get_packed_size(response)));
    size_t unchecked = golden.out.size;
    assert_non_null(bm_buffer_extend(&golden.out, BM_CHECK_SIZE));
    bm_check_put(golden.out.data, unchecked);
}

static void reply_add(struct bm_reply *reply) // gives it back
{
    struct fake_bytes bytes = fake_bytes_reply(reply);
    bm_buffer_add(&golden.out, bytes.data, bytes.size);
    free(bytes.memory);
}

// By hand, since a real pipeline has a fingerprint that changes with the engine.
static void open_reply(void)
{
    Batchmill__V1__Component pixels = BATCHMILL__V1__COMPONENT__INIT;
    pixels.name = (char *)"pixels";
    pixels.dtype = BATCHMILL__V1__DTYPE__DTYPE_FLOAT32;
    pixels.n_shape = 1;
    pixels.shape = (uint64_t[]){64};
    Batchmill__V1__Component label = BATCHMILL__V1__COMPONENT__INIT;
    label.name = (char *)"label";
    label.dtype = BATCHMILL__V1__DTYPE__DTYPE_INT64;
    Batchmill__V1__OpenStreamReply reply = BATCHMILL__V1__OPEN_STREAM_REPLY__INIT;
    reply.stream = (char *)"s1";
    reply.batches = 29;
    reply.seed = 7;
    reply.lease_ms = 60000;
    reply.items = 1797;
    reply.epoch_batches = 29;
    reply.position_stem = (char *)"bm2.c3RlbQ";
    reply.fingerprint = 0x1122334455667788;
    reply.n_components = 2;
    reply.components = (Batchmill__V1__Component *[]){&pixels, &label};
    reply.n_steps = 2;
    reply.steps = (char *[]){(char *)"read", (char *)"cast+scale"};
    reply.prefetch = 3;
    Batchmill__V1__Response response = BATCHMILL__V1__RESPONSE__INIT;
    response.reply_case = BATCHMILL__V1__RESPONSE__REPLY_OPEN_STREAM;
    response.open_stream = &reply;
    response_add(&response);
}

static struct bm_reply next_make(unsigned noutcomes)
{
    return (struct bm_reply){
        .kind = BM_CALL_NEXT_BATCHES,
        .batches = {.stream = "s1",
                    .pipeline = bm_pipeline_ref(golden.pipeline),
                    .first = 4,
                    .noutcomes = noutcomes,
                    .outcomes = fake_array(noutcomes, sizeof(struct bm_outcome *))},
    };
}

static void next_small_reply(void) // small enough to be read byte by byte in PROTOCOL.md
{
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "x", BM_UINT8, false, 1, (const uint64_t[]){2});
    struct bm_reply reply = next_make(1);
    reply.batches.outcomes[0] = fake_outcome(golden.pipeline, &schema, 4, 2);
    reply_add(&reply);
    bm_schema_fini(&schema);
}

static void next_reply(void)
{
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "pixels", BM_FLOAT32, false, 2, (const uint64_t[]){2, 3});
    fake_schema_add(&schema, "text", BM_STRING, true, 0, NULL);
    fake_schema_add(&schema, "track", BM_INT16, true, 2, (const uint64_t[]){0, 2});
    fake_schema_add(&schema, "empty", BM_UINT8, false, 1, (const uint64_t[]){0});
    struct bm_reply reply = next_make(2);
    reply.batches.outcomes[0] = fake_outcome(golden.pipeline, &schema, 4, 3);
    reply.batches.outcomes[1] = fake_outcome(golden.pipeline, &schema, 5, 2);
    reply.batches.outcomes[1]->epoch = 1;
    reply_add(&reply);
    bm_schema_fini(&schema);
}

static void not_yet_reply(void)
{
    struct bm_reply reply = next_make(0);
    reply_add(&reply);
}

static void stopped_reply(void) // a traced batch that was left out, and one that failed
{
    struct bm_reply reply = next_make(2);
    struct bm_outcome *skipped = reply.batches.outcomes[0] = bm_outcome_new(4, 2);
    skipped->kind = BM_OUTCOME_SKIPPED;
    skipped->spans[0] = (struct bm_span){.queued_ns = 1000, .started_ns = 1500, .ended_ns = 2500};
    skipped->spans[1] = (struct bm_span){2500, 2600, 4000, 5000, 1};
    reply.batches.outcomes[1] =
        fake_failure(golden.pipeline, 5, 0, 321, BM_OUT_OF_RANGE, "expected a digit, got 11");
    reply.batches.end = true;
    reply.batches.end_seq = 6;
    reply.batches.stopped = true;
    reply_add(&reply);
}

static void get_run_reply(void)
{
    struct bm_reply reply = {
        .kind = BM_CALL_GET_RUN,
        .run = {.state = BM_RUN_DONE,
                .batches = 29,
                .items = 1797,
                .bytes = 474408,
                .seconds = 0.25,
                .pipeline = bm_pipeline_ref(golden.pipeline),
                .nnumbers = 2,
                .numbers = fake_array(2, sizeof(struct bm_number))},
    };
    reply.run.numbers[0] = (struct bm_number){.name = "pixels.count", .integer = 115008};
    reply.run.numbers[1] =
        (struct bm_number){.name = "pixels.mean", .kind = BM_NUMBER_FLOAT, .real = 4.875};
    reply_add(&reply);
}

static void describe_reply(void)
{
    struct bm_reply reply = {.kind = BM_CALL_DESCRIBE_PIPELINE};
    reply.described = bm_pipeline_ref(golden.pipeline);
    reply_add(&reply);
}

static void register_reply(void)
{
    struct bm_reply reply = {
        .kind = BM_CALL_REGISTER_PIPELINE,
        .registered = {.fingerprint = 0x0123456789abcdef, .id = "r-1", .lease_ms = 60000},
    };
    reply_add(&reply);
}

static void unregister_reply(void)
{
    struct bm_reply reply = {.kind = BM_CALL_UNREGISTER_PIPELINE, .unregistered = true};
    reply_add(&reply);
}

static void lend_reply(void)
{
    static const struct bm_same_host same_host = {.probe = {.pid = 66, .fd = 4, .nonce = {9}}};
    struct bm_reply reply = {
        .kind = BM_CALL_LEND_ACTIONS,
        .lent = {.id = "l1", .lease_ms = 60000, .seen = true, .same_host = &same_host},
    };
    reply_add(&reply);
}

static void task_reply(void)
{
    static const uint64_t items[] = {40, 41}, epochs[] = {0, 1};
    static const uint32_t copies[] = {0, 3};
    static unsigned char data[] = {1, 2, 3, 4};
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "x", BM_UINT8, false, 1, (const uint64_t[]){2});
    struct bm_tensor tensor = {.data = data, .size_bytes = sizeof data};
    struct bm_task task = {
        .told = {.action = "augment",
                 .stream = "s1",
                 .params = "{\"amount\": 2}",
                 .pipeline = golden.pipeline,
                 .seq = 4,
                 .seed = 7,
                 .position = 1,
                 .nitems = 2,
                 .items = items,
                 .epochs = epochs,
                 .copies = copies,
                 .batch = {.schema = &schema, .tensors = &tensor, .nitems = 2, .items = items}}};
    atomic_init(&task.refs, 2); // the reply gives back one
    struct bm_reply reply = {
        .kind = BM_CALL_TAKE_TASK,
        .given =
            {.lender = "l1", .slot = 1, .ticket = 8, .settled = 7, .attempt = 2, .task = &task},
    };
    reply_add(&reply);
    bm_schema_fini(&schema);
}

static void no_task_reply(void)
{
    struct bm_reply reply = {.kind = BM_CALL_TAKE_TASK,
                             .given = {.lender = "l1", .slot = 1, .ticket = 8, .settled = 8}};
    reply_add(&reply);
}

static void error_reply(void)
{
    struct bm_reply reply = {0};
    struct bm_error error;
    bm_fail(&error, BM_NOT_FOUND, "pipeline", "expected digits, got digit");
    bm_reply_fail(&reply, &error);
    reply_add(&reply);
}

static void closed_reply(void)
{
    struct bm_reply reply = {.kind = BM_CALL_CLOSE_STREAM};
    reply_add(&reply);
}

// ---- Files ----

static const struct {
    const char *name;
    void (*make)(void);
} messages[] = {
    {"list_pipelines.request", list_request},
    {"describe_pipeline.request", describe_request},
    {"register_pipeline.request", register_request},
    {"unregister_pipeline.request", unregister_request},
    {"open_stream.request", open_request},
    {"open_cursor.request", open_cursor_request},
    {"next_batches.request", next_request},
    {"keep_alive.request", keep_alive_request},
    {"close_stream.request", close_request},
    {"run.request", run_request},
    {"get_run.request", get_run_request},
    {"lend_actions.request", lend_request},
    {"take_task_first.request", take_first_request},
    {"take_task.request", take_request},
    {"take_task_failed.request", take_failed_request},
    {"end_lending.request", end_lending_request},
    {"lend_actions.response", lend_reply},
    {"take_task.response", task_reply},
    {"no_task_yet.response", no_task_reply},
    {"describe_pipeline.response", describe_reply},
    {"register_pipeline.response", register_reply},
    {"unregister_pipeline.response", unregister_reply},
    {"open_stream.response", open_reply},
    {"next_batches_small.response", next_small_reply},
    {"next_batches.response", next_reply},
    {"not_yet.response", not_yet_reply},
    {"stopped.response", stopped_reply},
    {"get_run.response", get_run_reply},
    {"error.response", error_reply},
    {"close_stream.response", closed_reply},
};
enum { NMESSAGES = sizeof messages / sizeof messages[0] };

static FILE *message_open(unsigned i, const char *mode)
{
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/proto/golden/messages/%s.bin", root == NULL ? "." : root,
             messages[i].name);
    FILE *file = fopen(path, mode);
    if (file == NULL)
        fprintf(stderr, "cannot open %s: %m\n", path);
    return file;
}

static void the_golden_messages_are_what_is_written(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NMESSAGES; i++) {
        unsigned char expected[4096];
        FILE *file = message_open(i, "rb");
        assert_non_null(file);
        size_t size = fread(expected, 1, sizeof expected, file);
        fclose(file);
        bm_buffer_clear(&golden.out);
        messages[i].make();
        if (size != golden.out.size || memcmp(expected, golden.out.data, size) != 0)
            fail_msg("%s.bin differs", messages[i].name);
    }
}

static int golden_setup(void **state)
{
    (void)state;
    golden.registry = fake_types_registry();
    struct bm_source_ref *source = fake_types_source(golden.registry, "{fake: {n: 10}}");
    struct bm_value *actions = fake_types_value("[fake.step]");
    struct bm_error error;
    if (bm_pipeline_new(golden.registry, "digits", source, actions, &golden.pipeline, &error) !=
        BM_OK)
        return -1;
    bm_value_free(actions);
    bm_source_unref(source);
    bm_buffer_init(&golden.out);
    return 0;
}

static int golden_teardown(void **state)
{
    (void)state;
    bm_buffer_fini(&golden.out);
    bm_pipeline_unref(golden.pipeline);
    bm_registry_free(golden.registry);
    return 0;
}

static void write_them(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NMESSAGES; i++) {
        bm_buffer_clear(&golden.out);
        messages[i].make();
        FILE *file = message_open(i, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(golden.out.data, 1, golden.out.size, file), golden.out.size);
        assert_int_equal(fclose(file), 0);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest write[] = {cmocka_unit_test(write_them)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_messages_are_what_is_written),
    };
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return cmocka_run_group_tests(write, golden_setup, golden_teardown);
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
