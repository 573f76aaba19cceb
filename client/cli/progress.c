// progress.c -- how far, how fast, how long still.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/cli/cli.h"

enum { BAR_WIDTH = 24 };
#define SHOW_TERMINAL_NS 100000000u // redraw at most every 100 ms
#define SHOW_PLAIN_NS 2000000000u   // a plain line at most every 2 s

static uint64_t now_ns(void)
{
    struct bm_clock *clock = bm_clock_system();
    return clock->now_ns(clock);
}

void cli_progress_start(struct cli_progress *progress, uint64_t total, bool quiet)
{
    *progress = (struct cli_progress){
        .total = total,
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO) == 1,
        .started_ns = now_ns(),
    };
    progress->shown_ns = progress->started_ns;
}

double cli_progress_seconds(const struct cli_progress *progress)
{
    return (double)(now_ns() - progress->started_ns) / 1e9;
}

static void progress_print_time(double seconds)
{
    unsigned whole = seconds < 360000 ? (unsigned)seconds : 360000;
    if (whole >= 3600)
        fprintf(stderr, "%u:%02u:%02u", whole / 3600, whole / 60 % 60, whole % 60);
    else
        fprintf(stderr, "%02u:%02u", whole / 60, whole % 60);
}

static void progress_show(struct cli_progress *progress)
{
    double seconds = cli_progress_seconds(progress);
    double rate = seconds > 0 ? (double)progress->batches / seconds : 0;
    double megabytes = seconds > 0 ? (double)progress->bytes / 1e6 / seconds : 0;
    bool known = progress->total != BATCHMILL_UNSET && progress->total > 0;
    double done = known ? (double)progress->batches / (double)progress->total : 0;
    if (progress->terminal)
        fputs("\r\033[K", stderr);
    if (known && progress->terminal) {
        char bar[BAR_WIDTH + 1];
        unsigned filled = (unsigned)(done * BAR_WIDTH);
        filled = filled > BAR_WIDTH ? BAR_WIDTH : filled;
        memset(bar, '#', filled);
        memset(bar + filled, '.', BAR_WIDTH - filled);
        bar[BAR_WIDTH] = '\0';
        fprintf(stderr, "[%s] ", bar);
    }
    if (known)
        fprintf(stderr, "%3.0f%% %llu/%llu batches", done * 100,
                (unsigned long long)progress->batches, (unsigned long long)progress->total);
    else
        fprintf(stderr, "%llu batches", (unsigned long long)progress->batches);
    fprintf(stderr, ", %llu items, %.0f batches/s, %.1f MB/s", (unsigned long long)progress->items,
            rate, megabytes);
    if (known && rate > 0 && progress->batches < progress->total) {
        fputs(", ETA ", stderr);
        progress_print_time((double)(progress->total - progress->batches) / rate);
    }
    if (!progress->terminal)
        fputc('\n', stderr);
    fflush(stderr);
    progress->drawn = true;
}

void cli_progress_set(struct cli_progress *progress, uint64_t batches, uint64_t items,
                      uint64_t bytes)
{
    progress->batches = batches;
    progress->items = items;
    progress->bytes = bytes;
    uint64_t now = now_ns();
    uint64_t pause_ns = progress->terminal ? SHOW_TERMINAL_NS : SHOW_PLAIN_NS;
    if (progress->quiet || now - progress->shown_ns < pause_ns)
        return;
    progress->shown_ns = now;
    progress_show(progress);
}

void cli_progress_add(struct cli_progress *progress, const struct batchmill_batch *batch)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++)
        bytes += batchmill_batch_tensor_at(batch, i)->size_bytes;
    cli_progress_set(progress, progress->batches + 1,
                     progress->items + batchmill_batch_nitems(batch), progress->bytes + bytes);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->quiet)
        return;
    progress_show(progress);
    if (progress->terminal)
        fputc('\n', stderr);
}
