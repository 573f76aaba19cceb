// csv_reader.h -- splits a CSV text into records of cells, as RFC 4180 says. Layer: sources.
//
// Accepted beyond it: a byte order mark, LF alone as line end, a last line without one, empty
// lines (skipped), and a quote inside an unquoted cell (an ordinary character).
// Threads: one thread at a time.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "sources/file.h"

enum { BM_CSV_COLUMNS_MAX = 1 << 20 };

struct bm_csv_cell { // data[size] may be overwritten if it is put back
    char *data;
    uint64_t size;
    bool escaped; // only inside the reader: it still has doubled quotes
};

struct bm_csv_reader {
    char *at, *end;
    char delimiter;
    const char *name;     // of the file, for errors
    uint64_t line;        // where `at` is, counted from 1; a cell in quotes may hold line ends
    uint64_t record_line; // where the current record began
    struct bm_csv_cell *cells;
    unsigned ncells, capacity; // of the current record
    struct bm_buffer unescaped;
};

// `content` stays the caller's and must live on. Skips the byte order mark and `skip` lines.
void bm_csv_reader_init(struct bm_csv_reader *reader, const struct bm_content *content,
                        char delimiter, const char *name, uint64_t skip);
void bm_csv_reader_fini(struct bm_csv_reader *reader);
// The next record into `cells`, valid until the next call; false: there is none.
enum bm_status bm_csv_reader_next(struct bm_csv_reader *reader, bool *ret_found,
                                  struct bm_error *err);

struct bm_csv_mark { // a place to read from again
    char *at;
    uint64_t line;
};
struct bm_csv_mark bm_csv_reader_mark(const struct bm_csv_reader *reader);
void bm_csv_reader_return(struct bm_csv_reader *reader, struct bm_csv_mark mark);
