// cache.c -- the entry of a list of actions behind which results are kept.
#include "pipeline/cache.h"

#include "actions/types.h"

static const struct bm_param cache_params[] = {
    BM_PARAM(struct bm_cache_config, memory, BM_PARAM_BYTES,
             .doc = "keeps them in memory, up to this size; beside the server's budget"),
    BM_PARAM(
        struct bm_cache_config, directory, BM_PARAM_TEXT,
        .doc =
            "or keeps them there (an absolute path), in a file that also serves after a restart"),
    BM_PARAM(struct bm_cache_config, size, BM_PARAM_BYTES,
             .doc = "with `directory`: the most that the file may take"),
};

// The pipeline sees to the rest: src/pipeline/cached.c.
const struct bm_action_type bm_cache_action = {
    .name = "cache",
    .doc = "Keeps what the actions before it gave for each item, for the next epoch, stream or "
           "pipeline that begins alike. They must give the same every time.",
    .form = BM_PER_ITEM,
    .caches = true,
    .params = cache_params,
    .nparams = sizeof cache_params / sizeof cache_params[0],
    .config_bytes = sizeof(struct bm_cache_config),
    .infer = bm_infer_nothing,
    .run = bm_run_nothing,
};
