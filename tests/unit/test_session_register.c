// Pipelines that clients register: checked like the configuration's, kept by their use, and gone
// when nobody wants them.
#include "fakes/fake_host.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

#define ADD_5 "{source: numbers, actions: [{add: {amount: 5}}]}"
#define ADD_6 "{source: numbers, actions: [{add: {amount: 6}}]}"
#define SLOW "{source: numbers, actions: [hand]}"

static struct fake_host host;

static int setup(void **state)
{
    (void)state;
    fake_host_init_registering(&host);
    fake_host_add(&host, "configured", 40, "[{add: {amount: 5}}]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct fake_call *try_register(const char *name, const char *definition, uint32_t lease_ms)
{
    return fake_call(&host, BM_CALL_REGISTER_PIPELINE,
                     (struct bm_request){.registers = {name, definition, lease_ms}});
}

static struct bm_registered register_ok(const char *name, const char *definition, uint32_t lease_ms)
{
    struct fake_call *call = try_register(name, definition, lease_ms);
    if (fake_reply(call)->code != BM_OK)
        fail_msg("%s", fake_reply(call)->message);
    struct bm_registered registered = fake_reply(call)->registered;
    fake_call_free(call);
    return registered;
}

static bool unregister(const char *name, const char *registration)
{
    struct bm_request request = {.named = {.name = name, .registration = registration}};
    struct fake_call *call = fake_call(&host, BM_CALL_UNREGISTER_PIPELINE, request);
    assert_int_equal(fake_reply(call)->code, BM_OK);
    bool removed = fake_reply(call)->unregistered;
    fake_call_free(call);
    return removed;
}

static bool there_is(const char *name)
{
    struct fake_call *call = fake_named(&host, BM_CALL_DESCRIBE_PIPELINE, name);
    bool there = fake_reply(call)->code == BM_OK;
    assert_true(!there || fake_reply(call)->described_by_client);
    fake_call_free(call);
    return there;
}

static void open_stream(const char *pipeline, char ret_id[BM_STREAM_ID_MAX + 1])
{
    struct bm_open_request open = {.pipeline = pipeline, .order.batch_size = 4};
    fake_id(fake_open(&host, open), ret_id);
}

// Asserts that the batch is there.
static void take(const char *id, uint64_t seq)
{
    struct bm_next_request next = {.stream = id, .first = seq, .ack = seq, .max_batches = 1};
    struct fake_call *call = fake_next(&host, next);
    assert_int_equal(fake_reply(call)->code, BM_OK);
    assert_int_equal(fake_reply(call)->batches.noutcomes, 1);
    fake_call_free(call);
}

static void a_registered_pipeline_streams_like_any_other(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    struct bm_registered registered = register_ok("mine", ADD_5, 0);
    assert_int_equal(registered.lease_ms, FAKE_LEASE_MS);
    open_stream("mine", id);
    take(id, 0);
    struct fake_call *call = fake_call(&host, BM_CALL_LIST_PIPELINES, (struct bm_request){0});
    assert_int_equal(fake_reply(call)->list.n, 2);
    assert_false(fake_reply(call)->list.by_client[0]);
    assert_true(fake_reply(call)->list.by_client[1]);
    assert_int_equal(bm_pipeline_fingerprint(fake_reply(call)->list.pipelines[1]),
                     registered.fingerprint);
    fake_call_free(call);
}

static void the_same_again_is_the_same_registration(void **state)
{
    (void)state;
    struct bm_registered first = register_ok("mine", ADD_5, 0);
    struct bm_registered again = register_ok("mine", ADD_5, 0);
    struct bm_registered in_other_words = register_ok(
        "mine", "{\"actions\": [{\"add\": {\"amount\": 5}}], \"source\": \"numbers\"}", 0);
    assert_string_equal(first.id, again.id);
    assert_string_equal(first.id, in_other_words.id);
    assert_int_equal(first.fingerprint, in_other_words.fingerprint);
}

static void another_pipeline_does_not_take_the_name(void **state)
{
    (void)state;
    register_ok("mine", ADD_5, 0);
    fake_expect(try_register("mine", ADD_6, 0), BM_ALREADY_EXISTS, "another pipeline");
    fake_expect(try_register("configured", ADD_5, 0), BM_ALREADY_EXISTS, "of this name");
}

static void a_definition_is_checked_like_the_configuration(void **state)
{
    (void)state;
    static const struct {
        const char *definition, *error;
    } cases[] = {
        {"{source: numbers, actions: [{add: {amount: x}}]}",
         "definition:1: actions[0].add.amount: expected"},
        {"{source: others}", "source: expected one of `sources` (numbers), got \"others\""},
        {"{source: ../numbers}", "source: expected a name"},
        {"{source: {count: {n: 4}}}", "source: expected"},
        {"{source: numbers, sources: {a: {count: {n: 4}}}}", "sources"},
        {"{actions: []}", "source"},
        {"[]", "expected"},
        {"{source: &a numbers}", "anchors"},
        {"", "expected a map, got nothing"},
        {"{", "not YAML"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        fake_expect(try_register("mine", cases[i].definition, 0), BM_INVALID_ARGUMENT,
                    cases[i].error);
    fake_expect(try_register("mine", "{source: numbers, actions: [nothing]}", 0), BM_NOT_FOUND,
                "definition:1: actions[0]: there is no action");
    assert_false(there_is("mine"));
}

static void a_deep_definition_is_refused(void **state)
{
    (void)state;
    char deep[4096];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    fake_expect(try_register("mine", deep, 0), BM_INVALID_ARGUMENT, "nested more than 32 deep");
}

static void a_pipeline_goes_when_nobody_used_it_for_its_lease(void **state)
{
    (void)state;
    register_ok("mine", ADD_5, 1000);
    fake_host_pass(&host, 900);
    register_ok("mine", ADD_5, 1000); // which renews it
    fake_host_pass(&host, 900);
    assert_true(there_is("mine"));
    fake_host_pass(&host, 200);
    assert_false(there_is("mine"));
    register_ok("mine", ADD_6, 1000);
}

static void nobody_shortens_the_lease_of_another(void **state)
{
    (void)state;
    register_ok("mine", ADD_5, 5000);
    assert_int_equal(register_ok("mine", ADD_5, 1000).lease_ms, 5000);
    fake_host_pass(&host, 4000);
    assert_true(there_is("mine"));
}

static void an_open_stream_keeps_its_pipeline(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    register_ok("mine", ADD_5, 1000);
    open_stream("mine", id);
    fake_host_pass(&host, 5000);
    assert_true(there_is("mine"));
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    fake_host_pass(&host, 1000);
    assert_false(there_is("mine"));
}

static void streams_go_on_when_their_pipeline_is_removed(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    struct bm_registered registered = register_ok("mine", ADD_5, 0);
    open_stream("mine", id);
    take(id, 0);
    assert_true(unregister("mine", registered.id));
    assert_false(there_is("mine"));
    take(id, 1);
    fake_expect(
        fake_open(&host, (struct bm_open_request){.pipeline = "mine", .order.batch_size = 4}),
        BM_NOT_FOUND, "there is no pipeline \"mine\"");
}

static void a_run_is_told_after_its_pipeline_was_removed(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    struct bm_registered registered = register_ok("mine", ADD_5, 0);
    struct bm_open_request open = {.pipeline = "mine", .order.batch_size = 4};
    fake_id(fake_run(&host, open), id);
    fake_host_pass(&host, 10);
    assert_true(unregister("mine", registered.id));
    struct fake_call *call = fake_get_run(&host, id, 0);
    assert_int_equal(fake_reply(call)->run.batches, 10);
    assert_string_equal(bm_pipeline_name(fake_reply(call)->run.pipeline), "mine");
    fake_call_free(call);
}

static void only_the_registration_itself_is_removed(void **state)
{
    (void)state;
    struct bm_registered old = register_ok("mine", ADD_5, 0);
    assert_false(unregister("mine", "somebody"));
    assert_false(unregister("configured", old.id));
    assert_true(unregister("mine", old.id));
    assert_false(unregister("mine", old.id)); // the request came twice
    struct bm_registered new = register_ok("mine", ADD_6, 0);
    assert_false(unregister("mine", old.id)); // and once more, late
    assert_true(unregister("mine", new.id));
}

static void there_are_only_so_many(void **state)
{
    (void)state;
    char name[16];
    for (unsigned i = 0; i < BM_SESSION_REGISTERED_MAX; i++) {
        snprintf(name, sizeof name, "p%u", i);
        register_ok(name, ADD_5, 1000);
    }
    fake_expect(try_register("one-more", ADD_5, 0), BM_RESOURCE_EXHAUSTED, "at most 64");
    register_ok("p0", ADD_5, 2000);
    fake_host_pass(&host, 1500);
    assert_true(there_is("p0"));
    assert_false(there_is("p1"));
    register_ok("one-more", SLOW, 0);
}

static void a_server_that_drains_takes_none(void **state)
{
    (void)state;
    bm_session_drain(host.session);
    fake_expect(try_register("mine", ADD_5, 0), BM_UNAVAILABLE, "takes nothing new");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_registered_pipeline_streams_like_any_other),
        TEST(the_same_again_is_the_same_registration),
        TEST(another_pipeline_does_not_take_the_name),
        TEST(a_definition_is_checked_like_the_configuration),
        TEST(a_deep_definition_is_refused),
        TEST(a_pipeline_goes_when_nobody_used_it_for_its_lease),
        TEST(nobody_shortens_the_lease_of_another),
        TEST(an_open_stream_keeps_its_pipeline),
        TEST(streams_go_on_when_their_pipeline_is_removed),
        TEST(a_run_is_told_after_its_pipeline_was_removed),
        TEST(only_the_registration_itself_is_removed),
        TEST(there_are_only_so_many),
        TEST(a_server_that_drains_takes_none),
    };
    return cmocka_run_group_tests_name("session_register", tests, NULL, NULL);
}
