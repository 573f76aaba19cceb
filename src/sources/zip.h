// zip.h -- the members of a zip archive, as far as numpy.savez() uses the format. Layer: sources.
//
// PKWARE's APPNOTE 6.3: stored and deflated members, zip64. Split and encrypted archives are
// refused. Every number is checked against the file before anybody allocates or reads by it.
// Threads: opened by one thread, then immutable.
#pragma once
#include "sources/file.h"

enum { BM_ZIP_MEMBERS_MAX = 65536 };

struct bm_zip_member {
    char *name;
    bool deflated;
    uint32_t crc; // of the data
    uint64_t packed_bytes, size_bytes;
    uint64_t header; // where its local header is in the file
};
struct bm_zip {
    unsigned n;
    struct bm_zip_member *members;
};

// Reads the directory at the end of the file. On failure nothing needs freeing.
enum bm_status bm_zip_open(const struct bm_file *file, struct bm_zip *ret_zip,
                           struct bm_error *err);
void bm_zip_free(struct bm_zip *zip);
const struct bm_zip_member *bm_zip_find(const struct bm_zip *zip, const char *name); // or NULL

// Where the bytes of a stored member begin in the file.
enum bm_status bm_zip_locate(const struct bm_file *file, const struct bm_zip_member *member,
                             uint64_t *ret_offset, struct bm_error *err);
// A deflated member, checked by its CRC; at most BM_FILE_LOAD_MAX bytes.
enum bm_status bm_zip_load(const struct bm_file *file, const struct bm_zip_member *member,
                           struct bm_content *ret_content, struct bm_error *err);
