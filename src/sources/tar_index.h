// tar_index.h -- the files in a tar, found by one pass over its heads. Layer: sources.
//
// Formats: POSIX ustar, pax (path and size of extended heads), and GNU's long names and base-256
// sizes; POSIX.1-2017 "pax", https://www.gnu.org/software/tar/manual/html_node/Standard.html.
// Only regular files are told of; folders, links and devices are passed over.
// Threads: one thread per scan.
#pragma once
#include "sources/file.h"

enum { BM_TAR_NAME_MAX = 4096 };

struct bm_tar_bytes { // where a tar lies: in a file, or unpacked in memory
    const struct bm_file *file;
    const struct bm_content *content; // NULL: it is the file's bytes
};
uint64_t bm_tar_size(const struct bm_tar_bytes *tar);
enum bm_status bm_tar_read(const struct bm_tar_bytes *tar, uint64_t offset, void *to, uint64_t size,
                           struct bm_error *err);

struct bm_tar_member {
    const char *name;      // valid during the call
    uint64_t offset, size; // of its bytes in the tar
};
// Calls `found` for each file until it fails. A tar that is cut off, or whose heads are damaged, is
// an error that names the byte.
enum bm_status bm_tar_scan(const struct bm_tar_bytes *tar,
                           enum bm_status (*found)(void *context,
                                                   const struct bm_tar_member *member,
                                                   struct bm_error *err),
                           void *context, struct bm_error *err);
