// lend.h -- actions that this process does for the pipelines of a server.
// Layer: client/c (public; needs batchmill/client.h).
//
//     const struct batchmill_lent_action augment = {"augment", "", NULL};
//     struct batchmill_lender *lender;
//     if (batchmill_lend(mill, &augment, 1, 2, &lender, &error) != BATCHMILL_OK)
//         ...
//     struct batchmill_task *task;
//     while (batchmill_take(lender, UINT32_MAX, &task, &error) == BATCHMILL_OK) {
//         const struct batchmill_batch *batch = batchmill_task_batch(task);
//         void *image;
//         ...batchmill_task_write(task, "image", BATCHMILL_FLOAT32, 3, shape, NULL, &image,
//         NULL)... batchmill_task_done(task);
//     }
//
// The server declares such actions in its configuration (remote_actions), and with them what each
// writes. It hands a batch to whoever is free. A process that is lost costs its batches an attempt,
// and nothing else: what it made of them is not used, and the next one does them.
//
// Errors and memory are as in client.h.
// Threads: a lender belongs to one thread at a time, with its tasks, except
// batchmill_lender_cancel(). Several threads have a lender each.
#ifndef BATCHMILL_LEND_H
#define BATCHMILL_LEND_H

#include "batchmill/client.h"

#ifdef __cplusplus
extern "C" {
#endif

struct batchmill_lender;
struct batchmill_task;

struct batchmill_lent_action {
    const char *name;
    const char *version; // as declared; NULL is ""
    const char *lock;    // that every pipeline has to use for it (use_lock); NULL: any, or none
};

// Over tcp, tls+tcp and ipc, by a connection of its own. `slots`: tasks that it may have at once, 1
// to 16; with 2, the next one comes while this one is done. BATCHMILL_NOT_FOUND: no such action is
// declared; BATCHMILL_FAILED_PRECONDITION: another version or lock is; BATCHMILL_PERMISSION_DENIED:
// none are. Close the lender before the client.
BATCHMILL_API enum batchmill_code batchmill_lend(struct batchmill_client *client,
                                                 const struct batchmill_lent_action *actions,
                                                 size_t nactions, unsigned slots,
                                                 struct batchmill_lender **ret_lender,
                                                 struct batchmill_error *error);
// Waits for a task: BATCHMILL_DEADLINE_EXCEEDED after `timeout_ms` (UINT32_MAX: never), ask again
// then; BATCHMILL_CANCELLED after batchmill_lender_cancel(). A server that is gone is waited for,
// and told of by the client's log; one that does not take the lender any more is an error.
BATCHMILL_API enum batchmill_code batchmill_take(struct batchmill_lender *lender,
                                                 uint32_t timeout_ms,
                                                 struct batchmill_task **ret_task,
                                                 struct batchmill_error *error);
BATCHMILL_API void batchmill_lender_cancel(struct batchmill_lender *lender); // any thread
// Its tasks were ended, or are given back. NULL is fine.
BATCHMILL_API void batchmill_lender_close(struct batchmill_lender *lender);

// ---- A task: one batch at one action. Each is ended once, by one of the last five ----

struct batchmill_task_info { // lent until the task is ended
    const char *action, *pipeline;
    const char *stream; // its id: (stream, seq, attempt) names this execution
    uint64_t seq, epoch, attempt, seed;
    unsigned position;  // of the action in the pipeline, from 0
    const char *params; // a JSON object: those given in the pipeline, and defaults
    size_t nitems;
    const uint64_t *items;  // [nitems] indices in the source
    const uint64_t *epochs; // [nitems]
    const uint32_t *copies; // [nitems] which of its item's copies each is, from 0
};
BATCHMILL_API void batchmill_task_info(const struct batchmill_task *task,
                                       struct batchmill_task_info *ret_info);
// The batch before the action; do not free it. Valid until the task is ended.
BATCHMILL_API const struct batchmill_batch *batchmill_task_batch(const struct batchmill_task *task);
// The same, to be freed by the caller, before or after the task is ended; NULL: it was taken. What
// it holds may change once the task is ended.
BATCHMILL_API struct batchmill_batch *batchmill_task_take_batch(struct batchmill_task *task);

// Memory for a component that the action writes, to be filled before the task is done; each once.
// `shape` and `offsets` are as in struct batchmill_tensor: [batch, item...], or [rows, rest of
// item...] with `offsets` [batch + 1], which are copied. Aligned to at least 16 bytes. Large ones
// lie where a server on this host reads them.
BATCHMILL_API enum batchmill_code
batchmill_task_write(struct batchmill_task *task, const char *component, enum batchmill_dtype dtype,
                     unsigned ndim, const uint64_t *shape, const uint64_t *offsets, void **ret_data,
                     struct batchmill_error *error);

BATCHMILL_API void batchmill_task_done(struct batchmill_task *task);
// The batch fails in its place. `row`: of the item in the batch, or -1. `text` is one sentence.
BATCHMILL_API void batchmill_task_fail(struct batchmill_task *task, enum batchmill_code code,
                                       int64_t row, const char *text);
BATCHMILL_API void batchmill_task_skip(struct batchmill_task *task); // leave the batch out
BATCHMILL_API void batchmill_task_stop(struct batchmill_task *task); // the stream ends before it
BATCHMILL_API void batchmill_task_give_back(struct batchmill_task *task); // to be done by another

#ifdef __cplusplus
}
#endif
#endif
