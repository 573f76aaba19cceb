// files.h -- many small files as items: their names and sizes, found once, and their bytes.
// Layer: sources.
//
// The names lie one behind the other: a million files cost their names and 16 bytes each. Only
// regular files are read; one that is gone, or has another size than when it was found, is an error
// of its item.
// Threads: built by one thread, then immutable; reading from any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "data/batch.h"

struct bm_files {
    int folder;             // that the names are in; -1: none
    char *folder_name;      // as the user wrote it, for errors
    struct bm_buffer names; // each with its NUL
    uint64_t n, capacity;
    struct bm_file_entry {
        uint64_t name; // where it begins in `names`
        uint64_t size_bytes;
    } * entries;
};

// `where` is the parameter that holds `path`. On failure nothing needs closing.
enum bm_status bm_files_open(struct bm_files *files, const char *directory, const char *path,
                             const char *where, struct bm_error *err);
void bm_files_close(struct bm_files *files); // an all-zero one with folder -1 is fine
enum bm_status bm_files_add(struct bm_files *files, const char *name, uint64_t size_bytes,
                            struct bm_error *err);
void bm_files_sort(struct bm_files *files); // by name, bytewise
const char *bm_files_name(const struct bm_files *files, uint64_t i);

struct bm_hash;
// Names and sizes; with `contents` also every byte.
enum bm_status bm_files_identify(const struct bm_files *files, bool contents, struct bm_hash *hash,
                                 struct bm_error *err);

// Component c of the batch (bytes): the contents of the files of its items.
enum bm_status bm_files_read(const struct bm_files *files, struct bm_batch *batch, unsigned c,
                             int64_t *ret_row, struct bm_error *err);
// Component c of the batch (string): their names.
enum bm_status bm_files_read_names(const struct bm_files *files, struct bm_batch *batch, unsigned c,
                                   struct bm_error *err);
