// accumulate.c -- count, sum, mean, deviation, minimum and maximum of a component over a stream.
//
// A batch is summed up by itself, in chunks of fixed size, and the summaries are merged in the
// order of the batches, so equal streams give equal numbers. Deviations are taken from the mean of
// their chunk and merged as Chan, Golub and LeVeque do ("Updating formulae and a pairwise
// algorithm for computing sample variances", Stanford, 1979). Means are kept as distances from an
// element, the pivot, so that data far from 0 cost no digits. Sums of whole numbers up to 2^53 are
// exact.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "actions/targets.h"
#include "actions/types.h"

enum { CHUNK = 512, LANES = 8 };

struct accumulate {
    char *component, *into;
};

static const struct bm_param accumulate_params[] = {
    BM_PARAM(struct accumulate, component, BM_PARAM_NAME, .required = true,
             .doc = "the component of numbers to sum up"),
    BM_PARAM(struct accumulate, into, BM_PARAM_NAME,
             .doc = "name before the dot of the results; none: the component's"),
};

// ---- Sums ----

// Neumaier's compensated sum: `low` gathers what `high` rounds away.
struct total {
    double high, low;
};

static void total_add(struct total *total, double x)
{
    double sum = total->high + x;
    if (isfinite(sum))
        total->low +=
            fabs(total->high) >= fabs(x) ? (total->high - sum) + x : (x - sum) + total->high;
    total->high = sum;
}

static double total_value(struct total total)
{
    return isfinite(total.high) ? total.high + total.low : total.high;
}

// ---- Summaries: the update of a batch, the state of a stream, and each chunk ----

struct summary { // all zero: of nothing
    uint64_t count;
    struct total sum;
    double pivot;         // one of the elements
    struct total shifted; // sum of the elements' distances from the pivot
    struct total squares; // sum of their squared distances from the mean
    double min, max;      // among those that are numbers
    bool has_nan;
};

static double summary_shift(const struct summary *summary) // from the pivot to the mean
{
    return total_value(summary->shifted) / (double)summary->count;
}

static void total_merge(struct total *to, struct total from)
{
    total_add(to, from.high);
    total_add(to, from.low);
}

static void summary_merge(struct summary *to, const struct summary *from)
{
    if (from->count == 0)
        return;
    if (to->count == 0) {
        *to = *from;
        return;
    }
    double between = from->pivot - to->pivot;
    double distance = between + (summary_shift(from) - summary_shift(to));
    double weight = (double)to->count * ((double)from->count / (double)(to->count + from->count));
    total_merge(&to->sum, from->sum);
    total_merge(&to->shifted, from->shifted);
    total_add(&to->shifted, (double)from->count * between);
    total_merge(&to->squares, from->squares);
    total_add(&to->squares, distance * distance * weight);
    to->count += from->count;
    to->min = from->min < to->min ? from->min : to->min;
    to->max = from->max > to->max ? from->max : to->max;
    to->has_nan = to->has_nan || from->has_nan;
}

// `values` has room for a multiple of LANES; what is added to fill it up changes no result.
static void values_pad(double *values, uint64_t n, double with)
{
    for (; n % LANES != 0; n++)
        values[n] = with;
}

static double values_sum(const double *values, uint64_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    for (uint64_t i = 0; i < n; i += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++)
            lanes[lane] += values[i + lane];
    }
    for (unsigned lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

static double values_squares(const double *values, uint64_t n, double mean)
{
    double lanes[LANES] = {0}, sum = 0;
    for (uint64_t i = 0; i < n; i += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++)
            lanes[lane] += (values[i + lane] - mean) * (values[i + lane] - mean);
    }
    for (unsigned lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum;
}

static void values_range(const double *values, uint64_t n, struct summary *summary)
{
    double min[LANES], max[LANES];
    uint64_t nnan = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        min[lane] = INFINITY;
        max[lane] = -INFINITY;
    }
    for (uint64_t i = 0; i < n; i += LANES) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            double value = values[i + lane];
            min[lane] = value < min[lane] ? value : min[lane];
            max[lane] = value > max[lane] ? value : max[lane];
            nnan += value != value;
        }
    }
    summary->min = min[0];
    summary->max = max[0];
    for (unsigned lane = 1; lane < LANES; lane++) {
        summary->min = min[lane] < summary->min ? min[lane] : summary->min;
        summary->max = max[lane] > summary->max ? max[lane] : summary->max;
    }
    summary->has_nan = nnan > 0;
}

static struct summary values_summary(double *values, uint64_t n)
{
    struct summary summary = {.count = n, .pivot = values[0]};
    values_pad(values, n, 0);
    summary.sum.high = values_sum(values, n);
    values_pad(values, n, values[0]);
    values_range(values, n, &summary);
    for (uint64_t i = 0; i < n; i++)
        values[i] -= summary.pivot;
    values_pad(values, n, 0);
    summary.shifted.high = values_sum(values, n);
    double shift = summary_shift(&summary);
    values_pad(values, n, shift);
    summary.squares.high = values_squares(values, n, shift);
    return summary;
}

// ---- The action ----

static void accumulate_merge(const void *config, void *state, const void *update)
{
    (void)config;
    summary_merge(state, update);
}

static void accumulate_report(const void *config, const void *state, struct bm_number *ret_numbers)
{
    const struct accumulate *accumulate = config;
    const struct summary *summary = state;
    const char *name = accumulate->into == NULL ? accumulate->component : accumulate->into;
    bool ranged = summary->count > 0 && !summary->has_nan;
    // Nothing has neither a mean nor a deviation.
    double count = summary->count > 0 ? (double)summary->count : (double)NAN;
    const struct {
        const char *name;
        double value;
    } reals[] = {
        {"sum", total_value(summary->sum)},
        {"mean", total_value(summary->sum) / count},
        {"std", sqrt(total_value(summary->squares) / count)},
        {"min", ranged ? summary->min : (double)NAN},
        {"max", ranged ? summary->max : (double)NAN},
    };
    ret_numbers[0] =
        (struct bm_number){.kind = BM_NUMBER_INTEGER, .integer = (int64_t)summary->count};
    snprintf(ret_numbers[0].name, sizeof ret_numbers[0].name, "%s.count", name);
    for (unsigned i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        struct bm_number *number = &ret_numbers[i + 1];
        *number = (struct bm_number){.kind = BM_NUMBER_FLOAT, .real = reals[i].value};
        snprintf(number->name, sizeof number->name, "%s.%s", name, reals[i].name);
    }
}

static const struct bm_variable_type accumulate_variable = {
    .state_bytes = sizeof(struct summary),
    .merge = accumulate_merge,
    .nnumbers = 6,
    .report = accumulate_report,
};

static enum bm_status accumulate_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                       struct bm_error *err)
{
    const struct accumulate *accumulate = config;
    unsigned component;
    enum bm_status status =
        bm_target_find(infer, "component", accumulate->component, BM_WANT_NUMBER, &component, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    if (status != BM_OK)
        return status;
    unsigned *plan = malloc(sizeof *plan);
    if (plan == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    *plan = component;
    *ret_plan = plan;
    infer->variable = &accumulate_variable;
    return BM_OK;
}

static enum bm_result accumulate_run(struct bm_call *call)
{
    const unsigned *component = call->plan;
    enum bm_dtype dtype = call->in->schema->components[*component].dtype;
    size_t size = bm_dtype_size(dtype);
    uint64_t n;
    const unsigned char *data = bm_batch_rows(call->in, *component, call->first, call->count, &n);
    for (uint64_t first = 0; first < n; first += CHUNK) {
        uint64_t count = n - first < CHUNK ? n - first : CHUNK;
        double values[CHUNK];
        bm_dtype_convert(BM_FLOAT64, values, dtype, data + first * size, count);
        struct summary summary = values_summary(values, count);
        summary_merge(call->update, &summary);
    }
    return BM_RESULT_OK;
}

// Per batch, so that its chunks lie at the same places however rows are split into tiles.
const struct bm_action_type bm_accumulate_action = {
    .name = "accumulate",
    .doc = "Sums up every element of a component, in float64, into variables that `run` returns: "
           "count, sum, mean, std (of the population, as numpy.std), min and max. The batch stays "
           "as it is; batches that failed or were skipped do not count.",
    .form = BM_PER_BATCH,
    .params = accumulate_params,
    .nparams = sizeof accumulate_params / sizeof accumulate_params[0],
    .config_bytes = sizeof(struct accumulate),
    .infer = accumulate_infer,
    .run = accumulate_run,
};
