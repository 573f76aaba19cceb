// internal.h -- what the files of this layer share. Layer: remote (private).
//
// declare.c reads declarations and makes types of them, type.c is what the engine calls, tasks.c
// says who waits and who has what, result.c puts into a batch what a lender made.
// Threads: as remote.h says.
#pragma once
#include "remote/remote.h"

struct remote_write { // a component that the action writes
    struct bm_component component;
    char *like;                // whose dtype and shape it has, unless given; or NULL
    bool has_dtype, has_shape; // given
};

struct remote_action {
    struct bm_action_type type;
    struct bm_remote *remote;
    unsigned index; // in remote->actions
    char name[BM_NAME_MAX + 1], version[BM_REMOTE_VERSION_MAX + 1];
    char *doc;
    unsigned nwrites, nremoves, nparams;
    struct remote_write *writes;
    char **removes;
    struct bm_param *params;
    char **param_names, **param_defaults; // [nparams], defaults as JSON
    uint64_t deadline_ns;                 // 0: none
    unsigned attempts_max;
    // With the executor's mutex:
    struct bm_list queue; // of tasks, the oldest first
    struct bm_remote_info figures;
    uint64_t task_ns; // about
};

struct bm_remote {
    unsigned nactions;
    struct remote_action *actions[BM_REMOTE_ACTIONS_MAX]; // by name
    struct bm_executor *executor; // NULL: not started; the mutex, from then on
    struct bm_remote_listener *listener;
    uint64_t arrivals; // how many tasks came
};

enum task_state { TASK_QUEUED, TASK_OUT, TASK_ENDED, TASK_NSTATES };

struct bm_task {
    struct bm_pending pending; // of the batch's work, which so has a reference
    atomic_uint refs;
    struct remote_action *action;
    struct bm_task_told told;
    struct bm_pipeline *pipeline; // a reference
    char stream[41];              // BM_STREAM_ID_MAX
    void *copied;                 // items, epochs and copies, owned
    // With the executor's mutex:
    enum task_state state;
    struct bm_node node; // in action->queue while QUEUED
    uint64_t arrival, attempt, queued_ns, taken_ns;
    struct bm_timer deadline;
    struct bm_deferred *deferred; // until ENDED
    void *holder;                 // while OUT
    // Written once, before ENDED; then read by the worker that finishes the batch:
    struct bm_task_result *result;
    enum bm_status end_status; // without a result: why
    char end_text[BM_ERROR_TEXT_MAX];
};

struct remote_plan { // of an action in a pipeline
    struct remote_action *action;
    char *params; // JSON
};

// ---- type.c ----
enum bm_status remote_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                            struct bm_error *err);
enum bm_result remote_run(struct bm_call *call);
enum bm_result remote_finish(struct bm_call *call);
void remote_plan_free(void *plan);

// ---- tasks.c ----
// Takes the task, which run() has made. Without the mutex.
void task_queue(struct bm_task *task);

// ---- json.c ----
void json_add(struct bm_buffer *out, const struct bm_value *value);
void json_add_text(struct bm_buffer *out, const char *text);

// ---- result.c ----
// Fills what the call writes. NULL result: no such thing.
enum bm_result result_put(struct bm_call *call, struct bm_task_result *result);
