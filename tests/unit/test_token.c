// A token comes from a file that nobody else can read, or the server does not start.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/token.h"
#include "support.h"

static char folder[64], path[80];

static int folder_make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/batchmill-token-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/token", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

static void file_make(const char *text, size_t size, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void expect_refused(enum bm_status status, const char *text)
{
    struct bm_token token = {0};
    struct bm_error error;
    assert_int_equal(bm_token_load(path, &token, &error), status);
    assert_string_equal(error.where, path);
    if (strstr(error.text, text) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", text, error.text);
    assert_int_equal(token.size, 0);
}

static void a_token_is_the_line_of_its_file(void **state)
{
    (void)state;
    char longest[BM_TOKEN_MAX + 1];
    memset(longest, '~', BM_TOKEN_MAX);
    longest[BM_TOKEN_MAX] = '\n';
    const struct {
        const char *text;
        size_t file_size, size;
        mode_t mode;
    } cases[] = {
        {"0123456789abcdef", 16, 16, 0600},
        {"0123456789abcdef\n", 17, 16, 0400},
        {longest, BM_TOKEN_MAX, BM_TOKEN_MAX, 0600},
        {longest, BM_TOKEN_MAX + 1, BM_TOKEN_MAX, 0600},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_token token;
        struct bm_error error;
        file_make(cases[i].text, cases[i].file_size, cases[i].mode);
        if (bm_token_load(path, &token, &error) != BM_OK)
            fail_msg("case %u: %s", i, error.text);
        assert_int_equal(token.size, cases[i].size);
        assert_memory_equal(token.text, cases[i].text, token.size);
        assert_int_equal(token.text[token.size], 0);
        bm_token_fini(&token);
    }
}

static void what_is_no_token_is_refused_and_not_shown(void **state)
{
    (void)state;
    char too_long[BM_TOKEN_MAX + 2];
    memset(too_long, 'x', sizeof too_long);
    const struct {
        const char *text;
        size_t size;
    } cases[] = {
        {"", 0},
        {"\n", 1},
        {"0123456789abcde\n", 16}, // 15
        {"0123456789 abcdef", 17},
        {"0123456789abcdef\n\n", 18},
        {"0123456789abcdef\r\n", 18},
        {"0123456789abcdef\ninsecret", 25},
        {"0123456789abcdef\0", 17},
        {"0123456789abcd\xc3\xa4", 16},
        {too_long, BM_TOKEN_MAX + 1},
        {too_long, BM_TOKEN_MAX + 2},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        file_make(cases[i].text, cases[i].size, 0600);
        expect_refused(BM_INVALID_ARGUMENT, "expected a token: one line of 16 to 1024");
    }
}

static void a_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0640, 0604, 0660, 0601, 0610, 0644, 0777};
    for (unsigned i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        file_make("0123456789abcdef", 16, modes[i]);
        expect_refused(BM_PERMISSION_DENIED, "chmod 600");
    }
}

static void a_file_of_somebody_else_is_refused(void **state)
{
    (void)state;
    file_make("0123456789abcdef", 16, 0600);
    if (geteuid() != 0 || chown(path, 12345, 0) != 0)
        skip(); // only root can give a file away
    expect_refused(BM_PERMISSION_DENIED, "got user 12345's");
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    unlink(path);
    expect_refused(BM_NOT_FOUND, "cannot open the token: No such file");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(BM_INVALID_ARGUMENT, "expected a regular file");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refused(BM_INVALID_ARGUMENT, "expected a regular file");
    rmdir(path);
}

static void only_the_whole_token_matches(void **state)
{
    (void)state;
    struct bm_token token = {.size = 16, .text = "0123456789abcdef"};
    char guess[BM_TOKEN_MAX + 8] = {0};
    strcpy(guess, token.text);
    for (size_t size = 0; size <= sizeof guess; size++) // zeros behind it are no part of it
        assert_int_equal(bm_token_matches(&token, guess, size), size == 16);
    for (unsigned i = 0; i < 16 * 8; i++) {
        guess[i / 8] = (char)(guess[i / 8] ^ 1 << i % 8);
        assert_false(bm_token_matches(&token, guess, 16));
        guess[i / 8] = (char)(guess[i / 8] ^ 1 << i % 8);
    }
    assert_false(bm_token_matches(&token, NULL, 0));
    bm_token_fini(&token);
    assert_int_equal(token.text[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_the_line_of_its_file),
        cmocka_unit_test(what_is_no_token_is_refused_and_not_shown),
        cmocka_unit_test(a_file_that_others_can_read_is_refused),
        cmocka_unit_test(a_file_of_somebody_else_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(only_the_whole_token_matches),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
