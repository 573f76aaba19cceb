// What base/error.h promises: google.rpc.Code's names and numbers, and errors that always fit.
#include "base/error.h"

#include <errno.h>
#include <string.h>

#include "fakes/stderr.h"
#include "support.h"

static void the_codes_are_those_of_google_rpc(void **state)
{
    (void)state;
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++)
        assert_string_equal(bm_status_name((enum bm_status)i), names[i]);
    assert_int_equal(BM_UNAUTHENTICATED, 16);
}

static void a_code_of_a_newer_peer_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(bm_status_name((enum bm_status)17), "UNKNOWN");
    assert_string_equal(bm_status_name((enum bm_status)200), "UNKNOWN");
}

static void an_error_says_what_where_and_why(void **state)
{
    (void)state;
    struct bm_error error;
    enum bm_status status =
        bm_fail(&error, BM_NOT_FOUND, "a.b[2]", "expected %d, got \"%s\"", 3, "x");
    assert_int_equal(status, BM_NOT_FOUND);
    assert_int_equal(error.status, BM_NOT_FOUND);
    assert_string_equal(error.where, "a.b[2]");
    assert_string_equal(error.text, "expected 3, got \"x\"");
}

static void an_error_may_have_no_place_and_no_reader(void **state)
{
    (void)state;
    struct bm_error error;
    memset(&error, 'x', sizeof error);
    assert_int_equal(bm_fail(&error, BM_INTERNAL, NULL, "why"), BM_INTERNAL);
    assert_string_equal(error.where, "");
    assert_int_equal(bm_fail(NULL, BM_ABORTED, "a", "why"), BM_ABORTED);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct bm_error error;
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    bm_fail(&error, BM_INTERNAL, text, "%s", text);
    assert_int_equal(strlen(error.where), BM_ERROR_WHERE_MAX - 1);
    assert_int_equal(strlen(error.text), BM_ERROR_TEXT_MAX - 1);
}

static void the_format_knows_errno(void **state)
{
    (void)state;
    struct bm_error error;
    char expected[64];
    strcpy(expected, strerror(ENOENT));
    errno = ENOENT;
    bm_fail(&error, BM_NOT_FOUND, "a.csv", "%m");
    assert_string_equal(error.text, expected);
}

static void succeed_by_failing(void *arg)
{
    (void)arg;
    bm_fail(NULL, BM_OK, NULL, "fine");
}

static void assert_falsehood(void *arg)
{
    const int *n = arg;
    BM_ASSERT(*n == 4);
}

static void a_bug_ends_the_process_and_names_itself(void **state)
{
    (void)state;
    int n = 3;
    assert_aborts(assert_falsehood, &n, "assertion failed: *n == 4");
    assert_aborts(assert_falsehood, &n, "test_error.c:");
    assert_aborts(succeed_by_failing, NULL, "status != BM_OK");
    n = 4;
    assert_falsehood(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_codes_are_those_of_google_rpc),
        cmocka_unit_test(a_code_of_a_newer_peer_is_unknown),
        cmocka_unit_test(an_error_says_what_where_and_why),
        cmocka_unit_test(an_error_may_have_no_place_and_no_reader),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(the_format_knows_errno),
        cmocka_unit_test(a_bug_ends_the_process_and_names_itself),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
