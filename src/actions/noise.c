// noise.c -- random numbers on top of others. What an item gets depends on the stream's seed, its
// epoch, its index and the action's place in the pipeline, on nothing else.
#include "actions/targets.h"
#include "actions/types.h"

enum { CHUNK = 256 };

enum distribution { NORMAL, UNIFORM };

struct add_noise {
    struct bm_texts components;
    double std, mean;
    int distribution;
};

static const struct bm_param add_noise_params[] = {
    BM_PARAM_COMPONENTS(struct add_noise, "the float components to change: one name or a list"),
    BM_PARAM(struct add_noise, std, BM_PARAM_FLOAT, .required = true, .max = __builtin_inf(),
             .doc = "standard deviation of the noise"),
    BM_PARAM(struct add_noise, mean, BM_PARAM_FLOAT, .fallback = "0", .doc = "of the noise"),
    BM_PARAM(struct add_noise, distribution, BM_PARAM_CHOICE, .fallback = "normal",
             .choices = {[NORMAL] = "normal", [UNIFORM] = "uniform"},
             .doc = "uniform: from mean - sqrt(3) std to mean + sqrt(3) std"),
};

static enum bm_status add_noise_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                      struct bm_error *err)
{
    const struct add_noise *add_noise = config;
    return bm_targets_plan(infer, &add_noise->components, BM_WANT_FLOAT, ret_plan, err);
}

static double draw(const struct add_noise *config, struct bm_random *random)
{
    const double root_of_12 = 3.4641016151377544; // 1 / deviation of the uniform [0, 1)
    double unit = config->distribution == NORMAL ? bm_random_normal(random)
                                                 : (bm_random_uniform(random) - 0.5) * root_of_12;
    return config->mean + config->std * unit;
}

// The sum is made in float64 and rounded once.
static void add_noise_row(const struct bm_call *call, unsigned c, uint64_t row,
                          struct bm_random *random)
{
    enum bm_dtype dtype = call->in->schema->components[c].dtype;
    size_t size = bm_dtype_size(dtype);
    uint64_t n;
    const unsigned char *from = bm_batch_rows(call->in, c, row, 1, &n);
    unsigned char *to = bm_batch_rows(call->out, c, row, 1, &n);
    for (uint64_t first = 0; first < n; first += CHUNK) {
        uint64_t count = n - first < CHUNK ? n - first : CHUNK;
        double sums[CHUNK];
        bm_dtype_convert(BM_FLOAT64, sums, dtype, from + first * size, count);
        for (uint64_t i = 0; i < count; i++)
            sums[i] += draw(call->config, random);
        bm_dtype_convert(dtype, to + first * size, BM_FLOAT64, sums, count);
    }
}

static enum bm_result add_noise_run(struct bm_call *call)
{
    const struct bm_targets *targets = call->plan;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        struct bm_random random;
        bm_call_random(call, row, &random);
        for (unsigned i = 0; i < targets->n; i++)
            add_noise_row(call, targets->components[i], row, &random);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_add_noise_action = {
    .name = "add_noise",
    .doc = "Adds a random number to every element of float components. What an item gets depends "
           "on the stream's seed, the epoch, the item and the action's place, not on its batch.",
    .form = BM_PER_ITEM,
    .random = true,
    .params = add_noise_params,
    .nparams = sizeof add_noise_params / sizeof add_noise_params[0],
    .config_bytes = sizeof(struct add_noise),
    .infer = add_noise_infer,
    .run = add_noise_run,
};
