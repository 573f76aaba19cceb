#include "client/c/window.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static struct bm_client_slot *window_slot(struct bm_client_window *window, uint64_t seq)
{
    BM_ASSERT(window->size > 0);
    return &window->slots[seq % window->size];
}

// One past the last seq that may be asked for.
static uint64_t window_stop(const struct bm_client_window *window)
{
    uint64_t stop = window->base + window->width;
    return stop < window->end_seq ? stop : window->end_seq;
}

static void window_count_empty(struct bm_client_window *window)
{
    window->nempty = 0;
    for (uint64_t seq = window->base; seq < window_stop(window); seq++) {
        // What the consumer holds has left its slot, but not the window.
        if (seq >= window->want && window_slot(window, seq)->state == BM_CLIENT_EMPTY)
            window->nempty++;
    }
}

bool bm_client_window_init(struct bm_client_window *window, uint64_t first_seq, uint64_t end_seq,
                           uint32_t prefetch, bool narrow, void (*drop)(void *batch))
{
    *window = (struct bm_client_window){
        .base = first_seq,
        .want = first_seq,
        .acked = first_seq,
        .end_seq = end_seq,
        .size = prefetch + 1,
        .width = narrow ? 1 : prefetch + 1,
        .narrow = narrow,
        .drop = drop,
        .slots = calloc(prefetch + 1, sizeof *window->slots),
    };
    if (window->slots == NULL)
        return false;
    window_count_empty(window);
    return true;
}

static void window_clear(struct bm_client_window *window)
{
    for (uint32_t i = 0; i < window->size && window->slots != NULL; i++) {
        if (window->slots[i].arrival.batch != NULL)
            window->drop(window->slots[i].arrival.batch);
        window->slots[i] = (struct bm_client_slot){0};
    }
}

void bm_client_window_fini(struct bm_client_window *window)
{
    window_clear(window);
    free(window->slots);
    *window = (struct bm_client_window){0};
}

void bm_client_window_rewind(struct bm_client_window *window, uint64_t end_seq)
{
    window_clear(window);
    window->base = window->want;
    window->width = window->narrow ? 1 : window->size;
    window->end_seq = end_seq;
    window->nasks = 0;
    window->acking = false;
    window->ack_due = window->started;
    window_count_empty(window);
}

static uint32_t window_quarter(const struct bm_client_window *window)
{
    return window->width / 4 > 1 ? window->width / 4 : 1;
}

static void window_move(struct bm_client_window *window, uint64_t base)
{
    uint64_t before = window_stop(window);
    window->base = window->want = base;
    window->ack_due |= base - window->acked >= window_quarter(window);
    uint64_t after = window_stop(window);
    if (after > before)
        window->nempty += (uint32_t)(after - before);
}

void bm_client_window_ask(struct bm_client_window *window)
{
    if (!window->started)
        window->ack_due = true;
    window->started = true;
    if (window->base != window->want)
        window_move(window, window->want);
}

// How many batches a reply holds, judged by the largest one so far.
static uint32_t window_piece(const struct bm_client_window *window)
{
    if (window->batch_bytes == 0)
        return window->size;
    uint64_t fit = BM_CLIENT_REPLY_BYTES / window->batch_bytes;
    if (fit < 1)
        return 1;
    return fit < window->size ? (uint32_t)fit : window->size;
}

static bool window_must_ask(struct bm_client_window *window)
{
    if (window->nempty == 0 || window->nasks == BM_CLIENT_ASKS_MAX)
        return false;
    uint32_t enough = window_quarter(window);
    uint32_t piece = window_piece(window);
    return window->nasks == 0 || window->nempty >= (piece < enough ? piece : enough) ||
           window_slot(window, window->want)->state == BM_CLIENT_EMPTY;
}

static bool window_waits(struct bm_client_window *window)
{
    return window->base == window->want &&
           window_slot(window, window->want)->state != BM_CLIENT_READY;
}

bool bm_client_window_next_ask(struct bm_client_window *window, struct bm_client_ask *ret_ask)
{
    if (!window->started)
        return false;
    if (window_must_ask(window)) {
        uint64_t first = window->want, stop = window_stop(window);
        while (window_slot(window, first)->state != BM_CLIENT_EMPTY)
            first++;
        uint32_t count = 0, piece = window_piece(window);
        for (uint64_t seq = first; seq < stop && count < piece; seq++, count++) {
            struct bm_client_slot *slot = window_slot(window, seq);
            if (slot->state != BM_CLIENT_EMPTY)
                break;
            slot->state = BM_CLIENT_ASKED;
        }
        window->nempty -= count;
        window->nasks++;
        window->ack_due = false;
        window->acked = window->base;
        *ret_ask = (struct bm_client_ask){first, count, window->base, window_waits(window)};
        return true;
    }
    if (window->ack_due && !window->acking && window->base < window->end_seq) {
        window->acking = true;
        window->ack_due = false;
        window->acked = window->base;
        *ret_ask = (struct bm_client_ask){window->want, 0, window->base, window_waits(window)};
        return true;
    }
    return false;
}

bool bm_client_window_keep_alive(struct bm_client_window *window, struct bm_client_ask *ret_ask)
{
    if (window->want >= window->end_seq || window->nasks > 0 || window->acking)
        return false;
    window->acking = true;
    *ret_ask = (struct bm_client_ask){window->want, 0, window->base, false};
    return true;
}

void bm_client_window_widen(struct bm_client_window *window, uint64_t width)
{
    if (width > window->size)
        width = window->size;
    if (width <= window->width)
        return;
    window->width = (uint32_t)width;
    window_count_empty(window);
}

bool bm_client_window_put(struct bm_client_window *window, uint64_t seq,
                          const struct bm_client_arrival *arrival)
{
    if (seq < window->want || seq >= window_stop(window))
        return false;
    struct bm_client_slot *slot = window_slot(window, seq);
    if (slot->state == BM_CLIENT_READY)
        return false;
    if (slot->state == BM_CLIENT_EMPTY)
        window->nempty--;
    slot->state = BM_CLIENT_READY;
    slot->arrival = *arrival;
    if (arrival->bytes > window->batch_bytes)
        window->batch_bytes = arrival->bytes;
    return true;
}

void bm_client_window_end(struct bm_client_window *window, uint64_t end_seq)
{
    if (end_seq >= window->end_seq)
        return;
    window->end_seq = end_seq;
    window_count_empty(window);
}

void bm_client_window_answered(struct bm_client_window *window, const struct bm_client_ask *ask,
                               bool lost)
{
    if (lost && ask->ack == window->acked)
        window->ack_due = true;
    if (ask->count == 0) {
        window->acking = false;
        return;
    }
    window->nasks--;
    uint64_t seq = ask->first > window->want ? ask->first : window->want;
    for (; seq < ask->first + ask->count; seq++) {
        struct bm_client_slot *slot = window_slot(window, seq);
        if (slot->state != BM_CLIENT_ASKED)
            continue;
        slot->state = BM_CLIENT_EMPTY;
        if (seq < window->end_seq)
            window->nempty++;
    }
}

enum bm_client_taken bm_client_window_take(struct bm_client_window *window, void **ret_batch)
{
    for (;;) {
        if (window->want >= window->end_seq)
            return BM_CLIENT_END;
        struct bm_client_slot *slot = window_slot(window, window->want);
        if (slot->state != BM_CLIENT_READY) {
            window->ack_due |= window->base > window->acked; // the whole window is to be at work
            return BM_CLIENT_WAIT;
        }
        struct bm_client_arrival arrival = slot->arrival;
        *slot = (struct bm_client_slot){0};
        window->failed += arrival.failed;
        if (!arrival.skipped) {
            window->want++;
            *ret_batch = arrival.batch;
            return BM_CLIENT_TAKEN;
        }
        window->skipped++;
        window_move(window, window->want + 1);
    }
}
