#include "sources/sources.h"

#include "sources/types.h"

#ifndef BM_WITH_ARROW
#define BM_WITH_ARROW 1
#endif
#ifndef BM_WITH_CSV
#define BM_WITH_CSV 1
#endif
#ifndef BM_WITH_NPY
#define BM_WITH_NPY 1
#endif
#ifndef BM_WITH_NPZ
#define BM_WITH_NPZ BM_WITH_NPY
#endif
#ifndef BM_WITH_IDX
#define BM_WITH_IDX 1
#endif
#ifndef BM_WITH_TEXT
#define BM_WITH_TEXT 1
#endif
#ifndef BM_WITH_TOKENS
#define BM_WITH_TOKENS 1
#endif
#ifndef BM_WITH_TFRECORD
#define BM_WITH_TFRECORD 1
#endif
#ifndef BM_WITH_SQLITE
#define BM_WITH_SQLITE 0
#endif
#ifndef BM_WITH_JSONL
#define BM_WITH_JSONL 1
#endif

enum bm_status bm_sources_register(struct bm_registry *registry, struct bm_error *err)
{
    static const struct bm_source_type *const types[] = {
        &bm_range_source,
        &bm_folder_source,
        &bm_list_source,
        &bm_tar_source,
        &bm_balanced_source,
        &bm_concat_source,
        &bm_join_source,
        &bm_mixture_source,
        &bm_split_source,
        &bm_weighted_source,
#if BM_WITH_ARROW
        &bm_arrow_source,
#endif
#if BM_WITH_CSV
        &bm_csv_source,
#endif
#if BM_WITH_NPY
        &bm_npy_source,
#endif
#if BM_WITH_NPZ
        &bm_npz_source,
#endif
#if BM_WITH_IDX
        &bm_idx_source,
#endif
#if BM_WITH_TEXT
        &bm_text_source,
#endif
#if BM_WITH_TOKENS
        &bm_tokens_source,
#endif
#if BM_WITH_JSONL
        &bm_jsonl_source,
#endif
#if BM_WITH_TFRECORD
        &bm_tfrecord_source,
#endif
#if BM_WITH_SQLITE
        &bm_sqlite_source,
#endif
    };
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < sizeof types / sizeof types[0] && status == BM_OK; i++)
        status = bm_registry_add_source(registry, types[i], err);
    return status;
}
