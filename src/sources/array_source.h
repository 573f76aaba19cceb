// array_source.h -- arrays in files, joined by their first axis: what npy, npz and idx have in
// common.
// Layer: sources.
//
// A format only says how to read a header. Everything else is here: one file or several, equal
// lengths, the size check, identity, and reading rows with pread() (files may be larger than
// memory). A gzip or zstd file is decompressed into memory once.
// Threads: like every source (pipeline/source.h).
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pipeline/source.h"

// A header longer than this is refused; NumPy's are a few hundred bytes.
enum { BM_ARRAY_HEADER_MAX = 1 << 16 };

struct bm_array_header {
    enum bm_dtype dtype;
    bool big_endian;
    unsigned ndim; // at least 1
    uint64_t shape[BM_NDIM_MAX + 1];
    uint64_t data_offset; // of the first element in the file
};

// Appends an axis, or says that there are too many.
enum bm_status bm_array_header_add_axis(struct bm_array_header *header, uint64_t length,
                                        const char *name, struct bm_error *err);

struct bm_zip;
struct bm_array_format {
    const struct bm_source_type *type;
    // The file is an archive, of which `components` names members. NULL: it is an array itself.
    const struct bm_zip *zip;
    // `bytes` are the first `size` ones of the file: all of it, or BM_ARRAY_HEADER_MAX. `name` is
    // the file's, for errors. `ret_header` comes zeroed.
    enum bm_status (*parse)(const unsigned char *bytes, size_t size, const char *name,
                            struct bm_array_header *ret_header, struct bm_error *err);
};

struct bm_array_config {
    char *path, *component;
    struct bm_text_map components;
    char *id;
};

enum { BM_ARRAY_NPARAMS = 4 };
extern const struct bm_param bm_array_params[BM_ARRAY_NPARAMS];

// What numpy.save() writes, for formats that hold it.
enum bm_status bm_npy_parse(const unsigned char *bytes, size_t size, const char *name,
                            struct bm_array_header *ret_header, struct bm_error *err);

enum bm_status bm_array_open(const struct bm_array_format *format,
                             const struct bm_array_config *config, const char *directory,
                             const char *where, struct bm_source **ret_source,
                             struct bm_error *err);
void bm_array_close(struct bm_source *source);
enum bm_status bm_array_read(const struct bm_source *source, struct bm_batch *batch,
                             int64_t *ret_row, struct bm_error *err);
