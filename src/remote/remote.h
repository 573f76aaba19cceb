// remote.h -- actions that other processes do: declared here, lent by whoever connects.
// Layer: remote (may include base, data, pipeline, run/executor.h).
//
// A declaration gives an action its name, what it writes, and its parameters, so that pipelines are
// laid out before anybody lends it. A batch that comes to such an action becomes a *task*, and
// waits without a worker until a *lender* takes it, does it, and says how it ended. A lender that
// is lost costs an attempt and nothing else: the task goes to the next, and what the lost one may
// still say of it is not heard.
//
//     QUEUED -> OUT -> ENDED
//        ^       |       ^
//        +-------+       |      its lender is lost
//        +---------------+      deadline, too many attempts, or nobody wants the batch any more
//
// Threads: declarations are filled by one thread, then immutable. Everything about tasks with the
// executor's mutex held, except where marked.
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "data/mapped.h"
#include "pipeline/pipeline.h"
#include "run/executor.h"

enum {
    BM_REMOTE_ACTIONS_MAX = 64,
    BM_REMOTE_ATTEMPTS = 10,    // of a task, unless declared otherwise
    BM_REMOTE_VERSION_MAX = 64, // bytes
};

struct bm_remote; // the remote actions of one server

// ---- Declarations ----

enum bm_status bm_remote_new(struct bm_remote **ret_remote, struct bm_error *err);
void bm_remote_free(struct bm_remote *remote); // no task is left; NULL is fine
// `declarations` is {name: {writes: {...}, removes: [...], params: {...}, ...}}; adds a type for
// each to the registry, which is asked for them only while `remote` is there.
enum bm_status bm_remote_declare(struct bm_remote *remote, const struct bm_value *declarations,
                                 struct bm_registry *registry, struct bm_error *err);

struct bm_remote_info { // borrowed
    const char *name, *version;
    // Of its tasks, as of now; the counts since the start.
    unsigned nwaiting, nout;
    uint64_t waiting_since_ns; // of the oldest; 0: none waits
    uint64_t done, failed, retried, expired;
};
unsigned bm_remote_count(const struct bm_remote *remote);
struct bm_remote_info bm_remote_at(const struct bm_remote *remote, unsigned i); // by name
int bm_remote_find(const struct bm_remote *remote, const char *name);           // -1: none

// ---- Tasks, for the lenders' side ----

struct bm_task;

struct bm_remote_listener { // embedded by the lenders' side
    // A task of action `i` is to be had with bm_remote_take(). It may call everything here.
    void (*queued)(struct bm_remote_listener *self, unsigned i);
    // The task that its lender has is over without it; the lender's side lets go of it.
    void (*revoked)(struct bm_remote_listener *self, struct bm_task *task);
};
// From now on tasks come, until bm_remote_stop(), when none is left. Without it, batches that come
// to such an action fail.
void bm_remote_start(struct bm_remote *remote, struct bm_executor *executor,
                     struct bm_remote_listener *listener);
void bm_remote_stop(struct bm_remote *remote);

// The oldest task of the actions in the mask, or NULL; it is OUT, and `holder` has it.
struct bm_task *bm_remote_take(struct bm_remote *remote, uint64_t actions, void *holder);
bool bm_remote_waits(const struct bm_remote *remote, uint64_t actions); // take() would give one
void *bm_task_holder(const struct bm_task *task);
// How long tasks of the action are out, about; 0: none has come back yet.
uint64_t bm_remote_task_ns(const struct bm_remote *remote, unsigned i);
unsigned bm_task_action(const struct bm_task *task); // index

struct bm_task_result;
// What its lender says; takes the reference to the result.
void bm_task_end(struct bm_task *task, struct bm_task_result *result);
void bm_task_give_back(struct bm_task *task); // its lender is lost

// What a lender is told of it: immutable while referenced. Any thread.
struct bm_task_told {
    const char *action, *stream, *params; // params: a JSON object
    const struct bm_pipeline *pipeline;
    uint64_t seq, epoch, seed, attempt; // the attempt as of now is the session's to copy
    unsigned position;
    uint64_t nitems;
    const uint64_t *items, *epochs; // [nitems]
    const uint32_t *copies;         // [nitems], or NULL: the only one of each
    struct bm_batch batch;          // before the action
};
const struct bm_task_told *bm_task_told(const struct bm_task *task);
uint64_t bm_task_attempt(const struct bm_task *task);
struct bm_task *bm_task_ref(struct bm_task *task);
struct bm_task *bm_task_unref(struct bm_task *task); // returns NULL; NULL is fine. Any thread

// ---- Results ----

enum bm_task_ending { BM_TASK_DONE = 1, BM_TASK_FAILED, BM_TASK_SKIP, BM_TASK_STOP };

struct bm_task_tensor { // as its lender says: nothing is checked yet
    char name[BM_NAME_MAX + 1];
    uint64_t dtype; // enum bm_dtype
    bool ragged;
    unsigned ndim; // BM_NDIM_MAX + 2: too many
    uint64_t shape[BM_NDIM_MAX + 1];
    const unsigned char *offsets, *data; // not aligned; in the result's memory
    uint64_t offsets_bytes, data_bytes;
    bool placed; // it lies in the lender's memory instead
    struct bm_mapped_place place;
};
struct bm_task_result { // one allocation of malloc(), shared by reference count
    atomic_uint refs;
    enum bm_task_ending ending;
    enum bm_status status; // of FAILED
    int64_t row;           // of FAILED, or -1
    char text[BM_ERROR_TEXT_MAX];
    void *bytes;              // what `tensors` look at, owned
    struct bm_mapped *mapped; // of the lender, owned; NULL: nothing may be placed
    unsigned ntensors;
    struct bm_task_tensor tensors[];
};
struct bm_task_result *bm_task_result_ref(struct bm_task_result *result);
// Any thread; returns NULL; NULL is fine.
struct bm_task_result *bm_task_result_unref(struct bm_task_result *result);
// Nobody but one looks at it any more: the memory that it names is the lender's again. Any thread.
bool bm_task_result_alone(const struct bm_task_result *result);
