// spans.c -- which batch was in which step when: as a Chrome trace, and as a picture in text.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "client/cli/cli.h"

enum { PID_WORKERS = 1, PID_BATCHES = 2 }; // the two groups of rows in the trace viewer

bool cli_spans_add(struct cli_spans *spans, const struct batchmill_batch *batch)
{
    size_t n;
    const struct batchmill_span *of_batch = batchmill_batch_spans(batch, &n);
    if (of_batch == NULL)
        return true;
    if (spans->n + n > spans->capacity) {
        size_t capacity =
            spans->capacity * 2 > spans->n + n ? spans->capacity * 2 : spans->n + n + 64;
        struct cli_span *grown = realloc(spans->spans, capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        spans->spans = grown;
        spans->capacity = capacity;
    }
    for (size_t i = 0; i < n; i++)
        spans->spans[spans->n++] = (struct cli_span){
            .seq = batchmill_batch_seq(batch), .step = (unsigned)i, .span = of_batch[i]};
    return true;
}

void cli_spans_free(struct cli_spans *spans)
{
    free(spans->spans);
    *spans = (struct cli_spans){0};
}

static uint64_t spans_start_ns(const struct cli_spans *spans)
{
    uint64_t start_ns = UINT64_MAX;
    for (size_t i = 0; i < spans->n; i++) {
        if (spans->spans[i].span.queued_ns != 0 && spans->spans[i].span.queued_ns < start_ns)
            start_ns = spans->spans[i].span.queued_ns;
    }
    return start_ns;
}

// ---- Chrome trace: "Trace Event Format", complete events ("ph": "X") ----

static json_t *chrome_event(const char *name, const char *category, int pid, uint64_t tid,
                            uint64_t from_ns, uint64_t to_ns, uint64_t seq)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:f, s:f, s:{s:I}}", "name", name, "cat", category,
                     "ph", "X", "pid", pid, "tid", (json_int_t)tid, "ts", (double)from_ns / 1e3,
                     "dur", (double)(to_ns - from_ns) / 1e3, "args", "batch", (json_int_t)seq);
}

static void chrome_add_name(json_t *events, const char *kind, int pid, uint64_t tid,
                            const char *name)
{
    json_array_append_new(events,
                          json_pack("{s:s, s:s, s:i, s:I, s:{s:s}}", "name", kind, "ph", "M", "pid",
                                    pid, "tid", (json_int_t)tid, "args", "name", name));
}

static void chrome_add_span(json_t *events, const struct cli_spans *spans,
                            const struct cli_span *at, uint64_t start_ns)
{
    const struct batchmill_span *span = &at->span;
    if (span->started_ns == 0)
        return;
    const char *step = spans->steps[at->step];
    uint64_t started = span->started_ns - start_ns, ended = span->ended_ns - start_ns;
    json_array_append_new(
        events, chrome_event(step, "action", PID_BATCHES, at->seq, started, ended, at->seq));
    json_array_append_new(
        events, chrome_event(step, "action", PID_WORKERS, span->worker, started, ended, at->seq));
    if (span->parked_ns != 0) {
        char name[300];
        snprintf(name, sizeof name, "waits for lock %s", spans->locks[at->step]);
        json_array_append_new(events, chrome_event(name, "lock", PID_BATCHES, at->seq,
                                                   span->parked_ns - start_ns, started, at->seq));
    }
}

bool cli_spans_write_chrome(const struct cli_spans *spans, const char *path)
{
    json_t *events = json_array();
    chrome_add_name(events, "process_name", PID_WORKERS, 0, "workers");
    chrome_add_name(events, "process_name", PID_BATCHES, 0, "batches");
    uint64_t start_ns = spans_start_ns(spans);
    for (size_t i = 0; i < spans->n; i++)
        chrome_add_span(events, spans, &spans->spans[i], start_ns);
    json_t *trace = json_pack("{s:o, s:s}", "traceEvents", events, "displayTimeUnit", "ms");
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool ok = file != NULL && trace != NULL && json_dumpf(trace, file, JSON_COMPACT) == 0;
    if (file != NULL && file != stdout)
        ok = fclose(file) == 0 && ok;
    json_decref(trace);
    return ok;
}

// ---- Gantt: rows are batches, columns are time ----

// Capitals for locked steps.
static char gantt_letter(const struct cli_spans *spans, unsigned step)
{
    const char *letters =
        spans->locks[step] != NULL ? "ABCDEFGHIJKLMNOPQRSTUVWXYZ" : "abcdefghijklmnopqrstuvwxyz";
    return letters[step % 26];
}

struct gantt {
    uint64_t start_ns, column_ns;
    unsigned columns;
};

static unsigned gantt_column(const struct gantt *gantt, uint64_t ns)
{
    uint64_t column = (ns - gantt->start_ns) / gantt->column_ns;
    return column < gantt->columns ? (unsigned)column : gantt->columns - 1;
}

// The column where a span ends belongs to whoever begins there, so that two spans that follow
// each other never share one; every span has at least one column.
static void gantt_paint(const struct gantt *gantt, char *row, uint64_t from_ns, uint64_t to_ns,
                        char with)
{
    unsigned from = gantt_column(gantt, from_ns), to = gantt_column(gantt, to_ns);
    for (unsigned column = from; column < to || column == from; column++) {
        if (row[column] == ' ' || with != '.') // an action covers the wait beside it
            row[column] = with;
    }
}

static void gantt_print_row(const struct cli_spans *spans, const struct gantt *gantt, size_t first)
{
    char row[512];
    memset(row, ' ', gantt->columns);
    uint64_t seq = spans->spans[first].seq;
    for (size_t i = first; i < spans->n && spans->spans[i].seq == seq; i++) {
        const struct batchmill_span *span = &spans->spans[i].span;
        char letter = gantt_letter(spans, spans->spans[i].step);
        if (span->parked_ns != 0)
            gantt_paint(gantt, row, span->parked_ns, span->started_ns, '.');
        if (span->started_ns != 0)
            gantt_paint(gantt, row, span->started_ns, span->ended_ns, letter);
    }
    printf("batch %4" PRIu64 " |%.*s|\n", seq, (int)gantt->columns, row);
}

static void gantt_print_legend(const struct cli_spans *spans, const struct gantt *gantt)
{
    printf("           %u columns of %.2f ms; ", gantt->columns, (double)gantt->column_ns / 1e6);
    for (unsigned step = 0; step < spans->nsteps; step++) {
        const char *lock = spans->locks[step];
        printf("%c %s", gantt_letter(spans, step), spans->steps[step]);
        if (lock != NULL)
            printf(" (lock %s)", lock);
        printf(", ");
    }
    printf(". waits for a lock\n");
}

static int compare_starts(const void *a, const void *b)
{
    const struct batchmill_span *left = a, *right = b;
    return (left->started_ns > right->started_ns) - (left->started_ns < right->started_ns);
}

// Over all batches of the trace, not only those in the picture.
static void gantt_print_lock(const struct cli_spans *spans, unsigned step)
{
    struct batchmill_span *held = calloc(spans->n + 1, sizeof *held);
    if (held == NULL)
        return;
    size_t n = 0, overlaps = 0, waited = 0;
    uint64_t longest_wait_ns = 0;
    for (size_t i = 0; i < spans->n; i++) {
        const struct batchmill_span *span = &spans->spans[i].span;
        if (spans->spans[i].step != step || span->started_ns == 0)
            continue;
        held[n++] = *span;
        if (span->parked_ns == 0)
            continue;
        waited++;
        if (span->started_ns - span->parked_ns > longest_wait_ns)
            longest_wait_ns = span->started_ns - span->parked_ns;
    }
    qsort(held, n, sizeof *held, compare_starts);
    for (size_t i = 1; i < n; i++)
        overlaps += held[i].started_ns < held[i - 1].ended_ns;
    printf("%s: %zu batches held lock %s, %s; %zu waited for it, at most %.2f ms\n",
           spans->steps[step], n, spans->locks[step],
           overlaps == 0 ? "never two at once" : "TWO AT ONCE", waited,
           (double)longest_wait_ns / 1e6);
    free(held);
}

void cli_spans_print_gantt(const struct cli_spans *spans, unsigned columns, unsigned rows)
{
    if (spans->n == 0)
        return;
    struct gantt gantt = {.start_ns = spans_start_ns(spans), .columns = columns};
    uint64_t end_ns = gantt.start_ns;
    unsigned shown = 0;
    for (size_t i = 0; i < spans->n && shown < rows * spans->nsteps; i++, shown++) {
        if (spans->spans[i].span.ended_ns > end_ns)
            end_ns = spans->spans[i].span.ended_ns;
    }
    gantt.column_ns = (end_ns - gantt.start_ns) / columns + 1;
    for (size_t i = 0; i < spans->n && i < (size_t)rows * spans->nsteps; i += spans->nsteps)
        gantt_print_row(spans, &gantt, i);
    gantt_print_legend(spans, &gantt);
    for (unsigned step = 0; step < spans->nsteps; step++) {
        if (spans->locks[step] != NULL)
            gantt_print_lock(spans, step);
    }
}
