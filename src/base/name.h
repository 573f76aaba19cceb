// name.h -- names of pipelines, sources, actions, components, cursors and locks. Layer: base.
// Threads: any thread.
#pragma once
#include <stdbool.h>

enum { BM_NAME_MAX = 128 }; // bytes, without the final NUL

#define BM_NAME_RULE "1 to 128 of the characters A-Z a-z 0-9 . _ -"

bool bm_name_valid(const char *name); // [A-Za-z0-9._-]{1,128}
