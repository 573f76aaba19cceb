#include "actions/actions.h"

#include "actions/types.h"

enum bm_status bm_actions_register(struct bm_registry *registry, struct bm_error *err)
{
    // clang-format off: a line each, in the order of types.h
    static const struct bm_action_type *const types[] = {
        &bm_noop_action,
        &bm_cast_action,
        &bm_scale_action,
        &bm_normalize_action,
        &bm_clip_action,
        &bm_select_action,
        &bm_drop_action,
        &bm_rename_action,
        &bm_filter_action,
        &bm_log1p_action,
        &bm_fill_missing_action,
        &bm_bucketise_action,
        &bm_hash_action,
        &bm_lookup_action,
        &bm_tokenise_action,
        &bm_pad_sequence_action,
        &bm_window_action,
        &bm_reshape_action,
        &bm_one_hot_action,
        &bm_cutout_action,
        &bm_mixup_action,
        &bm_repeat_action,
        &bm_rebatch_action,
        &bm_add_noise_action,
        &bm_accumulate_action,
        &bm_cache_action,
        &bm_decode_image_action,
        &bm_resize_action,
        &bm_random_resized_crop_action,
        &bm_center_crop_action,
        &bm_pad_action,
        &bm_flip_action,
        &bm_color_jitter_action,
        &bm_layout_action,
        &bm_wait_action,
        &bm_burn_action,
        &bm_fail_at_action,
        &bm_skip_at_action,
        &bm_end_at_action,
    };
    // clang-format on
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < sizeof types / sizeof types[0] && status == BM_OK; i++)
        status = bm_registry_add_action(registry, types[i], err);
    return status;
}
