// token.h -- the secret that clients of a server share with it. Layer: server (may include src/).
//
// It lies in a file that nobody else can read: a regular file of the user (or root) without any
// rights for group and others, one line of 16 to 1,024 printable characters without spaces. It is
// never printed, logged or sent back.
// Threads: a loaded token is only read, by any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { BM_TOKEN_MIN = 16, BM_TOKEN_MAX = 1024 };

struct bm_token {
    size_t size;
    char text[BM_TOKEN_MAX + 1]; // zeros behind its end
};

enum bm_status bm_token_load(const char *path, struct bm_token *ret_token, struct bm_error *err);
// Takes as long for a guess that is nearly right as for any other of its length.
bool bm_token_matches(const struct bm_token *token, const void *guess, size_t size);
void bm_token_fini(struct bm_token *token); // overwrites it; an all-zero one is fine
