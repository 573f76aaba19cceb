#include "sources/files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "pipeline/source.h"

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory for the names of the files");
}

enum bm_status bm_files_open(struct bm_files *files, const char *directory, const char *path,
                             const char *where, struct bm_error *err)
{
    *files = (struct bm_files){.folder = -1, .folder_name = strdup(path)};
    bm_buffer_init(&files->names);
    char *full = bm_source_path(directory, path);
    enum bm_status status = BM_OK;
    if (full == NULL || files->folder_name == NULL) {
        status = no_memory(where, err);
    } else {
        files->folder = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (files->folder < 0)
            status = bm_fail(err,
                             errno == ENOENT    ? BM_NOT_FOUND
                             : errno == ENOTDIR ? BM_INVALID_ARGUMENT
                                                : BM_FAILED_PRECONDITION,
                             where, "cannot open the folder %s: %m", full);
    }
    free(full);
    if (status != BM_OK)
        bm_files_close(files);
    return status;
}

void bm_files_close(struct bm_files *files)
{
    if (files->folder >= 0)
        close(files->folder);
    free(files->folder_name);
    bm_buffer_fini(&files->names);
    free(files->entries);
    *files = (struct bm_files){.folder = -1};
}

enum bm_status bm_files_add(struct bm_files *files, const char *name, uint64_t size_bytes,
                            struct bm_error *err)
{
    if (files->n == files->capacity) {
        uint64_t capacity = files->capacity == 0 ? 64 : 2 * files->capacity;
        struct bm_file_entry *grown = realloc(files->entries, capacity * sizeof files->entries[0]);
        if (grown == NULL)
            return no_memory(files->folder_name, err);
        files->entries = grown;
        files->capacity = capacity;
    }
    files->entries[files->n] =
        (struct bm_file_entry){.name = files->names.size, .size_bytes = size_bytes};
    bm_buffer_add(&files->names, name, strlen(name) + 1);
    if (bm_buffer_failed(&files->names))
        return no_memory(files->folder_name, err);
    files->n++;
    return BM_OK;
}

static int entry_compare(const void *a, const void *b, void *names)
{
    return strcmp((const char *)names + ((const struct bm_file_entry *)a)->name,
                  (const char *)names + ((const struct bm_file_entry *)b)->name);
}

void bm_files_sort(struct bm_files *files)
{
    if (files->n > 1)
        qsort_r(files->entries, files->n, sizeof files->entries[0], entry_compare,
                files->names.data);
}

const char *bm_files_name(const struct bm_files *files, uint64_t i)
{
    BM_ASSERT(i < files->n);
    return (const char *)files->names.data + files->entries[i].name;
}

// ---- Reading ----

// Errors are placed at the file's name: the item's number alone helps nobody to find it.
static enum bm_status file_fill(const struct bm_files *files, uint64_t i, int fd, void *to,
                                struct bm_error *err)
{
    const char *name = bm_files_name(files, i);
    uint64_t size = files->entries[i].size_bytes, done = 0;
    struct stat info;
    if (fstat(fd, &info) != 0)
        return bm_fail(err, BM_DATA_LOSS, name, "cannot be read: %m");
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != size)
        return bm_fail(
            err, BM_DATA_LOSS, name,
            "expected a file of %" PRIu64 " bytes, as when it was found, got %s%" PRId64 " bytes",
            size, S_ISREG(info.st_mode) ? "" : "something else, of ", (int64_t)info.st_size);
    while (done < size) {
        ssize_t n = pread(fd, (char *)to + done, size - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bm_fail(err, BM_DATA_LOSS, name,
                           n < 0 ? "cannot be read: %m" : "became shorter");
        done += (uint64_t)n;
    }
    return BM_OK;
}

static enum bm_status file_read(const struct bm_files *files, uint64_t i, void *to,
                                struct bm_error *err)
{
    // Without O_NONBLOCK opening a FIFO waits for somebody to write into it.
    int fd = openat(files->folder, bm_files_name(files, i),
                    O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return bm_fail(err, BM_DATA_LOSS, bm_files_name(files, i), "cannot be opened: %m");
    enum bm_status status = file_fill(files, i, fd, to, err);
    close(fd);
    return status;
}

enum bm_status bm_files_identify(const struct bm_files *files, bool contents, struct bm_hash *hash,
                                 struct bm_error *err)
{
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    enum bm_status status = BM_OK;
    bm_hash_add_u64(hash, contents);
    for (uint64_t i = 0; i < files->n && status == BM_OK; i++) {
        uint64_t size = files->entries[i].size_bytes;
        bm_hash_add_text(hash, bm_files_name(files, i));
        bm_hash_add_u64(hash, size);
        if (!contents)
            continue;
        bm_buffer_clear(&buffer);
        void *room = bm_buffer_extend(&buffer, size + 1);
        status =
            room == NULL ? no_memory(bm_files_name(files, i), err) : file_read(files, i, room, err);
        if (status == BM_OK)
            bm_hash_add(hash, room, size);
    }
    bm_buffer_fini(&buffer);
    return status;
}

// Lays out component c with rows of these lengths.
static enum bm_status batch_alloc_lengths(struct bm_batch *batch, unsigned c,
                                          uint64_t (*length)(const struct bm_files *files,
                                                             uint64_t i),
                                          const struct bm_files *files, struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        offsets[row + 1] = offsets[row] + length(files, batch->items[row]);
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    bm_block_unref(block);
    return status;
}

static uint64_t length_of_file(const struct bm_files *files, uint64_t i)
{
    return files->entries[i].size_bytes;
}

static uint64_t length_of_name(const struct bm_files *files, uint64_t i)
{
    return strlen(bm_files_name(files, i));
}

enum bm_status bm_files_read(const struct bm_files *files, struct bm_batch *batch, unsigned c,
                             int64_t *ret_row, struct bm_error *err)
{
    enum bm_status status = batch_alloc_lengths(batch, c, length_of_file, files, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t n;
        status = file_read(files, batch->items[row], bm_batch_rows(batch, c, row, 1, &n), err);
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    return status;
}

enum bm_status bm_files_read_names(const struct bm_files *files, struct bm_batch *batch, unsigned c,
                                   struct bm_error *err)
{
    enum bm_status status = batch_alloc_lengths(batch, c, length_of_name, files, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t n;
        unsigned char *to = bm_batch_rows(batch, c, row, 1, &n);
        if (n > 0)
            memcpy(to, bm_files_name(files, batch->items[row]), n);
    }
    return status;
}
