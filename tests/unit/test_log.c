// What base/log.h promises: one line per event, escaped so that no value can forge another.
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/heap.h"
#include "fakes/stderr.h"
#include "support.h"

static void log_one(void *arg)
{
    BM_LOG(BM_LOG_WARNING, "seen", BM_TEXT("text", arg), BM_NUMBER("n", -3));
}

static void log_each_level(void *arg)
{
    (void)arg;
    BM_LOG(BM_LOG_DEBUG, "a", BM_NUMBER("n", 1));
    BM_LOG(BM_LOG_INFO, "b", BM_NUMBER("n", 2));
    BM_LOG(BM_LOG_WARNING, "c", BM_NUMBER("n", 3));
    BM_LOG(BM_LOG_ERROR, "d", BM_NUMBER("n", 4));
}

static void log_numbers(void *arg)
{
    (void)arg;
    BM_LOG(BM_LOG_INFO, "e", BM_NUMBER("low", INT64_MIN), BM_NUMBER("high", INT64_MAX));
}

static void log_bare(void *arg)
{
    (void)arg;
    bm_log_fields(BM_LOG_INFO, "alone", NULL, 0);
}

// `shape` is matched with every 0 standing for any digit.
static void assert_shape(const char *text, const char *shape)
{
    for (; *shape != '\0'; text++, shape++) {
        if (*shape == '0')
            assert_in_range(*text, '0', '9');
        else
            assert_int_equal(*text, *shape);
    }
}

// What follows the time of day, which is of a fixed width.
static void assert_logs(void (*run)(void *), const void *arg, const char *expected)
{
    char *text = stderr_of(run, (void *)(uintptr_t)arg); // NOLINT(performance-no-int-to-ptr)
    bool json = text[0] == '{';
    assert_shape(text,
                 json ? "{\"time\":\"0000-00-00T00:00:00.000Z\"" : "time=0000-00-00T00:00:00.000Z");
    assert_string_equal(text + (json ? 34 : 29), expected);
    free(text);
}

static int restore(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, false);
    return 0;
}

static void people_get_key_and_value_pairs(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, false);
    assert_logs(log_one, "tcp://[::1]:4000/a-b_c",
                " level=warning event=seen text=tcp://[::1]:4000/a-b_c n=-3\n");
    assert_logs(log_bare, NULL, " level=info event=alone\n");
}

static void machines_get_one_json_object_per_line(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, true);
    assert_logs(log_one, "plain",
                ",\"level\":\"warning\",\"event\":\"seen\",\"text\":\"plain\",\"n\":-3}\n");
    assert_logs(log_bare, NULL, ",\"level\":\"info\",\"event\":\"alone\"}\n");
}

static void no_value_can_forge_a_line(void **state)
{
    (void)state;
    static const char nasty[] = "a \"b\" \\\nlevel=error\r\t\x01\x1b[0m\x7f";
    static const char escaped[] =
        "\"a \\\"b\\\" \\\\\\nlevel=error\\u000d\\u0009\\u0001\\u001b[0m\\u007f\"";
    char expected[256];
    bm_log_setup(BM_LOG_INFO, false);
    snprintf(expected, sizeof expected, " level=warning event=seen text=%s n=-3\n", escaped);
    assert_logs(log_one, nasty, expected);
    bm_log_setup(BM_LOG_INFO, true);
    snprintf(expected, sizeof expected,
             ",\"level\":\"warning\",\"event\":\"seen\",\"text\":%s,\"n\":-3}\n", escaped);
    assert_logs(log_one, nasty, expected);
}

static void what_is_not_ascii_becomes_ascii(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, true);
    assert_logs(log_one, "\xc3\xa9\xff",
                ",\"level\":\"warning\",\"event\":\"seen\",\"text\":\"\\u00c3\\u00a9\\u00ff\","
                "\"n\":-3}\n");
}

static void a_value_that_would_look_like_two_is_quoted(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, false);
    assert_logs(log_one, "", " level=warning event=seen text=\"\" n=-3\n");
    assert_logs(log_one, "a b", " level=warning event=seen text=\"a b\" n=-3\n");
    assert_logs(log_one, "a=b", " level=warning event=seen text=\"a=b\" n=-3\n");
}

static void events_below_the_level_are_left_out(void **state)
{
    (void)state;
    static const char *const expected[] = {"abcd", "bcd", "cd", "d"};
    for (unsigned level = BM_LOG_DEBUG; level <= BM_LOG_ERROR; level++) {
        bm_log_setup((enum bm_log_level)level, false);
        char *text = stderr_of(log_each_level, NULL);
        char events[5] = "";
        for (const char *at = text; (at = strstr(at, "event=")) != NULL;)
            strncat(events, at += strlen("event="), 1);
        assert_string_equal(events, expected[level]);
        free(text);
    }
}

static void numbers_have_64_bits(void **state)
{
    (void)state;
    bm_log_setup(BM_LOG_INFO, false);
    assert_logs(log_numbers, NULL,
                " level=info event=e low=-9223372036854775808 high=9223372036854775807\n");
}

static void a_long_value_is_cut(void **state)
{
    (void)state;
    char text[BM_LOG_TEXT_MAX + 100], expected[BM_LOG_TEXT_MAX + 100];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    bm_log_setup(BM_LOG_INFO, false);
    snprintf(expected, sizeof expected, " level=warning event=seen text=\"%.512s\" n=-3\n", text);
    assert_logs(log_one, text, expected);
}

static void log_without_memory(void *arg)
{
    (void)arg;
    bm_fake_heap_fail_at(1);
    BM_LOG(BM_LOG_ERROR, "lost", BM_NUMBER("n", 1));
    bm_fake_heap_fail_never();
}

static void a_line_that_cannot_be_built_is_left_out(void **state)
{
    (void)state;
    char *text = stderr_of(log_without_memory, NULL);
    assert_string_equal(text, "");
    free(text);
}

#define TEST(name) cmocka_unit_test_teardown(name, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(people_get_key_and_value_pairs),
        TEST(machines_get_one_json_object_per_line),
        TEST(no_value_can_forge_a_line),
        TEST(what_is_not_ascii_becomes_ascii),
        TEST(a_value_that_would_look_like_two_is_quoted),
        TEST(events_below_the_level_are_left_out),
        TEST(numbers_have_64_bits),
        TEST(a_long_value_is_cut),
        TEST(a_line_that_cannot_be_built_is_left_out),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
