// file.h -- a data file as the sources read it: checked, bounded, never mapped. Layer: sources.
//
// A mapped file that somebody cuts would kill the process with SIGBUS; pread() gives an error
// instead. Only regular files are opened, so a FIFO or a device cannot hang or flood the server.
// Threads: open and close on one thread; reading from any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

// Of a file that is loaded whole, after decompression. Bounds what a small hostile .gz can claim.
#define BM_FILE_LOAD_MAX (UINT64_C(4) << 30)

struct bm_file {
    int fd;     // -1: not open
    char *name; // as the user wrote it, for errors
    uint64_t size_bytes;
};

struct bm_content { // loaded; all zero = none
    char *data;     // `size` bytes and a NUL, which may be overwritten; never NULL once loaded
    uint64_t size;
};

// `where` is the parameter that holds `path`. On failure nothing needs closing.
enum bm_status bm_file_open(struct bm_file *file, const char *directory, const char *path,
                            const char *where, struct bm_error *err);
void bm_file_close(struct bm_file *file); // one with fd -1 is fine
enum bm_status bm_file_read(const struct bm_file *file, uint64_t offset, void *to, uint64_t size,
                            struct bm_error *err);
// Whether its first bytes say that it is compressed, by gzip or zstd, whatever its name.
enum bm_status bm_file_is_packed(const struct bm_file *file, bool *ret_packed,
                                 struct bm_error *err);
// The whole content, decompressed if it is packed, at most BM_FILE_LOAD_MAX bytes of it.
enum bm_status bm_file_load(const struct bm_file *file, struct bm_content *ret_content,
                            struct bm_error *err);
void bm_content_free(struct bm_content *content);

// A file to read from anywhere: as it is, or, if it is packed, loaded.
struct bm_data_file {
    struct bm_file file;
    struct bm_content content; // of a packed one
    uint64_t size_bytes;       // of the data, after decompression
};

enum bm_status bm_data_file_open(struct bm_data_file *data, const char *directory, const char *path,
                                 const char *where, struct bm_error *err);
void bm_data_file_close(struct bm_data_file *data); // one with fd -1 is fine
enum bm_status bm_data_file_read(const struct bm_data_file *data, uint64_t offset, void *to,
                                 uint64_t size, struct bm_error *err);
// All of it to `take`, piece by piece, which may stop with an error.
enum bm_status bm_data_file_scan(const struct bm_data_file *data,
                                 enum bm_status (*take)(void *taker, const char *bytes,
                                                        uint64_t size, struct bm_error *err),
                                 void *taker, struct bm_error *err);

// "digits.csv: line 12, column 3" in `text` (BM_ERROR_WHERE_MAX bytes), which is returned. Of a
// long name only the end is kept, so that the place is never cut off.
const char *bm_file_where(const char *name, char *text, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
