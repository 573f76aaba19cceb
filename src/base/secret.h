// secret.h -- files that nobody but their owner may read: tokens, keys. Layer: base.
// Threads: any thread.
#pragma once
#include "base/error.h"

// Opens a regular file of this user's or root's without any rights for group and others. `what` is
// what it should hold, for the errors: "token".
enum bm_status bm_secret_open(const char *path, const char *what, int *ret_fd,
                              struct bm_error *err);
