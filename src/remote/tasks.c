// Who waits for a lender, who has which task, and when one is over.
#include <stdio.h>
#include <string.h>

#include "base/state.h"
#include "remote/internal.h"

static const struct bm_state_rule task_rules[TASK_NSTATES] = {
    [TASK_QUEUED] = {"queued", BM_TO(TASK_OUT) | BM_TO(TASK_ENDED)},
    [TASK_OUT] = {"out", BM_TO(TASK_QUEUED) | BM_TO(TASK_ENDED)},
    [TASK_ENDED] = {"ended", 0},
};

static uint64_t remote_now(const struct bm_remote *remote)
{
    struct bm_clock *clock = remote->executor->clock;
    return clock->now_ns(clock);
}

// The only writer of task->state; keeps the figures along the way.
static void task_move(struct bm_task *task, enum task_state next)
{
    struct bm_remote_info *figures = &task->action->figures;
    unsigned *counts[TASK_NSTATES] = {
        [TASK_QUEUED] = &figures->nwaiting,
        [TASK_OUT] = &figures->nout,
    };
    --*counts[task->state];
    task->state = (enum task_state)bm_state_next(task_rules, (int)task->state, (int)next);
    if (counts[next] != NULL)
        ++*counts[next];
}

// ---- The line ----

static struct bm_task *task_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct bm_task, node);
}

// In the order of arrival: one that was given back is older than those that never left.
static void queue_insert(struct bm_task *task)
{
    struct bm_list *queue = &task->action->queue;
    struct bm_node *before = queue->head.prev;
    while (before != &queue->head && task_at(before)->arrival > task->arrival)
        before = before->prev;
    bm_list_insert_(before, &task->node, before->next);
}

static struct bm_task *remote_oldest(const struct bm_remote *remote, uint64_t actions)
{
    struct bm_task *oldest = NULL;
    for (unsigned i = 0; i < remote->nactions; i++) {
        struct bm_list *queue = &remote->actions[i]->queue;
        if ((actions >> i & 1) == 0 || bm_list_empty(queue))
            continue;
        struct bm_task *first = task_at(queue->head.next);
        if (oldest == NULL || first->arrival < oldest->arrival)
            oldest = first;
    }
    return oldest;
}

static void task_expired(struct bm_timer *timer);
static void task_let_go(struct bm_deferred *deferred);

void task_queue(struct bm_task *task)
{
    struct remote_action *action = task->action;
    struct bm_remote *remote = action->remote;
    struct bm_executor *executor = remote->executor;
    executor->enter(executor);
    task->arrival = ++remote->arrivals;
    task->queued_ns = remote_now(remote);
    task->deferred->owner = task;
    task->deferred->let_go = task_let_go;
    task->deadline.fire = task_expired;
    action->figures.nwaiting++; // where it begins
    queue_insert(task);
    if (action->deadline_ns > 0)
        executor->arm(executor, &task->deadline, task->queued_ns + action->deadline_ns);
    remote->listener->queued(remote->listener, action->index);
    executor->leave(executor);
}

bool bm_remote_waits(const struct bm_remote *remote, uint64_t actions)
{
    return remote_oldest(remote, actions) != NULL;
}

struct bm_task *bm_remote_take(struct bm_remote *remote, uint64_t actions, void *holder)
{
    struct bm_task *task = remote_oldest(remote, actions);
    if (task == NULL)
        return NULL;
    bm_list_remove(&task->node);
    task_move(task, TASK_OUT);
    task->holder = holder;
    task->taken_ns = remote_now(remote);
    return task;
}

// ---- The end ----

// It is ENDED for everybody here; the reference of this side goes.
static void task_leave(struct bm_task *task)
{
    struct bm_remote *remote = task->action->remote;
    if (task->state == TASK_QUEUED)
        bm_list_remove(&task->node);
    remote->executor->disarm(remote->executor, &task->deadline);
    task_move(task, TASK_ENDED);
    task->holder = NULL;
    task->deferred = NULL;
    bm_task_unref(task);
}

static void task_finish(struct bm_task *task)
{
    struct bm_deferred *deferred = task->deferred;
    task_leave(task);
    deferred->finish_within(deferred, BM_RESULT_OK); // remote_finish() says how it ended
}

void bm_task_end(struct bm_task *task, struct bm_task_result *result)
{
    enum { SHARE = 8 }; // what the last one counts for, of the time that tasks take
    struct remote_action *action = task->action;
    uint64_t took_ns = remote_now(action->remote) - task->taken_ns;
    action->task_ns = action->task_ns == 0
                          ? took_ns
                          : action->task_ns - action->task_ns / SHARE + took_ns / SHARE;
    action->figures.done += result->ending != BM_TASK_FAILED;
    action->figures.failed += result->ending == BM_TASK_FAILED;
    task->result = result;
    task_finish(task);
}

static void task_fail(struct bm_task *task, enum bm_status status)
{
    struct bm_remote *remote = task->action->remote;
    task->end_status = status;
    if (task->state == TASK_OUT)
        remote->listener->revoked(remote->listener, task);
    task_finish(task);
}

void bm_task_give_back(struct bm_task *task)
{
    struct remote_action *action = task->action;
    struct bm_remote *remote = action->remote;
    action->figures.retried++;
    if (task->attempt >= action->attempts_max) {
        snprintf(task->end_text, sizeof task->end_text,
                 "%llu processes were lost while they did it", (unsigned long long)task->attempt);
        task->holder = NULL;
        task->end_status = BM_ABORTED;
        action->figures.failed++;
        task_finish(task);
        return;
    }
    task->attempt++;
    task->holder = NULL;
    task_move(task, TASK_QUEUED);
    queue_insert(task);
    remote->listener->queued(remote->listener, action->index);
}

static void task_expired(struct bm_timer *timer)
{
    struct bm_task *task = BM_CONTAINER(timer, struct bm_task, deadline);
    const struct remote_action *action = task->action;
    snprintf(task->end_text, sizeof task->end_text, "expected it done within %g s, but %s%s",
             (double)action->deadline_ns / 1e9,
             task->state == TASK_OUT ? "the process that has it has not ended it"
                                     : "no process that lends it was free",
             task->attempt > 1 ? ", and others were lost over it" : "");
    task->action->figures.expired++;
    task_fail(task, BM_DEADLINE_EXCEEDED);
}

// Nobody wants the batch any more.
static void task_let_go(struct bm_deferred *deferred)
{
    struct bm_task *task = deferred->owner;
    struct bm_remote *remote = task->action->remote;
    if (task->state == TASK_OUT)
        remote->listener->revoked(remote->listener, task);
    task_leave(task);
}

// ---- Asking ----

uint64_t bm_task_attempt(const struct bm_task *task)
{
    return task->attempt;
}

void *bm_task_holder(const struct bm_task *task)
{
    return task->holder;
}

unsigned bm_task_action(const struct bm_task *task)
{
    return task->action->index;
}

uint64_t bm_remote_task_ns(const struct bm_remote *remote, unsigned i)
{
    return remote->actions[i]->task_ns;
}

struct bm_remote_info bm_remote_at(const struct bm_remote *remote, unsigned i)
{
    const struct remote_action *action = remote->actions[i];
    struct bm_remote_info info = action->figures;
    info.name = action->name;
    info.version = action->version;
    if (!bm_list_empty(&action->queue))
        info.waiting_since_ns = task_at(action->queue.head.next)->queued_ns;
    return info;
}

// ---- Being there ----

void bm_remote_start(struct bm_remote *remote, struct bm_executor *executor,
                     struct bm_remote_listener *listener)
{
    remote->listener = listener;
    remote->executor = executor;
}

void bm_remote_stop(struct bm_remote *remote)
{
    for (unsigned i = 0; i < remote->nactions; i++)
        BM_ASSERT(remote->actions[i]->figures.nwaiting + remote->actions[i]->figures.nout == 0);
    remote->executor = NULL;
    remote->listener = NULL;
}
