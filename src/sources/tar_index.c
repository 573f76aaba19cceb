#include "sources/tar_index.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/size.h"

enum { BLOCK = 512, EXTENDED_MAX = 1 << 20 };

struct head { // POSIX ustar
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], check[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct head) == BLOCK, "a head is one block");

struct scan {
    const struct bm_tar_bytes *tar;
    uint64_t at; // of the block that is read
    // What an extended head says of the next file.
    char name[BM_TAR_NAME_MAX + 1];
    bool named, sized;
    uint64_t size;
};

uint64_t bm_tar_size(const struct bm_tar_bytes *tar)
{
    return tar->content == NULL ? tar->file->size_bytes : tar->content->size;
}

enum bm_status bm_tar_read(const struct bm_tar_bytes *tar, uint64_t offset, void *to, uint64_t size,
                           struct bm_error *err)
{
    if (tar->content == NULL)
        return bm_file_read(tar->file, offset, to, size, err);
    if (offset > tar->content->size || size > tar->content->size - offset)
        return bm_fail(err, BM_DATA_LOSS, tar->file->name, "ends before byte %" PRIu64,
                       offset + size);
    memcpy(to, tar->content->data + offset, size);
    return BM_OK;
}

static enum bm_status scan_fail(const struct scan *scan, const char *what, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    return bm_fail(err, BM_DATA_LOSS,
                   bm_file_where(scan->tar->file->name, text, "byte %" PRIu64, scan->at), "%s",
                   what);
}

// ---- Numbers and texts of a head ----

// Octal, between spaces and ended by a space, NUL or the field's end; or base 256 behind 0x80.
static bool number_read(const char *field, size_t size, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t i = 0;
    if (((unsigned char)field[0] & 0x80) != 0) {
        for (i = 1; i < size; i++) {
            if (number >> 55 != 0)
                return false;
            number = number << 8 | (unsigned char)field[i];
        }
        *ret_number = number;
        return (unsigned char)field[0] == 0x80; // 0xff: less than 0
    }
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++) {
        if (number >> 60 != 0)
            return false;
        number = number << 3 | (uint64_t)(field[i] - '0');
    }
    *ret_number = number;
    return i == size || field[i] == ' ' || field[i] == '\0';
}

static bool head_sound(const struct head *head)
{
    uint64_t expected;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *head; i++) {
        bool of_check = i >= offsetof(struct head, check) && i < offsetof(struct head, type);
        sum += of_check ? ' ' : ((const unsigned char *)head)[i];
    }
    return number_read(head->check, sizeof head->check, &expected) && expected == sum;
}

static bool head_empty(const struct head *head)
{
    static const struct head empty;
    return memcmp(head, &empty, sizeof empty) == 0;
}

static void head_name(const struct head *head, char *name)
{
    size_t prefix = strnlen(head->prefix, sizeof head->prefix);
    size_t length = strnlen(head->name, sizeof head->name);
    if (memcmp(head->magic, "ustar", 6) != 0) // GNU's has other things there
        prefix = 0;
    memcpy(name, head->prefix, prefix);
    if (prefix > 0)
        name[prefix++] = '/';
    memcpy(name + prefix, head->name, length);
    name[prefix + length] = '\0';
}

// ---- Extended heads ----

static bool name_take(struct scan *scan, const char *name, size_t size)
{
    size_t length = strnlen(name, size);
    if (length > BM_TAR_NAME_MAX)
        return false;
    memcpy(scan->name, name, length);
    scan->name[length] = '\0';
    scan->named = true;
    return true;
}

// One record of a pax head, "LENGTH KEY=VALUE\n"; false: it is none.
static bool record_take(struct scan *scan, const char *record, size_t size)
{
    const char *key = memchr(record, ' ', size);
    const char *value = key == NULL ? NULL : memchr(key, '=', size - (size_t)(key - record));
    if (value == NULL || record[size - 1] != '\n')
        return false;
    size_t key_size = (size_t)(value - ++key), value_size = size - (size_t)(++value - record) - 1;
    if (key_size == 4 && memcmp(key, "path", 4) == 0)
        return name_take(scan, value, value_size);
    if (key_size == 4 && memcmp(key, "size", 4) == 0) {
        scan->sized = true;
        scan->size = 0;
        for (size_t i = 0; i < value_size; i++) {
            if (value[i] < '0' || value[i] > '9' || scan->size > UINT64_MAX / 16)
                return false;
            scan->size = 10 * scan->size + (uint64_t)(value[i] - '0');
        }
        return value_size > 0;
    }
    return true;
}

static bool records_take(struct scan *scan, const char *records, size_t size)
{
    while (size > 0) {
        size_t length = 0, i = 0;
        for (; i < size && i < 8 && records[i] >= '0' && records[i] <= '9'; i++)
            length = 10 * length + (size_t)(records[i] - '0');
        if (i == 0 || length <= i || length > size || !record_take(scan, records, length))
            return false;
        records += length;
        size -= length;
    }
    return true;
}

static enum bm_status extended_read(struct scan *scan, char type, uint64_t size,
                                    struct bm_error *err)
{
    if (size > EXTENDED_MAX)
        return scan_fail(scan, "expected at most 1 MiB in an extended head", err);
    char *data = calloc(1, size + 1);
    if (data == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, scan->tar->file->name, "out of memory");
    enum bm_status status = bm_tar_read(scan->tar, scan->at + BLOCK, data, size, err);
    if (status == BM_OK &&
        !(type == 'L' ? name_take(scan, data, size) : records_take(scan, data, size)))
        status = scan_fail(scan, "expected an extended head of a tar, got something else", err);
    free(data);
    return status;
}

// ---- The pass ----

static enum bm_status scan_head(struct scan *scan, const struct head *head,
                                enum bm_status (*found)(void *context,
                                                        const struct bm_tar_member *member,
                                                        struct bm_error *err),
                                void *context, struct bm_error *err)
{
    uint64_t size, end;
    if (!head_sound(head) || !number_read(head->size, sizeof head->size, &size))
        return scan_fail(scan, "expected the head of a file in a tar, got something else", err);
    bool extended = head->type == 'L' || head->type == 'x';
    if (!extended && scan->sized)
        size = scan->size;
    if (!bm_size_add(scan->at, BLOCK, &end) || !bm_size_add(end, size, &end) ||
        end > bm_tar_size(scan->tar))
        return scan_fail(scan, "expected a file that the tar has whole, but the tar is cut off",
                         err);
    enum bm_status status = BM_OK;
    if (extended) {
        status = extended_read(scan, head->type, size, err);
    } else if (head->type != 'g' && head->type != 'K') { // of all files; of a link
        if (!scan->named)
            head_name(head, scan->name);
        const struct bm_tar_member member = {scan->name, scan->at + BLOCK, size};
        if (head->type == '0' || head->type == '\0' || head->type == '7')
            status = found(context, &member, err);
        scan->named = scan->sized = false;
    }
    scan->at = bm_size_align(end, BLOCK);
    return status;
}

enum bm_status bm_tar_scan(const struct bm_tar_bytes *tar,
                           enum bm_status (*found)(void *context,
                                                   const struct bm_tar_member *member,
                                                   struct bm_error *err),
                           void *context, struct bm_error *err)
{
    struct scan scan = {.tar = tar};
    enum bm_status status = BM_OK;
    while (status == BM_OK && scan.at < bm_tar_size(tar)) {
        struct head head;
        if (bm_tar_size(tar) - scan.at < BLOCK)
            return scan_fail(&scan, "expected a whole block, but the tar is cut off", err);
        status = bm_tar_read(tar, scan.at, &head, sizeof head, err);
        if (status != BM_OK || head_empty(&head)) // the end; what lies behind it is nobody's
            break;
        status = scan_head(&scan, &head, found, context, err);
    }
    if (status == BM_OK && scan.at > bm_tar_size(tar))
        return scan_fail(&scan, "expected whole blocks, but the tar is cut off", err);
    return status;
}
