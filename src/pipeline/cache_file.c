// cache_file.c -- entries of a cache in a file, each behind a head with checks.
//
//     file   FILE_HEAD, then records, each from a multiple of 8 on
//     record item u64, size u64, check of the entry u64, check of these three u64; the entry
//
// Numbers are little-endian, checks XXH3 with the fingerprint in front. A record's place is taken
// before it is written, by several threads at once, so after a kill -9 there may be a hole: what
// lies behind the first record without a valid head is cut off when the file is opened again.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/size.h"
#include "pipeline/cache_place.h"

enum { RECORD_ALIGNMENT = 8 };

struct file_head {
    char magic[16];
    uint64_t fingerprint, nitems;
};
static const char file_magic[16] = "batchmill cache"; // version 1

struct record_head {
    uint64_t item, size, entry_check, check;
};

struct file_place {
    struct bm_cache_place base;
    int fd;
    uint64_t fingerprint;
    atomic_uint_least64_t end; // where the next record goes
};

static uint64_t record_check(const struct file_place *file, const struct record_head *head)
{
    const uint64_t numbers[] = {file->fingerprint, head->item, head->size, head->entry_check};
    return bm_hash_bytes(numbers, sizeof numbers);
}

static uint64_t file_room(const struct bm_cache_place *place, uint64_t size)
{
    (void)place;
    return sizeof(struct record_head) + bm_size_align(size, RECORD_ALIGNMENT);
}

static bool file_read(int fd, void *to, uint64_t size, uint64_t offset)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(fd, (unsigned char *)to + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (uint64_t)n;
    }
    return true;
}

static const unsigned char *file_get(struct bm_cache_place *place, uint64_t item,
                                     const struct bm_cache_slot *slot, struct bm_buffer *scratch)
{
    (void)item;
    const struct file_place *file = (const struct file_place *)place;
    bm_buffer_clear(scratch);
    unsigned char *data = bm_buffer_extend(scratch, slot->size);
    if (data == NULL || !file_read(file->fd, data, slot->size, slot->at) ||
        bm_hash_bytes(data, slot->size) != slot->check)
        return NULL;
    return data;
}

static bool file_write(int fd, struct iovec *parts, int nparts, uint64_t offset)
{
    while (nparts > 0) {
        ssize_t n = pwritev(fd, parts, nparts, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        offset += (uint64_t)n;
        for (; nparts > 0 && (size_t)n >= parts->iov_len; parts++, nparts--)
            n -= (ssize_t)parts->iov_len;
        if (nparts > 0) {
            parts->iov_base = (unsigned char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return true;
}

static bool file_put(struct bm_cache_place *place, uint64_t item, const unsigned char *data,
                     struct bm_cache_slot *slot)
{
    struct file_place *file = (struct file_place *)place;
    struct record_head head = {
        .item = item, .size = slot->size, .entry_check = bm_hash_bytes(data, slot->size)};
    head.check = record_check(file, &head);
    uint64_t at = atomic_fetch_add(&file->end, file_room(place, slot->size));
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, slot->size}};
    if (!file_write(file->fd, parts, 2, at))
        return false; // a full disk: whoever opens the file finds the records before
    slot->at = at + sizeof head;
    slot->check = head.entry_check;
    return true;
}

static void file_free(struct bm_cache_place *place)
{
    struct file_place *file = (struct file_place *)place;
    if (file->fd >= 0)
        close(file->fd);
    free(file);
}

// ---- Opening ----

// Tells of every record with a valid head, and cuts off what lies behind them.
static enum bm_status file_scan(struct file_place *file, const char *path,
                                void (*found)(void *context, uint64_t item,
                                              const struct bm_cache_slot *slot, uint64_t room),
                                void *context, struct bm_error *err)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return bm_fail(err, BM_UNAVAILABLE, path, "cannot be read: %m");
    uint64_t at = sizeof(struct file_head), size = (uint64_t)st.st_size, next;
    for (struct record_head head; file_read(file->fd, &head, sizeof head, at); at = next) {
        if (head.check != record_check(file, &head) || head.size == 0 || head.size > size ||
            !bm_size_add(at, file_room(&file->base, head.size), &next) ||
            at + sizeof head + head.size > size)
            break;
        const struct bm_cache_slot slot = {
            .size = head.size, .at = at + sizeof head, .check = head.entry_check};
        found(context, head.item, &slot, next - at);
    }
    atomic_store(&file->end, at);
    if (at < size && ftruncate(file->fd, (off_t)at) != 0)
        return bm_fail(err, BM_UNAVAILABLE, path, "cannot be shortened: %m");
    return BM_OK;
}

static enum bm_status file_begin(struct file_place *file, const char *path,
                                 const struct bm_cache_options *options, struct bm_error *err)
{
    struct file_head head = {.fingerprint = options->fingerprint, .nitems = options->nitems};
    struct file_head there;
    memcpy(head.magic, file_magic, sizeof head.magic);
    if (file_read(file->fd, &there, sizeof there, 0) && memcmp(&there, &head, sizeof head) == 0)
        return BM_OK;
    struct iovec part = {&head, sizeof head}; // new, or cut off while it was made, or no cache
    struct stat st;
    if (fstat(file->fd, &st) != 0 || (st.st_size >= (off_t)sizeof head))
        return bm_fail(err, BM_FAILED_PRECONDITION, path,
                       "expected a cache of this pipeline's first part, got another file");
    return file_write(file->fd, &part, 1, 0)
               ? BM_OK
               : bm_fail(err, BM_UNAVAILABLE, path, "cannot be written: %m");
}

enum bm_status bm_cache_file_new(const struct bm_cache_options *options, const char *where,
                                 void (*found)(void *context, uint64_t item,
                                               const struct bm_cache_slot *slot, uint64_t room),
                                 void *context, struct bm_cache_place **ret_place,
                                 struct bm_error *err)
{
    struct file_place *file = calloc(1, sizeof *file);
    struct bm_buffer path;
    bm_buffer_init(&path);
    bm_buffer_print(&path, "%s/%016" PRIx64 ".cache", options->directory, options->fingerprint);
    enum bm_status status = BM_OK;
    if (file == NULL || bm_buffer_failed(&path)) {
        free(file);
        bm_buffer_fini(&path);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory for a cache");
    }
    file->base = (struct bm_cache_place){
        .get = file_get, .put = file_put, .room = file_room, .free = file_free};
    file->fingerprint = options->fingerprint;
    atomic_init(&file->end, 0);
    file->fd = open(bm_buffer_text(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file->fd < 0)
        status = bm_fail(err, BM_UNAVAILABLE, bm_buffer_text(&path), "cannot be opened: %m");
    else if (flock(file->fd, LOCK_EX | LOCK_NB) != 0)
        status = bm_fail(err, BM_FAILED_PRECONDITION, bm_buffer_text(&path),
                         "is in use by another server: expected a directory of this one's own");
    else
        status = file_begin(file, bm_buffer_text(&path), options, err);
    if (status == BM_OK)
        status = file_scan(file, bm_buffer_text(&path), found, context, err);
    bm_buffer_fini(&path);
    if (status != BM_OK) {
        file_free(&file->base);
        return status;
    }
    *ret_place = &file->base;
    return BM_OK;
}
