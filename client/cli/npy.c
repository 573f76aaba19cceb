// npy.c -- tensors as NumPy files, one per batch and component.
// Format: "NEP 1 - A simple file format for NumPy arrays", version 1.0.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/size.h"
#include "client/cli/cli.h"
#include "data/dtype.h"

static bool npy_fail(struct batchmill_error *error, const char *path)
{
    *error = (struct batchmill_error){.code = BATCHMILL_UNKNOWN};
    snprintf(error->text, sizeof error->text, "cannot write %.300s: %s", path, strerror(errno));
    return false;
}

void cli_npy_header(struct bm_buffer *out, const char *code, const uint64_t *shape, unsigned ndim,
                    size_t size)
{
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_buffer_print(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (", code);
    for (unsigned i = 0; i < ndim; i++)
        bm_buffer_print(&text, "%llu,%s", (unsigned long long)shape[i], i + 1 < ndim ? " " : "");
    bm_buffer_add_text(&text, "), }");
    // The data begin at a multiple of 64; the header ends with a line feed.
    size_t total = bm_size_align(10 + text.size + 1, 64);
    total = total < size ? size : total;
    while (!text.failed && 10 + text.size + 1 < total)
        bm_buffer_add_text(&text, " ");
    bm_buffer_add_text(&text, "\n");
    const unsigned char mark[] = {0x93,
                                  'N',
                                  'U',
                                  'M',
                                  'P',
                                  'Y',
                                  1,
                                  0,
                                  (unsigned char)(text.size & 0xff),
                                  (unsigned char)(text.size >> 8)};
    bm_buffer_add(out, mark, sizeof mark);
    bm_buffer_add(out, text.data, text.size);
    bm_buffer_fini(&text);
}

static bool npy_write(const char *directory, uint64_t seq, const char *name, const char *suffix,
                      const char *code, const uint64_t *shape, unsigned ndim, const void *data,
                      size_t size, struct batchmill_error *error)
{
    char path[4096];
    int length = snprintf(path, sizeof path, "%s/%09llu.%s%s.npy", directory,
                          (unsigned long long)seq, name, suffix);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return npy_fail(error, directory);
    }
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        return npy_fail(error, path);
    struct bm_buffer header;
    bm_buffer_init(&header);
    cli_npy_header(&header, code, shape, ndim, 0);
    bool ok = !bm_buffer_failed(&header) &&
              fwrite(header.data, 1, header.size, file) == header.size &&
              (size == 0 || fwrite(data, 1, size, file) == size);
    ok = fclose(file) == 0 && ok;
    bm_buffer_fini(&header);
    return ok || npy_fail(error, path);
}

const char *cli_npy_code(enum batchmill_dtype dtype)
{
    if (dtype == BATCHMILL_BFLOAT16)
        return "<u2"; // NumPy has no bfloat16: its 16 bits
    if (dtype == BATCHMILL_BYTES || dtype == BATCHMILL_STRING)
        return "|u1"; // with .offsets.npy beside it
    return bm_dtype_npy((enum bm_dtype)dtype);
}

bool cli_npy_batch(const struct batchmill_batch *batch, const char *directory,
                   struct batchmill_error *error)
{
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return npy_fail(error, directory);
    uint64_t seq = batchmill_batch_seq(batch);
    uint64_t nitems = batchmill_batch_nitems(batch);
    if (!npy_write(directory, seq, "items", "", "<u8", &nitems, 1, batchmill_batch_items(batch),
                   nitems * sizeof(uint64_t), error))
        return false;
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
        const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
        uint64_t noffsets = nitems + 1;
        if (!npy_write(directory, seq, "tensor.", tensor->name, cli_npy_code(tensor->dtype),
                       tensor->shape, tensor->ndim, tensor->data, tensor->size_bytes, error))
            return false;
        if (tensor->ragged && !npy_write(directory, seq, "offsets.", tensor->name, "<u8", &noffsets,
                                         1, tensor->offsets, noffsets * sizeof(uint64_t), error))
            return false;
    }
    return true;
}
