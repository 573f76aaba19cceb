// utf8.h -- whether bytes are UTF-8 (RFC 3629: no surrogates, nothing longer than needed, nothing
// above U+10FFFF). Layer: base.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>

// Bytes of the character at `at` < `end`; 0 if it is none.
unsigned bm_utf8_length(const unsigned char *at, const unsigned char *end);
bool bm_utf8_valid(const void *text, size_t size);
