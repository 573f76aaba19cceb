#include "data/groups.h"

#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "data/permutation.h"

struct bm_groups {
    uint64_t n, width;
    uint32_t sorted[]; // items by length, and by index where lengths are equal
};

static int items_compare(const void *a_, const void *b_, void *lengths_)
{
    const double *lengths = lengths_;
    uint32_t a = *(const uint32_t *)a_, b = *(const uint32_t *)b_;
    double length_a = isnan(lengths[a]) ? 0 : lengths[a];
    double length_b = isnan(lengths[b]) ? 0 : lengths[b];
    if (length_a != length_b)
        return length_a < length_b ? -1 : 1;
    return a < b ? -1 : a > b;
}

enum bm_status bm_groups_new(const double *lengths, uint64_t n, uint64_t width,
                             struct bm_groups **ret_groups, struct bm_error *err)
{
    if (n > UINT32_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                       "expected at most 2^32 - 1 items to be sorted by length, got %llu",
                       (unsigned long long)n);
    struct bm_groups *groups = malloc(sizeof *groups + (n + 1) * sizeof groups->sorted[0]);
    if (groups == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL,
                       "out of memory for the order of %llu items", (unsigned long long)n);
    groups->n = n;
    groups->width = width;
    for (uint64_t i = 0; i < n; i++)
        groups->sorted[i] = (uint32_t)i;
    qsort_r(groups->sorted, n, sizeof groups->sorted[0], items_compare, (void *)lengths);
    *ret_groups = groups;
    return BM_OK;
}

void bm_groups_free(struct bm_groups *groups)
{
    free(groups);
}

// ---- Where an item is ----

struct layout { // of one epoch
    const struct bm_groups *groups;
    uint64_t seed, epoch;
    uint64_t together;   // items of a run: a batch of each shard
    uint64_t block;      // items among which places change: whole runs
    uint64_t nruns;      // full runs in the sorted order
    uint64_t rest;       // items that fill no run: they come last
    uint64_t rest_first; // and lie there in the sorted order, between two runs
    struct bm_permutation runs;
};

static void layout_init(struct layout *layout, const struct bm_groups *groups, uint64_t seed,
                        uint64_t epoch, uint64_t batch_size, uint64_t nshards)
{
    const uint64_t together = batch_size * nshards;
    *layout = (struct layout){
        .groups = groups,
        .seed = seed,
        .epoch = epoch,
        .together = together,
        .block = ((groups->width - 1) / nshards + 1) * together,
        .nruns = groups->n / together,
        .rest = groups->n % together,
    };
    // Which items are left over changes with the epoch: with drop_last it must not be the longest
    // ones always.
    layout->rest_first = bm_permute(seed + 1, epoch, layout->nruns + 1, 0) * together;
    if (layout->nruns > 0)
        bm_permutation_init(&layout->runs, seed, epoch, layout->nruns);
}

// Where run r of the epoch begins in the sorted order; the rest is the last one.
static uint64_t layout_run(const struct layout *layout, uint64_t r)
{
    if (r == layout->nruns)
        return layout->rest_first;
    bm_permutation_apply(&layout->runs, &r, 1);
    uint64_t place = r * layout->together;
    return place < layout->rest_first ? place : place + layout->rest;
}

// The items at these places of the sorted order, which lie in block `block`.
static void block_apply(const struct layout *layout, uint64_t block, uint64_t *x, uint64_t count)
{
    const struct bm_groups *groups = layout->groups;
    uint64_t size = layout->block, first = block * size;
    struct bm_permutation permutation;
    bm_permutation_init(&permutation, bm_mix64(layout->seed + 2) + block, layout->epoch,
                        groups->n - first < size ? groups->n - first : size);
    for (uint64_t i = 0; i < count; i++)
        x[i] -= first;
    bm_permutation_apply(&permutation, x, count);
    for (uint64_t i = 0; i < count; i++)
        x[i] = groups->sorted[first + x[i]];
}

void bm_groups_apply(const struct bm_groups *groups, uint64_t seed, uint64_t epoch,
                     uint64_t batch_size, uint64_t nshards, uint64_t *x, uint64_t count)
{
    struct layout layout;
    layout_init(&layout, groups, seed, epoch, batch_size, nshards);
    const uint64_t together = layout.together;
    uint64_t run = UINT64_MAX, place = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (x[i] / together != run) {
            run = x[i] / together;
            place = layout_run(&layout, run);
        }
        x[i] = place + x[i] % together;
    }
    for (uint64_t i = 0, n; i < count; i += n) {
        uint64_t block = x[i] / layout.block;
        for (n = 1; i + n < count && x[i + n] / layout.block == block;)
            n++;
        block_apply(&layout, block, x + i, n);
    }
}
