// A task in its lender's hands: the batch before the action, and what is written for it.
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/size.h"
#include "client/c/lend.h"
#include "data/dtype.h"

// ---- Its life ----

static void written_fini(struct bm_client_written *written)
{
    free(written->offsets);
    if (written->shared == NULL)
        free(written->data);
    bm_shared_free(written->shared);
}

void lend_task_free(struct batchmill_task *task)
{
    if (task == NULL)
        return;
    for (size_t i = 0; i < task->nwritten; i++)
        written_fini(&task->written[i]);
    bm_client_told_free(&task->told);
    batchmill_batch_free(task->batch);
    free(task->written);
    free(task->epochs);
    free(task->copies);
    free(task);
}

struct mapped_batch { // what of the server's memory a batch looks at
    struct bm_mapped *server;
    size_t n;
    struct bm_mapping *mappings[];
};

static void mapped_batch_release(void *context)
{
    struct mapped_batch *mapped = context;
    for (size_t i = 0; i < mapped->n; i++)
        bm_mapped_leave(mapped->server, mapped->mappings[i]);
    bm_mapped_unref(mapped->server);
    free(mapped);
}

static bool batch_map(struct batchmill_batch *batch, struct bm_mapped *server)
{
    const struct bm_client_batch *view = batch->view;
    struct mapped_batch *mapped =
        calloc(1, sizeof *mapped + view->ntensors * sizeof(struct bm_mapping *));
    if (mapped == NULL)
        return false;
    mapped->server = bm_mapped_ref(server);
    batch->release = mapped_batch_release;
    batch->context = mapped;
    for (size_t i = 0; i < view->ntensors; i++) {
        const struct bm_client_place *from = &view->places[i];
        const struct bm_mapped_place place = {from->fd, from->block, from->offset,
                                              from->size_bytes};
        void *data = NULL;
        if (!from->given)
            continue;
        struct bm_mapping *mapping =
            from->offset % BM_CLIENT_ALIGNMENT != 0 ? NULL : bm_mapped_enter(server, &place, &data);
        if (mapping == NULL)
            return false;
        mapped->mappings[mapped->n++] = mapping;
        view->tensors[i].data = data;
    }
    return true;
}

// On the wire they are left out where they are all the same.
static bool task_number(struct batchmill_task *task)
{
    const struct bm_client_told *told = &task->told;
    size_t n = task->batch->view->nitems;
    task->epochs = malloc((n + 1) * sizeof task->epochs[0]);
    task->copies = calloc(n + 1, sizeof task->copies[0]);
    if (task->epochs == NULL || task->copies == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        task->epochs[i] = told->nepochs > 0 ? told->epochs[i] : task->batch->view->epoch;
    if (told->ncopies > 0)
        memcpy(task->copies, told->copies, n * sizeof task->copies[0]);
    return true;
}

static void task_tell(struct batchmill_task *task)
{
    const struct bm_client_told *told = &task->told;
    const struct bm_client_batch *view = task->batch->view;
    task->info = (struct batchmill_task_info){
        .action = told->action,
        .pipeline = told->pipeline,
        .stream = told->stream,
        .seq = view->seq,
        .epoch = view->epoch,
        .attempt = told->attempt,
        .seed = told->seed,
        .position = told->position,
        .params = told->params,
        .nitems = view->nitems,
        .items = view->items,
        .epochs = task->epochs,
        .copies = task->copies,
    };
}

enum batchmill_code lend_task_new(struct lend_slot *slot, struct bm_client_task_reply *taken,
                                  struct bm_client_message *message,
                                  struct batchmill_task **ret_task, struct batchmill_error *error)
{
    struct bm_mapped *server = slot->lender->server;
    struct batchmill_task *task = calloc(1, sizeof *task);
    struct batchmill_batch *batch = bm_client_batch_new(taken->batch, message, NULL);
    if (task == NULL || batch == NULL) {
        if (batch == NULL)
            free(taken->batch);
        batchmill_batch_free(batch);
        free(task);
        bm_client_told_free(&taken->told);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a task");
    }
    task->slot = slot;
    task->ticket = taken->ticket;
    task->told = taken->told;
    task->batch = batch;
    if (!task_number(task)) {
        lend_task_free(task);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a task");
    }
    if (taken->batch->places != NULL && (server == NULL || !batch_map(batch, server))) {
        lend_task_free(task);
        return bm_client_fail(error, BATCHMILL_UNAVAILABLE, "the server's memory cannot be seen");
    }
    task_tell(task);
    *ret_task = task;
    return BATCHMILL_OK;
}

// ---- What it says ----

void batchmill_task_info(const struct batchmill_task *task, struct batchmill_task_info *ret_info)
{
    *ret_info = task->info;
}

const struct batchmill_batch *batchmill_task_batch(const struct batchmill_task *task)
{
    return task->batch;
}

struct batchmill_batch *batchmill_task_take_batch(struct batchmill_task *task)
{
    struct batchmill_batch *batch = task->batch;
    task->batch = NULL;
    return batch;
}

// ---- What is written ----

static enum batchmill_code write_measure(const struct batchmill_task *task, const char *component,
                                         enum batchmill_dtype dtype, unsigned ndim,
                                         const uint64_t *shape, const uint64_t *offsets,
                                         uint64_t *ret_bytes, struct batchmill_error *error)
{
    if (component == NULL || !bm_name_valid(component))
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "component: expected " BM_NAME_RULE);
    for (size_t i = 0; i < task->nwritten; i++) {
        if (strcmp(task->written[i].name, component) == 0)
            return bm_client_fail(error, BATCHMILL_ALREADY_EXISTS,
                                  "%s: expected it to be written once, got it again", component);
    }
    if (dtype < BATCHMILL_BOOL || dtype > BATCHMILL_STRING || ndim < 1 ||
        ndim > BATCHMILL_NDIM_MAX || shape == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "%s: expected a dtype and a shape of 1 to %d axes", component,
                              BATCHMILL_NDIM_MAX);
    size_t n = task->info.nitems;
    if (offsets == NULL && shape[0] != n)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "%s: expected %zu items along the first axis, got %llu", component, n,
                              (unsigned long long)shape[0]);
    if (offsets != NULL && (offsets[0] != 0 || offsets[n] != shape[0]))
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "%s: expected offsets from 0 to %llu", component,
                              (unsigned long long)shape[0]);
    uint64_t bytes = bm_dtype_size((enum bm_dtype)dtype);
    for (unsigned i = 0; i < ndim; i++) {
        if (!bm_size_mul(bytes, shape[i], &bytes) || bytes > INT64_MAX / 2)
            return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected fewer elements",
                                  component);
    }
    *ret_bytes = bytes;
    return BATCHMILL_OK;
}

static bool write_alloc(const struct batchmill_task *task, struct bm_client_written *written)
{
    const struct batchmill_lender *lender = task->slot->lender;
    uint64_t bytes = written->size_bytes;
    bool shares = lender->seen && lender->pool != NULL && bytes >= BM_SHARED_BYTES_MIN;
    written->shared = shares ? bm_shared_new(lender->pool, bytes) : NULL;
    if (written->shared != NULL) {
        written->data = bm_shared_data(written->shared);
        return true;
    }
    return posix_memalign(&written->data, 64, bytes + 1) == 0;
}

enum batchmill_code batchmill_task_write(struct batchmill_task *task, const char *component,
                                         enum batchmill_dtype dtype, unsigned ndim,
                                         const uint64_t *shape, const uint64_t *offsets,
                                         void **ret_data, struct batchmill_error *error)
{
    struct bm_client_written written = {.dtype = dtype, .ndim = ndim};
    enum batchmill_code code =
        write_measure(task, component, dtype, ndim, shape, offsets, &written.size_bytes, error);
    if (code != BATCHMILL_OK)
        return code;
    strcpy(written.name, component);
    memcpy(written.shape, shape, ndim * sizeof shape[0]);
    if (offsets != NULL) {
        written.noffsets = task->info.nitems + 1;
        written.offsets = malloc(written.noffsets * sizeof offsets[0]);
        if (written.offsets != NULL)
            memcpy(written.offsets, offsets, written.noffsets * sizeof offsets[0]);
    }
    struct bm_client_written *list =
        reallocarray(task->written, task->nwritten + 1, sizeof *task->written);
    if (list != NULL)
        task->written = list;
    if (list == NULL || (offsets != NULL && written.offsets == NULL) ||
        !write_alloc(task, &written)) {
        free(written.offsets);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "%s: out of memory", component);
    }
    task->written[task->nwritten++] = written;
    *ret_data = written.data;
    return BATCHMILL_OK;
}

// ---- Its end ----

void batchmill_task_done(struct batchmill_task *task)
{
    lend_slot_end(task, BM_CLIENT_TASK_DONE, BATCHMILL_OK, -1, NULL);
}

void batchmill_task_fail(struct batchmill_task *task, enum batchmill_code code, int64_t row,
                         const char *text)
{
    lend_slot_end(task, BM_CLIENT_TASK_FAILED, code, row, text);
}

void batchmill_task_skip(struct batchmill_task *task)
{
    lend_slot_end(task, BM_CLIENT_TASK_SKIP, BATCHMILL_OK, -1, NULL);
}

void batchmill_task_stop(struct batchmill_task *task)
{
    lend_slot_end(task, BM_CLIENT_TASK_STOP, BATCHMILL_OK, -1, NULL);
}

void batchmill_task_give_back(struct batchmill_task *task)
{
    lend_slot_end(task, BM_CLIENT_TASK_NONE, BATCHMILL_OK, -1, NULL);
}
