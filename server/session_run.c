// A stream that is drained on the server: somebody wants what it counts, not its batches.
//
//   RUNNING -> DONE | FAILED | CANCELLED       the report is kept for one lease from then on
#include <stdlib.h>
#include <string.h>

#include "base/state.h"
#include "server/session_internal.h"

struct run {
    struct session_holding holding;
    struct session_plan plan;
    struct bm_stream *stream; // NULL once it is closed
    struct bm_stream_listener listener;
    struct bm_timer closer; // closes the stream, which its own listener may not
    enum bm_run_state state;
    bool consuming, told;
    uint64_t next; // seq of the batch to consume
    uint64_t started_ns, ended_ns;
    struct bm_stream_counts counts; // as of the end
    struct bm_outcome *error;       // the batch that ended it, else the first that failed, or NULL
    unsigned nnumbers;
    struct bm_number *numbers; // as of the end
};

static const struct bm_state_rule run_rules[] = {
    [BM_RUN_RUNNING] = {"running",
                        BM_TO(BM_RUN_DONE) | BM_TO(BM_RUN_FAILED) | BM_TO(BM_RUN_CANCELLED)},
    [BM_RUN_DONE] = {"done", 0},
    [BM_RUN_FAILED] = {"failed", 0},
    [BM_RUN_CANCELLED] = {"cancelled", 0},
};

static struct run *run_of(struct session_holding *holding)
{
    return BM_CONTAINER(holding, struct run, holding);
}

// ---- Reports ----

static void run_told(struct run *run)
{
    if (run->state != BM_RUN_RUNNING && !run->told) {
        run->told = true;
        run->holding.session->nruns_due--;
    }
}

static void run_answer(struct session_holding *holding, struct bm_exchange *exchange)
{
    struct run *run = run_of(holding);
    struct bm_session *session = holding->session;
    struct bm_run_report *report = &exchange->reply.run;
    bool running = run->state == BM_RUN_RUNNING;
    struct bm_number *numbers = calloc(run->nnumbers + 1, sizeof *numbers);
    if (numbers == NULL) {
        struct bm_error error;
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a report");
        session_fail(session, exchange, &error);
        return;
    }
    if (running)
        bm_variables_report(bm_stream_variables(run->stream), numbers);
    else
        memcpy(numbers, run->numbers, run->nnumbers * sizeof *numbers);
    struct bm_stream_counts counts = running ? bm_stream_counts(run->stream) : run->counts;
    uint64_t until_ns = running ? session_now(session) : run->ended_ns;
    *report = (struct bm_run_report){
        .state = run->state,
        .batches = counts.batches,
        .items = counts.items,
        .skipped = counts.skipped,
        .failed = counts.failed,
        .bytes = counts.bytes,
        .seconds = (double)(until_ns - run->started_ns) / 1e9,
        .pipeline = bm_pipeline_ref(run->plan.pipeline),
        .error = run->error == NULL ? NULL : bm_outcome_ref(run->error),
        .nnumbers = run->nnumbers,
        .numbers = numbers,
    };
    run_told(run);
    session_answer(session, exchange);
}

// ---- Running ----

// Keeps what a report needs, so that the stream is not needed any more.
static void run_end(struct run *run, enum bm_run_state state)
{
    struct bm_session *session = run->holding.session;
    run->state = (enum bm_run_state)bm_state_next(run_rules, (int)run->state, (int)state);
    run->ended_ns = session_now(session);
    run->counts = bm_stream_counts(run->stream);
    bm_variables_report(bm_stream_variables(run->stream), run->numbers);
    run->holding.unleased = false;
    session_renew(&run->holding);
    struct bm_exchange *exchange;
    while ((exchange = session_first_parked(&run->holding)) != NULL) {
        session_unpark(exchange);
        run_answer(&run->holding, exchange);
    }
}

static void run_close_stream(struct run *run)
{
    struct bm_executor *executor = run->holding.session->config.executor;
    executor->disarm(executor, &run->closer);
    if (run->stream != NULL)
        bm_stream_close(run->stream);
    run->stream = NULL;
}

static void run_closer(struct bm_timer *timer)
{
    run_close_stream(BM_CONTAINER(timer, struct run, closer));
}

// Takes whatever is ready; asking for the next batch releases the one before.
static void run_consume(struct run *run)
{
    struct bm_executor *executor = run->holding.session->config.executor;
    struct bm_outcome *outcome = NULL;
    if (run->consuming || run->state != BM_RUN_RUNNING)
        return; // asking said at once that there is more; the loop below goes on
    run->consuming = true;
    enum bm_got got;
    bm_stream_ask(run->stream, run->next);
    while ((got = bm_stream_get(run->stream, run->next, &outcome)) == BM_GOT_OUTCOME) {
        bool failed = outcome->work.error.status != BM_OK; // also when on_error skips it
        bool ends = outcome->work.error.status == BM_RESOURCE_EXHAUSTED; // it always does
        if (failed && (run->error == NULL || ends)) {
            bm_outcome_unref(run->error);
            run->error = bm_outcome_ref(outcome);
        }
        outcome = bm_outcome_unref(outcome);
        bm_stream_ask(run->stream, ++run->next);
    }
    run->consuming = false;
    if (got != BM_GOT_END)
        return;
    run_end(run, bm_stream_counts(run->stream).stopped ? BM_RUN_FAILED : BM_RUN_DONE);
    executor->arm(executor, &run->closer, run->ended_ns);
}

static void run_changed(struct bm_stream_listener *listener)
{
    run_consume(BM_CONTAINER(listener, struct run, listener));
}

void session_run_get(struct session_holding *holding, struct bm_exchange *exchange)
{
    uint32_t wait_ms = exchange->request.named.wait_ms;
    struct bm_error error;
    if (run_of(holding)->state != BM_RUN_RUNNING || wait_ms == 0)
        run_answer(holding, exchange);
    else if (session_park(holding, exchange, wait_ms, &error) != BM_OK)
        session_fail(holding->session, exchange, &error);
}

void session_run_cancel(struct session_holding *holding)
{
    struct run *run = run_of(holding);
    if (run->state != BM_RUN_RUNNING)
        return; // cancelling twice, or too late, changes nothing
    run_end(run, BM_RUN_CANCELLED);
    run_close_stream(run);
    run_told(run); // whoever cancels it knows how it ended: a drain need not wait for anybody
}

// ---- Opening and forgetting ----

static void run_opened(struct session_holding *holding, struct bm_exchange *exchange)
{
    session_opened(holding, &run_of(holding)->plan, &exchange->reply.opened);
    session_answer(holding->session, exchange);
}

static void run_destroy(struct session_holding *holding)
{
    struct run *run = run_of(holding);
    holding->session->nruns--;
    if (!run->told)
        holding->session->nruns_due--;
    run_close_stream(run);
    bm_outcome_unref(run->error);
    bm_pipeline_unref(run->plan.pipeline);
    free(run->numbers);
    free(run);
}

const struct session_holding_type session_run_type = {
    .opened = run_opened,
    .late = run_answer,
    .destroy = run_destroy,
};

static enum bm_status run_start(struct run *run, struct bm_error *err)
{
    struct bm_session *session = run->holding.session;
    enum bm_status status =
        session_plan_start(session, &run->plan, run->holding.id, &run->listener, &run->stream, err);
    if (status != BM_OK)
        return status;
    run->nnumbers = bm_variables_count(bm_stream_variables(run->stream));
    run->numbers = calloc(run->nnumbers + 1, sizeof *run->numbers);
    if (run->numbers != NULL)
        return BM_OK;
    bm_stream_close(run->stream);
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a report");
}

void session_run_open(struct bm_session *session, struct bm_exchange *exchange)
{
    const struct bm_open_request *request = &exchange->request.open;
    struct bm_error error;
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a run");
        goto fail;
    }
    run->listener.changed = run_changed;
    run->closer.fire = run_closer;
    run->started_ns = session_now(session);
    run->holding.unleased = request->detached;
    if (session_plan_make(session, request, &run->plan, &error) != BM_OK ||
        session_hold(session, &run->holding, &session_run_type, request, &error) != BM_OK)
        goto fail;
    if (run_start(run, &error) != BM_OK) {
        session_let_go(&run->holding);
        goto fail;
    }
    bm_pipeline_ref(run->plan.pipeline); // its report may be asked for when the stream is closed
    session->nruns++;
    session->nruns_due++;
    run_consume(run);
    run_opened(&run->holding, exchange);
    return;
fail:
    free(run);
    session_fail(session, exchange, &error);
}
