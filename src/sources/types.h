// types.h -- the source types of this folder, one per format. Layer: sources.
// Threads: constants.
#pragma once
#include "pipeline/source.h"

extern const struct bm_source_type bm_range_source;
extern const struct bm_source_type bm_arrow_source;
extern const struct bm_source_type bm_csv_source;
extern const struct bm_source_type bm_npy_source;
extern const struct bm_source_type bm_npz_source;
extern const struct bm_source_type bm_idx_source;
extern const struct bm_source_type bm_folder_source;
extern const struct bm_source_type bm_list_source;
extern const struct bm_source_type bm_tar_source;
extern const struct bm_source_type bm_text_source;
extern const struct bm_source_type bm_tokens_source;
extern const struct bm_source_type bm_jsonl_source;
extern const struct bm_source_type bm_tfrecord_source;
extern const struct bm_source_type bm_sqlite_source;
// Sources over others.
extern const struct bm_source_type bm_balanced_source;
extern const struct bm_source_type bm_concat_source;
extern const struct bm_source_type bm_join_source;
extern const struct bm_source_type bm_mixture_source;
extern const struct bm_source_type bm_split_source;
extern const struct bm_source_type bm_weighted_source;
