// types.h -- the action types of this folder, by family. Layer: actions.
// Threads: constants.
#pragma once
#include "pipeline/action.h"

extern const struct bm_action_type bm_noop_action; // noop.c

extern const struct bm_action_type bm_cast_action; // elementwise.c
extern const struct bm_action_type bm_scale_action;
extern const struct bm_action_type bm_clip_action;
extern const struct bm_action_type bm_log1p_action;

extern const struct bm_action_type bm_normalize_action; // normalize.c

extern const struct bm_action_type bm_select_action; // components.c
extern const struct bm_action_type bm_drop_action;
extern const struct bm_action_type bm_rename_action;

extern const struct bm_action_type bm_filter_action; // filter.c

extern const struct bm_action_type bm_fill_missing_action; // missing.c

extern const struct bm_action_type bm_bucketise_action; // codes.c
extern const struct bm_action_type bm_hash_action;
extern const struct bm_action_type bm_lookup_action;

extern const struct bm_action_type bm_tokenise_action; // sequence.c
extern const struct bm_action_type bm_pad_sequence_action;
extern const struct bm_action_type bm_window_action;

extern const struct bm_action_type bm_reshape_action; // shape.c
extern const struct bm_action_type bm_one_hot_action;

extern const struct bm_action_type bm_cutout_action; // augment.c
extern const struct bm_action_type bm_mixup_action;
extern const struct bm_action_type bm_repeat_action;
extern const struct bm_action_type bm_rebatch_action;

extern const struct bm_action_type bm_add_noise_action;  // noise.c
extern const struct bm_action_type bm_accumulate_action; // accumulate.c

extern const struct bm_action_type bm_cache_action; // cache.c

extern const struct bm_action_type bm_decode_image_action; // image_decode.c

extern const struct bm_action_type bm_resize_action; // image_window.c
extern const struct bm_action_type bm_random_resized_crop_action;
extern const struct bm_action_type bm_center_crop_action;
extern const struct bm_action_type bm_pad_action;

extern const struct bm_action_type bm_flip_action; // image_pixels.c
extern const struct bm_action_type bm_color_jitter_action;

extern const struct bm_action_type bm_layout_action; // image_layout.c

extern const struct bm_action_type bm_wait_action; // timing.c
extern const struct bm_action_type bm_burn_action;

extern const struct bm_action_type bm_fail_at_action; // probe.c
extern const struct bm_action_type bm_skip_at_action;
extern const struct bm_action_type bm_end_at_action;

// Infers that all components stay, for actions that change none.
enum bm_status bm_infer_nothing(const void *config, struct bm_infer *infer, void **ret_plan,
                                struct bm_error *err);
// What run() does when the schema says it all, as of select and reshape.
enum bm_result bm_run_nothing(struct bm_call *call);
