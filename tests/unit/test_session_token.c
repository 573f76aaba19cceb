// A server with a token does nothing for who lacks it, and tells nothing either.
#include "fakes/fake_host.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

static const char secret[] = "0123456789abcdef";
static struct fake_host host;

static int host_make(void **state)
{
    (void)state;
    fake_host_init_with_token(&host, secret);
    fake_host_add(&host, "train", 10, "[step]");
    return 0;
}

static int host_end(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct bm_request with_token(struct bm_request request, const char *token)
{
    if (token != NULL) {
        request.token = strdup(token);
        request.token_size = strlen(token);
    }
    return request;
}

static struct fake_call *call_status(const char *token)
{
    return fake_call(&host, BM_CALL_GET_STATUS, with_token((struct bm_request){0}, token));
}

static uint64_t count_strangers(void)
{
    struct fake_call *call = call_status(secret);
    uint64_t count = fake_reply(call)->status.answered[BM_UNAUTHENTICATED];
    fake_call_free(call);
    return count;
}

static void every_call_needs_the_token(void **state)
{
    (void)state;
    static const char *const tokens[] = {NULL, "", "0123456789abcdeg", "0123456789abcdef0",
                                         "0123456789abcde"};
    unsigned nrefused = 0;
    for (int kind = BM_CALL_NONE; kind <= BM_CALL_END_LENDING; kind++) {
        for (unsigned i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
            struct bm_request request = {0};
            if (kind == BM_CALL_OPEN_STREAM || kind == BM_CALL_RUN)
                request.open = (struct bm_open_request){
                    .pipeline = "train", .position = "", .cursor = "", .order.batch_size = 1};
            else if (kind == BM_CALL_NEXT_BATCHES)
                request.next.stream = "s";
            else if (kind == BM_CALL_TAKE_TASK)
                request.task.lender = "s";
            else if (kind != BM_CALL_LEND_ACTIONS)
                request.named.name = "train";
            struct fake_call *call =
                fake_call(&host, (enum bm_call_kind)kind, with_token(request, tokens[i]));
            assert_false(fake_answered(call)); // a guess takes its time
            fake_host_pass(&host, BM_SESSION_STRANGER_MS - 1);
            assert_false(fake_answered(call));
            fake_host_pass(&host, 1);
            assert_string_equal(fake_reply(call)->message,
                                "expected a request with this server's token");
            fake_expect(call, BM_UNAUTHENTICATED, "token");
            nrefused++;
        }
    }
    struct fake_call *call = call_status(secret);
    assert_int_equal(fake_reply(call)->status.answered[BM_UNAUTHENTICATED], nrefused);
    assert_int_equal(fake_reply(call)->status.streams, 0);
    assert_int_equal(fake_reply(call)->status.runs, 0);
    fake_call_free(call);
}

static void the_token_opens_a_stream(void **state)
{
    (void)state;
    const struct bm_request request = {
        .open = {.pipeline = "train", .position = "", .cursor = "", .order.batch_size = 1}};
    char id[BM_STREAM_ID_MAX + 1];
    fake_id(fake_call(&host, BM_CALL_OPEN_STREAM, with_token(request, secret)), id);
    // Whoever learned the id still needs the token.
    struct fake_call *call =
        fake_call(&host, BM_CALL_CLOSE_STREAM, (struct bm_request){.named.name = id});
    fake_host_pass(&host, BM_SESSION_STRANGER_MS);
    fake_expect(call, BM_UNAUTHENTICATED, "token");
    call = call_status(secret);
    assert_int_equal(fake_reply(call)->status.streams, 1);
    fake_call_free(call);
}

// The bytes were no request, or one with a mistake in it.
static struct fake_call *refuse(enum bm_status status, const char *token)
{
    struct bm_executor *executor = &host.mill.executor.base;
    struct fake_call *call = calloc(1, sizeof *call);
    struct bm_error error;
    assert_non_null(call);
    call->exchange.request = with_token((struct bm_request){0}, token);
    bm_fail(&error, status, "stream", "expected an id");
    executor->enter(executor);
    bm_session_refuse(host.session, &call->exchange, &error);
    executor->leave(executor);
    fake_host_settle(&host);
    return call;
}

static void mistakes_are_told_to_those_with_the_token(void **state)
{
    (void)state;
    fake_expect(refuse(BM_INVALID_ARGUMENT, secret), BM_INVALID_ARGUMENT, "expected an id");
    struct fake_call *calls[] = {refuse(BM_INVALID_ARGUMENT, NULL),
                                 refuse(BM_UNIMPLEMENTED, "0123456789abcdeg")};
    fake_host_pass(&host, BM_SESSION_STRANGER_MS);
    fake_expect(calls[0], BM_UNAUTHENTICATED, "token");
    fake_expect(calls[1], BM_UNAUTHENTICATED, "token");
    // What says nothing about the server is said before anybody reads a token.
    fake_expect(refuse(BM_RESOURCE_EXHAUSTED, NULL), BM_RESOURCE_EXHAUSTED, "expected an id");
    assert_int_equal(count_strangers(), 2);
}

static void strangers_are_bounded_and_hold_up_nothing(void **state)
{
    (void)state;
    enum { N = BM_SESSION_STRANGERS_MAX };
    static struct fake_call *calls[N];
    for (unsigned i = 0; i < N; i++)
        calls[i] = call_status(NULL);
    fake_expect(call_status(NULL), BM_UNAUTHENTICATED, "token"); // at once: no more may wait
    struct bm_executor *executor = &host.mill.executor.base;
    executor->enter(executor);
    assert_true(bm_session_idle(host.session)); // a drain does not wait for them
    bm_session_abandon(host.session, &calls[0]->exchange);
    executor->leave(executor);
    fake_host_settle(&host);
    fake_expect(calls[0], BM_CANCELLED, "gone");
    assert_int_equal(count_strangers(), 1); // was told so
    executor->enter(executor);
    bm_session_close(host.session);
    executor->leave(executor);
    fake_host_settle(&host);
    for (unsigned i = 1; i < N; i++)
        fake_expect(calls[i], BM_UNAVAILABLE, "shutting down");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_make, host_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_call_needs_the_token),
        TEST(the_token_opens_a_stream),
        TEST(mistakes_are_told_to_those_with_the_token),
        TEST(strangers_are_bounded_and_hold_up_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
