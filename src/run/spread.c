#include <stdlib.h>

#include "run/internal.h"

// A long step of a batch whose rows do not depend on each other, on several workers.
//
//     the batch's worker                         workers with nothing else to do
//     spread_begin()   cuts the rows, offers
//     spread_go_on(), spread_run(), ...          spread_pick(), spread_go_on(), spread_run(), ...
//     spread_leave()                             spread_leave()
//
// Nobody waits for anybody: whoever leaves last has the batch from then on, on its worker. Who
// helps is a job without a batch, one for each worker. What is worth it is measured: a row's time
// on this stream, now and then. Whoever is idle only helps; batches in line come first.

#define NEVER_SPREAD UINT32_MAX // in row_ns

enum {
    PIECES_PER_WORKER = 4, // so that who begins late, or is slower, does less
    MEASURED_EVERY = 16,   // batches of a stream
};

struct spread {
    struct bm_node node; // in scheduler->offers
    bool offered;
    bool joined;
    struct bm_job *job;
    unsigned nworkers; // at it
    struct bm_spread *rows;
};

static struct bm_scheduler *job_scheduler(const struct bm_job *job)
{
    return job->stream->scheduler;
}

static uint64_t spread_now(const struct bm_job *job)
{
    struct bm_clock *clock = job_scheduler(job)->executor->clock;
    return clock->now_ns(clock);
}

// ---- What it is worth ----

enum bm_status spread_open(struct bm_stream *stream, struct bm_error *err)
{
    unsigned nsteps = bm_pipeline_nsteps(stream->pipeline), nspread = 0;
    for (unsigned step = 0; step < nsteps; step++)
        nspread += bm_pipeline_step_spreads(stream->pipeline, step);
    if (nspread == 0 || stream->scheduler->nworkers < 2)
        return BM_OK; // most streams do without
    stream->row_ns = malloc(nsteps * sizeof *stream->row_ns);
    if (stream->row_ns == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the stream");
    for (unsigned step = 0; step < nsteps; step++)
        atomic_init(&stream->row_ns[step],
                    bm_pipeline_step_spreads(stream->pipeline, step) ? 0 : NEVER_SPREAD);
    return BM_OK;
}

static unsigned step_row_ns(const struct bm_job *job)
{
    const atomic_uint *row_ns = job->stream->row_ns;
    return row_ns == NULL ? NEVER_SPREAD
                          : atomic_load_explicit(&row_ns[job->step], memory_order_relaxed);
}

uint64_t spread_clock(const struct bm_job *job)
{
    unsigned row_ns = step_row_ns(job);
    bool due = row_ns != NEVER_SPREAD && (row_ns == 0 || job->seq % MEASURED_EVERY == 0);
    return due ? spread_now(job) : 0;
}

void spread_measure(const struct bm_job *job, uint64_t began_ns, uint64_t nrows)
{
    if (began_ns == 0 || nrows == 0)
        return;
    uint64_t each_ns = (spread_now(job) - began_ns) / nrows + 1;
    atomic_store_explicit(&job->stream->row_ns[job->step],
                          each_ns < NEVER_SPREAD ? (unsigned)each_ns : NEVER_SPREAD - 1,
                          memory_order_relaxed);
}

// How many pieces to cut the step into; 0: it is not worth it.
static unsigned step_pieces(const struct bm_job *job)
{
    const struct bm_scheduler *scheduler = job_scheduler(job);
    unsigned row_ns = step_row_ns(job);
    uint64_t nrows = job->outcome->work.batch.nitems;
    if (row_ns == NEVER_SPREAD || nrows < 2 || row_ns * nrows < scheduler->spread_ns)
        return 0;
    unsigned most = PIECES_PER_WORKER * scheduler->nworkers;
    return nrows < most ? (unsigned)nrows : most;
}

// ---- Offering ----

static bool spread_wanted(struct bm_scheduler *scheduler)
{
    struct bm_executor *executor = scheduler->executor;
    executor->enter(executor);
    bool wanted = scheduler->nready == 0; // else every worker has something to do
    executor->leave(executor);
    return wanted;
}

static void spread_offer(struct spread *spread, unsigned npieces)
{
    struct bm_scheduler *scheduler = job_scheduler(spread->job);
    struct bm_executor *executor = scheduler->executor;
    executor->enter(executor);
    spread->offered = true;
    bm_list_push_back(&scheduler->offers, &spread->node);
    for (unsigned i = 1; i < scheduler->nworkers && i < npieces; i++)
        executor->wake(executor);
    executor->leave(executor);
}

bool spread_begin(struct bm_job *job)
{
    unsigned npieces = step_pieces(job);
    if (npieces == 0 || !spread_wanted(job_scheduler(job)))
        return false;
    struct spread *spread = malloc(sizeof *spread);
    if (spread == NULL)
        return false;
    *spread = (struct spread){.job = job, .nworkers = 1};
    spread->rows = bm_spread_new(&job->outcome->work, job->step, npieces);
    if (spread->rows == NULL) { // it may still fit one worker
        free(spread);
        return false;
    }
    job->spread = spread;
    spread_offer(spread, npieces);
    return true;
}

struct bm_job *spread_pick(struct bm_scheduler *scheduler, unsigned worker)
{
    struct bm_node *first = bm_list_pop_front(&scheduler->offers);
    if (first == NULL)
        return NULL;
    struct spread *spread = BM_CONTAINER(first, struct spread, node);
    bm_list_push_back(&scheduler->offers, first);
    BM_ASSERT(worker < scheduler->nworkers);
    struct bm_job *helper = &scheduler->helpers[worker];
    *helper = (struct bm_job){
        .stream = spread->job->stream,
        .seq = spread->job->seq,
        .step = spread->job->step,
        .worker = worker,
        .helps = true,
        .spread = spread,
    };
    spread->nworkers++;
    return helper;
}

// ---- Taking part ----

bool spread_go_on(struct bm_job *job)
{
    const struct bm_job *owner = job->spread->job;
    return !atomic_load_explicit(&owner->dropped, memory_order_relaxed) &&
           bm_spread_claim(job->spread->rows, &job->piece);
}

void spread_run(struct bm_job *job)
{
    uint64_t began_ns = job->helps ? 0 : spread_now(job);
    spread_measure(job, began_ns, bm_spread_run(job->spread->rows, job->piece));
}

struct bm_job *spread_leave(struct bm_job *job)
{
    struct spread *spread = job->spread;
    unsigned worker = job->worker;
    if (job->helps)
        job->spread = NULL;
    if (spread->offered) // there is nothing left to take
        bm_list_remove(&spread->node);
    spread->offered = false;
    if (--spread->nworkers > 0)
        return NULL;
    spread->joined = true;
    spread->job->worker = worker;
    return spread->job;
}

// ---- The end ----

bool spread_joined(const struct bm_job *job)
{
    return job->spread->joined;
}

enum bm_result spread_end(struct bm_job *job)
{
    struct spread *spread = job->spread;
    enum bm_result result = bm_spread_end(spread->rows);
    job->spread = NULL;
    free(spread);
    return result;
}
