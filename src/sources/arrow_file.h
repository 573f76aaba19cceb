// arrow_file.h -- one Arrow IPC file: finds where its record batches keep each column's bytes.
// Layer: sources.
//
// The stream format is a run of messages; the file format is the same between two magics, with a
// footer that repeats where they are, so one walk over the messages reads both. A message is some
// metadata and a body of buffers, which stay in the file, except compressed ones. All that a reader
// relies on is checked here: which bytes a buffer has, and that they are enough.
// Threads: one thread builds it; reading from any thread.
#pragma once
#include "data/vocabulary.h"
#include "sources/arrow_schema.h"
#include "sources/file.h"

struct bm_arrow_span { // bytes of a buffer
    uint64_t offset, size;
    unsigned char *data; // of a compressed one; NULL: they are in the file at `offset`
};

struct bm_arrow_chunk { // one column of one record batch
    bool holes;         // some values are missing: `valid` has a bit for each row
    bool inner_holes;   // dense: within lists, too: `inner` has a bit for each element
    struct bm_arrow_span valid, inner, offsets, values;
    uint64_t nvalues; // innermost elements; bytes of text
};

struct bm_arrow_file;

struct bm_arrow_batch {
    const struct bm_arrow_file *file;
    uint64_t first, nrows;         // `first` counts in all files
    struct bm_arrow_chunk *chunks; // [ncolumns]
};

struct bm_arrow_batches { // of all files; all zero: none
    uint64_t n, capacity, nrows;
    struct bm_arrow_batch *at;
    unsigned ncolumns; // of each
};

struct bm_arrow_codes { // of a dictionary: what its entry i is in our vocabulary
    uint64_t n;
    int64_t *codes;
};

struct bm_arrow_file {
    struct bm_data_file data;
    struct bm_arrow_schema schema;
    struct bm_arrow_codes *codes; // [ncolumns]
    uint64_t first;               // row
    uint64_t at, end;             // of messages that are still to be read
    bool footed;                  // it has the footer that comes last
};

// Reads up to the schema. On failure nothing needs closing.
enum bm_status bm_arrow_file_open(struct bm_arrow_file *file, const char *directory,
                                  const char *path, const struct bm_text_map *components,
                                  const char *where, struct bm_error *err);
// Reads all else: appends to `batches`, and names to vocabularies[column] where it is not NULL.
// `file` stays where it is from here on. On failure what was appended stays.
enum bm_status bm_arrow_file_scan(struct bm_arrow_file *file,
                                  struct bm_vocabulary *const *vocabularies,
                                  struct bm_arrow_batches *batches, struct bm_error *err);
enum bm_status bm_arrow_span_read(const struct bm_arrow_file *file,
                                  const struct bm_arrow_span *span, uint64_t offset, void *to,
                                  uint64_t size, struct bm_error *err); // within the span
// Offset i of 4 or 8 bytes; a negative one comes out too large for any buffer.
uint64_t bm_arrow_offset(const unsigned char *offsets, unsigned bytes, uint64_t i);
void bm_arrow_file_close(struct bm_arrow_file *file); // one with data.file.fd -1 is fine
void bm_arrow_batches_free(struct bm_arrow_batches *batches);
