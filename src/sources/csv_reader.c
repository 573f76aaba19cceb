#include "sources/csv_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char byte_order_mark[] = "\xef\xbb\xbf";

void bm_csv_reader_init(struct bm_csv_reader *reader, const struct bm_content *content,
                        char delimiter, const char *name, uint64_t skip)
{
    *reader = (struct bm_csv_reader){.at = content->data,
                                     .end = content->data + content->size,
                                     .delimiter = delimiter,
                                     .name = name,
                                     .line = 1};
    bm_buffer_init(&reader->unescaped);
    if (content->size >= 3 && memcmp(reader->at, byte_order_mark, 3) == 0)
        reader->at += 3;
    for (; skip > 0 && reader->at < reader->end; skip--) {
        char *newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
        reader->at = newline == NULL ? reader->end : newline + 1;
        reader->line++;
    }
}

void bm_csv_reader_fini(struct bm_csv_reader *reader)
{
    free(reader->cells);
    bm_buffer_fini(&reader->unescaped);
}

struct bm_csv_mark bm_csv_reader_mark(const struct bm_csv_reader *reader)
{
    return (struct bm_csv_mark){.at = reader->at, .line = reader->line};
}

void bm_csv_reader_return(struct bm_csv_reader *reader, struct bm_csv_mark mark)
{
    reader->at = mark.at;
    reader->line = mark.line;
}

static enum bm_status reader_no_memory(const struct bm_csv_reader *reader, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, reader->name, "out of memory");
}

static enum bm_status reader_add_cell(struct bm_csv_reader *reader, struct bm_csv_cell cell,
                                      struct bm_error *err)
{
    if (reader->ncells == BM_CSV_COLUMNS_MAX) {
        char where[BM_ERROR_WHERE_MAX];
        bm_file_where(reader->name, where, "line %" PRIu64, reader->record_line);
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most %d columns, got more",
                       BM_CSV_COLUMNS_MAX);
    }
    if (reader->ncells == reader->capacity) {
        unsigned capacity = reader->capacity == 0 ? 16 : reader->capacity * 2;
        struct bm_csv_cell *cells = reallocarray(reader->cells, capacity, sizeof *cells);
        if (cells == NULL)
            return reader_no_memory(reader, err);
        reader->cells = cells;
        reader->capacity = capacity;
    }
    reader->cells[reader->ncells++] = cell;
    return BM_OK;
}

// At the end of a line: at LF, CR LF, the end of the text, or CR before it.
static bool reader_at_line_end(const struct bm_csv_reader *reader)
{
    const char *at = reader->at;
    if (at < reader->end && *at == '\r')
        at++;
    return at == reader->end || *at == '\n';
}

static void reader_skip_line_end(struct bm_csv_reader *reader)
{
    if (reader->at < reader->end && *reader->at == '\r')
        reader->at++;
    if (reader->at < reader->end) {
        reader->at++; // the LF
        reader->line++;
    }
}

static struct bm_csv_cell reader_plain_cell(struct bm_csv_reader *reader)
{
    char *start = reader->at, *at = start;
    const char *end = reader->end;
    char delimiter = reader->delimiter;
    while (at < end && *at != delimiter && *at != '\n')
        at++;
    if (at > start && (at == end || *at == '\n') && at[-1] == '\r')
        at--;
    reader->at = at;
    return (struct bm_csv_cell){.data = start, .size = (uint64_t)(at - start)};
}

static enum bm_status reader_quoted_cell(struct bm_csv_reader *reader, struct bm_csv_cell *ret_cell,
                                         struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    uint64_t first_line = reader->line;
    struct bm_csv_cell cell = {.data = ++reader->at};
    for (;; reader->at++) {
        if (reader->at == reader->end)
            return bm_fail(err, BM_DATA_LOSS,
                           bm_file_where(reader->name, where, "line %" PRIu64 ", column %u",
                                         first_line, reader->ncells),
                           "expected a closing quote, got the end of the file");
        if (*reader->at == '\n')
            reader->line++;
        if (*reader->at != '"')
            continue;
        if (reader->at + 1 == reader->end || reader->at[1] != '"')
            break;
        cell.escaped = true;
        reader->at++;
    }
    cell.size = (uint64_t)(reader->at++ - cell.data);
    if (!reader_at_line_end(reader) && *reader->at != reader->delimiter)
        return bm_fail(err, BM_INVALID_ARGUMENT,
                       bm_file_where(reader->name, where, "line %" PRIu64 ", column %u",
                                     reader->line, reader->ncells),
                       "expected the delimiter or the end of the line after a closing quote "
                       "(a quote inside quotes is written twice), got something else");
    *ret_cell = cell;
    return BM_OK;
}

// Every escaped cell loses a quote at least, so all of them, each with room for a NUL, fit into
// as many bytes as the record has.
static enum bm_status reader_unescape(struct bm_csv_reader *reader, size_t record_size,
                                      struct bm_error *err)
{
    bm_buffer_clear(&reader->unescaped);
    char *to = bm_buffer_extend(&reader->unescaped, record_size);
    if (to == NULL)
        return reader_no_memory(reader, err);
    for (unsigned i = 0; i < reader->ncells; i++) {
        struct bm_csv_cell *cell = &reader->cells[i];
        if (!cell->escaped)
            continue;
        char *start = to;
        for (uint64_t j = 0; j < cell->size; j++) {
            *to++ = cell->data[j];
            if (cell->data[j] == '"')
                j++; // its twin
        }
        *cell = (struct bm_csv_cell){.data = start, .size = (uint64_t)(to - start)};
        *to++ = '\0';
    }
    return BM_OK;
}

enum bm_status bm_csv_reader_next(struct bm_csv_reader *reader, bool *ret_found,
                                  struct bm_error *err)
{
    bool escaped = false;
    while (reader->at < reader->end && reader_at_line_end(reader))
        reader_skip_line_end(reader);
    reader->ncells = 0;
    reader->record_line = reader->line;
    if (reader->at == reader->end) {
        *ret_found = false;
        return BM_OK;
    }
    const char *start = reader->at;
    for (;;) {
        struct bm_csv_cell cell = {0};
        enum bm_status status = BM_OK;
        if (reader->at < reader->end && *reader->at == '"')
            status = reader_quoted_cell(reader, &cell, err);
        else
            cell = reader_plain_cell(reader);
        if (status == BM_OK)
            status = reader_add_cell(reader, cell, err);
        if (status != BM_OK)
            return status;
        escaped = escaped || cell.escaped;
        if (reader_at_line_end(reader))
            break;
        reader->at++; // the delimiter
    }
    size_t size = (size_t)(reader->at - start);
    reader_skip_line_end(reader);
    *ret_found = true;
    return escaped ? reader_unescape(reader, size, err) : BM_OK;
}
