#include "sources/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/size.h"
#include "base/utf8.h"

enum {
    END_BYTES = 22, // "end of central directory record", without its comment
    END_COMMENT_MAX = 65535,
    LOCATOR_BYTES = 20, // of the same for zip64
    END64_BYTES = 56,
    ENTRY_BYTES = 46, // of the directory, without name, extra field and comment
    LOCAL_BYTES = 30,
    STORED = 0,
    DEFLATED = 8,
    STEP_MAX = 1 << 30, // zlib counts in unsigned int
};
#define DIRECTORY_MAX (UINT64_C(64) << 20)

static uint64_t number(const unsigned char *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

static enum bm_status zip_fail(const struct bm_file *file, const char *what, struct bm_error *err)
{
    return bm_fail(err, BM_DATA_LOSS, file->name, "expected a zip archive, %s", what);
}

static enum bm_status zip_no_memory(const struct bm_file *file, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, file->name, "out of memory");
}

// ---- Where the directory is ----

struct directory {
    uint64_t offset, size_bytes, nmembers;
};

// With more than 32 bits the numbers are in a record of their own, in front of the last one.
static enum bm_status directory_find64(const struct bm_file *file, uint64_t end,
                                       struct directory *directory, struct bm_error *err)
{
    unsigned char locator[LOCATOR_BYTES], record[END64_BYTES];
    if (end < LOCATOR_BYTES)
        return BM_OK;
    enum bm_status status = bm_file_read(file, end - LOCATOR_BYTES, locator, sizeof locator, err);
    if (status != BM_OK || number(locator, 4) != 0x07064b50)
        return status; // there is none
    uint64_t at = number(locator + 8, 8);
    if (at > file->size_bytes || file->size_bytes - at < sizeof record)
        return zip_fail(file, "its zip64 record lies outside", err);
    status = bm_file_read(file, at, record, sizeof record, err);
    if (status != BM_OK)
        return status;
    if (number(record, 4) != 0x06064b50)
        return zip_fail(file, "its zip64 record is missing", err);
    *directory = (struct directory){.nmembers = number(record + 32, 8),
                                    .size_bytes = number(record + 40, 8),
                                    .offset = number(record + 48, 8)};
    return BM_OK;
}

static enum bm_status directory_find(const struct bm_file *file, struct directory *ret_directory,
                                     struct bm_error *err)
{
    uint64_t tail = END_BYTES + END_COMMENT_MAX;
    if (tail > file->size_bytes)
        tail = file->size_bytes;
    if (tail < END_BYTES)
        return zip_fail(file, "it is shorter than one", err);
    unsigned char *bytes = malloc(tail);
    if (bytes == NULL)
        return zip_no_memory(file, err);
    enum bm_status status = bm_file_read(file, file->size_bytes - tail, bytes, tail, err);
    uint64_t at = tail - END_BYTES + 1;
    while (status == BM_OK && at > 0 && number(bytes + at - 1, 4) != 0x06054b50)
        at--;
    if (status == BM_OK && at == 0)
        status = zip_fail(file, "its directory is missing at the end: it was cut", err);
    if (status == BM_OK) {
        const unsigned char *record = bytes + at - 1;
        *ret_directory = (struct directory){.nmembers = number(record + 10, 2),
                                            .size_bytes = number(record + 12, 4),
                                            .offset = number(record + 16, 4)};
        if (number(record + 4, 2) != 0 || number(record + 6, 2) != 0)
            status = zip_fail(file, "it is in several files", err);
        else
            status = directory_find64(file, file->size_bytes - tail + at - 1, ret_directory, err);
    }
    free(bytes);
    return status;
}

// ---- Its entries ----

// The sizes and the place that did not fit 32 bits are in an extra field, in this order.
static bool entry_widen(const unsigned char *extra, uint64_t left, struct bm_zip_member *member)
{
    uint64_t *const wide[] = {&member->size_bytes, &member->packed_bytes, &member->header};
    while (left >= 4) {
        uint64_t id = number(extra, 2), size = number(extra + 2, 2);
        extra += 4, left -= 4;
        if (size > left)
            return false;
        for (unsigned i = 0, used = 0; id == 1 && i < 3; i++) {
            if (*wide[i] != UINT32_MAX)
                continue;
            if (size - used < 8)
                return false;
            *wide[i] = number(extra + used, 8);
            used += 8;
        }
        extra += size, left -= size;
    }
    return true;
}

// What is wrong with the member, or NULL.
static const char *entry_fault(const unsigned char *entry, const struct bm_zip_member *member,
                               const struct bm_file *file)
{
    uint64_t flags = number(entry + 8, 2), method = number(entry + 10, 2);
    if ((flags & 1) != 0)
        return "a member is encrypted";
    if (method != STORED && method != DEFLATED)
        return "a member is compressed by another method than deflate";
    if (method == STORED && member->size_bytes != member->packed_bytes)
        return "a member that is not compressed has two sizes";
    if (member->packed_bytes > file->size_bytes || member->header > file->size_bytes)
        return "a member lies outside";
    return NULL;
}

// One entry at `entry`, of which `left` bytes are there; how many it took.
static enum bm_status entry_read(const struct bm_file *file, const unsigned char *entry,
                                 uint64_t left, struct bm_zip_member *member, uint64_t *ret_used,
                                 struct bm_error *err)
{
    if (left < ENTRY_BYTES || number(entry, 4) != 0x02014b50)
        return zip_fail(file, "its directory is broken", err);
    uint64_t name = number(entry + 28, 2), extra = number(entry + 30, 2);
    uint64_t used = ENTRY_BYTES + name + extra + number(entry + 32, 2);
    if (used > left)
        return zip_fail(file, "its directory is broken", err);
    *member = (struct bm_zip_member){
        .deflated = number(entry + 10, 2) == DEFLATED,
        .crc = (uint32_t)number(entry + 16, 4),
        .packed_bytes = number(entry + 20, 4),
        .size_bytes = number(entry + 24, 4),
        .header = number(entry + 42, 4),
    };
    const char *text = (const char *)entry + ENTRY_BYTES;
    if (!entry_widen(entry + ENTRY_BYTES + name, extra, member))
        return zip_fail(file, "a member's zip64 field is broken", err);
    const char *fault = entry_fault(entry, member, file);
    if (fault == NULL && (memchr(text, '\0', name) != NULL || !bm_utf8_valid(text, name)))
        fault = "a member's name is no text";
    if (fault != NULL)
        return zip_fail(file, fault, err);
    member->name = strndup(text, name);
    *ret_used = used;
    return member->name == NULL ? zip_no_memory(file, err) : BM_OK;
}

static enum bm_status entries_read(const struct bm_file *file, const struct directory *directory,
                                   struct bm_zip *zip, struct bm_error *err)
{
    unsigned char *bytes = malloc(directory->size_bytes + 1);
    zip->members = calloc(directory->nmembers + 1, sizeof zip->members[0]);
    if (bytes == NULL || zip->members == NULL) {
        free(bytes);
        return zip_no_memory(file, err);
    }
    enum bm_status status =
        bm_file_read(file, directory->offset, bytes, directory->size_bytes, err);
    for (uint64_t at = 0; zip->n < directory->nmembers && status == BM_OK;) {
        uint64_t used = 0;
        status = entry_read(file, bytes + at, directory->size_bytes - at, &zip->members[zip->n],
                            &used, err);
        zip->n += status == BM_OK;
        at += used;
    }
    free(bytes);
    return status;
}

enum bm_status bm_zip_open(const struct bm_file *file, struct bm_zip *ret_zip, struct bm_error *err)
{
    struct directory directory = {0};
    struct bm_zip zip = {0};
    enum bm_status status = directory_find(file, &directory, err);
    if (status != BM_OK)
        return status;
    uint64_t end;
    if (directory.nmembers > BM_ZIP_MEMBERS_MAX || directory.size_bytes > DIRECTORY_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, file->name,
                       "expected at most %d members, got %" PRIu64, BM_ZIP_MEMBERS_MAX,
                       directory.nmembers);
    if (!bm_size_add(directory.offset, directory.size_bytes, &end) || end > file->size_bytes)
        return zip_fail(file, "its directory lies outside", err);
    status = entries_read(file, &directory, &zip, err);
    if (status != BM_OK) {
        bm_zip_free(&zip);
        return status;
    }
    *ret_zip = zip;
    return BM_OK;
}

void bm_zip_free(struct bm_zip *zip)
{
    for (unsigned i = 0; i < zip->n; i++)
        free(zip->members[i].name);
    free(zip->members);
    *zip = (struct bm_zip){0};
}

const struct bm_zip_member *bm_zip_find(const struct bm_zip *zip, const char *name)
{
    for (unsigned i = zip->n; i-- > 0;) { // of two the later one counts
        if (strcmp(zip->members[i].name, name) == 0)
            return &zip->members[i];
    }
    return NULL;
}

// ---- Their data ----

enum bm_status bm_zip_locate(const struct bm_file *file, const struct bm_zip_member *member,
                             uint64_t *ret_offset, struct bm_error *err)
{
    unsigned char local[LOCAL_BYTES];
    if (file->size_bytes - member->header < sizeof local)
        return zip_fail(file, "a member lies outside", err);
    enum bm_status status = bm_file_read(file, member->header, local, sizeof local, err);
    if (status != BM_OK)
        return status;
    if (number(local, 4) != 0x04034b50)
        return zip_fail(file, "a member is not where its directory says", err);
    // The extra field here may be another one than in the directory.
    uint64_t offset = member->header + sizeof local + number(local + 26, 2) + number(local + 28, 2);
    if (offset > file->size_bytes || file->size_bytes - offset < member->packed_bytes)
        return zip_fail(file, "a member lies outside", err);
    *ret_offset = offset;
    return BM_OK;
}

static enum bm_status member_inflate(const struct bm_file *file, const unsigned char *packed,
                                     const struct bm_zip_member *member, char *data,
                                     struct bm_error *err)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return zip_no_memory(file, err);
    uint64_t in = member->packed_bytes, out = member->size_bytes;
    uint32_t crc = 0;
    int result = Z_OK;
    stream.next_in = (z_const Bytef *)packed;
    stream.next_out = (Bytef *)data;
    while (result == Z_OK) {
        uInt in_step = (uInt)(in < STEP_MAX ? in : STEP_MAX);
        uInt out_step = (uInt)(out < STEP_MAX ? out : STEP_MAX);
        stream.avail_in = in_step;
        stream.avail_out = out_step;
        const Bytef *made = stream.next_out;
        result = inflate(&stream, Z_NO_FLUSH);
        in -= in_step - stream.avail_in;
        out -= out_step - stream.avail_out;
        crc = (uint32_t)crc32(crc, made, out_step - stream.avail_out);
    }
    inflateEnd(&stream);
    if (result == Z_MEM_ERROR)
        return zip_no_memory(file, err);
    if (result != Z_STREAM_END || out > 0 || crc != member->crc)
        return bm_fail(err, BM_DATA_LOSS, file->name,
                       "expected %s whole, got broken data: its check or length differs",
                       member->name);
    return BM_OK;
}

enum bm_status bm_zip_load(const struct bm_file *file, const struct bm_zip_member *member,
                           struct bm_content *ret_content, struct bm_error *err)
{
    uint64_t offset = 0;
    if (member->size_bytes > BM_FILE_LOAD_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, file->name,
                       "expected at most %" PRIu64 " bytes in a compressed member, got %" PRIu64
                       " in %s",
                       BM_FILE_LOAD_MAX, member->size_bytes, member->name);
    // Deflate never comes to more than 1032 times its size: a small file cannot claim much memory.
    if (member->size_bytes / 1032 > member->packed_bytes)
        return zip_fail(file, "a member claims more than deflate can hold", err);
    enum bm_status status = bm_zip_locate(file, member, &offset, err);
    if (status != BM_OK)
        return status;
    unsigned char *packed = malloc(member->packed_bytes + 1);
    char *data = malloc(member->size_bytes + 1);
    if (packed == NULL || data == NULL) {
        free(packed);
        free(data);
        return zip_no_memory(file, err);
    }
    status = bm_file_read(file, offset, packed, member->packed_bytes, err);
    if (status == BM_OK)
        status = member_inflate(file, packed, member, data, err);
    free(packed);
    if (status != BM_OK) {
        free(data);
        return status;
    }
    data[member->size_bytes] = '\0';
    *ret_content = (struct bm_content){.data = data, .size = member->size_bytes};
    return BM_OK;
}
