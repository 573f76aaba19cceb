// export_npy.c -- all items as NumPy files: COMPONENT.npy, COMPONENT.offsets.npy where ragged, and
// items.npy with the indices. Each has a header of fixed size that is written again at every
// checkpoint, so a file can be read at any time, up to there.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "client/cli/export.h"
#include "data/dtype.h"

enum { HEADER_BYTES = 320 };

struct array { // one file
    char name[300];
    int file;
    const char *code;
    unsigned ndim;
    uint64_t shape[BATCHMILL_NDIM_MAX]; // [0] is how many there are
    uint64_t row_bytes;
};

struct column {
    struct array values, offsets; // offsets only where ragged
    bool ragged;
};

struct npy_exporter {
    struct cli_exporter base;
    struct array items;
    size_t ncolumns;
    struct column *columns;
};

// ---- One file ----

static bool array_open(const struct cli_export *export_, struct array *array, uint64_t rows,
                       struct batchmill_error *error)
{
    bool found = export_->drain.found;
    array->shape[0] = rows;
    array->file = openat(export_->folder, array->name, cli_export_flags(export_), 0666);
    if (array->file < 0)
        return cli_export_fail(export_, array->name, error);
    off_t size = (off_t)(HEADER_BYTES + rows * array->row_bytes);
    if (found && lseek(array->file, 0, SEEK_END) < size) {
        errno = ENODATA; // it was cut since the checkpoint was written
        return cli_export_fail(export_, array->name, error);
    }
    if (ftruncate(array->file, size) != 0 || lseek(array->file, size, SEEK_SET) != size)
        return cli_export_fail(export_, array->name, error);
    return true;
}

static bool array_append(const struct cli_export *export_, struct array *array, const void *data,
                         uint64_t rows, struct batchmill_error *error)
{
    if (!cli_write_all(array->file, data, rows * array->row_bytes))
        return cli_export_fail(export_, array->name, error);
    array->shape[0] += rows;
    return true;
}

static bool array_flush(const struct cli_export *export_, const struct array *array,
                        struct batchmill_error *error)
{
    struct bm_buffer header;
    bm_buffer_init(&header);
    cli_npy_header(&header, array->code, array->shape, array->ndim, HEADER_BYTES);
    errno = bm_buffer_failed(&header) ? ENOMEM : ENAMETOOLONG;
    bool ok = header.size == HEADER_BYTES &&
              pwrite(array->file, header.data, header.size, 0) == (ssize_t)header.size &&
              fdatasync(array->file) == 0;
    bm_buffer_fini(&header);
    return ok || cli_export_fail(export_, array->name, error);
}

static void array_close(const struct array *array)
{
    if (array->file > 0)
        close(array->file);
}

// ---- One component ----

static bool column_open(const struct cli_export *export_, struct column *column,
                        const struct batchmill_component *component, struct batchmill_error *error)
{
    struct array *values = &column->values, *offsets = &column->offsets;
    uint64_t items = export_->drain.kept.items, rows = items;
    column->ragged = component->ragged;
    snprintf(values->name, sizeof values->name, "%s.npy", component->name);
    snprintf(offsets->name, sizeof offsets->name, "%s.offsets.npy", component->name);
    values->code = cli_npy_code(component->dtype);
    values->row_bytes = bm_dtype_size((enum bm_dtype)component->dtype);
    unsigned first = component->ragged ? 1 : 0;
    values->ndim = 1;
    for (unsigned i = first; i < component->ndim; i++) {
        values->shape[values->ndim++] = component->shape[i];
        values->row_bytes *= component->shape[i];
    }
    if (component->ragged) {
        offsets->code = "<u8";
        offsets->ndim = 1;
        offsets->row_bytes = sizeof rows;
        const uint64_t zero = 0;
        bool found = export_->drain.found;
        if (!array_open(export_, offsets, found ? items + 1 : 0, error) ||
            (!found && !array_append(export_, offsets, &zero, 1, error)))
            return false;
        if (pread(offsets->file, &rows, sizeof rows, (off_t)(HEADER_BYTES + items * sizeof rows)) !=
            sizeof rows)
            return cli_export_fail(export_, offsets->name, error);
    }
    return array_open(export_, values, rows, error);
}

static bool column_append(const struct cli_export *export_, struct column *column,
                          const struct batchmill_tensor *tensor, uint64_t nitems,
                          struct batchmill_error *error)
{
    uint64_t before = column->values.shape[0], rows = nitems;
    if (column->ragged) {
        rows = tensor->offsets[nitems];
        uint64_t *offsets = calloc(nitems + 1, sizeof offsets[0]);
        for (uint64_t i = 0; offsets != NULL && i < nitems; i++)
            offsets[i] = before + tensor->offsets[i + 1];
        errno = ENOMEM;
        bool ok = offsets != NULL ? array_append(export_, &column->offsets, offsets, nitems, error)
                                  : cli_export_fail(export_, column->offsets.name, error);
        free(offsets);
        if (!ok)
            return false;
    }
    return array_append(export_, &column->values, tensor->data, rows, error);
}

// ---- The exporter ----

static bool npy_batch(struct cli_export *export_, const struct batchmill_batch *batch,
                      struct batchmill_error *error)
{
    struct npy_exporter *npy = (struct npy_exporter *)export_->exporter;
    uint64_t nitems = batchmill_batch_nitems(batch);
    bool ok = array_append(export_, &npy->items, batchmill_batch_items(batch), nitems, error);
    for (size_t i = 0; i < npy->ncolumns && ok; i++)
        ok = column_append(export_, &npy->columns[i], batchmill_batch_tensor_at(batch, i), nitems,
                           error);
    return ok;
}

static bool npy_flush(struct cli_export *export_, struct batchmill_error *error)
{
    const struct npy_exporter *npy = (const struct npy_exporter *)export_->exporter;
    bool ok = array_flush(export_, &npy->items, error);
    for (size_t i = 0; i < npy->ncolumns && ok; i++) {
        const struct column *column = &npy->columns[i];
        ok = array_flush(export_, &column->values, error) &&
             (!column->ragged || array_flush(export_, &column->offsets, error));
    }
    return ok;
}

static void npy_free(struct cli_exporter *exporter)
{
    struct npy_exporter *npy = (struct npy_exporter *)exporter;
    array_close(&npy->items);
    for (size_t i = 0; i < npy->ncolumns; i++) {
        array_close(&npy->columns[i].values);
        array_close(&npy->columns[i].offsets);
    }
    free(npy->columns);
    free(npy);
}

struct cli_exporter *cli_export_npy(struct cli_export *export_,
                                    const struct batchmill_stream_info *info,
                                    struct batchmill_error *error)
{
    struct npy_exporter *npy = calloc(1, sizeof *npy);
    if (npy != NULL)
        npy->columns = calloc(info->ncomponents + 1, sizeof npy->columns[0]);
    if (npy == NULL || npy->columns == NULL) {
        free(npy);
        errno = ENOMEM;
        cli_export_fail(export_, "items.npy", error);
        return NULL;
    }
    npy->base = (struct cli_exporter){.batch = npy_batch, .flush = npy_flush, .free = npy_free};
    npy->items = (struct array){
        .name = "items.npy", .code = "<u8", .ndim = 1, .row_bytes = sizeof(uint64_t)};
    bool ok = array_open(export_, &npy->items, export_->drain.kept.items, error);
    for (; npy->ncolumns < info->ncomponents && ok; npy->ncolumns++)
        ok = column_open(export_, &npy->columns[npy->ncolumns], &info->components[npy->ncolumns],
                         error);
    if (ok)
        return &npy->base;
    npy_free(&npy->base);
    return NULL;
}
