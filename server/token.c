#include "server/token.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"

// Up to `max` bytes; false: cannot read.
static bool file_read(int fd, char *text, size_t max, size_t *ret_size)
{
    size_t size = 0;
    while (size < max) {
        ssize_t got = read(fd, text + size, max - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        size += (size_t)got;
    }
    *ret_size = size;
    return true;
}

// Says nothing of what it read: it may be a secret of another kind.
static enum bm_status token_check(const struct bm_token *token, const char *path,
                                  struct bm_error *err)
{
    bool fine = token->size >= BM_TOKEN_MIN && token->size <= BM_TOKEN_MAX;
    for (size_t i = 0; i < token->size && fine; i++)
        fine = token->text[i] > ' ' && token->text[i] <= '~';
    if (fine)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, path,
                   "expected a token: one line of %d to %d printable characters without spaces",
                   BM_TOKEN_MIN, BM_TOKEN_MAX);
}

enum bm_status bm_token_load(const char *path, struct bm_token *ret_token, struct bm_error *err)
{
    char text[BM_TOKEN_MAX + 2]; // with its line feed, or too long
    struct bm_token token = {0};
    int fd;
    enum bm_status status = bm_secret_open(path, "token", &fd, err);
    if (status != BM_OK)
        return status;
    if (!file_read(fd, text, sizeof text, &token.size))
        status = bm_fail(err, BM_INVALID_ARGUMENT, path, "cannot read: %m");
    close(fd);
    if (status == BM_OK) {
        if (token.size > 0 && text[token.size - 1] == '\n')
            token.size--;
        memcpy(token.text, text, token.size < BM_TOKEN_MAX ? token.size : BM_TOKEN_MAX);
        status = token_check(&token, path, err);
    }
    if (status == BM_OK)
        *ret_token = token;
    explicit_bzero(text, sizeof text);
    bm_token_fini(&token);
    return status;
}

bool bm_token_matches(const struct bm_token *token, const void *guess, size_t size)
{
    const unsigned char *bytes = guess;
    volatile unsigned char differs = 0; // volatile: no way out of the loop at the first difference
    if (size > BM_TOKEN_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        differs |= (unsigned char)(bytes[i] ^ (unsigned char)token->text[i]);
    return size == token->size && differs == 0;
}

void bm_token_fini(struct bm_token *token)
{
    explicit_bzero(token, sizeof *token);
}
