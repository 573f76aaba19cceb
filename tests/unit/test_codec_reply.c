// Replies to bytes. protobuf-c, driven the plain way, says what is right.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "fakes/fake_replies.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "server/codec.h"
#include "support.h"

// ---- Batches ----

struct fixture {
    struct bm_registry *registry;
    struct bm_pipeline *pipeline;
    struct bm_reply reply;
};

static int fixture_setup(void **state)
{
    static struct fixture fixture;
    fixture.registry = fake_types_registry();
    fixture.pipeline = fake_types_pipeline(
        fixture.registry, "{fake: {n: 10, ragged: true}}",
        "[{fake.add: {amount: 1}}, {fake.step: {}, use_lock: gpu}, {fake.total: {component: x}}]");
    *state = &fixture;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    bm_pipeline_unref(fixture->pipeline);
    bm_registry_free(fixture->registry);
    return 0;
}

static void reply_next(struct fixture *fixture, uint64_t first, unsigned noutcomes,
                       struct bm_outcome *const *outcomes) // takes the outcomes
{
    fixture->reply = (struct bm_reply){
        .kind = BM_CALL_NEXT_BATCHES,
        .batches =
            {
                .stream = "s-1",
                .pipeline = bm_pipeline_ref(fixture->pipeline),
                .first = first,
                .noutcomes = noutcomes,
                .outcomes = fake_array(noutcomes, sizeof(struct bm_outcome *)),
            },
    };
    for (unsigned i = 0; i < noutcomes; i++)
        fixture->reply.batches.outcomes[i] = outcomes[i];
}

// What protobuf-c reads must pack into the same bytes, but that the check is the last field of all.
// The caller frees the message.
static Batchmill__V1__Response *response_unpack(const struct fake_bytes *bytes)
{
    Batchmill__V1__Response *response =
        batchmill__v1__response__unpack(NULL, bytes->size, bytes->data);
    assert_non_null(response);
    assert_int_equal(batchmill__v1__response__get_packed_size(response), bytes->size);
    unsigned char *again = malloc(bytes->size + 1);
    bool checked = response->check != 0;
    size_t plain_size = bytes->size - (checked ? BM_CHECK_SIZE : 0);
    assert_int_equal(checked, plain_size <= BM_CHECKED_BYTES_MAX);
    response->check = 0;
    size_t size = batchmill__v1__response__pack(response, again);
    if (size < bytes->size)
        bm_check_put(again, size);
    assert_memory_equal(again, bytes->data, bytes->size);
    free(again);
    return response;
}

static size_t find_bytes(const struct fake_bytes *bytes, const void *data, size_t size,
                         size_t from) // where they lie in the message
{
    for (size_t i = from; i + size <= bytes->size; i++) {
        if (memcmp(bytes->data + i, data, size) == 0)
            return i;
    }
    fail_msg("expected %zu bytes in the message", size);
    return 0;
}

static void a_batch_arrives_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "pixels", BM_FLOAT32, false, 2, (const uint64_t[]){8, 8});
    fake_schema_add(&schema, "text", BM_STRING, true, 0, NULL);
    fake_schema_add(&schema, "track", BM_INT16, true, 2, (const uint64_t[]){0, 3});
    struct bm_outcome *outcome = fake_outcome(fixture->pipeline, &schema, 4, 5);
    outcome->epoch = 2;
    reply_next(fixture, 4, 1, &outcome);
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    assert_int_equal(response->reply_case, BATCHMILL__V1__RESPONSE__REPLY_NEXT_BATCHES);
    const Batchmill__V1__NextBatchesReply *reply = response->next_batches;
    assert_string_equal(reply->stream, "s-1");
    assert_int_equal(reply->first, 4);
    assert_false(reply->end);
    assert_int_equal(reply->n_batches, 1);
    const Batchmill__V1__Batch *batch = reply->batches[0];
    assert_int_equal(batch->seq, 4);
    assert_int_equal(batch->epoch, 2);
    assert_int_equal(batch->outcome, BATCHMILL__V1__OUTCOME__OUTCOME_BATCH);
    assert_int_equal(batch->n_items, 5);
    assert_int_equal(batch->items[4], 44);
    assert_null(batch->error);
    assert_int_equal(batch->n_spans, 0);
    assert_int_equal(batch->n_tensors, 3);
    const Batchmill__V1__Tensor *pixels = batch->tensors[0], *text = batch->tensors[1];
    assert_string_equal(pixels->name, "pixels");
    assert_int_equal(pixels->dtype, BATCHMILL__V1__DTYPE__DTYPE_FLOAT32);
    assert_int_equal(pixels->n_shape, 3);
    assert_int_equal(pixels->shape[0], 5);
    assert_int_equal(pixels->data.len, 5 * 8 * 8 * 4);
    assert_int_equal(pixels->data.data[255], 0);
    assert_int_equal(pixels->offsets.len, 0);
    assert_true(text->ragged);
    assert_int_equal(text->n_shape, 1);
    assert_int_equal(text->shape[0], 1 + 2 + 0 + 1 + 2);
    const uint64_t offsets[] = {0, 1, 3, 3, 4, 6};
    assert_int_equal(text->offsets.len, sizeof offsets);
    assert_memory_equal(text->offsets.data, offsets, sizeof offsets);
    const Batchmill__V1__Tensor *track = batch->tensors[2];
    assert_int_equal(track->n_shape, 2);
    assert_int_equal(track->shape[1], 3);
    assert_int_equal(track->data.len, 6 * 3 * 2);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
    bm_schema_fini(&schema);
}

// Sizes on both sides of where a length field grows, in replies of several batches.
static void tensors_lie_aligned_and_the_bytes_are_those_of_protobuf_c(void **state)
{
    struct fixture *fixture = *state;
    static const uint64_t around[] = {100, 16200, 16384, 2097100};
    for (unsigned k = 0; k < 4 * 140; k++) {
        uint64_t size = around[k / 140] + k % 140;
        unsigned noutcomes = k / 140 == 3 ? 1 : 1 + k % 3;
        if (k / 140 == 3 && k % 7 != 0)
            continue; // 2 MiB each: a few are enough
        struct bm_schema schema;
        bm_schema_init(&schema);
        fake_schema_add(&schema, "a", BM_UINT8, false, 1, &size);
        fake_schema_add(&schema, "ragged", BM_UINT8, true, 2,
                        (const uint64_t[]){0, size % 97 + 20});
        fake_schema_add(&schema, "none", BM_UINT8, false, 1, (const uint64_t[]){0});
        struct bm_outcome *outcomes[3];
        for (unsigned i = 0; i < noutcomes; i++)
            outcomes[i] = fake_outcome(fixture->pipeline, &schema, i, 1 + 2 * i);
        reply_next(fixture, 0, noutcomes, outcomes);
        struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
        Batchmill__V1__Response *response = response_unpack(&bytes);
        size_t at = 0;
        for (unsigned i = 0; i < noutcomes; i++) {
            const Batchmill__V1__Batch *batch = response->next_batches->batches[i];
            const ProtobufCBinaryData *a = &batch->tensors[0]->data;
            at = find_bytes(&bytes, a->data, a->len, at);
            assert_int_equal(at % BM_WIRE_ALIGNMENT, BM_WIRE_ALIGNMENT_REST);
            const ProtobufCBinaryData *offsets = &batch->tensors[1]->offsets;
            at = find_bytes(&bytes, offsets->data, offsets->len, at + a->len);
            assert_int_equal(at % BM_WIRE_ALIGNMENT, BM_WIRE_ALIGNMENT_REST);
            const ProtobufCBinaryData *rows = &batch->tensors[1]->data;
            at = find_bytes(&bytes, rows->data, rows->len, at + offsets->len);
            assert_int_equal(at % BM_WIRE_ALIGNMENT, BM_WIRE_ALIGNMENT_REST);
            at += rows->len;
            const Batchmill__V1__Tensor *none = batch->tensors[2];
            assert_int_equal(none->pad_offsets.len + none->pad_data.len + none->data.len, 0);
        }
        batchmill__v1__response__free_unpacked(response, NULL);
        free(bytes.memory);
        bm_schema_fini(&schema);
    }
}

static void a_failure_a_skip_and_an_end_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct bm_outcome *outcomes[] = {
        fake_failure(fixture->pipeline, 7, 1, 33, BM_OUT_OF_RANGE, "too large"),
        fake_failure(fixture->pipeline, 8, -1, -1, BM_DATA_LOSS, "a file is gone"),
        bm_outcome_new(9, 0),
    };
    strcpy(outcomes[1]->work.error.where, "x.csv: row 3");
    outcomes[2]->kind = BM_OUTCOME_SKIPPED;
    reply_next(fixture, 7, 3, outcomes);
    fixture->reply.batches.end = true;
    fixture->reply.batches.end_seq = 10;
    fixture->reply.batches.stopped = true;
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    const Batchmill__V1__NextBatchesReply *reply = response->next_batches;
    assert_true(reply->end);
    assert_int_equal(reply->end_seq, 10);
    assert_true(reply->stopped);
    assert_int_equal(reply->n_batches, 3);
    const Batchmill__V1__Batch *failed = reply->batches[0];
    assert_int_equal(failed->outcome, BATCHMILL__V1__OUTCOME__OUTCOME_FAILED);
    assert_int_equal(failed->n_tensors, 0);
    assert_int_equal(failed->error->code, BATCHMILL__V1__CODE__OUT_OF_RANGE);
    assert_string_equal(failed->error->pipeline, "test");
    assert_string_equal(failed->error->action, "fake.step");
    assert_int_equal(failed->error->action_index, 1);
    assert_true(failed->error->has_item);
    assert_int_equal(failed->error->item, 33);
    assert_string_equal(failed->error->message, "too large");
    assert_string_equal(reply->batches[1]->error->action, "read");
    assert_false(reply->batches[1]->error->has_item);
    assert_string_equal(reply->batches[1]->error->message, "x.csv: row 3: a file is gone");
    assert_int_equal(reply->batches[2]->outcome, BATCHMILL__V1__OUTCOME__OUTCOME_SKIPPED);
    assert_null(reply->batches[2]->error);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void a_traced_batch_carries_its_spans(void **state)
{
    struct fixture *fixture = *state;
    struct bm_outcome *outcomes[] = {bm_outcome_new(0, 2), bm_outcome_new(1, 1)};
    outcomes[0]->kind = outcomes[1]->kind = BM_OUTCOME_SKIPPED;
    outcomes[0]->spans[0] = (struct bm_span){1, 0, 3, 4, 5};
    outcomes[0]->spans[1] = (struct bm_span){6, 7, 1ull << 60, 1ull << 61, 300};
    outcomes[1]->spans[0] = (struct bm_span){.started_ns = 9};
    reply_next(fixture, 0, 2, outcomes);
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    Batchmill__V1__Batch **batches = response->next_batches->batches;
    assert_int_equal(batches[0]->n_spans, 2);
    assert_int_equal(batches[0]->spans[0]->queued_ns, 1);
    assert_int_equal(batches[0]->spans[0]->parked_ns, 0);
    assert_int_equal(batches[0]->spans[1]->parked_ns, 7);
    assert_true(batches[0]->spans[1]->ended_ns == 1ull << 61);
    assert_int_equal(batches[0]->spans[1]->worker, 300);
    assert_int_equal(batches[1]->n_spans, 1);
    assert_int_equal(batches[1]->spans[0]->started_ns, 9);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void not_yet_is_a_reply_without_batches(void **state)
{
    struct fixture *fixture = *state;
    reply_next(fixture, 12, 0, NULL);
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    assert_int_equal(response->next_batches->first, 12);
    assert_int_equal(response->next_batches->n_batches, 0);
    assert_false(response->next_batches->end);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void a_batch_that_no_parser_would_accept_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "a", BM_UINT8, false, 0, NULL);
    struct bm_outcome *outcome = fake_outcome(fixture->pipeline, &schema, 0, 1);
    uint64_t real = outcome->work.batch.tensors[0].size_bytes;
    outcome->work.batch.tensors[0].size_bytes = 1ull << 31; // never touched
    reply_next(fixture, 0, 1, &outcome);
    struct fake_bytes bytes = {0};
    struct bm_error error;
    assert_int_equal(bm_reply_encode(&fixture->reply, fake_bytes_alloc, &bytes, &error),
                     BM_RESOURCE_EXHAUSTED);
    assert_string_equal(error.where, "batch_size");
    assert_int_equal(bytes.nallocs, 0);
    outcome->work.batch.tensors[0].size_bytes = real;
    bm_reply_fini(&fixture->reply);
    bm_schema_fini(&schema);
}

static void large_tensors_are_lent_small_ones_copied(void **state)
{
    struct fixture *fixture = *state;
    struct bm_schema schema;
    bm_schema_init(&schema);
    fake_schema_add(&schema, "small", BM_UINT8, false, 0, NULL);
    fake_schema_add(&schema, "large", BM_UINT8, false, 1, (const uint64_t[]){100});
    fake_schema_add(&schema, "text", BM_STRING, true, 0, NULL);
    for (unsigned checked = 0; checked < 2; checked++) {
        struct bm_outcome *outcome = fake_outcome(fixture->pipeline, &schema, 0, 2100);
        const void *data = outcome->work.batch.tensors[1].data;
        reply_next(fixture, 0, 1, &outcome);
        fixture->reply.batches.checked = checked == 1;
        struct bm_reply_pieces pieces;
        assert_int_equal(bm_reply_gather(&fixture->reply, 13, &pieces, NULL), BM_OK);
        unsigned nlent = 0;
        for (unsigned i = 0; i < pieces.npieces; i++)
            nlent += pieces.pieces[i].iov_base == data && pieces.pieces[i].iov_len == 210000;
        assert_int_equal(nlent, 1 - checked); // a check is of bytes that lie in one piece
        assert_int_equal(pieces.npieces == 1, checked);
        bm_reply_pieces_fini(&pieces);
        free(fake_bytes_reply(&fixture->reply).memory);
    }
    bm_schema_fini(&schema);
}

static void the_estimate_of_a_batch_is_near_what_it_takes(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t nitems = 1; nitems < 2000; nitems *= 3) {
        struct bm_schema schema;
        bm_schema_init(&schema);
        fake_schema_add(&schema, "pixels", BM_FLOAT32, false, 1, (const uint64_t[]){16});
        fake_schema_add(&schema, "text", BM_STRING, true, 0, NULL);
        struct bm_outcome *outcome = fake_outcome(fixture->pipeline, &schema, 1, nitems);
        uint64_t estimate = bm_outcome_wire_bytes(outcome, false);
        reply_next(fixture, 1, 1, &outcome);
        struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
        assert_in_range(bytes.size, estimate * 3 / 4 - 256, estimate * 5 / 4 + 256);
        free(bytes.memory);
        bm_schema_fini(&schema);
    }
}

// ---- Other replies ----

static void list_and_describe_say_what_a_pipeline_is(void **state)
{
    struct fixture *fixture = *state;
    fixture->reply = (struct bm_reply){.kind = BM_CALL_LIST_PIPELINES, .list.n = 1};
    fixture->reply.list.pipelines = fake_array(1, sizeof(struct bm_pipeline *));
    fixture->reply.list.pipelines[0] = bm_pipeline_ref(fixture->pipeline);
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    assert_int_equal(response->reply_case, BATCHMILL__V1__RESPONSE__REPLY_LIST_PIPELINES);
    assert_int_equal(response->list_pipelines->n_pipelines, 1);
    assert_string_equal(response->list_pipelines->pipelines[0]->name, "test");
    assert_int_equal(response->list_pipelines->pipelines[0]->items, 10);
    assert_true(response->list_pipelines->pipelines[0]->fingerprint ==
                bm_pipeline_fingerprint(fixture->pipeline));
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);

    fixture->reply = (struct bm_reply){.kind = BM_CALL_DESCRIBE_PIPELINE};
    fixture->reply.described = bm_pipeline_ref(fixture->pipeline);
    bytes = fake_bytes_reply(&fixture->reply);
    response = response_unpack(&bytes);
    assert_int_equal(response->reply_case, BATCHMILL__V1__RESPONSE__REPLY_DESCRIBE_PIPELINE);
    const Batchmill__V1__DescribePipelineReply *reply = response->describe_pipeline;
    assert_string_equal(reply->summary->name, "test");
    assert_string_equal(reply->source_type, "fake");
    assert_int_equal(reply->n_source_components, 2);
    assert_string_equal(reply->source_components[1]->name, "tail");
    assert_true(reply->source_components[1]->ragged);
    assert_int_equal(reply->n_actions, 3);
    assert_string_equal(reply->actions[0]->lock, "");
    assert_string_equal(reply->actions[1]->name, "fake.step");
    assert_string_equal(reply->actions[1]->lock, "gpu");
    assert_true(reply->actions[1]->per_batch);
    assert_int_equal(reply->n_components, 2);
    assert_int_equal(reply->components[0]->dtype, BATCHMILL__V1__DTYPE__DTYPE_INT64);
    assert_int_equal(reply->n_steps, bm_pipeline_nsteps(fixture->pipeline));
    assert_string_equal(reply->steps[0], "read");
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void opened_streams_and_runs_say_what_was_opened(void **state)
{
    struct fixture *fixture = *state;
    const struct bm_opened opened = {
        .id = "s-1",
        .first_seq = 3,
        .batches = UINT64_MAX,
        .endless = true,
        .seed = 9,
        .items = 10,
        .epoch_batches = 2,
        .lease_ms = 60000,
        .prefetch = 4,
    };
    fixture->reply = (struct bm_reply){.kind = BM_CALL_OPEN_STREAM, .opened = opened};
    fixture->reply.opened.pipeline = bm_pipeline_ref(fixture->pipeline);
    fixture->reply.opened.position_stem = fake_text("bm2.abc");
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    const Batchmill__V1__OpenStreamReply *stream = response->open_stream;
    assert_string_equal(stream->stream, "s-1");
    assert_int_equal(stream->first_seq, 3);
    assert_true(stream->endless);
    assert_int_equal(stream->batches, 0);
    assert_int_equal(stream->seed, 9);
    assert_int_equal(stream->items, 10);
    assert_int_equal(stream->epoch_batches, 2);
    assert_int_equal(stream->lease_ms, 60000);
    assert_int_equal(stream->prefetch, 4);
    assert_string_equal(stream->position_stem, "bm2.abc");
    assert_int_equal(stream->n_components, 2);
    assert_int_equal(stream->n_steps, bm_pipeline_nsteps(fixture->pipeline));
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);

    fixture->reply = (struct bm_reply){.kind = BM_CALL_RUN, .opened = opened};
    fixture->reply.opened.endless = false;
    fixture->reply.opened.batches = 5;
    fixture->reply.opened.pipeline = bm_pipeline_ref(fixture->pipeline);
    bytes = fake_bytes_reply(&fixture->reply);
    response = response_unpack(&bytes);
    assert_string_equal(response->run->run, "s-1");
    assert_int_equal(response->run->batches, 5);
    assert_int_equal(response->run->lease_ms, 60000);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void a_run_s_report_has_counts_variables_and_the_first_failure(void **state)
{
    struct fixture *fixture = *state;
    fixture->reply = (struct bm_reply){
        .kind = BM_CALL_GET_RUN,
        .run =
            {
                .state = BM_RUN_FAILED,
                .batches = 1,
                .items = 2,
                .skipped = 3,
                .failed = 4,
                .bytes = 5,
                .seconds = 1.5,
                .pipeline = bm_pipeline_ref(fixture->pipeline),
                .error = fake_failure(fixture->pipeline, 6, 0, 7, BM_ABORTED, "no"),
                .nnumbers = 2,
                .numbers = fake_array(2, sizeof(struct bm_number)),
            },
    };
    struct bm_number *numbers = fixture->reply.run.numbers;
    numbers[0] = (struct bm_number){.name = "x.count", .integer = -3};
    numbers[1] = (struct bm_number){.name = "x.mean", .kind = BM_NUMBER_FLOAT, .real = 0.25};
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    const Batchmill__V1__GetRunReply *run = response->get_run;
    assert_int_equal(run->state, BATCHMILL__V1__RUN_STATE__RUN_FAILED);
    assert_int_equal(run->batches, 1);
    assert_int_equal(run->items, 2);
    assert_int_equal(run->skipped, 3);
    assert_int_equal(run->failed, 4);
    assert_int_equal(run->bytes, 5);
    assert_true(run->seconds == 1.5);
    assert_true(run->has_error);
    assert_int_equal(run->failed_seq, 6);
    assert_int_equal(run->error->item, 7);
    assert_int_equal(run->n_variables, 2);
    assert_string_equal(run->variables[0]->name, "x.count");
    assert_true(run->variables[0]->is_integer);
    assert_int_equal(run->variables[0]->integer, -3);
    assert_true(run->variables[1]->number == 0.25);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
}

static void status_and_the_calls_without_an_answer_are_told(void **state)
{
    struct fixture *fixture = *state;
    fixture->reply = (struct bm_reply){
        .kind = BM_CALL_GET_STATUS,
        .status = {.uptime_seconds = 2,
                   .workers = 3,
                   .streams = 4,
                   .runs = 5,
                   .pipelines = 6,
                   .draining = true,
                   .answered = {11, [BM_UNAUTHENTICATED] = 12},
                   .connections = {13, 14, 15, 16, 17, 18, 19},
                   .scheduler = {.nready = 7, .nparked = 8, .memory_bytes = 9, .batches = 10}},
    };
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    const Batchmill__V1__GetStatusReply *status = response->get_status;
    assert_string_equal(status->version, BM_VERSION);
    assert_int_equal(status->workers, 3);
    assert_int_equal(status->streams, 4);
    assert_int_equal(status->runs, 5);
    assert_int_equal(status->pipelines, 6);
    assert_true(status->draining);
    assert_int_equal(status->jobs_ready, 7);
    assert_int_equal(status->jobs_parked, 8);
    assert_int_equal(status->memory_bytes, 9);
    assert_int_equal(status->batches, 10);
    assert_int_equal(status->n_answered, BM_STATUSES);
    assert_int_equal(status->answered[BM_OK], 11);
    assert_int_equal(status->answered[BM_UNAUTHENTICATED], 12);
    assert_int_equal(status->connections->open, 13);
    assert_int_equal(status->connections->unsent_bytes, 14);
    assert_int_equal(status->connections->accepted, 15);
    assert_int_equal(status->connections->refused, 16);
    assert_int_equal(status->connections->no_greeting, 17);
    assert_int_equal(status->connections->bad_frame, 18);
    assert_int_equal(status->connections->slow, 19);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);

    const enum bm_call_kind kinds[] = {BM_CALL_CLOSE_STREAM, BM_CALL_CANCEL_RUN};
    const Batchmill__V1__Response__ReplyCase cases[] = {BATCHMILL__V1__RESPONSE__REPLY_CLOSE_STREAM,
                                                        BATCHMILL__V1__RESPONSE__REPLY_CANCEL_RUN};
    for (unsigned i = 0; i < 2; i++) {
        fixture->reply = (struct bm_reply){.kind = kinds[i]};
        bytes = fake_bytes_reply(&fixture->reply);
        response = response_unpack(&bytes);
        assert_int_equal(response->code, BATCHMILL__V1__CODE__OK);
        assert_int_equal(response->reply_case, cases[i]);
        batchmill__v1__response__free_unpacked(response, NULL);
        free(bytes.memory);
    }
}

static void a_failed_call_has_a_code_and_a_sentence(void **state)
{
    struct fixture *fixture = *state;
    struct bm_error error;
    bm_fail(&error, BM_NOT_FOUND, "pipeline", "expected digits, got digit");
    bm_reply_fail(&fixture->reply, &error);
    assert_string_equal(fixture->reply.message, "pipeline: expected digits, got digit");
    struct fake_bytes bytes = fake_bytes_reply(&fixture->reply);
    Batchmill__V1__Response *response = response_unpack(&bytes);
    assert_int_equal(response->code, BATCHMILL__V1__CODE__NOT_FOUND);
    assert_string_equal(response->message, "pipeline: expected digits, got digit");
    assert_int_equal(response->reply_case, BATCHMILL__V1__RESPONSE__REPLY__NOT_SET);
    batchmill__v1__response__free_unpacked(response, NULL);
    free(bytes.memory);
    bm_fail(&error, BM_NOT_FOUND, NULL, "no place");
    bm_reply_fail(&fixture->reply, &error);
    assert_string_equal(fixture->reply.message, "no place");
}

static void a_reply_that_finds_no_memory_fails(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned kind = 0; kind < 2; kind++) {
        struct bm_outcome *outcome = bm_outcome_new(0, 1);
        outcome->kind = BM_OUTCOME_SKIPPED;
        reply_next(fixture, 0, 1, &outcome);
        if (kind == 1) {
            bm_reply_fini(&fixture->reply);
            fixture->reply = (struct bm_reply){.kind = BM_CALL_DESCRIBE_PIPELINE};
            fixture->reply.described = bm_pipeline_ref(fixture->pipeline);
        }
        bool failed;
        uint64_t n = 0;
        do {
            struct fake_bytes bytes = {0};
            bm_fake_heap_fail_at(++n);
            enum bm_status status =
                bm_reply_encode(&fixture->reply, fake_bytes_alloc, &bytes, NULL);
            failed = bm_fake_heap_failed();
            bm_fake_heap_fail_at(n);
            struct bm_reply_pieces pieces = {0};
            enum bm_status gathered = bm_reply_gather(&fixture->reply, 13, &pieces, NULL);
            bool also = bm_fake_heap_failed();
            bm_fake_heap_fail_never();
            assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
            assert_int_equal(gathered, also ? BM_RESOURCE_EXHAUSTED : BM_OK);
            bm_reply_pieces_fini(&pieces);
            failed |= also;
            free(bytes.memory);
        } while (failed);
        assert_true(n > 4);
        bm_reply_fini(&fixture->reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_arrives_as_it_was),
        cmocka_unit_test(tensors_lie_aligned_and_the_bytes_are_those_of_protobuf_c),
        cmocka_unit_test(a_failure_a_skip_and_an_end_are_told),
        cmocka_unit_test(a_traced_batch_carries_its_spans),
        cmocka_unit_test(not_yet_is_a_reply_without_batches),
        cmocka_unit_test(a_batch_that_no_parser_would_accept_is_refused),
        cmocka_unit_test(large_tensors_are_lent_small_ones_copied),
        cmocka_unit_test(the_estimate_of_a_batch_is_near_what_it_takes),
        cmocka_unit_test(list_and_describe_say_what_a_pipeline_is),
        cmocka_unit_test(opened_streams_and_runs_say_what_was_opened),
        cmocka_unit_test(a_run_s_report_has_counts_variables_and_the_first_failure),
        cmocka_unit_test(status_and_the_calls_without_an_answer_are_told),
        cmocka_unit_test(a_failed_call_has_a_code_and_a_sentence),
        cmocka_unit_test(a_reply_that_finds_no_memory_fails),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
