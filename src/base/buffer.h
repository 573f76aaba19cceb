// buffer.h -- bytes that grow. Layer: base.
//
// A failed allocation is remembered: later appends do nothing, and the writer checks once, at
// the end, with bm_buffer_failed(). Threads: one thread at a time.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct bm_buffer {
    unsigned char *data; // NULL while empty
    size_t size, capacity;
    bool failed;
};

void bm_buffer_init(struct bm_buffer *buffer);
void bm_buffer_fini(struct bm_buffer *buffer);
void bm_buffer_clear(struct bm_buffer *buffer); // keeps the memory
void bm_buffer_add(struct bm_buffer *buffer, const void *data, size_t size);
void bm_buffer_add_text(struct bm_buffer *buffer, const char *text); // without its NUL
void bm_buffer_print(struct bm_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Room for `size` more bytes, counted in; NULL when out of memory.
void *bm_buffer_extend(struct bm_buffer *buffer, size_t size);
const char *bm_buffer_text(struct bm_buffer *buffer); // NUL-terminated, "" when empty or failed
bool bm_buffer_failed(const struct bm_buffer *buffer);
