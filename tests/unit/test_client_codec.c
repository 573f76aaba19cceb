// The client's requests and the small replies: what each side encodes, the other reads.
#include <stdlib.h>
#include <string.h>

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
    struct bm_buffer out;
    struct batchmill_error error;
};

static int fixture_setup(void **state)
{
    static struct fixture fixture;
    fixture.registry = fake_types_registry();
    fixture.pipeline = fake_types_pipeline(fixture.registry, "{fake: {n: 10, ragged: true}}",
                                           "[{fake.add: {amount: 1}, probability: 0.25}, "
                                           "{fake.step: {}, use_lock: gpu}]");
    bm_buffer_init(&fixture.out);
    *state = &fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    bm_pipeline_unref(fixture->pipeline);
    bm_registry_free(fixture->registry);
    bm_buffer_fini(&fixture->out);
    return 0;
}

// ---- Requests ----

static void request_read(struct fixture *fixture, struct bm_request *ret_request)
{
    assert_int_equal(bm_request_decode(fixture->out.data, fixture->out.size, ret_request, NULL),
                     BM_OK);
}

static void an_order_is_sent_as_it_was_given(void **state)
{
    struct fixture *fixture = *state;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    struct bm_client_open open = {.pipeline = "digits", .order = &order, .nonce = 77};
    order.batch_size = 64;
    struct bm_request request;
    assert_int_equal(bm_client_encode_open(&open, &fixture->out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_OPEN_STREAM);
    assert_string_equal(request.open.pipeline, "digits");
    assert_string_equal(request.open.cursor, "");
    assert_string_equal(request.open.position, "");
    assert_int_equal(request.open.nonce, 77);
    assert_int_equal(request.open.order.n_epochs, 0);
    assert_int_equal(request.open.order.n_iters, 0);
    assert_false(request.open.order.endless);
    bm_request_fini(&request);

    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 5;
    order.n_epochs = 0;
    order.drop_last = true;
    order.epoch_border = BATCHMILL_BORDER_CROSS;
    order.shard_index = 1;
    order.shard_count = 2;
    order.prefetch = 3;
    order.on_error = BATCHMILL_REPORT;
    order.position = "bm2.x.1";
    order.traced = true;
    open.same_host = true;
    open.cursor = "shared";
    assert_int_equal(bm_client_encode_open(&open, &fixture->out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_true(request.open.order.endless);
    assert_int_equal(request.open.order.n_epochs, 0);
    assert_int_equal(request.open.order.shuffle, BM_SHUFFLE_SEEDED);
    assert_int_equal(request.open.order.seed, 5);
    assert_true(request.open.order.drop_last);
    assert_int_equal(request.open.order.epoch_border, BM_BORDER_CROSS);
    assert_int_equal(request.open.order.shard_index, 1);
    assert_int_equal(request.open.order.shard_count, 2);
    assert_int_equal(request.open.prefetch, 3);
    assert_int_equal(request.open.on_error, BM_ON_ERROR_REPORT);
    assert_string_equal(request.open.position, "bm2.x.1");
    assert_string_equal(request.open.cursor, "shared");
    assert_true(request.open.traced);
    assert_true(request.open.same_host);
    bm_request_fini(&request);
}

static void what_is_held_has_to_rise_and_to_be_few(void **state)
{
    struct fixture *fixture = *state;
    uint64_t held[BM_SHARED_HELD_MAX + 1] = {4, 3};
    struct bm_client_next next = {.stream = "s-1", .nheld = 2, .held = held};
    struct bm_request request;
    struct bm_error error;
    assert_int_equal(bm_client_encode_next(&next, &fixture->out, NULL), BATCHMILL_OK);
    assert_int_equal(bm_request_decode(fixture->out.data, fixture->out.size, &request, &error),
                     BM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "expected rising numbers, got 3 after 4"));
    bm_request_fini(&request);
    for (unsigned i = 0; i <= BM_SHARED_HELD_MAX; i++)
        held[i] = i;
    next.nheld = BM_SHARED_HELD_MAX;
    assert_int_equal(bm_client_encode_next(&next, &fixture->out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.next.nheld, BM_SHARED_HELD_MAX);
    bm_request_fini(&request);
    next.nheld++;
    assert_int_equal(bm_client_encode_next(&next, &fixture->out, NULL), BATCHMILL_OK);
    assert_int_equal(bm_request_decode(fixture->out.data, fixture->out.size, &request, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "held");
    bm_request_fini(&request);
}

static void what_the_wire_cannot_say_is_refused_before_it_is_sent(void **state)
{
    struct fixture *fixture = *state;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    struct bm_client_open open = {.pipeline = "digits", .order = &order};
    order.n_iters = 0; // would arrive as "not given"
    assert_int_equal(bm_client_encode_open(&open, &fixture->out, &fixture->error),
                     BATCHMILL_INVALID_ARGUMENT);
    assert_non_null(strstr(fixture->error.text, "n_iters"));
    order.n_iters = BATCHMILL_UNSET;
    order.traced = true;
    assert_int_equal(bm_client_encode_run("digits", &order, 0, &fixture->out, &fixture->error),
                     BATCHMILL_INVALID_ARGUMENT);
    order.traced = false;
    order.position = "bm2.x.1";
    assert_int_equal(bm_client_encode_run("digits", &order, 0, &fixture->out, &fixture->error),
                     BATCHMILL_INVALID_ARGUMENT);
    char *name = malloc(BM_CLIENT_REQUEST_BYTES_MAX + 1);
    memset(name, 'x', BM_CLIENT_REQUEST_BYTES_MAX);
    name[BM_CLIENT_REQUEST_BYTES_MAX] = '\0';
    assert_int_equal(bm_client_encode_describe(name, &fixture->out, &fixture->error),
                     BATCHMILL_INVALID_ARGUMENT);
    free(name);
}

static void every_call_arrives_at_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    struct bm_buffer *out = &fixture->out;
    struct bm_request request;
    const uint64_t held[] = {0, 3, 5};
    const struct bm_client_next next = {"s-1", 7, 1 << 20, 6, 4, 200, true, true, 3, held};
    assert_int_equal(bm_client_encode_next(&next, out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_NEXT_BATCHES);
    assert_string_equal(request.next.stream, "s-1");
    assert_int_equal(request.next.first, 7);
    assert_int_equal(request.next.max_bytes, 1 << 20);
    assert_int_equal(request.next.ack, 6);
    assert_int_equal(request.next.max_batches, 4);
    assert_int_equal(request.next.wait_ms, 200);
    assert_true(request.next.waits);
    assert_true(request.next.same_host);
    assert_int_equal(request.next.nheld, 3);
    assert_memory_equal(request.next.held, held, sizeof held);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_close("s-1", 9, true, out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_CLOSE_STREAM);
    assert_string_equal(request.named.name, "s-1");
    assert_int_equal(request.named.ack, 9);
    assert_true(request.named.held_none);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_run("digits", &order, 3, out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_RUN);
    assert_int_equal(request.open.nonce, 3);
    assert_false(request.open.detached);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_get_run("r-1", 200, out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_GET_RUN);
    assert_int_equal(request.named.wait_ms, 200);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_cancel_run("r-1", out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_CANCEL_RUN);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_describe("digits", out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_DESCRIBE_PIPELINE);
    bm_request_fini(&request);
    assert_int_equal(bm_client_encode_list(out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_LIST_PIPELINES);
    assert_int_equal(bm_client_encode_status(out, NULL), BATCHMILL_OK);
    request_read(fixture, &request);
    assert_int_equal(request.kind, BM_CALL_GET_STATUS);
}

static void a_request_that_finds_no_memory_says_so(void **state)
{
    (void)state;
    struct bm_buffer out;
    bm_buffer_init(&out);
    bm_fake_heap_fail_at(1);
    enum batchmill_code code = bm_client_encode_describe("digits", &out, NULL);
    bm_fake_heap_fail_never();
    assert_int_equal(code, BATCHMILL_RESOURCE_EXHAUSTED);
    bm_buffer_fini(&out);
}

// ---- Other replies ----

static void opened_streams_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct bm_reply reply = {
        .kind = BM_CALL_OPEN_STREAM,
        .opened = {.id = "s-1",
                   .pipeline = bm_pipeline_ref(fixture->pipeline),
                   .first_seq = 3,
                   .endless = true,
                   .seed = 9,
                   .items = 10,
                   .epoch_batches = 2,
                   .lease_ms = 60000,
                   .prefetch = 4,
                   .position_stem = fake_text("bm2.abc")},
    };
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct bm_client_opened *opened;
    assert_int_equal(bm_client_decode_open(message.data, message.size, &opened, NULL),
                     BATCHMILL_OK);
    free(message.memory);
    assert_string_equal(opened->stream, "s-1");
    assert_string_equal(opened->position_stem, "bm2.abc");
    assert_int_equal(opened->first_seq, 3);
    assert_true(opened->batches == BATCHMILL_UNSET);
    assert_int_equal(opened->seed, 9);
    assert_int_equal(opened->items, 10);
    assert_int_equal(opened->epoch_batches, 2);
    assert_int_equal(opened->lease_ms, 60000);
    assert_int_equal(opened->prefetch, 4);
    assert_true(opened->fingerprint == bm_pipeline_fingerprint(fixture->pipeline));
    assert_int_equal(opened->ncomponents, 2);
    assert_string_equal(opened->components[0].name, "x");
    assert_int_equal(opened->components[0].dtype, BATCHMILL_INT64);
    assert_int_equal(opened->components[0].ndim, 0);
    assert_true(opened->components[1].ragged);
    assert_int_equal(opened->nsteps, bm_pipeline_nsteps(fixture->pipeline));
    assert_string_equal(opened->steps[0], "read");
    free(opened);
}

static void lists_and_descriptions_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct bm_reply reply = {.kind = BM_CALL_LIST_PIPELINES,
                             .list = {.n = 2,
                                      .pipelines = fake_array(2, sizeof(struct bm_pipeline *)),
                                      .by_client = fake_array(2, sizeof(bool))}};
    reply.list.pipelines[0] = bm_pipeline_ref(fixture->pipeline);
    reply.list.pipelines[1] = bm_pipeline_ref(fixture->pipeline);
    reply.list.by_client[1] = true;
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct batchmill_list *list;
    assert_int_equal(bm_client_decode_list(message.data, message.size, &list, NULL), BATCHMILL_OK);
    free(message.memory);
    assert_int_equal(list->n, 2);
    assert_string_equal(list->pipelines[1].name, "test");
    assert_false(list->pipelines[0].registered);
    assert_true(list->pipelines[1].registered);
    assert_string_equal(list->pipelines[1].source, bm_pipeline_source_name(fixture->pipeline));
    assert_int_equal(list->pipelines[1].items, 10);
    free(list);

    reply = (struct bm_reply){.kind = BM_CALL_DESCRIBE_PIPELINE};
    reply.described = bm_pipeline_ref(fixture->pipeline);
    message = fake_bytes_reply(&reply);
    struct batchmill_description *description;
    assert_int_equal(bm_client_decode_describe(message.data, message.size, &description, NULL),
                     BATCHMILL_OK);
    free(message.memory);
    assert_string_equal(description->summary.name, "test");
    assert_string_equal(description->source_type, "fake");
    assert_int_equal(description->nsource_components, 2);
    assert_string_equal(description->source_components[1].name, "tail");
    assert_int_equal(description->nactions, 2);
    assert_null(description->actions[0].lock);
    assert_string_equal(description->actions[1].lock, "gpu");
    assert_true(description->actions[1].per_batch);
    assert_true(description->actions[0].random && !description->actions[1].random);
    assert_true(description->actions[0].probability == 0.25);
    assert_true(description->actions[1].probability == 1);
    assert_int_equal(description->actions[0].ncomponents, 2);
    assert_string_equal(description->actions[1].components[1].name, "tail");
    assert_int_equal(description->ncomponents, 2);
    assert_string_equal(description->steps[0], "read");
    free(description);
}

static void registrations_arrive(void **state)
{
    (void)state;
    struct bm_reply reply = {
        .kind = BM_CALL_REGISTER_PIPELINE,
        .registered = {.fingerprint = 0xfeed, .id = "r-1", .lease_ms = 5000},
    };
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct batchmill_registration registration;
    assert_int_equal(bm_client_decode_register(message.data, message.size, &registration, NULL),
                     BATCHMILL_OK);
    free(message.memory);
    assert_string_equal(registration.id, "r-1");
    assert_int_equal(registration.fingerprint, 0xfeed);
    assert_int_equal(registration.lease_ms, 5000);

    reply = (struct bm_reply){.kind = BM_CALL_REGISTER_PIPELINE}; // without an id
    message = fake_bytes_reply(&reply);
    assert_int_equal(bm_client_decode_register(message.data, message.size, &registration, NULL),
                     BATCHMILL_DATA_LOSS);
    free(message.memory);

    for (unsigned i = 0; i < 2; i++) {
        bool removed = i == 0;
        reply = (struct bm_reply){.kind = BM_CALL_UNREGISTER_PIPELINE, .unregistered = i == 1};
        message = fake_bytes_reply(&reply);
        assert_int_equal(bm_client_decode_unregister(message.data, message.size, &removed, NULL),
                         BATCHMILL_OK);
        free(message.memory);
        assert_int_equal(removed, i == 1);
    }
}

static void runs_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct bm_reply reply = {
        .kind = BM_CALL_RUN,
        .opened = {.id = "r-1",
                   .pipeline = bm_pipeline_ref(fixture->pipeline),
                   .batches = 5,
                   .seed = 6,
                   .lease_ms = 7},
    };
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct bm_client_run run;
    assert_int_equal(bm_client_decode_run(message.data, message.size, &run, NULL), BATCHMILL_OK);
    free(message.memory);
    assert_string_equal(run.run, "r-1");
    assert_int_equal(run.batches, 5);
    assert_int_equal(run.seed, 6);
    assert_int_equal(run.lease_ms, 7);

    reply = (struct bm_reply){
        .kind = BM_CALL_GET_RUN,
        .run = {.state = BM_RUN_FAILED,
                .batches = 1,
                .items = 2,
                .skipped = 3,
                .failed = 4,
                .bytes = 5,
                .seconds = 1.5,
                .pipeline = bm_pipeline_ref(fixture->pipeline),
                .error = fake_failure(fixture->pipeline, 6, 0, 7, BM_ABORTED, "no"),
                .nnumbers = 2,
                .numbers = fake_array(2, sizeof(struct bm_number))},
    };
    reply.run.numbers[0] = (struct bm_number){.name = "x.count", .integer = -3};
    reply.run.numbers[1] =
        (struct bm_number){.name = "x.mean", .kind = BM_NUMBER_FLOAT, .real = 0.25};
    message = fake_bytes_reply(&reply);
    struct bm_client_run_report report;
    assert_int_equal(bm_client_decode_get_run(message.data, message.size, &report, NULL),
                     BATCHMILL_OK);
    free(message.memory);
    assert_int_equal(report.state, BM_CLIENT_RUN_FAILED);
    assert_true(report.has_failure);
    assert_int_equal(report.failure.code, BATCHMILL_ABORTED);
    assert_int_equal(report.failure.seq, 6);
    assert_int_equal(report.failure.item, 7);
    assert_string_equal(report.failure.text, "no");
    const struct batchmill_run_result *result = report.result;
    assert_int_equal(result->batches, 1);
    assert_int_equal(result->items, 2);
    assert_int_equal(result->skipped, 3);
    assert_int_equal(result->failed, 4);
    assert_int_equal(result->bytes, 5);
    assert_true(result->seconds == 1.5);
    assert_int_equal(result->nvariables, 2);
    assert_string_equal(result->variables[0].name, "x.count");
    assert_int_equal(result->variables[0].integer, -3);
    assert_true(result->variables[0].number == -3);
    assert_true(result->variables[1].number == 0.25);
    free(report.result);
}

static void status_arrives_and_so_does_a_refusal(void **state)
{
    struct fixture *fixture = *state;
    struct bm_reply reply = {.kind = BM_CALL_GET_STATUS,
                             .status = {.workers = 3, .streams = 4, .scheduler = {.nparked = 8}}};
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct batchmill_status status;
    assert_int_equal(bm_client_decode_status(message.data, message.size, &status, NULL),
                     BATCHMILL_OK);
    assert_string_equal(status.version, BM_VERSION);
    assert_int_equal(status.workers, 3);
    assert_int_equal(status.streams, 4);
    assert_int_equal(status.jobs_parked, 8);
    // A reply to another call than the one that was made is no answer.
    struct bm_client_run run;
    assert_int_equal(bm_client_decode_run(message.data, message.size, &run, &fixture->error),
                     BATCHMILL_DATA_LOSS);
    assert_int_equal(bm_client_decode_done(message.data, message.size, NULL), BATCHMILL_OK);
    free(message.memory);

    struct bm_error error;
    bm_fail(&error, BM_NOT_FOUND, "pipeline", "expected digits");
    bm_reply_fail(&reply, &error);
    message = fake_bytes_reply(&reply);
    assert_int_equal(bm_client_decode_done(message.data, message.size, &fixture->error),
                     BATCHMILL_NOT_FOUND);
    assert_int_equal(fixture->error.code, BATCHMILL_NOT_FOUND);
    assert_string_equal(fixture->error.text, "pipeline: expected digits");
    assert_int_equal(bm_client_decode_status(message.data, message.size, &status, NULL),
                     BATCHMILL_NOT_FOUND);
    free(message.memory);
}

// A description in which there are things that few pipelines have. Free it; NULL after an error.
static struct batchmill_description *description_decode(struct fixture *fixture,
                                                        Batchmill__V1__DescribePipelineReply *reply,
                                                        enum batchmill_code *ret_code)
{
    Batchmill__V1__Response response = BATCHMILL__V1__RESPONSE__INIT;
    response.reply_case = BATCHMILL__V1__RESPONSE__REPLY_DESCRIBE_PIPELINE;
    response.describe_pipeline = reply;
    struct fake_bytes bytes = {0};
    batchmill__v1__response__pack(
        &response, fake_bytes_alloc(&bytes, batchmill__v1__response__get_packed_size(&response)));
    struct batchmill_description *description = NULL;
    *ret_code = bm_client_decode_describe(bytes.data, bytes.size, &description, &fixture->error);
    free(bytes.memory);
    return description;
}

static enum batchmill_code description_code(struct fixture *fixture,
                                            Batchmill__V1__DescribePipelineReply *reply)
{
    enum batchmill_code code;
    free(description_decode(fixture, reply, &code));
    return code;
}

static void a_description_tells_of_names_groups_and_caches(void **state)
{
    struct fixture *fixture = *state;
    Batchmill__V1__PipelineSummary summary = BATCHMILL__V1__PIPELINE_SUMMARY__INIT;
    Batchmill__V1__Vocabulary sent = BATCHMILL__V1__VOCABULARY__INIT;
    Batchmill__V1__Vocabulary counted = BATCHMILL__V1__VOCABULARY__INIT;
    Batchmill__V1__Cache cache = BATCHMILL__V1__CACHE__INIT;
    Batchmill__V1__DescribePipelineReply reply = BATCHMILL__V1__DESCRIBE_PIPELINE_REPLY__INIT;
    enum batchmill_code code;
    reply.summary = &summary;
    struct batchmill_description *description = description_decode(fixture, &reply, &code);
    assert_int_equal(code, BATCHMILL_OK);
    assert_int_equal(description->nvocabularies, 0);
    assert_null(description->group_by);
    assert_null(description->cache);
    free(description);

    sent.component = (char *)"label";
    sent.size = sent.n_names = 2;
    sent.names = (char *[]){(char *)"cat", (char *)"dog"};
    counted.component = (char *)"word";
    counted.size = 1 << 20;
    reply.n_vocabularies = 2;
    reply.vocabularies = (Batchmill__V1__Vocabulary *[]){&sent, &counted};
    reply.group_by = (char *)"tokens";
    cache.actions = 2;
    cache.on_disk = true;
    cache.items = 3, cache.bytes = 4, cache.bytes_max = 5;
    cache.hits = 6, cache.misses = 7, cache.damaged = 1;
    reply.cache = &cache;
    description = description_decode(fixture, &reply, &code);
    assert_int_equal(code, BATCHMILL_OK);
    assert_int_equal(description->nvocabularies, 2);
    assert_string_equal(description->vocabularies[0].component, "label");
    assert_string_equal(description->vocabularies[0].names[1], "dog");
    assert_int_equal(description->vocabularies[1].size, 1 << 20);
    assert_null(description->vocabularies[1].names);
    assert_string_equal(description->group_by, "tokens");
    assert_int_equal(description->cache->nactions, 2);
    assert_true(description->cache->on_disk);
    assert_int_equal(description->cache->items, 3);
    assert_int_equal(description->cache->bytes_max, 5);
    assert_int_equal(description->cache->misses, 7);
    free(description);
}

static void a_description_that_makes_no_sense_is_refused(void **state)
{
    struct fixture *fixture = *state;
    uint64_t shape[17] = {0};
    Batchmill__V1__PipelineSummary summary = BATCHMILL__V1__PIPELINE_SUMMARY__INIT;
    Batchmill__V1__Component component = BATCHMILL__V1__COMPONENT__INIT;
    Batchmill__V1__DescribePipelineReply reply = BATCHMILL__V1__DESCRIBE_PIPELINE_REPLY__INIT;
    component.name = (char *)"x";
    component.dtype = BATCHMILL__V1__DTYPE__DTYPE_STRING;
    component.n_shape = 16;
    component.shape = shape;
    reply.summary = &summary;
    reply.n_components = 1;
    reply.components = (Batchmill__V1__Component *[]){&component};
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_OK);
    component.n_shape = 17;
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_DATA_LOSS);
    component.n_shape = 16;
    component.dtype = (Batchmill__V1__Dtype)16;
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_DATA_LOSS);
    component.dtype = BATCHMILL__V1__DTYPE__DTYPE_UNSPECIFIED;
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_DATA_LOSS);
    component.dtype = BATCHMILL__V1__DTYPE__DTYPE_BOOL;
    component.name = (char *)"";
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_DATA_LOSS);
    reply.n_components = 0;
    reply.summary = NULL;
    assert_int_equal(description_code(fixture, &reply), BATCHMILL_DATA_LOSS);
    assert_non_null(strstr(fixture->error.text, "summary"));
}

static void small_decode_any(const void *data, size_t size)
{
    struct bm_client_opened *opened;
    if (bm_client_decode_open(data, size, &opened, NULL) == BATCHMILL_OK)
        free(opened);
    struct batchmill_list *list;
    if (bm_client_decode_list(data, size, &list, NULL) == BATCHMILL_OK)
        free(list);
    struct batchmill_description *description;
    if (bm_client_decode_describe(data, size, &description, NULL) == BATCHMILL_OK)
        free(description);
    struct bm_client_run_report report;
    if (bm_client_decode_get_run(data, size, &report, NULL) == BATCHMILL_OK)
        free(report.result);
    struct bm_client_run run;
    bm_client_decode_run(data, size, &run, NULL);
    struct batchmill_status status;
    bm_client_decode_status(data, size, &status, NULL);
}

static void no_byte_of_a_small_reply_does_harm(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned k = 0; k < 2; k++) {
        struct bm_reply reply = {.kind = BM_CALL_DESCRIBE_PIPELINE};
        reply.described = bm_pipeline_ref(fixture->pipeline);
        if (k == 1) {
            reply.kind = BM_CALL_OPEN_STREAM;
            reply.opened = (struct bm_opened){.id = "s-1", .pipeline = reply.described};
        }
        struct fake_bytes message = fake_bytes_reply(&reply);
        for (size_t i = 0; i < message.size; i++) {
            struct fake_bytes cut = fake_bytes_copy(message.data, i, 1);
            small_decode_any(cut.data, i);
            free(cut.memory);
            for (unsigned value = 0; value < 256; value++) {
                unsigned char was = message.data[i];
                message.data[i] = (unsigned char)value;
                small_decode_any(message.data, message.size);
                message.data[i] = was;
            }
        }
        free(message.memory);
    }
}

static void a_small_reply_that_finds_no_memory_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct bm_reply reply = {.kind = BM_CALL_DESCRIBE_PIPELINE};
    reply.described = bm_pipeline_ref(fixture->pipeline);
    struct fake_bytes message = fake_bytes_reply(&reply);
    struct batchmill_description *description;
    bm_fake_heap_fail_at(1);
    enum batchmill_code code =
        bm_client_decode_describe(message.data, message.size, &description, NULL);
    bm_fake_heap_fail_never();
    assert_int_equal(code, BATCHMILL_RESOURCE_EXHAUSTED);
    free(message.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_is_sent_as_it_was_given),
        cmocka_unit_test(what_is_held_has_to_rise_and_to_be_few),
        cmocka_unit_test(what_the_wire_cannot_say_is_refused_before_it_is_sent),
        cmocka_unit_test(every_call_arrives_at_the_server),
        cmocka_unit_test(a_request_that_finds_no_memory_says_so),
        cmocka_unit_test(opened_streams_arrive),
        cmocka_unit_test(lists_and_descriptions_arrive),
        cmocka_unit_test(registrations_arrive),
        cmocka_unit_test(runs_arrive),
        cmocka_unit_test(status_arrives_and_so_does_a_refusal),
        cmocka_unit_test(a_description_tells_of_names_groups_and_caches),
        cmocka_unit_test(a_description_that_makes_no_sense_is_refused),
        cmocka_unit_test(no_byte_of_a_small_reply_does_harm),
        cmocka_unit_test(a_small_reply_that_finds_no_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
