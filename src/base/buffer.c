#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bm_buffer_init(struct bm_buffer *buffer)
{
    *buffer = (struct bm_buffer){0};
}

void bm_buffer_fini(struct bm_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct bm_buffer){0};
}

void bm_buffer_clear(struct bm_buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
}

// One byte more than asked for is always kept free, for bm_buffer_text().
static bool buffer_reserve(struct bm_buffer *buffer, size_t more)
{
    if (buffer->failed)
        return false;
    if (more < buffer->capacity - buffer->size)
        return true;
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity - buffer->size <= more) {
        if (capacity > (size_t)-1 / 2) {
            buffer->failed = true;
            return false;
        }
        capacity *= 2;
    }
    unsigned char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void *bm_buffer_extend(struct bm_buffer *buffer, size_t size)
{
    if (!buffer_reserve(buffer, size))
        return NULL;
    void *room = buffer->data + buffer->size;
    buffer->size += size;
    return room;
}

void bm_buffer_add(struct bm_buffer *buffer, const void *data, size_t size)
{
    void *room = bm_buffer_extend(buffer, size);
    if (room != NULL && size > 0)
        memcpy(room, data, size);
}

void bm_buffer_add_text(struct bm_buffer *buffer, const char *text)
{
    bm_buffer_add(buffer, text, strlen(text));
}

void bm_buffer_print(struct bm_buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (needed < 0 || !buffer_reserve(buffer, (size_t)needed)) {
        buffer->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)buffer->data + buffer->size, (size_t)needed + 1, format, args);
    va_end(args);
    buffer->size += (size_t)needed;
}

const char *bm_buffer_text(struct bm_buffer *buffer)
{
    if (!buffer_reserve(buffer, 0))
        return "";
    buffer->data[buffer->size] = '\0';
    return (const char *)buffer->data;
}

bool bm_buffer_failed(const struct bm_buffer *buffer)
{
    return buffer->failed;
}
