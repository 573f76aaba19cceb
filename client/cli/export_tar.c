// export_tar.c -- items as WebDataset shards: shard-000000.tar and so on, in each one file per item
// and component, NUMBER.COMPONENT.FORM, with NUMBER the item's place in the stream from 0.
//
// FORM: cls for one integer (its decimal), txt for a string, jpg, png or bin for bytes by how they
// begin, npy for all else. Heads are POSIX.1-1988 ustar, with owner, group and time 0, so equal
// streams give equal shards. (WebDataset: "files with the same prefix up to the first dot belong
// together", https://github.com/webdataset/webdataset.)
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/size.h"
#include "client/cli/export.h"
#include "data/dtype.h"

enum {
    SHARD_ITEMS = 10000,
    BLOCK = 512,
    NAME_BYTES = 100,
    END_BYTES = 2 * BLOCK,
    SIZE_MAX_BYTES = INT32_MAX
};

struct tar_exporter {
    struct cli_exporter base;
    char name[32]; // of the shard that is being written
    int file;
    uint64_t shard;         // its number
    uint64_t size;          // bytes of whole files in it
    uint64_t items;         // in the stream, so far
    struct bm_buffer batch; // what a batch adds
};

// ---- Files in a tar ----

struct ustar {
    char name[NAME_BYTES], mode[8], uid[8], gid[8], size[12], mtime[12], check[8], type, link[100];
    char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == BLOCK, "a head is one block");

// False: the name or the file is too long for ustar.
static bool tar_add(struct bm_buffer *out, const char *name, const void *data, size_t size)
{
    struct ustar head = {.type = '0'};
    if (strlen(name) >= sizeof head.name || size > SIZE_MAX_BYTES)
        return false;
    memcpy(head.name, name, strlen(name));
    memcpy(head.mode, "0000644", 8);
    memcpy(head.uid, "0000000", 8);
    memcpy(head.gid, "0000000", 8);
    snprintf(head.size, sizeof head.size, "%011o", (unsigned)size);
    memcpy(head.mtime, "00000000000", 12);
    memset(head.check, ' ', sizeof head.check);
    memcpy(head.magic, "ustar", 6);
    memcpy(head.version, "00", 2);
    unsigned check = 0;
    for (size_t i = 0; i < sizeof head; i++)
        check += ((const unsigned char *)&head)[i];
    snprintf(head.check, sizeof head.check, "%06o", check);
    bm_buffer_add(out, &head, sizeof head);
    bm_buffer_add(out, data, size);
    static const unsigned char zeros[BLOCK];
    bm_buffer_add(out, zeros, bm_size_align(size, BLOCK) - size);
    return true;
}

// ---- One item's component ----

static const char *bytes_form(const unsigned char *data, size_t size)
{
    if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        return "jpg";
    return size >= 4 && memcmp(data, "\x89PNG", 4) == 0 ? "png" : "bin";
}

struct cell { // of one item
    const unsigned char *data;
    size_t size;
    uint64_t shape[BATCHMILL_NDIM_MAX]; // of the item
    unsigned ndim;
};

static struct cell tensor_cell(const struct batchmill_tensor *tensor, uint64_t i)
{
    struct cell cell = {.ndim = tensor->ndim - 1};
    size_t row_bytes = bm_dtype_size((enum bm_dtype)tensor->dtype);
    for (unsigned axis = 1; axis < tensor->ndim; axis++)
        row_bytes *= tensor->shape[axis];
    memcpy(cell.shape, tensor->shape + 1, cell.ndim * sizeof cell.shape[0]);
    uint64_t first = i, rows = 1;
    if (tensor->ragged) {
        first = tensor->offsets[i];
        rows = tensor->offsets[i + 1] - first;
        memmove(cell.shape + 1, cell.shape, cell.ndim * sizeof cell.shape[0]);
        cell.shape[0] = rows;
        cell.ndim++;
    }
    cell.data = (const unsigned char *)tensor->data + first * row_bytes;
    cell.size = rows * row_bytes;
    return cell;
}

static bool tar_add_npy(struct bm_buffer *out, const char *name,
                        const struct batchmill_tensor *tensor, const struct cell *cell)
{
    struct bm_buffer file;
    bm_buffer_init(&file);
    cli_npy_header(&file, cli_npy_code(tensor->dtype), cell->shape, cell->ndim, 0);
    bm_buffer_add(&file, cell->data, cell->size);
    bool ok = !bm_buffer_failed(&file) && tar_add(out, name, file.data, file.size);
    bm_buffer_fini(&file);
    return ok;
}

static bool tar_add_cell(struct bm_buffer *out, uint64_t number,
                         const struct batchmill_tensor *tensor, uint64_t i)
{
    const struct cell cell = tensor_cell(tensor, i);
    char name[2 * NAME_BYTES], text[32];
    bool whole = bm_dtype_is_integer((enum bm_dtype)tensor->dtype) && cell.ndim == 0;
    const char *form = tensor->dtype == BATCHMILL_STRING  ? "txt"
                       : tensor->dtype == BATCHMILL_BYTES ? bytes_form(cell.data, cell.size)
                       : whole                            ? "cls"
                                                          : "npy";
    snprintf(name, sizeof name, "%012" PRIu64 ".%s.%s", number, tensor->name, form);
    if (whole) {
        uint64_t bits;
        bm_dtype_convert(BM_UINT64, &bits, (enum bm_dtype)tensor->dtype, cell.data, 1);
        int64_t value;
        bm_dtype_convert(BM_INT64, &value, (enum bm_dtype)tensor->dtype, cell.data, 1);
        int length = tensor->dtype == BATCHMILL_UINT64
                         ? snprintf(text, sizeof text, "%" PRIu64, bits)
                         : snprintf(text, sizeof text, "%" PRId64, value);
        return tar_add(out, name, text, (size_t)length);
    }
    if (tensor->dtype == BATCHMILL_STRING || tensor->dtype == BATCHMILL_BYTES)
        return tar_add(out, name, cell.data, cell.size);
    return tar_add_npy(out, name, tensor, &cell);
}

// ---- Shards ----

static bool shard_open(struct cli_export *export_, struct tar_exporter *tar, bool goes_on,
                       struct batchmill_error *error)
{
    snprintf(tar->name, sizeof tar->name, "shard-%06" PRIu64 ".tar", tar->shard);
    // What a run left behind its last checkpoint is written again; what others made is not ours.
    int flags =
        tar->shard == 0 ? cli_export_flags(export_) : O_RDWR | O_CLOEXEC | O_CREAT | O_TRUNC;
    tar->file = openat(export_->folder, tar->name, goes_on ? O_RDWR | O_CLOEXEC : flags, 0666);
    if (tar->file < 0)
        return cli_export_fail(export_, tar->name, error);
    if (lseek(tar->file, 0, SEEK_END) < (off_t)tar->size) {
        errno = ENODATA; // it was cut since the checkpoint was written
        return cli_export_fail(export_, tar->name, error);
    }
    return (ftruncate(tar->file, (off_t)tar->size) == 0 &&
            lseek(tar->file, (off_t)tar->size, SEEK_SET) == (off_t)tar->size) ||
           cli_export_fail(export_, tar->name, error);
}

// Writes the end of the archive behind the files; the next file goes over it.
static bool shard_end(struct cli_export *export_, struct tar_exporter *tar,
                      struct batchmill_error *error)
{
    static const unsigned char end[END_BYTES];
    return (pwrite(tar->file, end, sizeof end, (off_t)tar->size) == sizeof end &&
            fdatasync(tar->file) == 0) ||
           cli_export_fail(export_, tar->name, error);
}

static bool shard_write(struct cli_export *export_, struct tar_exporter *tar,
                        struct batchmill_error *error)
{
    errno = ENOMEM;
    if (bm_buffer_failed(&tar->batch) ||
        !cli_write_all(tar->file, tar->batch.data, tar->batch.size))
        return cli_export_fail(export_, tar->name, error);
    tar->size += tar->batch.size;
    bm_buffer_clear(&tar->batch);
    return true;
}

// A shard has shard_items items: the next one begins in a new one.
static bool tar_next_shard(struct cli_export *export_, struct tar_exporter *tar,
                           struct batchmill_error *error)
{
    if (!shard_write(export_, tar, error) || !shard_end(export_, tar, error))
        return false;
    close(tar->file);
    tar->shard++;
    tar->size = 0;
    return shard_open(export_, tar, false, error);
}

// ---- The exporter ----

static bool tar_batch(struct cli_export *export_, const struct batchmill_batch *batch,
                      struct batchmill_error *error)
{
    struct tar_exporter *tar = (struct tar_exporter *)export_->exporter;
    for (uint64_t i = 0; i < batchmill_batch_nitems(batch); i++) {
        if (tar->items > 0 && tar->items % export_->shard_items == 0 &&
            tar->items / export_->shard_items > tar->shard && !tar_next_shard(export_, tar, error))
            return false;
        for (size_t c = 0; c < batchmill_batch_ntensors(batch); c++) {
            if (!tar_add_cell(&tar->batch, tar->items, batchmill_batch_tensor_at(batch, c), i)) {
                errno = ENAMETOOLONG;
                return cli_export_fail(export_, tar->name, error);
            }
        }
        tar->items++;
    }
    return shard_write(export_, tar, error);
}

static bool tar_flush(struct cli_export *export_, struct batchmill_error *error)
{
    struct tar_exporter *tar = (struct tar_exporter *)export_->exporter;
    export_->drain.done.part = tar->shard;
    export_->drain.done.part_bytes = tar->size;
    export_->drain.done.part_items = export_->shard_items;
    return shard_end(export_, tar, error);
}

static void tar_free(struct cli_exporter *exporter)
{
    struct tar_exporter *tar = (struct tar_exporter *)exporter;
    if (tar->file >= 0)
        close(tar->file);
    bm_buffer_fini(&tar->batch);
    free(tar);
}

struct cli_exporter *cli_export_tar(struct cli_export *export_,
                                    const struct batchmill_stream_info *info,
                                    struct batchmill_error *error)
{
    (void)info;
    const struct cli_checkpoint *kept = &export_->drain.kept;
    if (export_->drain.found && export_->shard_items != 0 &&
        export_->shard_items != kept->part_items) {
        *error = (struct batchmill_error){.code = BATCHMILL_INVALID_ARGUMENT};
        snprintf(error->text, sizeof error->text,
                 "--shard-items: expected %" PRIu64 " as the export began, got %" PRIu64,
                 kept->part_items, export_->shard_items);
        return NULL;
    }
    if (export_->shard_items == 0)
        export_->shard_items = export_->drain.found ? kept->part_items : SHARD_ITEMS;
    struct tar_exporter *tar = calloc(1, sizeof *tar);
    if (tar == NULL) {
        errno = ENOMEM;
        cli_export_fail(export_, "shard-000000.tar", error);
        return NULL;
    }
    tar->base = (struct cli_exporter){.batch = tar_batch, .flush = tar_flush, .free = tar_free};
    bm_buffer_init(&tar->batch);
    tar->shard = kept->part;
    tar->size = kept->part_bytes;
    tar->items = kept->items;
    if (shard_open(export_, tar, export_->drain.found, error))
        return &tar->base;
    tar_free(&tar->base);
    return NULL;
}
