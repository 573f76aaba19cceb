#include "sources/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pipeline/source.h"
#include "sources/gzip.h"
#include "sources/zstd.h"

#ifndef BM_WITH_ZSTD
#define BM_WITH_ZSTD 1
#endif

enum { NAME_SHOWN_MAX = 96, SCANNED_AT_ONCE = 1 << 20 };

enum packing { PLAIN, GZIP, ZSTD };

static enum bm_status file_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static enum bm_status file_open_checked(struct bm_file *file, const char *path, const char *where,
                                        struct bm_error *err)
{
    struct stat info;
    // Without O_NONBLOCK opening a FIFO waits for somebody to write into it.
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file->fd < 0 || fstat(file->fd, &info) < 0)
        return bm_fail(err, errno == ENOENT ? BM_NOT_FOUND : BM_FAILED_PRECONDITION, where,
                       "cannot open %s: %m", path);
    if (!S_ISREG(info.st_mode))
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected a regular file, got a %s: %s",
                       S_ISDIR(info.st_mode) ? "folder" : "device, pipe or socket", path);
    file->size_bytes = (uint64_t)info.st_size;
    return BM_OK;
}

enum bm_status bm_file_open(struct bm_file *file, const char *directory, const char *name,
                            const char *where, struct bm_error *err)
{
    struct bm_file opened = {.fd = -1, .name = strdup(name)};
    char *path = bm_source_path(directory, name);
    enum bm_status status = path == NULL || opened.name == NULL
                                ? file_no_memory(where, err)
                                : file_open_checked(&opened, path, where, err);
    free(path);
    if (status != BM_OK)
        bm_file_close(&opened);
    else
        *file = opened;
    return status;
}

void bm_file_close(struct bm_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->name);
    *file = (struct bm_file){.fd = -1};
}

enum bm_status bm_file_read(const struct bm_file *file, uint64_t offset, void *to, uint64_t size,
                            struct bm_error *err)
{
    uint64_t done = 0;
    while (done < size) {
        ssize_t n = pread(file->fd, (char *)to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return bm_fail(err, BM_DATA_LOSS, file->name, "cannot read at byte %" PRIu64 ": %m",
                           offset + done);
        if (n == 0)
            return bm_fail(err, BM_DATA_LOSS, file->name,
                           "expected at least %" PRIu64 " bytes, got %" PRIu64
                           ": the file became shorter after it was opened",
                           offset + size, offset + done);
        done += (uint64_t)n;
    }
    return BM_OK;
}

static enum bm_status file_packing(const struct bm_file *file, enum packing *ret_packing,
                                   struct bm_error *err)
{
    unsigned char magic[4] = {0};
    uint64_t size = file->size_bytes < sizeof magic ? file->size_bytes : sizeof magic;
    enum bm_status status = bm_file_read(file, 0, magic, size, err);
    if (status != BM_OK)
        return status;
    bool gzip = magic[0] == 0x1f && magic[1] == 0x8b;
    bool zstd = memcmp(magic, "\x28\xb5\x2f\xfd", sizeof magic) == 0;
    *ret_packing = gzip ? GZIP : zstd ? ZSTD : PLAIN;
    return BM_OK;
}

enum bm_status bm_file_is_packed(const struct bm_file *file, bool *ret_packed, struct bm_error *err)
{
    enum packing packing = PLAIN;
    enum bm_status status = file_packing(file, &packing, err);
    if (status == BM_OK)
        *ret_packed = packing != PLAIN;
    return status;
}

static enum bm_status content_unpack(const struct bm_content *raw, enum packing packing,
                                     const char *name, struct bm_content *ret_content,
                                     struct bm_error *err)
{
    if (packing == GZIP)
        return bm_gunzip(raw, BM_FILE_LOAD_MAX, name, ret_content, err);
#if BM_WITH_ZSTD
    return bm_unzstd(raw, BM_FILE_LOAD_MAX, name, ret_content, err);
#else
    return bm_fail(err, BM_UNIMPLEMENTED, name,
                   "expected a file without compression or of gzip, got zstd, which this build "
                   "leaves out");
#endif
}

enum bm_status bm_file_load(const struct bm_file *file, struct bm_content *ret_content,
                            struct bm_error *err)
{
    enum packing packing = PLAIN;
    enum bm_status status = file_packing(file, &packing, err);
    if (status != BM_OK)
        return status;
    if (file->size_bytes > BM_FILE_LOAD_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, file->name,
                       "expected at most %" PRIu64 " bytes, got %" PRIu64, BM_FILE_LOAD_MAX,
                       file->size_bytes);
    struct bm_content raw = {.data = malloc(file->size_bytes + 1), .size = file->size_bytes};
    if (raw.data == NULL)
        return file_no_memory(file->name, err);
    status = bm_file_read(file, 0, raw.data, raw.size, err);
    if (status == BM_OK && packing != PLAIN) {
        status = content_unpack(&raw, packing, file->name, ret_content, err);
    } else if (status == BM_OK) {
        raw.data[raw.size] = '\0';
        *ret_content = raw;
        raw = (struct bm_content){0};
    }
    bm_content_free(&raw);
    return status;
}

void bm_content_free(struct bm_content *content)
{
    free(content->data);
    *content = (struct bm_content){0};
}

enum bm_status bm_data_file_open(struct bm_data_file *data, const char *directory, const char *path,
                                 const char *where, struct bm_error *err)
{
    bool packed = false;
    struct bm_data_file opened = {.file = {.fd = -1}};
    enum bm_status status = bm_file_open(&opened.file, directory, path, where, err);
    if (status == BM_OK)
        status = bm_file_is_packed(&opened.file, &packed, err);
    if (status == BM_OK && packed)
        status = bm_file_load(&opened.file, &opened.content, err);
    if (status != BM_OK) {
        bm_data_file_close(&opened);
        return status;
    }
    opened.size_bytes = packed ? opened.content.size : opened.file.size_bytes;
    *data = opened;
    return BM_OK;
}

void bm_data_file_close(struct bm_data_file *data)
{
    bm_file_close(&data->file);
    bm_content_free(&data->content);
}

enum bm_status bm_data_file_read(const struct bm_data_file *data, uint64_t offset, void *to,
                                 uint64_t size, struct bm_error *err)
{
    if (data->content.data == NULL)
        return bm_file_read(&data->file, offset, to, size, err);
    memcpy(to, data->content.data + offset, size);
    return BM_OK;
}

enum bm_status bm_data_file_scan(const struct bm_data_file *data,
                                 enum bm_status (*take)(void *taker, const char *bytes,
                                                        uint64_t size, struct bm_error *err),
                                 void *taker, struct bm_error *err)
{
    if (data->content.data != NULL)
        return take(taker, data->content.data, data->content.size, err);
    char *bytes = malloc(SCANNED_AT_ONCE);
    if (bytes == NULL)
        return file_no_memory(data->file.name, err);
    enum bm_status status = BM_OK;
    for (uint64_t offset = 0, size; offset < data->size_bytes && status == BM_OK; offset += size) {
        size = data->size_bytes - offset;
        if (size > SCANNED_AT_ONCE)
            size = SCANNED_AT_ONCE;
        status = bm_file_read(&data->file, offset, bytes, size, err);
        if (status == BM_OK)
            status = take(taker, bytes, size, err);
    }
    free(bytes);
    return status;
}

const char *bm_file_where(const char *name, char *text, const char *format, ...)
{
    size_t size = strlen(name);
    bool cut = size > NAME_SHOWN_MAX;
    int used = snprintf(text, BM_ERROR_WHERE_MAX, "%s%s: ", cut ? "..." : "",
                        cut ? name + size - NAME_SHOWN_MAX : name);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, (size_t)(BM_ERROR_WHERE_MAX - used), format, args);
    va_end(args);
    return text;
}
